//! The schema of one tenant, generated from its catalogue.
//!
//! ```text
//!                    ┌ row          ModelCallsRow
//!                    ├ filter       ModelCallsWhere
//!  dataset ─▶ Shape ─┼ order        ModelCallsOrderBy
//!  (its spec)        ├ connection   modelCalls          ModelCallsConnection, …Edge
//!                    ├ groups       modelCallsGroups    ModelCallsGroups, …GroupNode, …
//!                    ├ changes      modelCallsChanged   ModelCallsChanged, …ChangedRows
//!                    ├ distinct     modelCallsDistinct  ModelCallsDistinct, …Combination
//!                    ├ related      ModelCallsRelated, …RelatedRows
//!                    ├ revise       modelCallsDelete, …Update    ModelCallsSet
//!                    └ similar      modelCallsSimilar   ModelCallsSimilar, …Match
//!  control/          datasets, jobs, runs, devices: the same for every tenant
//! ```
//!
//! Columns with parts have types of their own: `Orders_Address`, `OrdersWhere__Address`, `_` before a letter being in no other name.
//!
//! A type's name is the dataset's name and one of [`SUFFIXES`]. No suffix ends another and no type of
//! the control plane ends with one, so no two datasets can make the same type, whatever their names.

pub(crate) mod cache;
pub(crate) mod changes;
pub(crate) mod connection;
pub(crate) mod control;
pub(crate) mod distinct;
pub(crate) mod filter;
pub(crate) mod group_marks;
pub(crate) mod groups;
pub(crate) mod groups_live;
pub(crate) mod nested;
pub(crate) mod node;
pub(crate) mod order;
mod ready;
pub(crate) mod related;
pub(crate) mod resolve;
pub(crate) mod revise;
pub(crate) mod row;
pub(crate) mod scalars;
pub(crate) mod similar;
mod streamed;

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::dynamic::{
    InputObject, InputValue, Object, Schema, Subscription, Type, TypeRef,
};
use engine::{Catalog, Error, Result};

use crate::counting::Counting;
use crate::guard::cost::{PagedFields, RowsOf};
use crate::kept::{Readings, reached};
use crate::limits::Limits;
use crate::links::Links;
use crate::shape::Shape;

/// What the names of a dataset's types end with.
#[cfg(test)]
const SUFFIXES: [&str; 36] = [
    "Row",
    "Set",
    "Where",
    "OrderBy",
    "Connection",
    "Edge",
    "Groups",
    "GroupNode",
    "GroupKey",
    "GroupTime",
    "GroupEvery",
    "GroupCounts",
    "GroupEnds",
    "GroupSum",
    "GroupNumbers",
    "GroupExtremes",
    "Having",
    "HavingCounts",
    "HavingNumbers",
    "GroupSort",
    "GroupSortCounts",
    "GroupSortNumbers",
    "GroupsLive",
    "Changed",
    "ChangedRows",
    "Similar",
    "Match",
    "Related",
    "RelatedRows",
    "Distinct",
    "Combination",
    "GroupPairs",
    "GroupNumber",
    "GroupBefore",
    "GroupPercent",
    "CombinationSort",
];

/// A tenant's schema.
pub(crate) struct TenantSchema {
    /// The catalogue's generation that it was made from.
    pub generation: u64,
    /// The schema.
    pub schema: Schema,
    /// Root fields that read datasets.
    pub paged: PagedFields,
    /// What those of them read whose answers may be kept.
    pub readings: Readings,
}

