//! Archived sessions: read back from the state store when somebody asks about one.
//!
//! Of an archived session the shard keeps its name, group, stamp and deadline (`rating-engine/src/shard/archive.rs`). Its
//! record is read here, outside of the shard's lock; under the lock the stamp decides whether what was read is still
//! what counts. A new session is in no archive, so that nothing is read on the normal path.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use balance_store::records::{self, EntityKind};
use balance_store::{Family, StateStore, keys};
use rating_engine::command::{Command, EntityKey};
use rating_engine::ids::{GroupId, Lsn, TariffName};
use rating_engine::session::Session;
use rating_engine::shard::{Archived, Image, Shard};
use rating_engine::shards::Shards;
use rating_engine::tariffs::Tariffs;

use crate::store::{Catalogue, OpenError, because};

/// Ended sessions that one shard is asked to part with under one hold of its lock.
pub(crate) const ARCHIVE_AT_ONCE: usize = 32;

/// Reads for one command: its own session, the original of a refund, and each once more when it was archived anew
/// meanwhile.
const READS_MAX: usize = 4;

/// Where archived sessions are read from.
pub struct Archive {
    state: Arc<dyn StateStore>,
    catalogue: Arc<Catalogue>,
    loads: AtomicU64,
}

/// Ended sessions that are remembered, and what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// In memory.
    pub ended: usize,
    /// In the state store only.
    pub archived: usize,
    /// Read back from the state store since the start.
    pub loads: u64,
    /// Forgotten before their time since the start.
    pub forgotten_early: u64,
}

impl Archive {
    /// Over the state store, whose sessions name tariff versions of `catalogue`.
    pub fn new(state: Arc<dyn StateStore>, catalogue: Arc<Catalogue>) -> Self {
        Self { state, catalogue, loads: AtomicU64::new(0) }
    }

    /// The tariff versions in force.
    pub(crate) fn tariffs(&self) -> Tariffs {
        self.catalogue.tariffs()
    }

    /// How many sessions were read back.
    pub fn loads(&self) -> u64 {
        self.loads.load(Ordering::Relaxed)
    }

    /// Does `work` with what `command` asks for on the shard of `group`, with every session in memory that it needs.
    ///
    /// # Errors
    /// When a record cannot be read: then nothing is done.
    pub fn with<R>(
        &self,
        shards: &Shards,
        group: GroupId,
        command: Command,
        work: impl FnOnce(&mut Shard, Command) -> R,
    ) -> Result<R, OpenError> {
        self.with_what(shards, group, command, Shard::wants, work)
    }

    /// The same for whatever is asked for; `wants` says which session it needs that is not in memory.
    ///
    /// # Errors
    /// When a record cannot be read: then nothing is done.
    pub fn with_what<T, R>(
        &self,
        shards: &Shards,
        group: GroupId,
        asked: T,
        wants: impl for<'a> Fn(&'a Shard, &T) -> Option<&'a Archived>,
        work: impl FnOnce(&mut Shard, T) -> R,
    ) -> Result<R, OpenError> {
        let (mut todo, mut read) = (Some((asked, work)), None);
        for _ in 0..=READS_MAX {
            let done = shards.with(group, |shard| {
                if let Some((session, lsn)) = read.take() {
                    shard.recall(session, lsn);
                }
                let (asked, _) = todo.as_ref()?;
                match wants(shard, asked) {
                    Some(archived) => Some(Err(archived.clone())),
                    None => todo.take().map(|(asked, work)| Ok(work(shard, asked))),
                }
            });
            match done {
                Some(Ok(done)) => return Ok(done),
                Some(Err(archived)) => {
                    self.loads.fetch_add(1, Ordering::Relaxed);
                    // It may have been forgotten since: then the shard does not want it any more.
                    read = self.read(&archived)?;
                }
                None => break,
            }
        }
        Err(OpenError("an archived session cannot be had: its record is not the one that was archived".to_owned()))
    }

    /// The record of an archived session and its stamp; `None` when there is none.
    ///
    /// # Errors
    /// When the store cannot be read, or the record cannot be understood.
    pub(crate) fn read(&self, archived: &Archived) -> Result<Option<(Session, Lsn)>, OpenError> {
        read(&*self.state, &self.catalogue, archived)
    }
}

/// As [`Archive::read`], while a folder is being opened.
pub(crate) fn read(
    state: &dyn StateStore,
    catalogue: &Catalogue,
    archived: &Archived,
) -> Result<Option<(Session, Lsn)>, OpenError> {
    let mut key = Vec::new();
    keys::entity(&mut key, archived.group, &EntityKey::Session(archived.id.clone()));
    let Some(value) = state.get(Family::Sessions, &key).map_err(because("state"))? else { return Ok(None) };
    let resolve = |name: &TariffName, version: u32| catalogue.get(name, version);
    let stored = records::decode_entity(EntityKind::Session, &key, &value, &resolve)
        .map_err(because(&format!("the record of session {}", archived.id)))?;
    match stored.image {
        Image::Session(session) => Ok(Some((*session, stored.lsn))),
        Image::Account(_) | Image::Subscriber(_) | Image::Mutation(..) | Image::Gone(..) => Ok(None),
    }
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive").field("loads", &self.loads).finish_non_exhaustive()
    }
}
