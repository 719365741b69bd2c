//! What changed between two versions, in words that a billing person would use; and that nothing ever changes silently.

#![cfg(test)]

use std::collections::BTreeSet;

use ocs::catalogue::diff::{Change, ChangeKind, Effect, diff};
use ocs::catalogue::{self, Document};
use serde_json::Value;

const DOCUMENTS: [&str; 27] = [
    include_str!("../../docs/examples/tariff.yaml"),
    include_str!("../../docs/examples/nights-and-roaming.yaml"),
    include_str!("../../docs/examples/offer.yaml"),
    include_str!("../../docs/examples/accounting.yaml"),
    ocs::demo::CATALOGUE[0],
    ocs::demo::CATALOGUE[1],
    ocs::demo::CATALOGUE[2],
    ocs::demo::CATALOGUE[3],
    ocs::demo::CATALOGUE[4],
    ocs::demo::CATALOGUE[5],
    ocs::demo::CATALOGUE[6],
    ocs::demo::CATALOGUE[7],
    ocs::demo::CATALOGUE[8],
    ocs::demo::CATALOGUE[9],
    ocs::demo::CATALOGUE[10],
    ocs::demo::CATALOGUE[11],
    ocs::demo::CATALOGUE[12],
    ocs::demo::CATALOGUE[13],
    ocs::demo::CATALOGUE[14],
    ocs::demo::CATALOGUE[15],
    ocs::demo::CATALOGUE[16],
    ocs::demo::CATALOGUE[17],
    ocs::demo::CATALOGUE[18],
    ocs::demo::CATALOGUE[19],
    WHOLE_TARIFF,
    WHOLE_OFFER,
    PLAIN_POOL,
];

/// Every member that a tariff can have.
const WHOLE_TARIFF: &str = r#"
tariff: whole
version: 2
valid_from: 2027-04-01
time_zone: Europe/Berlin
policy: split
currency: EUR
rounding: {decimals: 4, mode: half_up, scope: event}
zones: {eu: ["33", "34"], world: ["1"]}
networks: {near: ["208", "222-01"], far: ["310"]}
exchange:
  usd: {from: USD, decimals: 3, rates: {2027-01-01: "0.92", 2027-05-01: "0.93"}}
  gbp: {from: GBP, rates: {2027-01-01: "1.15"}}
calendar:
  default: day
  holiday_as: sunday
  holidays: ["2027-05-06", "12-25", "easter+1"]
  windows:
    - {name: night, spans: [{from: "22:00", to: "06:00", days: [mon-fri], month_days: [1, 2], months: [3]}]}
    - {name: weekend, spans: [{days: [sat-sun], from: "00:00", to: "24:00"}]}
    - {name: lunch, spans: [{from: "12:00", to: "13:00"}]}
prices:
  - id: everything
    service: voice
    rating_group: 7
    service_id: 9
    zone: eu
    visited: near
    rat: [lte, nr]
    apn: [fleet]
    slice: ["1", "1-000102"]
    direction: outgoing
    window: night
    measure: seconds
    tiers: [{up_to: 3 min, rate: 0.20 / min}, {rate: 0.05 / min}]
    tier_scope: cycle
    counter: minutes
    pulse: 60/30
    connect_fee: "0.05"
    connect_fee_when_bundled: true
    windows:
      night: {tiers: [{up_to: 2 min, rate: 0.10 / min}, {rate: 0.01 / min}], connect_fee: "0.02"}
      weekend: {rate: 0.05 / min}
    min_charge: "0.10"
    max_charge: "3.00"
    pool: together
    buys: day-pass
    exchange: usd
    grant: {default: 10 min, floor: 2 min, cap: 40 min, validity: 20 min, threshold: 20%}
    finance: {tax_category: S, tax_included: true, place_of_supply: DE, ledger_code: "4711", revenue_rule: usage}
  - {id: free, service: data, rating_group: 100, measure: total_octets, zero_rated: true}
  - {id: data, service: data, measure: total_octets, rate: 0.02 / MiB}
  - {id: rest, measure: events, rate: "0.09", tier_scope: cycle}
"#;

