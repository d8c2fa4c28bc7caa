//! A view that is checked against the dataset that it is made of, and the dataset that it makes.

use arrow::datatypes::DataType;
use chrono::{DateTime, Utc};
use datafusion::logical_expr::{Expr, ExprSchemable};
use datasets::{ColumnSpec, ColumnType, DatasetName, DatasetSpec};
use engine::{Measure, Result, Session};
use serde::Serialize;

use super::NAME;
use super::params::{AT, EXPIRES, Feature, OfRows, Params};
use crate::parameters::bad;
use crate::series::read_measure;
use crate::tables::columns::{column, of_sources, version};
use crate::tables::input::{INSTANTS, InputTable, is_name, time_column};

/// What an entity is named by, in words, for [`is_entity`].
const ENTITIES: &str = "a text, truth value, date or whole number";
/// Aggregates that can be kept while rows come and go, and beside them those that can be kept while rows come.
const SLIDING: [&str; 5] = ["avg", "count", "max", "min", "sum"];
const GROWING: [&str; 6] =
    ["approx_distinct", "count(DISTINCT)", "stddev", "stddev_pop", "var", "var_pop"];

/// Whether values can name an entity.
pub(crate) fn is_entity(data_type: &DataType) -> bool {
    is_name(data_type) || matches!(data_type, DataType::Date32)
}

/// How a feature is made of rows.
pub(super) enum Made {
    /// Of the newest row.
    Value(Expr),
    /// Of rows known within so many microseconds, or all.
    Measure(Measure, Option<i64>),
}

/// A view of a dataset.
pub(super) struct View<'a> {
    pub(super) params: &'a Params,
    pub(super) table: InputTable<'a>,
    /// The column of the instant at which a row happened.
    pub(super) time: String,
    /// Columns of two rows of one instant that say which is the later one.
    pub(super) ties: Vec<String>,
    pub(super) features: Vec<(String, Made)>,
    pub(super) spec: DatasetSpec,
    /// When the dataset was made that it is of.
    made_at: Option<DateTime<Utc>>,
}

/// All that its features follow from beside the rows: of another one all is computed anew.
#[derive(Serialize)]
pub(super) struct Identity<'a> {
    params: &'a Params,
    time: &'a str,
    ties: &'a [String],
    /// What measures are, which the dataset declares.
    measures: Vec<String>,
    made_at: Option<DateTime<Utc>>,
}

impl<'a> View<'a> {
    /// `params`: its own, without what changes no feature.
    pub(super) fn identity<'b>(&'b self, params: &'b Params) -> Result<Identity<'b>> {
        let mut measures = Vec::new();
        for (_, made) in &self.features {
            if let Made::Measure(measure, _) = made {
                let mut parts = Vec::new();
                let value = measure.value(None, |aggregate| {
                    parts.push(aggregate.to_string());
                    format!("part_{}", parts.len())
                })?;
                measures.push(format!("{value} of {}", parts.join(", ")));
            }
        }
        let Self { time, ties, made_at, .. } = self;
        Ok(Identity { params, time, ties, measures, made_at: *made_at })
    }

    /// Checks what is asked against the columns of the dataset.
    pub(super) async fn of(session: &Session, params: &'a Params) -> Result<Self> {
        let table = InputTable::open(session, NAME, &params.dataset).await?;
        let declared = session.catalog().datasets.get(&params.dataset).map(|entry| &entry.spec);
        let time = time_column(session, NAME, &params.dataset, params.time_column.as_deref())?;
        for name in &params.entity {
            table.check("entity", name, ENTITIES, is_entity)?;
        }
        let known = params.known_column.as_ref();
        let instants = [("time_column", Some(&time)), ("known_column", known)];
        let later = params.known_at.values().map(|column| ("known_at", Some(column)));
        for (parameter, name) in instants.into_iter().chain(later) {
            if let Some(name) = name {
                table.check(parameter, name, INSTANTS, |of| of.is_temporal())?;
            }
        }
        for name in params.known_at.keys() {
            table.check("known_at", name, "a column", |_| true)?;
        }
        table.check_condition(session, "where", params.condition.as_deref()).await?;
        let mut features = Vec::new();
        let mut columns = Vec::new();
        for name in &params.entity {
            columns.push(entity_column(declared, &table, name)?);
        }
        columns.push(column(
            AT,
            ColumnType::Timestamp,
            false,
            "The instant from which on these values are known",
        ));
        for (name, feature) in &params.features {
            let (made, column) = read(session, params, &table, name, feature).await?;
            features.push((name.clone(), made));
            columns.push(column);
        }
        columns.push(column(
            EXPIRES,
            ColumnType::Timestamp,
            true,
            "The instant from which on they count no more; null where they always do",
        ));
        columns.push(version());
        let ties = declared.map(|spec| spec.key.clone()).unwrap_or_default();
        let spec = spec(params, columns);
        spec.check()?;
        let entry = session.catalog().datasets.get(&params.dataset);
        let made_at = entry.and_then(|entry| entry.created_at);
        Ok(Self { params, table, time, ties, features, spec, made_at })
    }
}

