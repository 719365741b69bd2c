//! The catalogue: tariff, offer and accounting documents, YAML or JSON, as checked values.
//!
//! Amounts and quantities are texts with human units (`"0.02 / MiB"`, `10 GiB`, `60/1`, `P1M`), never floats.
//! Parsing yields a version or every problem, each with its path and a hint.

mod canonical;
pub mod diff;
mod offer;
mod periods;
mod tariff;
pub(crate) mod text;

use std::sync::Arc;

pub use periods::closing;

use rating_engine::offer::OfferVersion;
use rating_engine::periods::Periods;
use rating_engine::tariff::{FinanceCodes, Problem, TariffVersion};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Largest document, octets.
pub const DOCUMENT_OCTETS_MAX: usize = 4 << 20;

/// What a document is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// A version of a tariff.
    Tariff(Arc<TariffVersion>),
    /// A version of an offer.
    Offer(Arc<OfferVersion>),
    /// Accounting periods, with the hash of what they say.
    Accounting(Arc<Periods>, [u8; 32]),
}

impl Document {
    /// The name under which it is kept: that of a tariff, or of an offer behind `offer:`, which no tariff's name has.
    pub fn kept_as(&self) -> String {
        match self {
            Self::Tariff(version) => version.name().as_str().to_owned(),
            Self::Offer(version) => format!("offer:{}", version.name()),
            Self::Accounting(..) => "accounting:".to_owned(),
        }
    }

    /// The version's number.
    pub fn version(&self) -> u32 {
        match self {
            Self::Tariff(version) => version.version(),
            Self::Offer(version) => version.version(),
            Self::Accounting(periods, _) => periods.version(),
        }
    }

    /// SHA-256 of its canonical form.
    pub fn content_hash(&self) -> &[u8; 32] {
        match self {
            Self::Tariff(version) => version.content_hash(),
            Self::Offer(version) => version.content_hash(),
            Self::Accounting(_, hash) => hash,
        }
    }
}

impl std::fmt::Display for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tariff(version) => write!(f, "tariff {} version {}", version.name(), version.version()),
            Self::Offer(version) => write!(f, "offer {} version {}", version.name(), version.version()),
            Self::Accounting(periods, _) => write!(f, "accounting periods version {}", periods.version()),
        }
    }
}

/// Why a document is no catalogue document.
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

/// How strictly a document's form is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// As it is handed in: a text that looks like a number or a truth is quoted, as the schema says, so that no reader on its way
    /// here makes a float of an amount.
    New,
    /// As it was taken once.
    Stored,
}

/// Parses one document that is handed in: an offer or accounting periods if it names such, else a tariff.
///
/// # Errors
/// Its syntax error, or every problem in it.
pub fn parse(text: &str) -> Result<Document, CatalogueError> {
    parse_as(text, Form::New)
}

/// Parses one document that was taken before.
///
/// # Errors
/// Its syntax error, or every problem in it.
pub fn parse_stored(text: &str) -> Result<Document, CatalogueError> {
    parse_as(text, Form::Stored)
}

fn parse_as(text: &str, form: Form) -> Result<Document, CatalogueError> {
    #[derive(Deserialize)]
    struct Kind {
        offer: Option<IgnoredAny>,
        accounting: Option<IgnoredAny>,
    }
    match read::<Kind>(text, form)? {
        Kind { offer: Some(_), .. } => offer::parse(text, form).map(Document::Offer),
        Kind { accounting: Some(_), .. } => {
            periods::parse(text, form).map(|(periods, hash)| Document::Accounting(periods, hash))
        }
        Kind { offer: None, accounting: None } => tariff::parse(text, form).map(Document::Tariff),
    }
}

/// Parses one tariff document that is handed in.
///
/// # Errors
/// Its syntax error, or every problem in it.
pub fn parse_tariff(text: &str) -> Result<Arc<TariffVersion>, CatalogueError> {
    tariff::parse(text, Form::New)
}

