//! Records that belong to no shard: network identifiers, catalogue documents, the audit log, and the records of the desk.
//!
//! They go through the log like everything else, alone or in the entry of a command; here they wait, dirty, until the
//! checkpoint takes them. The audit log's chain grows here, in the order of the log. The desk's records are all in memory, as
//! the log has them. Lock order: a shard, this, the open batch.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use balance_store::records::{self, AuditRecord, EntryEncoder, Owner};
use balance_store::{EntryWriter, Family, HashChain, Journal, KeyRange, StateStore, keys};
use parking_lot::{Mutex, MutexGuard, RwLock};
use rating_engine::ids::{Identifier, Lsn, TariffName, TenantId};
use rating_engine::time::Timestamp;

use crate::store::{OpenError, because};

/// Octets that most audit records are shorter than, and what a stored one has besides: memory is taken once for each.
const AUDIT_OCTETS: usize = 512;
const AUDIT_VALUE_OCTETS: usize = 64;

/// One record: its family, key, value and the entry that changed it.
#[derive(Clone, Debug)]
pub struct EdgeRecord {
    /// Its family.
    pub family: Family,
    /// Its key.
    pub key: Vec<u8>,
    /// Its octets; `None` when it is gone.
    pub value: Option<Vec<u8>>,
    /// The entry.
    pub lsn: Lsn,
}

impl EdgeRecord {
    /// An identifier and whom it means, as entry `lsn` has it; `None` for nobody any more.
    pub fn identifier(tenant: TenantId, identifier: &Identifier, owner: Option<Owner>, lsn: Lsn) -> Self {
        let mut key = Vec::new();
        keys::identifier(&mut key, tenant, identifier);
        let value = owner.map(|owner| {
            let mut value = Vec::new();
            records::encode_owner(&mut value, owner, lsn);
            value
        });
        Self { family: Family::Identifiers, key, value, lsn }
    }

    /// A catalogue document, as entry `lsn` has it.
    pub fn document(name: &TariffName, version: u32, source: &[u8], lsn: Lsn) -> Self {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        keys::catalogue(&mut key, name, version);
        records::encode_document(&mut value, source, lsn);
        Self { family: Family::Catalogue, key, value: Some(value), lsn }
    }

    fn desk(record: &DeskRecord, lsn: Lsn) -> Self {
        let value = record.value.as_ref().map(|octets| {
            let mut value = Vec::new();
            records::encode_desk_value(&mut value, octets, lsn);
            value
        });
        Self { family: Family::Desk, key: record.key.to_vec(), value, lsn }
    }

    fn audit(noted: &Noted, lsn: Lsn) -> Self {
        let mut value = Vec::with_capacity(noted.octets.len() + AUDIT_VALUE_OCTETS);
        records::encode_audit_value(&mut value, &noted.octets, noted.chain, lsn);
        Self { family: Family::Audit, key: keys::audit(noted.position).to_vec(), value: Some(value), lsn }
    }
}

/// The key of a record of the desk.
pub type DeskKey = Box<[u8]>;
/// Its octets.
pub type DeskValue = Arc<[u8]>;

/// A record of the desk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeskRecord {
    /// Its key, as [`keys::desk`] makes it.
    pub key: DeskKey,
    /// Its octets; `None` when it is gone.
    pub value: Option<DeskValue>,
}

impl DeskRecord {
    /// A record that is there from now on.
    pub fn there(key: impl Into<DeskKey>, value: impl Into<DeskValue>) -> Self {
        Self { key: key.into(), value: Some(value.into()) }
    }

    /// A record that is gone.
    pub fn gone(key: impl Into<DeskKey>) -> Self {
        Self { key: key.into(), value: None }
    }
}

/// What an entry has beside the records of shards.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    /// Catalogue documents, under the names by which they are kept. They share no entry with records of a shard.
    pub documents: Vec<(TariffName, u32, Arc<str>)>,
    /// Identifiers, and whom they mean from now on.
    pub identifiers: Vec<(TenantId, Identifier, Option<Owner>)>,
    /// Records of the desk.
    pub desk: Vec<DeskRecord>,
    /// What is noted in the audit log.
    pub audit: Option<AuditRecord>,
}

/// An audit record in its place.
#[derive(Clone, Debug)]
pub struct Noted {
    /// From 1, without gaps.
    pub position: u64,
    /// The chain after it.
    pub chain: HashChain,
    /// Its octets.
    pub octets: Arc<[u8]>,
}

