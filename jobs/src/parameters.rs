//! Parameters from JSON to a typed struct, with an error that names the field, and back to one
//! canonical text. Serde alone says what is wrong with a value but not whose value it is; since every
//! parameter of every kind has a default, each field can be tried by itself to learn that.

use chrono::{DateTime, Utc};
use datasets::{DatasetName, specs};
use engine::{Code, Error, Result, did_you_mean};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// Reads the parameters of `job`; `null` means all defaults.
pub(crate) fn read<P: DeserializeOwned>(job: &str, params: &Value) -> Result<P> {
    let fields = match params {
        Value::Null => Map::new(),
        Value::Object(fields) => fields.clone(),
        other => {
            return Err(Error::user(
                Code::BadInput,
                format!("{job}: parameters: expected an object, found {}", kind_of(other)),
            ));
        }
    };
    for (name, value) in &fields {
        let alone = Map::from_iter([(name.clone(), value.clone())]);
        if let Err(problem) = serde_json::from_value::<P>(Value::Object(alone)) {
            return Err(bad(job, name, in_words(&problem.to_string(), name, value)));
        }
    }
    serde_json::from_value(Value::Object(fields))
        .map_err(|problem| Error::user(Code::BadInput, format!("{job}: parameters: {problem}")))
}

/// What chrono says of texts that are no instants.
const OF_INSTANTS: [&str; 6] = [
    "input contains invalid characters",
    "input is not enough for unique date and time",
    "input is out of range",
    "no possible date and time matching input",
    "premature end of input",
    "trailing input",
];

/// What is wrong with a parameter, in the words of who gave it and not of the parser.
fn in_words(problem: &str, name: &str, value: &Value) -> String {
    let mut says = problem.to_owned();
    if let Some((_, known)) =
        problem.split_once("unknown field `").and(problem.split_once("expected one of "))
    {
        let known = known.split(", ").map(|name| name.trim_matches('`'));
        if let Some(near) = did_you_mean(name, known) {
            return format!("there is no such parameter; {near}");
        }
    }
    says = of_types(&says);
    if let Value::String(text) = value {
        if OF_INSTANTS.contains(&problem) {
            return format!(
                "expected an instant, such as \"2026-01-31T12:00:00Z\", found {text:?}"
            );
        }
        let list = format!("a list, such as {}", json!([text]));
        says = says.replace("a sequence", &list);
    }
    says = says.replace("a sequence", "a list").replace("a map", "an object");
    while let Some((before, after)) = says.split_once("struct ") {
        let end = after.find(|c: char| !c.is_alphanumeric()).unwrap_or(after.len());
        says = format!("{before}an object{}", &after[end..]);
    }
    says
}

/// `invalid type: string "high", expected f64` as `expected a number, found "high"`.
fn of_types(says: &str) -> String {
    let kinds = [
        (&["f64", "f32"][..], "a number"),
        (&["u64", "u32", "u16", "u8", "usize", "NonZero"], "a whole number, not below 0"),
        (&["i64", "i32", "i16", "i8", "isize"], "a whole number"),
        (&["a boolean"], "true or false"),
    ];
    let found =
        ["invalid type: ", "invalid value: "].iter().find_map(|begin| says.strip_prefix(*begin));
    let Some((found, expected)) = found.and_then(|rest| rest.rsplit_once(", expected ")) else {
        return says.to_owned();
    };
    let found = found.strip_prefix("string ").unwrap_or(found);
    let of = kinds.iter().find(|(names, _)| names.iter().any(|name| expected.starts_with(name)));
    format!("expected {}, found {found}", of.map_or(expected, |(_, words)| *words))
}

/// The error of one parameter.
pub(crate) fn bad(job: &str, name: &str, problem: impl std::fmt::Display) -> Error {
    Error::user(Code::BadInput, format!("{job}: parameter {name:?}: {problem}"))
}

/// Fails where two outputs have one name, or one is what is read.
pub(crate) fn check_outputs(
    job: &str,
    outputs: &[(&str, &DatasetName)],
    inputs: &[DatasetName],
) -> Result<()> {
    for (at, (name, output)) in outputs.iter().enumerate() {
        if outputs[..at].iter().any(|(_, other)| other == output) {
            return Err(bad(job, name, format!("{output} is the name of another output")));
        }
        if inputs.contains(output) {
            return Err(bad(job, name, format!("{output} is what is read")));
        }
        // Results would take it from those who write such rows.
        if specs::by_name(output.as_str()).is_some() {
            let says = format!("{output} is a built-in dataset; expected another name");
            return Err(bad(job, name, says));
        }
    }
    Ok(())
}

/// Fails where there is no time between `from` and `to`.
pub(crate) fn check_times(
    job: &str,
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
) -> Result<()> {
    match (from, to) {
        (Some(from), Some(to)) if from >= to => {
            let says = format!("expected an instant after `from` ({from}), found {to}");
            Err(bad(job, "to", says))
        }
        _ => Ok(()),
    }
}

/// The parameters as JSON: every field, in the order of the struct.
pub(crate) fn canonical<P: Serialize>(params: &P) -> Result<Value> {
    serde_json::to_value(params).map_err(|e| Error::internal(format!("parameters as JSON: {e}")))
}

/// SHA-256 in hex of the parameters: what commits say of what they were made with.
pub(crate) fn digest<P: Serialize>(params: &P) -> Result<String> {
    let digest = Sha256::digest(canonical(params)?.to_string().as_bytes());
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The JSON schema of a parameter struct.
pub(crate) fn schema<P: JsonSchema>() -> Value {
    schemars::schema_for!(P).to_value()
}

/// The name of a dataset that is written in our own source.
pub(crate) fn dataset_name(name: &'static str) -> DatasetName {
    match DatasetName::new(name) {
        Ok(name) => name,
        Err(problem) => unreachable!("a name in the source: {problem}"),
    }
}

pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
