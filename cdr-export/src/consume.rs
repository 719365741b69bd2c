//! The gRPC service `CdrConsumption`: one task per stream, which has a consumer as long as it lives.
//!
//! What a client does, or does not do, stays with its stream. Nothing is read without credits and a place in the queue; what is to be
//! told waits in a short queue, and while that is full nothing more is heard. Acknowledgements that come while one is being written
//! are written together by the next entry, and entries are [`ConsumeLimits::write_pause`] apart. Whoever is not heard of for the lease
//! loses the consumer.
//!
//! Absent on purpose: what is durable and how ([`ConsumerBook`]), and what may follow what ([`Progress`]).

use std::collections::{BTreeSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ocs_proto::cdr::encoded::cdr_consumption_server::{CdrConsumption, CdrConsumptionServer};
use ocs_proto::cdr::encoded::{EncodedConsumeResponse, ResponseEncoder};
use ocs_proto::cdr::v1::consume_request::Message as Heard;
use ocs_proto::cdr::v1::consume_response::Message as Said;
use ocs_proto::cdr::v1::{
    CdrParked, CdrUnparked, CdrsAcked, ConsumeRequest, ConsumerOpened, ConsumerStatus, NackAction, NackCdr,
    OpenConsumer,
};
use ocs_proto::refusal::{status, status_about};
use rating_engine::ids::{CdrPosition, Lsn};
use rating_engine::time::Timestamp;
use tokio::sync::mpsc::{self, OwnedPermit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::consumer::{Misstep, Nacked, Progress, Saying};
use crate::cursor::{CdrBatch, CdrFeed, FeedStopped};
use crate::pump::{Drawn, Portion, Pump, Taken, available, check_start, no_result};
use crate::service::{invalid, stopping, too_many};
use crate::stats::{ExportStats, Standing};
use crate::{ExportLimits, Selection};

/// Credits that a client may have; more are not kept.
const CREDITS_MAX: u64 = 1_000_000;
/// What a client may yet have to be told; beyond, nothing more is heard of it.
const UNTOLD_MAX: usize = 256;
/// Octets of a client's message: a thousand times more than it needs.
const MESSAGE_OCTETS_MAX: usize = 64 << 10;
/// Octets of an instance's name.
const INSTANCE_OCTETS_MAX: usize = 128;
/// Octets of a reason.
const REASON_OCTETS_MAX: usize = 256;
/// What to do when the process is about to end.
const LATER: &str = "open the consumer again later";
/// What stands before a consumer's name.
const CONSUMERS: &str = "consumers/";

/// Keeps consumers, durably.
pub trait ConsumerBook: Send + Sync + 'static {
    /// A consumer in somebody's hands; letting go of it writes what it was told, and lets others have it.
    type Hold: ConsumerHold;

    /// Gives the consumer of this name to an instance.
    ///
    /// # Errors
    /// Why not.
    fn take(&self, name: &str, instance: &str, take_over: bool) -> Result<Self::Hold, HoldRefusal>;
}

/// A consumer in the hands of one instance.
pub trait ConsumerHold: Send + Sync + 'static {
    /// What it gets.
    fn selection(&self) -> Arc<Selection>;

    /// What time it is for charging.
    fn now(&self) -> Timestamp;

    /// Looks at what it has done, or changes it, under its lock.
    ///
    /// # Errors
    /// [`Lost`]: it is somebody else's, and nothing is changed.
    fn with<R>(&self, work: impl FnOnce(&mut Progress) -> R) -> Result<R, Lost>;

    /// Appends what was changed; says what has to be durable for that to be. `None`: not now, too much waits for the disk.
    ///
    /// # Errors
    /// [`Lost`]: it is somebody else's, and nothing is written.
    fn write(&self) -> Result<Option<Lsn>, Lost>;

    /// Waits until that is durable.
    ///
    /// # Errors
    /// [`FeedStopped`] when it will not be.
    fn durable(&self, lsn: Lsn) -> impl Future<Output = Result<(), FeedStopped>> + Send;

    /// Waits until somebody else has changed it, or has it.
    fn changed(&mut self) -> impl Future<Output = ()> + Send;

    /// A CDR is sent again, because its client wants it.
    fn retried(&self);
}

