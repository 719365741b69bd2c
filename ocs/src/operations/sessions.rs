//! Open sessions: listed, asked about at their clients, released.

use std::collections::BTreeMap;
use std::sync::Arc;

use balance_store::records::Difference;
use diameter::gy::ask::{Meaning, Scope};
use futures_util::stream::BoxStream;
use ocs_api::{
    Ask, Caller, ClientAnswer, OperationError, Operations, SessionChange, SessionFilter, SessionSnapshot, name,
};
use rating_engine::cdr::Cause;
use rating_engine::command::Change;
use rating_engine::ids::{AccountId, GroupId, Lsn, SessionId};
use rating_engine::session::Session;
use rating_engine::shard::Shard;
use rating_engine::tariffs::Tariffs;
use tokio::sync::broadcast::error::RecvError;

use super::{Desk, look};
use crate::asking::{Asked, OpenSession};
use crate::audit_log::By;
use crate::charging::{Charging, Noting};
use crate::edge::Beside;
use crate::watching::Happened;

impl Desk {
    /// Open sessions by id, behind `after`. Walks what is open, a shard at a time.
    pub(super) async fn list_sessions(
        &self,
        filter: SessionFilter,
        after: Option<SessionId>,
        max: usize,
    ) -> Result<Vec<SessionSnapshot>, OperationError> {
        let of = match &filter.account {
            None => None,
            Some(selection) => Some(look(&self.charging, selection, |_, account| (account.id, account.group))?),
        };
        let charging = self.charging.clone();
        let listed = tokio::task::spawn_blocking(move || list(&charging, &filter, of, after.as_ref(), max)).await;
        let (found, lsn) = listed.map_err(|_| OperationError::Stopping)?;
        self.durable(lsn).await?;
        Ok(found)
    }

    /// One open session, its charging group, and the entry it follows from.
    pub(super) fn open_session(&self, id: &SessionId) -> Result<(GroupId, SessionSnapshot, Lsn), OperationError> {
        let group = self.charging.directory.session(id).ok_or(OperationError::UnknownSession)?;
        let tariffs = self.charging.tariffs.load_full();
        let found = self.charging.shards.with(group, |shard| {
            let session = shard.session(id).filter(|session| session.is_open())?;
            snapshot(shard, session, &tariffs).map(|found| (found, shard.last_lsn()))
        });
        let (found, lsn) = found.ok_or(OperationError::UnknownSession)?;
        Ok((group, found, lsn))
    }

    /// What happens from now on, as it becomes durable.
    pub(super) fn watch(&self, filter: &SessionFilter) -> Result<BoxStream<'static, SessionChange>, OperationError> {
        let of = match &filter.account {
            None => None,
            Some(selection) => Some(look(&self.charging, selection, |_, account| account.id)?),
        };
        let host = filter.client_host.clone();
        let wanted = move |session: &Session| {
            of.is_none_or(|account| pays(session, account))
                && host.as_ref().is_none_or(|host| session.context.client_host.eq_ignore_ascii_case(host))
        };
        let state = (self.charging.watching.watch(), self.mark.clone(), self.charging.clone(), wanted);
        let changes = futures_util::stream::unfold(state, |(mut seen, mut mark, charging, wanted)| async move {
            loop {
                match seen.recv().await {
                    Ok(change) if wanted(&change.session) => {
                        // A process that ends tells nobody of what may not be durable.
                        mark.wait_for(|mark| *mark >= change.lsn.get()).await.ok()?;
                        let snapshot = SessionSnapshot {
                            session: change.session.clone(),
                            tenant: change.tenant,
                            currency: change.currency,
                            tariffs: charging.tariffs.load_full(),
                        };
                        let change = match change.happened {
                            Happened::Opened => SessionChange::Opened(snapshot),
                            Happened::Changed => SessionChange::Changed(snapshot),
                            Happened::Ended => SessionChange::Ended(snapshot),
                        };
                        return Some((change, (seen, mark, charging, wanted)));
                    }
                    Ok(_) => {}
                    Err(RecvError::Lagged(missed)) => {
                        return Some((SessionChange::Missed(missed), (seen, mark, charging, wanted)));
                    }
                    Err(RecvError::Closed) => return None,
                }
            }
        });
        Ok(Box::pin(changes))
    }

    /// Asks a session's client; that it was asked, and what it said, are in the audit log.
    pub(super) async fn ask(
        &self,
        caller: &Caller,
        id: &SessionId,
        ask: Ask,
        reason: &str,
    ) -> Result<ClientAnswer, OperationError> {
        let (_, found, _) = self.open_session(id)?;
        let Some(asking) = &self.asking else {
            return Ok(ClientAnswer::NotConnected("this system has no connections to clients".to_owned()));
        };
        let method = match ask {
            Ask::Reauthorize => "Sessions/ReauthorizeSession",
            Ask::Terminate => "Sessions/TerminateSession",
        };
        let by = session_by(caller, method, id, reason);
        self.note(&by, "asked", "the client").await?;
        let session = OpenSession::from(&found.session);
        let asked = match ask {
            Ask::Reauthorize => asking.reauthorise(&session, Scope::default()).await,
            Ask::Terminate => asking.abort(&session).await,
        };
        self.note(&by, "answer", &asked.to_string()).await?;
        Ok(said(asked))
    }

    /// Notes something in the audit log that changes no record.
    async fn note(&self, by: &By, what: &str, after: &str) -> Result<(), OperationError> {
        let difference = Difference { what: what.into(), before: Box::default(), after: after.into() };
        let now = self.charging.clock.now();
        let beside = Beside { audit: Some(by.record(now, vec![difference])), ..Beside::default() };
        let lsn = self.charging.edge.append_alone(&self.charging.journal, now, &beside);
        self.durable(lsn).await
    }

    /// Ends a session without its client.
    pub(super) async fn release_session(
        &self,
        caller: &Caller,
        id: SessionId,
        reason: Box<str>,
    ) -> Result<(), OperationError> {
        let (group, ..) = self.open_session(&id)?;
        let by = session_by(caller, "Sessions/ReleaseSession", &id, &reason);
        let release = Change::Release { session: id, cause: Cause::Operator, client_state_below: 0 };
        let noting = Noting { by: Some(&by), ..Noting::default() };
        self.mutated(group, release.into(), noting).await.map(|_| ())
    }
}

