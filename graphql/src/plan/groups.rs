//! Groups: one plan that filters, groups by columns and time buckets, aggregates, and keeps the groups
//! that `having` takes, in order.
//!
//! Only measures (`measures`) that the answer shows, the order uses or `having` asks for are computed. One that has a `where` of its
//! own is computed over the rows of the group that it takes.

use analysis::calendar::Interval;
use std::collections::{BTreeSet, HashMap};

use arrow::datatypes::DataType;
use async_graphql::Value;
use chrono_tz::Tz;
use datafusion::logical_expr::{Expr, SortExpr, cast, lit};
use datasets::ColumnType;
use engine::Result;

use super::bucket::{bucket, timezone, width};
use super::computed::{Computed, Measured};
use super::literals::literal;
use super::measures::{Family, Measure};
use super::order::{Direction, by_name};
use super::predicate::{Terms, predicate_after};
use crate::error::{bad_input, over_limit};
use crate::limits::Limits;
use crate::shape::Shape;

/// What is asked of groups.
pub(crate) struct GroupsRequest {
    pub(super) keys: Vec<(usize, Expr)>,
    /// How time is cut, which the first key is then.
    pub(super) every: Option<Every>,
    pub(super) top: Option<usize>,
    pub(super) totals: Option<Totals>,
    pub(super) having: Vec<Expr>,
    pub(super) sorting: Vec<SortExpr>,
    pub(super) computed: BTreeSet<Computed>,
    /// What is shown of the bucket before, and of the change since.
    pub(super) earlier: BTreeSet<Computed>,
    /// What `orderBy` compares.
    pub(super) ranking: BTreeSet<Computed>,
    /// Of measures, each once.
    pub(super) filters: Filters,
}

/// How time is cut into intervals.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Every {
    /// The column.
    pub column: usize,
    /// The length of a part.
    pub width: Interval,
    /// The clock.
    pub zone: Tz,
    /// What stands in parts between two that have rows.
    pub fill: Option<Fill>,
}

/// What the measures of a part of time without rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    /// Null.
    Null,
    /// Those of the part before.
    Previous,
    /// On the line between those before and behind.
    Linear,
    /// Zero.
    Zero,
}

/// Which totals stand beside the groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Totals {
    /// Of all rows.
    All,
    /// Of the first keys, of one less and so on, until of all rows.
    Rollup,
    /// Of any of the keys.
    Cube,
}

/// The names of what fills, in the order of the schema, and what they mean.
pub(crate) const FILLS: [(&str, &str, Fill); 4] = [
    ("NULL", "Measures are null.", Fill::Null),
    ("PREVIOUS", "Measures are those of the part before.", Fill::Previous),
    (
        "LINEAR",
        "Measures that are numbers are on the line, by time, between those before and behind.",
        Fill::Linear,
    ),
    ("ZERO", "Measures that are numbers are 0.", Fill::Zero),
];

/// The names of totals, in the order of the schema, and what they mean.
pub(crate) const TOTALS: [(&str, &str, Totals); 3] = [
    ("ALL", "One of all rows.", Totals::All),
    (
        "ROLLUP",
        "One for each value of the first keys, of one key less and so on, and one of all rows.",
        Totals::Rollup,
    ),
    ("CUBE", "One for each combination of values of any of the keys.", Totals::Cube),
];

/// Keys of which every combination may have totals.
const CUBE_KEYS_MAX: usize = 6;

/// Filters of single measures.
#[derive(Debug, Default)]
pub(crate) struct Filters {
    texts: Vec<String>,
    pub(super) conditions: Vec<Expr>,
    /// By the key of the answer that a measure has it under; none where it has no filter.
    pub(super) by_key: HashMap<String, Option<usize>>,
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
pub(super) fn filter_name(filter: usize) -> String {
    format!("_filter_{filter}")
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
    /// `top`.
    pub top: Option<&'a Value>,
    /// `totals`.
    pub totals: Option<&'a Value>,
}

/// What is shown of groups.
#[derive(Debug, Default)]
pub(crate) struct ShownMeasures {
    /// Of themselves.
    pub computed: BTreeSet<Computed>,
    /// Of the bucket before.
    pub earlier: BTreeSet<Computed>,
    /// Whether the bucket before is asked for, if only whether there is one.
    pub has_earlier: bool,
    /// Filters of single measures.
    pub filters: Filters,
}

impl GroupsRequest {
    /// Reads the arguments; `shown` is what the answer shows.
    pub(crate) fn new(
        shape: &Shape,
        arguments: &GroupsArguments<'_>,
        shown: ShownMeasures,
        limits: &Limits,
    ) -> Result<Self> {
        let mut request = Self {
            keys: vec![],
            every: None,
            top: None,
            totals: None,
            having: vec![],
            sorting: vec![],
            computed: shown.computed,
            earlier: shown.earlier,
            ranking: BTreeSet::new(),
            filters: shown.filters,
        };
        request.computed.insert(Computed::rows(None));
        if shown.has_earlier {
            request.earlier.insert(Computed::rows(None));
        }
        request.computed.extend(&request.earlier);
        request.read_keys(shape, arguments)?;
        request.read_top(arguments, limits)?;
        request.read_totals(arguments)?;
        if shown.has_earlier && request.every.is_none() {
            return Err(bad_input(
                "nodes.previous, change, changePercent: there is no part of time before without `every`",
            ));
        }
        if shown.has_earlier && request.totals.is_some() {
            return Err(bad_input("totals: expected no `previous` and no `change` beside them"));
        }
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
        Ok(request)
    }