/// What is beside, ready to be written.
#[derive(Debug)]
pub struct Ready<'a> {
    beside: &'a Beside,
    noted: Option<Noted>,
}

impl Ready<'_> {
    /// Writes it into an entry.
    pub fn write<'e>(&self, mut entry: EntryEncoder<'e>) -> EntryEncoder<'e> {
        for (name, version, source) in &self.beside.documents {
            entry = entry.catalogue(name, *version, source.as_bytes());
        }
        for (tenant, identifier, owner) in &self.beside.identifiers {
            entry = entry.identifier(*tenant, identifier, *owner);
        }
        for DeskRecord { key, value } in &self.beside.desk {
            entry = entry.desk(key, value.as_deref());
        }
        if let Some(Noted { position, chain, octets }) = &self.noted {
            entry = entry.audit(*position, *chain, octets);
        }
        entry
    }
}

#[derive(Debug)]
struct Waiting {
    dirty: VecDeque<EdgeRecord>,
    /// The last audit record's position, and the chain after it.
    audited: (u64, HashChain),
    /// Audit records that the state store may not have.
    recent: VecDeque<(Lsn, Noted)>,
}

/// Records waiting for the checkpoint.
#[derive(Debug)]
pub struct Edge {
    waiting: Mutex<Waiting>,
    claims: Mutex<()>,
    /// The desk, as the log has it.
    desk: RwLock<BTreeMap<DeskKey, DeskValue>>,
}

impl Default for Edge {
    fn default() -> Self {
        let waiting = Waiting { dirty: VecDeque::new(), audited: (0, HashChain::START), recent: VecDeque::new() };
        Self { waiting: Mutex::new(waiting), claims: Mutex::default(), desk: RwLock::default() }
    }
}

