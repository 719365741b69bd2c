//! Tariff and offer documents as anybody might write them: damaged in every way, they are read or refused with reasons, and what is
//! read can be charged by. Nothing panics, hangs or overflows.

#![cfg(test)]

use ocs::catalogue::{self, CatalogueError, Document};
use proptest::prelude::*;
use rating_engine::account::Origin;
use rating_engine::calendar::{WindowAt, WindowId};
use rating_engine::context::Plmn;
use rating_engine::ids::{RatingGroup, ServiceId};
use rating_engine::money::Money;
use rating_engine::selector::Subject;
use rating_engine::tariff::{Service, ServiceKey};
use rating_engine::time::Timestamp;
use rating_engine::zones::Dialled;

const DOCUMENTS: [&str; 11] = [
    include_str!("../../docs/examples/tariff.yaml"),
    include_str!("../../docs/examples/nights-and-roaming.yaml"),
    include_str!("../demo/start-payg.yaml"),
    include_str!("../demo/data-m.yaml"),
    include_str!("../demo/flat-30.yaml"),
    include_str!("../demo/happy-hour.yaml"),
    include_str!("../../docs/examples/offer.yaml"),
    include_str!("../../docs/examples/accounting.yaml"),
    include_str!("../demo/offer-all-in-20.yaml"),
    include_str!("../demo/offer-family-40.yaml"),
    include_str!("../demo/offer-iot-pool.yaml"),
];

/// What stands in documents, and what should not.
const WORDS: [&str; 28] = [
    "18446744073709551615",
    "-1",
    "0",
    "1e9",
    "0.0000000000001",
    "99999999999999999999",
    "24:00",
    "60/0",
    "0/60",
    "1 GiB",
    "18446744073709551615 TiB",
    "0.09 / min",
    "0 / 0",
    "easter+32767",
    "9999-12-31",
    "-262144-01-01",
    "mon-sun",
    "255-ffffff",
    "[]",
    "{}",
    "~",
    "\"\"",
    "&a *a",
    "P1M",
    "PT876000H",
    "P1200M36600D",
    "9223372036854.775807",
    "Europe/Berlin",
];

