//! Rows of an answer as a table.

use std::cmp::Ordering;

use crate::format::{Format, Kind};
use crate::make::Maker;
use crate::report::{Body, Column, Table};
use crate::template::{ColumnSpec, Format as _, MOST_COLUMNS, Order, TableSection};
use crate::value::{Rows, Value};

/// Letters of one cell.
const MOST_LETTERS: usize = 240;

pub(crate) fn table(maker: &Maker<'_>, section: &TableSection) -> Result<Body, String> {
    let rows = maker.rows(&section.query)?;
    if rows.count() == 0 {
        return maker.nothing(section.empty.as_ref());
    }
    fill(section, rows).map_err(|problem| format!("query {}: {problem}", section.query))
}

fn fill(section: &TableSection, rows: &Rows) -> Result<Body, String> {
    let all = plain(rows);
    let columns = if section.columns.is_empty() { &all } else { &section.columns };
    if columns.len() > MOST_COLUMNS {
        return Err(format!(
            "{} columns: at most {MOST_COLUMNS}; name those that are shown",
            columns.len()
        ));
    }
    let mut order: Vec<usize> = (0..rows.count()).collect();
    if let Some(by) = &section.sort {
        sort(&mut order, &rows.column(&by.column)?, by);
    }
    let shown = section.rows.min(order.len());
    let mut table = Table {
        columns: Vec::new(),
        rows: vec![Vec::new(); shown],
        total: columns.iter().any(|column| column.total).then(Vec::new),
        left_out: None,
    };
    for spec in columns {
        let values = rows.column(&spec.column)?;
        let is_number = values.iter().any(Value::is_number)
            && values.iter().all(|value| value.is_number() || *value == Value::Null);
        let (label, format) = heading(spec, is_number);
        let mut letters = label.chars().count();
        for (cells, row) in table.rows.iter_mut().zip(&order) {
            let cell = values.get(*row).map(|value| format.apply(value)).unwrap_or_default();
            let cell = crate::value::clean(&cell, MOST_LETTERS);
            letters = letters.max(cell.chars().count());
            cells.push(cell);
        }
        if let Some(total) = &mut table.total {
            let first = if total.is_empty() { "Total" } else { "" };
            let sum = if spec.total { format.apply(&sum(&values)) } else { first.to_owned() };
            letters = letters.max(sum.chars().count());
            total.push(sum);
        }
        table.columns.push(Column { label, is_number, letters });
    }
    let rest = order.len() - shown;
    table.left_out = (rest > 0).then(|| {
        let number =
            |count| Format::default().apply(&Value::Integer(i128::try_from(count).unwrap_or(0)));
        format!(
            "{} of {} rows are shown; {} more are left out.",
            number(shown),
            number(order.len()),
            number(rest)
        )
    });
    Ok(Body::Table(table))
}

fn plain(rows: &Rows) -> Vec<ColumnSpec> {
    let columns = rows.columns().into_iter();
    columns.map(|name| ColumnSpec { column: name.to_owned(), ..ColumnSpec::default() }).collect()
}

/// A unit that every number would repeat stands in the heading.
fn heading(spec: &ColumnSpec, is_number: bool) -> (String, Format) {
    let mut format = spec.written();
    let mut label = spec.label.clone().unwrap_or_else(|| spec.column.replace('_', " "));
    if is_number
        && matches!(format.kind, Kind::Auto | Kind::Number | Kind::Compact)
        && let Some(unit) = format.unit.take()
    {
        label = format!("{label}, {unit}");
    }
    (crate::value::clean(&label, 160), format)
}

/// Nulls last.
fn sort(order: &mut [usize], values: &[Value], by: &Order) {
    order.sort_by(|a, b| {
        let (a, b) =
            (values.get(*a).unwrap_or(&Value::Null), values.get(*b).unwrap_or(&Value::Null));
        match (a, b) {
            (Value::Null, Value::Null) => Ordering::Equal,
            (Value::Null, _) => Ordering::Greater,
            (_, Value::Null) => Ordering::Less,
            _ => {
                let way = match (a, b) {
                    (Value::Text(a), Value::Text(b)) => a.cmp(b),
                    _ => {
                        let number = |value: &Value| value.as_number().unwrap_or(f64::NEG_INFINITY);
                        number(a).total_cmp(&number(b))
                    }
                };
                if by.is_descending { way.reverse() } else { way }
            }
        }
    });
}

/// Exact where the values are.
fn sum(values: &[Value]) -> Value {
    let mut integers: Option<i128> = Some(0);
    let mut decimals: Option<(i128, u8)> = None;
    let mut is_decimal = true;
    for value in values {
        match value {
            Value::Null => {}
            Value::Integer(number) => {
                integers = integers.and_then(|sum| sum.checked_add(*number));
                is_decimal = false;
            }
            Value::Decimal { digits, scale } => {
                integers = None;
                decimals = match decimals {
                    None => Some((*digits, *scale)),
                    Some((sum, same)) if same == *scale => {
                        sum.checked_add(*digits).map(|sum| (sum, same))
                    }
                    Some(_) => None,
                };
                is_decimal &= decimals.is_some();
            }
            _ => (integers, is_decimal) = (None, false),
        }
    }
    match (integers, decimals) {
        (Some(sum), _) => Value::Integer(sum),
        (None, Some((digits, scale))) if is_decimal => Value::Decimal { digits, scale },
        _ => Value::Number(values.iter().filter_map(Value::as_number).sum()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_exact_where_the_values_are() {
        let decimal = |digits| Value::Decimal { digits, scale: 2 };
        assert_eq!(sum(&[decimal(10), Value::Null, decimal(20)]), decimal(30));
        assert_eq!(sum(&[Value::Integer(1), Value::Integer(2)]), Value::Integer(3));
        assert_eq!(sum(&[Value::Integer(1), Value::Number(0.5)]), Value::Number(1.5));
        assert_eq!(
            sum(&[Value::Integer(i128::MAX), Value::Integer(1)]),
            Value::Number(i128::MAX as f64 + 1.0)
        );
    }

    #[test]
    fn nulls_are_last_either_way() {
        let values = [Value::Integer(1), Value::Null, Value::Integer(3)];
        let mut order = vec![0, 1, 2];
        let by = |is_descending| Order { column: "c".into(), is_descending };
        sort(&mut order, &values, &by(true));
        assert_eq!(order, [2, 0, 1]);
        sort(&mut order, &values, &by(false));
        assert_eq!(order, [0, 2, 1]);
    }
}
