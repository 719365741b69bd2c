//! A disk in memory that behaves as badly as disks do.
//!
//! It models the page cache: a write is seen by every reader at once and survives a power cut only after a sync; until then
//! it may be forgotten, kept, or kept in part, torn at any octet, independently of the writes before and after it. Names
//! (creates, renames, removals) survive only after their folder's sync; one that is lost takes the later ones that build on it
//! along. A failed sync leaves the octets in the cache, clean, and perhaps nowhere else. Everything follows from the seed and
//! the order of the calls. Folders themselves are always there.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Disk, DiskFile};
use crate::octets::{to_u64, to_usize};

/// How the machine goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process ends; the page cache stays.
    Kill,
    /// The power goes; what was not synced is kept, torn or forgotten by the seed.
    PowerLoss,
}

/// A seeded disk in memory. Clones are the same disk, seen by the same process.
#[derive(Clone)]
pub struct FaultDisk {
    state: Arc<Mutex<State>>,
    epoch: u64,
}

struct State {
    random: u64,
    epoch: u64,
    files: BTreeMap<u64, FileState>,
    next_file: u64,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    pending_names: Vec<NameChange>,
    operations: u64,
    fuse: Option<u64>,
    sync_fuse: Option<u64>,
}

#[derive(Default)]
struct FileState {
    cache: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

enum Change {
    Write { offset: usize, octets: Vec<u8> },
    Length(usize),
}

enum NameChange {
    Create(PathBuf, u64),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl FaultDisk {
    /// An empty disk whose accidents follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let state = State {
            random: seed,
            epoch: 0,
            files: BTreeMap::new(),
            next_file: 0,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending_names: Vec::new(),
            operations: 0,
            fuse: None,
            sync_fuse: None,
        };
        Self { state: Arc::new(Mutex::new(state)), epoch: 0 }
    }

    /// Brings the machine down and up again. The handle returned sees what is left; this one, its clones and its open files
    /// only get errors from now on.
    #[must_use]
    pub fn restart(&self, crash: Crash) -> Self {
        let mut state = self.state.lock();
        state.epoch += 1;
        state.fuse = None;
        state.sync_fuse = None;
        if crash == Crash::PowerLoss {
            state.lose_power();
        }
        Self { state: Arc::clone(&self.state), epoch: state.epoch }
    }

    /// After `operations` more changing calls (writes, syncs, names) every call fails until [`FaultDisk::restart`]; the call that
    /// hits the limit may have been half done.
    pub fn fail_after(&self, operations: u64) {
        self.state.lock().fuse = Some(operations);
    }

    /// The sync of file data after `syncs` more good ones fails, once.
    pub fn fail_sync_after(&self, syncs: u64) {
        self.state.lock().sync_fuse = Some(syncs);
    }

    /// How many changing calls there have been.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// The octets of a file as readers see them; `None` when there is none of that name.
    #[must_use]
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state.lock();
        state.names.get(path).and_then(|id| state.files.get(id)).map(|file| file.cache.clone())
    }

    /// Replaces a file's octets behind everybody's back, durably: damage, or a file from elsewhere.
    pub fn plant(&self, path: &Path, octets: &[u8]) {
        let mut state = self.state.lock();
        let id = match state.names.get(path) {
            Some(id) => *id,
            None => state.new_file(path),
        };
        state.durable_names.insert(path.to_path_buf(), id);
        state.files.insert(id, FileState { cache: octets.to_vec(), durable: octets.to_vec(), pending: Vec::new() });
    }

    fn enter(&self) -> io::Result<parking_lot::MutexGuard<'_, State>> {
        let state = self.state.lock();
        if state.epoch != self.epoch {
            return Err(io::Error::other("the machine went down since this was opened"));
        }
        if state.fuse == Some(0) {
            return Err(io::Error::other("the disk is gone"));
        }
        Ok(state)
    }
}

impl std::fmt::Debug for FaultDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FaultDisk").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl State {
    fn draw(&mut self, below: u64) -> u64 {
        // SplitMix64.
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)).checked_rem(below).unwrap_or(0)
    }

    /// Counts a changing call; the error is for the one that hits the limit, after its change was noted.
    fn burn(&mut self) -> io::Result<()> {
        self.operations += 1;
        if let Some(left) = &mut self.fuse {
            *left -= 1;
            if *left == 0 {
                return Err(io::Error::other("the disk went away"));
            }
        }
        Ok(())
    }

    fn new_file(&mut self, path: &Path) -> u64 {
        let id = self.next_file;
        self.next_file += 1;
        self.files.insert(id, FileState::default());
        self.names.insert(path.to_path_buf(), id);
        id
    }

    /// Lets each unsynced write of a file reach the platter, in part, or not at all.
    fn settle(&mut self, id: u64) {
        let Some(mut file) = self.files.remove(&id) else { return };
        for change in std::mem::take(&mut file.pending) {
            match (self.draw(3), change) {
                (0, _) => {}
                (1, Change::Write { offset, octets }) => {
                    let end = to_usize(self.draw(to_u64(octets.len()) + 1));
                    // Mostly the beginning arrives; at times it is the beginning that does not.
                    let part = if self.draw(4) == 0 { end..octets.len() } else { 0..end };
                    let from = offset + part.start;
                    write(&mut file.durable, from, octets.get(part).unwrap_or_default());
                }
                (_, change) => change.apply(&mut file.durable),
            }
        }
        self.files.insert(id, file);
    }

    fn lose_power(&mut self) {
        let mut lost: Vec<PathBuf> = Vec::new();
        for change in std::mem::take(&mut self.pending_names) {
            let builds_on_lost = change.paths().any(|path| lost.iter().any(|gone| gone == path));
            if builds_on_lost || self.draw(2) == 0 {
                lost.extend(change.paths().cloned());
            } else {
                change.apply(&mut self.durable_names);
            }
        }
        self.names = self.durable_names.clone();
        for id in self.files.keys().copied().collect::<Vec<_>>() {
            self.settle(id);
        }
        let named: Vec<u64> = self.names.values().copied().collect();
        self.files.retain(|id, _| named.contains(id));
        for file in self.files.values_mut() {
            file.cache.clone_from(&file.durable);
        }
    }
}

