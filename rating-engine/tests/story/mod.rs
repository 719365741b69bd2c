//! A small language for charging stories, and [`check`], which tells them to a shard.
//!
//! ```text
//! rounding 2 half_up event                                    decimals, mode, scope; 6 half_up event unless said
//! price 10  0.20/60s<180s 0.05/60s  pulse 60/60  fee 0.10 bundled  min 0.05  max 1.00  validity 300s  grant 10MiB 1MiB 99MiB
//! price any free                                              zero-rated octets
//! limits 10 20                                                open and ended sessions
//! account A  balance 5.00  credit 10.00  group 2              balance is the bucket `main`, priority 10
//! bucket  A  free 100s  priority 1  from 0s  until 3600s  for 10 11
//! clock 2027-03-27T20:00:00Z                                   what 0s is; 1970 unless said
//! zone mobile 4915 4916                                        numbers; networks eu 208 222 in the same way
//! timezone Europe/Berlin                                       window night 22:00-06:00 mon tue: windows in their order
//! price 1  0.09/60s  in night 0.05/60s fee-in night 0.02  zone mobile  visited eu  rat 6  apn ims  only night
//! 7200s withdraw 2      0s canary 2 5% C from 100s             version 2 is rolled back; is for a share, and for C; 100% for all
//! version 3600s session_start                                  the prices that follow are of the next version, from then on
//! 0s  A/1 initial #0 to=+4915112 plmn=20801 rat=6 apn=ims      circumstances
//! 0s  A/1 initial #0 state=7 open5gs  10 used 3MiB want 10MiB; 11 want any   -> granted 5MiB final; denied rating
//! 3s  A/e debit #0 as=sms messages=3  10 want any            the service and Number-Of-Messages-Sent; a price may end in `as sms`
//! 4s  A/1 update #1 at=2s  10 used 3MiB                      the client's Event-Timestamp
//! 5s  A/e debit #0  10 want 1ev          -> granted 1ev cost 0.10
//! 9s  A/r refund A/e #1  10 want 0.05EUR -> granted 0.05EUR cost 0.05
//! 9s  expire -> ended A/1 / forgot A/2   9s topup A main 5.00 key=k   9s suspend A
//! A main 4.90    A reserved 0.10    A free reserved 10s    A spent 1.00    A debt 0.50    A sessions 0
//! 9s adjust A main -0.50   9s transfer A main 1.00 B main   9s extend A main 500s   9s credit A 5.00
//! 9s give back 1 0.05   9s give back 1 all key          of the charge of the first CDR of all, by a person
//! windows A v1 any 0.60, v2 night 0.30   tariff version, window and amount of every rated CDR
//! cdrs A 0.33, 0.34, lapse 0.00          every CDR; `used` ones without a word
//! paid A free 60s, main 0.05             the last CDR's movements; `cost A 0.50, 0.05` what was paid for each
//! price 1  0.00/60s<600s 0.10/60s  cycle voice  buys day        tiers of a counter; an offer bought at first use
//! periods 2027-01-01T00:00:00Z P1M 2027-02-01T00:00:00Z        accounting periods, closed until; `booked A 0.20 2027-02-01`
//! exchange usd USD 4 2027-01-01T00:00:00Z 0.9217               dated rates and decimals; a price names it by `via usd`
//! offer m fee 7.99 setup 1.00 period P1M once tariff t data 10GiB priority 5 validity P7D granted roll 5GiB 1 cap 1GiB ssp 9.00 for 10
//!   ... notify 50,80 spend 20.00,50.00 low 2.00                thresholds: percent of the allowance, cost of a cycle's usage, money left
//! crossed A spend reaches 20.00 at 21.30                       the thresholds that all CDRs crossed
//! cycle A 2027-01-31T00:00:00Z P1M                             the account's billing cycle, in the time zone; `billed A 0.20 2027-01-31T00:00`
//! member A M                                                   subscriber M of account A
//! 2027-02-01T00:00:00Z buy A m / buy A m for M / cancel A 1    an instant by the calendar
//! buy A m from 100s / cancel A 1 now / cancel A 1 at 100s / replace A 1 l [now | at 100s]
//! 9s move M B    9s remove M                                   member M goes over to account B; is one no more
//! A counter voice 120s    A holds m 0 active, day 0 cancelled, l 0 awaited, xl 3 unpaid
//! ```
//!
//! An answer shows `valid`, `switch` and `threshold` only where the story names them. What follows `(` is a remark.

use std::fmt::Write as _;

use rating_engine::account::{
    Account, AccountState, Bucket, BucketScope, Holding, Origin, Sponsor, Subscriber, SubscriptionState,
};
use rating_engine::calendar::{Calendar, Span, Weekday, Window, WindowId, Zone};
use rating_engine::cdr::{CdrKind, Payer};
use rating_engine::command::{
    Action, Change, Denial, Effects, Ending, MutationOutcome, Outcome, Profile, Refusal, Request, Requested,
    ServiceRequest, ServiceResult, TariffPart, Used,
};
use rating_engine::context::{ImsContext, PacketContext, Plmn, SmsContext};
use rating_engine::crossing::{Threshold, Watched};
use rating_engine::ids::{
    AccountId, BucketId, CounterId, GroupId, OfferName, RatingGroup, ServiceId, SessionId, SubscriberId, TariffName,
};
use rating_engine::money::{Currency, Money, Rate, Ratio, Rounding, RoundingMode, RoundingScope};
use rating_engine::networks::Networks;
use rating_engine::offer::{Allowance, OfferDraft, Pool, Rollover};
use rating_engine::period::Cycle;
use rating_engine::periods::Periods;
use rating_engine::reach::{Reach, Share};
use rating_engine::selector::Direction;
use rating_engine::shard::Limits;
use rating_engine::tariff::{
    Exchange, FinanceCodes, GrantPolicy, PerWindow, Price, Pulse, Service, TariffDraft, Tier, TierScope, Tiers,
    VersionPolicy,
};
use rating_engine::time::Timestamp;
use rating_engine::units::{Measure, MoneyUnits, Unit, Units};
use rating_engine::zones::Zones;

use crate::world::{World, at, bucket, command, draft, money, price, rating_group, request, top_up};