/// Why an instance does not get a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HoldRefusal {
    /// There is none of this name.
    Unknown,
    /// Another instance has it.
    Held {
        /// Which.
        instance: Box<str>,
        /// Since when.
        since: Timestamp,
    },
    /// The process is about to end.
    Stopping,
}

/// Why an instance has a consumer no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Another instance took it.
    TakenOver {
        /// Which.
        by: Box<str>,
    },
    /// A person moved it.
    Reset,
    /// A person ended it.
    Deleted,
    /// The process is about to end.
    Stopping,
}

/// Limits of consumers' streams, beside those of every stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumeLimits {
    /// How batches are made.
    pub export: ExportLimits,
    /// How long an instance may be silent.
    pub lease: Duration,
    /// How far entries with acknowledgements of one consumer are apart at least.
    pub write_pause: Duration,
    /// How long a stream may be silent where a filter passes over everything.
    pub passing: Duration,
}

impl Default for ConsumeLimits {
    fn default() -> Self {
        Self {
            export: ExportLimits { streams_max: 128, ..ExportLimits::default() },
            lease: Duration::from_secs(30),
            write_pause: Duration::from_millis(1),
            passing: Duration::from_secs(1),
        }
    }
}

/// The consumption service over a feed and a book of consumers.
pub struct CdrConsumptionService<F, B> {
    feed: Arc<F>,
    book: Arc<B>,
    limits: ConsumeLimits,
    places: Arc<Semaphore>,
    stats: Arc<ExportStats>,
}

impl<F: CdrFeed, B: ConsumerBook> CdrConsumptionService<F, B> {
    /// Serves what the feed has to the consumers of the book; counts with the other streams.
    pub fn new(feed: Arc<F>, book: Arc<B>, limits: ConsumeLimits, stats: Arc<ExportStats>) -> Self {
        let places = Arc::new(Semaphore::new(limits.export.streams_max));
        Self { feed, book, limits, places, stats }
    }

    /// As a service for `tonic::transport::Server::add_service`.
    pub fn into_server(self) -> CdrConsumptionServer<Self> {
        CdrConsumptionServer::new(self).max_decoding_message_size(MESSAGE_OCTETS_MAX)
    }
}

type Answer = Result<EncodedConsumeResponse, Status>;
type AnswerStream = Pin<Box<dyn Stream<Item = Answer> + Send>>;

#[tonic::async_trait]
impl<F: CdrFeed, B: ConsumerBook> CdrConsumption for CdrConsumptionService<F, B> {
    type ConsumeStream = AnswerStream;

