//! The gRPC service: one task per stream.
//!
//! A stream's task takes a place in its own short queue first, then has the next batch read on a thread that may wait,
//! and puts it there. A slow client therefore stops the reading, and a client that is gone ends the task. Refusals name
//! what was asked and what is available.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ocs_proto::cdr::encoded::EncodedResponse;
use ocs_proto::cdr::encoded::cdr_export_server::{CdrExport, CdrExportServer};
use ocs_proto::cdr::v1::{GetTailRequest, GetTailResponse, StreamCdrsRequest};
use rating_engine::ids::CdrPosition;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request, Response, Status};

use crate::cursor::{CdrBatch, CdrFeed, CdrReader, Extent, FeedStopped, ReadError, sign_of_life};
use crate::stats::{ExportStats, Standing};

/// Limits of the export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportLimits {
    /// Streams at the same time; one more is refused.
    pub streams_max: usize,
    /// CDRs in one response.
    pub batch_records_max: usize,
    /// Octets of CDRs in one response; the CDR that reaches it is still in.
    pub batch_octets_max: usize,
    /// Responses that wait for one client.
    pub queued_batches_max: usize,
    /// How long a followed stream may be silent.
    pub heartbeat: Duration,
    /// How long a followed stream lets new CDRs gather before it reads them: one disk read for many, instead of one for
    /// every commit.
    pub gather: Duration,
}

impl Default for ExportLimits {
    fn default() -> Self {
        Self {
            streams_max: 64,
            batch_records_max: 512,
            batch_octets_max: 256 << 10,
            queued_batches_max: 2,
            heartbeat: Duration::from_secs(5),
            gather: Duration::from_millis(5),
        }
    }
}

/// The export service over a feed.
pub struct CdrExportService<F> {
    feed: Arc<F>,
    limits: ExportLimits,
    places: Arc<Semaphore>,
    stats: Arc<ExportStats>,
}

impl<F: CdrFeed> CdrExportService<F> {
    /// Serves what the feed has.
    pub fn new(feed: Arc<F>, limits: ExportLimits) -> Self {
        let places = Arc::new(Semaphore::new(limits.streams_max));
        Self { feed, limits, places, stats: Arc::default() }
    }

    /// What is counted.
    pub fn stats(&self) -> Arc<ExportStats> {
        Arc::clone(&self.stats)
    }

    /// As a service for `tonic::transport::Server::add_service`.
    pub fn into_server(self) -> CdrExportServer<Self> {
        CdrExportServer::new(self)
    }
}

/// What a client gets.
type Answer = Result<EncodedResponse, Status>;

/// A stream of responses.
type AnswerStream = Pin<Box<dyn Stream<Item = Answer> + Send>>;

#[tonic::async_trait]
impl<F: CdrFeed> CdrExport for CdrExportService<F> {
    type StreamCdrsStream = AnswerStream;

    async fn stream_cdrs(&self, request: Request<StreamCdrsRequest>) -> Result<Response<AnswerStream>, Status> {
        let request = request.into_inner();
        let from = CdrPosition::new(request.from_position);
        check_start(from, self.feed.extent())?;
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            Status::resource_exhausted(format!(
                "{} CDR streams are open, which is the limit; close one or try again later",
                self.limits.streams_max
            ))
        })?;
        let (answers, queue) = mpsc::channel(self.limits.queued_batches_max.max(1));
        let export = Export {
            feed: Arc::clone(&self.feed),
            limits: self.limits,
            answers,
            next: from,
            left: (request.max_records > 0).then_some(request.max_records),
            follow: request.follow,
            with_stored: request.with_stored_octets,
            chain_hash: None,
            standing: Standing::new(Arc::clone(&self.stats), from, request.follow),
            _place: place,
        };
        tokio::spawn(export.run());
        Ok(Response::new(Box::pin(ReceiverStream::new(queue))))
    }

    async fn get_tail(&self, _: Request<GetTailRequest>) -> Result<Response<GetTailResponse>, Status> {
        let extent = self.feed.extent();
        Ok(Response::new(GetTailResponse {
            partition: u32::from(self.feed.partition().get()),
            first_position: extent.first.get(),
            last_position: extent.last.get(),
        }))
    }
}

/// One stream.
struct Export<F: CdrFeed> {
    feed: Arc<F>,
    limits: ExportLimits,
    answers: mpsc::Sender<Answer>,
    /// The CDR that is due.
    next: CdrPosition,
    /// How many CDRs are still wanted; `None` for all.
    left: Option<u64>,
    follow: bool,
    with_stored: bool,
    /// The hash after the CDR before `next`, where it is known.
    chain_hash: Option<[u8; 32]>,
    standing: Standing,
    _place: OwnedSemaphorePermit,
}

