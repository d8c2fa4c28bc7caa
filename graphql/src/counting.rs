//! The length of an answer, counted while it is made: every field, every item, every error, those of introspection too.
//!
//! An answer that is longer than one may be ends with one error. What computes for long gives way between two fields, so that a
//! request whose time is over ends there.

use std::future::pending;
use std::sync::Arc;

use async_graphql::async_trait::async_trait;
use async_graphql::extensions::{
    Extension, ExtensionContext, ExtensionFactory, NextExecute, NextResolve, ResolveInfo,
};
use async_graphql::{
    Context, PathSegment, QueryPathNode, QueryPathSegment, Response, ServerError, ServerResult,
    Value,
};
use tokio::task::yield_now;

use crate::plan::values::as_it_stands;
use crate::request::RequestState;

/// What a field or an item counts beside its key and its text: many small ones take more room while they are held than as JSON.
const FIELD_BYTES: usize = 32;
/// The same of a value inside a list or document that is shown as it is, and of a number there with its digits.
const VALUE_BYTES: usize = 24;
/// The same of an error.
const ERROR_BYTES: usize = 256;

/// Counts for the request's [`RequestState`].
pub(crate) struct Counting;

impl ExtensionFactory for Counting {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Self)
    }
}

#[async_trait]
impl Extension for Counting {
    async fn execute(
        &self,
        context: &ExtensionContext<'_>,
        operation_name: Option<&str>,
        next: NextExecute<'_>,
    ) -> Response {
        match context.data::<Arc<RequestState>>() {
            // Somebody who asks the same was told, and what that was is there.
            Ok(state) if state.is_told() => Response::new(Value::Null),
            _ => next.run(context, operation_name).await,
        }
    }

    async fn resolve(
        &self,
        context: &ExtensionContext<'_>,
        info: ResolveInfo<'_>,
        next: NextResolve<'_>,
    ) -> ServerResult<Option<Value>> {
        let is_item = info.parent_type.starts_with('[');
        let is_shown = info.field.selection_set.node.items.is_empty();
        let state = match context.data::<Arc<RequestState>>() {
            // Items that are shown were counted with their list.
            Ok(state) if !(is_item && is_shown) => state,
            _ => return next.run(context, info).await,
        };
        if state.is_to_give_way() {
            yield_now().await;
        }
        let mut bytes = FIELD_BYTES;
        if !is_item {
            bytes += info.alias.unwrap_or(info.name).len();
        }
        if !is_shown && !info.return_type.starts_with('[') {
            bytes += state.typename_bytes();
        }
        if !is_shown
            && !is_item
            && let Some(rows) = state.ready_rows(info.path_node)
        {
            // They were counted while they were written.
            counted(state, bytes).await;
            return Ok(Some(as_it_stands(rows)));
        }
        if !is_shown {
            counted(state, bytes).await;
        }
        let node = info.path_node;
        let value = next.run(context, info).await;
        match &value {
            Ok(Some(value)) if is_shown => counted(state, bytes + bytes_of(value)).await,
            Ok(None) if is_shown => counted(state, bytes).await,
            Ok(_) => {}
            Err(error) => {
                counted(state, error_bytes(error)).await;
                state.note_failed(&with_path(error, node), false);
            }
        }
        value
    }
}

/// An error with the place of the field that failed.
fn with_path(error: &ServerError, node: &QueryPathNode<'_>) -> ServerError {
    let mut error = error.clone();
    if error.path.is_empty() {
        let parts = std::iter::once(node).chain(node.parents()).map(|node| match node.segment {
            QueryPathSegment::Index(at) => PathSegment::Index(at),
            QueryPathSegment::Name(name) => PathSegment::Field(name.to_owned()),
        });
        error.path = parts.collect();
        error.path.reverse();
    }
    error
}

/// Counts an error that is told beside the data.
pub(crate) async fn counted_error(context: &Context<'_>, error: &ServerError) {
    if let Ok(state) = context.data::<Arc<RequestState>>() {
        counted(state, error_bytes(error)).await;
        state.note_failed(error, true);
    }
}

/// Returns when there is room. Where there is none, the answer ends elsewhere.
pub(crate) async fn counted(state: &RequestState, bytes: usize) {
    if !state.counts(bytes) {
        pending().await
    }
}

fn error_bytes(error: &ServerError) -> usize {
    ERROR_BYTES + error.message.len()
}

/// Bytes that a text has more as JSON than it has.
fn escaped_bytes(text: &str) -> usize {
    let more = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 1,
        0..0x20 => 5,
        _ => 0,
    };
    text.bytes().map(more).sum()
}

/// Bytes of a value as JSON, roughly.
fn bytes_of(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + escaped_bytes(text),
        Value::List(items) => items.iter().map(|item| VALUE_BYTES + bytes_of(item)).sum(),
        Value::Object(fields) => {
            fields.iter().map(|(name, v)| name.len() + VALUE_BYTES + bytes_of(v)).sum()
        }
        Value::Enum(name) => name.len(),
        Value::Binary(bytes) => bytes.len(),
        Value::Null | Value::Number(_) | Value::Boolean(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_counted_as_not_less_than_its_json() {
        let awkward: String = (0..128u8).map(char::from).chain("äöü€".chars()).collect();
        let numbers = vec![Value::from(-1.234567890123457e-300), Value::from(i64::MIN)];
        for value in [Value::from(awkward.as_str()), Value::from(vec![true; 9]), numbers.into()] {
            let json = value.clone().into_json().map(|json| json.to_string().len());
            let counted = FIELD_BYTES + bytes_of(&value);
            assert!(
                json.is_ok_and(|bytes| (bytes..=5 * bytes + 64).contains(&counted)),
                "{counted}: {value}"
            );
        }
        assert_eq!(escaped_bytes("a\"\n\u{1}é"), 7);
    }
}