/// Generates the schema of `catalog`.
pub(crate) fn build(catalog: &Catalog, limits: &Limits) -> Result<TenantSchema> {
    let mut query = control_query();
    let mut subscription = Subscription::new("Subscription")
        .description("What happens, pushed when it happens.")
        .field(control::runs::updates_field())
        .field(control::catalog::changed_field());
    let mut types: Vec<Type> = shared_types();
    let mut paged = PagedFields::default();
    let mut readings = Readings::new();
    let mut mutations = Object::new("Mutation");
    let shapes: HashMap<_, _> = catalog
        .shown()
        .map(|(name, it)| (name.clone(), Shape::made_at(&it.spec, it.created_at)))
        .collect();
    let links = Arc::new(Links::new(catalog, &shapes));
    let nodes = catalog.shown().filter_map(|(name, entry)| {
        let shape = shapes.get(name).filter(|shape| node::has_ids(entry, shape))?;
        Some((name.to_string(), shape.clone()))
    });
    let nodes = Arc::new(nodes.collect::<node::Nodes>());
    query = node::node_fields(&nodes, &links).into_iter().fold(query, Object::field);
    paged.roots.insert("node".to_owned(), RowsOf::Ids);
    paged.roots.insert("nodes".to_owned(), RowsOf::Ids);
    paged.related_rows = related::rows_default(limits) as u64;
    paged.related.extend(links.all().filter(|link| !link.is_one).map(|link| link.field.clone()));
    for (name, entry) in catalog.shown() {
        let Some(shape) = shapes.get(name) else { continue };
        query = query
            .field(connection::connection_field(shape, &links, limits))
            .field(groups::groups_field(shape, limits));
        subscription = subscription
            .field(changes::change_field(shape))
            .field(groups_live::live_field(shape, limits));
        if revise::is_deletable(&entry.spec) {
            mutations = mutations.field(revise::delete_field(shape));
        }
        if revise::is_updatable(&entry.spec, shape) {
            mutations = mutations.field(revise::update_field(shape));
            types.push(revise::set_type(shape).into());
        }
        let ids = match node::has_ids(entry, shape) {
            true => row::RowIds::Key,
            false => row::RowIds::None,
        };
        types.push(row::row_type(shape, &links, ids).into());
        types.extend(related::related_types(shape, &links, limits).into_iter().map(Type::from));
        types.push(filter::where_type(shape).into());
        types.extend(nested::types(shape));
        types.extend(order::order_type(shape).map(Type::from));
        types.extend(connection::connection_types(shape).map(Type::from));
        types.extend(groups::group_types(shape));
        types.extend(changes::change_types(shape, limits).map(Type::from));
        types.push(groups_live::live_type(shape).into());
        paged.roots.insert(shape.field.clone(), RowsOf::First);
        paged.roots.insert(format!("{}Groups", shape.field), RowsOf::First);
        for declared in &shape.measures {
            let most = paged.declared.entry(declared.field.clone()).or_default();
            *most = (*most).max(declared.measure.width() as u64);
        }
        let read = reached(name, &links);
        readings.insert(shape.field.clone(), read.clone());
        readings.insert(format!("{}Groups", shape.field), read.clone());
        paged.roots.insert(format!("{}GroupsLive", shape.field), RowsOf::First);
        if distinct::has_distinct(shape) {
            query = query.field(distinct::distinct_field(shape, limits));
            types.extend(distinct::distinct_types(shape));
            paged.roots.insert(distinct::field_name(shape), RowsOf::First);
            readings.insert(distinct::field_name(shape), read);
        }
        if similar::is_searchable(shape) {
            query = query.field(similar::similar_field(shape, &links, limits));
            types.extend(similar::similar_types(shape).map(Type::from));
            let rows = RowsOf::K(similar::K_DEFAULT as u64);
            paged.roots.insert(similar::field_name(shape), rows);
        }
    }
    let mutation = mutations
        .description("Changes. Each returns the changed thing.")
        .field(control::runs::run_job_field())
        .field(control::runs::cancel_field())
        .field(control::runs::retry_field())
        .field(control::runs::as_it_was_field())
        .field(control::datasets::create_field())
        .field(control::datasets::drop_field())
        .field(control::datasets::restore_field());
    let mutation = control::columns::fields()
        .into_iter()
        .chain(control::schedules::mutations())
        .chain(control::pipelines::mutations())
        .chain(control::keys::mutations())
        .chain(control::exports::mutations())
        .chain(control::reports::mutations())
        .chain(control::alerts::mutations())
        .chain(control::metrics::mutations())
        .chain(control::features::mutations())
        .fold(mutation, Object::field)
        .field(control::labels::label_field())
        .field(control::labels::pairs_field())
        .field(control::labels::anomaly_field());
    let builder =
        Schema::build(query.type_name(), Some(mutation.type_name()), Some("Subscription"))
            .register(query)
            .register(mutation)
            .register(subscription)
            .limit_recursive_depth(limits.document_nesting_max)
            .limit_directives(8)
            .extension(Counting);
    let builder = match limits.introspection {
        true => builder,
        false => builder.disable_introspection(),
    };
    let builder = match limits.names_are_shown() {
        true => builder,
        false => builder.disable_suggestions(),
    };
    let builder = types.into_iter().fold(builder, |builder, kind| builder.register(kind));
    let schema = builder
        .finish()
        .map_err(|error| Error::internal(format!("generating the schema: {error}")))?;
    Ok(TenantSchema { generation: catalog.generation, schema, paged, readings })
}

fn control_query() -> Object {
    let query = Object::new("Query")
        .description("Datasets and results at a version, and the control plane.")
        .field(control::datasets::datasets_field())
        .field(control::datasets::dataset_field())
        .field(control::datasets::unreadable_field())
        .field(control::datasets::dropped_field())
        .field(control::jobs::jobs_field())
        .field(control::jobs::job_field())
        .field(control::runs::runs_field())
        .field(control::runs::run_field())
        .field(control::devices::devices_field())
        .field(control::keys::keys_field())
        .field(control::explain::field())
        .field(control::exports::exports_field())
        .field(control::exports::export_field())
        .field(control::metrics::query())
        .field(control::reports::templates_field());
    let schedules = control::schedules::queries().into_iter();
    let others = control::pipelines::queries().into_iter().chain(control::alerts::queries());
    let others = others.chain(control::features::queries());
    schedules.chain(others).fold(query, Object::field)
}

