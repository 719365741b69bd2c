//! Opening a data folder: state, then the log's tail, then the invariants; and carrying changes back.
//!
//! Start-up order (design, section 4): folder lock, catalogue, accounts, subscribers and sessions in parallel, identifiers,
//! the log's tail, reserved sums and deadlines. Afterwards the journal, the CDR mover and the checkpointer run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use balance_store::keys;
use balance_store::records::{self, Dossier, EntityKind, RecordError};
use balance_store::{
    CdrMover, CdrMoverOptions, CdrOptions, CdrStore, CheckpointHooks, CheckpointOptions, CheckpointStats, Checkpointer,
    CutLine, DataFolder, DirtyRecord, DirtySource, Disk, Durability, Family, Frame, Journal, JournalHooks,
    JournalOptions, Log, LogCursor, LogOptions, RealDisk, Recovered, RocksOptions, RocksState, SegmentLog, StateStore,
};
use parking_lot::Mutex;
use rating_engine::command::EntityKey;
use rating_engine::ids::{GroupId, Lsn, OfferName, PartitionId, SessionId, TariffName};
use rating_engine::offer::OfferVersion;
use rating_engine::periods::Periods;
use rating_engine::reach::{Reach, Steps};
use rating_engine::session::{Phase, Session};
use rating_engine::shard::Image;
use rating_engine::shards::Shards;
use rating_engine::tariff::TariffVersion;
use rating_engine::tariffs::Tariffs;
use rating_engine::time::Timestamp;

use crate::archive::{self, Archive};
use crate::canary;
use crate::catalogue::Document;
use crate::charging::{Charging, Parts};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::directory::Directory;
use crate::edge::{Edge, EdgeRecord};
use crate::replay::replay;
use crate::tail::Tail;
use crate::telemetry::Telemetry;

/// Why a data folder cannot be opened.
#[derive(Debug)]
pub struct OpenError(pub String);

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for OpenError {}

/// The time of the last entries in the log: no command was given a later one. The beginning of time when none are left.
///
/// # Errors
/// When the log cannot be read.
pub fn last_time(loaded: &Loaded) -> Result<Timestamp, OpenError> {
    let last = loaded.found.last;
    let mut frame = Frame::new();
    if last == Lsn::default()
        || !loaded.store.log.read_next(&mut LogCursor::from(last), &mut frame).map_err(because("log"))?
    {
        return Ok(Timestamp::default());
    }
    let mut latest = Timestamp::default();
    for (lsn, octets) in frame.entries() {
        let head = records::decode_entry_head(octets).map_err(because(&format!("log entry {lsn}")))?;
        latest = latest.max(head.now);
    }
    Ok(latest)
}

/// Anything that can be said becomes the reason.
pub(crate) fn because<E: std::fmt::Display>(doing: &str) -> impl Fn(E) -> OpenError {
    let doing = doing.to_owned();
    move |error| OpenError(format!("{doing}: {error}"))
}

/// What stands before an offer's name where documents of all kinds are kept.
const OFFER: &str = "offer:";

/// Accounting periods, and the hash of what their document says.
pub type Accounting = (Arc<Periods>, [u8; 32]);

/// All versions of tariffs and offers that are known, by name and number, and accounting periods.
#[derive(Debug, Default)]
pub struct Catalogue {
    tariffs: Mutex<BTreeMap<(TariffName, u32), Arc<TariffVersion>>>,
    offers: Mutex<BTreeMap<(OfferName, u32), Arc<OfferVersion>>>,
    periods: Mutex<BTreeMap<u32, Accounting>>,
    /// Versions of offers that are sold no more.
    withdrawn: Mutex<BTreeSet<(OfferName, u32)>>,
    /// Whom versions of tariffs are for, in time, that are not simply for everybody.
    steps: Mutex<BTreeMap<(TariffName, u32), Steps>>,
}

