//! Rows of both periods as cells: one for each combination of values, with its sums.

use std::collections::HashMap;

use analysis::change::{Cells, Gather, Measure as Of, Rows as RowsOf, TooManyCells};
use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit};
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::functions_aggregate::expr_fn::{approx_distinct, count, sum};
use datafusion::logical_expr::{Expr, cast, ident, lit, when};
use datafusion::prelude::DataFrame;
use datafusion::scalar::ScalarValue;
use engine::{Code, Error, Measure, Result, Session, Shape};
use futures::StreamExt;

use super::NAME;
use super::params::{Between, Params};
use crate::parameters::bad;
use crate::series::read_measure;
use crate::tables::input::{INSTANTS, InputTable, NAMES, is_name, is_text, time_column};

/// Dimensions that are taken where none is named, and the most values that one of these has.
const CHOSEN_MAX: usize = 10;
const CHOSEN_VALUES_MAX: u64 = 1_000;
/// What a row without a value has.
const NONE: &str = "(none)";
/// Memory of a cell beside its codes, and of a code.
const CELL_BYTES: usize = 160;
const CODE_BYTES: usize = 12;
/// Memory of a value beside its text.
const TEXT_BYTES: usize = 64;

/// What is compared.
pub(super) struct Compared {
    pub(super) cells: Cells,
    /// By dimension, the values by their codes.
    pub(super) labels: Vec<Vec<String>>,
    /// Of a quantile, both periods' own; its cells are shares of the rows above the first.
    pub(super) quantiles: Option<[f64; 2]>,
    /// Whether the measure, or what its cells are of, is a share of rows.
    pub(super) is_share: bool,
    pub(super) rows: u64,
}

/// The rows of both periods, and which is which.
struct Rows {
    frame: DataFrame,
    is_later: Expr,
}

/// Checks what is asked against the columns of the dataset; the measure.
pub(super) async fn check(session: &Session, params: &Params) -> Result<Measure> {
    let (table, _) = open(session, params).await?;
    for dimension in &params.dimensions {
        table.check("dimensions", dimension, NAMES, is_name)?;
    }
    table.check_condition(session, "where", params.condition.as_deref()).await?;
    let measure = read_measure(session, NAME, &params.dataset, &params.measure)?;
    if measure.shape().is_none() {
        let says = format!(
            "expected a count, a sum, a mean, a ratio of these or a quantile, found {:?}: what groups add to any other is not known",
            params.measure
        );
        return Err(bad(NAME, "measure", says));
    }
    Ok(measure)
}

async fn open<'a>(session: &Session, params: &'a Params) -> Result<(InputTable<'a>, String)> {
    let table = InputTable::open(session, NAME, &params.dataset).await?;
    let time = time_column(session, NAME, &params.dataset, params.time_column.as_deref())?;
    table.check("time_column", &time, INSTANTS, |t| t.is_temporal())?;
    Ok((table, time))
}

impl Rows {
    async fn of(session: &Session, params: &Params) -> Result<Self> {
        let (table, time) = open(session, params).await?;
        let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let at = cast(ident(time), micros);
        let [earlier, later] = params.periods()?.map(|period| within(&at, period));
        let mut frame = table.frame.filter(earlier.or(later.clone()))?;
        if let Some(condition) = &params.condition {
            frame = frame.filter(session.safe_condition(&params.dataset, condition).await?)?;
        }
        Ok(Self { frame, is_later: later })
    }

    /// Whether both periods have rows.
    async fn has_both(&self, session: &Session) -> Result<bool> {
        let later = when(self.is_later.clone(), lit(1i64)).otherwise(lit(0i64))?;
        let counts = vec![count(lit(1i64)).alias("all"), sum(later).alias("later")];
        let found = session.collect(self.frame.clone().aggregate(Vec::new(), counts)?).await?;
        let count = |at: usize| {
            let counts = found.first()?.column(at).as_primitive::<Int64Type>();
            counts.iter().next().flatten()
        };
        let (all, later) = (count(0).unwrap_or(0), count(1).unwrap_or(0));
        Ok(later > 0 && later < all)
    }

    /// The measure of both periods.
    async fn values(&self, session: &Session, measure: &Measure) -> Result<[Option<f64>; 2]> {
        let mut parts: Vec<Expr> = Vec::new();
        let mut of = |filter: Expr| {
            let value = measure.value(Some(&filter), |aggregate| {
                let name = format!("part_{}", parts.len());
                parts.push(aggregate.alias(&name));
                name
            })?;
            Ok::<_, Error>(cast(value, DataType::Float64))
        };
        let earlier = of(self.is_later.clone().is_not_true())?.alias("earlier");
        let later = of(self.is_later.clone())?.alias("later");
        let computed = self.frame.clone().aggregate(Vec::new(), parts)?;
        let found = session.collect(computed.select(vec![earlier, later])?).await?;
        let value = |at: usize| {
            let column = found.first()?.column(at).as_primitive::<Float64Type>();
            column.iter().next().flatten().filter(|value| value.is_finite())
        };
        Ok([value(0), value(1)])
    }