/// Tells the story and compares what it expects.
pub(crate) fn check(story: &str) {
    let mut teller = Teller::default();
    for (number, line) in story.lines().enumerate() {
        let told = line.split('(').next().unwrap_or("").trim();
        if told.is_empty() {
            continue;
        }
        let said = teller.tell(told);
        let audited = teller.world.as_ref().map_or(Ok(()), World::audit);
        if let Err(complaint) = said.and(audited) {
            let marked = story.lines().enumerate().map(|(other, text)| {
                let mark = if other == number { "=> " } else { "   " };
                format!("{mark}{}\n", text.trim())
            });
            panic!("\n{}\nhere: {told}\nbut:  {complaint}\n", marked.collect::<String>());
        }
    }
}

#[derive(Default)]
struct Teller {
    rounding: Option<Rounding>,
    limits: Limits,
    prices: Vec<Price>,
    origin: i64,
    zones: Vec<(String, Vec<String>)>,
    networks: Vec<(String, Vec<String>)>,
    timezone: Option<Zone>,
    windows: Vec<Window>,
    versions: Vec<TariffDraft>,
    /// The newest's number.
    version: u32,
    begins: Option<(Timestamp, VersionPolicy)>,
    accounts: Vec<(u64, Vec<Bucket>, Option<Money>, GroupId)>,
    exchanges: Vec<Exchange>,
    periods: Option<Periods>,
    offers: Vec<OfferDraft>,
    members: Vec<(u64, u64)>,
    cycles: Vec<(u64, Cycle)>,
    sponsors: Vec<(u64, Sponsor)>,
    world: Option<World>,
    topups: u32,
}

type Told = Result<(), String>;

impl Teller {
    fn tell(&mut self, line: &str) -> Told {
        let (asked, expected) = line.split_once("->").map_or((line, None), |(a, b)| (a.trim(), Some(b.trim())));
        let words: Vec<&str> = asked.split_whitespace().collect();
        match &words[..] {
            ["rounding", decimals, mode, scope] => {
                self.rounding = Some(rounding(decimals, mode, scope));
                Ok(())
            }
            ["limits", open, ended] => {
                self.limits.open_sessions_max = open.parse().expect("a number");
                self.limits.ended_sessions_max = ended.parse().expect("a number");
                Ok(())
            }
            ["clock", time] => {
                let time: jiff::Timestamp = time.parse().expect("a time");
                self.origin = time.as_second();
                Ok(())
            }
            ["timezone", name] => {
                self.timezone = Some(Zone::get(name).expect("a time zone"));
                Ok(())
            }
            ["zone", name, rest @ ..] => {
                self.zones.push(((*name).to_owned(), rest.iter().map(|&text| text.to_owned()).collect()));
                Ok(())
            }
            ["networks", name, rest @ ..] => {
                self.networks.push(((*name).to_owned(), rest.iter().map(|&text| text.to_owned()).collect()));
                Ok(())
            }
            ["window", name, times, days @ ..] => {
                let span = parse_span(times, days);
                match self.windows.iter_mut().find(|window| *window.name == **name) {
                    Some(window) => window.spans.push(span),
                    None => self.windows.push(Window { name: (*name).into(), spans: vec![span] }),
                }
                Ok(())
            }
            ["version", from, rest @ ..] => {
                self.close_version();
                let from = at(self.origin + i64::try_from(quantity(from).1).expect("fits"));
                let kept = rest.contains(&"session_start");
                let policy = if kept { VersionPolicy::SessionStart } else { VersionPolicy::Split };
                self.begins = Some((from, policy));
                Ok(())
            }
            ["price", group, rest @ ..] => {
                let parsed = self.parse_price(group, rest);
                self.prices.push(parsed);
                Ok(())
            }
            ["account", name, rest @ ..] => {
                let (mut buckets, mut credit, mut group) = (Vec::new(), None, GroupId::new(1));
                for pair in rest.chunks(2) {
                    match pair {
                        ["balance", amount] => {
                            buckets.push(bucket("main", Holding::Money, money(amount).micros()));
                        }
                        ["group", number] => group = GroupId::new(number.parse().expect("a number")),
                        ["credit", limit] => credit = Some(money(limit)),
                        _ => panic!("account: {pair:?}"),
                    }
                }
                self.accounts.push((account_number(name), buckets, credit, group));
                Ok(())
            }
            ["bucket", name, id, amount, rest @ ..] => {
                let parsed = parse_bucket(self.origin, id, amount, rest);
                let account = self.accounts.iter_mut().find(|(number, ..)| *number == account_number(name));
                account.expect("the account comes first").1.push(parsed);
                Ok(())
            }
            ["periods", from, period, closed @ ..] => {
                let zone = self.timezone.clone().unwrap_or_else(Zone::utc);
                let closed = closed.first().map(|closed| at(instant(closed)));
                let period = period.parse().expect("a period");
                self.periods = Some(Periods::new(1, at(instant(from)), period, zone, closed).expect("periods"));
                Ok(())
            }
            ["exchange", id, currency, decimals, rates @ ..] => {
                let ratio = |text: &str| Ratio::new(u64::try_from(money(text).micros()).expect("above 0"), 1_000_000);
                let rates = rates.chunks(2).map(|pair| (at(instant(pair[0])), ratio(pair[1]).expect("above 0")));
                self.exchanges.push(Exchange {
                    id: (*id).into(),
                    from: Currency::parse(currency).expect("a currency"),
                    decimals: decimals.parse().expect("decimals"),
                    rates: rates.collect(),
                });
                Ok(())
            }
            ["offer", name, rest @ ..] => {
                let parsed = self.parse_offer(name, rest);
                self.offers.push(parsed);
                Ok(())
            }
            ["member", account, member] => {
                self.members.push((account_number(account), account_number(member)));
                Ok(())
            }
            ["sponsor", subscriber, account, windows, rest @ ..] => {
                let windows = windows.split(',').filter(|name| *name != "-").map(Into::into).collect();
                let account = AccountId::new(account_number(account));
                let sponsor = Sponsor { account, windows, allowance: rest.contains(&"allowance") };
                self.sponsors.push((account_number(subscriber), sponsor));
                Ok(())
            }
            ["cycle", account, from, period] => {
                let zone = self.timezone.clone().unwrap_or_else(Zone::utc);
                let period = period.parse().expect("a period");
                self.cycles.push((account_number(account), Cycle { anchor: at(instant(from)), period, zone }));
                Ok(())
            }
            [time, rest @ ..] if time.ends_with('Z') && time.contains('T') => {
                let wants = |word| expected.is_some_and(|text| text.contains(word));
                let shown = [wants("valid"), wants("switch"), wants("threshold")];
                let came = self.happen(instant(time), rest, shown);
                same(expected.unwrap_or("done"), &came)
            }
            [time, rest @ ..] if time.ends_with('s') && time.starts_with(|c: char| c.is_ascii_digit()) => {
                let seconds: i64 = time.trim_end_matches('s').parse().expect("a time");
                let wants = |word| expected.is_some_and(|text| text.contains(word));
                let shown = [wants("valid"), wants("switch"), wants("threshold")];
                let came = self.happen(self.origin + seconds, rest, shown);
                same(expected.unwrap_or("done"), &came)
            }
            _ => self.look(&words),
        }
    }