impl Catalogue {
    /// A version of a tariff.
    pub fn get(&self, name: &TariffName, version: u32) -> Option<Arc<TariffVersion>> {
        self.tariffs.lock().get(&(name.clone(), version)).cloned()
    }

    /// Any version of a tariff.
    pub fn any(&self, name: &TariffName) -> Option<Arc<TariffVersion>> {
        let versions = self.tariffs.lock();
        let (_, version) = versions.range((name.clone(), 0)..=(name.clone(), u32::MAX)).next()?;
        Some(version.clone())
    }

    /// The names of all windows that versions of a tariff have; `None` where there is no such tariff.
    pub fn windows(&self, name: &TariffName) -> Option<BTreeSet<Box<str>>> {
        let tariffs = self.tariffs.lock();
        let mut versions = tariffs.range((name.clone(), 0)..=(name.clone(), u32::MAX)).peekable();
        versions.peek()?;
        let calendars = versions.filter_map(|(_, version)| version.calendar());
        Some(calendars.flat_map(|calendar| calendar.names().iter().cloned()).collect())
    }

    /// A version of an offer.
    pub fn offer(&self, name: &OfferName, version: u32) -> Option<Arc<OfferVersion>> {
        self.offers.lock().get(&(name.clone(), version)).cloned()
    }

    /// The newest version of an offer that is sold.
    pub fn newest_offer(&self, name: &OfferName) -> Option<Arc<OfferVersion>> {
        let (versions, withdrawn) = (self.offers.lock(), self.withdrawn.lock());
        let all = versions.range((name.clone(), 0)..=(name.clone(), u32::MAX)).rev();
        let is_sold = |version: &OfferVersion| !withdrawn.contains(&(name.clone(), version.version()));
        all.map(|(_, version)| version).find(|version| is_sold(version)).cloned()
    }

    /// Takes what a dossier says of a version that is kept under this name: whom it is for, whether it is sold.
    pub fn take_dossier(&self, kept_as: &str, version: u32, dossier: &Dossier) {
        match kept_as.strip_prefix(OFFER) {
            Some(_) if dossier.withdrawn.is_none() => {}
            Some(offer) => drop(self.withdrawn.lock().insert((OfferName::new(offer), version))),
            None => {
                let steps = canary::schedule(dossier);
                if steps != Steps::default() {
                    self.steps.lock().insert((TariffName::new(kept_as), version), steps);
                }
            }
        }
    }

    /// Versions of tariffs that are for a share of subscribers only, as was said last.
    pub fn canaries(&self) -> Vec<(TariffName, u32)> {
        let steps = self.steps.lock();
        let running = steps.iter().filter(|(_, steps)| matches!(steps.at(Timestamp::NEVER), Reach::Some(..)));
        running.map(|(named, _)| named.clone()).collect()
    }

    /// All versions of everything.
    pub fn documents(&self) -> Vec<Document> {
        let mut all: Vec<Document> = self.tariffs.lock().values().cloned().map(Document::Tariff).collect();
        all.extend(self.offers.lock().values().cloned().map(Document::Offer));
        all.extend(self.periods.lock().values().cloned().map(|(periods, hash)| Document::Accounting(periods, hash)));
        all
    }

    /// Accounting periods in a version, with the hash of what they say.
    pub fn periods_of(&self, version: u32) -> Option<Accounting> {
        self.periods.lock().get(&version).cloned()
    }

    /// The accounting periods that count.
    pub fn periods(&self) -> Option<Arc<Periods>> {
        self.periods.lock().last_key_value().map(|(_, (periods, _))| periods.clone())
    }

    /// The document of the same kind, name and number.
    pub fn same(&self, document: &Document) -> Option<Document> {
        match document {
            Document::Tariff(version) => self.get(version.name(), version.version()).map(Document::Tariff),
            Document::Offer(version) => {
                let key = (version.name().clone(), version.version());
                self.offers.lock().get(&key).cloned().map(Document::Offer)
            }
            Document::Accounting(periods, _) => {
                let there = self.periods.lock().get(&periods.version()).cloned();
                there.map(|(periods, hash)| Document::Accounting(periods, hash))
            }
        }
    }

