//! Definitions as a person writes them: a text in TOML with a table for each, such as `[[metric]]`.

use datasets::toml_problem;
use engine::{Code, Error, Result, did_you_mean};
use serde_json::{Map, Value};
use toml::Value as Toml;

use crate::pipelines::object;

/// Longest text of definitions.
pub const DEFINITIONS_TEXT_MAX_BYTES: usize = 256 << 10;
/// Definitions of one text.
const DEFINITIONS_MAX: usize = 500;

/// The tables `[[kind]]` of a text, each with its name and its other fields. `source` is where it is from, for what is said of it.
pub(crate) fn tables(
    text: &str,
    source: &str,
    kind: &str,
) -> Result<Vec<(String, Map<String, Value>)>> {
    let wrong = |says: String| Error::user(Code::BadInput, format!("{source}: {says}"));
    if text.len() > DEFINITIONS_TEXT_MAX_BYTES {
        let found = text.len();
        let says = format!("expected at most {DEFINITIONS_TEXT_MAX_BYTES} bytes, found {found}");
        return Err(wrong(says));
    }
    let mut read: toml::Table = toml::from_str(text).map_err(|e| wrong(toml_problem(text, &e)))?;
    let found = read.remove(kind).unwrap_or(Toml::Array(Vec::new()));
    if let Some(other) = read.keys().next() {
        return Err(wrong(format!("expected tables [[{kind}]] and nothing else, found {other:?}")));
    }
    let tables = match found {
        Toml::Array(tables) => tables,
        _ => return Err(wrong(format!("expected {kind} as tables [[{kind}]]"))),
    };
    if !(1..=DEFINITIONS_MAX).contains(&tables.len()) {
        let found = tables.len();
        let says = format!("expected 1 to {DEFINITIONS_MAX} tables [[{kind}]], found {found}");
        return Err(wrong(says));
    }
    let one = |(at, table): (usize, Toml)| {
        let Toml::Table(table) = table else {
            return Err(wrong(format!("expected {kind} as tables [[{kind}]]")));
        };
        let mut fields = object(table);
        match fields.remove("name") {
            Some(Value::String(name)) => Ok((name, fields)),
            _ => Err(wrong(format!("[[{kind}]] {}: expected a text as `name`", at + 1))),
        }
    };
    tables.into_iter().enumerate().map(one).collect()
}

/// The error for a name that nothing of its kind has; `lists` is the command that lists them.
pub(crate) fn unknown<'a>(
    kind: &str,
    name: &str,
    names: impl ExactSizeIterator<Item = &'a str>,
    lists: &str,
) -> Error {
    let count = names.len();
    let says = did_you_mean(name, names).unwrap_or_else(|| match count {
        0 => "there is none".to_owned(),
        count => format!("there are {count}, which `{lists}` lists"),
    });
    let shown: String = name.chars().take(80).collect();
    let says = format!("{kind} {shown:?}: there is no such {kind}; {says}");
    Error::user(Code::NotFound, says)
}

/// What ends an error over a name that is not among these: the one that was meant, where one is near.
pub(crate) fn meant<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> String {
    did_you_mean(name, names).map(|near| format!("; {near}")).unwrap_or_default()
}

/// Fails where two of `names` are the same.
pub(crate) fn require_different<'a>(
    kind: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Result<()> {
    let mut seen = std::collections::BTreeSet::new();
    match names.into_iter().find(|name| !seen.insert(*name)) {
        None => Ok(()),
        Some(name) => {
            let says = format!("{kind} {name}: there are two definitions of it");
            Err(Error::user(Code::BadInput, says))
        }
    }
}
