//! The dictionary against itself, and against the reference dictionary where that is at hand.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod support;

use diameter::dictionary::{self, Grammar, Kind, Mandatory};
use diameter::{AvpCode, CommandCode};
use serde_json::Value;

#[test]
fn the_rows_are_sorted_and_both_lookups_agree() {
    let rows = dictionary::definitions();
    assert!(rows.is_sorted_by(|a, b| (a.code.vendor, a.code.code) < (b.code.vendor, b.code.code)));
    for row in rows {
        assert_eq!(dictionary::definition(row.code), Some(row));
        let traits = dictionary::traits(row.code).unwrap();
        assert_eq!((traits.kind, traits.mandatory), (row.kind, row.mandatory), "{}", row.name);
    }
    for unknown in [AvpCode::new(0, 0), AvpCode::new(u32::MAX, 0), AvpCode::new(263, 10415), AvpCode::new(1, 9)] {
        assert_eq!(dictionary::traits(unknown), None);
        assert_eq!(dictionary::definition(unknown), None);
    }
    assert_eq!(AvpCode::RATING_GROUP.to_string(), "Rating-Group (432)");
    assert_eq!(AvpCode::TRIGGER_TYPE.to_string(), "Trigger-Type (870/10415)");
    assert_eq!(AvpCode::new(503, 8164).to_string(), "AVP 503/8164");
}

#[test]
fn grammars_are_of_groups() {
    for row in dictionary::definitions() {
        assert!(Grammar::of_group(row.code).is_none() || row.kind == Kind::Grouped, "{}", row.name);
    }
    let ccr = Grammar::of_command(CommandCode::CREDIT_CONTROL, true).unwrap();
    assert!(ccr.one.contains(&AvpCode::SERVICE_CONTEXT_ID));
    assert!(Grammar::of_command(CommandCode::ACCOUNTING, true).is_none());
}

fn number(value: &Value, field: &str) -> u32 {
    u32::try_from(value[field].as_u64().unwrap()).unwrap()
}

fn reference() -> Option<Value> {
    let path = support::shared("spec/diameter/dictionary.json")?;
    Some(serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap())
}

#[test]
fn the_rows_are_those_of_the_reference() {
    let Some(reference) = reference() else { return };
    let mut charging = 0;
    let mut found = 0;
    for avp in reference["avps"].as_array().unwrap() {
        let code = AvpCode::new(number(avp, "code"), number(avp, "vendor_id"));
        let name = avp["name"].as_str().unwrap();
        charging += usize::from(avp["charging"].as_bool().unwrap_or_default());
        let Some(row) = dictionary::definition(code) else {
            assert_ne!(avp["charging"], true, "{name} is missing");
            continue;
        };
        found += 1;
        assert_eq!(row.name, name);
        assert_eq!(format!("{:?}", row.kind).to_lowercase(), avp["type"].as_str().unwrap().to_lowercase(), "{name}");
        let m_bit = match row.mandatory {
            Mandatory::Must => "must",
            Mandatory::May => "may",
            Mandatory::MustNot => "must_not",
        };
        assert_eq!(m_bit, avp["m_bit"].as_str().unwrap(), "{name}");
    }
    assert!(charging > 700);
    assert_eq!(found, dictionary::definitions().len());
    assert!(dictionary::definition(AvpCode::FRAMED_IP_ADDRESS).is_some());
}

/// A grammar's lists, made from the reference's members.
fn check_members(what: &str, grammar: &Grammar, members: &Value) {
    let mut lists = [const { Vec::new() }; 3];
    for member in members.as_array().unwrap() {
        let code = AvpCode::new(number(member, "code"), number(member, "vendor_id"));
        match (number(member, "min"), member.get("max").and_then(Value::as_u64)) {
            (1, Some(1)) => lists[0].push(code),
            (1, None) => lists[1].push(code),
            (0, Some(1)) => lists[2].push(code),
            (0, None) => {}
            other => panic!("{what}: {code} {other:?}"),
        }
    }
    assert_eq!([grammar.one, grammar.some, grammar.optional], [&lists[0][..], &lists[1], &lists[2]], "{what}");
}

#[test]
fn the_grammars_are_those_of_the_reference() {
    let Some(reference) = reference() else { return };
    let mut commands = 0;
    for command in reference["commands"].as_array().unwrap() {
        let code = CommandCode::new(number(command, "code")).unwrap();
        if let Some(grammar) = Grammar::of_command(code, command["request"].as_bool().unwrap()) {
            check_members(command["name"].as_str().unwrap(), grammar, &command["avps"]);
            commands += 1;
        }
    }
    assert_eq!(commands, 14);
    let mut groups = 0;
    for avp in reference["avps"].as_array().unwrap() {
        let code = AvpCode::new(number(avp, "code"), number(avp, "vendor_id"));
        if let Some(grammar) = Grammar::of_group(code) {
            check_members(avp["name"].as_str().unwrap(), grammar, &avp["group"]);
            groups += 1;
        }
    }
    assert_eq!(groups, 24);
}
