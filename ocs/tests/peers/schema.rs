//! The published JSON Schema in the hands of another validator: editors and pipelines that check documents by it must say what we
//! say of their form.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ocs::catalogue::{self, CatalogueError};
use serde_json::{Value, json};

use crate::server::{bounded, here, python_with, said, set_up, skip};

/// Documents of which one thing is changed each; of more only every so many are looked at.
const CHANGED_MAX: usize = 4000;

/// Every document in the examples and the demo, by its file's name, as the parser reads it.
fn documents() -> Vec<(String, Value)> {
    let root = here().join("../../..");
    let mut files: Vec<PathBuf> = ["docs/examples", "ocs/demo"]
        .iter()
        .flat_map(|folder| std::fs::read_dir(root.join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
        .collect();
    files.sort();
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        assert!(catalogue::parse(&text).is_ok(), "{}", path.display());
        let value: Value = serde_saphyr::from_str(&text).unwrap();
        (path.file_name().unwrap().to_str().unwrap().to_owned(), value)
    };
    files.iter().map(read).collect()
}

/// What the other validator says of each document.
fn validated(python: &Path, folder: &Path, documents: &[Value]) -> Vec<bool> {
    let file = folder.join("documents.json");
    std::fs::write(&file, serde_json::to_vec(documents).unwrap()).unwrap();
    let mut validator = Command::new(python);
    validator.arg(here().join("schema_check.py")).arg(here().join("../../../docs/catalogue.schema.json")).arg(file);
    let ran = bounded(&mut validator, folder, Duration::from_secs(100));
    assert!(ran.status.success(), "{}", said(&ran));
    let answers: Vec<bool> =
        String::from_utf8_lossy(&ran.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), documents.len());
    answers
}

/// Whether the form is right to us: what it says may still be wrong.
fn is_formed(document: &Value) -> bool {
    !matches!(catalogue::parse(&document.to_string()), Err(CatalogueError::Syntax { .. }))
}

/// All documents that come of `value` by one change, put into `whole`: a member gone, unknown, or of another kind.
fn changed(value: &Value, whole: &dyn Fn(Value) -> Value, all: &mut Vec<Value>) {
    let kinds = [json!(true), json!(-1), json!([]), json!({}), json!([[1]]), json!({ "no": 1 })];
    all.extend(kinds.into_iter().map(whole));
    match value {
        Value::Object(members) => {
            let unknown = members.clone().into_iter().chain([("colour".to_owned(), json!("red"))]);
            all.push(whole(unknown.collect::<serde_json::Map<_, _>>().into()));
            for (name, member) in members {
                let mut without = members.clone();
                without.remove(name);
                all.push(whole(without.into()));
                let with = |other: Value| {
                    let mut with = members.clone();
                    with.insert(name.clone(), other);
                    whole(with.into())
                };
                changed(member, &with, all);
            }
        }
        Value::Array(items) => {
            for (place, item) in items.iter().enumerate() {
                let with = |other: Value| {
                    let mut with = items.clone();
                    with[place] = other;
                    whole(with.into())
                };
                changed(item, &with, all);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Every example and every demo document is valid; of their thousands of damaged copies the other validator refuses exactly
/// those whose form we refuse.
#[test]
fn another_validator_reads_the_published_schema_as_we_do() {
    set_up();
    let Some(python) = python_with("jsonschema") else {
        skip("jsonschema", "the Python package jsonschema is not installed (ocs/tests/peers/setup.sh says why)");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let documents = documents();
    assert!(documents.len() > 20);
    let whole: Vec<Value> = documents.iter().map(|(_, document)| document.clone()).collect();
    for ((name, _), valid) in documents.iter().zip(validated(&python, folder.path(), &whole)) {
        assert!(valid, "{name} is not valid by the published schema");
    }
    let mut damaged = Vec::new();
    whole.iter().for_each(|document| changed(document, &|document| document, &mut damaged));
    let step = damaged.len().div_ceil(CHANGED_MAX);
    let damaged: Vec<Value> = damaged.into_iter().step_by(step).collect();
    let valid = validated(&python, folder.path(), &damaged);
    let disagreed: Vec<String> = damaged
        .iter()
        .zip(&valid)
        .filter(|(document, valid)| is_formed(document) != **valid)
        .map(|(document, valid)| {
            format!("valid by the schema: {valid}, {:?}: {document}", catalogue::parse(&document.to_string()).err())
        })
        .collect();
    assert!(disagreed.is_empty(), "{} of {}, e.g.\n{}", disagreed.len(), damaged.len(), disagreed[0]);
    assert!(valid.iter().any(|valid| *valid) && valid.iter().filter(|valid| !**valid).count() > damaged.len() / 2);
}
