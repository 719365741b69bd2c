//! Tariff documents: YAML or JSON to checked [`TariffVersion`]s.
//!
//! Amounts and quantities are strings or integers with human units (`"0.02 / MiB"`, `10 GiB`, `60/1`), never floats.
//! Parsing yields a version or every problem, each with its path and a hint. Absent: calendars, zones and offers.

use std::str::FromStr;
use std::sync::Arc;

use rating_engine::ids::{PriceId, RatingGroup, ServiceId, TariffName};
use rating_engine::money::{Currency, Money, Rate, Rounding, RoundingMode, RoundingScope};
use rating_engine::tariff::{FinanceCodes, GrantPolicy, Price, Problem, Pulse, Service, TariffVersion, Tier, Tiers};
use rating_engine::units::{Measure, Unit};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Largest tariff document, octets.
pub const DOCUMENT_OCTETS_MAX: usize = 4 << 20;

/// A tariff document as written.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    tariff: String,
    version: u32,
    currency: String,
    #[serde(default)]
    rounding: RawRounding,
    prices: Vec<RawPrice>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct RawRounding {
    decimals: u8,
    mode: String,
    scope: String,
}

impl Default for RawRounding {
    fn default() -> Self {
        Self { decimals: 4, mode: "half_up".to_owned(), scope: "event".to_owned() }
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawPrice {
    id: String,
    service: Option<String>,
    rating_group: Option<u32>,
    service_id: Option<u32>,
    measure: String,
    rate: Option<String>,
    tiers: Option<Vec<RawTier>>,
    pulse: Option<String>,
    connect_fee: Option<String>,
    #[serde(default)]
    connect_fee_when_bundled: bool,
    min_charge: Option<String>,
    max_charge: Option<String>,
    #[serde(default)]
    zero_rated: bool,
    grant: Option<RawGrant>,
    #[serde(default)]
    finance: RawFinance,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawTier {
    up_to: Option<String>,
    rate: String,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawGrant {
    default: Option<String>,
    floor: Option<String>,
    cap: Option<String>,
    validity: Option<String>,
    threshold: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct RawFinance {
    tax_category: String,
    tax_included: bool,
    ledger_code: String,
    revenue_rule: String,
}

/// Why a document is no tariff.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CatalogueError {
    /// It is no YAML or JSON of this shape.
    Syntax {
        /// The line, from 1; 0 for the whole document.
        line: usize,
        /// What is wrong; it names line and column, too.
        reason: String,
    },
    /// It is, but says things that cannot be; every one of them.
    Problems(Vec<Problem>),
}

impl std::fmt::Display for CatalogueError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Syntax { reason, .. } => f.write_str(reason),
            Self::Problems(problems) => {
                for (number, problem) in problems.iter().enumerate() {
                    if number > 0 {
                        f.write_str("; ")?;
                    }
                    write!(f, "{problem}")?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for CatalogueError {}

/// Parses one document.
///
/// # Errors
/// Its syntax error, or every problem in it.
pub fn parse(text: &str) -> Result<Arc<TariffVersion>, CatalogueError> {
    if text.len() > DOCUMENT_OCTETS_MAX {
        let reason = format!("the document is larger than {DOCUMENT_OCTETS_MAX} octets");
        return Err(CatalogueError::Syntax { line: 0, reason });
    }
    let document: Document = serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().map_or(0, |location| usize::try_from(location.line()).unwrap_or(0));
        CatalogueError::Syntax { line, reason: error.to_string() }
    })?;
    let mut check = Check { problems: Vec::new() };
    let currency = check.take(
        "currency",
        Currency::parse(&document.currency)
            .ok_or_else(|| format!("'{}' is no ISO 4217 currency that we know; write e.g. EUR", document.currency)),
    );
    let rounding = rounding(&mut check, &document.rounding);
    let prices: Vec<Option<Price>> =
        document.prices.iter().enumerate().map(|(number, raw)| price(&mut check, number, raw)).collect();
    if document.tariff.is_empty() || document.tariff.len() > 64 {
        check.problem("tariff", "a tariff's name has 1 to 64 characters");
    }
    let hash = content_hash(&document);
    if let (true, Some(currency), Some(rounding)) = (check.problems.is_empty(), currency, rounding) {
        let prices = prices.into_iter().flatten().collect();
        let name = TariffName::new(&document.tariff);
        return TariffVersion::new(name, document.version, currency, rounding, prices, hash)
            .map_err(CatalogueError::Problems);
    }
    Err(CatalogueError::Problems(check.problems))
}

/// SHA-256 of the canonical form: members in fixed order, as JSON. The same tariff always hashes the same.
fn content_hash(document: &Document) -> [u8; 32] {
    let canonical = serde_json::to_vec(document).unwrap_or_default();
    Sha256::digest(&canonical).into()
}

struct Check {
    problems: Vec<Problem>,
}

impl Check {
    fn problem(&mut self, path: &str, reason: &str) {
        self.problems.push(Problem { path: path.to_owned(), reason: reason.to_owned() });
    }

    fn take<T>(&mut self, path: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|reason| self.problem(path, &reason)).ok()
    }
}

fn rounding(check: &mut Check, raw: &RawRounding) -> Option<Rounding> {
    let mode = check.take(
        "rounding.mode",
        match raw.mode.as_str() {
            "half_up" => Ok(RoundingMode::HalfUp),
            "half_even" => Ok(RoundingMode::HalfEven),
            "up" => Ok(RoundingMode::Up),
            "down" => Ok(RoundingMode::Down),
            other => Err(format!("'{other}' is no mode; use half_up, half_even, up or down")),
        },
    );
    let scope = check.take(
        "rounding.scope",
        match raw.scope.as_str() {
            "line" => Ok(RoundingScope::Line),
            "event" => Ok(RoundingScope::Event),
            "bill" => Ok(RoundingScope::Bill),
            other => Err(format!("'{other}' is no scope; use line, event or bill")),
        },
    );
    let rounding = Rounding::new(raw.decimals, mode?, scope?).ok_or_else(|| "has 0 to 6 decimals".to_owned());
    check.take("rounding.decimals", rounding)
}

fn price(check: &mut Check, number: usize, raw: &RawPrice) -> Option<Price> {
    let path = |member: &str| format!("prices[{number}].{member}");
    let measure = check.take(
        &path("measure"),
        match raw.measure.as_str() {
            "seconds" => Ok(Measure::Seconds),
            "total_octets" => Ok(Measure::TotalOctets),
            "uplink_octets" => Ok(Measure::UplinkOctets),
            "downlink_octets" => Ok(Measure::DownlinkOctets),
            "events" => Ok(Measure::Events),
            other => Err(format!(
                "'{other}' is no measure; use seconds, total_octets, uplink_octets, downlink_octets or events"
            )),
        },
    )?;
    let unit = measure.unit();
    let service = match &raw.service {
        Some(text) => Some(check.take(&path("service"), Service::from_str(text))?),
        None => None,
    };
    let tiers = match (&raw.rate, &raw.tiers, raw.zero_rated) {
        (None, None, true) => Some(Tiers::flat(Rate::ZERO)),
        (Some(_), _, true) | (_, Some(_), true) => {
            check.problem(&path("zero_rated"), "a zero-rated price has no rate and no tiers; leave them out");
            None
        }
        (Some(rate), None, false) => check.take(&path("rate"), parse_rate(rate, unit)).map(Tiers::flat),
        (None, Some(tiers), false) => {
            let mut parsed = Vec::new();
            for (tier_number, tier) in tiers.iter().enumerate() {
                let tier_path = path(&format!("tiers[{tier_number}]"));
                let up_to = match &tier.up_to {
                    Some(text) => Some(check.take(&format!("{tier_path}.up_to"), parse_quantity(text, unit))?),
                    None => None,
                };
                parsed.push(Tier {
                    up_to,
                    rate: check.take(&format!("{tier_path}.rate"), parse_rate(&tier.rate, unit))?,
                });
            }
            check.take(&path("tiers"), Tiers::new(parsed).map_err(str::to_owned))
        }
        (None, None, false) => {
            check.problem(&path("rate"), "a price needs a rate, tiers, or zero_rated: true");
            None
        }
        (Some(_), Some(_), false) => {
            check.problem(&path("rate"), "a price has a rate or tiers, not both");
            None
        }
    };
    let pulse = match &raw.pulse {
        Some(text) => check.take(&path("pulse"), parse_pulse(text, unit)),
        None => Some(Pulse::ONE),
    };
    let mut money = |member: &str, text: &Option<String>| match text {
        Some(text) => check.take(&path(member), Money::from_str(text).map_err(|error| error.to_string())).map(Some),
        None => Some(None),
    };
    let connect_fee = money("connect_fee", &raw.connect_fee);
    let min_charge = money("min_charge", &raw.min_charge);
    let max_charge = money("max_charge", &raw.max_charge);
    if raw.zero_rated {
        for (member, given) in [
            ("connect_fee", raw.connect_fee.is_some()),
            ("connect_fee_when_bundled", raw.connect_fee_when_bundled),
            ("min_charge", raw.min_charge.is_some()),
            ("max_charge", raw.max_charge.is_some()),
        ] {
            if given {
                check.problem(&path(member), "a zero-rated price charges nothing; leave it out, or give a rate of 0");
            }
        }
    }
    let grant = grant(check, number, raw.grant.as_ref(), unit);
    if raw.id.is_empty() || raw.id.len() > 64 {
        check.problem(&path("id"), "a price's id has 1 to 64 characters");
    }
    Some(Price {
        id: PriceId::new(&raw.id),
        service,
        rating_group: raw.rating_group.map(RatingGroup::new),
        service_id: raw.service_id.map(ServiceId::new),
        measure,
        pulse: pulse?,
        tiers: tiers?,
        connect_fee: connect_fee?.unwrap_or(Money::ZERO),
        connect_fee_when_bundled: raw.connect_fee_when_bundled,
        min_charge: min_charge?,
        max_charge: max_charge?,
        zero_rated: raw.zero_rated,
        grant: grant?,
        finance: FinanceCodes {
            tax_category: raw.finance.tax_category.as_str().into(),
            tax_included: raw.finance.tax_included,
            ledger_code: raw.finance.ledger_code.as_str().into(),
            revenue_rule: raw.finance.revenue_rule.as_str().into(),
        },
    })
}

fn grant(check: &mut Check, number: usize, raw: Option<&RawGrant>, unit: Unit) -> Option<GrantPolicy> {
    let standard = GrantPolicy::standard(unit);
    let Some(raw) = raw else { return Some(standard) };
    let path = |member: &str| format!("prices[{number}].grant.{member}");
    let mut quantity = |member: &str, text: &Option<String>, fallback: u64| match text {
        Some(text) => check.take(&path(member), parse_quantity(text, unit)),
        None => Some(fallback),
    };
    let default = quantity("default", &raw.default, standard.default);
    let floor = quantity("floor", &raw.floor, standard.floor.min(default.unwrap_or(standard.floor)));
    let cap = quantity("cap", &raw.cap, standard.cap.max(default.unwrap_or(standard.cap)));
    let validity_seconds = match &raw.validity {
        Some(text) => {
            let seconds = check.take(&path("validity"), parse_quantity(text, Unit::Second));
            seconds.map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX))
        }
        None => Some(standard.validity_seconds),
    };
    let threshold_percent = match &raw.threshold {
        Some(text) => {
            let percent = text.trim().trim_end_matches('%').trim().parse::<u8>();
            check.take(&path("threshold"), percent.map_err(|_| format!("'{text}' is no percentage; write e.g. 20%")))
        }
        None => Some(standard.threshold_percent),
    };
    Some(GrantPolicy {
        default: default?,
        floor: floor?,
        cap: cap?,
        validity_seconds: validity_seconds?,
        threshold_percent: threshold_percent?,
    })
}

/// Reads a quantity with its unit: `10 GiB`, `500 MB`, `3 min`, `90`.
pub fn parse_quantity(text: &str, unit: Unit) -> Result<u64, String> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let hint = match unit {
        Unit::Octet => "write e.g. 100 KiB, 10 MiB, 1 GiB or plain octets",
        Unit::Second => "write e.g. 90 s, 3 min, 1 h or plain seconds",
        Unit::Event => "write a whole number",
    };
    let number = if number.is_empty() { 1 } else { number.parse().map_err(|_| format!("'{text}' is too large"))? };
    let factor: u64 = match (unit, suffix.trim()) {
        (_, "") if split == 0 => return Err(format!("'{text}' is no quantity; {hint}")),
        (_, "") => 1,
        (Unit::Octet, "B") => 1,
        (Unit::Octet, "KiB") => 1 << 10,
        (Unit::Octet, "MiB") => 1 << 20,
        (Unit::Octet, "GiB") => 1 << 30,
        (Unit::Octet, "TiB") => 1 << 40,
        (Unit::Octet, "kB" | "KB") => 1_000,
        (Unit::Octet, "MB") => 1_000_000,
        (Unit::Octet, "GB") => 1_000_000_000,
        (Unit::Octet, "TB") => 1_000_000_000_000,
        (Unit::Second, "s" | "sec") => 1,
        (Unit::Second, "min") => 60,
        (Unit::Second, "h") => 3600,
        (Unit::Second, "d") => 86_400,
        (Unit::Event, "event" | "events" | "sms" | "message" | "messages") => 1,
        _ => return Err(format!("'{text}' is no quantity here; {hint}")),
    };
    factor.checked_mul(number).ok_or_else(|| format!("'{text}' is too large"))
}

