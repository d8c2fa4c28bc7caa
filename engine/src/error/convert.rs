//! Errors of the libraries, each mapped to who can mend it.
//!
//! A library's text goes into the message only where it speaks of what the user wrote (a query, a
//! file's content), and without places of the server; otherwise it stays in the source, for the log.

use std::error::Error as StdError;
use std::io;

use arrow::error::ArrowError;
use datafusion::common::{Column, SchemaError};
use datafusion::error::DataFusionError;
use datasets::did_you_mean;
use parquet::errors::ParquetError;

use super::{Code, Error, of_arguments, plain, scrub};
use crate::lake::table_failure;
use crate::storage::store_failure;

impl From<datasets::Error> for Error {
    fn from(error: datasets::Error) -> Self {
        use datasets::Error as E;
        match &error {
            E::Name { .. }
            | E::Spec { .. }
            | E::Malformed { .. }
            | E::Unreadable { .. }
            | E::Mismatch { .. } => Self::user(Code::BadInput, error.to_string()),
            E::Limit { .. } => Self::user(Code::LimitExceeded, error.to_string()),
            // The file is the user's own, named as the user named it.
            E::Io { error: io, .. } => match io.kind() {
                io::ErrorKind::NotFound => Self::user(Code::NotFound, error.to_string()),
                io::ErrorKind::PermissionDenied => Self::user(Code::Forbidden, error.to_string()),
                io::ErrorKind::IsADirectory | io::ErrorKind::InvalidInput => {
                    Self::user(Code::BadInput, error.to_string())
                }
                _ => {
                    let code = exhausted(&error).unwrap_or(Code::StorageUnavailable);
                    Self::environment(code, error.to_string(), error)
                }
            },
            E::Internal(_) => Self::bug("reading data", error),
        }
    }
}

impl From<kernels::Error> for Error {
    fn from(error: kernels::Error) -> Self {
        use kernels::{Error as E, ErrorKind};
        let message = match &error {
            // The file is one of the server's.
            E::Io { attempted, .. } => format!("{attempted} failed"),
            _ => error.to_string(),
        };
        match (&error, error.kind()) {
            (E::Cancelled { .. }, _) => Self::user(Code::Cancelled, message),
            (E::LimitExceeded { .. }, _) => Self::user(Code::LimitExceeded, message),
            (_, ErrorKind::User) => Self::user(Code::BadInput, message),
            (E::OutOfMemory { .. } | E::Threads { .. }, _) => {
                Self::environment(Code::ResourcesExhausted, message, error)
            }
            (_, ErrorKind::Environment) => {
                Self::environment(Code::DeviceUnavailable, message, error)
            }
            (_, ErrorKind::Bug) => Self::bug(message, error),
        }
    }
}

/// Of a function that no such values fit the planner says first that it is wrong itself.
fn no_such_call(error: &DataFusionError) -> Option<String> {
    let text = error.to_string();
    let is_mistaken = text.contains("bug in DataFusion") && text.contains("No function matches");
    is_mistaken.then(|| scrub(&plain(&text)))
}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        if let Some(ours) = find::<Self>(&error) {
            return ours.clone();
        }
        if let Some(code) = exhausted(&error) {
            return Self::environment(code, FULL, error);
        }
        if let Some(says) = no_such_call(&error) {
            return Self::user(Code::BadInput, format!("SQL: {says}"));
        }
        if let DataFusionError::Internal(text) = error.find_root()
            && let Some(says) = of_arguments(text)
        {
            return Self::user(Code::BadInput, says);
        }
        if spill_is_full(&error) {
            let message = "the query exceeded the disk budget for spills: `spill_limit`, or half of the free space at startup if that is less";
            return Self::environment(Code::ResourcesExhausted, message, error);
        }
        if let Some((code, message)) = table_failure(&error) {
            return Self::environment(code, message, error);
        }
        match error.find_root() {
            DataFusionError::ResourcesExhausted(text) => {
                // What each reader holds is told on lines of their own.
                let first = first_line(text);
                let told = first.split(" with top memory consumers").next().unwrap_or(first);
                let message = format!(
                    "the query needs more memory than its budget (`--memory` of the server or command): {}",
                    scrub(told)
                );
                Self::environment(Code::ResourcesExhausted, message, error)
            }
            DataFusionError::SQL(parser, _) => {
                let message = scrub(&parser.to_string().replace("sql parser error: ", ""));
                Self::user(Code::BadInput, format!("SQL: {message}"))
            }
            DataFusionError::SchemaError(schema, _) => {
                Self::user(Code::BadInput, scrub(&schema_message(schema)))
            }
            DataFusionError::NotImplemented(text) => {
                Self::user(Code::BadInput, scrub(&format!("SQL: {}", plain(text))))
            }
            DataFusionError::Plan(text)
            | DataFusionError::Configuration(text)
            | DataFusionError::Execution(text) => Self::user(Code::BadInput, scrub(&plain(text))),
            DataFusionError::External(pattern) if is_pattern_error(pattern.as_ref()) => {
                Self::user(Code::BadInput, scrub(&pattern.to_string()))
            }
            DataFusionError::ArrowError(arrow, _) => match arrow_problem(arrow) {
                Some(message) => Self::user(Code::BadInput, message),
                None => {
                    Self::environment(Code::StorageUnavailable, "reading the data failed", error)
                }
            },
            _ => {
                if let Some(message) = find::<ParquetError>(&error).and_then(filter_problem) {
                    return Self::user(Code::BadInput, message);
                }
                if let Some((code, message)) = store_failure(&error) {
                    return Self::environment(code, message, error);
                }
                if find::<ParquetError>(&error).is_some() {
                    let message = "a data file can not be read";
                    return Self::environment(Code::StorageUnavailable, message, error);
                }
                Self::bug("the query failed in a way that it should not", error)
            }
        }
    }
}