impl<F: CdrFeed> Export<F> {
    async fn run(mut self) {
        if let Err(Ended::With(status)) = self.serve().await {
            // The client may be gone; then nobody needs to know.
            let _ = self.answers.send(Err(status)).await;
        }
    }

    /// Sends batch after batch; `Ok` when all that was wanted is sent.
    async fn serve(&mut self) -> Result<(), Ended> {
        let mut reader = None;
        while self.left != Some(0) {
            if self.feed.extent().last < self.next {
                if !self.follow {
                    break;
                }
                self.wait().await?;
                continue;
            }
            // The place in the queue comes first: what a slow client does not take is not read.
            let place = self.answers.clone().reserve_owned().await.map_err(|_| Ended::ByClient)?;
            let feed = Arc::clone(&self.feed);
            let batch = CdrBatch::new(self.next, self.batch_records(), self.limits.batch_octets_max);
            let mut batch = batch.with_stored(self.with_stored);
            let read = move || {
                let mut open = match reader {
                    Some(open) => open,
                    None => feed.open(batch.next())?,
                };
                let result = open.read(&mut batch);
                Ok((open, batch, result))
            };
            let (open, batch, result) = tokio::task::spawn_blocking(read)
                .await
                .map_err(|_| Ended::With(Status::internal("the thread that read CDRs ended without a result")))?
                .map_err(|error| self.failed(error))?;
            reader = Some(open);
            let (read, misplaced) = (batch.len(), batch.misplaced());
            if read > 0 {
                self.next = batch.next();
                self.chain_hash = batch.last_chain_hash();
                self.left = self.left.map(|left| left.saturating_sub(u64::try_from(read).unwrap_or(u64::MAX)));
                place.send(Ok(batch.finish()));
                self.standing.sent(read, self.next);
            }
            result.map_err(|error| self.failed(error))?;
            if read == 0 || misplaced.is_some() {
                return Err(Ended::With(Status::data_loss(format!(
                    "CDR {} is due and durable, but reading found {}; this stream ends rather than leave a gap",
                    self.next,
                    misplaced.map_or_else(|| "nothing".to_owned(), |position| format!("CDR {position}")),
                ))));
            }
        }
        Ok(())
    }

    /// Waits at the tail, with signs of life.
    async fn wait(&mut self) -> Result<(), Ended> {
        let before = CdrPosition::new(self.next.get().saturating_sub(1));
        let more = async {
            let result = self.feed.wait_past(before).await;
            tokio::time::sleep(self.limits.gather).await;
            result
        };
        let news = tokio::select! {
            () = self.answers.closed() => return Err(Ended::ByClient),
            news = tokio::time::timeout(self.limits.heartbeat, more) => news,
        };
        match news {
            Ok(Ok(())) => Ok(()),
            Ok(Err(FeedStopped)) => Err(Ended::With(Status::unavailable(format!(
                "the charging system is stopping; resume from_position {} later",
                self.next
            )))),
            Err(_silence) => {
                let alive = sign_of_life(self.next, self.chain_hash);
                self.answers.send(Ok(alive)).await.map_err(|_| Ended::ByClient)
            }
        }
    }

    fn batch_records(&self) -> usize {
        let left = self.left.map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX));
        self.limits.batch_records_max.min(left).max(1)
    }

    fn failed(&self, error: ReadError) -> Ended {
        Ended::With(match error {
            ReadError::Gone { first } => gone(self.next, Extent { first, last: self.feed.extent().last }),
            ReadError::Damaged(reason) => {
                Status::data_loss(format!("CDR {} cannot be read, what is on disk is damaged: {reason}", self.next))
            }
            ReadError::Failed(reason) => Status::internal(format!("CDR {} cannot be read: {reason}", self.next)),
        })
    }
}

/// Why a stream ends before its time.
enum Ended {
    /// The client left.
    ByClient,
    /// An error that the client is told.
    With(Status),
}

fn check_start(from: CdrPosition, extent: Extent) -> Result<(), Status> {
    if from.get() == 0 {
        return Err(Status::out_of_range(format!(
            "from_position is 0, but positions begin at 1; {}",
            available(extent)
        )));
    }
    if from < extent.first {
        return Err(gone(from, extent));
    }
    if from > extent.last.next() {
        return Err(Status::out_of_range(format!(
            "from_position {from} is beyond the next CDR to be written; {}",
            available(extent)
        )));
    }
    Ok(())
}

fn gone(from: CdrPosition, extent: Extent) -> Status {
    Status::out_of_range(format!(
        "CDR {from} is no longer kept, the first available is {}; {}",
        extent.first,
        available(extent)
    ))
}

fn available(extent: Extent) -> String {
    let next = extent.last.next();
    if extent.first > extent.last {
        format!("no CDR is available, the next will be {next}")
    } else {
        format!("available are {} to {}, the next will be {next}", extent.first, extent.last)
    }
}