/// Reads what the parser of its kind then checks.
fn read<T: for<'a> Deserialize<'a>>(text: &str, form: Form) -> Result<T, CatalogueError> {
    if text.len() > DOCUMENT_OCTETS_MAX {
        let reason = format!("the document is larger than {DOCUMENT_OCTETS_MAX} octets");
        return Err(CatalogueError::Syntax { line: 0, reason });
    }
    let options = serde_saphyr::options! { no_schema: form == Form::New };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let line = error.location().map_or(0, |location| usize::try_from(location.line()).unwrap_or(0));
        CatalogueError::Syntax { line, reason: error.to_string() }
    })
}

/// The JSON Schema of catalogue documents: what editors complete and check by. It refuses nothing that [`parse`] takes, but a number
/// or a truth that is quoted or in a spelling of YAML 1.1; what a reference names, and whether a rate's unit is that of its price, only
/// [`parse`] knows.
pub fn schema() -> serde_json::Value {
    #[derive(JsonSchema)]
    #[schemars(untagged, rename = "Catalogue document")]
    #[expect(dead_code, reason = "only its schema is of use")]
    enum Any {
        Tariff(tariff::Document),
        Offer(offer::Document),
        Accounting(periods::Document),
    }
    // Or numbers would be valid that we cannot hold: the generator limits only what is smaller.
    let limits = |schema: &mut schemars::Schema| {
        if schema.get("format").is_some_and(|format| format == "uint32") {
            schema.insert("maximum".to_owned(), u32::MAX.into());
        }
    };
    let settings = SchemaSettings::default().with_transform(RecursiveTransform(limits));
    settings.into_generator().into_root_schema_for::<Any>().to_value()
}

/// Codes for finance, as a document has them.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Finance")]
struct RawFinance {
    tax_category: String,
    tax_included: bool,
    place_of_supply: String,
    ledger_code: String,
    revenue_rule: String,
}

impl RawFinance {
    fn codes(&self) -> FinanceCodes {
        FinanceCodes {
            tax_category: self.tax_category.as_str().into(),
            tax_included: self.tax_included,
            place_of_supply: self.place_of_supply.as_str().into(),
            ledger_code: self.ledger_code.as_str().into(),
            revenue_rule: self.revenue_rule.as_str().into(),
        }
    }
}

/// A name of a tariff or offer: it also stands in file names, commands and keys.
fn check_name(check: &mut Check, path: &str, name: &str) {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    if name.is_empty() || name.len() > 64 || !name.chars().all(is_plain) {
        check.problem(path, "a name has 1 to 64 letters, digits, '-', '_' or '.'");
    }
}

/// Problems of a document as they are found.
#[derive(Debug, Default)]
pub(crate) struct Check {
    pub(crate) problems: Vec<Problem>,
}

impl Check {
    pub(crate) fn problem(&mut self, path: &str, reason: &str) {
        self.problems.push(Problem { path: path.to_owned(), reason: reason.to_owned() });
    }

