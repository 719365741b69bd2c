//! The gRPC service `CdrExport`: one task per stream.
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
use ocs_proto::refusal::status;
use rating_engine::ids::CdrPosition;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Code, Request, Response, Status};

use crate::Selection;
use crate::cursor::{CdrBatch, CdrFeed, Extent, FeedStopped, sign_of_life};
use crate::pump::{Portion, Pump, Taken, check_start, no_result};
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
        check_start("from_position", from, self.feed.extent())?;
        let selection = Arc::new(Selection::parse(request.filter).map_err(invalid)?);
        let until = CdrPosition::new(if request.until_position == 0 { u64::MAX } else { request.until_position });
        if until < from {
            return Err(invalid(format!(
                "until_position {until} is before from_position {from}; give a later one, or 0"
            )));
        }
        let places = Arc::clone(&self.places);
        let place = places.try_acquire_owned().map_err(|_| too_many(self.limits.streams_max))?;
        let (answers, queue) = mpsc::channel(self.limits.queued_batches_max.max(1));
        let export = Export {
            pump: Pump::new(Arc::clone(&self.feed), self.limits, selection, from),
            feed: Arc::clone(&self.feed),
            limits: self.limits,
            answers,
            left: (request.max_records > 0).then_some(request.max_records),
            until,
            follow: request.follow,
            with_stored: request.with_stored_octets,
            spoke: Instant::now(),
            standing: Standing::new(Arc::clone(&self.stats), from, request.follow),
            _place: place,
        };
        tokio::spawn(export.run());
        Ok(Response::new(Box::pin(ReceiverStream::new(queue))))
    }

    async fn get_tail(&self, _: Request<GetTailRequest>) -> Result<Response<GetTailResponse>, Status> {
        let Extent { first, last } = self.feed.extent();
        Ok(Response::new(GetTailResponse {
            partition: self.feed.partition().get().into(),
            first_position: first.get(),
            last_position: last.get(),
        }))
    }
}

/// One stream.
struct Export<F: CdrFeed> {
    feed: Arc<F>,
    pump: Pump<F>,
    limits: ExportLimits,
    answers: mpsc::Sender<Answer>,
    /// How many CDRs are still wanted; `None` for all.
    left: Option<u64>,
    /// The last position that is wanted.
    until: CdrPosition,
    follow: bool,
    with_stored: bool,
    /// When the client was last told something.
    spoke: Instant,
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
        while self.left != Some(0) && self.pump.next() <= self.until {
            if !self.pump.is_behind() {
                if !self.follow {
                    break;
                }
                self.wait().await?;
                continue;
            }
            // The place in the queue comes first: what a slow client does not take is not read.
            let place = self.answers.clone().reserve_owned().await.map_err(|_| Ended::ByClient)?;
            let reading = self.pump.read(Portion {
                records_max: self.left.map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX)),
                until: self.until,
                without: Arc::default(),
                with_stored: self.with_stored,
            });
            let drawn = tokio::task::spawn_blocking(reading).await.map_err(|_| Ended::With(no_result()))?;
            let Taken { batch, failed } = self.pump.took(drawn);
            // Word of what was only passed over is given now and then, not with every commit.
            let due = |batch: &CdrBatch| {
                !batch.is_empty() || !self.follow || batch.is_long() || self.spoke.elapsed() >= self.limits.heartbeat
            };
            if let Some(batch) = batch.filter(due) {
                let read = batch.len();
                self.spoke = Instant::now();
                self.left = self.left.map(|left| left.saturating_sub(u64::try_from(read).unwrap_or(u64::MAX)));
                place.send(Ok(batch.finish()));
                self.standing.sent(read, self.pump.next());
            }
            if let Some(failed) = failed {
                return Err(Ended::With(failed));
            }
        }
        Ok(())
    }

    /// Waits at the tail, with signs of life.
    async fn wait(&mut self) -> Result<(), Ended> {
        let next = self.pump.next();
        let before = CdrPosition::new(next.get().saturating_sub(1));
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
            Ok(Err(FeedStopped)) => Err(Ended::With(stopping(&format!("resume from_position {next} later")))),
            Err(_silence) => {
                self.spoke = Instant::now();
                let alive = sign_of_life(next, self.pump.chain_hash());
                self.answers.send(Ok(alive)).await.map_err(|_| Ended::ByClient)
            }
        }
    }
}

/// Why a stream ends before its time.
enum Ended {
    /// The client left.
    ByClient,
    /// An error that the client is told.
    With(Status),
}

/// The process is about to end.
pub(crate) fn stopping(what_to_do: &str) -> Status {
    status(Code::Unavailable, "STOPPING", format!("the charging system is stopping; {what_to_do}"))
}

/// As many streams are open as may be.
pub(crate) fn too_many(streams: usize) -> Status {
    let message = format!("{streams} CDR streams are open, which is the limit; close one or try again later");
    status(Code::ResourceExhausted, "TOO_MANY_STREAMS", message)
}

/// A field of a request is malformed.
pub(crate) fn invalid(message: impl Into<String>) -> Status {
    status(Code::InvalidArgument, "INVALID_FIELD", message)
}