    fn world(&mut self) -> &mut World {
        if self.world.is_none() {
            self.close_version();
            let mut world = World::with_versions(std::mem::take(&mut self.versions), self.limits);
            for (number, buckets, credit, group) in self.accounts.drain(..) {
                let cycle = self.cycles.iter().find(|(account, _)| *account == number).map(|(_, cycle)| cycle.clone());
                world.open_in(group, number, buckets, credit, cycle);
            }
            for (account, member) in &self.members {
                world.join(*account, *member);
            }
            for (subscriber, sponsor) in self.sponsors.drain(..) {
                world.sponsor(subscriber, sponsor);
            }
            self.periods.take().into_iter().for_each(|periods| world.tariffs.insert_periods(periods.into()));
            for offer in self.offers.drain(..) {
                world.tariffs.insert_offer(offer.publish().expect("an offer"));
            }
            self.world = Some(world);
        }
        self.world.as_mut().expect("made above")
    }

    /// `5s` after the beginning, or `2027-01-31T09:00:00Z`.
    /// A key of its own.
    fn once(&mut self) -> Request {
        self.topups += 1;
        request(&format!("k{}", self.topups), 0)
    }

    fn instant(&self, text: &str) -> Timestamp {
        if text.ends_with('Z') {
            return at(instant(text));
        }
        at(self.origin + i64::try_from(quantity(text).1).expect("fits"))
    }

    /// Makes a version of the prices so far.
    fn close_version(&mut self) {
        if self.prices.is_empty() {
            return;
        }
        let rounding = self.rounding.unwrap_or(Rounding::MICRO);
        self.version += 1;
        let number = self.version;
        let mut version = draft(number, rounding, std::mem::take(&mut self.prices));
        version.zones = Zones::new(&self.zones).expect("zones");
        version.networks = Networks::new(&self.networks).expect("networks");
        version.calendar = self.calendar();
        version.content_hash = [u8::try_from(number).expect("few versions"); 32];
        version.exchanges = self.exchanges.clone();
        version.zone = self.timezone.clone().unwrap_or_else(Zone::utc);
        if let Some((from, policy)) = self.begins.take() {
            (version.valid_from, version.policy) = (from, policy);
        }
        self.versions.push(version);
    }

    fn calendar(&self) -> Option<Calendar> {
        let zone = self.timezone.clone()?;
        Some(Calendar::new(zone, "day", &self.windows, Vec::new(), Weekday::Sunday).expect("a calendar"))
    }

