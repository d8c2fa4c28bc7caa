//! The rows of one dataset in the order of their keys, one key after the other.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{
    Array, AsArray, BooleanArray, Decimal128Array, Float64Array, PrimitiveArray, RecordBatch,
    StringArray,
};
use arrow::compute::kernels::cast_utils::string_to_datetime;
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, TimestampMicrosecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::Utc;
use datafusion::execution::SendableRecordBatchStream;
use engine::{Error, Result};
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use super::NAME;
use super::params::Tolerance;
use crate::run::context::check;
use crate::tables::columns::texts;

/// How many times the last digit of a float it may be off where it is said by how much two are apart.
const ROUNDING: f64 = 4.0;
/// Rows between two looks at whether anybody still waits.
const ROWS_UNLOOKED: u64 = 16_384;

/// Rows of a batch, with their keys and the values that are compared.
pub(super) struct Loaded {
    keys: Vec<StringArray>,
    values: Vec<Values>,
    at: Option<PrimitiveArray<TimestampMicrosecondType>>,
    rows: usize,
}

/// Values of a column as they are compared.
enum Values {
    Exact(Decimal128Array),
    Float(Float64Array),
    Text(StringArray),
    Truth(BooleanArray),
    Time(PrimitiveArray<TimestampMicrosecondType>),
}

/// How two values are beside each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Beside {
    Equal,
    /// Apart, and not further than they may be.
    Near,
    /// By so much, where that can be said.
    Apart(Option<f64>),
}

/// What makes texts equal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Alike {
    pub(super) trim: bool,
    pub(super) ignore_case: bool,
}

impl Values {
    fn of(batch: &RecordBatch, at: usize) -> Result<Self> {
        let broken = || Error::internal(format!("{NAME}: other columns than were asked for"));
        let column = batch.columns().get(at).ok_or_else(broken)?;
        Ok(match column.data_type() {
            DataType::Decimal128(..) => {
                Self::Exact(column.as_primitive::<Decimal128Type>().clone())
            }
            DataType::Float64 => Self::Float(column.as_primitive::<Float64Type>().clone()),
            DataType::Boolean => Self::Truth(column.as_boolean().clone()),
            DataType::Timestamp(..) => {
                Self::Time(column.as_primitive_opt().cloned().ok_or_else(broken)?)
            }
            _ => Self::Text(texts(batch, at)?),
        })
    }

    fn array(&self) -> &dyn Array {
        match self {
            Self::Exact(of) => of,
            Self::Float(of) => of,
            Self::Text(of) => of,
            Self::Truth(of) => of,
            Self::Time(of) => of,
        }
    }

    fn shown(&self, row: usize) -> Option<String> {
        if self.array().is_null(row) {
            return None;
        }
        if let Self::Text(of) = self {
            return Some(of.value(row).to_owned());
        }
        let options = FormatOptions::new();
        let formatter = ArrayFormatter::try_new(self.array(), &options).ok()?;
        let shown = formatter.value(row).to_string();
        // Decimals have the digits of both sides.
        let is_padded = matches!(self, Self::Exact(of) if of.scale() > 0);
        Some(match is_padded {
            true => shown.trim_end_matches('0').trim_end_matches('.').to_owned(),
            false => shown,
        })
    }

    /// `self` is of the left side.
    fn beside(
        &self,
        row: usize,
        other: &Self,
        other_row: usize,
        tolerance: Tolerance,
        alike: Alike,
    ) -> Beside {
        match (self.array().is_null(row), other.array().is_null(other_row)) {
            (true, true) => return Beside::Equal,
            (false, false) => {}
            _ => return Beside::Apart(None),
        }
        match (self, other) {
            (Self::Exact(left), Self::Exact(right)) => {
                let unit = 10f64.powi(i32::from(left.scale()));
                let (left, right) = (left.value(row), right.value(other_row));
                let apart = right.checked_sub(left);
                let larger = left.unsigned_abs().max(right.unsigned_abs()) as f64;
                // In whole units of the last digit: a tolerance is a float, and what is compared is none.
                let most = (tolerance.absolute * unit).max(tolerance.relative * larger);
                let most = (most * (1.0 + ROUNDING * f64::EPSILON)).floor() as u128;
                match apart {
                    Some(0) => Beside::Equal,
                    Some(apart) if apart.unsigned_abs() <= most => Beside::Near,
                    _ => Beside::Apart(apart.map(|apart| apart as f64 / unit)),
                }
            }
            (Self::Float(left), Self::Float(right)) => {
                let (left, right) = (left.value(row), right.value(other_row));
                let is_equal = left == right || (left.is_nan() && right.is_nan());
                far(is_equal, right - left, left.abs().max(right.abs()), tolerance)
            }
            (Self::Time(left), Self::Time(right)) => {
                let (left, right) = (left.value(row), right.value(other_row));
                let seconds = (i128::from(right) - i128::from(left)) as f64 / 1e6;
                // Of an instant there is no part.
                far(left == right, seconds, 0.0, tolerance)
            }
            (Self::Truth(left), Self::Truth(right)) => {
                match left.value(row) == right.value(other_row) {
                    true => Beside::Equal,
                    false => Beside::Apart(None),
                }
            }
            (Self::Text(left), Self::Text(right)) => {
                let (left, right) = (left.value(row), right.value(other_row));
                match () {
                    () if left == right => Beside::Equal,
                    () if alike.same(left, right) => Beside::Near,
                    () => Beside::Apart(None),
                }
            }
            // Both sides are read as one type.
            _ => Beside::Apart(None),
        }
    }
}