impl Edge {
    /// Held by whoever gives an identifier to somebody, from looking whose it is to pointing it: before any shard's lock.
    pub fn claim(&self) -> MutexGuard<'_, ()> {
        self.claims.lock()
    }

    /// Appends an entry that has something beside; `fill` writes it, and has [`Ready`] write its part last.
    pub fn append(
        &self,
        journal: &Journal,
        beside: &Beside,
        fill: impl FnOnce(&mut EntryWriter<'_>, &Ready<'_>),
    ) -> Lsn {
        let audit = beside.audit.as_ref().map(|record| {
            let mut octets = Vec::with_capacity(AUDIT_OCTETS);
            records::encode_audit(&mut octets, record);
            Arc::<[u8]>::from(octets)
        });
        // Held over the append: a sweep that has this entry below its checkpoint must find the records here.
        let mut waiting = self.waiting.lock();
        let noted = audit.map(|octets| {
            let (position, chain) = waiting.audited;
            Noted { position: position.saturating_add(1), chain: chain.after(&octets), octets }
        });
        let ready = Ready { beside, noted };
        let lsn = journal.append(|entry| fill(entry, &ready)).lsn;
        let documents = beside.documents.iter();
        waiting.dirty.extend(
            documents.map(|(name, version, source)| EdgeRecord::document(name, *version, source.as_bytes(), lsn)),
        );
        let identifiers = beside.identifiers.iter();
        waiting.dirty.extend(
            identifiers.map(|(tenant, identifier, owner)| EdgeRecord::identifier(*tenant, identifier, *owner, lsn)),
        );
        if !beside.desk.is_empty() {
            waiting.dirty.extend(beside.desk.iter().map(|record| EdgeRecord::desk(record, lsn)));
            self.take_to_desk(&beside.desk);
        }
        if let Some(noted) = ready.noted {
            waiting.note(noted, lsn);
        }
        lsn
    }

    fn take_to_desk(&self, records: &[DeskRecord]) {
        let mut desk = self.desk.write();
        for DeskRecord { key, value } in records {
            match value {
                Some(value) => drop(desk.insert(key.clone(), value.clone())),
                None => drop(desk.remove(key)),
            }
        }
    }

    /// A record of the desk, as of the last entry that was appended: what follows from it waits for the durable mark.
    pub fn desk_record(&self, key: &[u8]) -> Option<DeskValue> {
        self.desk.read().get(key).cloned()
    }

    /// Records of the desk whose keys begin with `prefix`, from behind the key `after` on; at most `max`.
    pub fn desk_records(&self, prefix: &[u8], after: Option<&[u8]>, max: usize) -> Vec<(DeskKey, DeskValue)> {
        let from = after.map_or(Bound::Included(prefix), Bound::Excluded);
        let desk = self.desk.read();
        let there = desk.range::<[u8], _>((from, Bound::Unbounded));
        let own = there.take_while(|(key, _)| key.starts_with(prefix)).take(max);
        own.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// How many records of the desk there are whose keys begin with `prefix`.
    pub fn desk_len(&self, prefix: &[u8]) -> usize {
        let desk = self.desk.read();
        desk.range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .count()
    }

    /// Reads the desk from the state store; returns the record of the highest entry.
    ///
    /// # Errors
    /// When it cannot be read, or a record is none.
    pub fn load_desk(&self, state: &dyn StateStore) -> Result<Option<(Lsn, Vec<u8>)>, OpenError> {
        let (mut bad, mut highest) = (None, None::<(Lsn, Vec<u8>)>);
        let mut desk = self.desk.write();
        state
            .load(Family::Desk, &KeyRange::ALL, &mut |key, value| match records::decode_desk_value(value) {
                Ok((octets, lsn)) => {
                    if highest.as_ref().is_none_or(|(known, _)| *known < lsn) {
                        highest = Some((lsn, key.to_vec()));
                    }
                    desk.insert(key.into(), octets.into());
                }
                Err(error) => {
                    bad.get_or_insert(error);
                }
            })
            .map_err(because("desk"))?;
        bad.map_or(Ok(highest), |error| Err(because("a record of the desk")(error)))
    }

    /// Puts a record of the desk that the log's tail has among those that wait.
    pub fn push_desk(&self, record: DeskRecord, lsn: Lsn) {
        self.waiting.lock().dirty.push_back(EdgeRecord::desk(&record, lsn));
        self.take_to_desk(&[record]);
    }

    /// Appends an entry of nothing else.
    pub fn append_alone(&self, journal: &Journal, now: Timestamp, beside: &Beside) -> Lsn {
        let group = beside.identifiers.iter().find_map(|(.., owner)| owner.map(|owner| owner.group));
        self.append(journal, beside, |entry, ready| {
            ready.write(EntryEncoder::begin(entry.buffer(), now, group)).finish();
        })
    }

    /// Logs that an identifier points at a subscriber. The caller updates the directory.
    pub fn point(
        &self,
        journal: &Journal,
        now: Timestamp,
        tenant: TenantId,
        identifier: &Identifier,
        owner: Owner,
    ) -> Lsn {
        let identifiers = vec![(tenant, identifier.clone(), Some(owner))];
        self.append_alone(journal, now, &Beside { identifiers, ..Beside::default() })
    }

    /// Logs a catalogue document, under the name by which it is kept.
    pub fn publish(&self, journal: &Journal, now: Timestamp, name: &TariffName, version: u32, source: &str) -> Lsn {
        let documents = vec![(name.clone(), version, source.into())];
        self.append_alone(journal, now, &Beside { documents, ..Beside::default() })
    }

    /// Puts a record that the log's tail has among those that wait.
    pub fn push(&self, record: EdgeRecord) {
        self.waiting.lock().dirty.push_back(record);
    }

    /// The same for an audit record.
    pub fn push_audit(&self, position: u64, chain: HashChain, octets: &[u8], lsn: Lsn) {
        self.waiting.lock().note(Noted { position, chain, octets: octets.into() }, lsn);
    }

    /// Finds the end of the audit log in the state store; returns the last record's entry.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open_audit(&self, state: &dyn StateStore) -> Result<Option<Lsn>, OpenError> {
        // Positions have no gaps: the last one is found by halving.
        let (mut there, mut beyond) = (0u64, 1u64);
        while stored(state, beyond)?.is_some() {
            (there, beyond) = (beyond, beyond.saturating_mul(2));
        }
        while beyond - there > 1 {
            let middle = there + (beyond - there) / 2;
            if stored(state, middle)?.is_some() {
                there = middle;
            } else {
                beyond = middle;
            }
        }
        let Some((noted, lsn)) = stored(state, there)? else { return Ok(None) };
        self.waiting.lock().audited = (there, noted.chain);
        Ok(Some(lsn))
    }

    /// The position of the audit log's last record, 0 for none, and the chain after it.
    pub fn audited(&self) -> (u64, HashChain) {
        self.waiting.lock().audited
    }

    /// The audit record at a position.
    ///
    /// # Errors
    /// When the state store cannot be read, or has something else there.
    pub fn audit_record(&self, state: &dyn StateStore, position: u64) -> Result<Option<Noted>, OpenError> {
        let recent = {
            let waiting = self.waiting.lock();
            let first = waiting.recent.front().map_or(0, |(_, noted)| noted.position);
            let place = position.checked_sub(first).and_then(|place| usize::try_from(place).ok());
            place.and_then(|place| waiting.recent.get(place)).map(|(_, noted)| noted.clone())
        };
        match recent {
            Some(noted) => Ok(Some(noted)),
            None => Ok(stored(state, position)?.map(|(noted, _)| noted)),
        }
    }

    /// Everything up to `lsn` is in the state store.
    pub fn swept(&self, lsn: Lsn) {
        let mut waiting = self.waiting.lock();
        let swept = waiting.recent.partition_point(|(of, _)| *of <= lsn);
        waiting.recent.drain(..swept);
    }

    /// The value of a record that waits for the checkpoint.
    pub fn waiting(&self, family: Family, key: &[u8]) -> Option<Vec<u8>> {
        let waiting = self.waiting.lock();
        let found = waiting.dirty.iter().rev().find(|record| record.family == family && record.key == key);
        found.and_then(|record| record.value.clone())
    }

    /// How many records wait.
    pub fn len(&self) -> usize {
        self.waiting.lock().dirty.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes up to `max` records.
    pub fn take(&self, max: usize) -> Vec<EdgeRecord> {
        let mut waiting = self.waiting.lock();
        let take = waiting.dirty.len().min(max);
        waiting.dirty.drain(..take).collect()
    }
}

