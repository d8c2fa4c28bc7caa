//! `catalogChanged`: datasets that came, went or changed, pushed when it happens.

use async_graphql::Value;
use async_graphql::dynamic::{
    FieldValue, Object, SubscriptionField, SubscriptionFieldFuture, TypeRef,
};
use engine::Role;
use futures::StreamExt;

use super::super::resolve::{objects, part, state};
use super::datasets::Dataset;
use crate::error::to_graphql;
use crate::subscribe::catalog::{CatalogChange, catalog_changes};

/// `CatalogUpdate`.
pub(crate) fn changed_type() -> Object {
    let datasets = || TypeRef::named_nn_list_nn("Dataset");
    let of = |entries: &[engine::DatasetEntry]| entries.iter().map(Dataset::new).collect();
    Object::new("CatalogUpdate")
        .description("Which datasets came, went, or are described otherwise.")
        .field(
            objects("created", datasets(), move |c: &CatalogChange| of(&c.created))
                .description("Datasets that were not there."),
        )
        .field(
            objects("changed", datasets(), move |c: &CatalogChange| of(&c.changed))
                .description("Those whose columns, or what is said of them, are others."),
        )
        .field(
            part("dropped", TypeRef::named_nn_list_nn(TypeRef::STRING), |c: &CatalogChange| {
                Ok(c.dropped.iter().map(|n| Value::from(n.as_str())).collect::<Vec<_>>().into())
            })
            .description("Names of those that are gone."),
        )
}

/// The subscription `catalogChanged`.
pub(crate) fn changed_field() -> SubscriptionField {
    SubscriptionField::new("catalogChanged", TypeRef::named_nn("CatalogUpdate"), |context| {
        SubscriptionFieldFuture::new(async move {
            let changes = state(context.ctx).and_then(|state| {
                let who = state.who_in_part(Role::Reader)?.clone();
                catalog_changes(state.service().clone(), who)
            });
            let changes = changes.map_err(|error| to_graphql(&error))?;
            Ok(changes.map(|change| match change {
                Ok(change) => Ok(FieldValue::owned_any(change)),
                Err(error) => Err(to_graphql(&error)),
            }))
        })
    })
    .description(
        "Datasets that come, go or change. The first message is empty: whoever then asks for `datasets` misses none.",
    )
}