    async fn consume(&self, request: Request<Streaming<ConsumeRequest>>) -> Result<Response<AnswerStream>, Status> {
        let places = Arc::clone(&self.places);
        let place = places.try_acquire_owned().map_err(|_| too_many(self.limits.export.streams_max))?;
        // Room for a batch that is being read, and for what is to be told meanwhile.
        let (answers, queue) = mpsc::channel(self.limits.export.queued_batches_max.max(1) + 1);
        let arriving = Arriving {
            feed: Arc::clone(&self.feed),
            book: Arc::clone(&self.book),
            limits: self.limits,
            stats: Arc::clone(&self.stats),
            heard: request.into_inner(),
            place,
        };
        tokio::spawn(async move {
            if let Err(Ended::With(status)) = arriving.serve(answers.clone()).await {
                // The client may be gone; then nobody needs to know.
                let _ = answers.send(Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(queue))))
    }
}

/// Why a stream ends before its time.
enum Ended {
    /// The client left.
    ByClient,
    /// An error that the client is told.
    With(Status),
}

impl From<Status> for Ended {
    fn from(status: Status) -> Self {
        Self::With(status)
    }
}

impl From<Lost> for Ended {
    fn from(lost: Lost) -> Self {
        let (reason, words) = match lost {
            Lost::TakenOver { by } => {
                ("CONSUMER_TAKEN_OVER", format!("instance {by:?} took the consumer over; what follows is its business"))
            }
            Lost::Reset => {
                ("CONSUMER_RESET", "somebody moved the consumer; open it again to go on from there".to_owned())
            }
            Lost::Deleted => {
                ("CONSUMER_DELETED", "somebody ended the consumer; make another one, or stop asking for it".to_owned())
            }
            Lost::Stopping => return stopping(LATER).into(),
        };
        Self::With(status(Code::Aborted, reason, words))
    }
}

/// A stream that has not said yet which consumer it wants.
struct Arriving<F, B> {
    feed: Arc<F>,
    book: Arc<B>,
    limits: ConsumeLimits,
    stats: Arc<ExportStats>,
    heard: Streaming<ConsumeRequest>,
    place: OwnedSemaphorePermit,
}

impl<F: CdrFeed, B: ConsumerBook> Arriving<F, B> {
    async fn serve(mut self, answers: mpsc::Sender<Answer>) -> Result<(), Ended> {
        let lease = self.limits.lease;
        let first = tokio::time::timeout(lease, self.heard.message()).await.map_err(|_| silent(lease))?;
        let first = first.map_err(|status| unreadable(&status))?;
        let Some(Heard::Open(open)) = first.and_then(|request| request.message) else {
            let words = "the first message is no Open; say which consumer, and who you are";
            return Err(status(Code::InvalidArgument, "OPEN_MISSING", words).into());
        };
        let OpenConsumer { consumer, instance, take_over, credits } = open;
        let name = consumer_name(&consumer)?;
        check_text("open.instance", &instance, INSTANCE_OCTETS_MAX)?;
        if instance.is_empty() {
            return Err(
                invalid("open.instance: is missing; say who you are, e.g. a host's name and a process id").into()
            );
        }
        let hold = self.book.take(name, &instance, take_over).map_err(|refusal| not_taken(refusal, &consumer))?;
        let (next, parked) = hold.with(|progress| (progress.place().next, progress.parked().len()))?;
        // Neither can be, unless the CDR store is not of the same time as the rest of the folder.
        check_start("the consumer's position", next, self.feed.extent())?;
        let (feed, limits, selection) = (self.feed, self.limits, hold.selection());
        let opened = ConsumerOpened {
            next_position: next.get(),
            lag: lag(&*feed, next),
            partition: feed.partition().get().into(),
            filter: Some(selection.shown()),
            parked: u32::try_from(parked).unwrap_or(u32::MAX),
            lease_seconds: u32::try_from(lease.as_secs()).unwrap_or(u32::MAX),
        };
        let now = Instant::now();
        let consumption = Consumption {
            pump: Pump::new(Arc::clone(&feed), limits.export, selection, next),
            feed,
            hold,
            limits,
            instance,
            heard: self.heard,
            is_over: false,
            heard_at: now,
            credits: credits.min(CREDITS_MAX),
            sent: next,
            resume_at: now,
            reading: None,
            coming: None,
            untold: VecDeque::from([Said::Opened(opened)]),
            status_at: now + limits.export.heartbeat,
            spoke: now,
            hushed: false,
            changed: true,
            unwritten: false,
            unconfirmed: Confirmation::default(),
            writing: None,
            written_at: now,
            due: None,
            delivered: BTreeSet::new(),
            standing: Standing::new(self.stats, next, true),
            _place: self.place,
        };
        consumption.serve(answers).await
    }
}

/// What is told when it is durable.
#[derive(Default)]
struct Confirmation {
    acked: Option<CdrPosition>,
    said: Vec<Said>,
}

impl Confirmation {
    const fn is_empty(&self) -> bool {
        self.acked.is_none() && self.said.is_empty()
    }
}

/// What is being read, and the place in the queue that it goes to.
struct Reading<F: CdrFeed> {
    thread: JoinHandle<Drawn<F::Reader>>,
    place: OwnedPermit<Answer>,
    what: What<F>,
}

enum What<F: CdrFeed> {
    /// What comes next; without a use after the stream jumped.
    Batch { attempt: u32, is_wanted: bool },
    /// A parked CDR.
    Delivery { pump: Box<Pump<F>>, attempts: u32 },
}

/// The consumer's next CDRs, when they come.
type Coming = Pin<Box<dyn Future<Output = Result<(), FeedStopped>> + Send>>;

/// One stream with its consumer.
struct Consumption<F: CdrFeed, H> {
    feed: Arc<F>,
    pump: Pump<F>,
    hold: H,
    limits: ConsumeLimits,
    instance: String,
    heard: Streaming<ConsumeRequest>,
    /// The client has said all.
    is_over: bool,
    heard_at: Instant,
    credits: u64,
    /// The first CDR that was never sent on this stream.
    sent: CdrPosition,
    /// Nothing is read before: a retry waits.
    resume_at: Instant,
    reading: Option<Reading<F>>,
    coming: Option<Coming>,
    untold: VecDeque<Said>,
    status_at: Instant,
    /// When a batch was last sent, and whether something was passed over since that the client was not told of.
    spoke: Instant,
    hushed: bool,
    /// Parked CDRs may have become due.
    changed: bool,
    /// Something is to be written.
    unwritten: bool,
    /// What is told when what is unwritten is durable.
    unconfirmed: Confirmation,
    /// What is told when an entry is durable.
    writing: Option<(Lsn, Confirmation)>,
    written_at: Instant,
    /// A parked CDR that is to be sent, and how often it was.
    due: Option<(CdrPosition, u32)>,
    /// Parked CDRs that were sent on this stream and not answered.
    delivered: BTreeSet<CdrPosition>,
    standing: Standing,
    _place: OwnedSemaphorePermit,
}

/// What happened.
enum Event<R> {
    Heard(Result<Option<ConsumeRequest>, Status>),
    Changed,
    Durable(Result<(), FeedStopped>),
    WriteDue,
    Room(OwnedPermit<Answer>),
    Gone,
    Read(Box<Option<Drawn<R>>>),
    Resumed,
    More(Result<(), FeedStopped>),
    StatusDue,
    LeaseOver,
}

impl<F: CdrFeed, H: ConsumerHold> Consumption<F, H> {
    async fn serve(mut self, answers: mpsc::Sender<Answer>) -> Result<(), Ended> {
        while !self.is_done() {
            self.refresh()?;
            match self.next_event(&answers).await {
                Event::Heard(Ok(Some(request))) => {
                    self.heard_at = Instant::now();
                    self.hear(request)?;
                }
                Event::Heard(Ok(None)) => self.is_over = true,
                Event::Heard(Err(status)) => return Err(unreadable(&status)),
                // What was acknowledged is written when the hold is let go of.
                Event::Gone => return Err(Ended::ByClient),
                Event::Changed => {
                    self.changed = true;
                    self.hold.with(|_| ())?;
                }
                Event::Durable(Ok(())) => self.confirm(),
                Event::Durable(Err(FeedStopped)) | Event::More(Err(FeedStopped)) => {
                    return Err(stopping(LATER).into());
                }
                Event::WriteDue => self.write()?,
                Event::Room(place) => self.fill(place)?,
                Event::Read(drawn) => self.take(drawn.ok_or_else(no_result)?)?,
                Event::More(Ok(())) => self.coming = None,
                Event::Resumed => {}
                Event::StatusDue => self.say_status()?,
                Event::LeaseOver => return Err(silent(self.limits.lease)),
            }
        }
        Ok(())
    }

