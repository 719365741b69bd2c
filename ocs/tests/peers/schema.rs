//! The published JSON Schema in the hands of another validator and another reader of YAML: editors and pipelines that check
//! documents by it must say what we say of their form.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ocs::catalogue::{self, CatalogueError};
use serde_json::{Value, json};

use crate::server::{bounded, here, python_with, said, set_up, skip};

/// The interpreter that has all that the other validator needs.
fn validator() -> Option<PathBuf> {
    set_up();
    for (module, tool) in [("jsonschema", "jsonschema"), ("yaml", "PyYAML")] {
        if python_with(module).is_none() {
            skip(tool, &format!("the Python package {tool} is not installed (ocs/tests/peers/setup.sh says why)"));
            return None;
        }
    }
    python_with("jsonschema")
}

/// What the other validator says is wrong with each document of these files. It looks at the schema itself first.
fn faults(python: &Path, folder: &Path, files: &[PathBuf]) -> Vec<Vec<String>> {
    let mut validator = Command::new(python);
    validator.arg(here().join("schema_check.py")).arg(root().join("docs/catalogue.schema.json")).args(files);
    let ran = bounded(&mut validator, folder, Duration::from_secs(100));
    assert!(ran.status.success(), "{}", said(&ran));
    String::from_utf8_lossy(&ran.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The same of texts, each in a file of its own: it reads the YAML, too.
fn faults_of_texts(python: &Path, texts: &[String]) -> Vec<Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let file = |(number, text): (usize, &String)| {
        let path = folder.path().join(format!("{number}.yaml"));
        std::fs::write(&path, text).unwrap();
        path
    };
    let files: Vec<PathBuf> = texts.iter().enumerate().map(file).collect();
    let faults = faults(python, folder.path(), &files);
    assert_eq!(faults.len(), texts.len());
    faults
}

fn root() -> PathBuf {
    here().join("../../..")
}

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == extension)).collect();
    files.sort();
    files
}

