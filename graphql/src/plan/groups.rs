//! Groups: one plan that filters, groups by columns and time buckets, aggregates, and keeps the groups
//! that `having` takes, in order.
//!
//! Only measures (`measures`) that the answer shows, the order uses or `having` asks for are computed. One that has a `where` of its
//! own is computed over the rows of the group that it takes.

use std::collections::{BTreeSet, HashMap};

use arrow::datatypes::DataType;
use async_graphql::Value;
use datafusion::dataframe::DataFrame;
use datafusion::functions_aggregate::expr_fn as aggregates;
use datafusion::logical_expr::{Expr, SortExpr, cast, lit};
use datasets::ColumnType;
use engine::{Result, Session};

use super::bucket::{Width, bucket, timezone};
use super::holding::Holding;
use super::literals::literal;
use super::measures::{Family, Measure, filtered};
use super::order::{Direction, by_name};
use super::page::{collect_bounded, count_rows, named};
use super::predicate::{Terms, predicate_after};
use super::values::to_values;
use crate::error::{bad_input, over_limit};
use crate::limits::Limits;
use crate::shape::Shape;

/// What is asked of groups.
pub(crate) struct GroupsRequest {
    keys: Vec<(usize, Expr)>,
    having: Vec<Expr>,
    sorting: Vec<SortExpr>,
    computed: BTreeSet<Computed>,
    /// Of measures, each once.
    filters: Filters,
}

/// A measure of a column, over the rows that one of the filters takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Computed {
    /// The measure; none for the number of rows.
    pub measure: Option<&'static Measure>,
    /// The column, as a position in the shape; 0 where there is no measure.
    pub column: usize,
    /// The filter, as a position among those of the request.
    pub filter: Option<usize>,
}

impl Computed {
    /// The rows that a filter takes, counted.
    pub(crate) fn rows(filter: Option<usize>) -> Self {
        Self { measure: None, column: 0, filter }
    }

    fn name(&self) -> String {
        let field = self.measure.map_or("count", |measure| measure.field);
        match self.filter {
            None => format!("_{field}_{}", self.column),
            Some(filter) => format!("_{field}_{}_{filter}", self.column),
        }
    }

    fn result(&self, shape: &Shape) -> Option<ColumnType> {
        match self.measure {
            None => Some(ColumnType::Int64),
            Some(measure) => measure.family.result(shape, shape.at(self.column)),
        }
    }
}

/// Filters of single measures.
#[derive(Debug, Default)]
pub(crate) struct Filters {
    texts: Vec<String>,
    conditions: Vec<Expr>,
    /// By the key of the answer that a measure has it under; none where it has no filter.
    by_key: HashMap<String, Option<usize>>,
    terms: Terms,
}

/// Different filters of the measures of one field.
const FILTERS_MAX: usize = 32;

impl Filters {
    /// Takes the `where` of a measure that has `key` in the answer; answers with its position.
    pub(crate) fn take(
        &mut self,
        shape: &Shape,
        key: &str,
        value: Option<&Value>,
        limits: &Limits,
    ) -> Result<Option<usize>> {
        let position = self.position(shape, key, value, limits)?;
        match self.by_key.insert(key.to_owned(), position) {
            // Of several `nodes`, each may have its own.
            Some(other) if other != position => Err(bad_input(format!(
                "{key}: measures with other filters have this key in the answer; give one of them an alias of its own"
            ))),
            _ => Ok(position),
        }
    }

    fn position(
        &mut self,
        shape: &Shape,
        key: &str,
        value: Option<&Value>,
        limits: &Limits,
    ) -> Result<Option<usize>> {
        let text = value.map(Value::to_string).unwrap_or_default();
        let known = self.texts.iter().position(|known| *known == text);
        if known.is_some() {
            return Ok(known);
        }
        let read = predicate_after(shape, value, limits, &mut self.terms);
        let read = read.map_err(|error| error.while_doing(format_args!("{key}")))?;
        let Some(condition) = read else { return Ok(None) };
        if self.texts.len() >= FILTERS_MAX {
            let found = self.texts.len() + 1;
            return Err(over_limit("different filters of measures", FILTERS_MAX, found));
        }
        self.texts.push(text);
        self.conditions.push(condition);
        Ok(Some(self.texts.len() - 1))
    }
}

/// The column of a plan that says which rows a filter takes.
fn filter_name(filter: usize) -> String {
    format!("_filter_{filter}")
}

/// Groups that were read.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// How many.
    pub rows: usize,
    /// Whether more were there.
    pub has_more: bool,
    /// Key columns.
    pub keys: HashMap<usize, Vec<Value>>,
    /// What was computed.
    pub computed: HashMap<Computed, Vec<Value>>,
    /// Filters, by the key of the answer that a measure has one under.
    filters: HashMap<String, Option<usize>>,
    /// Values that could not be expressed.
    pub not_finite: u64,
}

impl Groups {
    /// What was computed in a group; null where a group has no values.
    pub(crate) fn value(&self, of: &Computed, row: usize) -> Value {
        let values = self.computed.get(of);
        values.and_then(|values| values.get(row)).cloned().unwrap_or_default()
    }

