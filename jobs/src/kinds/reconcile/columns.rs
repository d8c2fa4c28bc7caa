//! Which columns are compared, and both datasets as rows of them in the order of their keys.

use std::collections::BTreeMap;

use arrow::datatypes::DataType;
use datafusion::logical_expr::{Expr, cast, ident, lit, try_cast};
use datafusion::prelude::DataFrame;
use datafusion::scalar::ScalarValue;
use engine::{Result, Session};

use super::NAME;
use super::params::{Params, Wins};
use crate::parameters::bad;
use crate::run::context::RunContext;
use crate::series::microseconds;
use crate::tables::input::{INSTANTS, InputTable, is_name, is_text};

/// What is compared.
pub(super) struct Compared<'a> {
    pub(super) key: Vec<String>,
    right_key: Vec<String>,
    /// The names in both.
    pub(super) columns: Vec<(String, String)>,
    /// Columns that both have by one name, of types that can't be compared.
    pub(super) not_comparable: Vec<String>,
    /// As what they are compared.
    types: Vec<DataType>,
    times: Option<(String, String)>,
    left: InputTable<'a>,
    right: InputTable<'a>,
}

type Types = BTreeMap<String, DataType>;

fn types(table: &InputTable<'_>) -> Types {
    let fields = table.frame.schema().fields();
    fields.iter().map(|field| (field.name().clone(), field.data_type().clone())).collect()
}

fn is_key(of: &DataType) -> bool {
    is_name(of) || of.is_temporal()
}

/// Texts and numbers are compared as they are written, instants and truth values as such.
fn is_alike(left: &DataType, right: &DataType) -> bool {
    let is_truth = |of: &DataType| *of == DataType::Boolean;
    left.is_temporal() == right.is_temporal() && is_truth(left) == is_truth(right)
}

/// The one type as which values of two types are compared; none where there is no such.
fn common(left: &DataType, right: &DataType) -> Option<DataType> {
    let exact = |of: &DataType| match of {
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale) => Some((*precision, *scale)),
        of if of.is_integer() => Some((20, 0)),
        _ => None,
    };
    if let (Some((left, left_scale)), Some((right, right_scale))) = (exact(left), exact(right)) {
        let digits = |precision: u8, scale: i8| i16::from(precision) - i16::from(scale);
        let whole = digits(left, left_scale).max(digits(right, right_scale));
        let scale = left_scale.max(right_scale);
        // Where both can not be told exactly they are told nearly.
        let is_room = whole + i16::from(scale) <= 38 && scale >= 0;
        return Some(if is_room { DataType::Decimal128(38, scale) } else { DataType::Float64 });
    }
    match () {
        () if left.is_numeric() && right.is_numeric() => Some(DataType::Float64),
        () if is_text(left) && is_text(right) => Some(DataType::Utf8),
        () if *left == DataType::Boolean && *right == DataType::Boolean => Some(DataType::Boolean),
        () if is_instant(left) && is_instant(right) => Some(microseconds()),
        () => None,
    }
}

fn is_instant(of: &DataType) -> bool {
    matches!(of, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64)
}