/// Whether an account pays for a session.
fn pays(session: &Session, account: AccountId) -> bool {
    session.account == account || session.sponsor.as_ref().is_some_and(|sponsor| sponsor.account == account)
}

fn session_by(caller: &Caller, method: &'static str, id: &SessionId, reason: &str) -> By {
    let target = name::session(id).into();
    By { caller: (*caller.name).into(), method, target, key: Box::default(), reason: reason.into() }
}

fn snapshot(shard: &Shard, session: &Session, tariffs: &Arc<Tariffs>) -> Option<SessionSnapshot> {
    let account = shard.account(session.account)?;
    Some(SessionSnapshot {
        session: session.clone(),
        tenant: account.tenant,
        currency: account.currency,
        tariffs: tariffs.clone(),
    })
}

fn list(
    charging: &Charging,
    filter: &SessionFilter,
    of: Option<(AccountId, GroupId)>,
    after: Option<&SessionId>,
    max: usize,
) -> (Vec<SessionSnapshot>, Lsn) {
    let tariffs = charging.tariffs.load_full();
    let wanted = |session: &Session| {
        session.is_open()
            && after.is_none_or(|after| session.id.octets() > after.octets())
            && of.is_none_or(|(account, _)| pays(session, account))
            && filter.client_host.as_ref().is_none_or(|host| session.context.client_host.eq_ignore_ascii_case(host))
            && (!filter.waiting || session.services.iter().any(|service| service.waiting))
    };
    let indices = match of {
        Some((_, group)) => charging.shards.index(group)..charging.shards.index(group) + 1,
        None => 0..charging.shards.len(),
    };
    // The first by id of all that were seen so far.
    let (mut first, mut lsn) = (BTreeMap::new(), Lsn::default());
    for index in indices {
        charging.shards.with_index(index, |shard| {
            lsn = lsn.max(shard.last_lsn());
            for session in shard.sessions().filter(|session| wanted(session)) {
                let is_behind = first.len() >= max
                    && first.last_key_value().is_some_and(|(last, _): (&Vec<u8>, _)| session.id.octets() >= &last[..]);
                if is_behind {
                    continue;
                }
                if let Some(found) = snapshot(shard, session, &tariffs) {
                    first.insert(session.id.octets().to_vec(), found);
                }
                if first.len() > max {
                    first.pop_last();
                }
            }
        });
    }
    (first.into_values().collect(), lsn)
}

fn said(asked: Asked) -> ClientAnswer {
    let words = asked.to_string();
    match asked {
        Asked::Consented { code } => ClientAnswer::Consented(code.code.0),
        Asked::Refused { code, .. } => match code.meaning() {
            Meaning::UnknownSession => ClientAnswer::UnknownSession(code.code.0),
            Meaning::Consented | Meaning::UnableToComply | Meaning::Other => ClientAnswer::Refused(code.code.0, words),
        },
        Asked::NoPeer { .. } | Asked::Busy => ClientAnswer::NotConnected(words),
        Asked::TimedOut | Asked::ConnectionLost | Asked::Defective { .. } => ClientAnswer::NoAnswer(words),
    }
}
