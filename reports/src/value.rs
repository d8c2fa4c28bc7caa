//! Values of answers, as Arrow has them: one cell is a [`Value`].

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float64Type, Int64Type, Schema, SchemaRef, TimeUnit,
    TimestampMicrosecondType, UInt64Type,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::{DateTime, NaiveDate, Utc};

/// One cell of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// A whole number.
    Integer(i128),
    /// A number.
    Number(f64),
    /// An exact number: `digits` / 10^`scale`.
    Decimal {
        /// All its digits as one number.
        digits: i128,
        /// How many of them are behind the point.
        scale: u8,
    },
    /// A text, or what has no other form here, as text.
    Text(String),
    /// True or false.
    Truth(bool),
    /// A day.
    Date(NaiveDate),
    /// An instant.
    Instant(DateTime<Utc>),
}

/// Letters of a text that a report shows; the rest becomes `…`.
pub const MOST_LETTERS: usize = 400;

impl Value {
    /// As a number, for axes, sums and orders: instants and days in seconds since 1970.
    pub fn as_number(&self) -> Option<f64> {
        let number = match self {
            Self::Null | Self::Text(_) => return None,
            #[expect(clippy::cast_precision_loss, reason = "for pixels and orders")]
            Self::Integer(number) => *number as f64,
            Self::Number(number) => *number,
            #[expect(clippy::cast_precision_loss, reason = "for pixels and orders")]
            Self::Decimal { digits, scale } => *digits as f64 / 10_f64.powi(i32::from(*scale)),
            Self::Truth(truth) => f64::from(u8::from(*truth)),
            Self::Date(day) => seconds(day.and_hms_opt(0, 0, 0)?.and_utc()),
            Self::Instant(at) => seconds(*at),
        };
        number.is_finite().then_some(number)
    }

    /// Whether it is a point of time.
    pub fn is_time(&self) -> bool {
        matches!(self, Self::Date(_) | Self::Instant(_))
    }

    /// Whether it is a number.
    pub fn is_number(&self) -> bool {
        matches!(self, Self::Integer(_) | Self::Number(_) | Self::Decimal { .. })
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of some thousand years")]
fn seconds(at: DateTime<Utc>) -> f64 {
    at.timestamp_micros() as f64 / 1e6
}

/// The rows that answer one query.
#[derive(Debug, Clone)]
pub struct Rows {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

impl Rows {
    /// Rows of one schema, in order.
    pub fn new(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        Self { schema, batches }
    }

    /// Rows of batches, of which there is one at least.
    pub fn of(batches: Vec<RecordBatch>) -> Self {
        let schema = batches.first().map_or_else(|| Schema::empty().into(), RecordBatch::schema);
        Self { schema, batches }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// Names of the columns.
    pub fn columns(&self) -> Vec<&str> {
        self.schema.fields().iter().map(|field| field.name().as_str()).collect()
    }

    /// All cells of a column; what columns there are where it is none.
    pub(crate) fn column(&self, name: &str) -> Result<Vec<Value>, String> {
        let index = self.schema.index_of(name).map_err(|_| self.unknown(name))?;
        let mut values = Vec::with_capacity(self.count());
        for batch in &self.batches {
            read(batch.column(index).as_ref(), &mut values)
                .map_err(|error| format!("column {name}: {error}"))?;
        }
        Ok(values)
    }

    /// The cell of the first row, where there is one.
    pub(crate) fn first(&self, name: &str) -> Result<Option<Value>, String> {
        let index = self.schema.index_of(name).map_err(|_| self.unknown(name))?;
        let Some(batch) = self.batches.iter().find(|batch| batch.num_rows() > 0) else {
            return Ok(None);
        };
        let mut values = Vec::new();
        read(batch.column(index).slice(0, 1).as_ref(), &mut values)
            .map_err(|error| format!("column {name}: {error}"))?;
        Ok(values.pop())
    }

    fn unknown(&self, name: &str) -> String {
        let columns = self.columns();
        match nearest(name, &columns) {
            Some(near) => format!("no column {name:?}; there is {near:?}"),
            None => format!("no column {name:?}; there are {}", columns.join(", ")),
        }
    }
}

/// The name that was meant, where one is near.
pub(crate) fn nearest<'a>(name: &str, names: &[&'a str]) -> Option<&'a str> {
    let near = |other: &&str| strsim::jaro_winkler(name, other);
    names
        .iter()
        .max_by(|a, b| near(a).total_cmp(&near(b)))
        .filter(|other| near(other) > 0.8)
        .copied()
}

fn read(array: &dyn Array, values: &mut Vec<Value>) -> Result<(), arrow::error::ArrowError> {
    let as_type = |to: &DataType| cast(array, to);
    match array.data_type() {
        DataType::Null => values.extend((0..array.len()).map(|_| Value::Null)),
        DataType::Boolean => push(values, array.as_boolean().iter(), Value::Truth),
        DataType::UInt64 => {
            push(values, array.as_primitive::<UInt64Type>().iter(), |n| Value::Integer(n.into()));
        }
        kind if kind.is_integer() => {
            let array = as_type(&DataType::Int64)?;
            push(values, array.as_primitive::<Int64Type>().iter(), |n| Value::Integer(n.into()));
        }
        kind if kind.is_floating() => {
            let array = as_type(&DataType::Float64)?;
            push(values, array.as_primitive::<Float64Type>().iter(), Value::Number);
        }
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale)
            if *scale >= 0 =>
        {
            let (scale, array) =
                (scale.unsigned_abs(), as_type(&DataType::Decimal128(38, *scale))?);
            let digits = array.as_primitive::<Decimal128Type>().iter();
            push(values, digits, |digits| Value::Decimal { digits, scale });
        }
        DataType::Decimal256(..) => {
            let array = as_type(&DataType::Float64)?;
            push(values, array.as_primitive::<Float64Type>().iter(), Value::Number);
        }
        DataType::Date32 | DataType::Date64 => {
            let array = as_type(&DataType::Date32)?;
            let days = array.as_primitive::<Date32Type>().iter();
            values.extend(days.map(|day| {
                day.and_then(Date32Type::to_naive_date_opt).map_or(Value::Null, Value::Date)
            }));
        }
        DataType::Timestamp(_, zone) => {
            let array = as_type(&DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))?;
            let instants = array.as_primitive::<TimestampMicrosecondType>().iter();
            values.extend(instants.map(|at| {
                at.and_then(DateTime::from_timestamp_micros).map_or(Value::Null, Value::Instant)
            }));
        }
        DataType::Duration(_) => {
            let array =
                cast(&as_type(&DataType::Duration(TimeUnit::Microsecond))?, &DataType::Int64)?;
            #[expect(clippy::cast_precision_loss, reason = "shown with few digits")]
            push(values, array.as_primitive::<Int64Type>().iter(), |n| {
                Value::Number(n as f64 / 1e6)
            });
        }
        DataType::Dictionary(_, kind) => read(as_type(kind)?.as_ref(), values)?,
        _ => {
            let options = FormatOptions::new();
            let formatter = ArrayFormatter::try_new(array, &options)?;
            values.extend((0..array.len()).map(|row| {
                if array.is_null(row) {
                    return Value::Null;
                }
                let text = formatter.value(row).try_to_string();
                text.map_or(Value::Null, |text| Value::Text(clean(&text, MOST_LETTERS)))
            }));
        }
    }
    Ok(())
}

