//! Trusted documents: texts that were read before anybody asks, by their ids. A server may take these alone.
//!
//! Ids come with a request as `documentId` (GraphQL over HTTP, appendix on persisted documents) or as
//! `extensions.persistedQuery.sha256Hash`, which clients of Apollo send. No request adds one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_graphql::parser::parse_query;
use async_graphql::{Request, Value};
use engine::{Code, Error, Result};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::error::bad_input;
use crate::guard::{text, without_query};
use crate::limits::Limits;

/// Where a request has the id of its document, among its extensions.
pub(crate) const DOCUMENT_ID: &str = "documentId";
/// The extension of Apollo's clients, and what in it is the id.
const PERSISTED: (&str, &str) = ("persistedQuery", "sha256Hash");
/// Most documents.
const DOCUMENTS_MAX: usize = 100_000;
/// What an id may begin with that is a hash.
const HASH_PREFIX: &str = "sha256:";

/// The documents.
#[derive(Clone, Debug, Default)]
pub struct TrustedDocuments(Arc<Trusted>);

#[derive(Debug, Default)]
struct Trusted {
    by_id: HashMap<String, Arc<str>>,
    texts: HashSet<Arc<str>>,
    only: bool,
}

/// What tools write: relay-compiler and graphql-codegen an object of texts by id, Apollo's a list.
#[derive(Deserialize)]
#[serde(untagged)]
enum Manifest {
    Apollo { operations: Vec<Operation> },
    ById(HashMap<String, String>),
}

#[derive(Deserialize)]
struct Operation {
    id: String,
    body: String,
}

impl TrustedDocuments {
    /// Those of a manifest, whose name is `file`; `only`: no others are taken. BAD_INPUT for one that no request could be.
    pub fn read(text: &str, file: &str, only: bool) -> Result<Self> {
        let bad = |problem: String| bad_input(format!("trusted documents in {file}: {problem}"));
        let manifest: Manifest = serde_json::from_str(text).map_err(|error| {
            bad(format!(
                "expected an object of documents by id, or {{\"operations\": [{{\"id\", \"body\"}}]}}: {error}"
            ))
        })?;
        let documents: Vec<(String, String)> = match manifest {
            Manifest::ById(by_id) => by_id.into_iter().collect(),
            Manifest::Apollo { operations } => {
                operations.into_iter().map(|operation| (operation.id, operation.body)).collect()
            }
        };
        if documents.is_empty() || documents.len() > DOCUMENTS_MAX {
            let found = documents.len();
            return Err(bad(format!("expected 1 to {DOCUMENTS_MAX} documents, found {found}")));
        }
        let mut trusted = Trusted { only, ..Trusted::default() };
        let limits = Limits::default();
        for (id, body) in documents {
            let read = text::check(&body, &limits).map_err(|error| error.to_string());
            let read = read.and_then(|()| parse_query(&body).map_err(|error| error.to_string()));
            read.map_err(|error| bad(format!("document {id:?}: {error}")))?;
            let body: Arc<str> = body.into();
            trusted.texts.insert(body.clone());
            let id = id.strip_prefix(HASH_PREFIX).map_or(id.clone(), str::to_owned);
            if trusted.by_id.insert(id.clone(), body).is_some() {
                return Err(bad(format!("document {id:?} is there twice")));
            }
        }
        Ok(Self(Arc::new(trusted)))
    }

    /// Puts the text into a request that has an id. Fails for one that is not known, and where only trusted documents are taken for any
    /// other text.
    pub(crate) fn resolve(&self, request: &mut Request) -> Result<()> {
        let persisted = persisted_hash(request).map(str::to_owned);
        let is_empty = request.query.trim().is_empty();
        match (document_id(request)?, persisted) {
            (Some(_), _) if !is_empty => {
                return Err(bad_input("expected `query` or `documentId`, found both"));
            }
            (Some(id), _) => {
                let bare = id.strip_prefix(HASH_PREFIX).unwrap_or(id);
                let known = self.0.by_id.get(bare);
                request.query = known.ok_or_else(|| unknown(id))?.to_string();
            }
            (None, Some(hash)) if is_empty => {
                let known = self.0.by_id.get(&hash);
                // By these words, clients of Apollo know that they are to send the text.
                let not_found = || Error::user(Code::NotFound, "PersistedQueryNotFound");
                request.query = known.ok_or_else(not_found)?.to_string();
            }
            (None, Some(hash)) => {
                let found = format!("{:x}", Sha256::digest(&request.query));
                if !hash.eq_ignore_ascii_case(&found) {
                    return Err(bad_input(format!(
                        "extensions.persistedQuery.sha256Hash: expected {found}, which is that of `query`"
                    )));
                }
            }
            (None, None) if is_empty => return Err(without_query()),
            (None, None) => {}
        }
        if self.0.only && !self.0.texts.contains(request.query.as_str()) {
            return Err(Error::user(
                Code::Forbidden,
                "this server takes trusted documents alone; expected `documentId` with the id of one, or the text of one as it was written \
                 down",
            ));
        }
        Ok(())
    }
}

