//! Follows a consumer's stream and books what comes: a batch is acknowledged when it is on disk.
//!
//! ```text
//! Open ─► Opened ─► Batch ─► books (one transaction) ─► Ack ─► Acked
//!                              └─ cannot be booked ─► noted here, and Nack PARK: a person looks at it, the stream goes on
//! ```
//!
//! Whatever ends the stream, the next one goes on where the books are: what comes twice is known by its position.

use std::time::Duration;

use cdr_client::{Connection, MESSAGE_OCTETS_MAX};
use ocs_proto::cdr::v1 as wire;
use ocs_proto::cdr::v1::cdr_consumption_client::CdrConsumptionClient;
use ocs_proto::cdr::v1::consume_request::Message as Say;
use ocs_proto::cdr::v1::consume_response::Message as Told;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;

use crate::Failure;
use crate::books::{Books, Place};

/// CDRs that may be on their way.
const CREDITS: u64 = 8192;
/// Messages that wait to be sent.
const WAITING: usize = 64;

/// What is followed.
#[derive(Clone, Debug)]
pub(crate) struct Following {
    /// The consumer's name.
    pub(crate) consumer: String,
    /// Who this is.
    pub(crate) instance: String,
    /// Whether to take the consumer from another instance.
    pub(crate) take_over: bool,
    /// Where to end.
    pub(crate) until: Until,
}

/// Where to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// Nowhere.
    Stopped,
    /// At what is the newest CDR in the beginning.
    End,
    /// At this CDR, and no further.
    Position(u64),
}

/// What following came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Followed {
    /// CDRs that came.
    pub(crate) received: u64,
    /// CDRs that could not be booked.
    pub(crate) parked: u64,
}

/// Sends what is to be said.
#[derive(Clone)]
struct Voice(mpsc::Sender<wire::ConsumeRequest>);

impl Voice {
    async fn say(&self, message: Say) -> Result<(), Failure> {
        let request = wire::ConsumeRequest { message: Some(message) };
        self.0.send(request).await.map_err(|_| Failure("the stream is closed".to_owned()))
    }
}

/// Ends the heartbeats with the stream.
struct Beating(JoinHandle<()>);

impl Drop for Beating {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Follows until the end that is wanted.
pub(crate) async fn follow(
    connection: Connection,
    books: &mut Books,
    following: &Following,
) -> Result<Followed, Failure> {
    let (voice, requests) = mpsc::channel(WAITING);
    let voice = Voice(voice);
    let open = wire::OpenConsumer {
        consumer: format!("consumers/{}", following.consumer),
        instance: following.instance.clone(),
        take_over: following.take_over,
        credits: CREDITS,
    };
    voice.say(Say::Open(open)).await?;
    let mut client = CdrConsumptionClient::new(connection).max_decoding_message_size(MESSAGE_OCTETS_MAX);
    let mut told = client.consume(ReceiverStream::new(requests)).await?.into_inner();
    let Some(Told::Opened(opened)) = told.message().await?.and_then(|response| response.message) else {
        return Err(Failure("the server does not say that the consumer is opened".to_owned()));
    };
    let place = start(books, &opened)?;
    let goal = match following.until {
        Until::Stopped => None,
        Until::End => Some(opened.next_position.saturating_add(opened.lag).saturating_sub(1)),
        Until::Position(position) => Some(position),
    };
    let mut followed = Followed::default();
    if goal.is_some_and(|goal| place.next > goal && opened.next_position > goal) {
        return Ok(followed);
    }
    let beating = {
        let (voice, pause) = (voice.clone(), Duration::from_secs(u64::from(opened.lease_seconds.max(3)) / 3));
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(pause).await;
                if voice.say(Say::Heartbeat(wire::ConsumerHeartbeat {})).await.is_err() {
                    return;
                }
            }
        })
    };
    let _beating = Beating(beating);
    while let Some(response) = told.message().await? {
        match response.message {
            Some(Told::Batch(batch)) => {
                let received = u64::try_from(batch.records.len()).unwrap_or(u64::MAX);
                followed.received = followed.received.saturating_add(received);
                let acked = take(books, batch, goal, &voice, &mut followed).await?;
                voice.say(Say::Ack(wire::AckCdrs { position: acked })).await?;
                if received > 0 {
                    voice.say(Say::Grant(wire::GrantCredits { credits: received })).await?;
                }
            }
            Some(Told::Acked(acked)) if goal.is_some_and(|goal| acked.position >= goal) => return Ok(followed),
            Some(Told::Delivery(delivery)) => {
                let Some(record) = delivery.record else { continue };
                let position = record.position;
                match books.book_parked(&record)? {
                    None => voice.say(Say::AckParked(wire::AckParkedCdr { position })).await?,
                    Some(reason) => voice.say(park(position, reason)).await?,
                }
            }
            Some(Told::Opened(_) | Told::Acked(_) | Told::Parked(_) | Told::Unparked(_) | Told::Status(_)) | None => {}
        }
    }
    Err(Failure("the server ended the stream; start again to go on".to_owned()))
}

