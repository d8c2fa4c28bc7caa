//! The field `modelCallsDistinct`: the combinations of values that some columns have, each once, in pages.
//!
//! The combinations are read as rows of a dataset whose key is all of its columns, so their pages, cursors and orders are those of
//! rows.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_graphql::Value;
use async_graphql::dynamic::{
    Field, FieldValue, InputObject, InputValue, Object, ResolverContext, Type, TypeRef,
};
use datafusion::logical_expr::Expr;
use datasets::ColumnType;
use engine::Result;

use super::connection::{
    AskedPage, Connection, connection_type, page_ref, sample_argument, sample_text, taken,
    with_page_arguments, with_reading_arguments,
};
use super::order::ORDER_DIRECTION;
use super::resolve::{argument, nullable, part, state};
use super::row::RowRef;
use super::scalars::scalar_of;
use super::streamed::give_page;
use crate::error::bad_input;
use crate::limits::Limits;
use crate::plan::cursor::fingerprint;
use crate::plan::functions::ordered_float;
use crate::plan::groups::chosen_columns;
use crate::plan::order::terms;
use crate::plan::page::{Page, PageRequest, count_rows, read_page};
use crate::shape::{Column, DISTINCT, Shape, combined};

/// Whether a dataset has columns that can be asked for.
pub(crate) fn has_distinct(shape: &Shape) -> bool {
    shape.all().any(|(_, column)| column.is_groupable())
}

/// The name of the field.
pub(crate) fn field_name(shape: &Shape) -> String {
    format!("{}{DISTINCT}", shape.field)
}

/// `ModelCallsDistinct`, `ModelCallsCombination` and the order of these.
pub(crate) fn distinct_types(shape: &Shape) -> [Type; 3] {
    let groupable = || shape.all().filter(|(_, column)| column.is_groupable());
    let combination = Object::new(shape.type_of("Combination"))
        .description("Values of the columns that were asked for, which some row has together.");
    let combination = groupable().fold(combination, |combination, (number, column)| {
        let kind = TypeRef::named(scalar_of(&column.kind));
        let field = part(column.in_group(), kind, move |of: &RowRef| {
            let values = of.block.columns.get(&number);
            Ok(values.and_then(|values| values.get(of.row)).cloned().unwrap_or_default())
        });
        combination.field(field.description(&column.description))
    });
    let order = InputObject::new(shape.type_of("CombinationSort"))
        .oneof()
        .description("One of the columns that were asked for, and its direction.");
    let order = groupable().fold(order, |order, (_, column)| {
        order.field(InputValue::new(column.in_group(), TypeRef::named(ORDER_DIRECTION)))
    });
    let about = format!("Combinations of values of columns of {} at one version.", shape.name);
    let page = connection_type(
        shape.type_of(DISTINCT),
        combination.type_name(),
        &about,
        "Combinations, on all pages. Computed only when selected.",
    );
    [page.into(), combination.into(), order.into()]
}

/// The query field `modelCallsDistinct`.
pub(crate) fn distinct_field(shape: &Arc<Shape>, limits: &Limits) -> Field {
    let field = Field::new(field_name(shape), TypeRef::named(shape.type_of(DISTINCT)), {
        let shape = shape.clone();
        move |context| {
            let (shape, inner) = (shape.clone(), context.ctx);
            nullable(inner, async move {
                Ok(Some(FieldValue::owned_any(read(&context, &shape).await?)))
            })
        }
    });
    let field = with_reading_arguments(field, shape).description(format!(
        "The combinations of values that columns of {} have, each once; a null is a value.",
        shape.name
    ));
    with_page_arguments(field, limits)
        .argument(sample_argument())
        .argument(
            InputValue::new("columns", TypeRef::named_nn_list_nn(shape.type_of("GroupKey")))
                .description("The columns; at least one."),
        )
        .argument(
            InputValue::new("orderBy", TypeRef::named_nn_list(shape.type_of("CombinationSort")))
                .description(
                    "What to order by, first first; the other columns are added at the end.",
                ),
        )
}