    fn happen(&mut self, seconds: i64, words: &[&str], shown: [bool; 3]) -> String {
        match words {
            ["expire"] => {
                let (ended, forgotten) = self.world().expire(at(seconds));
                let say = |word: &str, ids: Vec<SessionId>| ids.into_iter().map(|id| format!("{word} {id}")).collect();
                let mut said: Vec<String> = say("ended", ended);
                said.extend::<Vec<String>>(say("forgot", forgotten));
                if said.is_empty() { "nothing".to_owned() } else { said.join(" / ") }
            }
            ["topup", name, id, amount, rest @ ..] => {
                self.topups += 1;
                let (key, rest) = match rest.split_first() {
                    Some((word, rest)) if word.starts_with("key=") => ((*word).to_owned(), rest),
                    _ => (format!("k{}", self.topups), rest),
                };
                let into = Bucket { balance: 0, ..parse_bucket(self.origin, id, "0.00", rest) };
                let mutation = top_up(account_number(name), into, money(amount), &key);
                mutated(&self.world().mutate(mutation, at(seconds)))
            }
            ["buy", name, offer, rest @ ..] => {
                self.topups += 1;
                let account = AccountId::new(account_number(name));
                let (user, rest) = if let ["for", member, rest @ ..] = rest { (member, rest) } else { (name, rest) };
                let subscriber = SubscriberId::new(account_number(user));
                let begins = if let ["from", time] = rest { Some(self.instant(time)) } else { None };
                let buy = Change::Buy { account, subscriber, offer: OfferName::new(offer), version: None, begins };
                let mutation = buy.asked(request(&format!("k{}", self.topups), 0));
                mutated(&self.world().mutate(mutation, at(seconds)))
            }
            ["correct"] => {
                self.close_version();
                let versions = std::mem::take(&mut self.versions);
                let world = self.world();
                for version in versions {
                    world.tariffs.insert(version.publish().expect("a tariff"));
                }
                let said: Vec<String> = world
                    .rerate(at(seconds))
                    .into_iter()
                    .map(|(account, said)| format!("{} {said}", account_name(account)))
                    .collect();
                if said.is_empty() { "nothing".to_owned() } else { said.join(", ") }
            }
            ["give", "back", number, rest @ ..] => {
                let number = number.parse().expect("a CDR's number");
                let (amount, rest) = match rest {
                    ["all", rest @ ..] => (None, rest),
                    [amount, rest @ ..] => (Some(money(amount)), rest),
                    [] => panic!("give back how much?"),
                };
                self.topups += 1;
                let request = match rest {
                    [key] => request(key, 0),
                    _ => request(&format!("k{}", self.topups), 0),
                };
                mutated(&self.world().give_back(number, amount, request, at(seconds)))
            }
            ["withdraw", version] => {
                let version = version.parse().expect("a number");
                self.world().tariffs.withdraw(&TariffName::new(crate::world::TARIFF), version, at(seconds));
                "done".to_owned()
            }
            ["canary", version, share, rest @ ..] => {
                let (named, from) = match rest {
                    [named @ .., "from", from] => (named, self.instant(from)),
                    named => (named, at(seconds)),
                };
                let mut named: Vec<_> = named.iter().map(|name| SubscriberId::new(account_number(name))).collect();
                named.sort();
                let share =
                    share.trim_end_matches('%').parse::<u32>().ok().and_then(|percent| Share::new(percent * 100));
                let reach = share.filter(|share| *share < Share::WHOLE);
                let reach = reach.map_or(Reach::Everybody, |share| Reach::Some(share, named.into()));
                let version = version.parse().expect("a number");
                self.world().tariffs.step(&TariffName::new(crate::world::TARIFF), version, from, reach);
                "done".to_owned()
            }
            ["cancel", name, subscription, rest @ ..] => {
                self.topups += 1;
                let account = AccountId::new(account_number(name));
                let subscription = subscription.parse().expect("a number");
                let cancel = Change::Cancel { account, subscription, ending: self.ending(rest) };
                let mutation = cancel.asked(request(&format!("k{}", self.topups), 0));
                mutated(&self.world().mutate(mutation, at(seconds)))
            }
            ["replace", name, subscription, offer, rest @ ..] => {
                self.topups += 1;
                let (account, offer) = (AccountId::new(account_number(name)), OfferName::new(offer));
                let (subscription, ending) = (subscription.parse().expect("a number"), self.ending(rest));
                let replace = Change::Replace { account, subscription, ending, offer, version: None };
                let mutation = replace.asked(request(&format!("k{}", self.topups), 0));
                mutated(&self.world().mutate(mutation, at(seconds)))
            }
            ["adjust", name, id, amount, rest @ ..] => {
                let bucket = parse_bucket(self.origin, id, amount.trim_start_matches('-'), rest);
                let amount = if amount.starts_with('-') { -bucket.balance } else { bucket.balance };
                let account = AccountId::new(account_number(name));
                let adjust = Change::Adjust { account, bucket: bucket.id, holding: bucket.holding, amount };
                let adjust = adjust.asked(self.once());
                mutated(&self.world().mutate(adjust, at(seconds)))
            }
            ["transfer", from, from_bucket, amount, to, to_bucket] => {
                let from = (AccountId::new(account_number(from)), BucketId::new(from_bucket));
                let to = (AccountId::new(account_number(to)), parse_bucket(self.origin, to_bucket, "0.00", &[]));
                let asked = self.once();
                mutated(&self.world().transfer(from, to, money(amount), asked, at(seconds)))
            }
            ["extend", name, id, until] => {
                let (account, valid_to) = (AccountId::new(account_number(name)), self.instant(until));
                let extend = Change::Extend { account, bucket: BucketId::new(id), valid_to };
                mutated(&self.world().mutate(extend, at(seconds)))
            }
            ["move", name, account] => {
                let id = SubscriberId::new(account_number(name));
                let member = self.world().shard.subscriber(id).expect("it is there").clone();
                let account = AccountId::new(account_number(account));
                let moved = Change::PutSubscriber(Subscriber { account, ..member });
                mutated(&self.world().mutate(moved, at(seconds)))
            }
            ["remove", name] => {
                let subscriber = SubscriberId::new(account_number(name));
                let group = self.world().shard.subscriber(subscriber).expect("it is there").group;
                mutated(&self.world().mutate(Change::RemoveMember { group, subscriber }, at(seconds)))
            }
            ["credit", name, limit] => {
                let set = Change::SetCredit { account: AccountId::new(account_number(name)), limit: money(limit) };
                mutated(&self.world().mutate(set, at(seconds)))
            }
            [state @ ("suspend" | "bar" | "activate"), name] => {
                let state = match *state {
                    "suspend" => AccountState::Suspended,
                    "bar" => AccountState::Barred,
                    _ => AccountState::Active,
                };
                let account = AccountId::new(account_number(name));
                mutated(&self.world().mutate(Change::SetState { account, state }, at(seconds)))
            }
            [session, verb, rest @ ..] => {
                let (original, rest) = match (*verb, rest) {
                    ("refund", [original, rest @ ..]) => (SessionId::new(original.as_bytes()), rest),
                    _ => (SessionId::new(b""), rest),
                };
                let (number, rest) = rest.split_first().expect("a request has a number");
                let number = number.trim_start_matches('#').parse().expect("#number");
                let mut client_state = 0;
                let mut profile = Profile::STANDARD;
                let mut command_level = false;
                let (mut service, mut messages, mut event_time, mut ended) = (Service::Data, None, None, None);
                let (mut packet, mut ims) = (PacketContext::default(), ImsContext::default());
                let mut services = rest;
                while let Some((word, others)) = services.split_first() {
                    match word.split_once('=') {
                        Some(("state", marker)) => client_state = marker.parse().expect("a marker"),
                        Some(("at", time)) => event_time = Some(self.instant(time)),
                        Some(("until", time)) => ended = Some(self.instant(time)),
                        Some(("to", number)) => ims.called = Some(number.into()),
                        Some(("from", number)) => (ims.role, ims.calling) = (Some(1), vec![number.into()]),
                        Some(("plmn", digits)) => packet.serving_plmn = Plmn::parse(digits),
                        Some(("rat", octet)) => packet.rat = Some(octet.parse().expect("an octet")),
                        Some(("apn", name)) => packet.apn = Some(name.into()),
                        Some(("cap", cap)) => profile.grant_cap = quantity(cap).1,
                        Some(("as", name)) => service = name.parse().expect("a service"),
                        Some(("messages", number)) => messages = Some(number.parse().expect("a number")),
                        None if *word == "open5gs" => profile = Profile::OPEN5GS,
                        None if *word == "level" => command_level = true,
                        _ => break,
                    }
                    services = others;
                }
                let services = services.join(" ");
                let services: Vec<ServiceRequest> =
                    services.split(';').filter(|text| !text.trim().is_empty()).map(parse_service).collect();
                let action = match *verb {
                    "initial" => Action::Start(services),
                    "update" => Action::Update(services),
                    "terminate" => Action::Stop(services),
                    "debit" => Action::Debit(services),
                    "record" => Action::Record { services, ended: ended.or(event_time).unwrap_or_else(|| at(seconds)) },
                    "check" => Action::CheckBalance(services),
                    "price" => Action::PriceEnquiry(services),
                    "refund" => Action::Refund { original, services },
                    _ => panic!("no such verb: {verb}"),
                };
                let event = matches!(*verb, "debit" | "record" | "price" | "refund");
                let mut asked = command(seconds, account_number(session), session, number, action);
                (asked.client_state, asked.profile, asked.command_level) = (client_state, profile, command_level);
                (asked.context.service, asked.event_time) = (service, event_time);
                asked.context.packet = (packet != PacketContext::default()).then(|| Box::new(packet));
                asked.context.ims = (ims != ImsContext::default()).then(|| Box::new(ims));
                asked.context.sms = messages.map(|number: u32| {
                    asked.digest ^= u64::from(number);
                    Box::new(SmsContext { messages: Some(number), ..SmsContext::default() })
                });
                let effects = self.world().apply(asked);
                answer(&effects, event, shown, self.origin)
            }
            _ => panic!("cannot read {words:?}"),
        }
    }

