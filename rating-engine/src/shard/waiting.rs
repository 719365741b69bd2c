//! Open sessions that wait for money, found by whoever would pay.
//!
//! Not stored: made anew from the sessions when a shard is rebuilt. A session is here exactly while [`Session::waits`], once
//! for each account that pays for it.

use std::collections::BTreeSet;

use super::Shard;
use crate::ids::{AccountId, SessionId};
use crate::session::Session;

/// By account, then by name.
pub(super) type Waiting = BTreeSet<(AccountId, SessionId)>;

impl Shard {
    /// Open sessions that wait for money of `account`, be it their own or their sponsor's, by name.
    pub fn waiting(&self, account: AccountId) -> impl Iterator<Item = &Session> {
        let from = (account, SessionId::new(&[]));
        let of_account = self.waiting.range(from..).take_while(move |(payer, _)| *payer == account);
        of_account.filter_map(|(_, id)| self.session(id))
    }

    /// Puts a session in or takes it out, as it is now.
    pub(super) fn note_waiting(&mut self, id: &SessionId) {
        if let Some(slot) = self.sessions.get(id) {
            note(&mut self.waiting, &slot.value);
        }
    }
}

/// Puts a session in or takes it out, as it is.
pub(super) fn note(waiting: &mut Waiting, session: &Session) {
    let sponsor = session.sponsor.as_ref().map(|sponsor| sponsor.account);
    for payer in std::iter::once(session.account).chain(sponsor) {
        let entry = (payer, session.id.clone());
        if session.waits() {
            waiting.insert(entry);
        } else {
            waiting.remove(&entry);
        }
    }
}
