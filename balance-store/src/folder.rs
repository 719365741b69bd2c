//! The data folder: owned by one process, written in one format.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// The format of the data folder this program writes.
pub const DATA_FORMAT: u32 = 1;

const LOCK_FILE: &str = "lock";
const FORMAT_FILE: &str = "format";

/// A data folder, locked for this process until dropped.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    /// The lock goes with the file; the system lets go of it however the process ends.
    _lock: File,
}

/// Why a data folder cannot be used.
#[derive(Debug)]
pub enum FolderError {
    /// The disk refused.
    Io {
        /// What was being done.
        doing: &'static str,
        /// With which file or folder.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process owns it.
    InUse {
        /// The folder.
        folder: PathBuf,
        /// Who, as far as the lock file says.
        owner: String,
    },
    /// A newer program wrote it.
    Newer {
        /// The folder.
        folder: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The format record is no number.
    BadFormat {
        /// The file.
        file: PathBuf,
    },
    /// It is of an older format and could not be brought up to this one.
    NotMigrated {
        /// The folder.
        folder: PathBuf,
        /// Its format.
        found: u32,
        /// Why not.
        reason: String,
    },
}

impl DataFolder {
    /// Locks a data folder, making it when it is not there. An older format is given to `migrate` first, one version at a
    /// time: (folder, from version).
    ///
    /// # Errors
    /// [`FolderError`], each naming the folder and what to do.
    pub fn open(path: &Path, mut migrate: impl FnMut(&Path, u32) -> Result<(), String>) -> Result<Self, FolderError> {
        make(path, |parent| File::open(parent)?.sync_all())?;
        let lock = lock(path)?;
        let format_file = path.join(FORMAT_FILE);
        let mut format = match std::fs::read_to_string(&format_file) {
            Ok(text) => text.trim().parse().map_err(|_| FolderError::BadFormat { file: format_file.clone() })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                write_format(path, DATA_FORMAT)?;
                DATA_FORMAT
            }
            Err(source) => return Err(io_error("read", &format_file)(source)),
        };
        if format > DATA_FORMAT {
            return Err(FolderError::Newer { folder: path.to_path_buf(), found: format });
        }
        while format < DATA_FORMAT {
            migrate(path, format).map_err(|reason| FolderError::NotMigrated {
                folder: path.to_path_buf(),
                found: format,
                reason,
            })?;
            format += 1;
            write_format(path, format)?;
        }
        Ok(Self { path: path.to_path_buf(), _lock: lock })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the log's segments are.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Where the state is.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.path.join("state")
    }

    /// Where the CDR store's segments are.
    #[must_use]
    pub fn cdrs(&self) -> PathBuf {
        self.path.join("cdr")
    }
}

/// Makes a folder and those above it, and makes their names durable: each new one's parent is synced, from the top down. The
/// folder's own parent always is, since whoever made the folder may not have come that far.
fn make(path: &Path, mut sync: impl FnMut(&Path) -> io::Result<()>) -> Result<(), FolderError> {
    let mut new: Vec<&Path> = vec![path];
    new.extend(path.ancestors().skip(1).take_while(|above| !above.as_os_str().is_empty() && !above.exists()));
    std::fs::create_dir_all(path).map_err(io_error("create", path))?;
    for folder in new.into_iter().rev() {
        let parent = match folder.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
            None => continue,
        };
        sync(parent).map_err(io_error("sync the folder", parent))?;
    }
    Ok(())
}

fn lock(path: &Path) -> Result<File, FolderError> {
    let file = path.join(LOCK_FILE);
    let mut lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&file)
        .map_err(io_error("open", &file))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut owner = String::new();
            let known = lock.read_to_string(&mut owner).is_ok() && !owner.trim().is_empty();
            let owner = if known { owner.trim().to_owned() } else { "another process".to_owned() };
            return Err(FolderError::InUse { folder: path.to_path_buf(), owner });
        }
        Err(TryLockError::Error(source)) => return Err(io_error("lock", &file)(source)),
    }
    lock.set_len(0).map_err(io_error("write", &file))?;
    write!(lock, "process {}", std::process::id()).map_err(io_error("write", &file))?;
    Ok(lock)
}

