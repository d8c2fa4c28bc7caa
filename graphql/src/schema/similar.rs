//! The field `ticketsSimilar`: the rows of a dataset that are most like a text, one of its rows or a vector. Only a
//! dataset whose key is one column has it: vectors name their rows by it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use async_graphql::Value;
use async_graphql::dynamic::{
    Field, FieldFuture, FieldValue, InputObject, InputValue, Object, ResolverContext, TypeRef,
};
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::{Expr, cast, lit};
use datafusion::prelude::in_list;
use datasets::DatasetName;
use engine::{AsOf, Code, Error, Result, Role, Session, Version};
use jobs::similar::{Likeness, Method, SIMILAR_ROWS_MAX, Similar, SimilarRequest, SimilarRow};

use super::connection::with_reading_arguments;
use super::related::{Loading, leading};
use super::resolve::{argument, nullable, part, state, text_argument};
use super::row::{Block, Columns, row_value, selected};
use super::scalars;
use crate::error::{bad_input, over_limit};
use crate::limits::Limits;
use crate::links::Links;
use crate::plan::as_of::as_of;
use crate::plan::holding::Holding;
use crate::plan::order::by_name;
use crate::plan::page::{collect_bounded, named};
use crate::plan::predicate::predicate;
use crate::plan::values::{canonical, to_values};
use crate::request::RequestState;
use crate::shape::Shape;

/// The input type of `to`.
const TO: &str = "SimilarTo";
/// Rows when `k` is absent.
pub(crate) const K_DEFAULT: usize = 10;
/// Where `embed` puts vectors, and `vector_index` their index, when they are not told otherwise.
const VECTORS: &str = "embeddings";
const INDEX: &str = "vector_index";
/// The row's id in a plan, beside the columns that are shown.
const ID: &str = "_similar_id";

/// What a search gave.
struct Answer {
    version: Version,
    found: Similar,
    matches: Vec<MatchRef>,
}

#[derive(Clone)]
struct MatchRef {
    rows: Arc<Block>,
    row: usize,
    score: f64,
}

/// `SimilarTo`, which all datasets share.
pub(crate) fn shared_type() -> InputObject {
    InputObject::new(TO)
        .oneof()
        .description("What rows are to be like.")
        .field(
            InputValue::new("text", TypeRef::named(TypeRef::STRING))
                .description("A text; the model that made the vectors must be here."),
        )
        .field(
            InputValue::new("id", TypeRef::named(TypeRef::STRING))
                .description("Another row of the dataset; it is not in the answer itself."),
        )
        .field(
            InputValue::new("vector", TypeRef::named(scalars::VECTOR))
                .description("A vector of the same embedder."),
        )
}

/// Whether rows of a dataset can be searched by their vectors.
pub(crate) fn is_searchable(shape: &Shape) -> bool {
    matches!(shape.key[..], [_])
}

