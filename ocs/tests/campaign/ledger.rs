//! A consumer of CDRs that books what it gets, and checks what a ledger needs: every record, in order, none lost over kills and
//! takeovers, and no acknowledgement taken back that was confirmed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ocs_proto::cdr::v1 as wire;
use ocs_proto::cdr::v1::cdr_consumption_client::CdrConsumptionClient;
use ocs_proto::cdr::v1::consume_request::Message as Say;
use ocs_proto::cdr::v1::consume_response::Message as Told;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use super::Random;

/// An instance on its stream.
pub(crate) struct Instance {
    pub(crate) say: mpsc::Sender<wire::ConsumeRequest>,
    pub(crate) told: Streaming<wire::ConsumeResponse>,
}

impl Instance {
    /// Opens a consumer; says what the first word is.
    pub(crate) async fn open(
        channel: Channel,
        open: wire::OpenConsumer,
    ) -> Result<(Self, wire::ConsumerOpened), Status> {
        let (say, said) = mpsc::channel(64);
        say.send(wire::ConsumeRequest { message: Some(Say::Open(open)) }).await.unwrap();
        let told = CdrConsumptionClient::new(channel).consume(ReceiverStream::new(said)).await?.into_inner();
        let mut own = Self { say, told };
        match own.next().await? {
            Told::Opened(opened) => Ok((own, opened)),
            other => panic!("{other:?}"),
        }
    }

    /// Says something; whether anybody still listens.
    pub(crate) async fn say(&self, message: Say) -> bool {
        self.say.send(wire::ConsumeRequest { message: Some(message) }).await.is_ok()
    }

    /// What it is told next.
    pub(crate) async fn next(&mut self) -> Result<Told, Status> {
        let response = self.told.message().await?;
        response.and_then(|response| response.message).ok_or_else(|| Status::cancelled("the stream is over"))
    }
}

/// A channel to a server, when there is one.
pub(crate) async fn channel(grpc: SocketAddr) -> Result<Channel, tonic::transport::Error> {
    tonic::transport::Endpoint::from_shared(format!("http://{grpc}")).unwrap().connect().await
}

/// What was booked: it stays when the instance dies, like a database.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Kind and amount, micro-units, by position.
    pub(crate) booked: BTreeMap<u64, (wire::CdrKind, i64)>,
    /// Records that were nacked to be parked, and are not booked.
    parked: BTreeSet<u64>,
    /// The highest position that came.
    high: u64,
    /// The highest that was acknowledged and confirmed.
    confirmed: u64,
    /// Streams there were, and records that came again.
    pub(crate) streams: u64,
    pub(crate) again: u64,
}

impl Ledger {
    /// Takes a record; says whether it is to be parked.
    fn take(&mut self, record: &wire::RatedCdr, random: &mut Random) -> bool {
        let position = record.position;
        if position <= self.high {
            self.again += 1;
        } else {
            let missing: Vec<u64> = (self.high + 1..position).filter(|at| !self.parked.contains(at)).collect();
            assert!(missing.is_empty(), "{missing:?} did not come before {position}");
            self.high = position;
        }
        if !self.booked.contains_key(&position) && random.once_in(50) {
            self.parked.insert(position);
            return true;
        }
        self.book(record);
        false
    }

    fn book(&mut self, record: &wire::RatedCdr) {
        let amount = record.amount.as_ref().map_or(0, |amount| amount.mantissa);
        let entry = (record.kind(), amount);
        let before = self.booked.insert(record.position, entry);
        assert!(before.is_none_or(|before| before == entry), "CDR {} has changed", record.position);
        self.parked.remove(&record.position);
    }

    /// The sum of amounts of a kind, micro-units.
    pub(crate) fn sum(&self, kind: wire::CdrKind) -> i64 {
        self.booked.values().filter(|(of, _)| *of == kind).map(|(_, amount)| amount).sum()
    }
}

/// Works as one instance until its stream ends.
pub(crate) async fn work(
    channel: Channel,
    ledger: Arc<Mutex<Ledger>>,
    instance: String,
    mut random: Random,
) -> Result<(), Status> {
    let credits = 1 + random.below(300);
    let open = wire::OpenConsumer { consumer: "consumers/ledger".into(), instance, take_over: true, credits };
    let (mut own, opened) = Instance::open(channel, open).await?;
    {
        let mut ledger = ledger.lock().unwrap();
        ledger.streams += 1;
        assert!(opened.next_position > ledger.confirmed, "{opened:?}: {} was confirmed", ledger.confirmed);
        assert!(opened.next_position <= ledger.high + 1, "{opened:?}: only {} came", ledger.high);
    }
    loop {
        match own.next().await? {
            Told::Batch(batch) => {
                let mut nacked = Vec::new();
                {
                    let mut ledger = ledger.lock().unwrap();
                    for record in &batch.records {
                        if ledger.take(record, &mut random) {
                            nacked.push(record.position);
                        }
                    }
                }
                for position in nacked {
                    let (action, reason) = (wire::NackAction::Park.into(), "campaign".to_owned());
                    own.say(Say::Nack(wire::NackCdr { position, action, reason })).await;
                }
                let came = u64::try_from(batch.records.len()).unwrap();
                own.say(Say::Grant(wire::GrantCredits { credits: came })).await;
                // Not each batch, and at times only half of one.
                if batch.next_position > 1 && !random.once_in(4) {
                    let back = if random.once_in(3) { came / 2 } else { 0 };
                    own.say(Say::Ack(wire::AckCdrs { position: (batch.next_position - 1 - back).max(1) })).await;
                }
                if random.once_in(10) {
                    tokio::time::sleep(Duration::from_millis(random.below(20))).await;
                }
            }
            Told::Acked(acked) => {
                let mut ledger = ledger.lock().unwrap();
                ledger.confirmed = ledger.confirmed.max(acked.position);
            }
            Told::Parked(parked) => assert!(ledger.lock().unwrap().high >= parked.position),
            Told::Delivery(delivery) => {
                let record = delivery.record.unwrap_or_default();
                ledger.lock().unwrap().book(&record);
                own.say(Say::Grant(wire::GrantCredits { credits: 1 })).await;
                own.say(Say::AckParked(wire::AckParkedCdr { position: record.position })).await;
            }
            Told::Status(status) => {
                // What was left unacknowledged is, when nothing else happens.
                let high = ledger.lock().unwrap().high;
                if status.lag > 0 && high > 0 {
                    own.say(Say::Ack(wire::AckCdrs { position: high.min(status.tail_position) })).await;
                }
                own.say(Say::Heartbeat(wire::ConsumerHeartbeat {})).await;
            }
            Told::Unparked(_) | Told::Opened(_) => {}
        }
    }
}