    /// Adds a version.
    pub fn insert(&self, document: Document) {
        match document {
            Document::Tariff(version) => {
                self.tariffs.lock().insert((version.name().clone(), version.version()), version);
            }
            Document::Offer(version) => {
                self.offers.lock().insert((version.name().clone(), version.version()), version);
            }
            Document::Accounting(periods, hash) => {
                self.periods.lock().insert(periods.version(), (periods, hash));
            }
        }
    }

    /// All of them in time.
    pub fn tariffs(&self) -> Tariffs {
        let mut tariffs = Tariffs::default();
        self.tariffs.lock().values().for_each(|version| tariffs.insert(version.clone()));
        self.offers.lock().values().for_each(|version| tariffs.insert_offer(version.clone()));
        self.periods.lock().values().for_each(|(periods, _)| tariffs.insert_periods(periods.clone()));
        self.withdrawn.lock().iter().for_each(|(offer, version)| tariffs.withdraw_offer(offer, *version));
        self.steps.lock().iter().for_each(|((name, version), steps)| tariffs.take_steps(name, *version, steps.clone()));
        tariffs
    }
}

/// Files of a store, opened: what charging needs and what runs behind it.
pub struct Store {
    /// Keeps the folder ours.
    _folder: Option<DataFolder>,
    /// The log.
    pub log: Arc<dyn Log>,
    /// The state behind the log.
    pub state: Arc<dyn StateStore>,
    /// The CDRs behind the log.
    pub cdrs: Arc<CdrStore>,
    /// Tariffs and offers.
    pub catalogue: Arc<Catalogue>,
    /// Records that belong to no shard.
    pub edge: Arc<Edge>,
}

/// A data folder as it was found: loaded, nothing running yet.
pub struct Loaded {
    /// Its files.
    pub store: Store,
    /// The accounts.
    pub shards: Shards,
    /// The index.
    pub directory: Directory,
    /// What was found.
    pub found: Found,
}

/// What opening a data folder found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Records read from the state store.
    pub records: u64,
    /// Entries replayed from the log's tail.
    pub replayed: u64,
    /// Octets of the frames that have them.
    pub replayed_octets: u64,
    /// Whether a torn last frame was cut.
    pub torn_tail: bool,
    /// The state store was complete up to here.
    pub checkpoint: Lsn,
    /// The last entry.
    pub last: Lsn,
    /// The latest time in the log's last frame: time goes on from there.
    pub newest: Timestamp,
    /// How long it took.
    pub took: Duration,
}

/// Octets from which on a frame of the log takes no further entry; a quarter of a segment where that is less.
const FRAME_OCTETS_MAX: u64 = 4 << 20;

fn log_options(config: &config::Data) -> LogOptions {
    let segments = usize::try_from(config.log_tail_mib_max / config.log_segment_mib.max(1)).unwrap_or(usize::MAX);
    LogOptions {
        segment_octets: config.log_segment_mib << 20,
        durability: match config.durability {
            config::Durability::Fsync => Durability::Fsync,
            config::Durability::Os => Durability::Os,
        },
        // As many as the tail may have, together with those in use: they are recycled instead of being written anew.
        spares_max: segments,
        segments_max: segments,
        ..LogOptions::default()
    }
}

fn journal_options(config: &Config) -> JournalOptions {
    JournalOptions {
        batch_octets_max: config.limits.batch_mib_max << 20,
        frame_octets_max: FRAME_OCTETS_MAX.min((config.data.log_segment_mib << 20) / 4),
        tail_octets_max: config.data.log_tail_octets_refuse(),
    }
}