/// `TicketsSimilar` and `TicketsMatch`.
pub(crate) fn similar_types(shape: &Shape) -> [Object; 2] {
    let one = Object::new(shape.type_of("Match"))
        .description("A row and how similar it is.")
        .field(
            part("score", TypeRef::named_nn(TypeRef::FLOAT), |found: &MatchRef| {
                Ok(Value::from(found.score))
            })
            .description("The cosine of the angle between the two vectors, -1 to 1."),
        )
        .field(Field::new(
            "node",
            TypeRef::named_nn(shape.type_of("Row")),
            |context| match context.parent_value.try_downcast_ref::<MatchRef>() {
                Ok(found) => FieldFuture::Value(Some(row_value(&found.rows, found.row))),
                Err(error) => FieldFuture::new(async move { Err::<Option<FieldValue>, _>(error) }),
            },
        ));
    let all = Object::new(shape.type_of("Similar"))
        .description(format!("Rows of {} by their likeness.", shape.name))
        .field(
            part("version", TypeRef::named_nn(TypeRef::INT), |answer: &Answer| {
                Ok(Value::from(answer.version.0))
            })
            .description("The version that the rows are read from."),
        )
        .field(
            part("vectorsVersion", TypeRef::named_nn(TypeRef::INT), |answer: &Answer| {
                Ok(Value::from(answer.found.vectors_version.0))
            })
            .description("The version of the dataset of vectors."),
        )
        .field(
            part("embedder", TypeRef::named_nn(TypeRef::STRING), |answer: &Answer| {
                Ok(Value::from(answer.found.embedder.as_str()))
            })
            .description("Who made the vectors, name@version."),
        )
        .field(
            part("candidates", TypeRef::named_nn(scalars::BIG_INT), |answer: &Answer| {
                Ok(Value::from(answer.found.candidates.to_string()))
            })
            .description("Rows with a vector that `where` takes."),
        )
        .field(
            part("recall", TypeRef::named_nn(TypeRef::FLOAT), |answer: &Answer| {
                Ok(Value::from(match answer.found.method {
                    Method::Exact => 1.0,
                    Method::Ivf { recall, .. } => recall,
                }))
            })
            .description(
                "Part of the true most similar rows that such a search finds: 1 for an exact one, and for one \
                 that took the index as the job `vector_index` has measured it, without `where`.",
            ),
        )
        .field(
            part("method", TypeRef::named_nn(TypeRef::STRING), |answer: &Answer| {
                Ok(Value::from(match answer.found.method {
                    Method::Exact => "exact".to_owned(),
                    Method::Ivf { probes, lists, .. } => format!("ivf, {probes} of {lists} lists"),
                }))
            })
            .description("How the rows were searched: `exact`, or `ivf` with the lists looked into."),
        )
        .field(Field::new("matches", TypeRef::named_nn_list_nn(one.type_name()), |context| {
            let answer = context.parent_value.try_downcast_ref::<Answer>();
            let list = |answer: &Answer| {
                FieldValue::list(answer.matches.iter().cloned().map(FieldValue::owned_any))
            };
            FieldFuture::Value(answer.ok().map(list))
        }));
    [all, one]
}

/// The name of the field.
pub(crate) fn field_name(shape: &Shape) -> String {
    format!("{}Similar", shape.field)
}

/// The query field `ticketsSimilar`.
pub(crate) fn similar_field(shape: &Arc<Shape>, links: &Arc<Links>, limits: &Limits) -> Field {
    let most = k_max(limits);
    let field = Field::new(field_name(shape), TypeRef::named(shape.type_of("Similar")), {
        let (shape, links) = (shape.clone(), links.clone());
        move |context| {
            let (shape, links, inner) = (shape.clone(), links.clone(), context.ctx);
            nullable(inner, async move {
                Ok(Some(FieldValue::owned_any(search(&context, &shape, &links).await?)))
            })
        }
    });
    with_reading_arguments(field, shape)
        .description(format!(
            "The rows of {} that are most like something, by the vectors that the job `embed` made of them. \
             The most similar first. Exact, unless the job `vector_index` has made an index.",
            shape.name
        ))
        .argument(InputValue::new("to", TypeRef::named_nn(TO)))
        .argument(InputValue::new("k", TypeRef::named(TypeRef::INT)).description(format!(
            "Rows at most: {} when absent, {most} at most.",
            K_DEFAULT.min(most)
        )))
        .argument(
            InputValue::new("minScore", TypeRef::named(TypeRef::FLOAT))
                .description("Least score, -1 to 1."),
        )
        .argument(
            InputValue::new("vectors", TypeRef::named(TypeRef::STRING))
                .description(format!("The dataset of vectors; {VECTORS} when absent.")),
        )
        .argument(
            InputValue::new("index", TypeRef::named(TypeRef::STRING))
                .description(format!("The dataset of their index; {INDEX} when absent.")),
        )
        .argument(
            InputValue::new("exact", TypeRef::named(TypeRef::BOOLEAN))
                .description("Not to take the index, if there is one."),
        )
}

