//! The narrow door to files: what the log and the CDR store need of a disk, and nothing else.
//!
//! [`RealDisk`] is the operating system's; [`FaultDisk`] is one in memory that forgets, tears and fails as disks do when the power
//! goes, driven by a seed. RocksDB does not pass through here.

mod fault;
mod real;

use std::io;
use std::path::Path;
use std::sync::Arc;

pub use fault::{Crash, FaultDisk};
pub use real::RealDisk;

/// A folder tree of files. All methods may be called from any thread.
pub trait Disk: Send + Sync + 'static {
    /// Makes a folder and those above it; one that exists is fine. Durable only after [`Disk::sync_dir`] of its parent.
    ///
    /// # Errors
    /// What the system says.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes an empty file. Its name is durable only after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// `AlreadyExists`, or what the system says.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// `NotFound`, or what the system says.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name, replacing what had it. Durable only after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name; whoever has it open keeps its octets.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// The names of the files in a folder, in no order.
    ///
    /// # Errors
    /// What the system says.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// What the system says. The names may be lost: do not try again, stop.
    fn sync_dir(&self, folder: &Path) -> io::Result<()>;
}

/// One open file.
pub trait DiskFile: Send + Sync {
    /// Writes all of `octets` at `offset`. Durable only after [`DiskFile::sync_data`].
    ///
    /// # Errors
    /// What the system says; some of the octets may have been written.
    fn write_at(&self, octets: &[u8], offset: u64) -> io::Result<()>;

    /// Reads from `offset` and returns how many octets there were: fewer than asked only at the end of the file.
    ///
    /// # Errors
    /// What the system says.
    fn read_at(&self, octets: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Makes everything written so far, and the file's length, durable.
    ///
    /// # Errors
    /// What the system says. What was written may be lost: do not try again, stop.
    fn sync_data(&self) -> io::Result<()>;

    /// Cuts or extends the file.
    ///
    /// # Errors
    /// What the system says.
    fn set_len(&self, octets: u64) -> io::Result<()>;

    /// The file's length in octets.
    ///
    /// # Errors
    /// What the system says.
    fn octets(&self) -> io::Result<u64>;
}
