//! The log's tail, replayed: what the checkpoint may not hold.
//!
//! One thread reads and checks frames; lanes beside it decode and load, each the entries of its own shards, so that every
//! shard sees its changes in order. What an entry changes elsewhere waits until all is read: then its LSN decides, and
//! identifiers are pointed in the order of the log.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use balance_store::records::{self, LogWrite, Owner, RecordError};
use balance_store::{Frame, HashChain, LogCursor};
use rating_engine::ids::{GroupId, Identifier, Lsn, TariffName, TenantId};
use rating_engine::shard::Shard;
use rating_engine::shards::Shards;
use rating_engine::tariff::TariffVersion;

use crate::archive;
use crate::directory::Directory;
use crate::edge::{DeskRecord, EdgeRecord};
use crate::store::{Found, OpenError, Store, because, take_document};

/// Frames read ahead of a lane.
const FRAMES_AHEAD: usize = 8;
/// Lanes at most.
const LANES_MAX: usize = 8;

/// Replays what the log has behind the checkpoint.
///
/// # Errors
/// What cannot be read or understood, with the entry.
pub(crate) fn replay(
    store: &Store,
    shards: &Shards,
    directory: &Directory,
    found: &mut Found,
) -> Result<(), OpenError> {
    if found.last <= found.checkpoint {
        return Ok(());
    }
    let lanes = std::thread::available_parallelism().map_or(1, |threads| threads.get().min(LANES_MAX));
    let done = std::thread::scope(|scope| {
        let (mut senders, mut workers) = (Vec::new(), Vec::new());
        let (give_back, read_before) = channel();
        for number in 0..lanes {
            let (sender, frames) = sync_channel(FRAMES_AHEAD);
            let lane = Lane { store, shards, checkpoint: found.checkpoint, number, lanes, tariff: RefCell::default() };
            senders.push(sender);
            let give_back = give_back.clone();
            workers.push(scope.spawn(move || lane.follow(&frames, &give_back)));
        }
        let read = read(store, found, senders, &read_before);
        let mut done = Vec::new();
        for worker in workers {
            done.push(worker.join().map_err(|_| OpenError("a replaying thread panicked".to_owned()))??);
        }
        read.map(|()| done)
    })?;
    let (mut elsewhere, mut identifiers, mut audit, mut desk) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for lane in done {
        elsewhere.extend(lane.elsewhere);
        identifiers.extend(lane.identifiers);
        audit.extend(lane.audit);
        desk.extend(lane.desk);
    }
    elsewhere.sort_by_key(|(lsn, _)| *lsn);
    for (lsn, write) in elsewhere {
        if let Some(group) = write.group() {
            shards.with(group, |shard| load(store, shard, write, lsn))?;
        }
    }
    identifiers.sort_by_key(|(lsn, ..)| *lsn);
    for (lsn, tenant, identifier, owner) in identifiers {
        store.edge.push(EdgeRecord::identifier(tenant, &identifier, owner, lsn));
        match owner {
            Some(owner) => drop(directory.point(tenant, identifier, (owner.subscriber, owner.group))),
            None => directory.unpoint(tenant, &identifier),
        }
    }
    audit.sort_by_key(|(position, ..)| *position);
    for (position, chain, octets, lsn) in audit {
        store.edge.push_audit(position, chain, &octets, lsn);
    }
    // Changes of one entry stay in their order.
    desk.sort_by_key(|(lsn, _)| *lsn);
    for (lsn, record) in desk {
        store.edge.push_desk(record, lsn);
    }
    Ok(())
}

/// Reads frames and hands each to every lane; takes catalogue documents itself, for lanes read by them.
fn read(
    store: &Store,
    found: &mut Found,
    lanes: Vec<SyncSender<Arc<Frame>>>,
    read_before: &Receiver<Frame>,
) -> Result<(), OpenError> {
    let mut cursor = LogCursor::from(found.checkpoint.next());
    loop {
        // Their memory is used again: frames may be large.
        let mut frame = read_before.try_recv().unwrap_or_default();
        if !store.log.read_next(&mut cursor, &mut frame).map_err(because("log"))? {
            return Ok(());
        }
        found.replayed_octets += frame.octets();
        for (lsn, octets) in frame.entries().filter(|(lsn, _)| *lsn > found.checkpoint) {
            found.replayed += 1;
            let bad = |error| bad_entry(lsn, &error);
            if !records::decode_entry_head(octets).map_err(bad)?.catalogue {
                continue;
            }
            let resolve = |name: &TariffName, version: u32| store.catalogue.get(name, version);
            for write in records::decode_entry(octets, &resolve).map_err(bad)?.writes {
                if let LogWrite::Catalogue { name, version, source } = write {
                    take_document(&store.catalogue, &source)?;
                    store.edge.push(EdgeRecord::document(&name, version, &source, lsn));
                }
            }
        }
        let frame = Arc::new(frame);
        for lane in &lanes {
            if lane.send(frame.clone()).is_err() {
                // It has failed, and says itself why.
                return Ok(());
            }
        }
    }
}