async fn search(context: &ResolverContext<'_>, shape: &Shape, links: &Links) -> Result<Answer> {
    let state: &RequestState = state(context.ctx)?;
    let limits = &state.service().limits;
    let asked = as_of(argument(context, "asOf").as_ref())?;
    let who = state.who_in_part(Role::Reader)?;
    if asked != AsOf::Latest && !who.grants.sees_whole(&shape.name) {
        // Vectors are of what the rows are now.
        let says = "asOf: of rows that are seen in part, only the newest are searched";
        return Err(Error::user(Code::Forbidden, says));
    }
    let session = state.session(&[(shape.name.clone(), asked)]).await?;
    let table = session.table_of_today(&shape.name).await?;
    let version = state.version_of(&session, &shape.name)?;
    let [key] = shape.key[..] else {
        return Err(Error::internal("a search in a dataset without a key"));
    };
    let mut request = SimilarRequest {
        dataset: shape.name.clone(),
        id_column: shape.columns[key].name.clone(),
        vectors: dataset(context, "vectors", VECTORS)?,
        index: dataset(context, "index", INDEX)?,
        exact: argument(context, "exact") == Some(Value::Boolean(true)),
        to: likeness(argument(context, "to"))?,
        k: k(argument(context, "k").as_ref(), limits)?,
        min_score: min_score(argument(context, "minScore").as_ref())?,
        filter: predicate(shape, argument(context, "where").as_ref(), limits)?,
    };
    let looking = context.ctx.look_ahead();
    let rows_shown = looking.field("matches").field("node").selection_fields();
    let shown = selected(shape, &rows_shown);
    let kept = leading(shape, links, &rows_shown)?;
    let holding = state.holding();
    let reading = Reading { session: &session, table, shape, key, shown, kept, holding };
    let runner = &state.service().runner;
    let mut found = runner.similar(&session, request.clone()).await?;
    let mut rows = reading.rows(&found.rows).await?;
    if rows.places.len() < found.rows.len() && request.filter.is_none() {
        // Some are gone from the dataset since it was embedded: now only among those that are there.
        request.filter = Some(lit(true));
        found = runner.similar(&session, request).await?;
        state.holding().let_go(std::mem::take(&mut rows).bytes);
        rows = reading.rows(&found.rows).await?;
    }
    for (position, count) in &rows.not_finite {
        let place = format!("{}.{}", field_name(shape), shape.columns[*position].field);
        state.warnings.not_finite(&place, *count);
    }
    let field = field_name(shape);
    let loading = Loading { state, session: &session, links, place: &field };
    let related = loading.related(shape, &rows.kept, rows_shown).await?;
    let block = Arc::new(Block { columns: rows.columns.clone(), related });
    let matches = found.rows.iter().filter_map(|row| {
        let place = *rows.places.get(&row.id)?;
        Some(MatchRef { rows: block.clone(), row: place, score: row.score })
    });
    Ok(Answer { version, matches: matches.collect(), found })
}

fn dataset(context: &ResolverContext<'_>, name: &str, default: &str) -> Result<DatasetName> {
    let given = text_argument(context, name);
    DatasetName::new(given.as_deref().unwrap_or(default))
        .map_err(|e| bad_input(format!("{name}: {e}")))
}

fn likeness(to: Option<Value>) -> Result<Likeness> {
    let Some(Value::Object(to)) = to else {
        return Err(bad_input("to: expected one of text, id and vector"));
    };
    let given: Vec<_> = to.into_iter().filter(|(_, value)| *value != Value::Null).collect();
    match <[_; 1]>::try_from(given) {
        Ok([(name, Value::String(text))]) if name == "text" => Ok(Likeness::Text(text)),
        Ok([(name, Value::String(id))]) if name == "id" => Ok(Likeness::Id(id)),
        Ok([(name, Value::List(numbers))]) if name == "vector" => {
            let number = |value| match value {
                Value::Number(number) => number.as_f64().map(|number| number as f32),
                _ => None,
            };
            let numbers: Option<Vec<f32>> = numbers.into_iter().map(number).collect();
            numbers.map(Likeness::Vector).ok_or_else(|| bad_input("to.vector: expected numbers"))
        }
        _ => Err(bad_input("to: expected one of text, id and vector")),
    }
}

