//! The engine alone: commands per second on one core, 200,000 accounts, no log and no sockets.
//!
//! Each session is an initial, three updates and a termination for the next subscriber in turn, 256 of them open at a
//! time, one rating group each: the same mix as end to end. Then how long single commands take while nothing is published, and
//! while another thread publishes versions of 10,000 prices one after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rating_engine::account::{Account, AccountState, Bucket, CdrTrail, Counters, Holding, Origin, Subscriber};
use rating_engine::command::{Action, Change, Command, Profile, Requested, ServiceRequest, Used};
use rating_engine::context::{Context, PacketContext};
use rating_engine::ids::*;
use rating_engine::money::{Currency, MICROS, Money, Rate, Rounding, RoundingMode, RoundingScope};
use rating_engine::selector::Filter;
use rating_engine::shard::Limits;
use rating_engine::shards::Shards;
use rating_engine::tariff::*;
use rating_engine::tariffs::Tariffs;
use rating_engine::time::Timestamp;
use rating_engine::units::{Measure, Unit, Units};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const OPEN: u64 = 256;
/// Commands made at once, before the clock runs.
const BATCH: u64 = 1024;
/// Between two publications: a core that publishes all the time is another question.
const PUBLICATION_PAUSE: Duration = Duration::from_millis(100);

fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn main() {
    let (accounts, commands) = (setting("ACCOUNTS", 200_000), setting("COMMANDS", 4_000_000));
    let filter = Filter { service: Some(Service::Data), ..Filter::default() };
    let rate = Rate::new(20_000, 1 << 20).unwrap_or(Rate::ZERO);
    let pulse = Pulse::new(102_400, 102_400).unwrap_or(Pulse::ONE);
    let price = Price { pulse, ..Price::flat(PriceId::new("data"), filter, Measure::TotalOctets, rate) };
    let rounding = Rounding::new(4, RoundingMode::HalfUp, RoundingScope::Event).unwrap_or(Rounding::MICRO);
    let draft = TariffDraft::new(TariffName::new("bench"), 1, Currency::EUR, rounding, vec![price], [0; 32]);
    let tariff = draft.publish();
    let mut tariffs = Tariffs::default();
    tariff.into_iter().for_each(|tariff| tariffs.insert(tariff));
    let shards = Shards::new(64, Limits::default());
    let now = Timestamp::from_seconds(1_700_000_000);
    for number in 1..=accounts {
        let group = GroupId::new(number);
        let bucket = |id: &str, holding, balance| Bucket {
            id: BucketId::new(id),
            holding,
            origin: Origin::Paid,
            balance,
            reserved: 0,
            priority: 10,
            valid_from: Timestamp::default(),
            valid_to: Timestamp::NEVER,
            scope: None,
            terms: None,
        };
        let account = Account {
            id: AccountId::new(number),
            group,
            tenant: TenantId::default(),
            currency: Currency::EUR,
            state: AccountState::Active,
            credit: None,
            debt: Money::ZERO,
            buckets: vec![
                bucket("data", Holding::Units(Unit::Octet), 1 << 24),
                bucket("main", Holding::Money, 1000 * MICROS),
            ],
            totals: Vec::new(),
            contract: None,
            cdrs: CdrTrail::default(),
        };
        let subscriber = Subscriber {
            id: SubscriberId::new(number),
            tenant: TenantId::default(),
            account: account.id,
            group,
            tariff: TariffName::new("bench"),
            state: AccountState::Active,
            counters: Counters::default(),
            sponsor: None,
        };
        shards.with(group, |shard| {
            let _ = shard.mutate(&tariffs, Change::OpenAccount(Box::new(account)), now);
            let _ = shard.mutate(&tariffs, Change::PutSubscriber(subscriber), now);
        });
    }
    let host: Arc<str> = "smf.example.org".into();
    let realm: Arc<str> = "example.org".into();
    let tariffs = Arc::new(ArcSwap::from_pointee(tariffs));
    let mut centre =
        Centre { shards, tariffs: tariffs.clone(), cdrs: 0, position: CdrPosition::new(1), lsn: Lsn::default() };
    let mut took = Duration::ZERO;
    let mut batch = Vec::with_capacity(usize::try_from(BATCH).unwrap_or(0));
    let mut number = 0;
    while number < commands {
        // The commands of a batch are made before the clock runs: the engine alone is measured.
        let end = commands.min(number + BATCH);
        batch.extend((number..end).map(|number| command(number, accounts, now, &host, &realm)));
        number = end;
        let began = Instant::now();
        batch.drain(..).for_each(|(group, command)| centre.run(group, command));
        if number % (64 * BATCH) == 0 {
            centre.checkpoint();
        }
        took += began.elapsed();
    }
    let per_second = u128::from(commands) * 1_000_000_000 / took.as_nanos().max(1);
    let cdrs = centre.cdrs;
    println!("engine alone: {commands} commands, {cdrs} CDRs in {took:?}: {per_second} commands/s on one core");
    let timed = commands / 4;
    let mut single = |from: u64| {
        let mut took: Vec<u32> = Vec::with_capacity(usize::try_from(timed).unwrap_or(0));
        for number in from..from + timed {
            let (group, command) = command(number, accounts, now, &host, &realm);
            let began = Instant::now();
            centre.run(group, command);
            took.push(u32::try_from(began.elapsed().as_nanos()).unwrap_or(u32::MAX));
            if number % (64 * BATCH) == 0 {
                centre.checkpoint();
            }
        }
        took.sort_unstable();
        let at = |share: usize| took.get(took.len().saturating_sub(took.len() / share + 1)).copied().unwrap_or(0);
        format!("p50 {} ns, p99 {} ns, p99.9 {} ns", at(2), at(100), at(1000))
    };
    println!("a command while nothing is published: {}", single(commands));
    let (stop, published) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let mut next = (**tariffs.load()).clone();
                let version = published.fetch_add(1, Ordering::Relaxed) + 1;
                many_prices(version).publish().into_iter().for_each(|version| next.insert(version));
                tariffs.store(Arc::new(next));
                std::thread::sleep(PUBLICATION_PAUSE);
            }
        });
        let said = single(commands + timed);
        stop.store(true, Ordering::Relaxed);
        let published = published.load(Ordering::Relaxed);
        println!("a command while 10,000 prices are published, {published} times: {said}");
    });
}

