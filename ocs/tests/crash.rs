//! kill -9 under load, over the wire: the real process, real Gy connections, and clients that do what clients do when a
//! server dies: reconnect and repeat, with the T flag, whatever was not answered, and now and then what was.
//!
//! `CAMPAIGN_KILLS` says how often the process is killed (3), `CAMPAIGN_SEED` what varies, `CAMPAIGN_SECONDS` when it is
//! enough. A failure names its seed.

#![cfg(test)]
#![allow(clippy::wildcard_enum_match_arm, reason = "tests")]

#[allow(dead_code, reason = "each test file uses its part of it")]
mod campaign;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use diameter_tcp::client::Client;
use ocs_api::client::AccountsClient;
use ocs_proto::charging::v1 as common;
use ocs_proto::operator::v1 as wire;
use tokio::sync::watch;

use campaign::element::{self, Asked, Story};
use campaign::server::Server;
use campaign::{Random, deadline, setting};

/// Connections, each a network element of its own.
const ELEMENTS: u64 = 3;
/// Sessions open at a time on each connection.
const SESSIONS: usize = 24;
/// Demo subscribers.
const SUBSCRIBERS: u64 = 300;
/// An answer that takes longer is missing.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Answers remembered for being asked for again; ended sessions are remembered for ten minutes.
const TOLD_MAX: usize = 400;

/// What the clients know of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Down,
    /// It serves, for this time.
    Up(u64),
    /// It serves for the last time: end what is open.
    Finish,
}

/// Waits until the server serves, and not as it did in `before`.
async fn up(phase: &mut watch::Receiver<Phase>, before: Phase) -> Phase {
    *phase.wait_for(|phase| *phase != Phase::Down && (*phase != before || *phase == Phase::Finish)).await.unwrap()
}

/// What came of a client's work.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    answered: u64,
    unanswered_repeated: u64,
    answered_repeated: u64,
    cost_micros: i64,
    topped_up_micros: i64,
}

/// Why a request is on its way.
enum Flight {
    /// For the session at this place, which waits for it.
    Due(usize),
    /// To see that its answer is still this one.
    Again(Vec<u8>),
}

struct Slot {
    story: Story,
    /// The request that waits for its answer.
    asked: Option<Asked>,
}

/// One network element with its sessions, over as many connections as it takes.
struct Element {
    server: SocketAddr,
    host: String,
    random: Random,
    serial: u64,
    slots: Vec<Slot>,
    told: Vec<(Asked, Vec<u8>)>,
    sum: Sum,
}

impl Element {
    fn new(server: SocketAddr, number: u64, random: Random) -> Self {
        let host = format!("pgw{number}.example.org");
        Self { server, host, random, serial: 0, slots: Vec::new(), told: Vec::new(), sum: Sum::default() }
    }

    fn story(&mut self) -> Story {
        self.serial += 1;
        let subscriber = 1 + self.random.below(SUBSCRIBERS);
        let session = format!("{};{}", self.host, self.serial);
        Story::new(&mut self.random, session, subscriber)
    }

    /// Works until every session has ended, after [`Phase::Finish`].
    async fn run(mut self, mut phase: watch::Receiver<Phase>) -> Sum {
        let mut known = Phase::Down;
        loop {
            known = up(&mut phase, known).await;
            let Ok(client) = element::connect(self.server, &self.host).await else {
                assert_ne!(known, Phase::Finish, "the server serves");
                continue;
            };
            match self.talk(client, &phase).await {
                Ok(()) => return self.sum,
                Err(error) => assert_ne!(known, Phase::Finish, "the server serves: {error}"),
            }
        }
    }

    /// Repeats what is unanswered and some of what was answered, then goes on, until the connection ends.
    async fn talk(&mut self, mut client: Client, phase: &watch::Receiver<Phase>) -> std::io::Result<()> {
        let mut flights = HashMap::new();
        for (place, slot) in self.slots.iter().enumerate() {
            if let Some(asked) = &slot.asked {
                let id = client.sender().queue(&asked.encode(&self.host, true));
                flights.insert(id, Flight::Due(place));
                self.sum.unanswered_repeated += 1;
            }
        }
        for _ in 0..self.told.len().min(12) {
            let (asked, answer) = &self.told[self.random.place(self.told.len())];
            let id = client.sender().queue(&asked.encode(&self.host, true));
            flights.insert(id, Flight::Again(answer.clone()));
        }
        loop {
            let finish = *phase.borrow() == Phase::Finish;
            while !finish && self.slots.len() < SESSIONS {
                let story = self.story();
                self.slots.push(Slot { story, asked: None });
            }
            for (place, slot) in self.slots.iter_mut().enumerate() {
                if slot.asked.is_none() && !slot.story.over {
                    let asked = slot.story.ask(&mut self.random, finish);
                    let id = client.sender().queue(&asked.encode(&self.host, false));
                    flights.insert(id, Flight::Due(place));
                    slot.asked = Some(asked);
                }
            }
            client.sender().flush().await?;
            if flights.is_empty() {
                return Ok(());
            }
            let mut answers = Vec::new();
            let reading = client.receiver().read(|message, replies| {
                if element::consents(message, replies, &self.host) {
                    return;
                }
                answers.push((message.header().hop_by_hop, element::plain(message)));
            });
            tokio::time::timeout(ANSWER_MAX, reading).await.expect("an answer in time")?;
            for (id, answer) in answers {
                match flights.remove(&id).expect("an answer to what was asked") {
                    Flight::Again(before) => {
                        self.sum.answered_repeated += 1;
                        assert_eq!(element::read(&answer), element::read(&before), "no answer changes");
                        assert_eq!(answer, before, "no answer changes");
                    }
                    Flight::Due(place) => self.take(place, answer, finish),
                }
            }
        }
    }