/// Checks what is asked against both datasets.
pub(super) async fn check<'a>(session: &Session, params: &'a Params) -> Result<Compared<'a>> {
    let left = InputTable::open(session, NAME, &params.left).await?;
    let right = InputTable::open(session, NAME, &params.right).await?;
    let (of_left, of_right) = (types(&left), types(&right));
    let key = key(session, params)?;
    let right_key = params.right_key.clone().unwrap_or_else(|| key.clone());
    if right_key.len() != key.len() {
        let says = format!("expected {} columns as in `key`, found {}", key.len(), right_key.len());
        return Err(bad(NAME, "right_key", says));
    }
    let expected = "a text, whole number, truth value, timestamp or date";
    let of_right_key = if params.right_key.is_some() { "right_key" } else { "key" };
    for (own, other) in key.iter().zip(&right_key) {
        left.check("key", own, expected, is_key)?;
        let own_type = of_left.get(own).cloned().unwrap_or(DataType::Null);
        let alike = format!("a key that can be the same as {own_type} of dataset {}", params.left);
        right.check(of_right_key, other, &alike, |of| is_key(of) && is_alike(&own_type, of))?;
    }
    let mut not_comparable = Vec::new();
    let columns = match &params.columns {
        Some(columns) => columns.clone().into_iter().collect::<Vec<_>>(),
        None => {
            let is_both = |name: &&String| of_right.contains_key(*name) && !key.contains(*name);
            let fields = left.frame.schema().fields().iter().map(|field| field.name());
            let (both, others): (Vec<&String>, _) = fields.filter(is_both).partition(|name| {
                let types = of_left.get(*name).zip(of_right.get(*name));
                types.is_some_and(|(left, right)| common(left, right).is_some())
            });
            not_comparable = others.into_iter().cloned().collect();
            if both.is_empty() && !not_comparable.is_empty() {
                let says = format!(
                    "nothing can be compared: the types of {} differ; expected columns as {{\"left\": \"right\"}}",
                    not_comparable.join(", ")
                );
                return Err(bad(NAME, "columns", says));
            }
            both.into_iter().map(|name| (name.clone(), name.clone())).collect()
        }
    };
    let mut common_types = Vec::with_capacity(columns.len());
    for (own, other) in &columns {
        left.check("columns", own, "", |_| true)?;
        let says = |of: &DataType| format!("a type that can be compared with {of}");
        let found = of_left.get(own).cloned().unwrap_or(DataType::Null);
        right.check("columns", other, &says(&found), |of| common(&found, of).is_some())?;
        let both = of_right.get(other).and_then(|of| common(&found, of));
        common_types.push(both.unwrap_or(DataType::Utf8));
    }
    let names: Vec<String> = columns.iter().map(|(own, _)| own.clone()).collect();
    params.check_rules(&names)?;
    let times = params.left_time_column.clone().map(|own| {
        let other = params.right_time_column.clone().unwrap_or_else(|| own.clone());
        (own, other)
    });
    if let Some((own, other)) = &times {
        left.check("left_time_column", own, INSTANTS, is_instant)?;
        right.check("right_time_column", other, INSTANTS, is_instant)?;
    }
    left.check_condition(session, "left_where", params.left_where.as_deref()).await?;
    right.check_condition(session, "right_where", params.right_where.as_deref()).await?;
    let types = common_types;
    Ok(Compared { key, right_key, columns, not_comparable, types, times, left, right })
}

fn key(session: &Session, params: &Params) -> Result<Vec<String>> {
    if !params.key.is_empty() {
        return Ok(params.key.clone());
    }
    let spec = session.catalog().datasets.get(&params.left).map(|entry| &entry.spec);
    let key = spec.map(|spec| spec.key.clone()).unwrap_or_default();
    match key.is_empty() {
        false => Ok(key),
        true => {
            let says = format!("expected columns: dataset {} declares no key", params.left);
            Err(bad(NAME, "key", says))
        }
    }
}

impl Compared<'_> {
    /// The rows of both sides: the key, the values, and an instant where one is asked for.
    pub(super) async fn frames(&self, ctx: &RunContext, params: &Params) -> Result<[DataFrame; 2]> {
        let names = |at: fn(&(String, String)) -> &String| self.columns.iter().map(at).collect();
        let left: Vec<&String> = names(|both| &both.0);
        let right: Vec<&String> = names(|both| &both.1);
        let times = self.times.as_ref();
        let is_asked = params.wins.values().any(|wins| *wins == Wins::Newest);
        let time = |name: Option<&String>| name.filter(|_| is_asked).cloned();
        let (left_where, right_where) =
            (params.left_where.as_deref(), params.right_where.as_deref());
        let left_frame = self.left.only_where(ctx, left_where).await?;
        let right_frame = self.right.only_where(ctx, right_where).await?;
        Ok([
            self.frame(left_frame, &self.key, &left, time(times.map(|both| &both.0)))?,
            self.frame(right_frame, &self.right_key, &right, time(times.map(|both| &both.1)))?,
        ])
    }

    fn frame(
        &self,
        frame: DataFrame,
        key: &[String],
        columns: &[&String],
        time: Option<String>,
    ) -> Result<DataFrame> {
        let schema = frame.schema().clone();
        let type_of =
            |name: &str| schema.field_with_unqualified_name(name).map(|of| of.data_type());
        let mut wanted: Vec<Expr> = Vec::new();
        for (at, name) in key.iter().enumerate() {
            // Instants of any unit and zone are written alike.
            let value = match type_of(name)?.is_temporal() {
                true => cast(ident(name), microseconds()),
                false => ident(name),
            };
            wanted.push(cast(value, DataType::Utf8).alias(format!("key_{at}")));
        }
        for (at, (name, of)) in columns.iter().zip(&self.types).enumerate() {
            let value = ident(name.as_str());
            let value = match *type_of(name)? == *of {
                true => value,
                false => try_cast(value, of.clone()),
            };
            wanted.push(value.alias(format!("value_{at}")));
        }
        let none = || lit(ScalarValue::TimestampMicrosecond(None, Some("UTC".into())));
        let time = time.map(|name| cast(ident(name), microseconds()));
        wanted.push(time.unwrap_or_else(none).alias("at"));
        let order = (0..key.len()).map(|at| ident(format!("key_{at}")).sort(true, false));
        Ok(frame.select(wanted)?.sort(order.collect())?)
    }
}
