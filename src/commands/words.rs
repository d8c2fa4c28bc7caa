//! What a job takes and what came of it, in words.

use serde_json::Value;

use crate::output::{count, plain};

/// How deep parameters and results are told.
const DEPTH_MAX: usize = 3;
/// Values of a list that are shown.
const VALUES_SHOWN: usize = 8;
/// Letters of a value that are shown.
const LETTERS_SHOWN: usize = 120;

/// The parameters of a job's JSON schema: name, type, default and what it is.
pub(super) fn parameters(schema: &Value) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    add_parameters(schema, schema, "", 0, &mut rows);
    rows
}

fn add_parameters(
    root: &Value,
    schema: &Value,
    prefix: &str,
    depth: usize,
    rows: &mut Vec<Vec<String>>,
) {
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let Some(properties) = schema["properties"].as_object() else { return };
    for (name, property) in properties {
        let of = resolved(root, property);
        let default = match (&property["default"], required.contains(&name.as_str())) {
            (_, true) => "required".to_owned(),
            (Value::Null, false) => String::new(),
            (Value::Object(fields), false) if fields.is_empty() => String::new(),
            (default, false) => shown(default),
        };
        let says = property["description"].as_str().or_else(|| of["description"].as_str());
        let says = says.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
        // It stands in a column of its own.
        let says = match says.rsplit_once(" Default: ") {
            Some((says, default)) if !default.contains([',', ':']) => says.to_owned(),
            _ => says,
        };
        rows.push(vec![format!("{prefix}{name}"), kind(root, property), default, says]);
        if of["properties"].is_object() && depth + 1 < DEPTH_MAX {
            add_parameters(root, of, &format!("{prefix}{name}."), depth + 1, rows);
        }
    }
}

/// What a schema says by reference, and without null.
fn resolved<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let mut schema = schema;
    for _ in 0..DEPTH_MAX {
        let next = match schema["$ref"].as_str().and_then(|name| name.strip_prefix('#')) {
            Some(place) => root.pointer(place),
            None => alternatives(schema).find(|of| of["type"] != "null"),
        };
        match next {
            Some(next) => schema = next,
            None => return schema,
        }
    }
    schema
}

fn alternatives(schema: &Value) -> impl Iterator<Item = &Value> {
    ["anyOf", "allOf"].into_iter().filter_map(|name| schema[name].as_array()).flatten()
}

/// The type of a parameter, or the words that it can be.
fn kind(root: &Value, schema: &Value) -> String {
    let of = resolved(root, schema);
    let words = of["enum"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let constants = of["oneOf"].as_array().into_iter().flatten();
    let constants = constants.filter_map(|of| {
        let of = resolved(root, of);
        of["const"].as_str().or_else(|| of["enum"][0].as_str())
    });
    let words: Vec<&str> = words.chain(constants).collect();
    if !words.is_empty() {
        return words.join(" | ");
    }
    let types: Vec<&str> = match &of["type"] {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let named = |name: &str| match name {
        "array" => format!("list of {}", kind(root, &of["items"])),
        "string" => "text".to_owned(),
        "integer" => "whole number".to_owned(),
        "boolean" => "true | false".to_owned(),
        other => other.to_owned(),
    };
    let types: Vec<String> = types.into_iter().filter(|name| *name != "null").map(named).collect();
    match types.is_empty() {
        true => "JSON".to_owned(),
        false => types.join(" or "),
    }
}

/// What a job says of its result, a line for each thing that it says.
pub(super) fn result(summary: &Value) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    add_results(summary, "", 0, &mut rows);
    rows
}

fn add_results(value: &Value, prefix: &str, depth: usize, rows: &mut Vec<Vec<String>>) {
    let Some(fields) = value.as_object() else { return };
    for (name, value) in fields {
        let name = name.replace('_', " ");
        match value {
            Value::Null => {}
            Value::Object(_) if depth + 1 < DEPTH_MAX => {
                add_results(value, &format!("{prefix}{name}: "), depth + 1, rows);
            }
            value => rows.push(vec![format!("{prefix}{name}"), shown(value)]),
        }
    }
}

/// A value in few letters.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => plain(text),
        Value::Number(number) => match (number.as_u64(), number.as_f64()) {
            (Some(whole), _) => count(whole),
            (None, Some(number)) if number.fract() != 0.0 => number_in_four_digits(number),
            _ => number.to_string(),
        },
        Value::Array(values) => {
            let first: Vec<String> = values.iter().take(VALUES_SHOWN).map(shown).collect();
            let more = values.len().saturating_sub(VALUES_SHOWN);
            let more = if more > 0 { format!(", and {more} more") } else { String::new() };
            format!("{}{more}", first.join(", "))
        }
        other => other.to_string(),
    };
    match text.char_indices().nth(LETTERS_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn number_in_four_digits(number: f64) -> String {
    let digits = 3 - number.abs().log10().floor() as i32;
    match digits {
        0..=9 => {
            let text = format!("{number:.*}", digits as usize);
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        ..0 => format!("{number:.0}"),
        _ => format!("{number:.3e}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn results_are_told_in_words() {
        let summary = json!({
            "found": 12_345, "share": 0.123_456, "by_level": {"high": 3, "low": null}, "note": "a b",
            "tiny": 0.000_000_001_234, "half": -0.5, "series": ["a", "b"], "nothing": null, "large": 123_456.7
        });
        let told: Vec<String> = result(&summary).into_iter().map(|row| row.join("=")).collect();
        assert_eq!(
            told,
            [
                "found=12,345",
                "share=0.1235",
                "by level: high=3",
                "note=a b",
                "tiny=1.234e-9",
                "half=-0.5",
                "series=a, b",
                "large=123457"
            ]
        );
    }

    #[test]
    fn each_jobs_parameters_are_told_with_their_types_and_defaults() {
        for kind in jobs::kinds() {
            let schema = kind.parameters_schema();
            let rows = parameters(&schema);
            assert!(!rows.is_empty(), "{}", kind.name());
            for row in rows {
                let [name, kind, default, says] = row.as_slice() else { unreachable!() };
                assert!(!name.is_empty() && !says.is_empty() && !kind.is_empty(), "{row:?}");
                // What has names of its own is told by their values, not as JSON; a map has none.
                let is_map = schema["properties"][name]["additionalProperties"].is_object();
                assert!(is_map || !default.contains('{'), "{row:?}");
            }
        }
        let schema = json!({
            "required": ["dataset"],
            "properties": {
                "dataset": {"type": "string", "description": "What\n is read"},
                "level": {"$ref": "#/$defs/Level", "default": "low"},
                "parts": {"anyOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "null"}], "default": null},
                "size": {"$ref": "#/$defs/Size", "description": "How large"}
            },
            "$defs": {
                "Level": {"oneOf": [{"const": "low", "description": "x"}, {"const": "high"}], "description": "How much"},
                "Size": {"type": "object", "properties": {"wide": {"type": ["number", "null"], "default": 0.5, "description": "In m"}}}
            }
        });
        let told: Vec<String> = parameters(&schema).into_iter().map(|row| row.join("; ")).collect();
        assert_eq!(
            told,
            [
                "dataset; text; required; What is read",
                "level; low | high; low; How much",
                "parts; list of whole number; ; ",
                "size; object; ; How large",
                "size.wide; number; 0.5; In m"
            ]
        );
    }
}