    fn take(&mut self, place: usize, answer: Vec<u8>, finish: bool) {
        let slot = &mut self.slots[place];
        let asked = slot.asked.take().expect("it waits");
        self.sum.answered += 1;
        if slot.story.told(&asked, &element::read(&answer)) {
            if self.told.len() >= TOLD_MAX {
                let old = self.random.place(self.told.len());
                self.told.swap_remove(old);
            }
            self.told.push((asked, answer));
        }
        if slot.story.over {
            self.sum.cost_micros += slot.story.cost_micros;
            if !finish {
                self.slots[place].story = self.story();
            }
        }
    }
}

/// Tops accounts up now and then; every key is sent until it is answered, and the last one again after each restart.
async fn top_up(grpc: SocketAddr, mut random: Random, mut phase: watch::Receiver<Phase>) -> Sum {
    let mut sum = Sum::default();
    let mut due: Option<wire::TopUpRequest> = None;
    let mut told: Option<(wire::TopUpRequest, wire::TopUpResponse)> = None;
    let mut serial = 0;
    let mut known = Phase::Down;
    'connections: loop {
        known = up(&mut phase, known).await;
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{grpc}")).unwrap();
        let Ok(channel) = endpoint.connect().await else {
            assert_ne!(known, Phase::Finish, "the server serves");
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let mut client = AccountsClient::new(channel);
        if let Some((request, before)) = &told {
            let Ok(again) = client.top_up(request.clone()).await else { continue };
            sum.answered_repeated += 1;
            let before = wire::TopUpResponse { repeated: true, ..before.clone() };
            assert_eq!(again.into_inner(), before, "no answer changes");
        }
        loop {
            if due.is_none() && *phase.borrow() == Phase::Finish {
                return sum;
            }
            let request = due.get_or_insert_with(|| {
                serial += 1;
                let micros = i64::try_from(10_000 * (1 + random.below(300))).unwrap();
                wire::TopUpRequest {
                    account: Some(wire::top_up_request::Account::AccountId(1 + random.below(SUBSCRIBERS))),
                    amount: Some(common::Money { mantissa: micros, scale: 6, currency: "EUR".to_owned() }),
                    reason: "campaign".to_owned(),
                    idempotency_key: format!("campaign-{serial}"),
                    ..wire::TopUpRequest::default()
                }
            });
            match client.top_up(request.clone()).await {
                Ok(answer) => {
                    sum.answered += 1;
                    sum.topped_up_micros += request.amount.as_ref().unwrap().mantissa;
                    told = due.take().map(|request| (request, answer.into_inner()));
                }
                Err(status) => {
                    assert_ne!(known, Phase::Finish, "the server serves: {status}");
                    sum.unanswered_repeated += 1;
                    continue 'connections;
                }
            }
            tokio::time::sleep(Duration::from_millis(5 + random.below(40))).await;
        }
    }
}

fn story(seed: u64, kills: u64) {
    let until = deadline();
    let began = Instant::now();
    let mut random = Random(seed);
    let mut server = Server::start(SUBSCRIBERS);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (phase, watched) = watch::channel(Phase::Up(0));
    let elements: Vec<_> = (0..ELEMENTS)
        .map(|number| runtime.spawn(Element::new(server.gy, number, random.fork()).run(watched.clone())))
        .collect();
    let paying = runtime.spawn(top_up(server.grpc, random.fork(), watched.clone()));
    let mut killed = 0;
    while killed < kills && until.is_none_or(|until| Instant::now() < until) {
        std::thread::sleep(Duration::from_millis(30 + random.below(900)));
        // A client that found something wrong ends the campaign at once.
        if elements.iter().any(|element| element.is_finished()) || paying.is_finished() {
            break;
        }
        phase.send_replace(Phase::Down);
        server.kill();
        killed += 1;
        server.restart();
        phase.send_replace(Phase::Up(killed));
    }
    std::thread::sleep(Duration::from_millis(300));
    phase.send_replace(Phase::Finish);
    let mut sum = runtime.block_on(paying).expect("top-ups");
    for element in elements {
        let done = runtime.block_on(element).expect("a network element");
        sum.answered += done.answered;
        sum.unanswered_repeated += done.unanswered_repeated;
        sum.answered_repeated += done.answered_repeated;
        sum.cost_micros += done.cost_micros;
    }
    server.ask_to_stop();
    server.stopped();
    let report = server.audit();
    assert_eq!(report["charged_micros"]["EUR"], sum.cost_micros, "charged: {report}");
    assert_eq!(report["topped_up_micros"]["EUR"], sum.topped_up_micros, "topped up: {report}");
    assert_eq!((&report["open_sessions"], &report["reserved_micros"]), (&0.into(), &0.into()), "{report}");
    assert!(sum.answered_repeated >= killed, "{sum:?}");
    println!(
        "crash: seed {seed}, {killed} kills, {} answers, {} unanswered requests repeated, {} answered ones compared, \
         {} micro-units told and audited, {} CDRs, {:?}",
        sum.answered,
        sum.unanswered_repeated,
        sum.answered_repeated,
        sum.cost_micros,
        report["cdrs"],
        began.elapsed()
    );
}

#[test]
fn what_clients_were_told_is_what_is_charged_however_often_the_process_is_killed() {
    let (seed, kills) = (setting("CAMPAIGN_SEED", 1), setting("CAMPAIGN_KILLS", 3));
    let told = std::thread::spawn(move || story(seed, kills)).join();
    assert!(told.is_ok(), "the story of CAMPAIGN_SEED={seed} CAMPAIGN_KILLS={kills} failed");
}
