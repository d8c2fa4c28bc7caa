//! Groups: one plan that filters, groups by columns and time buckets, aggregates, and keeps the groups
//! that `having` takes, in order.
//!
//! Only aggregates that the answer shows, the order uses or `having` asks for are computed. Sums of
//! integers are made in 38-digit decimals, because a wrapped 64-bit sum is a wrong number without a
//! sign of it. Percentiles are exact (interpolated between neighbours); a query whose values do not
//! fit the memory budget fails with RESOURCES_EXHAUSTED instead of becoming approximate.

use std::collections::{BTreeSet, HashMap};

use arrow::datatypes::DataType;
use async_graphql::Value;
use datafusion::dataframe::DataFrame;
use datafusion::functions_aggregate::expr_fn as aggregates;
use datafusion::functions_aggregate::percentile_cont::percentile_cont;
use datafusion::logical_expr::{Expr, SortExpr, cast, lit};
use datasets::ColumnType;
use engine::{Result, Session};

use super::bucket::{Width, bucket, timezone};
use super::holding::Holding;
use super::literals::literal;
use super::order::{Direction, by_name};
use super::page::{collect_bounded, count_rows, named};
use super::values::to_values;
use crate::error::bad_input;
use crate::shape::{Column, Shape};

/// What is computed over the values of a column in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Aggregate {
    /// Sum.
    Sum,
    /// Mean.
    Avg,
    /// Least value.
    Min,
    /// Greatest value.
    Max,
    /// Median.
    P50,
    /// 95th percentile.
    P95,
    /// 99th percentile.
    P99,
}

impl Aggregate {
    /// Every aggregate.
    pub(crate) const ALL: [Self; 7] =
        [Self::Sum, Self::Avg, Self::Min, Self::Max, Self::P50, Self::P95, Self::P99];

    /// Its field.
    pub(crate) fn field(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Min => "min",
            Self::Max => "max",
            Self::P50 => "p50",
            Self::P95 => "p95",
            Self::P99 => "p99",
        }
    }

    /// What it is, for the schema's documentation.
    pub(crate) fn description(self) -> &'static str {
        match self {
            Self::Sum => "Sums.",
            Self::Avg => "Means.",
            Self::Min => "Least values.",
            Self::Max => "Greatest values.",
            Self::P50 => "Medians, exact, interpolated between neighbours.",
            Self::P95 => "95th percentiles, exact, interpolated between neighbours.",
            Self::P99 => "99th percentiles, exact, interpolated between neighbours.",
        }
    }

    /// The type of its result over `column`; `None` where it has no meaning.
    pub(crate) fn result(self, column: &Column) -> Option<ColumnType> {
        let numeric = column.kind.is_numeric();
        match self {
            Self::Sum => match &column.kind {
                ColumnType::Int32 | ColumnType::Int64 => Some(ColumnType::Decimal(38, 0)),
                ColumnType::Float32 | ColumnType::Float64 => Some(ColumnType::Float64),
                ColumnType::Decimal(_, scale) => Some(ColumnType::Decimal(38, *scale)),
                _ => None,
            },
            Self::Min | Self::Max => (numeric || column.is_temporal()).then(|| column.kind.clone()),
            Self::Avg | Self::P50 | Self::P95 | Self::P99 => numeric.then_some(ColumnType::Float64),
        }
    }

    fn expression(self, column: &Column) -> Expr {
        let value = || column.value();
        let float = || cast(value(), DataType::Float64);
        let percentile = |part: f64| percentile_cont(float().sort(true, false), lit(part));
        match self {
            Self::Sum => match &column.kind {
                ColumnType::Int32 | ColumnType::Int64 => cast(
                    aggregates::sum(cast(value(), DataType::Decimal128(28, 0))),
                    DataType::Decimal128(38, 0),
                ),
                ColumnType::Decimal(_, scale) => {
                    let scale = *scale as i8;
                    cast(aggregates::sum(value()), DataType::Decimal128(38, scale))
                }
                _ => aggregates::sum(float()),
            },
            Self::Avg => aggregates::avg(float()),
            Self::Min => aggregates::min(value()),
            Self::Max => aggregates::max(value()),
            Self::P50 => percentile(0.50),
            Self::P95 => percentile(0.95),
            Self::P99 => percentile(0.99),
        }
    }
}

/// What is asked of groups.
pub(crate) struct GroupsRequest {
    keys: Vec<(usize, Expr)>,
    having: Vec<Expr>,
    sorting: Vec<SortExpr>,
    computed: BTreeSet<(Aggregate, usize)>,
}

/// Groups that were read.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// How many.
    pub rows: usize,
    /// Whether more were there.
    pub has_more: bool,
    /// Rows in each.
    pub counts: Vec<Value>,
    /// Key columns.
    pub keys: HashMap<usize, Vec<Value>>,
    /// Aggregated columns.
    pub aggregates: HashMap<(Aggregate, usize), Vec<Value>>,
    /// Values that could not be expressed.
    pub not_finite: u64,
}

