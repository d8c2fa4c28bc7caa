//! Series that are computed of rows: a measure of those of each interval, for each group.

use analysis::series::Span;
use arrow::datatypes::DataType;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::{Expr, cast, ident, lit};
use datafusion::prelude::DataFrame;
use datasets::{DatasetName, MeasureFormat, MeasureSpec};
use engine::{Measure, Result, Semantics, Session};

use super::{AT, ROWS, VALUE, microseconds};
use crate::parameters::bad;

/// Intervals are counted from here: 1970-01-05, a Monday.
pub(crate) const ORIGIN_US: i64 = 4 * 86_400_000_000;
/// What it is called among the measures of its dataset.
const NAME: &str = "computed_for_series";

/// The measure of `dataset` of that name, or of that expression. BAD_INPUT names the parameter and says what is wrong with it.
pub(crate) fn read_measure(
    session: &Session,
    job: &str,
    dataset: &DatasetName,
    text: &str,
) -> Result<Measure> {
    // What is asked for is no measure of the spec, whatever it is made of here.
    let of_spec = format!("spec of {dataset}: measure {NAME:?}: ");
    let fails = |error: engine::Error| {
        bad(job, "measure", error.to_string().replacen(&of_spec, &format!("{text}: "), 1))
    };
    let Some(entry) = session.catalog().datasets.get(dataset) else {
        return Err(bad(job, "dataset", format!("there is no dataset {dataset}")));
    };
    let mut spec = entry.spec.clone();
    let is_declared = spec.measures.iter().any(|measure| measure.name == text);
    let name = if is_declared { text } else { NAME };
    if !is_declared {
        spec.measures.push(MeasureSpec {
            name: NAME.to_owned(),
            expression: text.to_owned(),
            unit: None,
            description: String::new(),
            format: MeasureFormat::default(),
            decimals: None,
        });
    }
    let measure = Semantics::of(&spec).measure(name).cloned().map_err(fails)?;
    match measure.kind.arrow_type() {
        kind if kind.is_numeric() => Ok(measure),
        kind => Err(bad(job, "measure", format!("expected a number, {text:?} is {kind}"))),
    }
}

/// A measure of the rows of each interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct MeasureOf<'a> {
    /// The name of one that the dataset declares, or an expression of aggregates.
    pub(crate) text: &'a str,
    pub(crate) interval: Span,
}

impl MeasureOf<'_> {
    /// What it is. BAD_INPUT names the parameter and says what is wrong with it.
    pub(crate) fn read(
        &self,
        session: &Session,
        job: &str,
        dataset: &DatasetName,
    ) -> Result<Measure> {
        read_measure(session, job, dataset, self.text)
    }

    /// The beginning of the interval that holds an instant.
    pub(crate) fn begin(&self, at_us: i64) -> i64 {
        at_us - (at_us - ORIGIN_US).rem_euclid(self.interval.micros())
    }

    /// A row for each group and interval that has rows: the groups, then [`AT`], [`VALUE`] and [`ROWS`].
    pub(crate) fn of_intervals(
        &self,
        rows: DataFrame,
        measure: &Measure,
        groups: Vec<Expr>,
        at: Expr,
    ) -> Result<DataFrame> {
        let mut parts: Vec<Expr> = vec![count(lit(1)).alias(ROWS)];
        let value = measure.value(None, |aggregate| {
            let name = format!("part_{}", parts.len());
            parts.push(aggregate.alias(&name));
            name
        })?;
        let names = groups.iter().map(|group| group.schema_name().to_string());
        let mut wanted: Vec<Expr> = names.map(ident).collect();
        let value = cast(value, DataType::Float64).alias(VALUE);
        wanted.extend([ident(AT), value, cast(ident(ROWS), DataType::Int64).alias(ROWS)]);
        let mut groups = groups;
        groups.push(self.begin_of(at).alias(AT));
        Ok(rows.aggregate(groups, parts)?.select(wanted)?)
    }

    /// The beginning of the interval that an instant lies in. Not by `date_bin`, which counts in nanoseconds, and knows no instant
    /// beyond the year 2262.
    pub(crate) fn begin_of(&self, at: Expr) -> Expr {
        let (at, width) = (cast(at, DataType::Int64), lit(self.interval.micros()));
        let after = (at.clone() - lit(ORIGIN_US)) % width.clone();
        let begin = at - (after + width.clone()) % width;
        cast(begin, microseconds())
    }
}