fn bad_entry(lsn: Lsn, error: &RecordError) -> OpenError {
    OpenError(format!("log entry {lsn}: {error}"))
}

/// Every how-many-th shard, and the entries of their groups.
struct Lane<'a> {
    store: &'a Store,
    shards: &'a Shards,
    checkpoint: Lsn,
    number: usize,
    lanes: usize,
    /// The tariff version that was asked for last: mostly the next, too.
    tariff: RefCell<Option<Arc<TariffVersion>>>,
}

/// What a lane leaves to be done in the end.
#[derive(Default)]
struct Left {
    elsewhere: Vec<(Lsn, LogWrite)>,
    identifiers: Vec<(Lsn, TenantId, Identifier, Option<Owner>)>,
    audit: Vec<(u64, HashChain, Box<[u8]>, Lsn)>,
    desk: Vec<(Lsn, DeskRecord)>,
}

impl Lane<'_> {
    /// The shard of a group, if it is one of this lane.
    fn own(&self, group: GroupId) -> Option<usize> {
        Some(self.shards.index(group)).filter(|index| index % self.lanes == self.number)
    }

    fn resolve(&self, name: &TariffName, version: u32) -> Option<Arc<TariffVersion>> {
        let mut last = self.tariff.borrow_mut();
        if last.as_ref().is_none_or(|last| last.version() != version || last.name() != name) {
            *last = self.store.catalogue.get(name, version);
        }
        last.clone()
    }

    fn follow(&self, frames: &Receiver<Arc<Frame>>, give_back: &Sender<Frame>) -> Result<Left, OpenError> {
        let mut left = Left::default();
        while let Ok(frame) = frames.recv() {
            for (lsn, octets) in frame.entries().filter(|(lsn, _)| *lsn > self.checkpoint) {
                self.entry(lsn, octets, &mut left)?;
            }
            if let Some(frame) = Arc::into_inner(frame) {
                // Nobody takes it any more when all is read.
                let _ = give_back.send(frame);
            }
        }
        Ok(left)
    }

    fn entry(&self, lsn: Lsn, octets: &[u8], left: &mut Left) -> Result<(), OpenError> {
        let bad = |error| bad_entry(lsn, &error);
        let head = records::decode_entry_head(octets).map_err(bad)?;
        let mine = head.group.map_or(self.number == 0, |group| self.own(group).is_some());
        if !mine {
            return Ok(());
        }
        let resolve = |name: &TariffName, version: u32| self.resolve(name, version);
        for write in records::decode_entry(octets, &resolve).map_err(bad)?.writes {
            match (write.group().and_then(|group| self.own(group)), write) {
                (Some(index), write) => self.shards.with_index(index, |shard| load(self.store, shard, write, lsn)).0?,
                (None, LogWrite::Identifier(tenant, identifier, owner)) => {
                    left.identifiers.push((lsn, tenant, identifier, owner));
                }
                (None, LogWrite::Audit { position, chain, octets }) => {
                    left.audit.push((position, chain, octets, lsn));
                }
                (None, LogWrite::Desk { key, value }) => {
                    left.desk.push((lsn, DeskRecord { key, value: value.map(Into::into) }));
                }
                // Whoever reads the frames has taken it already.
                (None, LogWrite::Catalogue { .. }) => {}
                (None, write) => left.elsewhere.push((lsn, write)),
            }
        }
        Ok(())
    }
}

/// Loads a change into its shard, over the record of the session that it changes when only the state store has that.
fn load(store: &Store, shard: &mut Shard, write: LogWrite, lsn: Lsn) -> Result<(), OpenError> {
    if let Some(archived) = write.wants(shard, lsn) {
        let (session, stamp) = archive::read(&*store.state, &store.catalogue, archived)?
            .ok_or_else(|| OpenError(format!("log entry {lsn}: the record of session {} is gone", archived.id)))?;
        shard.recall(session, stamp);
    }
    write.load(shard, lsn);
    Ok(())
}
