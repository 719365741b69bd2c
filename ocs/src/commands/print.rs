//! Forms of output: JSON and YAML as they are, CSV by rows. Tables are each command's own.

use std::io::Write;

use serde_json::Value;

use crate::cli::Output;

/// Prints a value in a form for programs. For CSV, a list of objects is rows, and so is the list of an object that has but one;
/// whatever else is one row.
pub(super) fn value(output: Output, value: &Value) {
    let text = match output {
        Output::Table | Output::Json => serde_json::to_string_pretty(value).map_err(|error| error.to_string()),
        Output::Yaml => yaml(value),
        Output::Csv => Ok(csv(rows(value), true)),
    };
    say(text);
}

/// Prints one of many values as they come; `first` before all others.
///
/// # Errors
/// When nobody reads any more.
pub(super) fn one(output: Output, value: &Value, first: bool) -> std::io::Result<()> {
    let text = match output {
        Output::Table | Output::Json => value.to_string(),
        Output::Yaml => format!("---\n{}", yaml(value).map_err(std::io::Error::other)?),
        Output::Csv => csv(std::slice::from_ref(value), first),
    };
    writeln!(std::io::stdout().lock(), "{}", text.trim_end())
}

fn yaml(value: &Value) -> Result<String, String> {
    serde_saphyr::to_string(value).map_err(|error| error.to_string())
}

fn say(text: Result<String, String>) {
    match text {
        // Whoever reads may be gone: a pipe that is closed is nobody's error.
        Ok(text) => drop(writeln!(std::io::stdout().lock(), "{}", text.trim_end())),
        Err(error) => eprintln!("ocs: {error}"),
    }
}

fn rows(value: &Value) -> &[Value] {
    match value {
        Value::Array(rows) => rows,
        Value::Object(members) => {
            let mut lists = members.values().filter_map(Value::as_array);
            let only = lists.next().filter(|_| lists.next().is_none());
            only.filter(|list| list.iter().all(Value::is_object)).map_or(std::slice::from_ref(value), Vec::as_slice)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => std::slice::from_ref(value),
    }
}

/// RFC 4180, with the members of the first row as columns.
fn csv(rows: &[Value], header: bool) -> String {
    let Some(first) = rows.first().and_then(Value::as_object) else { return String::new() };
    let columns: Vec<&String> = first.keys().collect();
    let mut text = String::new();
    if header {
        text += &columns.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(",");
        text.push('\n');
    }
    for row in rows {
        let cell = |name: &&String| match row.get(name.as_str()) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => quoted(text),
            Some(other) => quoted(&other.to_string()),
        };
        text += &columns.iter().map(cell).collect::<Vec<_>>().join(",");
        text.push('\n');
    }
    text
}

fn quoted(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_are_a_list_or_the_only_list_of_an_object() {
        let list = json!([{"a": 1, "b": "x,\"y\""}, {"b": "z", "c": 3}]);
        let expected = "a,b\n1,\"x,\"\"y\"\"\"\n,z\n";
        assert_eq!(csv(rows(&list), true), expected);
        assert_eq!(csv(rows(&json!({"total": 2, "items": list})), true), expected);
        assert_eq!(csv(rows(&json!({"a": 1, "b": [1, 2]})), true), "a,b\n1,\"[1,2]\"\n");
        assert_eq!(csv(rows(&json!([])), true), "");
    }

    #[test]
    fn yaml_is_read_back_as_it_was() {
        let value = json!({"a": ["1", 1, null, true], "b": {"c": "yes: no"}, "d": "012"});
        let back: Value = serde_saphyr::from_str(&yaml(&value).unwrap()).unwrap();
        assert_eq!(back, value);
    }
}