    fn ending(&self, words: &[&str]) -> Ending {
        match words {
            [] => Ending::WithCycle,
            ["now"] => Ending::AtOnce,
            ["at", time] => Ending::At(self.instant(time)),
            _ => panic!("when does it end: {words:?}?"),
        }
    }

    fn look(&mut self, words: &[&str]) -> Told {
        let world = self.world();
        match words {
            ["cdrs", name, rest @ ..] => {
                let cdrs = world.cdrs_of(account_number(name)).map(|cdr| match cdr.kind {
                    CdrKind::Usage => cdr.amount.to_string(),
                    CdrKind::TopUp => format!("topup {}", cdr.amount),
                    CdrKind::Refund => format!("refund {}", cdr.amount),
                    CdrKind::Suspense => "suspense".to_owned(),
                    CdrKind::Lapse => format!("lapse {:?}", cdr.cause).to_lowercase(),
                    CdrKind::Recurring => format!("fee {}", cdr.amount),
                    CdrKind::OneTime => format!("once {}", cdr.amount),
                    CdrKind::Allowance => format!("opened {}", cdr.amount),
                    CdrKind::Expiry => format!("expired {}", cdr.amount),
                    CdrKind::Adjustment => format!("adjusted {}", cdr.amount),
                    CdrKind::Transfer => format!("transferred {}", cdr.amount),
                    CdrKind::ReRate => format!("again {} of {}", cdr.amount, cdr.corrects.expect("it corrects one")),
                });
                same(&rest.join(" "), &cdrs.collect::<Vec<_>>().join(", "))
            }
            ["windows", name, rest @ ..] => {
                let usage = world.cdrs_of(account_number(name)).filter_map(|cdr| {
                    let rating = cdr.rating.as_ref()?;
                    let window = match rating.tariff.window_name(rating.window) {
                        "" => "any",
                        name => name,
                    };
                    Some(format!("v{} {window} {}", rating.tariff.version(), cdr.amount))
                });
                same(&rest.join(" "), &usage.collect::<Vec<_>>().join(", "))
            }
            ["exact", name, rest @ ..] => {
                let last = world.cdrs_of(account_number(name)).last().expect("a CDR");
                let lines = last.rating.as_ref().map_or(&[][..], |rating| &rating.lines);
                let lines: Vec<String> = lines
                    .iter()
                    .map(|line| {
                        let (numerator, denominator) = line.exact.fraction();
                        format!("{numerator}/{denominator}")
                    })
                    .collect();
                same(&rest.join(" "), &lines.join(", "))
            }
            ["paid", name, rest @ ..] => {
                let last = world.cdrs_of(account_number(name)).last().expect("a CDR");
                let moved = last.movements.iter().map(|movement| {
                    let payer = match &movement.payer {
                        Payer::Bucket(id) => id.to_string(),
                        Payer::Credit => "credit".to_owned(),
                        Payer::Debt => "debt".to_owned(),
                    };
                    format!("{payer} {}", amount(movement.holding, -movement.delta))
                });
                same(&rest.join(" "), &moved.collect::<Vec<_>>().join(", "))
            }
            ["booked", name, rest @ ..] => {
                let day = |at: Timestamp| at.to_string().get(..10).expect("a date").to_owned();
                let booked = world.cdrs_of(account_number(name)).map(|cdr| {
                    let booked = cdr.booked.expect("periods are kept");
                    let late =
                        if booked.is_late() { format!(" of {}", day(booked.usage_period)) } else { String::new() };
                    format!("{} {}{late}", cdr.amount, day(booked.period))
                });
                same(&rest.join(" "), &booked.collect::<Vec<_>>().join(", "))
            }
            ["crossed", name, rest @ ..] => {
                let crossings = world.cdrs_of(account_number(name)).flat_map(|cdr| &cdr.crossings).map(|crossing| {
                    let (of, holding) = match &crossing.watched {
                        Watched::Allowance(bucket, holding) => (bucket.as_str(), *holding),
                        Watched::Spend => ("spend", Holding::Money),
                        Watched::Balance => ("balance", Holding::Money),
                    };
                    let way = if crossing.is_reached() { "reaches" } else { "leaves" };
                    format!("{of} {way} {} at {}", crossing.label, amount(holding, crossing.after))
                });
                same(&rest.join(" "), &crossings.collect::<Vec<_>>().join(", "))
            }
            ["billed", name, rest @ ..] => {
                let billed = world.cdrs_of(account_number(name)).map(|cdr| {
                    let cycle = cdr.bill_cycle.map_or_else(|| "never".to_owned(), |at| at.to_string());
                    format!("{} {}", cdr.amount, cycle.get(..16).unwrap_or(&cycle))
                });
                same(&rest.join(" "), &billed.collect::<Vec<_>>().join(", "))
            }
            ["cost", name, rest @ ..] => {
                let last = world.cdrs_of(account_number(name)).last().expect("a CDR");
                let costs: Vec<String> = last.movements.iter().map(|moved| moved.cost.to_string()).collect();
                same(&rest.join(" "), &costs.join(", "))
            }
            [name, "counter", id, expected] => {
                let subscriber = world.shard.subscriber(SubscriberId::new(account_number(name))).expect("it is there");
                let counters = subscriber.counters.as_slice();
                let counter = counters.iter().find(|counter| counter.id.as_str() == *id).expect("a counter");
                let used = i64::try_from(counter.used).expect("fits");
                same(expected, &amount(Holding::Units(counter.unit), used))
            }
            [name, "holds", rest @ ..] => {
                let contract = world.account(account_number(name)).contract.as_ref().expect("a contract");
                let held = contract
                    .subscriptions
                    .iter()
                    .map(|held| match held.state {
                        SubscriptionState::Active if held.ends_at != Timestamp::NEVER => (held, "cancelled"),
                        SubscriptionState::Active => (held, "active"),
                        SubscriptionState::Unpaid => (held, "unpaid"),
                        SubscriptionState::Awaited => (held, "awaited"),
                    })
                    .map(|(held, state)| format!("{} {} {state}", held.offer, held.cycle));
                same(&rest.join(" "), &held.collect::<Vec<_>>().join(", "))
            }
            [name, "without", id] => match world.account(account_number(name)).bucket(&BucketId::new(id)) {
                None => Ok(()),
                Some(bucket) => Err(format!("it has {}", bucket.balance)),
            },
            [name, "reserved", expected] => {
                same(expected, &world.account(account_number(name)).reserved_money().to_string())
            }
            [name, "spent", expected] => {
                same(expected, &world.account(account_number(name)).credit.expect("credit").spent.to_string())
            }
            [name, "debt", expected] => same(expected, &world.account(account_number(name)).debt.to_string()),
            [name, "sessions", expected] => {
                let id = AccountId::new(account_number(name));
                same(expected, &world.shard.sessions().filter(|it| it.account == id).count().to_string())
            }
            [name, "open", expected] => {
                let id = AccountId::new(account_number(name));
                same(
                    expected,
                    &world.shard.sessions().filter(|it| it.account == id && it.is_open()).count().to_string(),
                )
            }
            [name, id, "reserved", expected] => {
                let found = find(world.account(account_number(name)), id);
                same(expected, &amount(found.holding, found.reserved))
            }
            [name, id, expected] => {
                let found = find(world.account(account_number(name)), id);
                same(expected, &amount(found.holding, found.balance))
            }
            _ => panic!("cannot read {words:?}"),
        }
    }
}