    /// The client has said all, and was told all that follows from it.
    fn is_done(&self) -> bool {
        self.is_over
            && !self.unwritten
            && self.unconfirmed.is_empty()
            && self.writing.is_none()
            && self.untold.is_empty()
    }

    /// Whether the next CDRs can be read.
    fn can_read(&self) -> bool {
        !self.is_over && self.reading.is_none() && self.credits > 0 && Instant::now() >= self.resume_at
    }

    /// Whether it is time to tell how far the stream is, nothing having been sent for a while.
    fn owes_word_now(&self) -> bool {
        self.hushed && !self.is_over && self.spoke.elapsed() >= self.limits.passing
    }

    async fn next_event(&mut self, answers: &mpsc::Sender<Answer>) -> Event<F::Reader> {
        let untold = self.untold.len() + self.unconfirmed.said.len();
        let (listens, can_read) = (!self.is_over && untold < UNTOLD_MAX, self.can_read());
        if can_read && self.coming.is_none() && !self.pump.is_behind() {
            let before = CdrPosition::new(self.pump.next().get().saturating_sub(1));
            let (feed, gather) = (Arc::clone(&self.feed), self.limits.export.gather);
            self.coming = Some(Box::pin(async move {
                let more = feed.wait_past(before).await;
                tokio::time::sleep(gather).await;
                more
            }));
        }
        // What has come is let gather for a moment, whatever else happens.
        let is_behind = self.coming.is_none() && self.pump.is_behind();
        let (word_at, owes_word) = (self.spoke + self.limits.passing, self.hushed && !self.is_over);
        let wants_room =
            !self.untold.is_empty() || self.owes_word_now() || can_read && (self.due.is_some() || is_behind);
        let waits = !self.is_over && self.reading.is_none() && self.credits > 0;
        let (hold, writes) = (&mut self.hold, self.unwritten || !self.unconfirmed.is_empty());
        tokio::select! {
            request = self.heard.message(), if listens => Event::Heard(request),
            () = answers.closed() => Event::Gone,
            durable = durable(hold, self.writing.as_ref().map(|(lsn, _)| *lsn)) => durable,
            () = tokio::time::sleep_until(self.written_at + self.limits.write_pause),
                if writes && self.writing.is_none() => Event::WriteDue,
            place = answers.clone().reserve_owned(), if wants_room => place.map_or(Event::Gone, Event::Room),
            drawn = read(&mut self.reading) => Event::Read(Box::new(drawn)),
            () = tokio::time::sleep_until(self.resume_at), if waits && !can_read => Event::Resumed,
            () = tokio::time::sleep_until(word_at), if owes_word && !wants_room => Event::Resumed,
            more = come(&mut self.coming) => Event::More(more),
            () = tokio::time::sleep_until(self.status_at), if !self.is_over => Event::StatusDue,
            () = tokio::time::sleep_until(self.heard_at + self.limits.lease) => Event::LeaseOver,
        }
    }

