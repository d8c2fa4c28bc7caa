//! What an error of the Delta library means to a user.

use std::error::Error as StdError;

use deltalake_core::kernel::transaction::TransactionError;
use deltalake_core::{DeltaTableError, kernel as delta};

use crate::error::{Code, Error, FULL, exhausted, find, scrub};
use crate::storage::{STORE_FAILED, store_failure};

/// The table's failure at the bottom of `error`, when there is one: its code and words without places.
pub(crate) fn table_failure(error: &(dyn StdError + 'static)) -> Option<(Code, String)> {
    find::<DeltaTableError>(error).map(words)
}

impl From<DeltaTableError> for Error {
    fn from(error: DeltaTableError) -> Self {
        if let Some(code) = exhausted(&error) {
            return Self::environment(code, FULL, error);
        }
        match error {
            DeltaTableError::ObjectStore { source } => source.into(),
            DeltaTableError::Kernel { source: delta::Error::ObjectStore(source) } => source.into(),
            DeltaTableError::Transaction { source: TransactionError::ObjectStore { source } } => {
                source.into()
            }
            other => {
                let (code, message) = words(&other);
                Self::environment(code, message, other)
            }
        }
    }
}

fn words(error: &DeltaTableError) -> (Code, String) {
    match error {
        DeltaTableError::Transaction {
            source: TransactionError::UnsupportedTableFeatures(features),
        } => {
            let features: Vec<String> = features.iter().map(ToString::to_string).collect();
            let message = format!(
                "the table needs Delta features that are not supported: {}",
                features.join(", ")
            );
            (Code::BadInput, message)
        }
        DeltaTableError::VersionAlreadyExists(version) => {
            (Code::Conflict, format!("another writer committed version {version} first"))
        }
        DeltaTableError::NotATable(_) => {
            (Code::NotFound, "there is no Delta table here".to_owned())
        }
        DeltaTableError::UnsupportedColumnMapping { .. }
        | DeltaTableError::SchemaMismatch { .. }
        | DeltaTableError::InvalidData { .. } => (Code::BadInput, scrub(&error.to_string())),
        // A store that failed stands somewhere below; anything else is a broken table.
        _ => match store_failure(error) {
            Some(failure) => failure,
            None => (Code::StorageUnavailable, unreadable(error)),
        },
    }
}

fn unreadable(error: &DeltaTableError) -> String {
    let core = core(error);
    // The kernel says so in words only.
    if core.starts_with("Error interacting with object store") {
        return STORE_FAILED.to_owned();
    }
    format!("the table is not readable: {core}")
}

/// What the library says, without its wrappings and without the dumps of its own values.
fn core(error: &DeltaTableError) -> String {
    const WRAPPINGS: [&str; 3] =
        ["Kernel error: ", "Generic DeltaTable error: ", "Generic delta kernel error: "];
    let mut text = error.to_string();
    for wrapping in WRAPPINGS {
        text = text.replace(wrapping, "");
    }
    let end = text.find(" ParsedLogPath {").unwrap_or(text.len());
    scrub(text[..end].trim_end_matches(':'))
}

impl From<TransactionError> for Error {
    fn from(error: TransactionError) -> Self {
        DeltaTableError::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use arrow::error::ArrowError;
    use datafusion::error::DataFusionError;
    use object_store::Error as StoreError;
    use parquet::errors::ParquetError;

    use super::*;

    fn leaks(error: &Error) -> bool {
        ["/srv", "secret", "s3://"].iter().any(|place| error.to_string().contains(place))
    }

    #[test]
    fn no_message_holds_a_place_of_the_server() {
        let io = || io::Error::other("/srv/data/acme: broken pipe");
        let store = || StoreError::Generic { store: "Local", source: Box::new(io()) };
        let missing = || StoreError::NotFound {
            path: "/srv/data/acme/calls".into(),
            source: "s3://key:secret@bucket".into(),
        };
        let errors: Vec<Error> = vec![
            store().into(),
            missing().into(),
            DeltaTableError::ObjectStore { source: store() }.into(),
            DeltaTableError::Generic("Local path /srv/data/x does not exist".into()).into(),
            DeltaTableError::NotATable("/srv/data/acme is empty".into()).into(),
            DeltaTableError::InvalidTableLocation("s3://key:secret@bucket".into()).into(),
            DataFusionError::ObjectStore(Box::new(missing())).into(),
            DataFusionError::Execution("could not open /srv/data/x: denied".into()).into(),
            DataFusionError::External(Box::new(store())).into(),
            ArrowError::IoError("/srv/data/x".into(), io()).into(),
            ArrowError::ExternalError(Box::new(store())).into(),
            ParquetError::External(Box::new(store())).into(),
        ];
        for error in errors {
            assert!(!leaks(&error), "{error}");
        }
    }

    #[test]
    fn a_full_disk_is_told_as_such_from_any_depth() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let store = StoreError::Generic { store: "Local", source: Box::new(full()) };
        let nested = DataFusionError::External(Box::new(ParquetError::External(Box::new(store))));
        assert_eq!(Error::from(nested).code(), Code::ResourcesExhausted);
    }
}