fn find<'a>(account: &'a Account, id: &str) -> &'a Bucket {
    account.bucket(&BucketId::new(id)).unwrap_or_else(|| panic!("no bucket {id}"))
}

fn same(expected: &str, came: &str) -> Told {
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    if plain(expected) == plain(came) { Ok(()) } else { Err(plain(came)) }
}

/// `A` is account 1, `B` account 2; a session `A/x` belongs to account `A`.
fn account_number(name: &str) -> u64 {
    u64::from(name.as_bytes()[0] - b'A') + 1
}

fn account_name(number: u64) -> char {
    char::from(b'A' + u8::try_from(number - 1).expect("few"))
}

fn mutated(outcome: &MutationOutcome) -> String {
    match outcome {
        MutationOutcome::Done { .. } => "done".to_owned(),
        // Its words are for people.
        MutationOutcome::Refused(Refusal::Invalid(_)) => "refused Invalid".to_owned(),
        MutationOutcome::Refused(refusal) => format!("refused {refusal:?}"),
    }
}

fn answer(effects: &Effects, event: bool, [valid, switch, threshold]: [bool; 3], origin: i64) -> String {
    let answered = match &*effects.outcome {
        Outcome::Answered(answered) => answered,
        Outcome::Refused(refusal) => {
            let again = if effects.repeated { " again" } else { "" };
            // Its words are for people.
            let name = if let Refusal::Invalid(_) = refusal { "Invalid".to_owned() } else { format!("{refusal:?}") };
            return format!("refused {name}{again}");
        }
    };
    let services = answered.services.iter().map(|service| match &service.result {
        ServiceResult::Granted(grant) => {
            let mut text = format!("granted {}", units(&grant.units.units()));
            if grant.last {
                text.push_str(" final");
            }
            if valid {
                let _ = write!(text, " valid {}s", grant.validity_seconds);
            }
            if switch {
                let _ = match grant.switch {
                    Some(switch) => write!(text, " switch {}s", switch.millis() / 1000 - origin),
                    None => write!(text, " no switch"),
                };
            }
            if threshold {
                let _ = write!(text, " threshold {}", grant.threshold);
            }
            text
        }
        ServiceResult::Settled => "settled".to_owned(),
        ServiceResult::Denied(denial) => format!(
            "denied {}",
            match denial {
                Denial::CreditLimitReached => "credit",
                Denial::ServiceDenied => "service",
                Denial::Rejected => "rejected",
                Denial::RatingFailed => "rating",
                Denial::UsageSuspect => "suspect",
            }
        ),
    });
    let mut text = services.collect::<Vec<_>>().join("; ");
    if text.is_empty() {
        text.push_str("done");
    }
    if let (true, Some((cost, _))) = (event, answered.cost) {
        let _ = write!(text, " cost {cost}");
    }
    match answered.enough_credit {
        Some(true) => text.push_str(" enough"),
        Some(false) => text.push_str(" short"),
        None => {}
    }
    if answered.session_gone {
        text.push_str(" gone");
    }
    if effects.repeated {
        text.push_str(" again");
    }
    text
}

fn rounding(decimals: &str, mode: &str, scope: &str) -> Rounding {
    let mode = match mode {
        "half_up" => RoundingMode::HalfUp,
        "half_even" => RoundingMode::HalfEven,
        "up" => RoundingMode::Up,
        "down" => RoundingMode::Down,
        _ => panic!("no such mode: {mode}"),
    };
    let scope = match scope {
        "line" => RoundingScope::Line,
        "event" => RoundingScope::Event,
        "bill" => RoundingScope::Bill,
        _ => panic!("no such scope: {scope}"),
    };
    Rounding::new(decimals.parse().expect("decimals"), mode, scope).expect("at most 6 decimals")
}

/// `0.09/60s`, `0.333/MiB`, `0.10/ev`, with `<180s` behind where a tier ends.
fn parse_rate(word: &str) -> Option<(Measure, Tier)> {
    let (rate, up_to) = word.split_once('<').map_or((word, None), |(rate, end)| (rate, Some(quantity(end).1)));
    let (amount, per) = rate.split_once('/')?;
    let per = if per.starts_with(|c: char| c.is_ascii_digit()) { per.to_owned() } else { format!("1{per}") };
    let (measure, per) = quantity(&per);
    let micros = u64::try_from(amount.parse::<Money>().ok()?.micros()).ok()?;
    Some((measure, Tier { up_to, rate: Rate::new(micros, per)? }))
}