/// Every member that an offer can have.
const WHOLE_OFFER: &str = r#"
offer: smart # whole
version: 1
currency: EUR
time_zone: Europe/Berlin
tariff: smart
setup_fee: "1.00"
fee: "7.99"
per_member: true
period: P1M
renews: true
pool: {counter: together, unit: octet, allowance: 5 MiB, overage: 0.50 / MiB}
allowances:
  - {id: data, unit: octet, amount: 10 GiB, services: [data, sms], rating_groups: [1, 2], service_ids: [3], stand_alone: "9.00",
     rollover: {cap: 5 GiB, cycles: 1}, member_cap: 2 GiB, priority: 40}
  - {id: gift, unit: second, amount: 10 min, validity: P7D, granted: true}
  - {id: money, unit: EUR, amount: "2.00", stand_alone: "1.00"}
  - {id: plain, unit: event, amount: "7"}
finance: {tax_category: S, tax_included: true, place_of_supply: DE, ledger_code: "4500", revenue_rule: monthly}
"#;

/// A pool of what has no unit beside it.
const PLAIN_POOL: &str = r#"
offer: plain # whole
version: 1
currency: EUR
period: P1M
pool: {counter: together, unit: event, allowance: "7", overage: "0.50"}
"#;

/// What else might stand somewhere.
const WORDS: [&str; 44] = [
    "half_even",
    "up",
    "line",
    "bill",
    "session_start",
    "voice",
    "data",
    "sms",
    "uplink_octets",
    "total_octets",
    "events",
    "seconds",
    "second",
    "octet",
    "event",
    "EUR",
    "GBP",
    "USD",
    "CHF",
    "mon",
    "tue",
    "monday",
    "outgoing",
    "incoming",
    "session",
    "cycle",
    "lte",
    "lte-m",
    "UTC",
    "GMT",
    "P2M",
    "P3D",
    "PT5H",
    "0.13",
    "0.13 / min",
    "0.13 / MiB",
    "3 GiB",
    "7 min",
    "7",
    "77",
    "2027-02-01",
    "12-24",
    "11:00",
    "2-000103",
];