#[derive(Clone, Debug)]
enum Damage {
    /// An octet becomes another.
    Octet(prop::sample::Index, u8),
    /// What stands behind a colon becomes something else.
    Value(prop::sample::Index, usize),
    /// A line goes.
    Drop(prop::sample::Index),
    /// A line comes twice.
    Double(prop::sample::Index),
    /// A line moves in or out.
    Indent(prop::sample::Index, bool),
    /// A line from elsewhere.
    Graft(prop::sample::Index, prop::sample::Index, usize),
    /// The rest goes.
    Cut(prop::sample::Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let place = any::<prop::sample::Index>;
    prop_oneof![
        (place(), any::<u8>()).prop_map(|(at, octet)| Damage::Octet(at, octet)),
        (place(), 0..WORDS.len()).prop_map(|(at, word)| Damage::Value(at, word)),
        place().prop_map(Damage::Drop),
        place().prop_map(Damage::Double),
        (place(), any::<bool>()).prop_map(|(at, more)| Damage::Indent(at, more)),
        (place(), place(), 0..DOCUMENTS.len()).prop_map(|(at, from, other)| Damage::Graft(at, from, other)),
        place().prop_map(Damage::Cut),
    ]
}

fn damaged(document: usize, damages: &[Damage]) -> String {
    let mut lines: Vec<String> = DOCUMENTS[document].lines().map(str::to_owned).collect();
    for damage in damages {
        let count = lines.len().max(1);
        if lines.is_empty() {
            lines.push(String::new());
        }
        match damage {
            Damage::Octet(at, octet) => {
                let line = &mut lines[at.index(count)];
                let mut octets = line.clone().into_bytes();
                if let Some(place) = octets.len().checked_sub(1).map(|last| at.index(last + 1)) {
                    octets[place] = *octet;
                }
                *line = String::from_utf8_lossy(&octets).into_owned();
            }
            Damage::Value(at, word) => {
                let line = &mut lines[at.index(count)];
                if let Some((name, _)) = line.split_once(':') {
                    *line = format!("{name}: {}", WORDS[*word]);
                }
            }
            Damage::Drop(at) => drop(lines.remove(at.index(count))),
            Damage::Double(at) => lines.insert(at.index(count), lines[at.index(count)].clone()),
            Damage::Indent(at, more) => {
                let line = &mut lines[at.index(count)];
                *line = if *more { format!("  {line}") } else { line.replacen("  ", "", 1) };
            }
            Damage::Graft(at, from, other) => {
                let others: Vec<&str> = DOCUMENTS[*other].lines().collect();
                lines.insert(at.index(count), others[from.index(others.len())].to_owned());
            }
            Damage::Cut(at) => lines.truncate(at.index(count)),
        }
    }
    lines.join("\n")
}

fn cases(default: u32) -> ProptestConfig {
    let cases = std::env::var("CAMPAIGN_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn damaged_documents_are_read_or_refused(
        document in 0..DOCUMENTS.len(),
        damages in prop::collection::vec(damage(), 0..6),
        instant in any::<i64>(),
        quantity in any::<u64>(),
    ) {
        let text = damaged(document, &damages);
        match catalogue::parse(&text) {
            Err(CatalogueError::Syntax { reason, .. }) => prop_assert!(!reason.is_empty()),
            Err(CatalogueError::Problems(problems)) => {
                prop_assert!(!problems.is_empty());
                prop_assert!(problems.iter().all(|problem| !problem.path.is_empty() && !problem.reason.is_empty()));
            }
            Ok(Document::Offer(offer)) => {
                let again = catalogue::parse(&text).unwrap();
                prop_assert_eq!(again.content_hash(), offer.content_hash());
                let paid = offer.allowances().any(|(allowance, _)| allowance.origin == Origin::Paid);
                let costs = offer.allowances().fold(Money::ZERO, |sum, (_, cost)| sum.saturating_add(cost));
                prop_assert_eq!(costs, if paid { offer.fee() } else { Money::ZERO });
                let _ = offer.fee_for(quantity);
                let _ = offer.pool().map(|pool| pool.overage(quantity, quantity / 3));
                if let Some(period) = offer.period() {
                    let start = Timestamp::from_millis(instant);
                    let _ = period.after(start, 1, offer.zone());
                    let _ = period.after(start, i64::MIN, offer.zone());
                }
            }
            Ok(Document::Accounting(periods, _)) => {
                let at = Timestamp::from_millis(instant);
                let booked = periods.book(at);
                prop_assert!(booked.period >= periods.closed_until() && booked.period >= booked.usage_period);
                prop_assert!(periods.end(at) > periods.start(at));
            }
            Ok(Document::Tariff(tariff)) => {
                let again = catalogue::parse(&text).unwrap();
                prop_assert_eq!(again.content_hash(), tariff.content_hash());
                let WindowAt { window, until } = tariff.window_at(Timestamp::from_millis(instant));
                prop_assert!(until > Timestamp::from_millis(instant) || instant == i64::MAX);
                let key = ServiceKey {
                    rating_group: Some(RatingGroup::new(100)),
                    services: [ServiceId::new(1)].into(),
                };
                let zone = Dialled::parse("+4915112345678").and_then(|number| tariff.zones().find(&number));
                let subject = Subject {
                    service: Service::Data,
                    key: &key,
                    zone: zone.map(|zone| zone.zone),
                    network: Plmn::parse("22801"),
                    rat: Some(8),
                    apn: Some("fleet"),
                    slice: None,
                    direction: None,
                };
                for window in [window, WindowId::default()] {
                    if let Some((_, price)) = tariff.price(&subject, window) {
                        let _ = price.pulse.round_up(quantity);
                        let _ = price.tiers.get(window).price(quantity / 2, quantity);
                    }
                }
            }
        }
    }
}

/// Without damage they are all good: else the law above says little.
#[test]
fn whole_documents_are_read() {
    for document in 0..DOCUMENTS.len() {
        catalogue::parse(&damaged(document, &[])).unwrap();
    }
}