/// Opens the data folder that `config` names and loads it, as of `now`.
///
/// # Errors
/// What could not be opened, read or understood, where, and what to do.
pub fn load(config: &Config, now: Timestamp) -> Result<Loaded, OpenError> {
    let path = &config.data.folder;
    let folder = DataFolder::open(path, |_, _| Ok(())).map_err(|error| OpenError(error.to_string()))?;
    let state = RocksState::open(&folder.state(), RocksOptions::default()).map_err(because("state"))?;
    let (log_path, cdr_path) = (folder.log(), folder.cdrs());
    load_from(config, Some(folder), Arc::new(RealDisk), &log_path, &cdr_path, Arc::new(state), now)
}

/// Loads from any disk and state store; tests break them.
///
/// # Errors
/// As [`load`].
pub fn load_from(
    config: &Config,
    folder: Option<DataFolder>,
    disk: Arc<dyn Disk>,
    log_path: &Path,
    cdr_path: &Path,
    state: Arc<dyn StateStore>,
    now: Timestamp,
) -> Result<Loaded, OpenError> {
    let began = Instant::now();
    let checkpoint = state.checkpoint_lsn().map_err(because("state"))?;
    let mut found = Found { checkpoint, ..Found::default() };
    let catalogue = Arc::new(Catalogue::default());
    let shards = Shards::new(config.limits.shards, config.engine_limits());
    let (directory, edge) = (Directory::default(), Edge::default());
    let (opened, loaded) = std::thread::scope(|scope| {
        // The log and the CDRs are checked while the state is loaded.
        let opening = scope.spawn(|| open_files(config, disk, log_path, cdr_path));
        let loaded = load_catalogue(&*state, &catalogue, &mut found).and_then(|highest| {
            let loaded = load_state(&*state, &catalogue, &shards, &directory, &mut found)?;
            let audited = edge.open_audit(&*state)?;
            let key = keys::audit(edge.audited().0).to_vec();
            let audited = audited.map(|lsn| Highest { lsn, family: Family::Audit, key });
            let desk = edge.load_desk(&*state)?.map(|(lsn, key)| Highest { lsn, family: Family::Desk, key });
            Ok(highest.max(loaded).max(audited).max(desk))
        });
        (opening.join().map_err(|_| OpenError("the thread that opens the log panicked".to_owned())), loaded)
    });
    let (log, recovered, cdrs) = opened??;
    let highest = loaded?;
    found.last = log.position().last_lsn();
    found.torn_tail = recovered.tail_cut.is_some();
    if let Some(cut) = &recovered.tail_cut {
        tracing::warn!(file = %cut.file.display(), offset = cut.offset, lsn = cut.lsn.get(), "cut a torn last frame; nothing in it was ever answered");
    }
    if found.last < checkpoint {
        return Err(OpenError(format!(
            "the log ends at {} but the state was complete up to {checkpoint}: the log folder belongs to another state or has \
             lost segments; restore both from the same copy",
            found.last
        )));
    }
    if let Some(Highest { lsn, family, key }) = highest
        && lsn > found.last
    {
        let key: String = key.iter().map(|octet| format!("{octet:02x}")).collect();
        let family = family.name();
        return Err(OpenError(format!(
            "the record {key} of {family} in the state is of entry {lsn}, but the log ends at {}: entries are lost that the state \
             has the result of; restore log and state from the same copy",
            found.last
        )));
    }
    let edge = Arc::new(edge);
    let store = Store { _folder: folder, log: Arc::new(log), state, cdrs: Arc::new(cdrs), catalogue, edge };
    found.newest = newest(&*store.log)?;
    let loaded = began.elapsed();
    replay(&store, &shards, &directory, &mut found)?;
    take_dossiers(&store.edge, &store.catalogue)?;
    let replayed = began.elapsed();
    rebuild(&store, &shards, &directory, now.max(found.newest), checkpoint)?;
    found.took = began.elapsed();
    tracing::debug!(?loaded, ?replayed, rebuilt = ?found.took, "times since the folder was opened");
    Ok(Loaded { store, shards, directory, found })
}

