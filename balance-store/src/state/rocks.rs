//! The state in RocksDB: one database, one column family per [`Family`].
//!
//! Its own write-ahead log is off: ours stands in front. What survives a crash is what was flushed, and flushes are atomic over all
//! families, so the checkpoint record never survives without the records written before it. Compaction is kept small and slow:
//! few background threads of low priority, a rate limit, modest memory.

use std::path::{Path, PathBuf};

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, Env, FlushOptions, Options, ReadOptions,
    WriteBatch, WriteOptions,
};

use super::{Family, KeyRange, StateError, StateWrite, split};
use crate::octets::to_usize;
use crate::{Lsn, StateStore};

/// Keys of the store's own in [`Family::Meta`] begin with a zero octet.
const CHECKPOINT_KEY: &[u8] = b"\0checkpoint";

/// Bits of bloom filter for a key that is read by itself: one look in a hundred is in vain.
const BLOOM_BITS_PER_KEY: f64 = 10.0;

/// How much RocksDB may use.
#[derive(Clone, Copy, Debug)]
pub struct RocksOptions {
    /// Memory for one family's memtable, in octets.
    pub memtable_octets: u64,
    /// Memory for all memtables together, in octets.
    pub memtables_octets_max: u64,
    /// Memory for cached blocks, in octets.
    pub cache_octets: u64,
    /// Octets per second that flushes and compactions may write.
    pub background_octets_per_second: u32,
    /// Background threads.
    pub background_jobs: u8,
}

impl Default for RocksOptions {
    fn default() -> Self {
        Self {
            memtable_octets: 32 << 20,
            memtables_octets_max: 128 << 20,
            cache_octets: 64 << 20,
            background_octets_per_second: 64 << 20,
            background_jobs: 2,
        }
    }
}

/// The state in a RocksDB database.
pub struct RocksState {
    db: DB,
    folder: PathBuf,
}

impl RocksState {
    /// Opens the database in `folder`, or makes it.
    ///
    /// # Errors
    /// [`StateError::Database`] with RocksDB's own words.
    pub fn open(folder: &Path, options: RocksOptions) -> Result<Self, StateError> {
        let error = |error| database("open", folder, error);
        std::fs::create_dir_all(folder).map_err(|error| StateError::Database {
            doing: "create",
            folder: folder.to_path_buf(),
            reason: error.to_string(),
        })?;
        let mut env = Env::new().map_err(error)?;
        env.lower_thread_pool_cpu_priority();
        let mut db_options = Options::default();
        db_options.set_env(&env);
        db_options.create_if_missing(true);
        db_options.create_missing_column_families(true);
        db_options.set_atomic_flush(true);
        db_options.set_max_background_jobs(i32::from(options.background_jobs.max(1)));
        db_options.set_max_subcompactions(1);
        db_options.set_db_write_buffer_size(to_usize(options.memtables_octets_max));
        db_options.set_ratelimiter(i64::from(options.background_octets_per_second), 10_000, 10);
        db_options.set_bytes_per_sync(1 << 20);
        db_options.set_max_open_files(512);
        db_options.set_keep_log_file_num(4);
        db_options.set_max_log_file_size(4 << 20);
        let cache = Cache::new_lru_cache(to_usize(options.cache_octets));
        let families = Family::ALL.map(|family| {
            let mut table = BlockBasedOptions::default();
            table.set_block_cache(&cache);
            if family == Family::Sessions {
                // Read one by one when an archived session is asked for: files that have it not are not looked into.
                table.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
            }
            let mut family_options = Options::default();
            family_options.set_block_based_table_factory(&table);
            family_options.set_write_buffer_size(to_usize(options.memtable_octets));
            ColumnFamilyDescriptor::new(family.name(), family_options)
        });
        // RocksDB insists that its default family is opened as well; nothing is kept there.
        let default = ColumnFamilyDescriptor::new("default", Options::default());
        let db = DB::open_cf_descriptors(&db_options, folder, families.into_iter().chain([default])).map_err(error)?;
        Ok(Self { db, folder: folder.to_path_buf() })
    }