    /// The columns whose values can carry a change: few enough, more than one, and none that the measure is made of, which would say that
    /// there are more errors because more calls are errors.
    async fn dimensions(
        &self,
        session: &Session,
        params: &Params,
        measure: &Measure,
    ) -> Result<Vec<String>> {
        if !params.dimensions.is_empty() {
            return Ok(params.dimensions.clone());
        }
        let is_made_of = |name: &String| {
            let parts = match measure.shape() {
                Some(Shape::Sum(value)) => vec![value],
                Some(Shape::Ratio { over, under }) => vec![over, under],
                Some(Shape::Quantile { of, .. }) => vec![of],
                None => Vec::new(),
            };
            parts.iter().any(|part| part.column_refs().iter().any(|of| of.name == *name))
        };
        let fields = self.frame.schema().fields();
        let may_be = fields.iter().filter(|field| {
            let can_be = is_text(field.data_type()) || *field.data_type() == DataType::Boolean;
            can_be && !is_made_of(field.name())
        });
        let names: Vec<String> = may_be.map(|field| field.name().clone()).collect();
        if names.is_empty() {
            return Ok(names);
        }
        let counts = names.iter().enumerate().map(|(at, name)| {
            approx_distinct(cast(ident(name), DataType::Utf8)).alias(format!("values_{at}"))
        });
        let counted = self.frame.clone().aggregate(Vec::new(), counts.collect())?;
        let found = session.collect(counted).await?;
        let count = |at: usize| {
            let counts = arrow::compute::cast(found.first()?.column(at), &DataType::Int64).ok()?;
            let count = counts.as_primitive::<Int64Type>().iter().next().flatten()?;
            u64::try_from(count).ok()
        };
        let mut chosen: Vec<(u64, String)> = Vec::new();
        for (at, name) in names.into_iter().enumerate() {
            let values = count(at).filter(|count| (2..=CHOSEN_VALUES_MAX).contains(count));
            chosen.extend(values.map(|values| (values, name)));
        }
        // The coarsest say most.
        chosen.sort_unstable();
        chosen.truncate(CHOSEN_MAX);
        Ok(chosen.into_iter().map(|(_, name)| name).collect())
    }
}

fn within(at: &Expr, period: Between) -> Expr {
    let instant = |micros| lit(ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into())));
    let from = at.clone().gt_eq(instant(period.from.timestamp_micros()));
    from.and(at.clone().lt(instant(period.to.timestamp_micros())))
}

/// Reads both periods.
pub(super) async fn read(
    session: &Session,
    params: &Params,
    measure: &Measure,
    budget_bytes: usize,
    check_stopped: &(dyn Fn() -> Result<()> + Sync),
) -> Result<Compared> {
    let rows = Rows::of(session, params).await?;
    let names = rows.dimensions(session, params, measure).await?;
    if names.is_empty() && rows.has_both(session).await? {
        let says = "expected some: no text or truth value of the dataset, but what the measure is made of, has 2 to 1000 values";
        return Err(bad(NAME, "dimensions", says));
    }
    let mut quantiles = None;
    let (of, over, under) = match measure.shape() {
        Some(Shape::Sum(value)) => (Of::Sum, value, lit(0.0)),
        Some(Shape::Ratio { over, under }) => (Of::Ratio, over, under),
        Some(Shape::Quantile { of, .. }) => {
            let both = rows.values(session, measure).await?;
            // A period without a value is told as one.
            quantiles = both[0].zip(both[1]).map(|(before, after)| [before, after]);
            let before = both[0].unwrap_or(f64::INFINITY);
            let above = cast(of.clone().gt(lit(before)), DataType::Float64);
            let there = cast(of.is_not_null(), DataType::Float64);
            (Of::Ratio, coalesce(vec![above, lit(0.0)]), there)
        }
        None => return Err(Error::internal(format!("{NAME}: the measure was not checked"))),
    };
    let texts = names.iter().enumerate().map(|(at, name)| {
        let text = cast(ident(name), DataType::Utf8);
        coalesce(vec![text, lit(NONE)]).alias(format!("of_{at}"))
    });
    let float = |of: Expr, name: &str| cast(of, DataType::Float64).alias(name);
    let selected = texts.chain([
        rows.is_later.clone().alias("is_later"),
        float(over, "over"),
        float(under, "under"),
    ]);
    let selected = rows.frame.clone().select(selected.collect::<Vec<Expr>>())?;
    let mut gathered = Gathered::new(names.len(), budget_bytes);
    let mut stream = session.stream(selected).await?;
    while let Some(batch) = stream.next().await.transpose()? {
        gathered.add(&batch)?;
        check_stopped()?;
    }
    gathered.finish(of, names, quantiles)
}