fn shared_types() -> Vec<Type> {
    let mut types: Vec<Type> = scalars::scalars().into_iter().map(Type::from).collect();
    types.extend(filter::filter_types().into_iter().map(Type::from));
    types.push(order::direction_type().into());
    let (page_info, as_of) = connection::shared_types();
    types.push(page_info.into());
    types.push(node::interface().into());
    types.push(connection::sample_type().into());
    types.push(as_of.into());
    types.push(similar::shared_type().into());
    types.extend(groups::shared_types().map(Type::from));
    types.extend(group_marks::enums().map(Type::from));
    types.extend(control::datasets::types().map(Type::from));
    types.push(control::catalog::changed_type().into());
    types.push(control::columns::result_type().into());
    types.push(control::columns::format_type().into());
    types.push(control::jobs::job_type().into());
    types.extend(control::devices::types().map(Type::from));
    types.extend(control::runs::types().map(Type::from));
    types.extend(control::runs::enums().map(Type::from));
    types.extend(control::schedules::types().map(Type::from));
    types.extend(control::pipelines::types().map(Type::from));
    types.extend(control::keys::types().map(Type::from));
    types.extend(control::keys::enums().map(Type::from));
    types.extend(control::explain::types().map(Type::from));
    types.extend(control::alerts::types().map(Type::from));
    types.extend(control::metrics::types().map(Type::from));
    types.extend(control::features::types().map(Type::from));
    types.extend(control::exports::types().map(Type::from));
    types.extend(control::exports::enums().map(Type::from));
    types.extend(control::reports::types().map(Type::from));
    types.extend(control::reports::enums().map(Type::from));
    let run_input = InputObject::new("RunInput")
        .description("A dataset at a version.")
        .field(InputValue::new("dataset", TypeRef::named_nn(TypeRef::STRING)))
        .field(InputValue::new("asOf", TypeRef::named_nn(connection::AS_OF)));
    types.push(run_input.into());
    types.extend(control::labels::input_types().map(Into::into));
    types.push(control::labels::result_type().into());
    types.extend(revise::result_types().map(Type::from));
    types
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use datasets::DatasetSpec;

    fn type_name(kind: &Type) -> &str {
        match kind {
            Type::Scalar(kind) => kind.type_name(),
            Type::Object(kind) => kind.type_name(),
            Type::InputObject(kind) => kind.type_name(),
            Type::Enum(kind) => kind.type_name(),
            Type::Interface(kind) => kind.type_name(),
            Type::Union(kind) => kind.type_name(),
            Type::Subscription(kind) => kind.type_name(),
            Type::Upload => "Upload",
        }
    }

    #[test]
    fn no_suffix_ends_another_and_no_control_type_ends_with_one() {
        for suffix in SUFFIXES {
            for other in SUFFIXES {
                assert!(suffix == other || !suffix.ends_with(other), "{suffix} ends with {other}");
            }
        }
        for kind in shared_types() {
            let name = type_name(&kind).to_owned();
            let ends = SUFFIXES.iter().find(|suffix| name.ends_with(*suffix));
            assert!(ends.is_none(), "{name} ends with {ends:?}");
        }
    }

    #[test]
    fn every_type_of_a_dataset_ends_with_a_known_suffix() {
        let spec = DatasetSpec::from_toml(
            "name = \"a\"\ntime_column = \"at\"\ncolumns = [{name = \"at\", type = \"timestamp\"}, \
             {name = \"n\", type = \"int64\"}]",
            "test",
        )
        .unwrap();
        let shape = Shape::new(&spec);
        let limits = Limits::default();
        let mut names: Vec<String> = vec![
            row::row_type(&shape, &Links::default(), row::RowIds::Key).type_name().to_owned(),
            filter::where_type(&shape).type_name().to_owned(),
            revise::set_type(&shape).type_name().to_owned(),
            order::order_type(&shape).unwrap().type_name().to_owned(),
        ];
        names.extend(connection::connection_types(&shape).map(|t| t.type_name().to_owned()));
        names.extend(groups::group_types(&shape).iter().map(|t| type_name(t).to_owned()));
        names.extend(changes::change_types(&shape, &limits).map(|t| t.type_name().to_owned()));
        names.extend(distinct::distinct_types(&shape).iter().map(|t| type_name(t).to_owned()));
        names.extend(similar::similar_types(&shape).map(|t| t.type_name().to_owned()));
        for name in names {
            let suffix = name.strip_prefix('A').unwrap();
            assert!(SUFFIXES.contains(&suffix), "{name}");
        }
    }
}
