//! The little that every resolver needs: its arguments as values, and errors that leave the rest of
//! the answer standing.

use std::any::Any;
use std::future::Future;
use std::sync::Arc;

use async_graphql::dynamic::{Field, FieldFuture, FieldValue, ResolverContext, TypeRef};
use async_graphql::{Context, Value};
use engine::{Error, Result};

use crate::counting::counted_error;
use crate::error::to_graphql;
use crate::request::RequestState;

/// The request that a resolver works for.
pub(crate) fn state<'a>(context: &Context<'a>) -> Result<&'a Arc<RequestState>> {
    context.data::<Arc<RequestState>>().map_err(|_| Error::internal("a request without its state"))
}

/// An argument, `None` when absent or null.
pub(crate) fn argument(context: &ResolverContext<'_>, name: &str) -> Option<Value> {
    context
        .args
        .get(name)
        .map(|value| value.as_value().clone())
        .filter(|value| *value != Value::Null)
}

/// A text argument.
pub(crate) fn text_argument(context: &ResolverContext<'_>, name: &str) -> Option<String> {
    match argument(context, name) {
        Some(Value::String(text)) => Some(text),
        Some(Value::Enum(name)) => Some(name.to_string()),
        _ => None,
    }
}

/// The answer of a field that may be null: an error makes it null and is told beside the data, so
/// that the other fields of the request are answered.
pub(crate) fn nullable<'a, T>(
    context: &'a Context<'a>,
    future: impl Future<Output = Result<Option<T>>> + Send + 'a,
) -> FieldFuture<'a>
where
    T: Into<FieldValue<'a>> + Send,
{
    FieldFuture::new(async move {
        let result = match state(context) {
            Ok(state) => state.recorded(context, state.pace().keeps(future)).await,
            Err(error) => Err(error),
        };
        match result {
            Ok(value) => Ok(value.map(Into::into)),
            Err(error) => {
                let error = to_graphql(&error).into_server_error(context.item.pos);
                let error = context.set_error_path(error);
                counted_error(context, &error).await;
                context.add_error(error);
                Ok(None::<FieldValue<'a>>)
            }
        }
    })
}

/// A field that shows a part of a value of type `T`.
pub(crate) fn part<T: Any + Send + Sync>(
    name: impl Into<String>,
    kind: TypeRef,
    show: impl Fn(&T) -> Result<Value> + Send + Sync + 'static,
) -> Field {
    Field::new(name, kind, move |context| {
        match context.parent_value.try_downcast_ref::<T>().map(&show) {
            Ok(Ok(Value::Null)) => FieldFuture::Value(None),
            Ok(Ok(value)) => FieldFuture::from_value(Some(value)),
            Ok(Err(error)) => failed(to_graphql(&error)),
            Err(error) => failed(error),
        }
    })
}

/// A field that holds an object made from a value of type `T`.
pub(crate) fn object<T: Any + Send + Sync, U: Any + Send + Sync>(
    name: impl Into<String>,
    kind: TypeRef,
    make: impl Fn(&T) -> U + Send + Sync + 'static,
) -> Field {
    Field::new(name, kind, move |context| match context.parent_value.try_downcast_ref::<T>() {
        Ok(parent) => FieldFuture::Value(Some(FieldValue::owned_any(make(parent)))),
        Err(error) => failed(error),
    })
}

/// A field that holds a list of objects made from a value of type `T`.
pub(crate) fn objects<T: Any + Send + Sync, U: Any + Send + Sync>(
    name: impl Into<String>,
    kind: TypeRef,
    make: impl Fn(&T) -> Vec<U> + Send + Sync + 'static,
) -> Field {
    Field::new(name, kind, move |context| match context.parent_value.try_downcast_ref::<T>() {
        Ok(parent) => FieldFuture::Value(Some(FieldValue::list(
            make(parent).into_iter().map(FieldValue::owned_any),
        ))),
        Err(error) => failed(error),
    })
}

type FieldResult<'a> = async_graphql::Result<Option<FieldValue<'a>>>;

fn failed<'a>(error: async_graphql::Error) -> FieldFuture<'a> {
    FieldFuture::new(async move { FieldResult::<'a>::Err(error) })
}
