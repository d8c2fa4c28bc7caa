//! What goes together: the columns of the rows and of the views, checked against each other.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::{cast, ident, lit, when};
use datafusion::prelude::DataFrame;
use datasets::{ColumnSpec, ColumnType, DatasetName, DatasetSpec};
use engine::{Error, Result, Session, did_you_mean};

use super::NAME;
use super::as_of::Join;
use super::params::{Asked, Params};
use crate::kinds::features::{EXPIRES, is_entity};
use crate::parameters::bad;
use crate::run::context::RunContext;
use crate::series::{INSTANT_MAX_US, microseconds};
use crate::tables::columns::{column, of_sources, type_name};
use crate::tables::input::{INSTANTS, InputTable, is_text, time_column};

/// What is asked for, checked.
pub(super) struct Plan<'a> {
    params: &'a Params,
    rows: InputTable<'a>,
    time: String,
    views: Vec<Use>,
    pub(super) spec: DatasetSpec,
    /// The columns that say since when features were known, of each view one.
    pub(super) since: Vec<String>,
}

/// A view as it is used.
struct Use {
    view: DatasetName,
    frame: DataFrame,
    /// Of the rows, and of the view.
    entity: Vec<(String, String)>,
    view_time: String,
    has_expiry: bool,
    /// Features, and how they are called.
    features: Vec<(String, String)>,
}

/// Rows that were looked at.
pub(super) struct Looked {
    pub(super) rows: u64,
    /// Without an instant, or with one too far from today.
    pub(super) left_out: u64,
}

impl<'a> Plan<'a> {
    pub(super) async fn of(session: &Session, params: &'a Params) -> Result<Self> {
        let rows = InputTable::open(session, NAME, &params.dataset).await?;
        let declared = session.catalog().datasets.get(&params.dataset).map(|entry| &entry.spec);
        let time = time_column(session, NAME, &params.dataset, params.time_column.as_deref())?;
        rows.check("time_column", &time, INSTANTS, |of| of.is_temporal())?;
        rows.check_condition(session, "where", params.condition.as_deref()).await?;
        let mut columns = Vec::new();
        for field in rows.frame.schema().fields() {
            let known = declared.and_then(|spec| spec.column(field.name())).cloned();
            match (known, ColumnType::from_arrow(field.data_type())) {
                (Some(known), _) => columns.push(known),
                (None, Some(kind)) => columns.push(column(field.name(), kind, true, "")),
                (None, None) => {}
            }
        }
        let mut views = Vec::new();
        for asked in params.asked()? {
            let view = Use::of(session, params, &rows, asked, &mut columns).await?;
            views.push(view);
        }
        if let Some(unused) = params
            .entity
            .keys()
            .find(|name| !views.iter().any(|view| view.entity.iter().any(|(_, of)| of == *name)))
        {
            let says = format!("no view names its entities by {unused:?}");
            return Err(bad(NAME, "entity", says));
        }
        let since = views.iter().map(|view| since_name(&view.view)).collect();
        let key = declared.map(|spec| spec.key.clone()).unwrap_or_default();
        let spec = spec(params, key, columns, Some(time.clone()));
        spec.check()?;
        Ok(Self { params, rows, time, views, spec, since })
    }

    /// Counts rows that can't be asked features for.
    pub(super) async fn look(&self, ctx: &RunContext) -> Result<Looked> {
        let frame = self.rows.only_where(ctx, self.params.condition.as_deref()).await?;
        let known = when(self.is_known(), lit(1_i64)).end()?;
        let counts = vec![count(lit(1_i64)).alias("rows"), count(known).alias("known")];
        let counted = ctx.session().collect(frame.aggregate(Vec::new(), counts)?).await?;
        let number = |at: usize| {
            let batch = counted.iter().find(|batch| batch.num_rows() > 0);
            match batch.map(|batch| ScalarValue::try_from_array(batch.column(at), 0)).transpose()? {
                Some(ScalarValue::Int64(Some(count))) => Ok(count.unsigned_abs()),
                _ => Err(Error::internal(format!("{NAME}: a count that is none"))),
            }
        };
        let rows = number(0)?;
        Ok(Looked { rows, left_out: rows - number(1)? })
    }

    fn is_known(&self) -> datafusion::logical_expr::Expr {
        let most = INSTANT_MAX_US as i64;
        let micros = cast(cast(ident(&self.time), microseconds()), DataType::Int64);
        micros.between(lit(-most), lit(most))
    }

    /// The rows with their features.
    pub(super) async fn frame(&self, ctx: &RunContext) -> Result<DataFrame> {
        let frame = self.rows.only_where(ctx, self.params.condition.as_deref()).await?;
        let of_rows = self.rows.frame.schema().fields().iter();
        let of_rows = of_rows.filter(|field| self.spec.column(field.name()).is_some());
        let names: Vec<_> = of_rows.map(|field| ident(field.name())).collect();
        let mut frame = frame.filter(self.is_known())?.select(names)?;
        for (of, since) in self.views.iter().zip(&self.since) {
            let join = Join {
                entity: of.entity.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect(),
                time: &self.time,
                view_time: &of.view_time,
                expires: of.has_expiry.then_some(EXPIRES),
                features: of.features.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect(),
                since,
                same_instant: self.params.same_instant,
            };
            frame = join.of(frame, of.frame.clone())?;
        }
        Ok(frame)
    }
}