    pub(crate) fn take<T>(&mut self, path: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|reason| self.problem(path, &reason)).ok()
    }

    /// Takes a part that knows the paths of its problems itself.
    pub(crate) fn take_all<T>(&mut self, result: Result<T, Vec<Problem>>) -> Option<T> {
        result.map_err(|problems| self.problems.extend(problems)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Examples are promises.
    #[test]
    fn the_examples_are_good() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples");
        let mut seen = 0;
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                let text = std::fs::read_to_string(&path).unwrap();
                parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                seen += 1;
            }
        }
        assert_eq!(seen, 4);
    }

    /// Amounts are texts or whole numbers: what was taken before such were refused is still read.
    #[test]
    fn an_amount_is_never_a_float() {
        let offer = |fee: &str| format!("{{\"offer\": \"m\", \"version\": 1, \"currency\": \"EUR\", \"fee\": {fee}}}");
        let Err(CatalogueError::Syntax { line: 1, reason }) = parse(&offer("7.99")) else { panic!("accepted") };
        assert!(reason.contains("quote"), "{reason}");
        assert_eq!(parse_stored(&offer("7.99")), parse(&offer("\"7.99\"")));
    }

    /// Editors read it: it says what this release reads. Written by `ocs tariff schema > docs/catalogue.schema.json`.
    #[test]
    fn the_published_schema_is_that_of_the_documents() {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/catalogue.schema.json");
        let published: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        assert_eq!(published, schema());
        for (kind, member) in
            [("Tariff", "prices"), ("Offer", "allowances"), ("Price", "rate"), ("Allowance", "amount")]
        {
            assert!(published["$defs"][kind]["properties"][member].is_object(), "{kind}.{member}");
            assert_eq!(published["$defs"][kind]["additionalProperties"], false, "{kind}");
        }
    }

    const OFFER: &str = include_str!("../../../docs/examples/offer.yaml");

    #[test]
    fn an_offer_is_read_and_always_hashes_the_same() {
        let offer = |text: &str| match parse(text) {
            Ok(Document::Offer(offer)) => offer,
            other => panic!("{other:?}"),
        };
        let read = offer(OFFER);
        assert_eq!((read.fee().to_string(), read.renews()), ("7.99".to_owned(), true));
        let names: Vec<&str> = read.allowances().map(|(allowance, _)| &*allowance.name).collect();
        assert_eq!(names, ["data", "welcome"]);
        for (one, same) in [("P1M  ", "P0Y1M  "), ("10 GiB", "10240 MiB"), ("\"7.99\"", "\"7.990\""), ("cycles: 1", "")]
        {
            assert!(OFFER.contains(one), "{one}");
            assert_eq!(offer(&OFFER.replace(one, same)).content_hash(), read.content_hash(), "{same}");
        }
        let mut all = vec![*read.content_hash()];
        for (one, other) in [
            ("P1M", "P28D"),
            ("10 GiB", "11 GiB"),
            ("7.99", "8.99"),
            ("cap: 5 GiB", "cap: 4 GiB"),
            ("granted: true", "granted: false"),
            ("priority: 40", "priority: 41"),
            ("[data]", "[voice]"),
        ] {
            assert!(OFFER.contains(one), "{one}");
            all.push(*offer(&OFFER.replace(one, other)).content_hash());
        }
        // CDRs name it: this form is frozen, also of what says no thresholds.
        let hex = |hash: &[u8; 32]| hash.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
        let plain: Vec<&str> = OFFER.lines().filter(|line| !line.trim_start().starts_with("notify")).collect();
        let plain = *offer(&plain.join("\n")).content_hash();
        assert_eq!(hex(&plain), "e938e6a11c4eac529ff607087b800e44712e66aa13291b678ec18e1cf6ce7560");
        assert_eq!(hex(&all[0]), "7889157adfd523ed855ee2ce3daa3deb28c88b3bf945bba7b26e112553b0ec08");
        for (one, other) in [("80 %", "81 %"), ("used up", "gone"), ("label: low", "label: few"), ("20.00", "21.00")] {
            assert!(OFFER.contains(one), "{one}");
            all.push(*offer(&OFFER.replace(one, other)).content_hash());
        }
        let several = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), several);
    }

    #[test]
    fn every_problem_of_an_offer_is_named_with_its_place() {
        let bad = OFFER
            .replace("Europe/Berlin", "Berlin")
            .replace("P1M  ", "1 month  ")
            .replace("unit: octet\n    amount: 1 GiB", "unit: byte\n    amount: 1 GiB")
            .replace("\"7.99\"", "\"-7.99\"");
        let Err(CatalogueError::Problems(problems)) = parse(&bad) else { panic!("accepted") };
        let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, ["time_zone", "period", "allowances[1].unit"]);
        let bad = OFFER
            .replace("{at: 80 %}", "{at: half}, {at: 90 %}")
            .replace("{at: \"20.00\", label: warning}", "{at: \"twenty\"}")
            .replace("{at: \"2.00\", label: low}", "{at: \"0.0000001\"}");
        let Err(CatalogueError::Problems(problems)) = parse(&bad) else { panic!("accepted") };
        let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, ["allowances[0].notify[0].at", "notify_spend[0].at", "notify_balance[0].at"]);
        assert!(problems[0].reason.contains("write e.g. 80 %"), "{problems:?}");
        let Err(CatalogueError::Problems(problems)) = parse(&OFFER.replace("\"7.99\"", "\"-7.99\"")) else {
            panic!("accepted")
        };
        assert_eq!(problems[0].path, "fee");
        let Err(CatalogueError::Syntax { line, .. }) = parse(&OFFER.replace("setup_fee", "setup")) else {
            panic!("accepted")
        };
        assert!(line > 1);
    }
}
