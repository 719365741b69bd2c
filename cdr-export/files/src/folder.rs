//! A folder of files: each with a manifest that says what is in it, and both appear whole or not at all.
//!
//! A file is written under a name of its own, synced, and renamed; then its manifest, which is the proof: a file without one is
//! unfinished and made again. Nothing that is there is ever overwritten by something else. Absent: what is in a file.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use cdr_client::Failure;
use ocs_proto::cdr::v1::RatedCdr;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::schema::{VERSION, hex};

/// How a manifest's name ends.
const MANIFEST: &str = "manifest.json";
/// How the name of what is being written ends.
const PART: &str = ".part";

/// What a file has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    /// Version of the columns.
    pub(crate) schema: u32,
    /// The partition.
    pub(crate) partition: u32,
    /// First position.
    pub(crate) first: u64,
    /// Last position.
    pub(crate) last: u64,
    /// How many records.
    pub(crate) records: u64,
    /// The hash chain before the first, hexadecimal.
    pub(crate) chain_before: String,
    /// The hash chain after the last.
    pub(crate) chain_after: String,
    /// Count and amount by kind and currency.
    pub(crate) sums: Vec<Sum>,
    /// The file's name.
    pub(crate) file: String,
    /// How long it is.
    pub(crate) octets: u64,
    /// SHA-256 of all of it, hexadecimal.
    pub(crate) sha256: String,
}

/// Count and amount of one kind and currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sum {
    /// The kind, as in the column.
    pub(crate) kind: String,
    /// ISO 4217 letters.
    pub(crate) currency: String,
    /// How many.
    pub(crate) records: u64,
    /// Their amounts, micro-units.
    pub(crate) amount_micros: i64,
}

/// Sums as they grow.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sums(pub(crate) BTreeMap<(String, String), (u64, i64)>);

impl Sums {
    /// Adds a record.
    pub(crate) fn add(&mut self, cdr: &RatedCdr) -> Result<(), Failure> {
        let kind = cdr.kind().as_str_name().trim_start_matches("CDR_KIND_").to_lowercase();
        let amount = cdr.amount.as_ref();
        let currency = amount.map(|amount| amount.currency.clone()).unwrap_or_default();
        let (records, micros) = self.0.entry((kind, currency)).or_default();
        *records += 1;
        *micros = micros
            .checked_add(amount.map_or(0, |amount| amount.mantissa))
            .ok_or_else(|| Failure(format!("CDR {}: the sum of its kind does not fit", cdr.position)))?;
        Ok(())
    }

    /// As a manifest has them.
    pub(crate) fn said(self) -> Vec<Sum> {
        let each = self.0.into_iter();
        each.map(|((kind, currency), (records, amount_micros))| Sum { kind, currency, records, amount_micros })
            .collect()
    }
}

/// Where something went wrong.
fn at(path: &Path, doing: &str) -> impl Fn(io::Error) -> Failure {
    let text = format!("{doing} {}", path.display());
    move |error| Failure(format!("{text}: {error}; what is written stays, start again to go on"))
}

/// A folder of files.
#[derive(Clone, Debug)]
pub(crate) struct Folder(PathBuf);

/// A file that is being written: counts and hashes what goes by.
pub(crate) struct Part {
    file: io::BufWriter<File>,
    hash: Sha256,
    octets: u64,
}

impl Write for Part {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let taken = self.file.write(octets)?;
        self.hash.update(octets.get(..taken).unwrap_or_default());
        self.octets = self.octets.saturating_add(u64::try_from(taken).unwrap_or(u64::MAX));
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Folder {
    /// A folder, made where there is none.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        fs::create_dir_all(path).map_err(at(path, "making the folder"))?;
        Ok(Self(path.to_owned()))
    }

