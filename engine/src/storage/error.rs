//! What a store's error means to a user.

use std::error::Error as StdError;
use std::io;

use object_store::Error as StoreError;

use crate::error::{Code, Error, FULL, exhausted, find, scrub};

/// What is said of a store that fails for reasons of its own.
pub(crate) const STORE_FAILED: &str = "the store failed";

/// Longest message of a store that is passed on, in characters.
const REASON_MAX: usize = 300;

/// Error codes by which stores reject credentials, whatever the HTTP status. Retries do not help.
const NOT_ADMITTED: [&str; 14] = [
    "AccessDenied",
    "AccountIsDisabled",
    "AuthenticationFailed",
    "AuthorizationFailure",
    "AuthorizationHeaderMalformed",
    "AuthorizationPermissionMismatch",
    "ExpiredToken",
    "InsufficientAccountPermissions",
    "InvalidAccessKeyId",
    "InvalidAuthenticationInfo",
    "InvalidSecurity",
    "InvalidToken",
    "NoAuthenticationInformation",
    "SignatureDoesNotMatch",
];

/// The store's failure at the bottom of `error`, if any: its code and message, without paths.
pub(crate) fn store_failure(error: &(dyn StdError + 'static)) -> Option<(Code, String)> {
    find::<StoreError>(error).map(words)
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

fn words(error: &StoreError) -> (Code, String) {
    let reason = reason_of(error);
    let (code, says) = known(error, reason.as_ref().map(|(code, _)| code.as_str()));
    let says = match reason {
        // Callers tell a failure from damage by this suffix.
        Some((code, message)) if says != STORE_FAILED => format!("{says} ({code}: {message})"),
        Some((code, message)) => format!("the store answered {code}: {message}; {STORE_FAILED}"),
        None => says.to_owned(),
    };
    (code, says)
}

fn known(error: &StoreError, reason: Option<&str>) -> (Code, &'static str) {
    const DENIED: &str = "the store refuses access: permission denied";
    const UNKNOWN: &str = "the store refuses access: credentials are not valid";
    match error {
        StoreError::AlreadyExists { .. } | StoreError::Precondition { .. } => {
            (Code::Conflict, "another writer came first")
        }
        StoreError::Unauthenticated { .. } => (Code::Forbidden, UNKNOWN),
        StoreError::PermissionDenied { .. } => (
            Code::Forbidden,
            match reason {
                None | Some("AccessDenied") => DENIED,
                Some(_) => UNKNOWN,
            },
        ),
        _ if reason.is_some_and(|reason| NOT_ADMITTED.contains(&reason)) => {
            (Code::Forbidden, UNKNOWN)
        }
        StoreError::NotFound { .. } if reason == Some("NoSuchBucket") => {
            (Code::StorageUnavailable, "there is no such bucket")
        }
        StoreError::NotFound { .. } => {
            (Code::StorageUnavailable, "the store lacks an object that the table refers to")
        }
        StoreError::NotSupported { .. }
        | StoreError::NotImplemented { .. }
        | StoreError::UnknownConfigurationKey { .. } => {
            (Code::StorageUnavailable, "the store does not support this operation")
        }
        _ if find::<io::Error>(error)
            .is_some_and(|e| e.kind() == io::ErrorKind::PermissionDenied) =>
        {
            (Code::StorageUnavailable, DENIED)
        }
        _ => (Code::StorageUnavailable, STORE_FAILED),
    }
}

/// The code and message in the store's own answer, if the error contains one.
fn reason_of(error: &StoreError) -> Option<(String, String)> {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    let mut found = None;
    while let Some(error) = next {
        found = store_answer(&error.to_string()).or(found);
        next = error.source();
    }
    found
}

/// The code and message in the XML or JSON of a text, as S3, Azure and Google answer.
pub(crate) fn store_answer(text: &str) -> Option<(String, String)> {
    let between = |open: &str, close: &str| {
        let (_, rest) = text.split_once(open)?;
        let (inside, _) = rest.split_once(close)?;
        Some(inside.trim().to_owned())
    };
    let (code, message) = match between("<Code>", "</Code>") {
        Some(code) => (code, between("<Message>", "</Message>").unwrap_or_default()),
        None => (between("\"status\": \"", "\"")?, between("\"message\": \"", "\"")?),
    };
    let is_word = !code.is_empty() && code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let message = message.lines().next().unwrap_or_default();
    let message: String = unescaped(message).chars().take(REASON_MAX).collect();
    is_word.then(|| (code, scrub(&message)))
}

fn unescaped(text: &str) -> String {
    let escapes = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")];
    escapes.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: &str, body: &str) -> Box<dyn StdError + Send + Sync> {
        let text = format!(
            "Error performing PUT http://127.0.0.1:5555/bucket/key in 3ms - Server returned non-2xx status code: {status}: {body}"
        );
        Box::new(io::Error::other(text))
    }

    fn s3(code: &str, message: &str) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message>\
             <AWSAccessKeyId>SECRETKEY</AWSAccessKeyId></Error>"
        )
    }

    #[test]
    fn errors_state_the_reason_and_wrong_credentials_are_not_retried() {
        let denied = |code: &str| StoreError::PermissionDenied {
            path: "key".to_owned(),
            source: answered(
                "403 Forbidden",
                &s3(code, "The key you provided &amp; sent is not known."),
            ),
        };
        for code in ["InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied"] {
            let error = Error::from(denied(code));
            assert_eq!(error.code(), Code::Forbidden, "{error}");
            let says = error.to_string();
            let reason = format!("({code}: The key you provided & sent is not known.)");
            assert!(
                says.starts_with("the store refuses access: ") && says.ends_with(&reason),
                "{says}"
            );
            assert!(!says.contains("SECRETKEY") && !says.contains("127.0.0.1"), "{says}");
        }
        let expired = StoreError::Generic {
            store: "S3",
            source: answered(
                "400 Bad Request",
                &s3("ExpiredToken", "The provided token has expired."),
            ),
        };
        let error = Error::from(expired);
        assert_eq!(error.code(), Code::Forbidden, "{error}");
        assert!(error.to_string().contains("The provided token has expired."), "{error}");
    }

    #[test]
    fn a_busy_store_is_retried() {
        let busy = StoreError::Generic {
            store: "S3",
            source: answered(
                "503 Service Unavailable",
                &s3("SlowDown", "Please reduce your request rate."),
            ),
        };
        let error = Error::from(busy);
        assert_eq!(error.code(), Code::StorageUnavailable);
        let expected =
            "the store answered SlowDown: Please reduce your request rate.; the store failed";
        assert_eq!(error.to_string(), expected);
        let silent = StoreError::Generic { store: "S3", source: answered("500", "") };
        assert_eq!(Error::from(silent).to_string(), STORE_FAILED);
    }

    #[test]
    fn a_command_shows_an_answer_in_one_line() {
        let body = s3("NoSuchBucket", "The specified bucket does not exist");
        let absent =
            StoreError::NotFound { path: "key".to_owned(), source: answered("404", &body) };
        let error = Error::from(absent);
        assert_eq!(error.code(), Code::StorageUnavailable);
        let detail = error.detail();
        assert!(!detail.contains("<?xml") && !detail.contains('\n'), "{detail}");
        assert!(detail.contains("NoSuchBucket: The specified bucket does not exist"), "{detail}");
    }
}