impl From<ArrowError> for Error {
    fn from(error: ArrowError) -> Self {
        if let Some(ours) = find::<Self>(&error) {
            return ours.clone();
        }
        if let Some(code) = exhausted(&error) {
            return Self::environment(code, FULL, error);
        }
        match arrow_problem(&error) {
            Some(message) => Self::user(Code::BadInput, message),
            None => Self::environment(Code::StorageUnavailable, "reading or writing failed", error),
        }
    }
}

impl From<ParquetError> for Error {
    fn from(error: ParquetError) -> Self {
        match exhausted(&error) {
            Some(code) => Self::environment(code, FULL, error),
            None => Self::environment(
                Code::StorageUnavailable,
                "reading or writing a data file failed",
                error,
            ),
        }
    }
}

pub(crate) const FULL: &str = "the disk or quota of the store is full; nothing was committed";

/// Whether a query came to the end of the disk space for spills. DataFusion says so in words only,
/// wrapped as an I/O error.
fn spill_is_full(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.source().is_none() {
            return error.to_string().contains("used disk space during the spilling process");
        }
        next = error.source();
    }
    false
}

/// RESOURCES_EXHAUSTED when a full disk or quota is at the bottom of `error`.
pub(crate) fn exhausted(error: &(dyn StdError + 'static)) -> Option<Code> {
    let full = |io: &io::Error| {
        matches!(io.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    };
    any::<io::Error>(error, &full).map(|_| Code::ResourcesExhausted)
}

/// The first error of type `E` in the chain of sources, `error` itself included.
pub(crate) fn find<'a, E: StdError + 'static>(
    error: &'a (dyn StdError + 'static),
) -> Option<&'a E> {
    any(error, &|_| true)
}

/// The first error of type `E` in the chain of sources that `fits`.
fn any<'a, E: StdError + 'static>(
    error: &'a (dyn StdError + 'static),
    fits: &dyn Fn(&E) -> bool,
) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>().filter(|found| fits(found)) {
            return Some(found);
        }
        // An io::Error names as its source what is behind the error that it was made from.
        if let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref)
            && let Some(found) = any::<E>(inner, fits)
        {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn schema_message(error: &SchemaError) -> String {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => no_such_column(field, valid_fields),
        SchemaError::AmbiguousReference { field } => {
            let name = &field.name;
            format!(
                "column {name:?} is one of several tables; write the table before it, as t.{name}"
            )
        }
        SchemaError::DuplicateQualifiedField { name, .. }
        | SchemaError::DuplicateUnqualifiedField { name } => {
            format!("there are two columns {name:?}; give one of them another name with AS")
        }
    }
}

/// Most column names in one message.
const NAMES_MAX: usize = 40;

fn no_such_column(field: &Column, valid: &[Column]) -> String {
    let written = |column: &Column| match &column.relation {
        Some(table) => format!("{}.{}", table.table(), column.name),
        None => column.name.clone(),
    };
    // A column can appear twice, with and without its table.
    let mut names: Vec<&str> = Vec::new();
    for column in valid {
        if !names.contains(&column.name.as_str()) {
            names.push(&column.name);
        }
    }
    let same: Vec<String> =
        valid.iter().filter(|column| column.name == field.name).map(written).collect();
    if let (Some(_), Some(same)) = (&field.relation, same.first()) {
        return format!("there is no column {:?}; did you mean {same}?", written(field));
    }
    if !same.is_empty() {
        return format!("column {:?} can not be used in this place of the query", field.name);
    }
    let near = did_you_mean(&field.name, names.iter().copied());
    let says = near.unwrap_or_else(|| match names.len() {
        0 => "no columns can be used in this place of the query".to_owned(),
        count => {
            let more = count.saturating_sub(NAMES_MAX);
            names.truncate(NAMES_MAX);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("columns are {}{more}", names.join(", "))
        }
    });
    format!("there is no column {:?}; {says}", field.name)
}