    /// Looks which parked CDR is due.
    fn refresh(&mut self) -> Result<(), Ended> {
        if std::mem::take(&mut self.changed) {
            let delivered = &mut self.delivered;
            self.due = self.hold.with(|progress| {
                // Those that were discarded meanwhile are forgotten.
                delivered.retain(|position| progress.parked().contains_key(position));
                progress.due(delivered)
            })?;
        }
        Ok(())
    }

    fn hear(&mut self, request: ConsumeRequest) -> Result<(), Ended> {
        match request.message {
            Some(Heard::Open(_)) => {
                let words = "Open comes once, first; open another stream for another consumer";
                Err(status(Code::InvalidArgument, "OPEN_MISSING", words).into())
            }
            Some(Heard::Grant(grant)) => {
                self.credits = self.credits.saturating_add(grant.credits).min(CREDITS_MAX);
                Ok(())
            }
            Some(Heard::Ack(ack)) => self.ack(CdrPosition::new(ack.position)),
            Some(Heard::Nack(nack)) => self.nack(&nack),
            Some(Heard::AckParked(ack)) => self.ack_parked(CdrPosition::new(ack.position)),
            // What later versions say besides is a sign of life to this one.
            Some(Heard::Heartbeat(_)) | None => Ok(()),
        }
    }