fn parse(text: &str) -> Document {
    catalogue::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn changed(old: &str, new: &str) -> Vec<Change> {
    diff(&parse(old), &parse(new)).unwrap()
}

fn words(old: &str, new: &str) -> Vec<String> {
    changed(old, new).into_iter().map(|change| change.words).collect()
}

/// The other document, with one thing in it said otherwise.
fn with(text: &str, one: &str, other: &str) -> String {
    assert!(text.contains(one), "{one} in {text}");
    text.replacen(one, other, 1)
}

/// The kind of thing that a member of another one is, by its name in the schema.
fn kind_of(kind: &'static str, member: &str) -> &'static str {
    match (kind, member) {
        (_, "rounding") => "Rounding",
        ("Tariff", "calendar") => "Calendar",
        ("Calendar", "windows") => "Window",
        (_, "spans") => "Span",
        ("Tariff", "exchange") => "Exchange",
        (_, "prices") => "Price",
        ("Price", "windows") => "Windowed",
        (_, "tiers") => "Tier",
        (_, "grant") => "Grant",
        (_, "finance") => "Finance",
        (_, "allowances") => "Allowance",
        ("Offer", "pool") => "Pool",
        (_, "rollover") => "Rollover",
        (_, "notify_spend" | "notify_balance") => "MoneyThreshold",
        (_, "notify") => "ShareThreshold",
        _ => kind,
    }
}

/// A place in a document: its pointer, and the members of the schema that lead there.
type Place = (String, Vec<String>);

/// Every leaf, every entry and every member of a document.
fn places(value: &Value, kind: &'static str, member: &str, at: &Place, found: &mut Vec<Place>) {
    if !at.0.is_empty() {
        found.push(at.clone());
    }
    match value {
        Value::Object(members) => {
            // Names of zones, lists of networks, exchanges, dates and windows are no members.
            let is_map = matches!(
                (kind, member),
                ("Tariff", "zones" | "networks") | ("Exchange", "rates" | "exchange") | ("Windowed", "windows")
            );
            for (name, value) in members {
                let pointer = format!("{}/{}", at.0, name.replace('~', "~0").replace('/', "~1"));
                if is_map {
                    places(value, kind, "", &(pointer, at.1.clone()), found);
                } else {
                    let mut chain = at.1.clone();
                    chain.push(format!("{kind}.{name}"));
                    places(value, kind_of(kind, name), name, &(pointer, chain), found);
                }
            }
        }
        Value::Array(entries) => {
            for (number, value) in entries.iter().enumerate() {
                places(value, kind, "", &(format!("{}/{number}", at.0), at.1.clone()), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Other values for a place.
fn others(value: &Value, names: &[String]) -> Vec<Value> {
    match value {
        Value::Bool(is_so) => vec![Value::Bool(!is_so)],
        Value::Number(number) => {
            let number = number.as_u64().unwrap();
            vec![Value::from(number + 1), Value::from(number.saturating_sub(1)), Value::from(number * 2)]
        }
        Value::String(text) => {
            let is_digit = |letter: char| letter.is_ascii_digit();
            let digits: BTreeSet<usize> = text.find(is_digit).into_iter().chain(text.rfind(is_digit)).collect();
            let counted = digits.into_iter().map(|place| {
                let mut other = text.clone();
                let digit = if other[place..].starts_with('9') { "8" } else { "9" };
                other.replace_range(place..=place, digit);
                Value::String(other)
            });
            // Mostly only what looks alike can stand there.
            let looks = |text: &str| {
                let first = text.chars().next()?;
                Some((first.is_ascii_digit(), first.is_ascii_uppercase(), text.contains([' ', '/', ':'])))
            };
            let names = names.iter().filter(|name| looks(name) == looks(text) && *name != text).cloned();
            let renamed = Value::String(format!("{text}x"));
            counted.chain([renamed]).chain(names.map(Value::String)).collect()
        }
        Value::Null | Value::Array(_) | Value::Object(_) => Vec::new(),
    }
}

fn names(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| {
            found.push(name.clone());
            names(value, found);
        }),
        Value::Array(entries) => entries.iter().for_each(|value| names(value, found)),
        Value::String(text) => found.push(text.clone()),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// All documents that differ from one in one place.
fn neighbours(document: &Value, pointer: &str, words: &[String]) -> Vec<Value> {
    let mut found = Vec::new();
    for other in others(document.pointer(pointer).unwrap(), words) {
        let mut changed = document.clone();
        *changed.pointer_mut(pointer).unwrap() = other;
        found.push(changed);
    }
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let mut without = document.clone();
    match without.pointer_mut(parent).unwrap() {
        Value::Object(members) => {
            let name = name.replace("~1", "/").replace("~0", "~");
            let value = members.remove(&name).unwrap();
            let mut renamed = document.clone();
            let there = renamed.pointer_mut(parent).unwrap().as_object_mut().unwrap();
            there.remove(&name);
            there.insert(format!("{name}9"), value.clone());
            found.push(renamed);
            let mut dated = document.clone();
            let there = dated.pointer_mut(parent).unwrap().as_object_mut().unwrap();
            there.remove(&name);
            there.insert("2026-12-31".to_owned(), value);
            found.push(dated);
        }
        Value::Array(entries) => {
            entries.remove(name.parse().unwrap());
        }
        leaf @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => panic!("{leaf}"),
    }
    found.push(without);
    found
}

/// Whatever a document says is changed, one thing at a time: whenever its content hash is another one there is a change that
/// says where, the other way round with the effect turned; whenever it is the same there is none. And every member of the schema
/// is among them.
#[test]
fn nothing_changes_silently() {
    let mut reached: BTreeSet<String> = BTreeSet::new();
    let closed = with(DOCUMENTS[3], "period: P1M", "period: P1M\nclosed_until: 2026-03-01");
    for text in DOCUMENTS.iter().copied().chain([closed.as_str()]) {
        // Zones with changing clocks take long to read, thousands of times.
        let text = &if text.contains("accounting") { text.to_owned() } else { text.replace("Europe/Berlin", "UTC") };
        let original = parse(text);
        assert_eq!(diff(&original, &original), Ok(Vec::new()), "{text}");
        let document: Value = serde_saphyr::from_str(text).unwrap();
        assert_eq!(parse(&document.to_string()).content_hash(), original.content_hash(), "{text}");
        let kind = match &original {
            Document::Tariff(_) => "Tariff",
            Document::Offer(_) => "Offer",
            Document::Accounting(..) => "Accounting",
        };
        let mut found = Vec::new();
        places(&document, kind, "", &Place::default(), &mut found);
        let mut words: Vec<String> = Vec::new();
        if text.contains("whole") {
            words.extend(WORDS.iter().map(|word| (*word).to_owned()));
            names(&document, &mut words);
            words.sort_unstable();
            words.dedup();
        }
        for (pointer, members) in found {
            for neighbour in neighbours(&document, &pointer, &words) {
                let Ok(other) = catalogue::parse(&neighbour.to_string()) else { continue };
                let Ok(changes) = diff(&original, &other) else { continue };
                let context = || format!("{pointer} of\n{text}\nis now\n{neighbour}\n{changes:?}");
                let is_same = original.content_hash() == other.content_hash();
                assert!(is_same || !changes.is_empty(), "silent: {}", context());
                assert!(!is_same || changes.is_empty(), "nothing changed: {}", context());
                if is_same {
                    continue;
                }
                reached.extend(members.iter().cloned());
                let only_version = changes.iter().all(|change| change.path == "version");
                assert_eq!(only_version, pointer == "/version", "{}", context());
                let back = diff(&other, &original).unwrap();
                let turned = |effect| match effect {
                    Effect::Dearer => Effect::Cheaper,
                    Effect::Open => Effect::Open,
                    Effect::Cheaper => Effect::Dearer,
                };
                let there: BTreeSet<_> = changes.iter().map(|it| (&it.path, it.effect)).collect();
                let back: BTreeSet<_> = back.iter().map(|it| (&it.path, turned(it.effect))).collect();
                assert_eq!(there, back, "{}", context());
            }
        }
    }
    let schema = catalogue::schema();
    let mut wanted: BTreeSet<String> = BTreeSet::new();
    for (kind, of) in schema["$defs"].as_object().unwrap() {
        wanted.extend(of["properties"].as_object().unwrap().keys().map(|member| format!("{kind}.{member}")));
    }
    // Nothing names accounting periods: what they are called says nothing, and is not in their hash.
    assert!(wanted.remove("Accounting.accounting"));
    // It can be told only together with a rate: that is among the words.
    assert!(wanted.remove("Price.zero_rated"));
    let missed: Vec<_> = wanted.difference(&reached).collect();
    assert!(missed.is_empty(), "no test changes {missed:?}");
}

#[test]
fn changes_are_said_as_billing_people_say_them() {
    let tariff = WHOLE_TARIFF;
    for (one, other, said) in [
        ("rate: 0.02 / MiB", "rate: 0.03 / MiB", "price data: 0.02 to 0.03 EUR per MiB, from 2027-04-01"),
        (
            "rate: 0.02 / MiB",
            "rate: 5.00 / GB",
            "price data: now 0.005 EUR per MB, was 0.02 EUR per MiB, from 2027-04-01",
        ),
        (
            "to: \"06:00\"",
            "to: \"07:00\"",
            "window night: now 22:00 to 07:00 on mon, tue, wed, thu, fri on the days 1, 2 of the month in the months 3, was 22:00 to 06:00 on mon, tue, wed, thu, fri on the days 1, 2 of the month in the months 3",
        ),
        ("[\"33\", \"34\"]", "[\"33\", \"34\", \"39\"]", "zone eu: +39 added"),
        ("[\"33\", \"34\"]", "[\"33\"]", "zone eu: +34 removed"),
        ("\"222-01\"", "\"222-02\"", "networks near: 222-02 added"),
        ("\"12-25\", ", "", "calendar: holiday 12-25 removed"),
        (
            "weekend: {rate: 0.05 / min}",
            "weekend: {rate: 0.06 / min}",
            "price everything: in window weekend 0.05 to 0.06 USD per minute, from 2027-04-01",
        ),
        (
            "connect_fee: \"0.05\"",
            "connect_fee: \"0.06\"",
            "price everything: connect fee 0.05 to 0.06 USD, from 2027-04-01",
        ),
        (
            "max_charge: \"3.00\"",
            "max_charge: \"4.00\"",
            "price everything: most charge 3.00 to 4.00 USD, from 2027-04-01",
        ),
        (
            "    max_charge: \"3.00\"\n",
            "",
            "price everything: most charge now unlimited, was 3.00 USD, from 2027-04-01",
        ),
        (
            "up_to: 3 min, rate: 0.20 / min",
            "up_to: 4 min, rate: 0.20 / min",
            "price everything: now 0.20 USD per minute up to 4 min, then 0.05 USD per minute, was 0.20 USD per minute up to 3 min, then 0.05 USD per minute, from 2027-04-01",
        ),
        (
            "pulse: 60/30",
            "pulse: 60/60",
            "price everything: in pulses of now 1 min, was 1 min, then 30 s, from 2027-04-01",
        ),
        ("2027-05-01: \"0.93\"", "2027-05-01: \"0.94\"", "exchange usd: from 2027-05-01 0.93 to 0.94 EUR per USD"),
        (
            "valid_from: 2027-04-01",
            "valid_from: 2027-05-01",
            "tariff whole: in force now from 2027-05-01, was from 2027-04-01",
        ),
        ("version: 2", "version: 3", "nothing but the version number changed"),
        (
            "measure: total_octets, zero_rated: true",
            "measure: total_octets, rate: \"0\"",
            "price free: no longer zero-rated, from 2027-04-01",
        ),
        ("rat: [lte, nr]", "rat: [lte]", "price everything: for radio access now lte, was lte, nr"),
    ] {
        let words = words(tariff, &with(tariff, one, other));
        assert!(words.iter().any(|words| words == said), "{said}\n{words:#?}");
    }
    let offer = WHOLE_OFFER;
    for (one, other, said) in [
        ("fee: \"7.99\"", "fee: \"8.99\"", "offer smart: fee 7.99 to 8.99 EUR per month"),
        ("amount: 10 GiB", "amount: 8 GiB", "allowance data: now 8 GiB, was 10 GiB"),
        (", member_cap: 2 GiB", "", "allowance data: at most for each subscriber now unlimited, was 2 GiB"),
        ("overage: 0.50 / MiB", "overage: 0.60 / MiB", "pool: beyond 0.50 to 0.60 EUR per started MiB"),
        ("per_member: true\n", "", "offer smart: no longer with the fee for each subscriber"),
        ("period: P1M", "period: P28D", "offer smart: period now 28 days, was 1 month"),
        (
            "renews: true",
            "renews: true\nnotify_spend: [{at: \"20.00\", label: warning}, {at: \"50.00\"}]",
            "offer smart: telling of usage for now 20.00 EUR (\"warning\"), 50.00 EUR (\"50.00\"), was none",
        ),
        ("priority: 40", "notify: [{at: 80 %}]", "allowance data: telling of now 80 % used (\"80%\"), was none"),
    ] {
        let words = words(offer, &with(offer, one, other));
        assert!(words.iter().any(|words| words == said), "{said}\n{words:#?}");
    }
    let added = with(
        tariff,
        "  - {id: rest",
        "  - {id: roaming, service: data, visited: far, measure: total_octets, rate: 0.49 / MiB, min_charge: \"0.10\"}\n  - {id: rest",
    );
    assert_eq!(
        words(tariff, &added),
        [
            "price roaming: new, 0.49 EUR per MiB, least charge 0.10 EUR, by total octets, for service data, for networks far"
        ]
    );
    assert_eq!(
        words(&added, tariff),
        [
            "price roaming: gone, was 0.49 EUR per MiB, least charge 0.10 EUR, by total octets, for service data, for networks far"
        ]
    );
    let periods = DOCUMENTS[3];
    let closed = with(periods, "version: 1", "version: 2\nclosed_until: 2026-02-01");
    assert_eq!(
        words(periods, &closed),
        ["accounting periods: now closed until 2026-02-01, was closed until 2026-01-01"]
    );
}

/// A path, a kind, both values: what programs show.
#[test]
fn a_change_has_its_place_and_both_values() {
    let changes = changed(WHOLE_TARIFF, &with(WHOLE_TARIFF, "0.02 / MiB", "0.03 / MiB"));
    assert_eq!(
        changes,
        [Change {
            path: "prices/data/rate".to_owned(),
            kind: ChangeKind::Changed,
            before: Some("0.02 EUR per MiB".to_owned()),
            after: Some("0.03 EUR per MiB".to_owned()),
            words: "price data: 0.02 to 0.03 EUR per MiB, from 2027-04-01".to_owned(),
            effect: Effect::Dearer,
        }]
    );
}

/// Written otherwise, meant the same: no change.
#[test]
fn the_same_meaning_is_no_change() {
    for (one, same) in [
        ("0.02 / MiB", "0.04 / 2 MiB"),
        ("validity: 20 min", "validity: 1200 s"),
        ("up_to: 3 min", "up_to: 180 s"),
        ("days: [mon-fri]", "days: [fri, mon, wed, thu, tuesday]"),
        ("[\"33\", \"34\"]", "[\"+34\", \"33\"]"),
        ("rat: [lte, nr]", "rat: [nr, \"6\"]"),
        ("valid_from: 2027-04-01", "valid_from: 2027-03-31T22:00:00Z"),
        (
            "  - {id: free, service: data, rating_group: 100, measure: total_octets, zero_rated: true}\n  - {id: data, service: data, measure: total_octets, rate: 0.02 / MiB}\n",
            "  - {id: data, service: data, measure: total_octets, rate: 0.02 / MiB}\n  - {id: free, service: data, rating_group: 100, measure: total_octets, zero_rated: true}\n",
        ),
    ] {
        assert_eq!(words(WHOLE_TARIFF, &with(WHOLE_TARIFF, one, same)), Vec::<String>::new(), "{same}");
    }
}

/// Of prices for the same radio accesses the first one wins: another order is another price. Where nothing can match both, it is not.
#[test]
fn the_order_of_prices_counts_where_several_can_win() {
    let tariff = |first: &str, second: &str| {
        let price = |id: &str, rats: &str, rate: &str| {
            format!("  - {{id: {id}, service: data, rat: [{rats}], measure: total_octets, rate: {rate} / MiB}}\n")
        };
        let of = |id: &str| match id {
            "slow" => price("slow", "geran, utran", "0.01"),
            "middle" => price("middle", "utran, lte", "0.02"),
            _ => price("fast", "nr, lte", "0.03"),
        };
        format!("tariff: t\nversion: 1\ncurrency: EUR\nprices:\n{}{}", of(first), of(second))
    };
    assert_eq!(
        words(&tariff("slow", "middle"), &tariff("middle", "slow")),
        ["price middle: now wins over slow, which won before"]
    );
    assert_eq!(words(&tariff("slow", "fast"), &tariff("fast", "slow")), Vec::<String>::new());
}

/// Windows that overlap: the first one is in force.
#[test]
fn the_order_of_windows_counts() {
    let night = "    - {name: night, spans: [{from: \"22:00\", to: \"06:00\", days: [mon-fri], month_days: [1, 2], months: [3]}]}\n";
    let moved = with(&with(WHOLE_TARIFF, night, ""), "prices:\n", &format!("{night}prices:\n"));
    assert_eq!(words(WHOLE_TARIFF, &moved), ["windows: order now weekend, lunch, night, was night, weekend, lunch"]);
}

/// Without prices of their own the fee is the first allowance's: there, their order says what is told to finance.
#[test]
fn the_order_of_allowances_counts_where_it_shares_the_fee() {
    let offer = |one: &str, other: &str| {
        let all =
            format!("  - {{id: {one}, unit: octet, amount: 1 GiB}}\n  - {{id: {other}, unit: octet, amount: 1 GiB}}\n");
        format!("offer: o\nversion: 1\ncurrency: EUR\nfee: \"5.00\"\nallowances:\n{all}")
    };
    assert_eq!(words(&offer("a", "b"), &offer("b", "a")), ["allowances: order now b, a, was a, b"]);
}

/// Approvers see what makes it dearer first, and only what surely does.
#[test]
fn what_is_dearer_comes_first() {
    let effect = |one: &str, other: &str| {
        let text = if WHOLE_TARIFF.contains(one) { WHOLE_TARIFF } else { WHOLE_OFFER };
        let effects: Vec<Effect> = changed(text, &with(text, one, other)).iter().map(|change| change.effect).collect();
        assert_eq!(effects.len(), 1, "{other}");
        effects[0]
    };
    use Effect::{Cheaper, Dearer, Open};
    for (one, other, wanted) in [
        ("0.02 / MiB", "0.03 / MiB", Dearer),
        ("0.02 / MiB", "0.01 / MiB", Cheaper),
        ("rate: 0.05 / min}]", "rate: 0.06 / min}]", Dearer),
        ("up_to: 3 min", "up_to: 2 min", Cheaper),
        ("up_to: 3 min, rate: 0.20 / min}, {rate: 0.05", "up_to: 3 min, rate: 0.10 / min}, {rate: 0.06", Open),
        ("pulse: 60/30", "pulse: 60/60", Dearer),
        ("pulse: 60/30", "pulse: 60/45", Open),
        ("connect_fee: \"0.02\"", "connect_fee: \"0.01\"", Cheaper),
        ("min_charge: \"0.10\"", "min_charge: \"0.20\"", Dearer),
        ("    max_charge: \"3.00\"\n", "", Dearer),
        ("    connect_fee_when_bundled: true\n", "", Cheaper),
        ("mode: half_up", "mode: up", Open),
        ("fee: \"7.99\"", "fee: \"8.99\"", Dearer),
        ("amount: 10 GiB", "amount: 8 GiB", Dearer),
        ("cap: 5 GiB", "cap: 6 GiB", Cheaper),
        (", member_cap: 2 GiB", "", Cheaper),
        ("allowance: 5 MiB", "allowance: 4 MiB", Dearer),
        ("overage: 0.50 / MiB", "overage: 1.00 / 2 MiB", Open),
        ("ledger_code: \"4500\"", "ledger_code: \"4501\"", Open),
    ] {
        assert_eq!(effect(one, other), wanted, "{one} -> {other}");
    }
    let both =
        with(&with(WHOLE_OFFER, "amount: 10 GiB", "amount: 12 GiB"), "setup_fee: \"1.00\"", "setup_fee: \"2.00\"");
    let effects: Vec<Effect> = changed(WHOLE_OFFER, &both).iter().map(|change| change.effect).collect();
    assert_eq!(effects, [Dearer, Cheaper]);
    let gone = with(WHOLE_OFFER, "  - {id: gift, unit: second, amount: 10 min, validity: P7D, granted: true}\n", "");
    assert_eq!(changed(WHOLE_OFFER, &gone)[0].effect, Dearer);
}

#[test]
fn a_tariff_is_no_version_of_an_offer() {
    let refused = diff(&parse(WHOLE_TARIFF), &parse(WHOLE_OFFER)).unwrap_err();
    assert_eq!(
        refused,
        "tariff whole version 2 and offer smart version 1 are no two versions of one thing; name two of the same kind"
    );
}

/// The command: words for people, parts for programs, the exit codes of diff.
#[test]
fn the_command_says_it_and_its_exit_code_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let raised = with(WHOLE_TARIFF, "0.02 / MiB", "0.03 / MiB");
    let (old, new) = (file("old.yaml", WHOLE_TARIFF), file("new.yaml", &raised));
    let bad = file("bad.yaml", "tariff: [");
    let run = |old: &std::path::Path, new: &std::path::Path, more: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ocs"));
        let output = command.args(["tariff", "diff"]).args([old, new]).args(more).output().unwrap();
        let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let (code, said, _) = run(&old, &old, &[]);
    assert_eq!((code, said.as_str()), (0, "tariff whole version 2 and tariff whole version 2 mean the same\n"));
    let (code, said, _) = run(&old, &new, &[]);
    let words = "dearer  price data: 0.02 to 0.03 EUR per MiB, from 2027-04-01\n";
    assert_eq!((code, said), (1, format!("tariff whole version 2 to tariff whole version 2\n{words}")));
    let (code, said, _) = run(&old, &new, &["-o", "json"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (code, &said["changes"][0]["path"], &said["changes"][0]["effect"]),
        (1, &"prices/data/rate".into(), &"dearer".into())
    );
    let (code, said, complaint) = run(&old, &bad, &[]);
    assert_eq!((code, said.as_str()), (2, ""));
    assert!(complaint.contains("bad.yaml"), "{complaint}");
}