/// Documents that stand in the text of a guide: fenced YAML or JSON that names a version of something.
fn fenced(guide: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<(bool, String)> = None;
    for line in guide.lines() {
        match (&mut open, line.trim().strip_prefix("```")) {
            (None, Some(language)) => open = Some((["yaml", "json"].contains(&language), String::new())),
            (Some(_), Some(_)) => blocks.extend(open.take().filter(|(is_data, _)| *is_data).map(|(_, text)| text)),
            (Some((_, text)), None) => *text += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    let is_document = |text: &String| {
        let value: Value = serde_saphyr::from_str(text).unwrap_or_default();
        ["tariff", "offer", "accounting"].iter().any(|kind| value[kind].is_string()) && !value["version"].is_null()
    };
    blocks.retain(is_document);
    blocks
}

/// Every document of the demo, the examples and the guides, by where it stands.
fn documents() -> Vec<(String, String)> {
    let read = |path: &PathBuf| {
        let place = path.strip_prefix(root()).unwrap().display().to_string();
        (place, std::fs::read_to_string(path).unwrap())
    };
    let examples = ["docs/examples", "ocs/demo"].into_iter().flat_map(|folder| files(folder, "yaml"));
    let mut documents: Vec<(String, String)> = examples.map(|path| read(&path)).collect();
    assert!(documents.len() > 20);
    let guides = files("docs", "md").into_iter().chain(files(".", "md"));
    let fenced = guides.map(|path| read(&path)).flat_map(|(place, guide)| {
        fenced(&guide).into_iter().enumerate().map(move |(number, text)| (format!("{place}, document {number}"), text))
    });
    let before = documents.len();
    documents.extend(fenced);
    assert!(documents.len() >= before + 2, "the guides show a tariff and an offer");
    documents
}

/// Whatever we show people is valid to whatever their editors are made of, read as YAML by somebody else.
#[test]
fn every_document_that_we_show_is_valid() {
    let Some(python) = validator() else { return };
    let documents = documents();
    let texts: Vec<String> = documents.iter().map(|(_, text)| text.clone()).collect();
    for ((place, text), faults) in documents.iter().zip(faults_of_texts(&python, &texts)) {
        assert!(catalogue::parse(text).is_ok(), "{place}: {:?}", catalogue::parse(text));
        assert!(faults.is_empty(), "{place} is not valid by the published schema: {faults:?}");
    }
}

const TARIFF: &str = "tariff: t\nversion: 1\npolicy: split\ncurrency: EUR\nprices:\n  \
                      - {id: data, service: data, measure: total_octets, rate: 0.02 / MiB, pulse: 100 KiB}\n";
const OFFER: &str = "offer: o\nversion: 1\ncurrency: EUR\nfee: \"7.99\"\nperiod: P1M\nrenews: true\nallowances:\n  \
                     - {id: data, unit: octet, amount: 10 GiB, priority: 40, rollover: {cap: 5 GiB}}\n";
const ACCOUNTING: &str = "accounting: a\nversion: 1\nfrom: 2027-01-01\nperiod: P1M\n";

/// Each is wrong in one way, for one reason: a document, what of it is replaced by what, where the schema finds what wrong, and
/// a word of our own reason.
const WRONG: &[(&str, &str, &str, &str, &str)] = &[
    // A member that is unknown, also one of another kind of document.
    (TARIFF, "pulse:", "pulze:", "prices[0] additionalProperties", "pulze"),
    (TARIFF, "policy: split", "fee: \"7.99\"", "additionalProperties", "fee"),
    (OFFER, "fee:", "price:", "additionalProperties", "price"),
    (OFFER, "{cap: 5 GiB}", "{cap: 5 GiB, months: 1}", "allowances[0].rollover additionalProperties", "months"),
    (ACCOUNTING, "period:", "until: 2028-01-01\nperiod:", "additionalProperties", "until"),
    // One that is missing.
    (TARIFF, "tariff: t\n", "", "required", "tariff"),
    (TARIFF, "currency: EUR\n", "", "required", "currency"),
    (TARIFF, "measure: total_octets, ", "", "prices[0] required", "measure"),
    (OFFER, "version: 1\n", "", "required", "version"),
    (OFFER, "amount: 10 GiB, ", "", "allowances[0] required", "amount"),
    (OFFER, "{cap: 5 GiB}", "{cycles: 1}", "allowances[0].rollover required", "cap"),
    (ACCOUNTING, "from: 2027-01-01\n", "", "required", "from"),
    // An amount that is a number: it is exact as a text only.
    (OFFER, "\"7.99\"", "7.99", "fee type", "quote"),
    (OFFER, "\"7.99\"", "7", "fee type", "quote"),
    (TARIFF, "0.02 / MiB", "0.02", "prices[0].rate type", "quote"),
    (OFFER, "10 GiB", "1e9", "allowances[0].amount type", "quote"),
    // Another type.
    (TARIFF, "prices:\n  - ", "prices:\n  ", "prices type", "sequence"),
    (TARIFF, "service: data", "service: [data]", "prices[0].service type", "string"),
    (TARIFF, "tariff: t", "tariff: 2027", "tariff type", "quote"),
    (OFFER, "version: 1", "version: one", "version type", "u32"),
    (OFFER, "version: 1", "version: 1.5", "version type", "u32"),
    (OFFER, "renews: true", "renews: sometimes", "renews type", "bool"),
    (OFFER, "10 GiB", "~", "allowances[0].amount type", "null"),
    (OFFER, "{cap: 5 GiB}", "5 GiB", "allowances[0].rollover type", "mapping"),
    (ACCOUNTING, "2027-01-01", "{year: 2027}", "from type", "string"),
    // A number that does not fit.
    (TARIFF, "version: 1", "version: -1", "version minimum", "u32"),
    (TARIFF, "version: 1", "version: 4294967296", "version maximum", "u32"),
    (OFFER, "priority: 40", "priority: 65536", "allowances[0].priority maximum", "u16"),
    // A word that is none of those that can stand there.
    (TARIFF, "split", "merge", "policy enum", "use split or session_start"),
    (TARIFF, "total_octets", "octets", "prices[0].measure enum", "is no measure"),
    (TARIFF, "service: data", "service: fax", "prices[0].service pattern", "is no service"),
    (TARIFF, "EUR", "euro", "currency pattern", "ISO 4217"),
    (OFFER, "offer: o", "offer: all in", "offer pattern", "a name has"),
    // A unit that nothing is measured in.
    (TARIFF, "0.02 / MiB", "0.02 / furlong", "prices[0].rate pattern", "no quantity here"),
    (TARIFF, "100 KiB", "100 Kib", "prices[0].pulse pattern", "no quantity here"),
    (OFFER, "octet", "byte", "allowances[0].unit pattern", "is no unit here"),
    (OFFER, "10 GiB", "10 gigs", "allowances[0].amount pattern", "no quantity here"),
    // A text that is no amount or period.
    (OFFER, "\"7.99\"", "7.99 EUR", "fee pattern", "decimal"),
    (OFFER, "\"7.99\"", "\"7,99\"", "fee pattern", "decimal"),
    (OFFER, "P1M", "1 month", "period pattern", "is no period"),
    (ACCOUNTING, "P1M", "PT1M", "period pattern", "is no period"),
];

#[test]
fn what_is_wrong_is_refused_where_and_why_it_is_wrong() {
    let Some(python) = validator() else { return };
    let mut texts = vec![TARIFF.to_owned(), OFFER.to_owned(), ACCOUNTING.to_owned()];
    for text in &texts {
        catalogue::parse(text).unwrap();
    }
    texts.extend(WRONG.iter().map(|(good, from, to, ..)| {
        assert!(good.contains(from), "{from}");
        good.replacen(from, to, 1)
    }));
    let mut faults = faults_of_texts(&python, &texts).into_iter();
    assert!(faults.by_ref().take(3).all(|faults| faults.is_empty()));
    for ((.., fault, reason), (text, faults)) in WRONG.iter().zip(texts[3..].iter().zip(faults)) {
        assert_eq!(faults, [*fault], "{text}");
        let ours = catalogue::parse(text).expect_err(text).to_string();
        assert!(ours.contains(reason), "{ours}\n{text}");
    }
}

/// Texts that readers of YAML differ about.
const SCALARS: &[&str] = &[
    "\"1\"",
    "\"true\"",
    "2027-01-01",
    "01-01",
    "12-25",
    "2027-01-01T00:00:00Z",
    "08:00",
    "22:00:00",
    "60/1",
    "10 GiB",
    "0.09 / min",
    "49",
    "+49",
    "007",
    "0x1f",
    "0o17",
    "0b11",
    "1_000",
    "0.05",
    "1.",
    ".5",
    "1e3",
    ".inf",
    "-.INF",
    ".nan",
    "~",
    "null",
    "NULL",
    "true",
    "False",
    "yes",
    "No",
    "on",
    "y",
    "=",
    "<<",
    "",
];

/// A text to us is a text to whoever reads YAML 1.2, dates and times among them. Of numbers and truths we read spellings that
/// others do not, for who has them: the schema says how they are written.
#[test]
fn scalars_are_to_others_what_they_are_to_us() {
    let Some(python) = validator() else { return };
    let spellings = |from: &str, to: &str| -> Vec<String> {
        let with = |scalar: &&str| OFFER.replacen(from, &to.replacen('X', scalar, 1), 1);
        let texts: Vec<String> = SCALARS.iter().map(with).collect();
        let all = faults_of_texts(&python, &texts);
        let only_ours = |(text, faults): &(&String, Vec<String>)| is_formed(text) && !faults.is_empty();
        let pairs = SCALARS.iter().zip(texts.iter().zip(all));
        pairs.filter(|(_, pair)| only_ours(pair)).map(|(scalar, _)| (*scalar).to_owned()).collect()
    };
    let none: [&str; 0] = [];
    assert_eq!(spellings("version: 1\n", "version: 1\nfinance: {ledger_code: X}\n"), none);
    assert_eq!(spellings("version: 1\n", "version: X\n"), ["\"1\"", "0b11", "1_000"]);
    assert_eq!(spellings("renews: true\n", "renews: X\n"), ["\"true\"", "yes", "No", "on", "y"]);
}

/// Whether the form is right to us: what it says may still be wrong.
fn is_formed(document: &str) -> bool {
    !matches!(catalogue::parse(document), Err(CatalogueError::Syntax { .. }))
}

/// Texts of all sorts, as they can stand somewhere.
const TEXTS: &[&str] = &[
    "",
    "x",
    "0",
    "1",
    "+1",
    "-1",
    ".5",
    "5.",
    "0.05",
    "1_000",
    "0.0000001",
    "10 GiB",
    " 3 KiB ",
    "3MB",
    "GiB",
    "90 s",
    "5 min",
    "h",
    "1 d",
    "2 events",
    "sms",
    "0.1/min",
    "0.1 / 2 s",
    "0.02 / MiB",
    "0.02/100 kB",
    "1. / GB",
    "0.5 / event",
    "60/1",
    "s/s",
    "P1Y2M3W4D",
    "P2W",
    "PT36H",
    "data",
    "voice",
    "mms",
    "other-7",
    "other-+7",
    "EUR",
    "USD",
    "second",
    "octet",
    "event",
    "seconds",
    "total_octets",
    "uplink_octets",
    "downlink_octets",
    "events",
    "split",
    "session_start",
    "session",
    "cycle",
    "outgoing",
    "incoming",
    "half_up",
    "half_even",
    "up",
    "down",
    "line",
    "bill",
    "A-b_c.9",
];

/// All documents that come of `value` by one change, put into `whole`: a member gone, unknown, of another kind or another text.
/// Each change is made once at each place of a kind: of all prices by octets only one has another rate.
fn changed(place: &str, value: &Value, whole: &dyn Fn(Value) -> Value, all: &mut BTreeMap<(String, String), Value>) {
    let mut add = |change: String, changed: &dyn Fn() -> Value| {
        all.entry((place.to_owned(), change)).or_insert_with(|| whole(changed()));
    };
    let kinds = [
        json!(true),
        json!(1),
        json!(-1),
        json!(0.5),
        json!(300),
        json!(70_000),
        json!(1u64 << 32),
        json!(null),
        json!([]),
        json!({}),
        json!([[1]]),
        json!({ "no": 1 }),
    ];
    for kind in kinds {
        add(kind.to_string(), &|| kind.clone());
    }
    match value {
        Value::Object(members) => {
            let with = |name: &str, member: Value| {
                let mut with = members.clone();
                with.insert(name.to_owned(), member);
                with
            };
            add("another member".to_owned(), &|| with("colour", json!("red")).into());
            for name in members.keys() {
                let without = || members.iter().filter(|(other, _)| *other != name);
                add(format!("no {name}"), &|| without().map(|(name, member)| (name.clone(), member.clone())).collect());
            }
            // What quantities and rates can be depends on it.
            let measure = ["measure", "unit"].iter().find_map(|name| members.get(*name)?.as_str()).unwrap_or_default();
            for (name, member) in members {
                let place = format!("{place} {measure}.{name}");
                changed(&place, member, &|other| whole(with(name, other).into()), all);
            }
        }
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                let with = |other: Value| {
                    let mut with = items.clone();
                    with[number] = other;
                    whole(with.into())
                };
                changed(&format!("{place}[]"), item, &with, all);
            }
        }
        Value::String(_) => TEXTS.iter().for_each(|text| add(json!(text).to_string(), &|| json!(text))),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Of thousands of damaged copies of all documents the other validator refuses all whose form we refuse, and takes all that
/// we take.
#[test]
fn another_validator_reads_the_published_schema_as_we_do() {
    let Some(python) = validator() else { return };
    let mut damaged = BTreeMap::new();
    let mut documents = documents();
    // The shorter, the sooner checked.
    documents.sort_by_key(|(_, text)| text.len());
    for (_, text) in documents {
        let document: Value = serde_saphyr::from_str(&text).unwrap();
        let kind = ["offer", "accounting", "tariff"].into_iter().find(|kind| !document[kind].is_null()).unwrap();
        changed(kind, &document, &|document| document, &mut damaged);
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("damaged.json");
    std::fs::write(&file, serde_json::to_vec(&damaged.values().collect::<Vec<_>>()).unwrap()).unwrap();
    let all = faults(&python, folder.path(), &[file]);
    assert_eq!(all.len(), damaged.len());
    let (mut formless, mut taken) = (0, 0);
    for ((change, document), faults) in damaged.iter().zip(&all) {
        match catalogue::parse(&document.to_string()) {
            Ok(_) => {
                taken += 1;
                assert!(faults.is_empty(), "{change:?} is taken, but {faults:?}: {document}");
            }
            Err(CatalogueError::Syntax { reason, .. }) => {
                formless += 1;
                assert!(!faults.is_empty(), "{change:?} is valid by the schema, but {reason}: {document}");
            }
            // Only we know whether what is said can be.
            Err(CatalogueError::Problems(_)) => {}
        }
    }
    eprintln!("{} changes: {formless} without form, {taken} taken", damaged.len());
    assert!(formless > 1000 && taken > 1000, "{} changes: {formless} without form, {taken} taken", damaged.len());
}