/// The arguments of a groups field.
pub(crate) struct GroupsArguments<'a> {
    /// `groupBy`.
    pub group_by: Option<&'a Value>,
    /// `every`.
    pub every: Option<&'a Value>,
    /// `having`.
    pub having: Option<&'a Value>,
    /// `orderBy`.
    pub order_by: Option<&'a Value>,
}

const COUNT: &str = "_count";

impl GroupsRequest {
    /// Reads the arguments; `shown` are the aggregates that the answer shows.
    pub(crate) fn new(
        shape: &Shape,
        arguments: &GroupsArguments<'_>,
        shown: BTreeSet<(Aggregate, usize)>,
    ) -> Result<Self> {
        let mut request = Self { keys: vec![], having: vec![], sorting: vec![], computed: shown };
        request.read_keys(shape, arguments)?;
        if let Some(Value::Object(having)) = arguments.having {
            for (field, value) in having {
                request.read_having(shape, field, value)?;
            }
        }
        let entries = match arguments.order_by {
            None | Some(Value::Null) => &[][..],
            Some(Value::List(entries)) => entries.as_slice(),
            Some(single) => std::slice::from_ref(single),
        };
        for entry in entries {
            request.read_order(shape, entry)?;
        }
        let ascending = Direction { ascending: true, nulls_first: false };
        let keys: Vec<SortExpr> =
            request.keys.iter().map(|(i, _)| ascending.sort(by_name(&key_name(*i)))).collect();
        request.sorting.extend(keys);
        Ok(request)
    }

    fn read_keys(&mut self, shape: &Shape, arguments: &GroupsArguments<'_>) -> Result<()> {
        let names = match arguments.group_by {
            None | Some(Value::Null) => &[][..],
            Some(Value::List(names)) => names.as_slice(),
            Some(single) => std::slice::from_ref(single),
        };
        for name in names {
            let column = enum_column(shape, name, "groupBy")?;
            if self.keys.iter().all(|(i, _)| *i != column) {
                self.keys.push((column, shape.at(column).value()));
            }
        }
        if let Some(Value::Object(every)) = arguments.every {
            let text = |field: &str| match every.get(field) {
                Some(Value::String(text)) => Some(text.as_str()),
                _ => None,
            };
            let column = match (every.get("column"), shape.time) {
                (None | Some(Value::Null), Some(time)) => time,
                (Some(name), _) => enum_column(shape, name, "every.column")?,
                (None, None) => {
                    return Err(bad_input(format!(
                        "every.column: {} has no time column; name one",
                        shape.name
                    )));
                }
            };
            let width: Width = text("width").unwrap_or_default().parse()?;
            let zone = timezone(text("timezone").unwrap_or("UTC"))?;
            if let (Width::Seconds(_), ColumnType::Date) = (width, &shape.at(column).kind) {
                return Err(bad_input(format!(
                    "every.width: {} holds days; expected a width of at least 1d",
                    shape.at(column).called()
                )));
            }
            let cut = bucket(shape.at(column).value(), width, zone);
            self.keys.retain(|(i, _)| *i != column);
            self.keys.insert(0, (column, cut));
        }
        Ok(())
    }

    fn read_having(&mut self, shape: &Shape, field: &str, value: &Value) -> Result<()> {
        if *value == Value::Null {
            return Ok(());
        }
        if field == "count" {
            return self.compare(by_name(COUNT), &ColumnType::Int64, value, "having.count");
        }
        let (aggregate, columns) = aggregate_of(field, value, "having")?;
        for (name, operators) in columns {
            let column = numeric_column(shape, aggregate, name, "having")?;
            self.computed.insert((aggregate, column));
            let number = cast(by_name(&aggregate_name(aggregate, column)), DataType::Float64);
            let place = format!("having.{field}.{name}");
            self.compare(number, &ColumnType::Float64, operators, &place)?;
        }
        Ok(())
    }

    fn compare(
        &mut self,
        left: Expr,
        kind: &ColumnType,
        operators: &Value,
        place: &str,
    ) -> Result<()> {
        let Value::Object(operators) = operators else {
            return Ok(());
        };
        for (operator, value) in operators {
            let right = lit(literal(kind, value, &format!("{place}.{operator}"))?);
            let left = left.clone();
            self.having.push(match operator.as_str() {
                "eq" => left.eq(right),
                "ne" => left.not_eq(right),
                "gt" => left.gt(right),
                "gte" => left.gt_eq(right),
                "lt" => left.lt(right),
                "lte" => left.lt_eq(right),
                other => return Err(bad_input(format!("{place}: there is no operator {other}"))),
            });
        }
        Ok(())
    }

