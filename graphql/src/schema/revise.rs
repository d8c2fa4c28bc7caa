//! The mutations `modelCallsDelete` and `modelCallsUpdate`: rows that a filter takes go, or are changed, as one commit.

use std::sync::Arc;

use async_graphql::Value;
use async_graphql::dynamic::{
    Field, FieldValue, InputObject, InputValue, Object, ResolverContext, TypeRef,
};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, lit};
use datasets::{ColumnType, DatasetName, DatasetSpec};
use engine::{Coming, CommitLabel, Going, Result, Revision, Role, Version};

use super::control::big;
use super::resolve::{argument, nullable, part, state};
use super::scalars::{self, input_type_of};
use crate::error::bad_input;
use crate::plan::literals::{literal, shown};
use crate::plan::predicate::{constant, forgotten, predicate};
use crate::service::in_time;
use crate::shape::{Column, Shape};

/// One of the two mutations.
#[derive(Clone, Copy)]
struct Change {
    /// What stands behind the dataset's field.
    suffix: &'static str,
    /// As it stands in the dataset's history.
    operation: &'static str,
    result: &'static str,
}

const DELETE: Change = Change { suffix: "Delete", operation: "delete", result: "DeletedRows" };
const UPDATE: Change = Change { suffix: "Update", operation: "update", result: "UpdatedRows" };

/// Rows that were changed, or would be.
struct Changed {
    dataset: DatasetName,
    /// None where it was only asked how many they are.
    version: Option<Version>,
    rows: u64,
}

/// `DeletedRows` and `UpdatedRows`.
pub(crate) fn result_types() -> [Object; 2] {
    [
        result_type(DELETE, "Rows that were deleted.", "The version that has them no more"),
        result_type(UPDATE, "Rows that were changed.", "The version that has them changed"),
    ]
}

fn result_type(change: Change, description: &str, version: &str) -> Object {
    Object::new(change.result)
        .description(description)
        .field(part("dataset", TypeRef::named_nn(TypeRef::STRING), |changed: &Changed| {
            Ok(changed.dataset.as_str().into())
        }))
        .field(
            part("version", TypeRef::named(TypeRef::INT), |changed: &Changed| {
                Ok(changed.version.map_or(Value::Null, |version| version.0.into()))
            })
            .description(format!("{version}; null with `dryRun`.")),
        )
        .field(part("rows", TypeRef::named_nn(scalars::BIG_INT), |changed: &Changed| {
            Ok(big(changed.rows))
        }))
}

/// Whether rows of a dataset are a client's to delete.
pub(crate) fn is_deletable(spec: &DatasetSpec) -> bool {
    !spec.derived || spec.name.is_quarantine()
}

/// Whether rows of a dataset are a client's to update.
pub(crate) fn is_updatable(spec: &DatasetSpec, shape: &Shape) -> bool {
    !spec.derived && settable(shape).next().is_some()
}

/// The columns that an update may change: not those of the key, nor computed ones.
fn settable(shape: &Shape) -> impl Iterator<Item = &Column> {
    let columns = shape.columns.iter().enumerate();
    columns.filter(|(at, it)| !it.computed && !shape.key.contains(at)).map(|(_, column)| column)
}

/// `modelCallsDelete`.
pub(crate) fn delete_field(shape: &Arc<Shape>) -> Field {
    field(shape, DELETE).description(format!(
        "Deletes the rows of {} that `where` takes, as one commit. Older versions still have them. Needs the role writer.",
        shape.name
    ))
}

/// `modelCallsUpdate`.
pub(crate) fn update_field(shape: &Arc<Shape>) -> Field {
    field(shape, UPDATE)
        .description(format!(
            "Changes the rows of {} that `where` takes, as one commit. Older versions have them as they were. Needs the role \
             writer.",
            shape.name
        ))
        .argument(
            InputValue::new("set", TypeRef::named_nn(shape.type_of("Set")))
                .description("What columns are to hold; those that are not named stay as they are."),
        )
}

/// `ModelCallsSet`.
pub(crate) fn set_type(shape: &Shape) -> InputObject {
    let input = InputObject::new(shape.type_of("Set")).description(format!(
        "What columns of {} are to hold. Null empties one that may be empty.",
        shape.name
    ));
    settable(shape).fold(input, |input, column| {
        let field = InputValue::new(&column.field, input_type_of(&column.kind));
        input.field(field.description(&column.description))
    })
}

fn field(shape: &Arc<Shape>, change: Change) -> Field {
    let of = shape.clone();
    let name = format!("{}{}", shape.field, change.suffix);
    Field::new(name, TypeRef::named(change.result), move |context| {
        let (inner, shape) = (context.ctx, of.clone());
        nullable(inner, async move {
            let changed = make(&context, &shape, change).await;
            changed.map(|changed| Some(FieldValue::owned_any(changed)))
        })
    })
    .argument(
        InputValue::new("where", TypeRef::named(shape.type_of("Where")))
            .description("Which rows. Where there is none, `all` must say that all are meant."),
    )
    .argument(InputValue::new("all", TypeRef::named_nn(TypeRef::BOOLEAN)).default_value(false))
    .argument(
        InputValue::new("dryRun", TypeRef::named_nn(TypeRef::BOOLEAN))
            .default_value(false)
            .description("Says how many rows there are, and changes none."),
    )
}

