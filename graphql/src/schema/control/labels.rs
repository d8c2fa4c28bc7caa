//! `labelRows` and `labelPairs`: a person confirms or corrects what rows are, and which are one.

use async_graphql::dynamic::{
    Field, FieldValue, InputObject, InputValue, Object, ResolverContext, TypeRef,
};
use async_graphql::indexmap::IndexMap;
use async_graphql::{Name, Value};
use datasets::DatasetName;
use engine::{Result, Role};
use jobs::labels::{Labelled, PairLabel, RowLabel, label_pairs, label_rows};

use super::super::resolve::{argument, nullable, part, state, text_argument};
use super::super::scalars;
use super::big;
use crate::error::bad_input;

const INPUT: &str = "LabelInput";
const PAIR_INPUT: &str = "PairLabelInput";
const RESULT: &str = "LabelledRows";

/// `LabelInput`, `PairLabelInput`.
pub(crate) fn input_types() -> [InputObject; 2] {
    let row = InputObject::new(INPUT)
        .description("A row and its label.")
        .field(InputValue::new("id", TypeRef::named_nn(TypeRef::ID)))
        .field(InputValue::new("label", TypeRef::named_nn(TypeRef::STRING)));
    let pair = InputObject::new(PAIR_INPUT)
        .description("Two rows, and whether they describe the same.")
        .field(InputValue::new("idA", TypeRef::named_nn(TypeRef::ID)))
        .field(InputValue::new("idB", TypeRef::named_nn(TypeRef::ID)))
        .field(InputValue::new("isDuplicate", TypeRef::named_nn(TypeRef::BOOLEAN)));
    [row, pair]
}

/// `LabelledRows`.
pub(crate) fn result_type() -> Object {
    Object::new(RESULT)
        .description("Labels that were committed.")
        .field(part("dataset", TypeRef::named_nn(TypeRef::STRING), |labelled: &Labelled| {
            Ok(labelled.commit.dataset.as_str().into())
        }))
        .field(
            part("version", TypeRef::named_nn(TypeRef::INT), |labelled: &Labelled| {
                Ok(labelled.commit.version.0.into())
            })
            .description("The version of that dataset that holds them."),
        )
        .field(part("rows", TypeRef::named_nn(scalars::BIG_INT), |labelled: &Labelled| {
            Ok(big(labelled.commit.rows))
        }))
        .field(
            part("warnings", TypeRef::named_nn_list_nn(TypeRef::STRING), |labelled: &Labelled| {
                let warnings = labelled.warnings.iter();
                Ok(warnings.map(|text| Value::from(text.as_str())).collect::<Vec<_>>().into())
            })
            .description("Labels that no row had before, and those that are spelt alike."),
        )
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

/// The mutation `labelPairs`.
pub(crate) fn pairs_field() -> Field {
    Field::new("labelPairs", TypeRef::named(RESULT), |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            pairs(&context).await.map(|commit| Some(FieldValue::owned_any(commit)))
        })
    })
    .description(
        "Confirms or corrects which rows of a dataset are one: all pairs or none. They go to the dataset pairs_by_hand, \
         which the job duplicates takes as its parameter `labels`. Needs the role writer.",
    )
    .argument(InputValue::new("dataset", TypeRef::named_nn(TypeRef::STRING)))
    .argument(InputValue::new("pairs", TypeRef::named_nn_list_nn(PAIR_INPUT)))
}

async fn label(context: &ResolverContext<'_>) -> Result<Labelled> {
    let state = state(context.ctx)?;
    let who = state.who(Role::Writer)?;
    let given = objects(context, "labelRows", "labels")?;
    let label = |row: &Fields| RowLabel { id: text(row, "id"), label: text(row, "label") };
    let labels: Vec<RowLabel> = given.iter().map(label).collect();
    label_rows(&state.service().engine, who, &dataset(context)?, &labels).await
}

async fn pairs(context: &ResolverContext<'_>) -> Result<Labelled> {
    let state = state(context.ctx)?;
    let who = state.who(Role::Writer)?;
    let given = objects(context, "labelPairs", "pairs")?;
    let pair = |pair: &Fields| PairLabel {
        id_a: text(pair, "idA"),
        id_b: text(pair, "idB"),
        is_duplicate: pair.get("isDuplicate") == Some(&Value::Boolean(true)),
    };
    let pairs: Vec<PairLabel> = given.iter().map(pair).collect();
    let commit = label_pairs(&state.service().engine, who, &dataset(context)?, &pairs).await?;
    Ok(Labelled { commit, warnings: Vec::new() })
}

type Fields = IndexMap<Name, Value>;

fn dataset(context: &ResolverContext<'_>) -> Result<DatasetName> {
    DatasetName::new(text_argument(context, "dataset").unwrap_or_default()).map_err(Into::into)
}

/// The objects of a list.
fn objects(context: &ResolverContext<'_>, field: &str, name: &str) -> Result<Vec<Fields>> {
    let given = match argument(context, name) {
        Some(Value::List(objects)) => objects,
        other => other.into_iter().collect(),
    };
    let object = |value| match value {
        Value::Object(fields) => Ok(fields),
        other => Err(bad_input(format!("{field}.{name}: expected objects, found {other}"))),
    };
    given.into_iter().map(object).collect()
}

fn text(fields: &Fields, name: &str) -> String {
    match fields.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}