    fn ack(&mut self, position: CdrPosition) -> Result<(), Ended> {
        if position.get() == 0 {
            return Err(self.misstep(Misstep::NotSent, "ack", position));
        }
        let (sent, now) = (self.sent, self.hold.now());
        let next = self.hold.with(|progress| progress.ack(position, sent, now).map(|()| progress.place().next))?;
        let next = next.map_err(|misstep| self.misstep(misstep, "ack", position))?;
        self.unwritten = true;
        self.unconfirmed.acked = self.unconfirmed.acked.max(Some(position));
        // What was to be sent again is done after all, or what comes next is parked.
        if next > self.pump.next() {
            self.jump(next);
            self.sent = self.sent.max(next);
        }
        Ok(())
    }

    fn nack(&mut self, nack: &NackCdr) -> Result<(), Ended> {
        let position = CdrPosition::new(nack.position);
        check_text("nack.reason", &nack.reason, REASON_OCTETS_MAX)?;
        let action = nack.action();
        if action == NackAction::Unspecified {
            let words = "nack.action: is missing; say NACK_ACTION_RETRY or NACK_ACTION_PARK";
            return Err(invalid(words).into());
        }
        let retry = action == NackAction::Retry;
        let saying = Saying { position, reason: &nack.reason, instance: &self.instance, now: self.hold.now() };
        let sent = self.sent;
        let nacked = self.hold.with(|progress| {
            let was_parked = progress.parked().contains_key(&position);
            let nacked = if retry { progress.nack_retry(saying, sent) } else { progress.nack_park(saying, sent) };
            nacked.map(|nacked| (nacked, was_parked, progress.place().next))
        })?;
        let (nacked, was_parked, next) = nacked.map_err(|misstep| self.misstep(misstep, "nack", position))?;
        self.unwritten = true;
        match nacked {
            Nacked::Again(pause) => {
                self.hold.retried();
                self.resume_at = Instant::now() + pause;
                self.jump(position);
            }
            Nacked::Parked(attempts) => {
                let parked = CdrParked { position: position.get(), attempts };
                self.unconfirmed.said.push(Said::Parked(parked));
                self.delivered.remove(&position);
                self.changed = true;
                // Who wanted it again has let go of what follows it; that comes again at once.
                if retry && !was_parked {
                    self.jump(position.next().max(next));
                } else if next > self.pump.next() {
                    self.jump(next);
                }
            }
        }
        Ok(())
    }

    fn ack_parked(&mut self, position: CdrPosition) -> Result<(), Ended> {
        if !self.delivered.remove(&position) {
            return Err(self.misstep(Misstep::NotSent, "ack_parked", position));
        }
        // If a person discarded it meanwhile, that is as good.
        self.hold.with(|progress| progress.unpark(position))?;
        (self.unwritten, self.changed) = (true, true);
        self.unconfirmed.said.push(Said::Unparked(CdrUnparked { position: position.get() }));
        Ok(())
    }

    /// Goes on at another position; what is being read is of no use.
    fn jump(&mut self, next: CdrPosition) {
        self.pump.jump(next);
        (self.coming, self.hushed) = (None, false);
        if let Some(Reading { what: What::Batch { is_wanted, .. }, .. }) = &mut self.reading {
            *is_wanted = false;
        }
    }

    fn misstep(&self, misstep: Misstep, said: &str, position: CdrPosition) -> Ended {
        let extent = self.feed.extent();
        let (code, reason, words) = match misstep {
            Misstep::NotSent if position.get() == 0 || position > extent.last => (
                Code::OutOfRange,
                "POSITION_NEVER_ISSUED",
                format!("{said}: there is no CDR {position}; {}", available(extent)),
            ),
            Misstep::NotSent => (
                Code::OutOfRange,
                "POSITION_NOT_SENT",
                format!(
                    "{said}: CDR {position} was not sent on this stream, which is at {}; say it of what was sent",
                    self.sent
                ),
            ),
            Misstep::Done => (
                Code::FailedPrecondition,
                "POSITION_DONE",
                format!("{said}: CDR {position} is acknowledged already; say it of those that are not"),
            ),
            Misstep::ParkedFull => (
                Code::ResourceExhausted,
                "PARKED_FULL",
                format!(
                    "{said}: {} CDRs are parked, which is the limit; have some retried or discarded (ocs consumer retry, discard)",
                    crate::consumer::PARKED_MAX
                ),
            ),
        };
        status(code, reason, words).into()
    }

