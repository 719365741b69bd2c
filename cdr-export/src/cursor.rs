//! Where a stream stands, and the seam to what is read: feed, reader, batch.
//!
//! `ocs` implements [`CdrFeed`] and [`CdrReader`] over the store. A reader may hold files and decompressed blocks; it
//! reads forward only, on a thread that may wait. What it reads it pushes into a [`CdrBatch`], which encodes it at
//! once: a CDR is decoded, encoded and freed on one thread.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;

use ocs_proto::cdr::encoded::{EncodedConsumeResponse, EncodedResponse, ResponseEncoder};
use rating_engine::cdr::CdrKind;
use rating_engine::ids::{AccountId, CdrPosition, PartitionId};

use crate::Selection;
use crate::convert::{CdrView, LineView, put_rated_cdr};

/// The durable CDRs of this process's partition.
pub trait CdrFeed: Send + Sync + 'static {
    /// What reads them.
    type Reader: CdrReader;

    /// The partition.
    fn partition(&self) -> PartitionId;

    /// What is there to read now. Must not wait.
    fn extent(&self) -> Extent;

    /// A reader whose first CDR is the one at `from`. May wait for the disk; called on a thread that may.
    ///
    /// # Errors
    /// [`ReadError`], [`ReadError::Gone`] among them: what is kept may have changed since [`CdrFeed::extent`].
    fn open(&self, from: CdrPosition) -> Result<Self::Reader, ReadError>;

    /// Waits until a CDR after `position` is durable.
    ///
    /// # Errors
    /// [`FeedStopped`] when there will be none, because the process is about to end.
    fn wait_past(&self, position: CdrPosition) -> impl Future<Output = Result<(), FeedStopped>> + Send;
}

/// Reads durable CDRs forward, without a gap.
pub trait CdrReader: Send + 'static {
    /// Pushes the CDRs that follow into `batch` until it [is full](CdrBatch::is_full) or the tail is reached. What the batch does not
    /// [want](CdrBatch::wants) may be [passed over](CdrBatch::pass_over) undecoded. Called again later, it goes on with the CDR after
    /// the last one. May wait for the disk.
    ///
    /// # Errors
    /// Any [`ReadError`]; the stream ends with it, after what was pushed before.
    fn read(&mut self, batch: &mut CdrBatch) -> Result<(), ReadError>;
}

/// Which CDRs can be read: `first` to `last`, none when `first` is behind `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The oldest that is kept.
    pub first: CdrPosition,
    /// The newest that is durable; 0 when there has never been one.
    pub last: CdrPosition,
}

/// No CDR will follow: the process is about to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedStopped;

/// Why CDRs cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// They are older than what is kept.
    Gone {
        /// The oldest that is kept.
        first: CdrPosition,
    },
    /// What is on disk is not what was written; the place and the finding, in words.
    Damaged(String),
    /// The disk or the system failed; how, in words.
    Failed(String),
}

/// CDRs that one batch passes over at most before it is done: nobody waits for it longer than that takes.
const PASSED_MAX: usize = 65_536;

/// Which CDRs go into a batch.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// What is selected.
    pub(crate) selection: Arc<Selection>,
    /// Positions that are left out whatever they are.
    pub(crate) without: Arc<BTreeSet<CdrPosition>>,
    /// The last position that is looked at.
    pub(crate) until: CdrPosition,
    /// How many at most.
    pub(crate) records_max: usize,
    /// In how many octets; the CDR that reaches it is still in.
    pub(crate) octets_max: usize,
    /// Whether with the octets that they are stored as.
    pub(crate) with_stored: bool,
}

/// CDRs on their way into one response.
#[derive(Debug)]
pub struct CdrBatch {
    encoder: ResponseEncoder,
    next: CdrPosition,
    records: usize,
    passed: usize,
    wanted: Wanted,
    chain_hash: Option<[u8; 32]>,
    misplaced: Option<CdrPosition>,
}

impl CdrBatch {
    /// An empty batch for all CDRs from `next` on. It is full at either limit; one CDR always fits.
    pub fn new(next: CdrPosition, records_max: usize, octets_max: usize) -> Self {
        let until = CdrPosition::new(u64::MAX);
        let (selection, without) = (Arc::default(), Arc::default());
        let wanted = Wanted { selection, without, until, records_max, octets_max, with_stored: false };
        Self::of(next, wanted)
    }

