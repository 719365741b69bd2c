//! Whoever watches open sessions: told of each change, after it is durable, for as long as they keep up.
//!
//! Nothing is done for it while nobody watches. Who does not keep up is told how much was missed and goes on; charging waits for
//! nobody. Absent: what was before somebody began to watch.

use std::sync::Arc;

use rating_engine::command::{Write, Writes};
use rating_engine::ids::{Lsn, SessionId, TenantId};
use rating_engine::money::Currency;
use rating_engine::session::Session;
use rating_engine::shard::Shard;
use tokio::sync::broadcast;

/// Changes that a watcher may be behind.
const BEHIND_MAX: usize = 4096;

/// What happened to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// It was opened.
    Opened,
    /// It reported, got a grant, or was denied one.
    Changed,
    /// It is over.
    Ended,
}

/// A session after a change.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What happened.
    pub happened: Happened,
    /// It.
    pub session: Session,
    /// The tenant of its account.
    pub tenant: TenantId,
    /// The account's currency.
    pub currency: Currency,
    /// The entry of the change.
    pub lsn: Lsn,
}

/// Everybody who watches.
#[derive(Debug)]
pub struct Watching(broadcast::Sender<Arc<Seen>>);

impl Default for Watching {
    fn default() -> Self {
        Self(broadcast::Sender::new(BEHIND_MAX))
    }
}

impl Watching {
    /// Begins to watch.
    pub fn watch(&self) -> broadcast::Receiver<Arc<Seen>> {
        self.0.subscribe()
    }

    /// Tells of the sessions among what was written; `opened` is the one that the command opened. Under the shard's lock.
    pub fn tell(&self, shard: &Shard, writes: &Writes, opened: Option<&SessionId>, lsn: Lsn) {
        if self.0.receiver_count() == 0 {
            return;
        }
        for write in writes {
            let Write::Session(id, _) = write else { continue };
            let Some(session) = shard.session(id) else { continue };
            let happened = match (session.is_open(), opened == Some(id)) {
                (true, true) => Happened::Opened,
                (true, false) => Happened::Changed,
                (false, false) => Happened::Ended,
                // An event, or a start that was denied: it was never open.
                (false, true) => continue,
            };
            let Some(account) = shard.account(session.account) else { continue };
            let (tenant, currency) = (account.tenant, account.currency);
            // Whoever watched may be gone by now.
            let _ = self.0.send(Arc::new(Seen { happened, session: session.clone(), tenant, currency, lsn }));
        }
    }
}
