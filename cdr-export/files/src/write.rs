//! From the stream to files: where one ends and the next begins, and that each is what was hashed.
//!
//! A file ends before the first CDR that was accepted in a later hour (or day) of UTC than its first, or after so many records: the same
//! range always makes the same files. The chain is computed over the octets that each CDR is stored as, and compared with the server's.

use cdr_client::{Connection, Failure, MESSAGE_OCTETS_MAX};
use ocs_proto::cdr::v1 as wire;
use ocs_proto::cdr::v1::RatedCdr;
use ocs_proto::cdr::v1::cdr_export_client::CdrExportClient;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use crate::folder::{Folder, Manifest, Part, Sums};
use crate::form::{Csv, Form, Parquet, columns};
use crate::schema::{VERSION, hex};

/// What is written, and how.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// First CDR, where no manifest says it; `None` for the oldest that is kept.
    pub(crate) from: Option<u64>,
    /// Where to end; `None` for nowhere.
    pub(crate) until: Option<u64>,
    /// The form.
    pub(crate) parquet: bool,
    /// The most records of one file.
    pub(crate) records_max: u64,
    /// Seconds that one file is of: an hour, or a day.
    pub(crate) span_seconds: i64,
    /// Whether names of people and devices are in.
    pub(crate) with_identities: bool,
}

impl Wanted {
    pub(crate) const fn extension(&self) -> &'static str {
        if self.parquet { "parquet" } else { "csv" }
    }
}

/// A file that is being written.
struct Open {
    form: Box<dyn Form<Part> + Send>,
    first: u64,
    last: u64,
    span: i64,
    chain_before: Vec<u8>,
    sums: Sums,
}

/// Writes files until the end that is wanted; `each` is told of every file.
pub(crate) async fn write(
    connection: Connection,
    folder: &Folder,
    wanted: &Wanted,
    each: fn(&Manifest),
) -> Result<u64, Failure> {
    let mut client = CdrExportClient::new(connection).max_decoding_message_size(MESSAGE_OCTETS_MAX);
    let tail = client.get_tail(wire::GetTailRequest {}).await?.into_inner();
    let known = folder.manifests()?.pop();
    if let Some(other) = known.as_ref().filter(|known| known.partition != tail.partition) {
        let (own, theirs) = (other.partition, tail.partition);
        return Err(Failure(format!("the folder has files of partition {own}, the server is partition {theirs}")));
    }
    let (due, chain) = match &known {
        Some(known) => (known.last.saturating_add(1), unhex(&known.chain_after)),
        None => {
            let from = wanted.from.unwrap_or(tail.first_position).max(1);
            (from, if from == 1 { vec![0; 32] } else { chain_before(&mut client, from).await? })
        }
    };
    if wanted.until.is_some_and(|until| due > until) {
        return Ok(0);
    }
    let request = wire::StreamCdrsRequest {
        from_position: due,
        follow: wanted.until.is_none(),
        max_records: wanted.until.map_or(0, |until| until.saturating_sub(due).saturating_add(1)),
        with_stored_octets: true,
        ..wire::StreamCdrsRequest::default()
    };
    let mut stream = client.stream_cdrs(request).await?.into_inner();
    // One thread reads the stream, another one makes columns of it.
    let (hand_on, mut batches) = mpsc::channel(BATCHES_WAITING);
    let (folder, wanted, partition) = (folder.clone(), wanted.clone(), tail.partition);
    let writing = tokio::task::spawn_blocking(move || {
        let mut cutter = Cutter { folder, wanted, partition, due, chain, open: None, each };
        while let Some(Batch { last, batch }) = batches.blocking_recv() {
            cutter.take(batch)?;
            if last {
                cutter.close()?;
            }
        }
        Ok::<_, Failure>(cutter.due.saturating_sub(due))
    });
    let read = async {
        while let Some(batch) = stream.message().await? {
            if hand_on.send(Batch { last: false, batch }).await.is_err() {
                // The other thread says why.
                return Ok(());
            }
        }
        let _ = hand_on.send(Batch { last: true, batch: wire::StreamCdrsResponse::default() }).await;
        Ok::<_, Failure>(())
    };
    let read = read.await;
    drop(hand_on);
    let written = writing.await.map_err(|error| Failure(format!("the thread that writes ended: {error}")))?;
    // What could not be written is the reason, whatever came of the stream then.
    let written = written?;
    read.map(|()| written)
}

/// Batches that wait to be written.
const BATCHES_WAITING: usize = 4;

/// What the stream said; after the last there is no more.
struct Batch {
    last: bool,
    batch: wire::StreamCdrsResponse,
}