    /// Manifests, by position; each continues the one before.
    pub(crate) fn manifests(&self) -> Result<Vec<Manifest>, Failure> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.0).map_err(at(&self.0, "reading"))? {
            let path = entry.map_err(at(&self.0, "reading"))?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(MANIFEST)) {
                let text = fs::read_to_string(&path).map_err(at(&path, "reading"))?;
                let manifest: Manifest = serde_json::from_str(&text)
                    .map_err(|error| Failure(format!("{}: is no manifest: {error}", path.display())))?;
                if manifest.schema > VERSION {
                    let newer = format!("has schema {}; this program knows up to {VERSION}", manifest.schema);
                    return Err(Failure(format!("{}: {newer}", path.display())));
                }
                found.push(manifest);
            }
        }
        found.sort_by_key(|manifest| manifest.first);
        Ok(found)
    }

    /// Begins to write a file.
    pub(crate) fn begin(&self, extension: &str) -> Result<Part, Failure> {
        let path = self.0.join(format!("next.{extension}{PART}"));
        let file = File::create(&path).map_err(at(&path, "making"))?;
        Ok(Part { file: io::BufWriter::with_capacity(1 << 20, file), hash: Sha256::new(), octets: 0 })
    }

    /// Gives what was written its name, and its manifest. What has that name already must be the same.
    pub(crate) fn finish(&self, mut part: Part, extension: &str, manifest: Manifest) -> Result<Manifest, Failure> {
        let unfinished = self.0.join(format!("next.{extension}{PART}"));
        let name = format!("cdr-{}-{:012}-{:012}.{extension}", manifest.partition, manifest.first, manifest.last);
        let path = self.0.join(&name);
        part.flush().map_err(at(&unfinished, "writing"))?;
        part.file.get_ref().sync_all().map_err(at(&unfinished, "syncing"))?;
        let sha256 = hex(&part.hash.finalize());
        if path.exists() && digest(&path)?.1 != sha256 {
            return Err(Failure(format!("{}: is there and is not what these CDRs make; move it away", path.display())));
        }
        fs::rename(&unfinished, &path).map_err(at(&path, "naming"))?;
        // A power cut must not leave the proof of a file that has no name yet.
        self.sync()?;
        let manifest = Manifest { file: name, octets: part.octets, sha256, ..manifest };
        let text = serde_json::to_string_pretty(&manifest).map_err(|error| Failure(error.to_string()))?;
        let proof = self.0.join(manifest_name(&manifest));
        let unproved = self.0.join(format!("next.{MANIFEST}{PART}"));
        let mut file = File::create(&unproved).map_err(at(&unproved, "making"))?;
        let written = writeln!(file, "{text}").and_then(|()| file.sync_all());
        written.and_then(|()| fs::rename(&unproved, &proof)).map_err(at(&proof, "writing"))?;
        self.sync()?;
        Ok(manifest)
    }

    /// Has the names of its files on disk.
    fn sync(&self) -> Result<(), Failure> {
        File::open(&self.0).and_then(|folder| folder.sync_all()).map_err(at(&self.0, "syncing"))
    }

    /// What is wrong with a file, if anything is.
    pub(crate) fn examine(&self, manifest: &Manifest) -> Result<Option<String>, Failure> {
        let path = self.0.join(&manifest.file);
        if !path.exists() {
            return Ok(Some(format!("{}: is gone", manifest.file)));
        }
        let (octets, sha256) = digest(&path)?;
        if octets != manifest.octets {
            return Ok(Some(format!("{}: has {octets} octets, its manifest says {}", manifest.file, manifest.octets)));
        }
        Ok((sha256 != manifest.sha256)
            .then(|| format!("{}: is not what was written, its SHA-256 is {sha256}", manifest.file)))
    }
}

fn manifest_name(manifest: &Manifest) -> String {
    let Manifest { partition, first, last, .. } = manifest;
    format!("cdr-{partition}-{first:012}-{last:012}.{MANIFEST}")
}

/// Length and SHA-256 of a file.
fn digest(path: &Path) -> Result<(u64, String), Failure> {
    let mut file = File::open(path).map_err(at(path, "opening"))?;
    let (mut hash, mut octets, mut buffer) = (Sha256::new(), 0u64, vec![0; 1 << 20]);
    loop {
        let read = file.read(&mut buffer).map_err(at(path, "reading"))?;
        if read == 0 {
            return Ok((octets, hex(&hash.finalize())));
        }
        hash.update(buffer.get(..read).unwrap_or_default());
        octets = octets.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
    }
}