/// How two floats are beside each other.
fn far(is_equal: bool, difference: f64, larger: f64, tolerance: Tolerance) -> Beside {
    // The last digits of what was computed from the last digits of both.
    let rounding = ROUNDING * f64::EPSILON * larger;
    let most = tolerance.absolute.max(tolerance.relative * larger);
    let most = if most > 0.0 { most + rounding } else { 0.0 };
    match () {
        () if is_equal => Beside::Equal,
        () if larger.is_finite() && difference.abs() <= most => Beside::Near,
        () => Beside::Apart(Some(difference)),
    }
}

impl Alike {
    fn same(self, left: &str, right: &str) -> bool {
        let (left, right) = match self.trim {
            true => (left.trim(), right.trim()),
            false => (left, right),
        };
        match self.ignore_case {
            true => left.to_lowercase() == right.to_lowercase(),
            false => left == right,
        }
    }
}

impl Loaded {
    fn of(batch: &RecordBatch, keys: usize, values: usize) -> Result<Self> {
        let at = batch.columns().get(keys + values);
        Ok(Self {
            keys: (0..keys).map(|at| texts(batch, at)).collect::<Result<_>>()?,
            values: (keys..keys + values).map(|at| Values::of(batch, at)).collect::<Result<_>>()?,
            at: at.and_then(|at| at.as_primitive_opt().cloned()),
            rows: batch.num_rows(),
        })
    }
}

/// A row.
#[derive(Clone)]
pub(super) struct Row {
    of: Arc<Loaded>,
    row: usize,
}

impl Row {
    fn has_key(&self) -> bool {
        self.of.keys.iter().all(|key| key.is_valid(self.row))
    }

    fn key(&self) -> impl Iterator<Item = &str> {
        self.of.keys.iter().map(|key| key.value(self.row))
    }

    pub(super) fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(other.key())
    }

    /// The key as it is told: itself, and of several columns a list in JSON.
    pub(super) fn key_text(&self) -> String {
        match self.of.keys.as_slice() {
            [one] => one.value(self.row).to_owned(),
            _ => serde_json::json!(self.key().collect::<Vec<_>>()).to_string(),
        }
    }

    pub(super) fn shown(&self, column: usize) -> Option<String> {
        self.of.values.get(column)?.shown(self.row)
    }

    /// Whether a text can be a value of a column; else what is expected.
    pub(super) fn takes(&self, column: usize, text: &str) -> std::result::Result<(), &'static str> {
        let text = text.trim();
        let is_number = || text.parse::<f64>().is_ok();
        let (is_one, expected) = match self.of.values.get(column) {
            None | Some(Values::Text(_)) => (true, "a text"),
            Some(Values::Exact(_) | Values::Float(_)) => (is_number(), "a number"),
            Some(Values::Truth(_)) => (["true", "false"].contains(&text), "true or false"),
            Some(Values::Time(_)) => {
                (string_to_datetime(&Utc, text).is_ok(), "an instant, such as 2026-11-30T12:00:00Z")
            }
        };
        if is_one { Ok(()) } else { Err(expected) }
    }

    pub(super) fn at_us(&self) -> Option<i64> {
        self.of.at.as_ref().filter(|at| at.is_valid(self.row)).map(|at| at.value(self.row))
    }

    pub(super) fn beside(
        &self,
        column: usize,
        right: &Self,
        tolerance: Tolerance,
        alike: Alike,
    ) -> Beside {
        match (self.of.values.get(column), right.of.values.get(column)) {
            (Some(left), Some(of)) => left.beside(self.row, of, right.row, tolerance, alike),
            _ => Beside::Equal,
        }
    }
}

/// One of the two datasets.
pub(super) struct Side {
    rows: SendableRecordBatchStream,
    keys: usize,
    values: usize,
    cancellation: CancellationToken,
    ahead: Option<Row>,
    is_begun: bool,
    /// Rows that were read, and those of them without a key.
    pub(super) read: u64,
    pub(super) keyless: u64,
}

impl Side {
    pub(super) fn new(
        rows: SendableRecordBatchStream,
        keys: usize,
        values: usize,
        cancellation: CancellationToken,
    ) -> Self {
        Self { rows, keys, values, cancellation, ahead: None, is_begun: false, read: 0, keyless: 0 }
    }

    async fn next_row(&mut self) -> Result<Option<Row>> {
        let mut from = self.ahead.take().map(|Row { of, row }| (of, row + 1));
        loop {
            let (of, row) = match from.take() {
                Some((of, row)) if row < of.rows => (of, row),
                _ => {
                    let Some(batch) = self.rows.next().await.transpose()? else {
                        return Ok(None);
                    };
                    (Arc::new(Loaded::of(&batch, self.keys, self.values)?), 0)
                }
            };
            if row >= of.rows {
                continue;
            }
            self.read += 1;
            if self.read.is_multiple_of(ROWS_UNLOOKED) {
                check(&self.cancellation)?;
                // Rows may be at hand for long; others want to run, too.
                tokio::task::yield_now().await;
            }
            let found = Row { of, row };
            if found.has_key() {
                return Ok(Some(found));
            }
            self.keyless += 1;
            from = Some((found.of, row + 1));
        }
    }

    /// The first row of the next key, and how many rows have it.
    pub(super) async fn next_key(&mut self) -> Result<Option<(Row, u64)>> {
        if !self.is_begun {
            self.is_begun = true;
            self.ahead = self.next_row().await?;
        }
        let Some(first) = self.ahead.clone() else { return Ok(None) };
        let mut count = 1;
        loop {
            self.ahead = self.next_row().await?;
            match &self.ahead {
                Some(next) if next.cmp(&first) == Ordering::Equal => count += 1,
                _ => return Ok(Some((first, count))),
            }
        }
    }
}
