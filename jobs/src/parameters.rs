//! Parameters from JSON to a typed struct, with an error that names the field, and back to one
//! canonical text. Serde alone says what is wrong with a value but not whose value it is; since every
//! parameter of every kind has a default, each field can be tried by itself to learn that.

use datasets::DatasetName;
use engine::{Code, Error, Result};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

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
            return Err(bad(job, name, problem));
        }
    }
    serde_json::from_value(Value::Object(fields))
        .map_err(|problem| Error::user(Code::BadInput, format!("{job}: parameters: {problem}")))
}

/// The error of one parameter.
pub(crate) fn bad(job: &str, name: &str, problem: impl std::fmt::Display) -> Error {
    Error::user(Code::BadInput, format!("{job}: parameter {name:?}: {problem}"))
}

/// The parameters as JSON: every field, in the order of the struct.
pub(crate) fn canonical<P: Serialize>(params: &P) -> Result<Value> {
    serde_json::to_value(params).map_err(|e| Error::internal(format!("parameters as JSON: {e}")))
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