/// Cuts the stream into files.
struct Cutter {
    folder: Folder,
    wanted: Wanted,
    partition: u32,
    /// The CDR that is due.
    due: u64,
    /// The hash chain before it; empty where nobody knows it.
    chain: Vec<u8>,
    open: Option<Open>,
    each: fn(&Manifest),
}

impl Cutter {
    fn take(&mut self, batch: wire::StreamCdrsResponse) -> Result<(), Failure> {
        for cdr in &batch.records {
            if cdr.position != self.due {
                return Err(Failure(format!("CDR {} came where {} was due", cdr.position, self.due)));
            }
            let seconds = cdr.accepted.as_ref().map_or(0, |at| at.seconds);
            let span = seconds.div_euclid(self.wanted.span_seconds.max(1));
            let is_full =
                |open: &Open| span > open.span || self.due.saturating_sub(open.first) >= self.wanted.records_max;
            if self.open.as_ref().is_some_and(is_full) {
                self.close()?;
            }
            let mut current = match self.open.take() {
                Some(current) => current,
                None => begin(&self.folder, cdr, span, &self.chain, &self.wanted)?,
            };
            // A name of a person that is left out is no less in the chain.
            if !self.chain.is_empty() {
                self.chain =
                    Sha256::new().chain_update(&self.chain).chain_update(&cdr.stored_octets).finalize().to_vec();
            }
            current.form.push(cdr)?;
            current.sums.add(cdr)?;
            current.last = self.due;
            self.open = Some(current);
            self.due = self.due.saturating_add(1);
        }
        if batch.records.is_empty() || batch.chain_hash.is_empty() {
            return Ok(());
        }
        if self.chain.is_empty() {
            // What was before the oldest CDR that is kept, nobody says: from here on it is known.
            self.chain = batch.chain_hash;
        } else if batch.chain_hash != self.chain {
            let last = self.due.saturating_sub(1);
            return Err(Failure(format!("CDR {last}: its octets do not lead to the server's hash chain")));
        }
        Ok(())
    }

    /// Gives the file that is being written its name, if there is one.
    fn close(&mut self) -> Result<(), Failure> {
        if let Some(open) = self.open.take() {
            (self.each)(&close(&self.folder, open, self.partition, &self.chain, &self.wanted)?);
        }
        Ok(())
    }
}

/// The chain before a position: after the CDR before it.
async fn chain_before(client: &mut CdrExportClient<Connection>, from: u64) -> Result<Vec<u8>, Failure> {
    let request = wire::StreamCdrsRequest {
        from_position: from.saturating_sub(1),
        max_records: 1,
        ..wire::StreamCdrsRequest::default()
    };
    let mut stream = match client.stream_cdrs(request).await {
        Ok(stream) => stream.into_inner(),
        // The oldest that is kept: nobody says what was before it.
        Err(status) if status.code() == tonic::Code::OutOfRange => return Ok(Vec::new()),
        Err(status) => return Err(status.into()),
    };
    Ok(stream.message().await?.map(|batch| batch.chain_hash).unwrap_or_default())
}

fn begin(folder: &Folder, cdr: &RatedCdr, span: i64, chain: &[u8], wanted: &Wanted) -> Result<Open, Failure> {
    let part = folder.begin(wanted.extension())?;
    let columns = columns(wanted.with_identities);
    let form: Box<dyn Form<Part> + Send> =
        if wanted.parquet { Box::new(Parquet::begin(part, columns)?) } else { Box::new(Csv::begin(part, columns)?) };
    let (first, chain_before) = (cdr.position, chain.to_vec());
    Ok(Open { form, first, last: first, span, chain_before, sums: Sums::default() })
}

fn close(folder: &Folder, open: Open, partition: u32, chain: &[u8], wanted: &Wanted) -> Result<Manifest, Failure> {
    let Open { form, first, last, chain_before, sums, span: _ } = open;
    let part = form.finish()?;
    let manifest = Manifest {
        schema: VERSION,
        partition,
        first,
        last,
        records: last.saturating_sub(first).saturating_add(1),
        chain_before: hex(&chain_before),
        chain_after: hex(chain),
        sums: sums.said(),
        file: String::new(),
        octets: 0,
        sha256: String::new(),
    };
    folder.finish(part, wanted.extension(), manifest)
}

/// Octets of hexadecimal digits; none where they are none.
fn unhex(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2);
        pair.and_then(|pair| u8::from_str_radix(pair, 16).ok())
    });
    pairs.collect::<Option<_>>().unwrap_or_default()
}