/// What the user's values did to an Arrow operation, when it was they.
fn arrow_problem(error: &ArrowError) -> Option<String> {
    match error {
        ArrowError::CastError(text)
        | ArrowError::ParseError(text)
        | ArrowError::ComputeError(text)
        | ArrowError::InvalidArgumentError(text)
        | ArrowError::SchemaError(text)
        | ArrowError::NotYetImplemented(text) => Some(scrub(&plain(text))),
        ArrowError::OffsetOverflowError(_) => Some(
            "the values of one column take more than 2 GiB in one batch; expected shorter values"
                .to_owned(),
        ),
        ArrowError::DictionaryKeyOverflowError => Some(
            "a dictionary has more values than its type of keys can number; expected one of more bits"
                .to_owned(),
        ),
        ArrowError::DivideByZero | ArrowError::ArithmeticOverflow(_) => {
            Some(scrub(&plain(&error.to_string())))
        }
        _ => None,
    }
}

/// Whether a regular expression is wrong: a query's, whose planner gives the error of its parser.
fn is_pattern_error(error: &(dyn StdError + Send + Sync + 'static)) -> bool {
    error.to_string().starts_with("regex parse error:")
}

/// What a condition did that is held against rows while they are read: the reader gives its error as words. Those of damaged
/// files are of other kinds.
fn filter_problem(error: &ParquetError) -> Option<String> {
    const KINDS: [&str; 4] =
        ["Compute error: ", "Divide by zero", "Arithmetic overflow: ", "Cast error: "];
    let text = match error {
        ParquetError::ArrowError(text) => text.clone(),
        ParquetError::External(error) => error.to_string(),
        _ => return None,
    };
    // The innermost, which may be quoted by those around it.
    let begins = KINDS.iter().filter_map(|kind| text.rfind(kind)).max()?;
    let text = first_line(&text[begins..]);
    if let Some(ours) = quoted_message(text, "message: \"") {
        return Some(scrub(&ours));
    }
    if let Some(inner) = quoted_message(text, "Error(\"") {
        return Some(scrub(&plain(&inner)));
    }
    Some(scrub(&plain(text.strip_suffix("\")").unwrap_or(text))))
}

/// The message after the last `begin`, where Rust quoted it as a debug value.
fn quoted_message(text: &str, begin: &str) -> Option<String> {
    let (_, rest) = text.rsplit_once(begin)?;
    let mut message = String::new();
    let mut letters = rest.chars();
    loop {
        match letters.next()? {
            '"' => return Some(message),
            '\\' => message.push(letters.next()?),
            letter => message.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_fails_while_rows_are_read_is_the_users() {
        let of = |text: &str| {
            let parquet = ParquetError::ArrowError(text.to_owned());
            Error::from(DataFusionError::ParquetError(Box::new(parquet)))
        };
        let regex =
            of("underlying Arrow error: Compute error: Regular expression did not compile: x");
        assert_eq!(regex.code(), Code::BadInput);
        assert!(regex.to_string().contains("did not compile"), "{regex}");
        assert_eq!(of("underlying Arrow error: Divide by zero error").code(), Code::BadInput);
        let damaged = of("underlying Arrow error: Invalid argument error: offsets");
        assert_eq!(damaged.code(), Code::StorageUnavailable);
    }

    #[test]
    fn an_error_of_ours_survives_the_way_through_datafusion() {
        let ours = Error::user(Code::NotFound, "dataset calls has no version 9");
        let back = Error::from(DataFusionError::External(Box::new(ours)).context("planning"));
        assert_eq!(back.code(), Code::NotFound);
        assert_eq!(back.to_string(), "dataset calls has no version 9");
    }

    #[test]
    fn what_no_device_does_is_the_askers_and_what_is_absent_is_not() {
        let (operation, reason) = ("ivf", "it runs on the CPU only".to_owned());
        let never: Error =
            kernels::Error::NoDevicePath { operation, reason: reason.clone() }.into();
        assert_eq!(never.code(), Code::BadInput);
        assert_eq!(never.to_string(), "ivf: gpu = required, but it runs on the CPU only");
        let absent: Error = kernels::Error::DeviceUnavailable { operation, reason }.into();
        assert_eq!(absent.code(), Code::DeviceUnavailable);
    }
}
