//! Retransmissions over the wire: every tenth request is sent twice, in every way a client may come to do so, and the
//! second answer is the first one, octet for octet but for the identifiers of its hop. In the end balances have moved by
//! exactly what was reported, computed a second way from the demo tariffs.
//!
//! `CAMPAIGN_REQUESTS` says how many requests are sent (600), `CAMPAIGN_SEED` what varies, `CAMPAIGN_SECONDS` when it is
//! enough. A failure names its seed.

#![cfg(test)]
#![allow(clippy::wildcard_enum_match_arm, reason = "tests")]

#[allow(dead_code, reason = "each test file uses its part of it")]
mod campaign;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use diameter_tcp::client::Client;
use ocs_api::client::AccountsClient;
use ocs_proto::charging::v1::Holding;
use ocs_proto::operator::v1 as wire;

use campaign::element::{self, Asked, Story};
use campaign::server::Server;
use campaign::{Random, deadline, setting, tariff};

/// Two network elements of one realm.
const HOSTS: [&str; 2] = ["pgw-a.example.org", "pgw-b.example.org"];
/// Demo subscribers.
const SUBSCRIBERS: u64 = 60;
/// Sessions open at a time.
const SESSIONS: usize = 16;
/// An answer that takes longer is missing.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// How a request comes to be sent twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// Again on the same connection, without the T flag.
    SameUnmarked,
    /// Again on the same connection, with it.
    Same,
    /// Right behind the first one, before any answer.
    AtOnce,
    /// By the other element, after the answer.
    Other,
    /// By both elements, before any answer.
    Both,
    /// After the connection ended and was made anew.
    Reconnected,
    /// After the server ended in good order and came back.
    Restarted,
    /// After kill -9, though it was answered.
    Killed,
    /// After kill -9, before an answer was read.
    KilledUnanswered,
}

const WAYS: [Way; 15] = [
    Way::SameUnmarked,
    Way::Same,
    Way::AtOnce,
    Way::Other,
    Way::Both,
    Way::Reconnected,
    Way::Killed,
    Way::SameUnmarked,
    Way::Same,
    Way::AtOnce,
    Way::Other,
    Way::Both,
    Way::Reconnected,
    Way::KilledUnanswered,
    Way::Restarted,
];

/// The two elements and the server between which everything happens.
struct Scene {
    server: Server,
    runtime: tokio::runtime::Runtime,
    clients: Vec<Client>,
}

impl Scene {
    fn new() -> Self {
        let server = Server::start(SUBSCRIBERS);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut scene = Self { server, runtime, clients: Vec::new() };
        scene.reconnect();
        scene
    }

    /// Connects anew. A peer has one connection: until the server has noticed that the old one ended, it refuses another.
    fn reconnect(&mut self) {
        self.clients.clear();
        let began = Instant::now();
        while let Some(host) = HOSTS.get(self.clients.len()) {
            match self.runtime.block_on(element::connect(self.server.gy, host)) {
                Ok(client) => self.clients.push(client),
                Err(error) => assert!(began.elapsed() < ANSWER_MAX, "{host} cannot connect: {error}"),
            }
        }
    }

    /// Has the server end in good order: it says goodbye to both elements, and they answer.
    fn stop(&mut self) {
        self.server.ask_to_stop();
        let goodbyes = self.clients.drain(..).map(|mut client| {
            self.runtime.spawn(async move { while client.receiver().read(|_, _| ()).await.is_ok() {} })
        });
        for goodbye in goodbyes.collect::<Vec<_>>() {
            self.runtime.block_on(async { tokio::time::timeout(ANSWER_MAX, goodbye).await }).expect("it ends").unwrap();
        }
        self.server.stopped();
    }

    /// Sends requests on one connection and waits for their answers, in the order of the requests.
    fn exchange(&mut self, connection: usize, requests: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let first = self.send(connection, requests);
        self.receive(connection, first, requests.len())
    }

    /// Returns the first request's hop-by-hop id.
    fn send(&mut self, connection: usize, requests: &[Vec<u8>]) -> u32 {
        let sender = self.clients[connection].sender();
        let first = sender.next_id();
        requests.iter().for_each(|request| assert!(sender.queue(request) >= first));
        self.runtime.block_on(sender.flush()).unwrap();
        first
    }

    fn receive(&mut self, connection: usize, first: u32, count: usize) -> Vec<Vec<u8>> {
        let mut answers = BTreeMap::new();
        let receiver = self.clients[connection].receiver();
        let reading = async {
            while answers.len() < count {
                let read = receiver.read(|message, _| {
                    answers.insert(message.header().hop_by_hop, element::plain(message));
                });
                read.await.unwrap();
            }
        };
        self.runtime.block_on(async { tokio::time::timeout(ANSWER_MAX, reading).await }).expect("an answer in time");
        assert!(answers.keys().zip(first..).all(|(id, expected)| *id == expected), "answers to what was asked");
        answers.into_values().collect()
    }