/// The name of the column that says since when a view's features were known.
fn since_name(view: &DatasetName) -> String {
    format!("{view}_at")
}

/// That column.
pub(super) fn since(view: &DatasetName) -> ColumnSpec {
    let about = format!("The instant from which on the features of {view} were known");
    column(&since_name(view), ColumnType::Timestamp, true, &about)
}

/// The dataset of the rows.
pub(super) fn spec(
    params: &Params,
    key: Vec<String>,
    columns: Vec<ColumnSpec>,
    time: Option<String>,
) -> DatasetSpec {
    let description =
        format!("Rows of {} with features as they were known at their instants", params.dataset);
    let made = of_sources(params.output.clone(), &description, [], time.as_deref(), columns);
    DatasetSpec { key, partition_by: Vec::new(), ..made }
}

impl Use {
    /// Adds the columns of its features to `columns`.
    async fn of(
        session: &Session,
        params: &Params,
        rows: &InputTable<'_>,
        asked: Asked,
        columns: &mut Vec<ColumnSpec>,
    ) -> Result<Self> {
        let view = asked.view;
        let fails = |says: String| bad(NAME, "features", format!("{view}: {says}"));
        let Some(entry) = session.catalog().datasets.get(&view) else {
            let near = did_you_mean(
                view.as_str(),
                session.catalog().datasets.keys().map(DatasetName::as_str),
            );
            let near = near.map(|near| format!("; {near}")).unwrap_or_default();
            return Err(fails(format!("there is no such dataset{near}")));
        };
        let spec = &entry.spec;
        let Some((view_time, of_entity)) = view_key(spec) else {
            return Err(fails(
                "it is no feature view: its key does not end with its time column; the job features makes such a dataset".to_owned(),
            ));
        };
        let mut entity = Vec::new();
        for name in of_entity {
            let of_rows = params.entity.get(name).unwrap_or(name);
            let parameter = if params.entity.contains_key(name) { "entity" } else { "features" };
            rows.check(parameter, of_rows, "what names an entity", is_entity)?;
            let found = rows.frame.schema().field_with_unqualified_name(of_rows)?.data_type();
            let there = spec.column(name).map(|column| column.data_type.arrow_type());
            let there = there.unwrap_or(DataType::Utf8);
            if !are_alike(found, &there) {
                let says = format!(
                    "column {of_rows:?} of {} is {}, and {name:?} of {view} is {}",
                    params.dataset,
                    type_name(found),
                    type_name(&there)
                );
                return Err(bad(NAME, parameter, says));
            }
            entity.push((of_rows.clone(), name.clone()));
        }
        let is_feature = |column: &&ColumnSpec| {
            !spec.key.contains(&column.name)
                && ![EXPIRES, "source_version"].contains(&column.name.as_str())
        };
        let all: Vec<&ColumnSpec> = spec.columns.iter().filter(is_feature).collect();
        let names: Vec<String> = match asked.features {
            None => all.iter().map(|column| column.name.clone()).collect(),
            Some(names) => names,
        };
        let mut features = Vec::new();
        for name in names {
            let Some(found) = all.iter().find(|column| column.name == name) else {
                let near = did_you_mean(&name, all.iter().map(|column| column.name.as_str()));
                let near = near.map(|near| format!("; {near}")).unwrap_or_default();
                return Err(fails(format!("it has no feature {name:?}{near}")));
            };
            let called = match params.prefix {
                true => format!("{view}_{name}"),
                false => name.clone(),
            };
            add(
                columns,
                ColumnSpec { name: called.clone(), nullable: true, ..(*found).clone() },
                &view,
            )?;
            features.push((name, called));
        }
        add(columns, since(&view), &view)?;
        Ok(Self {
            frame: session.table(&view).await?,
            entity,
            view_time: view_time.to_owned(),
            has_expiry: spec.column(EXPIRES).is_some(),
            features,
            view,
        })
    }
}

/// The time column and the entity's columns of a dataset whose key ends with its time column, as that of a feature view does.
pub(crate) fn view_key(spec: &DatasetSpec) -> Option<(&str, &[String])> {
    let time = spec.time_column.as_deref()?;
    match spec.key.split_last() {
        Some((last, entity)) if last == time && !entity.is_empty() => Some((time, entity)),
        _ => None,
    }
}

fn add(columns: &mut Vec<ColumnSpec>, column: ColumnSpec, view: &DatasetName) -> Result<()> {
    if columns.iter().any(|other| other.name == column.name) {
        let says = format!(
            "{view}: there is a column {:?} already; `prefix` has features called by their view, too",
            column.name
        );
        return Err(bad(NAME, "features", says));
    }
    columns.push(column);
    Ok(())
}

/// Whether values of the two can name the same entity.
fn are_alike(a: &DataType, b: &DataType) -> bool {
    a == b || (is_text(a) && is_text(b)) || (a.is_integer() && b.is_integer())
}
