//! Rules as they are written: TOML tables `[[alert]]` or the same as JSON, with errors that name rule and field. Serde alone says what
//! is wrong with a value but not whose value it is; since every field has a default, each can be tried by itself to learn that.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{AlertError, Result, Rule, cut};

/// Rules of one tenant.
const RULES_MAX: usize = 1_000;

/// Reads and checks the rules of a document `{"alert": [{…}, …]}`. Fails with what is wrong with the first that is.
pub fn read_rules(document: &Value) -> Result<Vec<Rule>> {
    let bad = |field: &str, says: String| AlertError::refused("alerts", field, says);
    let Value::Object(fields) = document else {
        return Err(bad(
            "document",
            format!("expected `alert` tables, found {}", kind_of(document)),
        ));
    };
    if let Some(other) = fields.keys().find(|name| *name != "alert") {
        let says = "there is no such table; expected `[[alert]]`";
        return Err(bad(&cut(other), says.to_owned()));
    }
    let tables = match fields.get("alert") {
        None => return Ok(Vec::new()),
        Some(Value::Array(tables)) => tables,
        Some(other) => {
            let says = format!("expected a list of tables, found {}", kind_of(other));
            return Err(bad("alert", says));
        }
    };
    if tables.len() > RULES_MAX {
        let says = format!("expected at most {RULES_MAX} rules, found {}", tables.len());
        return Err(bad("alert", says));
    }
    let mut names = BTreeSet::new();
    let mut rules = Vec::new();
    for (index, table) in tables.iter().enumerate() {
        let rule = read_rule(table, index)?;
        if !names.insert(rule.name.clone()) {
            let what = format!("alert {}", rule.name);
            let says = "expected a name that no other rule has, found it twice";
            return Err(AlertError::refused(what, "name", says));
        }
        rules.push(rule);
    }
    Ok(rules)
}

/// Reads and checks one rule, the one at `index` of its list.
fn read_rule(table: &Value, index: usize) -> Result<Rule> {
    // What has no name is called by its place.
    let what = match table.get("name") {
        Some(Value::String(name)) => format!("alert {}", cut(name)),
        _ => format!("alert number {}", index + 1),
    };
    let Value::Object(fields) = table else {
        let says = format!("expected a table, found {}", kind_of(table));
        return Err(AlertError::refused(what, "table", says));
    };
    for (field, value) in fields {
        let alone = Map::from_iter([(field.clone(), value.clone())]);
        if let Err(problem) = serde_json::from_value::<Rule>(Value::Object(alone)) {
            return Err(AlertError::refused(what, &cut(field), in_words(&problem.to_string())));
        }
    }
    let rule: Rule = serde_json::from_value(table.clone())
        .map_err(|problem| AlertError::refused(what, "table", in_words(&problem.to_string())))?;
    rule.check()?;
    Ok(rule)
}

/// What is wrong with a field, in the words of who gave it and not of the parser.
fn in_words(problem: &str) -> String {
    if let Some((unknown, known)) =
        problem.split_once("unknown field ").and_then(|(_, rest)| rest.split_once(", "))
    {
        return format!("there is no such field {unknown}; {known}");
    }
    let found = ["invalid type: ", "invalid value: "]
        .iter()
        .find_map(|begin| problem.strip_prefix(*begin))
        .and_then(|rest| rest.split_once(", expected "));
    match found {
        None => problem.to_owned(),
        Some((found, expected)) => {
            let expected = match expected {
                "a sequence" => "a list",
                "a map" => "a table",
                "a boolean" => "true or false",
                other => other,
            };
            format!("expected {expected}, found {found}")
        }
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