impl Waiting {
    fn note(&mut self, noted: Noted, lsn: Lsn) {
        self.audited = (noted.position, noted.chain);
        self.dirty.push_back(EdgeRecord::audit(&noted, lsn));
        self.recent.push_back((lsn, noted));
    }
}

/// The audit record that the state store has at a position.
fn stored(state: &dyn StateStore, position: u64) -> Result<Option<(Noted, Lsn)>, OpenError> {
    let Some(value) = state.get(Family::Audit, &keys::audit(position)).map_err(because("audit log"))? else {
        return Ok(None);
    };
    let (octets, chain, lsn) =
        records::decode_audit_value(&value).map_err(because(&format!("audit record {position}")))?;
    Ok(Some((Noted { position, chain, octets: octets.into() }, lsn)))
}

#[cfg(test)]
mod tests {
    use balance_store::keys::{Drawer, desk};
    use balance_store::{MemoryState, StateWrite};

    use super::*;

    /// What is read back from the state store, and from the log's tail behind it, is what was there: nothing that is gone
    /// comes back, and records of one drawer stand in the order of their keys.
    #[test]
    fn the_desk_is_loaded_as_it_was() {
        let (edge, state) = (Edge::default(), MemoryState::default());
        let key = |rest: &[u8]| desk(Drawer::Drafts, rest);
        let records = [
            DeskRecord::there(key(b"b"), *b"two"),
            DeskRecord::there(key(b"a"), *b"one"),
            DeskRecord::there(key(b"c"), *b"three"),
            DeskRecord::there(desk(Drawer::Requests, b"a"), *b"other"),
            DeskRecord::gone(key(b"c")),
        ];
        for (number, record) in records.into_iter().enumerate() {
            edge.push_desk(record, Lsn::new(number as u64 + 1));
        }
        for EdgeRecord { family, key, value, .. } in edge.take(100) {
            state.write(&[StateWrite { family, key: &key, value: value.as_deref() }]).unwrap();
        }
        let again = Edge::default();
        assert_eq!(again.load_desk(&state).unwrap().map(|(lsn, _)| lsn), Some(Lsn::new(4)));
        again.push_desk(DeskRecord::gone(key(b"a")), Lsn::new(6));
        for (edge, expected) in [(&edge, &["one", "two"][..]), (&again, &["two"])] {
            let there = edge.desk_records(&desk(Drawer::Drafts, b""), None, 10);
            let there: Vec<&[u8]> = there.iter().map(|(_, value)| &**value).collect();
            assert_eq!(there, expected.iter().map(|text| text.as_bytes()).collect::<Vec<_>>());
            assert_eq!(edge.desk_record(&desk(Drawer::Requests, b"a")).as_deref(), Some(&b"other"[..]));
        }
        assert_eq!(edge.desk_records(&desk(Drawer::Drafts, b""), Some(&key(b"a")), 10).len(), 1);
        assert_eq!((edge.desk_len(&desk(Drawer::Drafts, b"")), again.desk_len(&desk(Drawer::Drafts, b""))), (2, 1));
    }
}