/// Books a batch as far as the goal, and has parked what cannot be; returns the last position that is in the books.
async fn take(
    books: &mut Books,
    mut batch: wire::CdrBatch,
    goal: Option<u64>,
    voice: &Voice,
    followed: &mut Followed,
) -> Result<u64, Failure> {
    let place = books.place()?.ok_or_else(|| Failure("the books were not begun".to_owned()))?;
    let known = books.parked()?;
    let is_known = |position: u64| known.iter().any(|(parked, _)| *parked == position);
    let mut due = place.next;
    for record in batch.records.iter().filter(|record| record.position >= place.next) {
        if let Some(missing) = (due..record.position).find(|position| !is_known(*position)) {
            let reason = "nobody has parked it here: restore the books from a copy, or reset the consumer to it";
            return Err(Failure(format!("CDR {missing} was not sent before {}: {reason}", record.position)));
        }
        due = record.position.saturating_add(1);
    }
    let (mut next, mut chain) = (batch.next_position, std::mem::take(&mut batch.chain_hash));
    if let Some(goal) = goal.filter(|goal| next > goal.saturating_add(1)) {
        batch.records.retain(|record| record.position <= goal);
        (next, chain) = (goal.saturating_add(1), Vec::new());
    }
    // What was parked here, and not there: the process ended in between.
    for record in batch.records.iter().filter(|record| record.position < place.next) {
        if let Some((position, reason)) = known.iter().find(|(position, _)| *position == record.position) {
            voice.say(park(*position, reason.clone())).await?;
        }
    }
    for (position, reason) in books.book(&batch.records, next, &chain)? {
        followed.parked += 1;
        eprintln!("ocs-journal: CDR {position} {reason}; it is parked");
        voice.say(park(position, reason)).await?;
    }
    Ok(next.saturating_sub(1))
}

fn park(position: u64, reason: String) -> Say {
    Say::Nack(wire::NackCdr { position, action: wire::NackAction::Park.into(), reason })
}

/// Where the books go on, once it is sure that the consumer's stream continues them.
fn start(books: &mut Books, opened: &wire::ConsumerOpened) -> Result<Place, Failure> {
    if opened.filter.as_ref().is_some_and(|filter| *filter != wire::CdrFilter::default()) {
        return Err(Failure("the consumer has a filter: books need every CDR; make one without".to_owned()));
    }
    let Some(place) = books.place()? else { return books.begin(opened.partition, opened.next_position) };
    if place.partition != opened.partition {
        let (own, other) = (place.partition, opened.partition);
        return Err(Failure(format!(
            "the books are of partition {own}, the server has {other}: these are other books"
        )));
    }
    if opened.next_position > place.next {
        let (next, goes_on) = (place.next, opened.next_position);
        return Err(Failure(format!(
            "the consumer goes on at CDR {goes_on}, but {next} is due here: what is between is not in these books. Use the books that it was in, \
             or `ocs consumer reset` it to {next}"
        )));
    }
    Ok(place)
}