/// Replaces the format record whole: a crash leaves the old one or the new one.
fn write_format(path: &Path, format: u32) -> Result<(), FolderError> {
    let (new, file) = (path.join("format.new"), path.join(FORMAT_FILE));
    let write = || {
        let mut octets = File::create(&new)?;
        writeln!(octets, "{format}")?;
        octets.sync_all()?;
        std::fs::rename(&new, &file)?;
        File::open(path)?.sync_all()
    };
    write().map_err(io_error("write", &file))
}

fn io_error(doing: &'static str, file: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let file = file.to_path_buf();
    move |source| FolderError::Io { doing, file, source }
}

impl std::fmt::Display for FolderError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io { doing, file, source } => write!(f, "could not {doing} {}: {source}", file.display()),
            Self::InUse { folder, owner } => write!(
                f,
                "the data folder {} is in use by {owner}: stop it first, or name another folder",
                folder.display()
            ),
            Self::Newer { folder, found } => write!(
                f,
                "the data folder {} has format {found}, this program knows up to {DATA_FORMAT}: start the newer program version",
                folder.display()
            ),
            Self::BadFormat { file } => {
                write!(f, "{} does not hold a format number: restore it from a copy of the data folder", file.display())
            }
            Self::NotMigrated { folder, found, reason } => write!(
                f,
                "the data folder {} has format {found} and could not be migrated to {DATA_FORMAT}: {reason}",
                folder.display()
            ),
        }
    }
}

impl std::error::Error for FolderError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Self::Io { source, .. } = self { Some(source) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_migration(_: &Path, _: u32) -> Result<(), String> {
        Err("none".into())
    }

    #[test]
    fn the_name_of_every_new_folder_is_made_durable() {
        let folder = tempfile::tempdir().unwrap();
        let under = |name: &str| folder.path().join(name);
        let mut synced = Vec::new();
        let mut note = |parent: &Path| {
            assert!(parent.exists());
            synced.push(parent.to_owned());
            Ok(())
        };
        make(&under("a/b/c"), &mut note).unwrap();
        make(&under("a/b/c"), &mut note).unwrap();
        assert_eq!(synced, [folder.path().to_owned(), under("a"), under("a/b"), under("a/b")]);
        make(Path::new("/"), |_| panic!("it has no parent")).unwrap();
        let mut here = Vec::new();
        make(Path::new("src"), |parent| {
            here.push(parent.to_owned());
            Ok(())
        })
        .unwrap();
        assert_eq!(here, [Path::new(".")]);
    }

    #[test]
    fn one_process_owns_a_data_folder() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataFolder::open(folder.path(), no_migration).unwrap();
        let refusal = DataFolder::open(folder.path(), no_migration).unwrap_err().to_string();
        assert!(refusal.contains(&format!("process {}", std::process::id())), "{refusal}");
        drop(first);
        assert!(DataFolder::open(folder.path(), no_migration).is_ok());
    }

    #[test]
    fn a_newer_format_is_refused_and_an_older_one_migrated() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FORMAT_FILE), "7\n").unwrap();
        let refusal = DataFolder::open(folder.path(), no_migration).unwrap_err().to_string();
        assert!(refusal.contains("format 7") && refusal.contains("up to 1"), "{refusal}");
        std::fs::write(folder.path().join(FORMAT_FILE), "0\n").unwrap();
        assert!(matches!(
            DataFolder::open(folder.path(), no_migration),
            Err(FolderError::NotMigrated { found: 0, .. })
        ));
        let mut steps = Vec::new();
        let migrated = DataFolder::open(folder.path(), |_, from| {
            steps.push(from);
            Ok(())
        });
        assert!(migrated.is_ok());
        assert_eq!(steps, [0]);
        assert_eq!(std::fs::read_to_string(folder.path().join(FORMAT_FILE)).unwrap(), "1\n");
    }
}