    /// Appends what is to be written.
    fn write(&mut self) -> Result<(), Ended> {
        self.written_at = Instant::now();
        // When too much waits for the disk it is tried again after the pause.
        if let Some(lsn) = self.hold.write()? {
            self.unwritten = false;
            self.writing = Some((lsn, std::mem::take(&mut self.unconfirmed)));
        }
        Ok(())
    }

    /// Tells what is durable.
    fn confirm(&mut self) {
        if let Some((_, Confirmation { acked, said })) = self.writing.take() {
            let acked = acked.map(|position| Said::Acked(CdrsAcked { position: position.get() }));
            self.untold.extend(acked.into_iter().chain(said));
        }
    }

    fn say_status(&mut self) -> Result<(), Ended> {
        self.status_at = Instant::now() + self.limits.export.heartbeat;
        if self.untold.iter().any(|said| matches!(said, Said::Status(_))) {
            return Ok(());
        }
        let next = self.hold.with(|progress| progress.place().next)?;
        let (tail_position, credits) = (self.feed.extent().last.get(), self.credits);
        self.untold.push_back(Said::Status(ConsumerStatus { tail_position, lag: lag(&*self.feed, next), credits }));
        Ok(())
    }

    /// There is room for one more response: what is to be told, a parked CDR that is due, or what comes next.
    fn fill(&mut self, place: OwnedPermit<Answer>) -> Result<(), Ended> {
        if let Some(said) = self.untold.pop_front() {
            place.send(Ok(said.into()));
            return Ok(());
        }
        if self.owes_word_now() {
            (self.spoke, self.hushed) = (Instant::now(), false);
            place.send(Ok(passed(self.pump.next(), self.pump.chain_hash())));
            return Ok(());
        }
        if !self.can_read() {
            return Ok(());
        }
        if let Some((position, attempts)) = self.due.take() {
            let mut pump = Box::new(Pump::new(Arc::clone(&self.feed), self.limits.export, Arc::default(), position));
            let portion = Portion { records_max: 1, until: position, without: Arc::default(), with_stored: false };
            let thread = tokio::task::spawn_blocking(pump.read(portion));
            self.delivered.insert(position);
            self.reading = Some(Reading { thread, place, what: What::Delivery { pump, attempts } });
            return Ok(());
        }
        let next = self.pump.next();
        let (attempt, retried, without) = self.hold.with(|progress| {
            let retried = progress.place().retrying.map(|(at, _)| at).filter(|at| *at > next);
            (progress.attempts(next), retried, progress.parked_from(next))
        })?;
        // What is retried begins a batch, so that its attempts can be said.
        let until = retried.map_or(u64::MAX, |at| at.get().saturating_sub(1));
        let portion = Portion {
            records_max: usize::try_from(self.credits).unwrap_or(usize::MAX),
            until: CdrPosition::new(until),
            without: Arc::new(without),
            with_stored: false,
        };
        let thread = tokio::task::spawn_blocking(self.pump.read(portion));
        self.reading = Some(Reading { thread, place, what: What::Batch { attempt, is_wanted: true } });
        Ok(())
    }

