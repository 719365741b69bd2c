//! Records that belong to no shard: network identifiers and catalogue documents.
//!
//! They go through the log like everything else; here they wait, dirty, until the checkpoint takes them.

use std::collections::VecDeque;

use balance_store::records::{self, EntryEncoder, Owner};
use balance_store::{Family, Journal, keys};
use parking_lot::Mutex;
use rating_engine::ids::{Identifier, Lsn, TariffName, TenantId};
use rating_engine::time::Timestamp;

/// One record: its family, key, value and the entry that changed it.
#[derive(Clone, Debug)]
pub struct EdgeRecord {
    /// Its family.
    pub family: Family,
    /// Its key.
    pub key: Vec<u8>,
    /// Its octets.
    pub value: Vec<u8>,
    /// The entry.
    pub lsn: Lsn,
}

impl EdgeRecord {
    /// An identifier and whom it means, as entry `lsn` has it.
    pub fn identifier(tenant: TenantId, identifier: &Identifier, owner: Owner, lsn: Lsn) -> Self {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        keys::identifier(&mut key, tenant, identifier);
        records::encode_owner(&mut value, owner, lsn);
        Self { family: Family::Identifiers, key, value, lsn }
    }

    /// A catalogue document, as entry `lsn` has it.
    pub fn document(name: &TariffName, version: u32, source: &[u8], lsn: Lsn) -> Self {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        keys::catalogue(&mut key, name, version);
        records::encode_document(&mut value, source, lsn);
        Self { family: Family::Catalogue, key, value, lsn }
    }
}

/// Records waiting for the checkpoint.
#[derive(Debug, Default)]
pub struct Edge {
    dirty: Mutex<VecDeque<EdgeRecord>>,
}

impl Edge {
    /// Logs that an identifier points at a subscriber. The caller updates the directory.
    pub fn point(
        &self,
        journal: &Journal,
        now: Timestamp,
        tenant: TenantId,
        identifier: &Identifier,
        owner: Owner,
    ) -> Lsn {
        // Held over the append: a sweep that has this entry below its checkpoint must find the record here.
        let mut dirty = self.dirty.lock();
        let appended = journal.append(|entry| {
            EntryEncoder::begin(entry.buffer(), now, Some(owner.group))
                .identifier(tenant, identifier, Some(owner))
                .finish();
        });
        dirty.push_back(EdgeRecord::identifier(tenant, identifier, owner, appended.lsn));
        appended.lsn
    }

    /// Logs a catalogue document, under the name by which it is kept.
    pub fn publish(&self, journal: &Journal, now: Timestamp, name: &TariffName, version: u32, source: &str) -> Lsn {
        let mut dirty = self.dirty.lock();
        let appended = journal.append(|entry| {
            EntryEncoder::begin(entry.buffer(), now, None).catalogue(name, version, source.as_bytes()).finish();
        });
        dirty.push_back(EdgeRecord::document(name, version, source.as_bytes(), appended.lsn));
        appended.lsn
    }

    /// Puts a record that the log's tail has among those that wait.
    pub fn push(&self, record: EdgeRecord) {
        self.dirty.lock().push_back(record);
    }

    /// How many records wait.
    pub fn len(&self) -> usize {
        self.dirty.lock().len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes up to `max` records.
    pub fn take(&self, max: usize) -> Vec<EdgeRecord> {
        let mut dirty = self.dirty.lock();
        let take = dirty.len().min(max);
        dirty.drain(..take).collect()
    }
}