fn push<T>(
    values: &mut Vec<Value>,
    of: impl Iterator<Item = Option<T>>,
    value: impl Fn(T) -> Value,
) {
    values.extend(of.map(|item| item.map_or(Value::Null, &value)));
}

/// One line of letters that can be shown: no control characters, none that turn the direction of what follows, and no more than `most`.
pub fn clean(text: &str, most: usize) -> String {
    let mut out = String::new();
    let (mut letters, mut after_space) = (0, true);
    for letter in text.chars() {
        let turns = matches!(letter, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}');
        let is_none = turns || matches!(letter, '\u{FFFE}' | '\u{FFFF}' | '\u{FFF9}'..='\u{FFFB}');
        if is_none {
            continue;
        }
        let is_space = letter.is_control()
            || letter.is_whitespace() && letter != '\u{a0}' && letter != '\u{202f}';
        if is_space && after_space {
            continue;
        }
        if letters == most {
            out.truncate(out.trim_end().len());
            out.push('…');
            return out;
        }
        out.push(if is_space { ' ' } else { letter });
        after_space = is_space;
        letters += 1;
    }
    out.truncate(out.trim_end().len());
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, Date32Array, Decimal128Array, DictionaryArray, Float32Array, Int8Array,
        ListArray, StringArray, StringViewArray, TimestampNanosecondArray, UInt64Array,
    };
    use arrow::datatypes::{Int32Type, Int64Type};

    use super::*;

    fn column(array: ArrayRef) -> Vec<Value> {
        Rows::of(vec![RecordBatch::try_from_iter([("c", array)]).unwrap()]).column("c").unwrap()
    }

    #[test]
    fn cells_of_all_types_are_read() {
        let text = |text: &str| Value::Text(text.into());
        assert_eq!(
            column(Arc::new(Int8Array::from(vec![Some(-3), None]))),
            [Value::Integer(-3), Value::Null]
        );
        assert_eq!(
            column(Arc::new(UInt64Array::from(vec![u64::MAX]))),
            [Value::Integer(u64::MAX.into())]
        );
        assert_eq!(column(Arc::new(Float32Array::from(vec![0.5]))), [Value::Number(0.5)]);
        let decimals = Decimal128Array::from(vec![125]).with_precision_and_scale(10, 2).unwrap();
        assert_eq!(column(Arc::new(decimals)), [Value::Decimal { digits: 125, scale: 2 }]);
        assert_eq!(column(Arc::new(StringViewArray::from(vec!["a\nb"]))), [text("a b")]);
        let dictionary: DictionaryArray<Int32Type> = ["x", "x"].into_iter().collect();
        assert_eq!(column(Arc::new(dictionary)), [text("x"), text("x")]);
        let day = NaiveDate::from_ymd_opt(1970, 1, 2).unwrap();
        assert_eq!(column(Arc::new(Date32Array::from(vec![1]))), [Value::Date(day)]);
        let at = TimestampNanosecondArray::from(vec![86_400_000_000_000]).with_timezone("UTC");
        assert_eq!(
            column(Arc::new(at)),
            [Value::Instant(day.and_hms_opt(0, 0, 0).unwrap().and_utc())]
        );
        let list =
            ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1), Some(2)])]);
        assert_eq!(column(Arc::new(list)), [text("[1, 2]")]);
    }

    #[test]
    fn an_unknown_column_names_the_near_one() {
        let rows = Rows::of(vec![
            RecordBatch::try_from_iter([(
                "model",
                Arc::new(StringArray::from(vec!["a"])) as ArrayRef,
            )])
            .unwrap(),
        ]);
        assert_eq!(rows.column("modle").unwrap_err(), r#"no column "modle"; there is "model""#);
        assert_eq!(rows.column("x").unwrap_err(), r#"no column "x"; there are model"#);
    }

    #[test]
    fn texts_are_one_line_of_letters_that_can_be_shown() {
        assert_eq!(clean(" a\r\n\u{0}b\u{202e}c  d ", 100), "a bc d");
        assert_eq!(clean("abcdef", 3), "abc…");
        assert_eq!(clean("abc", 3), "abc");
    }
}
