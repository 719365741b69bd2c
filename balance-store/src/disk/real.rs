//! The operating system's files.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Disk, DiskFile};

/// The operating system's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir_all(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = with_descriptor(|| OpenOptions::new().read(true).write(true).create_new(true).open(path))?;
        Ok(Arc::new(RealFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = with_descriptor(|| OpenOptions::new().read(true).write(true).open(path))?;
        Ok(Arc::new(RealFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in with_descriptor(|| std::fs::read_dir(folder))? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                // A name that is not UTF-8 is none of ours.
                names.extend(entry.file_name().into_string().ok());
            }
        }
        Ok(names)
    }

    fn sync_dir(&self, folder: &Path) -> io::Result<()> {
        with_descriptor(|| File::open(folder))?.sync_all()
    }
}

/// Linux's numbers for "no descriptor is left", of the process and of the system.
const NO_DESCRIPTOR: [i32; 2] = [24, 23];
/// How long to wait for a descriptor, and how often to ask.
const DESCRIPTOR_PATIENCE: Duration = Duration::from_secs(30);
const DESCRIPTOR_PAUSE: Duration = Duration::from_millis(20);

/// Opens what is to be opened. That no descriptor is left says nothing about the disk, and nothing was changed: wait until
/// somebody gives one back.
fn with_descriptor<T>(mut open: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut since = None;
    loop {
        match open() {
            Err(error) if error.raw_os_error().is_some_and(|number| NO_DESCRIPTOR.contains(&number)) => {
                let since = *since.get_or_insert_with(|| {
                    tracing::error!(%error, "no file descriptor is left for the store; waiting for one");
                    Instant::now()
                });
                if since.elapsed() >= DESCRIPTOR_PATIENCE {
                    return Err(error);
                }
                std::thread::sleep(DESCRIPTOR_PAUSE);
            }
            opened => return opened,
        }
    }
}

struct RealFile(File);

impl DiskFile for RealFile {
    fn write_at(&self, octets: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(octets, offset)
    }

    fn read_at(&self, octets: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = octets.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.0.read_at(rest, offset + u64::try_from(done).unwrap_or(u64::MAX)) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_len(&self, octets: u64) -> io::Result<()> {
        self.0.set_len(octets)
    }

    fn octets(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn want_of_descriptors_is_no_failed_disk() {
        let mut tries = [24, 23, 24].map(io::Error::from_raw_os_error).into_iter();
        let opened = with_descriptor(|| tries.next().map_or(Ok("opened"), Err));
        assert_eq!(opened.unwrap(), "opened");
        let refused = with_descriptor(|| Err::<(), _>(io::Error::from_raw_os_error(5)));
        assert_eq!(refused.unwrap_err().raw_os_error(), Some(5));
    }
}