/// The dataset of a view, with what is known of its columns without the rows that it is made of.
pub(super) fn spec(params: &Params, columns: Vec<ColumnSpec>) -> DatasetSpec {
    let description = format!(
        "Features of {} by {}, a row for each instant at which they change",
        params.dataset,
        params.entity.join(", ")
    );
    let made = of_sources(params.output.clone(), &description, [], Some(AT), columns);
    let key = params.entity.iter().map(String::as_str).chain([AT]).map(str::to_owned).collect();
    DatasetSpec { key, partition_by: Vec::new(), ..made }
}

fn entity_column(
    declared: Option<&DatasetSpec>,
    table: &InputTable<'_>,
    name: &str,
) -> Result<ColumnSpec> {
    if let Some(column) = declared.and_then(|spec| spec.column(name)) {
        return Ok(ColumnSpec { nullable: false, ..column.clone() });
    }
    let field = table.frame.schema().field_with_unqualified_name(name)?;
    let kind = kind_of("entity", name, field.data_type())?;
    Ok(column(name, kind, false, "The entity that the features are of"))
}

fn kind_of(parameter: &str, name: &str, found: &DataType) -> Result<ColumnType> {
    let kind = match found {
        DataType::Null => None,
        found => ColumnType::from_arrow(found),
    };
    kind.ok_or_else(|| {
        bad(NAME, parameter, format!("{name:?}: a dataset has no columns of type {found}"))
    })
}

async fn read(
    session: &Session,
    params: &Params,
    table: &InputTable<'_>,
    name: &str,
    feature: &Feature,
) -> Result<(Made, ColumnSpec)> {
    let fails = |error: engine::Error| bad(NAME, "features", format!("{name}: {error}"));
    match feature {
        Feature::Value(text) => {
            let value = session.safe_expression(&params.dataset, text).await.map_err(fails)?;
            let kind = kind_of("features", name, &value.get_type(table.frame.schema())?)?;
            let unit = unit_of(session, &params.dataset, &value);
            let about = format!("{text}, of the newest row");
            Ok((Made::Value(value), ColumnSpec { unit, ..column(name, kind, true, &about) }))
        }
        Feature::Measure(OfRows { measure, window }) => {
            let read = read_measure(session, NAME, &params.dataset, measure).map_err(fails)?;
            let growing: &[&str] = if window.is_some() { &[] } else { &GROWING };
            let kept = || SLIDING.iter().chain(growing);
            for aggregate in aggregates(&read)? {
                if aggregate.is_ordered {
                    let says = format!(
                        "{name}: {}: an order within it, or values that it passes over, are not taken here",
                        aggregate.name
                    );
                    return Err(bad(NAME, "features", says));
                }
                if !kept().any(|known| *known == aggregate.name) {
                    let says = format!(
                        "{name}: {} can't be kept while rows come{}; expected one of {}",
                        aggregate.name,
                        if window.is_some() { " and leave the window" } else { "" },
                        kept().copied().collect::<Vec<_>>().join(", ")
                    );
                    return Err(bad(NAME, "features", says));
                }
            }
            let about = match window {
                Some(window) => format!("{measure}, of the rows known within {window}"),
                None => format!("{measure}, of all rows known"),
            };
            let column = ColumnSpec {
                unit: read.spec.unit.clone(),
                ..column(name, read.kind.clone(), true, &about)
            };
            Ok((Made::Measure(read, window.map(|window| window.micros())), column))
        }
    }
}

/// The unit of a column that is passed on as it is.
fn unit_of(session: &Session, dataset: &DatasetName, value: &Expr) -> Option<String> {
    let Expr::Column(column) = value else { return None };
    let entry = session.catalog().datasets.get(dataset)?;
    entry.spec.column(&column.name)?.unit.clone()
}

/// An aggregate of a measure.
struct Aggregate {
    /// One of different values is `count(DISTINCT)`.
    name: String,
    is_ordered: bool,
}

fn aggregates(measure: &Measure) -> Result<Vec<Aggregate>> {
    let mut all = Vec::new();
    measure.value(None, |aggregate| {
        if let Expr::AggregateFunction(call) = &aggregate {
            let name = match call.func.name() {
                "var_samp" => "var",
                "stddev_samp" => "stddev",
                name => name,
            };
            all.push(Aggregate {
                name: match call.params.distinct {
                    true => format!("{name}(DISTINCT)"),
                    false => name.to_owned(),
                },
                is_ordered: !call.params.order_by.is_empty()
                    || call.params.null_treatment.is_some(),
            });
        }
        String::from("part")
    })?;
    Ok(all)
}