async fn make(context: &ResolverContext<'_>, shape: &Shape, change: Change) -> Result<Changed> {
    let state = state(context.ctx)?;
    let who = state.who(Role::Writer)?;
    let service = state.service();
    let is = |name| argument(context, name) == Some(Value::Boolean(true));
    let called = format!("{}{}", shape.field, change.suffix);
    state.done_to(&called, shape.name.as_str());
    let asked = argument(context, "where").filter(|asked| *asked != Value::Null);
    let condition = predicate(shape, asked.as_ref(), &service.limits)?;
    // What is true of every row, `all` says; a part that came to be empty, or null, does not.
    let forgotten = asked.as_ref().and_then(|asked| forgotten(asked, "where"));
    let forgotten = forgotten.or_else(|| {
        let of = if constant(condition.as_ref()?)? { "every row" } else { "no row" };
        Some(format!("`where` is true of {of}"))
    });
    let going = match (condition, is("all")) {
        (_, false) if forgotten.is_some() => {
            return Err(bad_input(format!(
                "{called}: expected a condition in `where`, or `all: true` for every row; {}",
                forgotten.unwrap_or_default()
            )));
        }
        (Some(condition), false) => Going::Where(condition),
        (None, true) => Going::All,
        (None, false) => {
            return Err(bad_input(format!(
                "{called}: expected a condition in `where`, or `all: true` for every row"
            )));
        }
        (Some(_), true) => {
            return Err(bad_input(format!(
                "{called}: expected either `where` or `all: true`, found both"
            )));
        }
    };
    let coming = match argument(context, "set") {
        Some(set) => Coming::Changed(assignments(shape, &set)?),
        None => Coming::Nothing,
    };
    let dataset = shape.name.clone();
    let revision = Revision { going, coming };
    if is("dryRun") {
        let counting = service.engine.try_revise(who, &dataset, &revision);
        let rows = in_time(service.limits.operation_time_max, counting).await?;
        return Ok(Changed { rows, version: None, dataset });
    }
    let label = CommitLabel { operation: change.operation.to_owned(), ..CommitLabel::default() };
    // Others may be changing rows of it, for long.
    let revised = service.engine.revise(who, &dataset, revision, label);
    let revised = state.wait_for(revised).await??;
    Ok(Changed { rows: revised.removed, version: Some(revised.version), dataset })
}

/// What `set` says, by columns.
fn assignments(shape: &Shape, set: &Value) -> Result<Vec<(String, Expr)>> {
    let Value::Object(fields) = set else {
        return Err(bad_input(format!("set: expected an object, found {}", shown(set))));
    };
    if fields.is_empty() {
        return Err(bad_input("set: expected at least one column and what it is to hold"));
    }
    let assigned = fields.iter().map(|(field, value)| {
        let column = settable(shape).find(|column| column.field == field.as_str());
        let column = column.ok_or_else(|| bad_input(format!("set: there is no {field:?}")))?;
        Ok((column.name.clone(), assigned(column, value, &format!("set.{field}"))?))
    });
    assigned.collect()
}

fn assigned(column: &Column, value: &Value, place: &str) -> Result<Expr> {
    let data_type = column.kind.arrow_type();
    let wrong = |expected: String| {
        Err(bad_input(format!("{place}: expected {expected}, found {}", shown(value))))
    };
    let scalar = match (&column.kind, value) {
        (_, Value::Null) if column.nullable => return Ok(lit(ScalarValue::try_from(&data_type)?)),
        (_, Value::Null) => return wrong("a value: it may not be empty".to_owned()),
        (kind, value) if kind.is_nested() => {
            let document = value.clone().into_json();
            let document = document.map_err(|error| bad_input(format!("{place}: {error}")))?;
            let value = datasets::parse::value_of_document(kind, &document.to_string());
            let value = value.map_err(|problem| bad_input(format!("{place}: {problem}")))?;
            ScalarValue::try_from_array(&value, 0)?
        }
        // The document itself, as a row shows it.
        (ColumnType::Json, value) => {
            let document = value.clone().into_json();
            let document = document.map_err(|error| bad_input(format!("{place}: {error}")))?;
            ScalarValue::Utf8(Some(document.to_string()))
        }
        (ColumnType::List(of), Value::List(items)) => list(of, items, place)?,
        (ColumnType::Vector(width), Value::List(items)) => {
            if items.len() as u64 != u64::from(*width) {
                return wrong(format!("{width} numbers"));
            }
            if let Some(at) = items.iter().position(|item| *item == Value::Null) {
                return Err(bad_input(format!("{place}: expected no null, found one at {at}")));
            }
            list(&ColumnType::Float32, items, place)?
        }
        (ColumnType::List(_) | ColumnType::Vector(_), _) => return wrong("a list".to_owned()),
        (kind, value) => literal(kind, value, place)?,
    };
    match scalar.cast_to(&data_type) {
        // As many digits as there are.
        Ok(held) if held.cast_to(&scalar.data_type()).is_ok_and(|back| back == scalar) => {
            Ok(lit(held))
        }
        _ => wrong(format!("a value of type {}", column.kind)),
    }
}

fn list(of: &ColumnType, items: &[Value], place: &str) -> Result<ScalarValue> {
    let items = items.iter().enumerate().map(|(at, item)| match item {
        Value::Null => Ok(None),
        item => literal(of, item, &format!("{place}[{at}]")).map(Some),
    });
    let items = items.collect::<Result<Vec<_>>>()?;
    // All items must have the same type. A literal determines its own type.
    let kind =
        items.iter().flatten().next().map_or_else(|| of.arrow_type(), ScalarValue::data_type);
    let null = ScalarValue::try_from(&kind)?;
    let items: Vec<_> =
        items.into_iter().map(|item| item.unwrap_or_else(|| null.clone())).collect();
    Ok(ScalarValue::List(ScalarValue::new_list(&items, &of.arrow_type(), true)))
}