async fn read(context: &ResolverContext<'_>, shape: &Arc<Shape>) -> Result<Connection> {
    let state = state(context.ctx)?;
    let limits = state.limits();
    let columns = chosen_columns(shape, argument(context, "columns").as_ref(), "columns")?;
    if columns.is_empty() {
        return Err(bad_input("columns: expected at least one column"));
    }
    let looking = context.ctx.look_ahead();
    let nodes = looking.field("nodes");
    let not_of = |number: &usize, column: &Column| {
        !columns.contains(number) && nodes.field(&column.in_group()).exists()
    };
    if let Some((_, column)) = shape.all().find(|(number, column)| not_of(number, column)) {
        let field = column.in_group();
        return Err(bad_input(format!(
            "nodes.{field}: the combinations are not of this column; add {} to columns",
            column.in_enum()
        )));
    }
    let combinations = shape.combinations(&columns);
    let filter = argument(context, "where");
    let order = argument(context, "orderBy");
    require_chosen(shape, &combinations, order.as_ref())?;
    let terms = terms(&combinations, order.as_ref())?;
    let question = fingerprint(&[
        shape.name.as_str(),
        DISTINCT,
        &format!("{columns:?}"),
        &filter.as_ref().map(Value::to_string).unwrap_or_default(),
        &format!("{terms:?}"),
        &sample_text(context),
    ]);
    let kinds: Vec<_> =
        terms.iter().map(|term| combinations.columns[term.column].kind.clone()).collect();
    let asked = AskedPage::new(context, limits, &question, &kinds)?;
    let session = state.session(&[(shape.name.clone(), asked.pin)]).await?;
    let table = session.table_of_today(&shape.name).await?;
    let version = state.version_of(&session, &shape.name)?;
    asked.require_same_version(state, shape).await?;
    let table = taken(context, shape, table, filter.as_ref(), limits)?;
    let values: Vec<Expr> =
        columns.iter().map(|number| value(shape.at(*number)).alias(combined(*number))).collect();
    let table = table.select(values)?.distinct()?;
    let shown: BTreeSet<usize> = (0..columns.len())
        .filter(|at| nodes.field(&combinations.columns[*at].field).exists())
        .collect();
    let request = PageRequest {
        version,
        question,
        predicate: None,
        terms,
        way: asked.way,
        from: asked.from,
        rows: asked.rows,
        columns: shown,
        kept: BTreeSet::new(),
    };
    if state.rows.is_asked() {
        let root = context.ctx.field();
        give_page(state, &session, table, &combinations, request, &root).await?;
        let page = page_ref(Page::default(), Default::default(), state, &combinations);
        return Ok(Connection { version, total: None, page: Some(page) });
    }
    let total = match looking.field("totalCount").exists() {
        true => Some(count_rows(&session, table.clone(), None).await?),
        false => None,
    };
    let is_shown = nodes.exists() || looking.field("pageInfo").exists();
    let page = match is_shown {
        true => {
            let read = read_page(&session, table, &combinations, &request, state.holding()).await;
            let mut page = page_ref(read?, Default::default(), state, &combinations);
            // By the numbers that the columns have among the dataset's own.
            page.number_columns(|at| columns.get(at).copied());
            Some(page)
        }
        false => None,
    };
    Ok(Connection { version, total, page })
}

/// Fails for an order by a column that the combinations are not of.
fn require_chosen(shape: &Shape, combinations: &Shape, order: Option<&Value>) -> Result<()> {
    let entries = match order {
        Some(Value::List(entries)) => entries.as_slice(),
        Some(single) => std::slice::from_ref(single),
        None => &[],
    };
    let fields = entries.iter().filter_map(|entry| match entry {
        Value::Object(entry) => Some(entry.keys()),
        _ => None,
    });
    let mut other = fields.flatten().filter(|field| combinations.position(field).is_none());
    let Some(field) = other.next() else { return Ok(()) };
    let known = shape.all().find(|(_, column)| column.in_group() == field.as_str());
    let name = known.map_or_else(|| field.to_string(), |(_, column)| column.in_enum());
    Err(bad_input(format!(
        "orderBy.{field}: the combinations are not of this column; add {name} to columns"
    )))
}

/// A value that is equal where values are: one zero, one NaN.
fn value(column: &Column) -> Expr {
    match column.kind {
        ColumnType::Float32 | ColumnType::Float64 => ordered_float(column.value()),
        _ => column.value(),
    }
}