impl Teller {
    fn parse_price(&self, group: &str, words: &[&str]) -> Price {
        let number = self.prices.len();
        let group = (group != "any").then(|| group.parse().expect("a rating group"));
        let mut parsed = price(&format!("p{number}"), group, Measure::TotalOctets, Rate::ZERO);
        let mut tiers = Vec::new();
        let (mut windowed_tiers, mut windowed_fees) = (Vec::new(), Vec::new());
        let window = |name: &str| self.calendar().and_then(|calendar| calendar.id(name)).expect("a window");
        let mut words = words.iter().copied().peekable();
        while let Some(word) = words.next() {
            let mut next = || words.next().expect("a value");
            match word {
                "free" => parsed.zero_rated = true,
                "pulse" => {
                    let (first, following) = next().split_once('/').expect("first/next");
                    let size = |text: &str| text.parse().unwrap_or_else(|_| quantity(text).1);
                    parsed.pulse = Pulse::new(size(first), size(following)).expect("pulses above 0");
                }
                "fee" => parsed.connect_fee = PerWindow::always(money(next())),
                "as" => parsed.filter.service = Some(next().parse().expect("a service")),
                "in" => {
                    let (window, rate) = (window(next()), next());
                    windowed_tiers.push((window, Tiers::flat(parse_rate(rate).expect("a rate").1.rate)));
                }
                "fee-in" => windowed_fees.push((window(next()), money(next()))),
                "only" => parsed.filter.window = Some(window(next())),
                "zone" => parsed.filter.zone = Zones::new(&self.zones).expect("zones").id(next()),
                "visited" => parsed.filter.networks = Networks::new(&self.networks).expect("networks").id(next()),
                "rat" => parsed.filter.rats = [next().parse().expect("an octet")].into(),
                "apn" => parsed.filter.apns = [next().into()].into(),
                "incoming" => parsed.filter.direction = Some(Direction::Incoming),
                "service" => {
                    parsed.filter.service_id = Some(ServiceId::new(next().parse().expect("a service identifier")))
                }
                "cycle" => parsed.tier_scope = TierScope::Cycle(CounterId::new(next())),
                "via" => {
                    let id = next();
                    let place = self.exchanges.iter().position(|exchange| *exchange.id == *id).expect("an exchange");
                    parsed.exchange = Some(u8::try_from(place).expect("few"));
                }
                "pooled" => parsed.pool = Some(CounterId::new(next())),
                "buys" => parsed.buys = Some(OfferName::new(next())),
                "bundled" => parsed.connect_fee_when_bundled = true,
                "min" => parsed.min_charge = Some(money(next())),
                "max" => parsed.max_charge = Some(money(next())),
                "validity" => {
                    parsed.grant.validity_seconds = u32::try_from(quantity(next()).1).expect("a validity");
                }
                "grant" => {
                    let (default, floor, cap) = (quantity(next()).1, quantity(next()).1, quantity(next()).1);
                    parsed.grant = GrantPolicy { default, floor, cap, ..parsed.grant };
                }
                "sent" | "received" => {
                    parsed.measure = if word == "sent" { Measure::UplinkOctets } else { Measure::DownlinkOctets };
                }
                rate => {
                    let (measure, tier) = parse_rate(rate).unwrap_or_else(|| panic!("price: {rate}"));
                    parsed.measure = measure;
                    parsed.grant = GrantPolicy::standard(measure.unit());
                    tiers.push(tier);
                }
            }
        }
        if !tiers.is_empty() {
            parsed.tiers = PerWindow::new(Tiers::new(tiers).expect("tiers in order"), windowed_tiers);
        }
        let fee = *parsed.connect_fee.get(WindowId::default());
        parsed.connect_fee = PerWindow::new(fee, windowed_fees);
        parsed
    }
}

impl Teller {
    fn parse_offer(&self, name: &str, words: &[&str]) -> OfferDraft {
        let mut offer = OfferDraft {
            name: OfferName::new(name),
            version: 1,
            currency: Currency::EUR,
            zone: self.timezone.clone().unwrap_or_else(Zone::utc),
            tariff: None,
            setup_fee: Money::ZERO,
            fee: Money::ZERO,
            per_member: false,
            pool: None,
            period: None,
            renews: true,
            allowances: Vec::new(),
            spend: Vec::new(),
            balance: Vec::new(),
            finance: FinanceCodes::default(),
            content_hash: [0; 32],
        };
        let mut words = words.iter().copied();
        while let Some(word) = words.next() {
            let mut next = || words.next().expect("a value");
            let mut last = offer.allowances.last_mut();
            let mut of = |change: &mut dyn FnMut(&mut Allowance)| change(last.as_mut().expect("an allowance"));
            match word {
                "fee" => offer.fee = money(next()),
                "setup" => offer.setup_fee = money(next()),
                "period" => offer.period = Some(next().parse().expect("a period")),
                "each" => offer.per_member = true,
                "pool" => {
                    let (counter, allowance, rate) = (next(), quantity(next()), next());
                    offer.pool = Some(Pool {
                        counter: CounterId::new(counter),
                        unit: allowance.0.unit(),
                        allowance: allowance.1,
                        overage: parse_rate(rate).expect("a rate").1.rate,
                    });
                }
                "once" => offer.renews = false,
                "tariff" => offer.tariff = Some(TariffName::new(next())),
                "priority" => of(&mut |it| it.priority = next().parse().expect("a number")),
                "validity" => of(&mut |it| it.validity = Some(next().parse().expect("a period"))),
                "granted" => of(&mut |it| it.origin = Origin::Granted),
                "roll" => of(&mut |it| {
                    let cap = i64::try_from(quantity(next()).1).expect("fits");
                    it.rollover = Some(Rollover { cap, cycles: next().parse().expect("a number") });
                }),
                "cap" => of(&mut |it| it.member_cap = Some(quantity(next()).1)),
                "notify" => of(&mut |it| {
                    let each = next().split(',');
                    let each = each
                        .map(|text| Threshold { at: text.parse().expect("percent"), label: format!("{text}%").into() });
                    it.thresholds = each.collect();
                }),
                "spend" => offer.spend = next().split(',').map(threshold).collect(),
                "low" => offer.balance = next().split(',').map(threshold).collect(),
                "ssp" => of(&mut |it| it.stand_alone = money(next())),
                "for" => of(&mut |it| {
                    let groups = next().split(',').map(|group| RatingGroup::new(group.parse().expect("a group")));
                    it.scope =
                        Some(Box::new(BucketScope { rating_groups: groups.collect(), ..BucketScope::default() }));
                }),
                allowance => {
                    let Bucket { holding, balance, .. } = parse_bucket(0, allowance, next(), &[]);
                    offer.allowances.push(Allowance {
                        name: allowance.into(),
                        holding,
                        amount: balance,
                        validity: None,
                        priority: 5,
                        scope: None,
                        origin: Origin::Paid,
                        stand_alone: Money::ZERO,
                        rollover: None,
                        member_cap: None,
                        thresholds: Vec::new(),
                    });
                }
            }
        }
        offer.renews &= offer.period.is_some();
        offer
    }
}