/// The latest time in the log's last frame, as far as there is one.
fn newest(log: &dyn Log) -> Result<Timestamp, OpenError> {
    let position = log.position();
    let mut newest = Timestamp::default();
    if position.last_lsn() < position.first_lsn {
        return Ok(newest);
    }
    let (mut cursor, mut frame) = (LogCursor::from(position.last_lsn()), Frame::new());
    if log.read_next(&mut cursor, &mut frame).map_err(because("log"))? {
        for (lsn, octets) in frame.entries() {
            newest = newest.max(records::decode_entry_head(octets).map_err(because(&format!("log entry {lsn}")))?.now);
        }
    }
    Ok(newest)
}

/// The record of the highest LSN that was loaded; the log must reach as far.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Highest {
    lsn: Lsn,
    family: Family,
    key: Vec<u8>,
}

fn note(highest: &mut Option<Highest>, lsn: Lsn, family: Family, key: &[u8]) {
    match highest {
        Some(highest) if highest.lsn >= lsn => {}
        Some(highest) => {
            (highest.lsn, highest.family) = (lsn, family);
            highest.key.clear();
            highest.key.extend_from_slice(key);
        }
        None => *highest = Some(Highest { lsn, family, key: key.to_vec() }),
    }
}

/// Makes what is not stored of what is loaded, with two threads.
fn rebuild(
    store: &Store,
    shards: &Shards,
    directory: &Directory,
    now: Timestamp,
    checkpoint: Lsn,
) -> Result<(), OpenError> {
    let next = AtomicUsize::new(0);
    // Ids that several groups have a session under, which one of them has opened last.
    let twice = Mutex::new(Vec::new());
    let worker = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= shards.len() {
                return;
            }
            shards.with_index(index, |shard| {
                shard.rebuild(now, checkpoint);
                shard.accounts().for_each(|account| directory.group_account(account.id, account.group));
                shard.subscribers().for_each(|member| directory.group_member(member.id, member.group));
                let note = |id: &SessionId, group| {
                    if directory.loaded(id.clone(), group) {
                        twice.lock().push((id.clone(), group));
                    }
                };
                for session in shard.sessions() {
                    if let Some(account) = shard.account(session.account) {
                        note(&session.id, account.group);
                    }
                }
                shard.all_archived().for_each(|archived| note(&archived.id, archived.group));
            });
        }
    };
    std::thread::scope(|scope| {
        let second = scope.spawn(worker);
        worker();
        second.join().map_err(|_| OpenError("a loading thread panicked".to_owned()))
    })?;
    // Whoever opened an id last has it: only then are its repeats found, and its reports charged to whom they are of. What
    // was changed last says nothing: the other one was released after that, or expired. A start that was denied at once took
    // it from nobody. One that is still open although another group's came after it was not released in time: it expires.
    let rank = |session: &Session, changed: Option<Lsn>| {
        let took = !matches!(session.phase, Phase::Denied { .. }) || session.answers.len() > 1;
        (took, session.opened, session.is_open(), changed)
    };
    let opened = |id: &SessionId, group: GroupId| {
        let there = shards.with(group, |shard| match shard.session(id) {
            Some(session) => Some(Ok(rank(session, shard.session_changed(id)))),
            None => shard.archived(id).cloned().map(Err),
        });
        Ok::<_, OpenError>(match there {
            Some(Ok(there)) => Some(there),
            Some(Err(archived)) => {
                let read = archive::read(&*store.state, &store.catalogue, &archived)?;
                read.map(|(session, lsn)| rank(&session, Some(lsn)))
            }
            None => None,
        })
    };
    for (id, group) in twice.into_inner() {
        let known = directory.session(&id);
        let later = match known {
            Some(known) => opened(&id, known)? < opened(&id, group)?,
            None => true,
        };
        if later {
            directory.opened(id, group, true);
        }
    }
    Ok(())
}