    fn family(&self, family: Family) -> Result<&ColumnFamily, StateError> {
        self.db.cf_handle(family.name()).ok_or_else(|| StateError::Database {
            doing: "find a family of",
            folder: self.folder.clone(),
            reason: format!("no column family {}", family.name()),
        })
    }

    fn error(&self, doing: &'static str) -> impl FnOnce(rocksdb::Error) -> StateError {
        move |error| database(doing, &self.folder, error)
    }

    fn put_batch(&self, batch: WriteBatch) -> Result<(), StateError> {
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.db.write_opt(batch, &options).map_err(self.error("write to"))
    }
}

impl StateStore for RocksState {
    fn write(&self, writes: &[StateWrite<'_>]) -> Result<(), StateError> {
        let mut batch = WriteBatch::default();
        for write in writes {
            let family = self.family(write.family)?;
            match write.value {
                Some(value) => batch.put_cf(&family, write.key, value),
                None => batch.delete_cf(&family, write.key),
            }
        }
        self.put_batch(batch)
    }

    fn checkpoint(&self, lsn: Lsn) -> Result<(), StateError> {
        let mut batch = WriteBatch::default();
        batch.put_cf(&self.family(Family::Meta)?, CHECKPOINT_KEY, lsn.get().to_be_bytes());
        self.put_batch(batch)?;
        let families = Family::ALL.into_iter().map(|family| self.family(family)).collect::<Result<Vec<_>, _>>()?;
        let mut options = FlushOptions::default();
        options.set_wait(true);
        self.db.flush_cfs_opt(&families.iter().collect::<Vec<_>>(), &options).map_err(self.error("flush"))
    }

    fn checkpoint_lsn(&self) -> Result<Lsn, StateError> {
        match self.get(Family::Meta, CHECKPOINT_KEY)? {
            None => Ok(Lsn::new(0)),
            Some(octets) => octets
                .try_into()
                .map(|octets| Lsn::new(u64::from_be_bytes(octets)))
                .map_err(|_| StateError::BadMeta { folder: self.folder.clone(), record: "checkpoint" }),
        }
    }

    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.db.get_cf(&self.family(family)?, key).map_err(self.error("read"))
    }

    fn ranges(&self, family: Family, parts: usize) -> Result<Vec<KeyRange>, StateError> {
        let mut keys = self.db.raw_iterator_cf(&self.family(family)?);
        keys.seek_to_first();
        let first = keys.key().map(<[u8]>::to_vec);
        keys.seek_to_last();
        let last = keys.key().map(<[u8]>::to_vec);
        keys.status().map_err(self.error("read"))?;
        Ok(first.zip(last).map_or(vec![KeyRange::ALL], |(first, last)| split(&first, &last, parts)))
    }

    fn load(&self, family: Family, range: &KeyRange, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StateError> {
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        options.set_readahead_size(1 << 20);
        if let Some(to) = &range.to {
            options.set_iterate_upper_bound(to.as_slice());
        }
        let mut records = self.db.raw_iterator_cf_opt(&self.family(family)?, options);
        match &range.from {
            Some(from) => records.seek(from),
            None => records.seek_to_first(),
        }
        while let Some((key, value)) = records.item() {
            if family != Family::Meta || !key.starts_with(b"\0") {
                each(key, value);
            }
            records.next();
        }
        records.status().map_err(self.error("read"))
    }
}

fn database(doing: &'static str, folder: &Path, error: rocksdb::Error) -> StateError {
    StateError::Database { doing, folder: folder.to_path_buf(), reason: error.into_string() }
}

impl std::fmt::Debug for RocksState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RocksState").field("folder", &self.folder).finish_non_exhaustive()
    }
}