    /// Sends what was read.
    fn take(&mut self, drawn: Drawn<F::Reader>) -> Result<(), Ended> {
        let Some(Reading { place, what, .. }) = self.reading.take() else { return Ok(()) };
        let (taken, send): (Taken, Box<dyn FnOnce(CdrBatch) -> EncodedConsumeResponse + Send>) = match what {
            What::Batch { is_wanted: false, .. } => return Ok(()),
            What::Batch { attempt, .. } => {
                let taken = self.pump.took(drawn);
                self.sent = self.sent.max(self.pump.next());
                (taken, Box::new(move |batch| batch.finish_for_consumer(attempt)))
            }
            What::Delivery { mut pump, attempts } => {
                self.changed = true;
                (pump.took(drawn), Box::new(move |batch| batch.finish_delivery(attempts)))
            }
        };
        // Word of what was only passed over is given now and then, not with every commit.
        self.hushed |= taken.batch.as_ref().is_some_and(CdrBatch::is_empty);
        if let Some(batch) = taken.batch.filter(|batch| !batch.is_empty() || batch.is_long()) {
            (self.spoke, self.hushed) = (Instant::now(), false);
            let records = batch.len();
            self.credits = self.credits.saturating_sub(u64::try_from(records).unwrap_or(u64::MAX));
            place.send(Ok(send(batch)));
            self.standing.sent(records, self.pump.next());
        }
        taken.failed.map_or(Ok(()), |failed| Err(failed.into()))
    }
}

/// A batch without CDRs: this is how far the stream is.
fn passed(next: CdrPosition, chain_hash: Option<[u8; 32]>) -> EncodedConsumeResponse {
    let chain_hash = chain_hash.map(|hash| hash.to_vec()).unwrap_or_default();
    ResponseEncoder::default().finish_batch(next.get(), chain_hash, 0)
}

/// Waits until an entry is durable, if there is one.
async fn durable<R>(hold: &mut impl ConsumerHold, lsn: Option<Lsn>) -> Event<R> {
    // Both are asked of the hold, so they stand in one place.
    let Some(lsn) = lsn else {
        hold.changed().await;
        return Event::Changed;
    };
    Event::Durable(hold.durable(lsn).await)
}

async fn read<F: CdrFeed>(reading: &mut Option<Reading<F>>) -> Option<Drawn<F::Reader>> {
    match reading {
        Some(reading) => (&mut reading.thread).await.ok(),
        None => std::future::pending().await,
    }
}

async fn come(coming: &mut Option<Coming>) -> Result<(), FeedStopped> {
    match coming {
        Some(coming) => coming.await,
        None => std::future::pending().await,
    }
}

fn lag(feed: &impl CdrFeed, next: CdrPosition) -> u64 {
    feed.extent().last.next().get().saturating_sub(next.get())
}

fn silent(lease: Duration) -> Ended {
    let words = format!(
        "nothing was heard for {} s, so that others may have the consumer; send a heartbeat at least every third of that",
        lease.as_secs()
    );
    status(Code::Aborted, "LEASE_EXPIRED", words).into()
}

/// What was heard is no message, or too long; or the connection broke, and nobody is told.
fn unreadable(status: &Status) -> Ended {
    invalid(format!("a message cannot be read: {}; say what the .proto file says", status.message())).into()
}

fn not_taken(refusal: HoldRefusal, name: &str) -> Ended {
    match refusal {
        HoldRefusal::Unknown => status(
            Code::NotFound,
            "CONSUMER_NOT_FOUND",
            format!("{name} is not known; make it first, or check the name"),
        ),
        HoldRefusal::Stopping => stopping(LATER),
        HoldRefusal::Held { instance, since } => status_about(
            Code::FailedPrecondition,
            "CONSUMER_HELD",
            format!("instance {instance:?} has {name} since {since}; let it end, or say take_over"),
            [("instance", instance.to_string()), ("since", since.to_string())],
        ),
    }
    .into()
}

/// The name behind "consumers/".
fn consumer_name(given: &str) -> Result<&str, Status> {
    let name = given.strip_prefix(CONSUMERS).filter(|name| !name.is_empty() && given.len() <= INSTANCE_OCTETS_MAX);
    name.ok_or_else(|| invalid("open.consumer: is no consumer's name; give one, e.g. consumers/ledger"))
}

fn check_text(field: &str, text: &str, octets_max: usize) -> Result<(), Status> {
    if text.len() > octets_max {
        return Err(invalid(format!("{field}: has {} octets; give at most {octets_max}", text.len())));
    }
    if text.chars().any(char::is_control) {
        return Err(invalid(format!("{field}: has control characters; leave them out")));
    }
    Ok(())
}