/// Reads a pulse: `60/1`, or one length for both parts: `100 KiB`.
pub fn parse_pulse(text: &str, unit: Unit) -> Result<Pulse, String> {
    let (first, next) = text.split_once('/').unwrap_or((text, text));
    Pulse::new(parse_quantity(first, unit)?, parse_quantity(next, unit)?)
        .ok_or_else(|| format!("'{text}': both parts of a pulse must be above 0"))
}

/// Reads a rate: `0.09 / min`, `0.02/MiB`, `0.333 / 1 MiB`, `0.09` (per unit). Up to 12 decimals.
pub fn parse_rate(text: &str, unit: Unit) -> Result<Rate, String> {
    let (amount, per) = text.split_once('/').unwrap_or((text, "1"));
    let per = parse_quantity(per, unit)?;
    let amount = amount.trim();
    let (whole, fraction) = amount.split_once('.').unwrap_or((amount, ""));
    let digits = whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit());
    if !digits || whole.is_empty() || fraction.len() > 12 {
        return Err(format!(
            "'{amount}' is no rate; write a positive decimal with at most 12 decimals, e.g. 0.09 / min"
        ));
    }
    // Micro-units with six decimals; finer digits make the quantity larger instead.
    let places = u32::try_from(fraction.len()).unwrap_or(0);
    let number: u64 = format!("{whole}{fraction}").parse().map_err(|_| format!("'{amount}' is too large"))?;
    let (micros, scale) = if places <= 6 {
        (number.checked_mul(10u64.pow(6 - places)), 1)
    } else {
        (Some(number), 10u64.pow(places - 6))
    };
    let micros = micros.ok_or_else(|| format!("'{amount}' is too large"))?;
    let per = per.checked_mul(scale).ok_or_else(|| format!("'{text}' is too fine"))?;
    Rate::new(micros, per).ok_or_else(|| format!("'{text}': the quantity must be above 0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
tariff: start-payg
version: 1
currency: EUR
rounding: {decimals: 4, mode: half_up, scope: event}
prices:
  - {id: data, service: data, measure: total_octets, rate: "0.02/MiB", pulse: "100 KiB"}
  - id: voice
    service: voice
    measure: seconds
    pulse: "60/60"
    connect_fee: "0.05"
    tiers: [{up_to: 3 min, rate: 0.20/min}, {rate: 0.05/min}]
  - {id: messaging, service: data, rating_group: 100, measure: total_octets, zero_rated: true}
"#;

    #[test]
    fn a_document_becomes_a_tariff() {
        let tariff = parse(GOOD).unwrap();
        assert_eq!(tariff.prices().len(), 3);
        assert_eq!(tariff.prices()[0].id.as_str(), "messaging", "the most specific price comes first");
        assert_eq!(parse(GOOD).unwrap().content_hash(), tariff.content_hash());
        assert_ne!(parse(&GOOD.replace("0.02", "0.03")).unwrap().content_hash(), tariff.content_hash());
    }

    #[test]
    fn every_problem_is_named_with_its_place() {
        let bad = GOOD
            .replace("EUR", "EUX")
            .replace("\"0.02/MiB\"", "\"-0.02/MiB\"")
            .replace("up_to: 3 min", "up_to: 3 lightyears");
        let Err(CatalogueError::Problems(problems)) = parse(&bad) else { panic!("accepted") };
        let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, ["currency", "prices[0].rate", "prices[1].tiers[0].up_to"]);
        let Err(CatalogueError::Syntax { line, reason }) = parse(&GOOD.replace("prices:", "prizes:")) else {
            panic!("accepted")
        };
        assert!(reason.contains("prizes") && line > 1, "{line}: {reason}");
    }

    #[test]
    fn a_zero_rated_price_has_no_fee_and_no_limits() {
        let bad = GOOD.replace(
            "zero_rated: true",
            "zero_rated: true, connect_fee: \"0.05\", min_charge: \"0.01\", max_charge: \"1.00\"",
        );
        let Err(CatalogueError::Problems(problems)) = parse(&bad) else { panic!("accepted") };
        let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, ["prices[2].connect_fee", "prices[2].min_charge", "prices[2].max_charge"]);
        assert!(problems.iter().all(|problem| problem.reason.contains("leave it out")));
    }

    #[test]
    fn rates_are_exact_at_any_scale() {
        assert_eq!(parse_rate("0.02/MiB", Unit::Octet), Ok(Rate::new(20_000, 1 << 20).unwrap()));
        assert_eq!(parse_rate("0.0000001 / s", Unit::Second), Ok(Rate::new(1, 10).unwrap()));
        assert_eq!(parse_rate("0.09", Unit::Event), Ok(Rate::new(90_000, 1).unwrap()));
        for bad in ["", "x", "1e3/min", "0.1/lightyear", "1/0", "0.1234567890123"] {
            assert!(parse_rate(bad, Unit::Second).is_err(), "{bad}");
        }
    }
}
