//! What a store's error means to a user.

use std::error::Error as StdError;
use std::io;

use object_store::Error as StoreError;

use crate::error::{Code, Error, FULL, exhausted, find};

/// What is said of a store that fails for reasons of its own.
pub(crate) const STORE_FAILED: &str = "the store failed";

/// The store's failure at the bottom of `error`, when there is one, in words without places.
pub(crate) fn store_failure(error: &(dyn StdError + 'static)) -> Option<&'static str> {
    find::<StoreError>(error).map(|store| words(store).1)
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        if let Some(code) = exhausted(&error) {
            return Self::environment(code, FULL, error);
        }
        let (code, message) = words(&error);
        Self::environment(code, message, error)
    }
}

fn words(error: &StoreError) -> (Code, &'static str) {
    match error {
        StoreError::NotFound { .. } => {
            (Code::StorageUnavailable, "the store lacks an object that the table refers to")
        }
        StoreError::AlreadyExists { .. } | StoreError::Precondition { .. } => {
            (Code::Conflict, "another writer came first")
        }
        StoreError::PermissionDenied { .. } => {
            (Code::StorageUnavailable, "the store refuses access: permission denied")
        }
        StoreError::Unauthenticated { .. } => {
            (Code::StorageUnavailable, "the store refuses access: credentials are not valid")
        }
        StoreError::NotSupported { .. }
        | StoreError::NotImplemented { .. }
        | StoreError::UnknownConfigurationKey { .. } => {
            (Code::StorageUnavailable, "the store does not support this operation")
        }
        _ if find::<io::Error>(error)
            .is_some_and(|e| e.kind() == io::ErrorKind::PermissionDenied) =>
        {
            (Code::StorageUnavailable, "the store refuses access: permission denied")
        }
        _ => (Code::StorageUnavailable, STORE_FAILED),
    }
}