/// Seconds of `2027-01-31T00:00:00Z`.
fn instant(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().expect("an instant").as_second()
}

/// `22:00-06:00`, and the days it is on.
fn parse_span(times: &str, days: &[&str]) -> Span {
    let seconds = |text: &str| {
        let (hours, minutes) = text.split_once(':').expect("hh:mm");
        hours.parse::<u32>().expect("hours") * 3600 + minutes.parse::<u32>().expect("minutes") * 60
    };
    let (from, to) = times.split_once('-').expect("from-to");
    let day = |name: &&str| {
        let is_it = |day: &Weekday| format!("{day:?}").to_lowercase().starts_with(name);
        Weekday::ALL.into_iter().find(is_it).expect("a day")
    };
    let weekdays = days.iter().map(day).collect();
    Span { weekdays, month_days: Vec::new(), months: Vec::new(), from: seconds(from), to: seconds(to) }
}

fn parse_bucket(origin: i64, id: &str, amount: &str, words: &[&str]) -> Bucket {
    let (holding, balance) = match amount.parse::<Money>() {
        Ok(money) => (Holding::Money, money.micros()),
        Err(_) => {
            let (measure, balance) = quantity(amount);
            (Holding::Units(measure.unit()), i64::try_from(balance).expect("fits"))
        }
    };
    let mut parsed = bucket(id, holding, balance);
    let seconds = |text: &str| at(origin + i64::try_from(quantity(text).1).expect("fits"));
    let mut words = words.iter().copied().peekable();
    while let Some(word) = words.next() {
        match word {
            "priority" => parsed.priority = words.next().expect("a priority").parse().expect("a number"),
            "from" => parsed.valid_from = seconds(words.next().expect("a time")),
            "until" => parsed.valid_to = seconds(words.next().expect("a time")),
            "for" => {
                let groups = words.by_ref().map(|group| RatingGroup::new(group.parse().expect("a rating group")));
                let rating_groups = groups.collect();
                parsed.scope = Some(Box::new(BucketScope { rating_groups, ..BucketScope::default() }));
            }
            _ => panic!("bucket: {word}"),
        }
    }
    parsed
}

/// `10 used 3MiB used 1MiB want 5MiB`, `10 want any`, `10/5,6 want any` with service identifiers.
fn parse_service(text: &str) -> ServiceRequest {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (group, rest) = words.split_first().expect("a rating group");
    let (group, ids) = group.split_once('/').map_or((*group, None), |(group, ids)| (group, Some(ids)));
    let mut key =
        if group == "all" { Default::default() } else { rating_group(group.parse().expect("a rating group")) };
    if let Some(ids) = ids {
        key.services = ids.split(',').map(|id| ServiceId::new(id.parse().expect("a service identifier"))).collect();
    }
    let mut request = ServiceRequest { key, ..ServiceRequest::default() };
    for pair in rest.chunks(2) {
        match pair {
            ["used", amount] => request.used.push(Used { units: some_units(amount), ..Used::default() }),
            ["before", amount] => {
                request.used.push(Used { units: some_units(amount), part: TariffPart::Before });
            }
            ["after", amount] => request.used.push(Used { units: some_units(amount), part: TariffPart::After }),
            ["want", "any"] => request.requested = Requested::Any,
            ["want", amount] => request.requested = Requested::Units(some_units(amount)),
            _ => panic!("service: {pair:?}"),
        }
    }
    request
}

/// `3MiB`, `61s`, `2ev`, `0.50EUR`; several joined by `+`.
fn some_units(text: &str) -> Units {
    text.split('+').fold(Units::default(), |sum, part| {
        let one = if let Some(amount) = part.strip_suffix("EUR") {
            Units { money: Some(MoneyUnits { amount: money(amount), currency: None }), ..Units::default() }
        } else {
            let (measure, quantity) = quantity(part);
            let mut units = Units::default();
            match measure {
                Measure::Seconds => units.seconds = Some(quantity),
                Measure::TotalOctets => units.total_octets = Some(quantity),
                Measure::Events => units.events = Some(quantity),
                Measure::UplinkOctets => units.uplink_octets = Some(quantity),
                Measure::DownlinkOctets => units.downlink_octets = Some(quantity),
            }
            units
        };
        sum.plus(&one)
    })
}

const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

fn quantity(text: &str) -> (Measure, u64) {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().unwrap_or_else(|_| panic!("no quantity: {text}"));
    let (unit, measure) = match unit.strip_suffix("up") {
        Some(unit) => (unit, Measure::UplinkOctets),
        None => match unit.strip_suffix("down") {
            Some(unit) => (unit, Measure::DownlinkOctets),
            None => (unit, Measure::TotalOctets),
        },
    };
    match unit {
        "s" => (Measure::Seconds, number),
        "ev" => (Measure::Events, number),
        _ => {
            let (_, size) = SIZES.iter().find(|(name, _)| *name == unit).unwrap_or_else(|| panic!("no unit: {text}"));
            (measure, number * size)
        }
    }
}

fn octets(quantity: u64) -> String {
    let (name, size) =
        SIZES.iter().find(|(_, size)| quantity > 0 && quantity.is_multiple_of(*size)).unwrap_or(&SIZES[3]);
    format!("{}{name}", quantity / size)
}

fn units(units: &Units) -> String {
    let mut parts = Vec::new();
    parts.extend(units.seconds.map(|seconds| format!("{seconds}s")));
    parts.extend(units.total_octets.map(octets));
    parts.extend(units.uplink_octets.map(|quantity| octets(quantity) + "up"));
    parts.extend(units.downlink_octets.map(|quantity| octets(quantity) + "down"));
    parts.extend(units.events.map(|events| format!("{events}ev")));
    parts.extend(units.money.map(|money| format!("{}EUR", money.amount)));
    parts.join("+")
}

fn amount(holding: Holding, amount: i64) -> String {
    match holding {
        Holding::Money => Money::from_micros(amount).to_string(),
        Holding::Units(Unit::Second) => format!("{amount}s"),
        Holding::Units(Unit::Event) => format!("{amount}ev"),
        Holding::Units(Unit::Octet) => u64::try_from(amount).map_or_else(|_| format!("{amount}B"), octets),
    }
}

fn threshold(text: &str) -> Threshold {
    Threshold { at: money(text).micros(), label: text.into() }
}
