//! What an error of the Delta library means to a user.

use deltalake_core::kernel::transaction::TransactionError;
use deltalake_core::{DeltaTableError, kernel as delta};

use crate::error::{Code, Error, FULL, exhausted, scrub};
use crate::storage::store_failure;

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
            DeltaTableError::Transaction {
                source: TransactionError::UnsupportedTableFeatures(features),
            } => Self::user(
                Code::BadInput,
                format!("the table needs Delta features that are not supported: {features:?}"),
            ),
            DeltaTableError::VersionAlreadyExists(version) => Self::user(
                Code::Conflict,
                format!("another writer committed version {version} first"),
            ),
            DeltaTableError::NotATable(_) => {
                Self::user(Code::NotFound, "there is no Delta table here")
            }
            DeltaTableError::UnsupportedColumnMapping { .. }
            | DeltaTableError::SchemaMismatch { .. }
            | DeltaTableError::InvalidData { .. } => {
                let message = scrub(&error.to_string());
                Self::user(Code::BadInput, message)
            }
            other => {
                // A store that failed stands somewhere below; anything else is a broken table.
                if let Some(message) = store_failure(&other) {
                    return Self::environment(Code::StorageUnavailable, message, other);
                }
                let message = format!("the table is not readable: {}", scrub(&other.to_string()));
                Self::environment(Code::StorageUnavailable, message, other)
            }
        }
    }
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