    /// Asks twice, this way, and returns the answer.
    fn ask_twice(&mut self, connection: usize, asked: &Asked, way: Way) -> Vec<u8> {
        let other = 1 - connection;
        let request = asked.encode(HOSTS[connection], false);
        let again = asked.encode(HOSTS[connection], true);
        let by_other = asked.encode(HOSTS[other], true);
        let (first, second) = match way {
            Way::AtOnce => {
                let answers = self.exchange(connection, &[request, again]);
                (answers[0].clone(), answers[1].clone())
            }
            Way::Both => {
                let (here, there) = (self.send(connection, &[request]), self.send(other, &[by_other]));
                (self.receive(connection, here, 1).remove(0), self.receive(other, there, 1).remove(0))
            }
            Way::KilledUnanswered => {
                self.send(connection, &[request]);
                self.server.kill();
                self.server.restart();
                self.reconnect();
                let answers = self.exchange(connection, std::slice::from_ref(&again));
                (answers[0].clone(), self.exchange(other, &[by_other]).remove(0))
            }
            _ => {
                let first = self.exchange(connection, std::slice::from_ref(&request)).remove(0);
                let second = match way {
                    Way::SameUnmarked => self.exchange(connection, &[request]),
                    Way::Same => self.exchange(connection, &[again]),
                    Way::Other => self.exchange(other, &[by_other]),
                    Way::Reconnected => {
                        self.reconnect();
                        self.exchange(connection, &[again])
                    }
                    Way::Restarted => {
                        self.stop();
                        self.server.restart();
                        self.reconnect();
                        self.exchange(connection, &[again])
                    }
                    Way::Killed => {
                        self.server.kill();
                        self.server.restart();
                        self.reconnect();
                        self.exchange(connection, &[again])
                    }
                    Way::AtOnce | Way::Both | Way::KilledUnanswered => unreachable!("dealt with above"),
                };
                (first, second[0].clone())
            }
        };
        assert_eq!(element::read(&second), element::read(&first), "{way:?}: {asked:?}");
        assert_eq!(second, first, "{way:?}: {asked:?}");
        first
    }

    fn account(&self, number: u64) -> wire::Account {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", self.server.grpc)).unwrap();
        self.runtime.block_on(async {
            let mut client = AccountsClient::new(endpoint.connect().await.unwrap());
            let account = Some(wire::get_account_request::Account::AccountId(number));
            let found = client.get_account(wire::GetAccountRequest { account, tenant_id: 0 }).await.unwrap();
            found.into_inner().account.unwrap()
        })
    }
}

/// What was reported and told for one subscriber, summed up by the client.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    micros: i64,
    octets: i64,
}

/// Money in the buckets, less what was spent on credit.
fn money(account: &wire::Account) -> i64 {
    let spent = account.credit.as_ref().and_then(|credit| credit.spent.as_ref()).map_or(0, |spent| spent.mantissa);
    account.balance.as_ref().map_or(0, |balance| balance.mantissa) - spent
}

fn octets(account: &wire::Account) -> i64 {
    let buckets = account.buckets.iter().filter(|bucket| bucket.holding == i32::from(Holding::Octets));
    buckets.map(|bucket| bucket.balance).sum()
}

fn story(seed: u64, requests: u64) {
    let (until, began) = (deadline(), Instant::now());
    let mut random = Random(seed);
    let mut scene = Scene::new();
    let opening: BTreeMap<u64, wire::Account> =
        (1..=SUBSCRIBERS).map(|number| (number, scene.account(number))).collect();
    let mut open: Vec<(usize, Story)> = Vec::new();
    let mut sums: BTreeMap<u64, Sum> = BTreeMap::new();
    let mut ways: BTreeMap<Way, u64> = BTreeMap::new();
    let (mut sent, mut sessions) = (0, 0);
    loop {
        let finish = sent >= requests || until.is_some_and(|until| Instant::now() >= until);
        if finish && open.is_empty() {
            break;
        }
        while !finish && open.len() < SESSIONS {
            sessions += 1;
            let subscriber = 1 + random.below(SUBSCRIBERS);
            let connection = random.place(HOSTS.len());
            let session = format!("{};{sessions}", HOSTS[connection]);
            open.push((connection, Story::new(&mut random, session, subscriber)));
        }
        let place = random.place(open.len());
        let (connection, story) = &mut open[place];
        let asked = story.ask(&mut random, finish);
        sent += 1;
        let answer = if sent % 10 == 0 {
            let way = WAYS[usize::try_from(sent / 10).unwrap() % WAYS.len()];
            *ways.entry(way).or_default() += 1;
            scene.ask_twice(*connection, &asked, way)
        } else {
            scene.exchange(*connection, &[asked.encode(HOSTS[*connection], false)]).remove(0)
        };
        story.told(&asked, &element::read(&answer));
        if story.over {
            let (_, story) = open.swap_remove(place);
            let sum = sums.entry(story.subscriber).or_default();
            sum.micros += story.cost_micros;
            sum.octets += tariff::session_octets(story.subscriber, &story.used);
        }
    }
    for (number, sum) in &sums {
        let (before, after) = (&opening[number], scene.account(*number));
        assert_eq!(money(&after), money(before) - sum.micros, "money of {after:?}");
        assert_eq!(octets(&after), octets(before) - sum.octets, "octets of {after:?}");
        assert!(after.buckets.iter().all(|bucket| bucket.reserved == 0), "held: {after:?}");
    }
    scene.stop();
    let report = scene.server.audit();
    let charged: i64 = sums.values().map(|sum| sum.micros).sum();
    assert_eq!(report["charged_micros"]["EUR"], charged, "{report}");
    assert_eq!((&report["open_sessions"], &report["reserved_micros"]), (&0.into(), &0.into()), "{report}");
    println!(
        "repeats: seed {seed}, {sent} requests, sent twice: {ways:?}, {sessions} sessions and events, {charged} micro-units \
         told, computed and audited, {:?}",
        began.elapsed()
    );
}

#[test]
fn a_repeated_request_gets_the_first_answer_and_moves_no_balance_again() {
    let (seed, requests) = (setting("CAMPAIGN_SEED", 1), setting("CAMPAIGN_REQUESTS", 600));
    let told = std::thread::spawn(move || story(seed, requests)).join();
    assert!(told.is_ok(), "the story of CAMPAIGN_SEED={seed} CAMPAIGN_REQUESTS={requests} failed");
}