/// Cells so far.
struct Gathered {
    /// By dimension, the codes of its values.
    codes: Vec<HashMap<String, u32>>,
    cells: Gather,
    cells_max: usize,
    rows: u64,
    /// Whether each row adds 0 or 1 to both sums.
    is_counted: bool,
    /// Bytes of texts that there is room for.
    text_bytes: usize,
}

impl Gathered {
    fn new(dimensions: usize, budget_bytes: usize) -> Self {
        let text_bytes = budget_bytes / 4;
        let cells_max = (budget_bytes - text_bytes) / (CELL_BYTES + CODE_BYTES * dimensions);
        Self {
            codes: vec![HashMap::new(); dimensions],
            cells: Gather::new(dimensions, cells_max),
            cells_max,
            rows: 0,
            is_counted: true,
            text_bytes,
        }
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let width = self.codes.len();
        let codes = (0..width)
            .map(|at| self.codes_of(at, batch.column(at)))
            .collect::<Result<Vec<Vec<u32>>>>()?;
        let float = |at: usize| -> Vec<f64> {
            let values = batch.column(width + at).as_primitive::<Float64Type>();
            values.iter().map(|value| value.unwrap_or(0.0)).collect()
        };
        let is_later = batch.column(width).as_boolean();
        let (numerators, denominators) = (float(1), float(2));
        let is_one = |value: &f64| *value == 0.0 || *value == 1.0;
        self.is_counted &= numerators.iter().chain(&denominators).all(is_one);
        let rows = RowsOf {
            codes: &codes,
            is_later: &is_later.iter().map(|is_later| is_later == Some(true)).collect::<Vec<_>>(),
            numerators: &numerators,
            denominators: &denominators,
        };
        self.rows += batch.num_rows() as u64;
        self.cells.add(&rows).map_err(|TooManyCells| {
            Error::user(
                Code::ResourcesExhausted,
                format!(
                    "{NAME}: the dimensions have more than {} combinations of values, which is what the memory budget \
                     holds: name fewer `dimensions`, or those with fewer values, or take a larger budget",
                    self.cells_max
                ),
            )
        })
    }

    /// The codes of some rows' values. Of each batch every value is looked up once.
    fn codes_of(&mut self, dimension: usize, texts: &ArrayRef) -> Result<Vec<u32>> {
        let kind = DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8));
        let coded = arrow::compute::cast(texts, &kind)?;
        let coded = coded.as_any_dictionary();
        let mut known = Vec::with_capacity(coded.values().len());
        for text in coded.values().as_string::<i32>().iter() {
            let text = text.unwrap_or(NONE);
            let codes = &mut self.codes[dimension];
            let next = codes.len() as u32;
            let code = match codes.get(text) {
                Some(code) => *code,
                None => {
                    let bytes = text.len() + TEXT_BYTES;
                    let Some(left) = self.text_bytes.checked_sub(bytes) else {
                        let says = "the values of the dimensions are longer together than a quarter of the memory budget";
                        let hint = "name others as `dimensions`, or take a larger budget";
                        let says = format!("{NAME}: {says}: {hint}");
                        return Err(Error::user(Code::ResourcesExhausted, says));
                    };
                    self.text_bytes = left;
                    *codes.entry(text.to_owned()).or_insert(next)
                }
            };
            known.push(code);
        }
        Ok(coded.normalized_keys().into_iter().map(|key| known[key]).collect())
    }

    fn finish(self, of: Of, names: Vec<String>, quantiles: Option<[f64; 2]>) -> Result<Compared> {
        let mut labels = Vec::with_capacity(names.len());
        for codes in self.codes {
            let mut own = vec![String::new(); codes.len()];
            codes.into_iter().for_each(|(text, code)| own[code as usize] = text);
            labels.push(own);
        }
        let sizes = labels.iter().map(|own| own.len() as u32);
        let cells = self.cells.finish(of, names.into_iter().zip(sizes)).map_err(|error| {
            Error::user(Code::BadInput, format!("{NAME}: parameter \"measure\": {error}"))
        })?;
        let is_share = of == Of::Ratio && self.is_counted;
        Ok(Compared { cells, labels, quantiles, is_share, rows: self.rows })
    }
}