/// Whether a request says by an id what it asks.
pub(crate) fn names_document(request: &Request) -> bool {
    request.extensions.0.contains_key(DOCUMENT_ID) || persisted_hash(request).is_some()
}

fn document_id(request: &Request) -> Result<Option<&str>> {
    match request.extensions.0.get(DOCUMENT_ID) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(id)) => Ok(Some(id)),
        Some(_) => Err(bad_input("documentId: expected a text")),
    }
}

fn persisted_hash(request: &Request) -> Option<&str> {
    match request.extensions.0.get(PERSISTED.0)? {
        Value::Object(fields) => match fields.get(PERSISTED.1)? {
            Value::String(hash) => Some(hash),
            _ => None,
        },
        _ => None,
    }
}

fn unknown(id: &str) -> Error {
    let shown: String = id.chars().take(80).collect();
    Error::user(
        Code::NotFound,
        format!(
            "documentId: no trusted document has the id {shown:?}; the setting documents.trusted names the file of all"
        ),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TEXT: &str = "{ datasets { name } }";

    fn manifest(only: bool) -> TrustedDocuments {
        let text =
            format!("{{\"sha256:{:x}\": {TEXT:?}, \"named\": {TEXT:?}}}", Sha256::digest(TEXT));
        TrustedDocuments::read(&text, "m.json", only).unwrap()
    }

    fn asked(query: &str, extensions: serde_json::Value) -> Request {
        let text = serde_json::json!({"query": query, "extensions": extensions});
        serde_json::from_value(text).unwrap()
    }

    fn resolved(documents: &TrustedDocuments, mut request: Request) -> Result<String, String> {
        documents.resolve(&mut request).map_err(|error| error.to_string())?;
        Ok(request.query)
    }

    #[test]
    fn a_document_is_found_by_each_of_its_ids() {
        let documents = manifest(true);
        let hash = format!("{:x}", Sha256::digest(TEXT));
        for extensions in [
            serde_json::json!({"documentId": "named"}),
            serde_json::json!({"documentId": hash}),
            serde_json::json!({"documentId": format!("sha256:{hash}")}),
            serde_json::json!({"persistedQuery": {"version": 1, "sha256Hash": hash}}),
        ] {
            assert_eq!(resolved(&documents, asked("", extensions)).unwrap(), TEXT);
        }
        assert_eq!(resolved(&documents, asked(TEXT, serde_json::json!({}))).unwrap(), TEXT);
    }

    #[test]
    fn what_is_not_trusted_is_refused() {
        let documents = manifest(true);
        let says = |query, extensions| resolved(&documents, asked(query, extensions)).unwrap_err();
        let other = "{ datasets { rows } }";
        assert!(says(other, serde_json::json!({})).contains("trusted documents alone"));
        let hash = format!("{:x}", Sha256::digest(other));
        let persisted = serde_json::json!({"persistedQuery": {"sha256Hash": hash}});
        assert!(says(other, persisted.clone()).contains("trusted documents alone"));
        assert_eq!(says("", persisted), "PersistedQueryNotFound");
        assert!(says("", serde_json::json!({"documentId": "x"})).contains("\"x\""));
        assert!(says(TEXT, serde_json::json!({"documentId": "named"})).contains("found both"));
        assert!(says("", serde_json::json!({"documentId": 7})).contains("expected a text"));
        let wrong = serde_json::json!({"persistedQuery": {"sha256Hash": "00"}});
        assert!(says(TEXT, wrong).contains("expected"));
        // Where others are taken, too, they are.
        assert_eq!(resolved(&manifest(false), asked(other, serde_json::json!({}))).unwrap(), other);
    }

    #[test]
    fn a_manifest_is_one_of_two_forms_and_of_documents() {
        let apollo = r#"{"format": "apollo-persisted-query-manifest", "version": 1,
            "operations": [{"id": "a", "name": "A", "type": "query", "body": "query A { __typename }"}]}"#;
        let documents = TrustedDocuments::read(apollo, "m.json", true).unwrap();
        let found = resolved(&documents, asked("", serde_json::json!({"documentId": "a"})));
        assert_eq!(found.unwrap(), "query A { __typename }");
        for (text, says) in [
            ("[]", "expected an object of documents by id"),
            ("{}", "found 0"),
            (r#"{"a": "{ unclosed"}"#, "document \"a\""),
            (r#"{"a": "{ b }", "sha256:a": "{ b }"}"#, "there twice"),
        ] {
            let error = TrustedDocuments::read(text, "m.json", true).unwrap_err().to_string();
            assert!(error.contains(says) && error.contains("m.json"), "{error}");
        }
    }
}