fn k_max(limits: &Limits) -> usize {
    limits.page_rows_max.min(SIMILAR_ROWS_MAX)
}

fn k(value: Option<&Value>, limits: &Limits) -> Result<usize> {
    let most = k_max(limits);
    let k = match value {
        None => return Ok(K_DEFAULT.min(most)),
        Some(Value::Number(number)) => number.as_u64().and_then(|n| usize::try_from(n).ok()),
        Some(_) => None,
    };
    match k {
        None | Some(0) => Err(bad_input("k: expected a number of rows, 1 or more")),
        Some(k) if k > most => Err(over_limit("k", most, k)),
        Some(k) => Ok(k),
    }
}

fn min_score(value: Option<&Value>) -> Result<Option<f64>> {
    let Some(value) = value else { return Ok(None) };
    let score = match value {
        Value::Number(number) => number.as_f64(),
        _ => None,
    };
    match score.filter(|score| (-1.0..=1.0).contains(score)) {
        Some(score) => Ok(Some(score)),
        None => Err(bad_input(format!("minScore: expected -1 to 1, found {value}"))),
    }
}

struct Reading<'a> {
    session: &'a Session,
    table: DataFrame,
    shape: &'a Shape,
    key: usize,
    shown: BTreeSet<usize>,
    kept: BTreeSet<usize>,
    holding: &'a Holding,
}

/// Rows by their ids.
#[derive(Default)]
struct FoundRows {
    places: HashMap<String, usize>,
    columns: Arc<Columns>,
    kept: HashMap<usize, ArrayRef>,
    not_finite: Vec<(usize, u64)>,
    /// Bytes that are counted for them.
    bytes: usize,
}

impl Reading<'_> {
    /// The rows that were found; of several with one id any.
    async fn rows(&self, found: &[SimilarRow]) -> Result<FoundRows> {
        let key = &self.shape.columns[self.key];
        let kind = key.kind.arrow_type();
        let ids: Vec<Expr> =
            found.iter().map(|row| cast(lit(row.id.as_str()), kind.clone())).collect();
        let mut output: Vec<Expr> = (self.shown.union(&self.kept))
            .map(|at| by_name(&self.shape.columns[*at].name))
            .collect();
        output.push(cast(by_name(&key.name), DataType::Utf8).alias(ID));
        let frame = self.table.clone().filter(in_list(by_name(&key.name), ids, false))?;
        let frame = frame.select(output)?;
        let batch = collect_bounded(self.session, frame, self.holding).await?;
        let ids = arrow::compute::cast(named(&batch, ID)?, &DataType::Utf8)?;
        let ids = ids.as_string_opt::<i32>();
        let ids = ids.ok_or_else(|| Error::internal("ids that are no texts"))?;
        let places = (0..ids.len()).map(|row| (ids.value(row).to_owned(), row)).collect();
        let (mut columns, mut not_finite, mut bytes) = (Columns::new(), Vec::new(), 0);
        for position in &self.shown {
            let column = &self.shape.columns[*position];
            let converted = to_values(named(&batch, &column.name)?, &column.kind, self.holding)?;
            if converted.not_finite > 0 {
                not_finite.push((*position, converted.not_finite));
            }
            bytes += converted.bytes;
            columns.insert(*position, converted.values);
        }
        let mut kept = HashMap::new();
        for position in &self.kept {
            let column = &self.shape.columns[*position];
            kept.insert(*position, canonical(named(&batch, &column.name)?, &column.kind)?);
        }
        Ok(FoundRows { places, columns: Arc::new(columns), kept, not_finite, bytes })
    }
}