    fn read_top(&mut self, arguments: &GroupsArguments<'_>, limits: &Limits) -> Result<()> {
        let top = match arguments.top {
            None | Some(Value::Null) => return Ok(()),
            Some(Value::Number(top)) => top.as_u64().and_then(|top| usize::try_from(top).ok()),
            Some(_) => None,
        };
        let top = top.filter(|top| *top > 0);
        let top = top.ok_or_else(|| bad_input("top: expected a number of groups, 1 or more"))?;
        if top > limits.page_rows_max {
            return Err(over_limit("top (groups)", limits.page_rows_max, top));
        }
        if self.ranked_keys().next().is_none() {
            return Err(bad_input("top: groupBy names no column whose values are to be ranked"));
        }
        let is_given = |value: Option<&Value>| value.is_some_and(|value| *value != Value::Null);
        if is_given(arguments.having) || is_given(arguments.totals) {
            return Err(bad_input(
                "top: expected no `having` and no `totals` beside it: the rows of all further groups are one more",
            ));
        }
        self.top = Some(top);
        Ok(())
    }

    fn read_totals(&mut self, arguments: &GroupsArguments<'_>) -> Result<()> {
        let Some(totals) = named_value(arguments.totals, &TOTALS, "totals")? else { return Ok(()) };
        if self.keys.is_empty() {
            return Err(bad_input("totals: there are no keys; expected `groupBy` or `every`"));
        }
        if totals == Totals::Cube && self.keys.len() > CUBE_KEYS_MAX {
            return Err(over_limit("totals: keys of CUBE", CUBE_KEYS_MAX, self.keys.len()));
        }
        if self.every.is_some_and(|every| every.fill.is_some()) {
            return Err(bad_input("totals: expected no `every.fill` beside them"));
        }
        self.totals = Some(totals);
        Ok(())
    }

    /// The keys that are no parts of time.
    pub(super) fn ranked_keys(&self) -> impl Iterator<Item = usize> {
        let bucket = self.every.map(|every| every.column);
        self.keys().filter(move |key| Some(*key) != bucket)
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
            let width = width(text("width").unwrap_or_default())?;
            let zone = timezone(text("timezone").unwrap_or("UTC"))?;
            if let (Interval::Fixed(_), ColumnType::Date) = (width, &shape.at(column).kind) {
                return Err(bad_input(format!(
                    "every.width: {} holds days; expected a width of at least 1d",
                    shape.at(column).called()
                )));
            }
            let cut = bucket(shape.at(column).value(), width, zone);
            let fill = named_value(every.get("fill"), &FILLS, "every.fill")?;
            self.every = Some(Every { column, width, zone, fill });
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
        if let Some(number) = shape.declared(field) {
            let computed = Computed::declared(number, None);
            self.computed.insert(computed);
            let number = cast(by_name(&computed.name()), DataType::Float64);
            return self.compare(number, &ColumnType::Float64, value, &format!("having.{field}"));
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
            let is_of_one = measure.family != Family::Pairs;
            let is_number = counts || column.kind.is_numeric();
            is_of_one && is_number && measure.family.result(shape, column).is_some()
        };
        let column = shape.position(field).filter(fits).ok_or_else(|| {
            bad_input(format!("{place}.{}.{field}: expected a column of numbers", measure.field))
        })?;
        let of = Measured::Column { measure, column, with: None };
        let computed = Computed { of, filter: None };
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
            } else if let Some(number) = shape.declared(field) {
                let computed = Computed::declared(number, None);
                self.computed.insert(computed);
                self.ranking.insert(computed);
                Direction::named(value)?.sort(by_name(&computed.name()))
            } else if Measure::named(field).is_some() {
                let (measure, columns) = measure_of(field, value, "orderBy")?;
                for (name, direction) in columns {
                    let computed = self.compared(shape, measure, name, "orderBy")?;
                    self.ranking.insert(computed);
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
                if self.top.is_some() && self.every.is_some_and(|every| every.column == column) {
                    return Err(bad_input(format!(
                        "orderBy.{field}: `top` ranks groups over all time; the parts of time come in their order"
                    )));
                }
                Direction::named(value)?.sort(by_name(&key_name(column)))
            };
            self.sorting.push(term);
        }
        Ok(())
    }

    /// The filter of the measure that has `key` in the answer.
    pub(crate) fn filter(&self, key: &str) -> Option<usize> {
        self.filters.by_key.get(key).copied().flatten()
    }

    /// Whether the parts of time without rows are groups, too.
    pub(crate) fn is_filled(&self) -> bool {
        self.every.is_some_and(|every| every.fill.is_some())
    }

    /// Whether groups that are not at the top are one.
    pub(crate) fn has_top(&self) -> bool {
        self.top.is_some()
    }

    /// Whether totals stand beside groups.
    pub(crate) fn has_totals(&self) -> bool {
        self.totals.is_some()
    }

    /// The key columns, as positions in the shape.
    pub(crate) fn keys(&self) -> impl Iterator<Item = usize> {
        self.keys.iter().map(|(column, _)| *column)
    }
}

/// The column of a plan that has a key.
pub(crate) fn key_name(column: usize) -> String {
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

pub(crate) fn enum_column(shape: &Shape, value: &Value, place: &str) -> Result<usize> {
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

/// What the value of an enum means; none where it is absent.
fn named_value<T: Copy>(
    value: Option<&Value>,
    known: &[(&str, &str, T)],
    place: &str,
) -> Result<Option<T>> {
    let name = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Enum(name)) => name.as_str(),
        Some(Value::String(name)) => name.as_str(),
        Some(_) => "",
    };
    let found = known.iter().find(|(known, ..)| *known == name).map(|(.., value)| *value);
    found.map(Some).ok_or_else(|| {
        let names: Vec<_> = known.iter().map(|(name, ..)| *name).collect();
        bad_input(format!("{place}: expected one of {}", names.join(", ")))
    })
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