/// A version of another tariff.
fn many_prices(version: u32) -> TariffDraft {
    let prices = (0..10_000).map(|number| {
        let filter = Filter { rating_group: Some(RatingGroup::new(number)), ..Filter::default() };
        Price::flat(PriceId::new(&number.to_string()), filter, Measure::TotalOctets, Rate::ZERO)
    });
    let name = TariffName::new("many");
    TariffDraft::new(name, version, Currency::EUR, Rounding::MICRO, prices.collect(), [0; 32])
}

/// The shards, and the places that an open batch of the log would give out.
struct Centre {
    shards: Shards,
    tariffs: Arc<ArcSwap<Tariffs>>,
    cdrs: u64,
    position: CdrPosition,
    lsn: Lsn,
}

impl Centre {
    #[inline(never)]
    fn run(&mut self, group: GroupId, command: Command) {
        let Self { shards, tariffs, cdrs, position, lsn } = self;
        let tariffs = tariffs.load();
        shards.with(group, |shard| {
            let mut effects = shard.apply(&tariffs, command);
            shard.place_cdrs(&mut effects.cdrs, *position);
            for _ in &effects.cdrs {
                *position = position.next();
            }
            *lsn = lsn.next();
            shard.logged(&effects.writes, *lsn);
            *cdrs += effects.cdrs.len() as u64;
        });
    }

    /// Takes what is dirty, as the checkpoint would.
    fn checkpoint(&mut self) {
        for index in 0..self.shards.len() {
            self.shards.with_index(index, |shard| while shard.take_dirty(64, |_, _, _, _| {}) == 64 {});
        }
    }
}

/// Session s takes steps 0 to 4; OPEN sessions are interleaved.
fn command(number: u64, accounts: u64, now: Timestamp, host: &Arc<str>, realm: &Arc<str>) -> (GroupId, Command) {
    let round = number / (5 * OPEN);
    let step = number / OPEN % 5;
    let session = round * OPEN + number % OPEN;
    let subscriber = session % accounts + 1;
    let used = Used { units: Units { total_octets: Some(1_000_000), ..Units::default() }, ..Used::default() };
    let service = ServiceRequest {
        key: ServiceKey { rating_group: Some(RatingGroup::new(10)), services: Box::default() },
        requested: if step == 4 { Requested::Nothing } else { Requested::Any },
        used: if step == 0 { Vec::new() } else { vec![used] },
    };
    let imsi = Digits::parse("262019000000001");
    let command = Command {
        now,
        event_time: Some(now),
        session: SessionId::new(format!("smf.example.org;1700000000;{session};app_gy").as_bytes()),
        number: u32::try_from(step).unwrap_or(0),
        digest: number,
        client_state: 0,
        subscriber: SubscriberId::new(subscriber),
        profile: Profile::STANDARD,
        command_level: false,
        context: Context {
            service: Service::Data,
            service_context: "32251@3gpp.org".into(),
            client_host: host.clone(),
            client_realm: realm.clone(),
            identifiers: imsi.map(Identifier::Imsi).into_iter().collect(),
            equipment: None,
            correlation: None,
            packet: Some(Box::new(PacketContext {
                apn: Some("internet".into()),
                rat: Some(6),
                ..PacketContext::default()
            })),
            ims: None,
            sms: None,
        },
        action: match step {
            0 => Action::Start(vec![service]),
            4 => Action::Stop(vec![service]),
            _ => Action::Update(vec![service]),
        },
    };
    (GroupId::new(subscriber), command)
}
