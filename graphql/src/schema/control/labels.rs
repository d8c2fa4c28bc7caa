//! `labelRows`: a person confirms or corrects what rows are.

use async_graphql::Value;
use async_graphql::dynamic::{
    Field, FieldValue, InputObject, InputValue, Object, ResolverContext, TypeRef,
};
use datasets::DatasetName;
use engine::{Commit, Result, Role};
use jobs::labels::{RowLabel, label_rows};

use super::super::resolve::{argument, nullable, part, state, text_argument};
use super::super::scalars;
use super::big;
use crate::error::bad_input;

const INPUT: &str = "LabelInput";
const RESULT: &str = "LabelledRows";

/// `LabelInput`.
pub(crate) fn input_type() -> InputObject {
    InputObject::new(INPUT)
        .description("A row and its label.")
        .field(InputValue::new("id", TypeRef::named_nn(TypeRef::ID)))
        .field(InputValue::new("label", TypeRef::named_nn(TypeRef::STRING)))
}

/// `LabelledRows`.
pub(crate) fn result_type() -> Object {
    Object::new(RESULT)
        .description("Labels that were committed.")
        .field(part("dataset", TypeRef::named_nn(TypeRef::STRING), |commit: &Commit| {
            Ok(commit.dataset.as_str().into())
        }))
        .field(
            part("version", TypeRef::named_nn(TypeRef::INT), |commit: &Commit| {
                Ok(commit.version.0.into())
            })
            .description("The version of that dataset that holds them."),
        )
        .field(part("rows", TypeRef::named_nn(scalars::BIG_INT), |commit: &Commit| {
            Ok(big(commit.rows))
        }))
}

/// The mutation `labelRows`.
pub(crate) fn label_field() -> Field {
    Field::new("labelRows", TypeRef::named(RESULT), |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            label(&context).await.map(|commit| Some(FieldValue::owned_any(commit)))
        })
    })
    .description(
        "Confirms or corrects what rows of a dataset are: all or none. They go to the dataset labels_by_hand, which \
         training takes as its parameter `corrections`. Needs the role writer.",
    )
    .argument(InputValue::new("dataset", TypeRef::named_nn(TypeRef::STRING)))
    .argument(InputValue::new("labels", TypeRef::named_nn_list_nn(INPUT)))
}

async fn label(context: &ResolverContext<'_>) -> Result<Commit> {
    let state = state(context.ctx)?;
    let who = state.who(Role::Writer)?;
    let dataset = DatasetName::new(text_argument(context, "dataset").unwrap_or_default())?;
    let given = match argument(context, "labels") {
        Some(Value::List(rows)) => rows,
        other => other.into_iter().collect(),
    };
    let labels: Vec<RowLabel> = given.iter().map(row).collect::<Result<_>>()?;
    label_rows(&state.service().engine, who, &dataset, &labels).await
}

fn row(value: &Value) -> Result<RowLabel> {
    let Value::Object(fields) = value else {
        return Err(bad_input(format!("labelRows.labels: expected objects, found {value}")));
    };
    let text = |name: &str| match fields.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    };
    Ok(RowLabel { id: text("id"), label: text("label") })
}