    /// The filter of the measure that has `key` in the answer.
    pub(crate) fn filter(&self, key: &str) -> Option<usize> {
        self.filters.get(key).copied().flatten()
    }
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

impl GroupsRequest {
    /// Reads the arguments; `shown` is what the answer shows, by these filters.
    pub(crate) fn new(
        shape: &Shape,
        arguments: &GroupsArguments<'_>,
        shown: BTreeSet<Computed>,
        filters: Filters,
    ) -> Result<Self> {
        let (keys, having, sorting) = (vec![], vec![], vec![]);
        let mut request = Self { keys, having, sorting, computed: shown, filters };
        request.computed.insert(Computed::rows(None));
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
        let chosen = chosen_columns(shape, arguments.group_by, "groupBy")?;
        self.keys = chosen.into_iter().map(|column| (column, shape.at(column).value())).collect();
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
            let count = by_name(&Computed::rows(None).name());
            return self.compare(count, &ColumnType::Int64, value, "having.count");
        }
        let (measure, columns) = measure_of(field, value, "having")?;
        for (name, operators) in columns {
            let computed = self.compared(shape, measure, name, "having")?;
            let (value, place) = (by_name(&computed.name()), format!("having.{field}.{name}"));
            match measure.family {
                Family::Counts => self.compare(value, &ColumnType::Int64, operators, &place)?,
                _ => {
                    let number = cast(value, DataType::Float64);
                    self.compare(number, &ColumnType::Float64, operators, &place)?;
                }
            }
        }
        Ok(())
    }

    /// A measure that groups are compared by.
    fn compared(
        &mut self,
        shape: &Shape,
        measure: &'static Measure,
        field: &str,
        place: &str,
    ) -> Result<Computed> {
        let fits = |column: &usize| {
            let column = shape.at(*column);
            let counts = measure.family == Family::Counts;
            (counts || column.kind.is_numeric()) && measure.family.result(shape, column).is_some()
        };
        let column = shape.position(field).filter(fits).ok_or_else(|| {
            bad_input(format!("{place}.{}.{field}: expected a column of numbers", measure.field))
        })?;
        let computed = Computed { measure: Some(measure), column, filter: None };
        self.computed.insert(computed);
        Ok(computed)
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
            // A NaN is not greater than anything, and is shown as null.
            let number = |comparison: Expr| match kind {
                ColumnType::Float64 => comparison.and(left.clone().lt_eq(lit(f64::INFINITY))),
                _ => comparison,
            };
            self.having.push(match operator.as_str() {
                "eq" => left.eq(right),
                "ne" => number(left.clone().not_eq(right)),
                "gt" => number(left.clone().gt(right)),
                "gte" => number(left.clone().gt_eq(right)),
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
                Direction::named(value)?.sort(by_name(&Computed::rows(None).name()))
            } else if Measure::named(field).is_some() {
                let (measure, columns) = measure_of(field, value, "orderBy")?;
                for (name, direction) in columns {
                    let computed = self.compared(shape, measure, name, "orderBy")?;
                    self.sorting.push(Direction::named(direction)?.sort(by_name(&computed.name())));
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
        let computed = self.computed.iter().map(|of| {
            let filter = of.filter.map(|filter| by_name(&filter_name(filter)));
            let value = match of.measure {
                None => filtered(aggregates::count(lit(1i64)), filter.as_ref()),
                Some(measure) => measure.over(shape, shape.at(of.column), filter.as_ref()),
            };
            value.alias(of.name())
        });
        // Each is held against a row once, whatever is measured by it.
        let table =
            self.filters.conditions.iter().enumerate().try_fold(table, |table, (at, of)| {
                table.with_column(&filter_name(at), of.clone())
            })?;
        let groups = table.aggregate(keys, computed.collect())?;
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
        let mut keys = HashMap::new();
        for column in self.keys() {
            keys.insert(column, values(&key_name(column), &shape.at(column).kind)?);
        }
        let mut computed = HashMap::new();
        for of in &self.computed {
            let Some(kind) = of.result(shape) else { continue };
            computed.insert(*of, values(&of.name(), &kind)?);
        }
        (groups.keys, groups.computed) = (keys, computed);
        groups.filters.clone_from(&self.filters.by_key);
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

/// The columns that a list of values of an enum names, each once.
pub(crate) fn chosen_columns(
    shape: &Shape,
    value: Option<&Value>,
    place: &str,
) -> Result<Vec<usize>> {
    let names = match value {
        None | Some(Value::Null) => &[][..],
        Some(Value::List(names)) => names.as_slice(),
        Some(single) => std::slice::from_ref(single),
    };
    let mut columns = Vec::with_capacity(names.len());
    for name in names {
        let column = enum_column(shape, name, place)?;
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
    Ok(columns)
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

fn measure_of<'a>(
    field: &str,
    value: &'a Value,
    place: &str,
) -> Result<(&'static Measure, &'a Entries)> {
    match (Measure::named(field), value) {
        (Some(measure), Value::Object(columns)) => Ok((measure, columns)),
        _ => {
            Err(bad_input(format!("{place}.{field}: expected a measure and an object of columns")))
        }
    }
}