    /// An empty batch for what is wanted from `next` on.
    pub(crate) fn of(next: CdrPosition, wanted: Wanted) -> Self {
        let encoder = ResponseEncoder::default();
        Self { encoder, next, records: 0, passed: 0, wanted, chain_hash: None, misplaced: None }
    }

    /// Whether the octets that a CDR is stored as should be in what is pushed.
    pub const fn wants_stored(&self) -> bool {
        self.wanted.with_stored
    }

    /// Whether nothing more should be pushed.
    pub fn is_full(&self) -> bool {
        self.records >= self.wanted.records_max
            || self.encoder.len() >= self.wanted.octets_max
            || self.next > self.wanted.until
            || self.is_long()
            || self.misplaced.is_some()
    }

    /// How many more CDRs it takes, by their number.
    pub const fn room(&self) -> usize {
        self.wanted.records_max.saturating_sub(self.records)
    }

    /// Whether every CDR goes in, so that there is nothing to ask.
    pub fn wants_all(&self) -> bool {
        self.wanted.selection.is_all() && self.wanted.without.is_empty()
    }

    /// Whether the CDR at `position`, of this kind and account, goes in.
    pub fn wants(&self, position: CdrPosition, kind: CdrKind, account: AccountId) -> bool {
        self.wanted.selection.wants(kind, account) && !self.wanted.without.contains(&position)
    }

    /// The position of the CDR that is due next.
    pub const fn next(&self) -> CdrPosition {
        self.next
    }

    /// How many CDRs are in it.
    pub const fn len(&self) -> usize {
        self.records
    }

    /// Whether no CDR is in it.
    pub const fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Whether so many CDRs were passed over that it is done.
    pub(crate) const fn is_long(&self) -> bool {
        self.passed >= PASSED_MAX
    }

    /// Adds the CDR that is due next, with the value of the hash chain after it where that is known, or passes over it. One that is
    /// not due, or beyond the limits, is not taken; the stream then ends with an error rather than with a gap.
    pub fn push(&mut self, cdr: CdrView<'_, impl Iterator<Item = LineView>>, chain_hash: Option<[u8; 32]>) {
        if !self.wants(cdr.position, cdr.kind, cdr.account) {
            self.pass_over(cdr.position, chain_hash);
            return;
        }
        if self.takes(cdr.position, chain_hash) {
            self.encoder.push(|fields| put_rated_cdr(fields, cdr));
            self.records += 1;
        }
    }

    /// Notes that the CDR that is due next is not wanted.
    pub fn pass_over(&mut self, position: CdrPosition, chain_hash: Option<[u8; 32]>) {
        if self.takes(position, chain_hash) {
            self.passed += 1;
        }
    }

    fn takes(&mut self, position: CdrPosition, chain_hash: Option<[u8; 32]>) -> bool {
        if position != self.next || self.is_full() {
            self.misplaced.get_or_insert(position);
            return false;
        }
        self.next = self.next.next();
        self.chain_hash = chain_hash;
        true
    }

    /// The position of a CDR that was pushed but not due.
    pub(crate) const fn misplaced(&self) -> Option<CdrPosition> {
        self.misplaced
    }

    /// The hash after the last CDR, if it is known.
    pub(crate) const fn last_chain_hash(&self) -> Option<[u8; 32]> {
        self.chain_hash
    }

    /// The response with what was pushed.
    pub fn finish(self) -> EncodedResponse {
        response(self.encoder, self.next, self.chain_hash)
    }

    /// The same for a consumer.
    pub(crate) fn finish_for_consumer(self, attempt: u32) -> EncodedConsumeResponse {
        let chain_hash = self.chain_hash.map(|hash| hash.to_vec()).unwrap_or_default();
        self.encoder.finish_batch(self.next.get(), chain_hash, attempt)
    }

    /// The one CDR that was pushed, to a consumer that had parked it.
    pub(crate) fn finish_delivery(self, attempts: u32) -> EncodedConsumeResponse {
        self.encoder.finish_delivery(attempts)
    }
}

/// A response without CDRs: the stream lives, and this is where it stands.
pub(crate) fn sign_of_life(next: CdrPosition, chain_hash: Option<[u8; 32]>) -> EncodedResponse {
    response(ResponseEncoder::default(), next, chain_hash)
}

fn response(encoder: ResponseEncoder, next: CdrPosition, chain_hash: Option<[u8; 32]>) -> EncodedResponse {
    encoder.finish(next.get(), chain_hash.map(|hash| hash.to_vec()).unwrap_or_default())
}