impl Change {
    fn apply(self, octets: &mut Vec<u8>) {
        match self {
            Self::Write { offset, octets: new } => write(octets, offset, &new),
            Self::Length(length) => octets.resize(length, 0),
        }
    }
}

impl NameChange {
    fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        let (one, two) = match self {
            Self::Create(path, _) | Self::Remove(path) => (path, None),
            Self::Rename(from, to) => (from, Some(to)),
        };
        std::iter::once(one).chain(two)
    }

    fn apply(self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Create(path, id) => {
                names.insert(path, id);
            }
            Self::Rename(from, to) => {
                if let Some(id) = names.remove(&from) {
                    names.insert(to, id);
                }
            }
            Self::Remove(path) => {
                names.remove(&path);
            }
        }
    }
}

fn write(file: &mut Vec<u8>, offset: usize, octets: &[u8]) {
    let end = offset + octets.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    if let Some(place) = file.get_mut(offset..end) {
        place.copy_from_slice(octets);
    }
}

fn missing(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no file {}", path.display()))
}

impl Disk for FaultDisk {
    fn create_dir(&self, _path: &Path) -> io::Result<()> {
        self.enter().map(drop)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.enter()?;
        if state.names.contains_key(path) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, path.display().to_string()));
        }
        let id = state.new_file(path);
        state.pending_names.push(NameChange::Create(path.to_path_buf(), id));
        state.burn()?;
        Ok(Arc::new(FaultFile { disk: self.clone(), id }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.enter()?;
        let id = *state.names.get(path).ok_or_else(|| missing(path))?;
        Ok(Arc::new(FaultFile { disk: self.clone(), id }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.enter()?;
        if !state.names.contains_key(from) {
            return Err(missing(from));
        }
        NameChange::Rename(from.to_path_buf(), to.to_path_buf()).apply(&mut state.names);
        state.pending_names.push(NameChange::Rename(from.to_path_buf(), to.to_path_buf()));
        state.burn()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.enter()?;
        state.names.remove(path).ok_or_else(|| missing(path))?;
        state.pending_names.push(NameChange::Remove(path.to_path_buf()));
        state.burn()
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let state = self.enter()?;
        let inside = state.names.keys().filter(|path| path.parent() == Some(folder));
        Ok(inside.filter_map(|path| path.file_name()?.to_str().map(String::from)).collect())
    }

    fn sync_dir(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.enter()?;
        state.burn()?;
        let (here, elsewhere) = std::mem::take(&mut state.pending_names)
            .into_iter()
            .partition(|change| change.paths().any(|path| path.parent() == Some(folder)));
        state.pending_names = elsewhere;
        let here: Vec<NameChange> = here;
        for change in here {
            change.apply(&mut state.durable_names);
        }
        Ok(())
    }
}

struct FaultFile {
    disk: FaultDisk,
    id: u64,
}

impl FaultFile {
    fn change(&self, cached: Change, pending: Change) -> io::Result<()> {
        let mut state = self.disk.enter()?;
        let file = state.files.get_mut(&self.id).ok_or_else(|| io::Error::other("the file is gone"))?;
        cached.apply(&mut file.cache);
        file.pending.push(pending);
        state.burn()
    }
}

impl DiskFile for FaultFile {
    fn write_at(&self, octets: &[u8], offset: u64) -> io::Result<()> {
        let change = || Change::Write { offset: to_usize(offset), octets: octets.to_vec() };
        self.change(change(), change())
    }

    fn read_at(&self, octets: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.enter()?;
        let file = state.files.get(&self.id).ok_or_else(|| io::Error::other("the file is gone"))?;
        let there = file.cache.get(to_usize(offset)..).unwrap_or_default();
        let read = there.len().min(octets.len());
        if let (Some(to), Some(from)) = (octets.get_mut(..read), there.get(..read)) {
            to.copy_from_slice(from);
        }
        Ok(read)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.enter()?;
        state.burn()?;
        if let Some(left) = state.sync_fuse {
            state.sync_fuse = left.checked_sub(1);
            if left == 0 {
                state.settle(self.id);
                return Err(io::Error::other("the disk could not write the page cache back"));
            }
        }
        let file = state.files.get_mut(&self.id).ok_or_else(|| io::Error::other("the file is gone"))?;
        for change in std::mem::take(&mut file.pending) {
            change.apply(&mut file.durable);
        }
        Ok(())
    }

    fn set_len(&self, octets: u64) -> io::Result<()> {
        self.change(Change::Length(to_usize(octets)), Change::Length(to_usize(octets)))
    }

    fn octets(&self) -> io::Result<u64> {
        let state = self.disk.enter()?;
        let file = state.files.get(&self.id).ok_or_else(|| io::Error::other("the file is gone"))?;
        Ok(to_u64(file.cache.len()))
    }
}