/// Opens the log and the CDR store, which read and check what they have.
fn open_files(
    config: &Config,
    disk: Arc<dyn Disk>,
    log_path: &Path,
    cdr_path: &Path,
) -> Result<(SegmentLog, Recovered, CdrStore), OpenError> {
    let (log, recovered) =
        SegmentLog::open(disk.clone(), log_path, log_options(&config.data)).map_err(because("log"))?;
    let options = CdrOptions { segment_octets: config.data.cdr_segment_mib << 20, ..CdrOptions::default() };
    let cdrs = CdrStore::open(disk, cdr_path, options, &log.position()).map_err(because("CDR store"))?;
    Ok((log, recovered, cdrs))
}

fn load_catalogue(
    state: &dyn StateStore,
    catalogue: &Catalogue,
    found: &mut Found,
) -> Result<Option<Highest>, OpenError> {
    let (mut bad, mut highest) = (None, None);
    for range in state.ranges(Family::Catalogue, 1).map_err(because("state"))? {
        state
            .load(Family::Catalogue, &range, &mut |key, value| {
                found.records += 1;
                let taken = records::decode_document(value).map_err(because("a stored tariff or offer")).and_then(
                    |(source, lsn)| {
                        note(&mut highest, lsn, Family::Catalogue, key);
                        take_document(catalogue, source)
                    },
                );
                if let Err(error) = taken {
                    bad.get_or_insert(error);
                }
            })
            .map_err(because("state"))?;
    }
    bad.map_or(Ok(highest), Err)
}

pub(crate) fn take_document(catalogue: &Catalogue, source: &[u8]) -> Result<(), OpenError> {
    let text = std::str::from_utf8(source).map_err(because("a stored tariff or offer"))?;
    catalogue.insert(crate::catalogue::parse_stored(text).map_err(because("a stored tariff or offer"))?);
    Ok(())
}

/// What the desk says of whom versions are for, and of what was rolled back.
fn take_dossiers(edge: &Edge, catalogue: &Catalogue) -> Result<(), OpenError> {
    let wrong = because("a dossier of the desk");
    for (key, value) in edge.desk_records(&keys::desk(keys::Drawer::Drafts, b""), None, usize::MAX) {
        let dossier = records::decode_dossier(&value).map_err(&wrong)?;
        let (name, version) = keys::read_catalogue(key.get(1..).unwrap_or_default()).map_err(&wrong)?;
        catalogue.take_dossier(name.as_str(), version, &dossier);
    }
    Ok(())
}

fn kind_of(family: Family) -> Option<EntityKind> {
    match family {
        Family::Accounts => Some(EntityKind::Account),
        Family::Sessions => Some(EntityKind::Session),
        Family::Subscribers => Some(EntityKind::Subscriber),
        Family::Mutations => Some(EntityKind::Mutation),
        Family::Identifiers | Family::Catalogue | Family::Audit | Family::Desk | Family::Meta => None,
    }
}

