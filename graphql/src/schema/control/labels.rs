//! `labelRows` and `labelPairs`: a person confirms or corrects what rows are, and which are one.

use async_graphql::dynamic::{
    Field, FieldValue, InputObject, InputValue, Object, ResolverContext, TypeRef,
};
use async_graphql::indexmap::IndexMap;
use async_graphql::{Name, Value};
use datasets::DatasetName;
use engine::{Error, Result, Role};
use jobs::anomaly_labels::{AnomalyAt, label_anomaly};
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

/// The mutation `labelAnomaly`.
pub(crate) fn anomaly_field() -> Field {
    Field::new("labelAnomaly", TypeRef::named(RESULT), |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            anomaly(&context).await.map(|labelled| Some(FieldValue::owned_any(labelled)))
        })
    })
    .description(
        "Says of the findings of a series that hold an instant that they are real, or no anomalies: the next run of the job \
         anomalies learns from it how far its like must go to be told. Needs the role writer.",
    )
    .argument(InputValue::new("series", TypeRef::named_nn(TypeRef::STRING)))
    .argument(
        InputValue::new("at", TypeRef::named_nn(scalars::DATE_TIME))
            .description("An instant within the finding, such as its `startedAt`."),
    )
    .argument(
        InputValue::new("verdict", TypeRef::named_nn(TypeRef::STRING))
            .description("`real`, also where nothing was found; `not_an_anomaly`; or `taken_back`, as if nothing had been said."),
    )
    .argument(
        InputValue::new("source", TypeRef::named(TypeRef::STRING))
            .description("The dataset that was looked at; metrics when absent."),
    )
    .argument(
        InputValue::new("kind", TypeRef::named(TypeRef::STRING))
            .description("Only findings of this kind; all when absent."),
    )
    .argument(InputValue::new("comment", TypeRef::named(TypeRef::STRING)))
    .argument(
        InputValue::new("dataset", TypeRef::named(TypeRef::STRING))
            .description("The dataset that has the findings; anomalies when absent."),
    )
}

async fn anomaly(context: &ResolverContext<'_>) -> Result<Labelled> {
    let state = state(context.ctx)?;
    let who = state.who(Role::Writer)?;
    let text = |name: &str| text_argument(context, name);
    let dataset = |name: &str, usual: &str| {
        DatasetName::new(text(name).unwrap_or_else(|| usual.to_owned())).map_err(Error::from)
    };
    let at = text("at").unwrap_or_default();
    let at = at
        .parse()
        .map_err(|_| bad_input(format!("labelAnomaly.at: expected an instant, found {at:?}")))?;
    let of = AnomalyAt {
        dataset: dataset("dataset", "anomalies")?,
        source: dataset("source", "metrics")?,
        series: text("series").unwrap_or_default(),
        at,
        kind: text("kind"),
    };
    let verdict = text("verdict").unwrap_or_default().to_lowercase().parse()?;
    label_anomaly(&state.service().engine, who, &of, verdict, text("comment").as_deref()).await
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