    fn read_order(&mut self, shape: &Shape, entry: &Value) -> Result<()> {
        let Value::Object(entry) = entry else {
            return Err(bad_input(format!("orderBy: expected objects, found {entry}")));
        };
        for (field, value) in entry {
            let term = if field == "count" {
                Direction::named(value)?.sort(by_name(COUNT))
            } else if Aggregate::ALL.iter().any(|a| a.field() == field.as_str()) {
                let (aggregate, columns) = aggregate_of(field, value, "orderBy")?;
                for (name, direction) in columns {
                    let column = numeric_column(shape, aggregate, name, "orderBy")?;
                    self.computed.insert((aggregate, column));
                    let key = by_name(&aggregate_name(aggregate, column));
                    self.sorting.push(Direction::named(direction)?.sort(key));
                }
                continue;
            } else {
                let column = shape
                    .all()
                    .find(|(_, column)| column.in_group() == field.as_str())
                    .map(|(column, _)| column)
                    .filter(|column| self.keys.iter().any(|(key, _)| key == column))
                    .ok_or_else(|| {
                        bad_input(format!("orderBy.{field}: groups are not made by this column"))
                    })?;
                Direction::named(value)?.sort(by_name(&key_name(column)))
            };
            self.sorting.push(term);
        }
        Ok(())
    }

    /// The key columns, as positions in the shape.
    pub(crate) fn keys(&self) -> impl Iterator<Item = usize> {
        self.keys.iter().map(|(column, _)| *column)
    }

    fn plan(&self, shape: &Shape, table: DataFrame) -> Result<DataFrame> {
        let keys = self.keys.iter().map(|(i, key)| key.clone().alias(key_name(*i))).collect();
        let mut computed = vec![aggregates::count(lit(1i64)).alias(COUNT)];
        computed.extend(self.computed.iter().map(|(aggregate, column)| {
            aggregate.expression(shape.at(*column)).alias(aggregate_name(*aggregate, *column))
        }));
        let groups = table.aggregate(keys, computed)?;
        Ok(match self.having.iter().cloned().reduce(Expr::and) {
            Some(having) => groups.filter(having)?,
            None => groups,
        })
    }

    /// Reads the first groups of `table`.
    pub(crate) async fn read(
        &self,
        session: &Session,
        shape: &Shape,
        table: DataFrame,
        first: usize,
        holding: &Holding,
    ) -> Result<Groups> {
        let mut frame = self.plan(shape, table)?;
        if !self.sorting.is_empty() {
            frame = frame.sort(self.sorting.clone())?;
        }
        let frame = frame.limit(0, Some(first + 1))?;
        let batch = collect_bounded(session, frame, holding).await?;
        let rows = batch.num_rows().min(first);
        let mut groups = Groups { rows, has_more: batch.num_rows() > first, ..Groups::default() };
        let mut values = |name: &str, kind: &ColumnType| -> Result<Vec<Value>> {
            let converted = to_values(&named(&batch, name)?.slice(0, rows), kind, holding)?;
            groups.not_finite += converted.not_finite;
            Ok(converted.values)
        };
        let counts = values(COUNT, &ColumnType::Int64)?;
        let mut keys = HashMap::new();
        for column in self.keys() {
            keys.insert(column, values(&key_name(column), &shape.at(column).kind)?);
        }
        let mut computed = HashMap::new();
        for (aggregate, column) in &self.computed {
            let Some(kind) = aggregate.result(shape.at(*column)) else { continue };
            let name = aggregate_name(*aggregate, *column);
            computed.insert((*aggregate, *column), values(&name, &kind)?);
        }
        (groups.counts, groups.keys, groups.aggregates) = (counts, keys, computed);
        Ok(groups)
    }

    /// Counts the groups of `table`.
    pub(crate) async fn count(
        &self,
        session: &Session,
        shape: &Shape,
        table: DataFrame,
    ) -> Result<u64> {
        count_rows(session, self.plan(shape, table)?, None).await
    }
}

fn key_name(column: usize) -> String {
    format!("_key_{column}")
}

fn aggregate_name(aggregate: Aggregate, column: usize) -> String {
    format!("_{}_{column}", aggregate.field())
}

fn enum_column(shape: &Shape, value: &Value, place: &str) -> Result<usize> {
    let name = match value {
        Value::Enum(name) => name.as_str(),
        Value::String(name) => name.as_str(),
        _ => "",
    };
    shape
        .all()
        .find(|(_, column)| column.in_enum() == name)
        .map(|(column, _)| column)
        .ok_or_else(|| bad_input(format!("{place}: {} has no column {value}", shape.name)))
}

type Entries = async_graphql::indexmap::IndexMap<async_graphql::Name, Value>;

fn aggregate_of<'a>(
    field: &str,
    value: &'a Value,
    place: &str,
) -> Result<(Aggregate, &'a Entries)> {
    let aggregate = Aggregate::ALL.into_iter().find(|a| a.field() == field);
    match (aggregate, value) {
        (Some(aggregate), Value::Object(columns)) => Ok((aggregate, columns)),
        _ => Err(bad_input(format!(
            "{place}.{field}: expected an aggregate and an object of columns"
        ))),
    }
}

fn numeric_column(shape: &Shape, aggregate: Aggregate, field: &str, place: &str) -> Result<usize> {
    shape
        .position(field)
        .filter(|column| {
            shape.at(*column).kind.is_numeric() && aggregate.result(shape.at(*column)).is_some()
        })
        .ok_or_else(|| {
            bad_input(format!(
                "{place}.{}.{field}: expected a column of numbers",
                aggregate.field()
            ))
        })
}