/// Loads accounts, subscribers, sessions, mutations and identifiers with two threads.
fn load_state(
    state: &dyn StateStore,
    catalogue: &Catalogue,
    shards: &Shards,
    directory: &Directory,
    found: &mut Found,
) -> Result<Option<Highest>, OpenError> {
    let families = [Family::Identifiers, Family::Accounts, Family::Subscribers, Family::Sessions, Family::Mutations];
    let mut work = Vec::new();
    for family in families {
        let ranges = state.ranges(family, 8).map_err(because("state"))?;
        work.extend(ranges.into_iter().map(|range| (family, range)));
    }
    let queue = Mutex::new(work.into_iter());
    let resolve = |name: &TariffName, version: u32| catalogue.get(name, version);
    let read = std::thread::scope(|scope| {
        let worker = || -> Result<(u64, Option<Highest>), OpenError> {
            let (mut count, mut highest) = (0, None);
            loop {
                let Some((family, range)) = queue.lock().next() else { return Ok((count, highest)) };
                let mut bad: Option<RecordError> = None;
                let each = &mut |key: &[u8], value: &[u8]| {
                    count += 1;
                    let loaded = match kind_of(family) {
                        Some(kind) => records::decode_entity(kind, key, value, &resolve).map(|entity| {
                            note(&mut highest, entity.lsn, family, key);
                            shards.with(entity.group, |shard| match entity.image {
                                Image::Session(session) => shard.load_session(*session, entity.group, entity.lsn),
                                image @ (Image::Account(_)
                                | Image::Subscriber(_)
                                | Image::Mutation(..)
                                | Image::Gone(..)) => {
                                    shard.load(image, entity.lsn);
                                }
                            });
                        }),
                        None => keys::read_identifier(key).and_then(|(tenant, identifier)| {
                            let (owner, lsn) = records::decode_owner(value)?;
                            note(&mut highest, lsn, family, key);
                            directory.point(tenant, identifier, (owner.subscriber, owner.group));
                            Ok(())
                        }),
                    };
                    if let Err(error) = loaded {
                        bad.get_or_insert(error);
                    }
                };
                state.load(family, &range, each).map_err(because("state"))?;
                if let Some(error) = bad {
                    return Err(OpenError(format!("a record of {}: {error}", family.name())));
                }
            }
        };
        let second = scope.spawn(worker);
        let first = worker()?;
        let second = second.join().map_err(|_| OpenError("a loading thread panicked".to_owned()))??;
        Ok::<_, OpenError>((first.0 + second.0, first.1.max(second.1)))
    })?;
    found.records += read.0;
    Ok(read.1)
}

fn family_of(key: &EntityKey) -> Family {
    match key {
        EntityKey::Account(_) => Family::Accounts,
        EntityKey::Session(_) => Family::Sessions,
        EntityKey::Subscriber(_) => Family::Subscribers,
        EntityKey::Mutation(_) => Family::Mutations,
    }
}

/// What the checkpointer sweeps: every shard, and the records that belong to none.
struct Dirt {
    charging: Arc<Charging>,
    edge: Arc<Edge>,
}

impl DirtySource for Dirt {
    fn shards(&self) -> usize {
        self.charging.shards.len() + 1
    }

    fn dirty_len(&self, shard: usize) -> usize {
        if shard >= self.charging.shards.len() {
            return self.edge.len();
        }
        self.charging.shards.with_index(shard, |shard| shard.dirty_len()).0
    }

    fn take_dirty(&self, shard: usize, max: usize, records: &mut Vec<DirtyRecord>) -> usize {
        if shard >= self.charging.shards.len() {
            let taken = self.edge.take(max);
            let changes = taken.len();
            records.extend(taken.into_iter().map(|EdgeRecord { family, key, value, lsn }| DirtyRecord {
                family,
                key,
                value,
                lsn,
            }));
            return changes;
        }
        let (changes, _) = self.charging.shards.with_index(shard, |shard| {
            shard.take_dirty(max, |key, group, lsn, entity| {
                let mut octets = Vec::new();
                keys::entity(&mut octets, group, key);
                let value = entity.map(|entity| {
                    let mut value = Vec::new();
                    records::encode_entity(&mut value, entity, group, lsn);
                    value
                });
                records.push(DirtyRecord { family: family_of(key), key: octets, value, lsn });
            })
        });
        changes
    }
}

/// Everything that runs behind charging. Dropped in the right order by [`Running::shutdown`].
pub struct Running {
    /// The charging system.
    pub charging: Arc<Charging>,
    /// The files.
    pub store: Store,
    /// What of the log a restart would replay.
    pub tail: Arc<Tail>,
    /// Whose CDRs these are.
    pub partition: PartitionId,
    mover: CdrMover,
    checkpointer: Arc<Checkpointer>,
}

/// Starts journal, CDR mover and checkpointer behind what was loaded. `failed` is told once when the disk fails: the
/// process must end, for nothing can be answered any more.
///
/// # Errors
/// When the system gives no thread.
pub fn run(
    config: &Config,
    loaded: Loaded,
    clock: Arc<Clock>,
    telemetry: Arc<Telemetry>,
    failed: balance_store::FailureHook,
) -> Result<Running, OpenError> {
    let Loaded { store, shards, directory, found } = loaded;
    let checkpoint = found.checkpoint;
    clock.not_before(found.newest);
    let batch_octets_max = config.limits.batch_mib_max << 20;
    let tail = Arc::new(Tail::new(checkpoint, found.replayed_octets));
    telemetry.checkpoint_found(checkpoint.get());
    let (stats, written) = (telemetry.clone(), tail.clone());
    let hooks = JournalHooks {
        failure: failed.clone(),
        committed: Arc::new(move |commit| {
            written.wrote(commit.octets);
            stats.committed(commit.entries, commit.cdrs, commit.octets, commit.took);
        }),
    };
    let journal =
        Arc::new(Journal::start(store.log.clone(), journal_options(config), hooks).map_err(because("journal"))?);
    let charging = Arc::new(Charging::new(Parts {
        shards,
        directory,
        journal: journal.clone(),
        archive: Archive::new(store.state.clone(), store.catalogue.clone()),
        edge: store.edge.clone(),
        clock,
        telemetry: telemetry.clone(),
        batch_octets_max,
    }));
    let (open, reserved) = charging.sums();
    telemetry.restored(u64::try_from(open).unwrap_or(u64::MAX), reserved);
    let line = Arc::new(CutLine::new(store.log.clone(), checkpoint, store.cdrs.durable().lsn));
    let mark = journal.mark().clone();
    let mover = CdrMover::start(
        store.log.clone(),
        mark.clone(),
        store.cdrs.clone(),
        line.clone(),
        CdrMoverOptions::default(),
        failed.clone(),
    )
    .map_err(because("CDR mover"))?;
    let options = CheckpointOptions {
        interval: Duration::from_secs(config.data.checkpoint_seconds),
        tail_octets_max: config.data.log_tail_mib_max << 20,
        ..CheckpointOptions::default()
    };
    let source = Arc::new(Dirt { charging: charging.clone(), edge: store.edge.clone() });
    let stored = tail.clone();
    let (archiving, edge) = (charging.clone(), store.edge.clone());
    let swept = Arc::new(move |stats: &CheckpointStats| {
        stored.checkpointed(stats.lsn);
        telemetry.checkpointed(stats.lsn.get(), stats.took);
        archiving.archive_ended(stats.lsn);
        edge.swept(stats.lsn);
    });
    let checkpointer = Checkpointer::start(
        store.log.clone(),
        mark,
        store.state.clone(),
        source,
        line,
        options,
        CheckpointHooks { swept, failure: failed },
    )
    .map_err(because("checkpointer"))?;
    let partition = PartitionId::new(config.data.partition);
    Ok(Running { charging, store, tail, partition, mover, checkpointer: Arc::new(checkpointer) })
}

impl Running {
    /// Sweeps everything to the state store now and waits; `false` when the store has failed.
    #[must_use]
    pub fn checkpoint(&self) -> bool {
        self.checkpointer.checkpoint_now()
    }

    /// Drains the log, moves its CDRs, sweeps a last time and stops.
    pub fn shutdown(self) {
        let last = self.charging.journal.appended_lsn();
        // A failed log never reaches it; then there is nothing to wait for.
        let _ = self.charging.journal.mark().wait_for_at_most(last, Duration::from_secs(30));
        let swept = self.checkpointer.checkpoint_now();
        if !swept {
            tracing::warn!("the last checkpoint did not complete; the next start replays the log instead");
        }
        self.mover.shutdown();
        drop(self.checkpointer);
        self.charging.journal.shutdown();
    }
}
