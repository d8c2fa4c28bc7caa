//! The checks of a spec, over whole columns; what comes out is the first fault of each row.

use std::collections::HashSet;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::kernels::cmp;
use arrow::datatypes::{DataType, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type};
use regex::Regex;

use crate::error::{Error, Result};
use crate::parse::{BYTES_SHOWN, quoted};
use crate::pattern;
use crate::read::json;
use crate::spec::{DatasetSpec, Validation};

/// Why a row is rejected.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// The column at fault, when it is one.
    pub column: Option<String>,
    /// What was expected and what was found.
    pub reason: String,
}

/// The first failure of each row of a batch.
#[derive(Clone, Debug, Default)]
pub struct Failures {
    by_row: Vec<Option<Failure>>,
    count: usize,
    rows: usize,
}

impl Failures {
    /// No failures among `rows` rows.
    pub fn none(rows: usize) -> Self {
        Self { by_row: Vec::new(), count: 0, rows }
    }

    /// Notes a failure, unless the row has one.
    pub fn note(&mut self, row: usize, column: &str, reason: impl FnOnce() -> String) {
        if self.by_row.is_empty() {
            self.by_row.resize(self.rows, None);
        }
        if let Some(slot @ None) = self.by_row.get_mut(row) {
            *slot = Some(Failure { column: Some(column.to_owned()), reason: reason() });
            self.count += 1;
        }
    }

    /// How many rows failed.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The failure of a row.
    pub fn get(&self, row: usize) -> Option<&Failure> {
        self.by_row.get(row).and_then(Option::as_ref)
    }
}

/// The validations of a spec, made ready once.
#[derive(Debug)]
pub struct Checks {
    checks: Vec<Check>,
}

#[derive(Debug)]
enum Check {
    Range { column: String, min: f64, max: f64 },
    Finite { column: String },
    NonEmpty { column: String },
    MaxBytes { column: String, max: u64 },
    OneOf { column: String, values: HashSet<String>, listed: String },
    Matches { column: String, pattern: Regex },
    ValidJson { column: String },
    Ordered { low: String, high: String },
}

impl Checks {
    /// The checks that `spec` asks for.
    pub fn new(spec: &DatasetSpec) -> Result<Self> {
        let checks = spec.validations.iter().map(|v| Check::new(spec, v)).collect::<Result<_>>()?;
        Ok(Self { checks })
    }

    /// Checks a batch that has the spec's columns; the types must be the spec's.
    pub fn run(&self, batch: &RecordBatch, failures: &mut Failures) -> Result<()> {
        self.checks.iter().try_for_each(|check| check.run(batch, failures))
    }
}

impl Check {
    fn new(spec: &DatasetSpec, validation: &Validation) -> Result<Self> {
        Ok(match validation.clone() {
            Validation::Range { column, min, max } => Self::Range {
                column,
                min: min.unwrap_or(f64::NEG_INFINITY),
                max: max.unwrap_or(f64::INFINITY),
            },
            Validation::Finite { column } => Self::Finite { column },
            Validation::NonEmpty { column } => Self::NonEmpty { column },
            Validation::MaxBytes { column, max } => Self::MaxBytes { column, max },
            Validation::OneOf { column, values } => Self::OneOf {
                column,
                listed: listed(&values),
                values: values.into_iter().collect(),
            },
            Validation::Matches { column, pattern } => Self::Matches {
                column,
                pattern: pattern::compiled(&pattern)
                    .map_err(|problem| Error::Spec { dataset: spec.name.to_string(), problem })?,
            },
            Validation::ValidJson { column } => Self::ValidJson { column },
            Validation::Ordered { low, high } => Self::Ordered { low, high },
        })
    }

    fn run(&self, batch: &RecordBatch, failures: &mut Failures) -> Result<()> {
        match self {
            Self::Range { column, min, max } => {
                let array = column_of(batch, column)?;
                each_number(array, column, |row, value| {
                    if !(*min..=*max).contains(&value) {
                        failures.note(row, column, || {
                            format!("{column:?}: expected {}, found {value}", range(*min, *max))
                        });
                    }
                })
            }
            Self::Finite { column } => {
                let array = column_of(batch, column)?;
                each_number(array, column, |row, value| {
                    if !value.is_finite() {
                        failures.note(row, column, || {
                            format!("{column:?}: expected a finite number, found {value}")
                        });
                    }
                })
            }
            Self::NonEmpty { column } => each_text(batch, column, |row, text| {
                if text.is_empty() {
                    failures.note(row, column, || {
                        format!("{column:?}: expected a text that is not empty")
                    });
                }
            }),
            Self::MaxBytes { column, max } => each_text(batch, column, |row, text| {
                if text.len() as u64 > *max {
                    failures.note(row, column, || {
                        format!("{column:?}: expected at most {max} bytes, found {}", text.len())
                    });
                }
            }),
            Self::OneOf { column, values, listed } => each_text(batch, column, |row, text| {
                if !values.contains(text) {
                    failures.note(row, column, || {
                        format!("{column:?}: expected one of {listed}, found {}", quoted(text))
                    });
                }
            }),
            Self::Matches { column, pattern } => each_text(batch, column, |row, text| {
                if !pattern.is_match(text) {
                    failures.note(row, column, || {
                        format!("{column:?}: expected a match of {pattern}, found {}", quoted(text))
                    });
                }
            }),
            Self::ValidJson { column } => each_text(batch, column, |row, text| {
                if let Err(e) = json::check_document(text.as_bytes()) {
                    failures.note(row, column, || {
                        format!("{column:?}: expected a JSON document, found {}: {e}", quoted(text))
                    });
                }
            }),
            Self::Ordered { low, high } => {
                let (low_array, high_array) = (column_of(batch, low)?, column_of(batch, high)?);
                let above = cmp::gt(low_array, high_array)
                    .map_err(|e| Error::Internal(format!("{low} against {high}: {e}")))?;
                if above.true_count() > 0 {
                    for row in 0..above.len() {
                        if above.is_valid(row) && above.value(row) {
                            failures.note(row, low, || {
                                format!("expected {low:?} not above {high:?}, found it above")
                            });
                        }
                    }
                }
                Ok(())
            }
        }
    }
}

fn column_of<'a>(batch: &'a RecordBatch, column: &str) -> Result<&'a ArrayRef> {
    batch.column_by_name(column).ok_or_else(|| {
        Error::Internal(format!("validation of {column:?}, which is not in the batch"))
    })
}

fn each_text(batch: &RecordBatch, column: &str, mut visit: impl FnMut(usize, &str)) -> Result<()> {
    let array = column_of(batch, column)?;
    let texts = array
        .as_string_opt::<i32>()
        .ok_or_else(|| Error::Internal(format!("validation of {column:?}, which is not text")))?;
    for row in 0..texts.len() {
        if texts.is_valid(row) {
            visit(row, texts.value(row));
        }
    }
    Ok(())
}

fn each_number(array: &ArrayRef, column: &str, mut visit: impl FnMut(usize, f64)) -> Result<()> {
    macro_rules! visit_all {
        ($values:expr, $value:ident => $as_f64:expr) => {
            for (row, $value) in $values.values().iter().enumerate() {
                if array.is_valid(row) {
                    visit(row, $as_f64);
                }
            }
        };
    }
    match array.data_type() {
        DataType::Int32 => visit_all!(array.as_primitive::<Int32Type>(), v => f64::from(*v)),
        DataType::Int64 => visit_all!(array.as_primitive::<Int64Type>(), v => *v as f64),
        DataType::Float32 => visit_all!(array.as_primitive::<Float32Type>(), v => f64::from(*v)),
        DataType::Float64 => visit_all!(array.as_primitive::<Float64Type>(), v => *v),
        DataType::Decimal128(_, scale) => {
            let unit = 10_f64.powi(-i32::from(*scale));
            visit_all!(array.as_primitive::<Decimal128Type>(), v => *v as f64 * unit);
        }
        other => {
            return Err(Error::Internal(format!("validation of {column:?}, which is {other}")));
        }
    }
    Ok(())
}

/// Values as each row is told them that is none of them.
fn listed(values: &[String]) -> String {
    const SHOWN_MAX: usize = 32;
    let shown = |value: &String| match value.len() <= BYTES_SHOWN {
        true => value.clone(),
        false => quoted(value),
    };
    let first: Vec<String> = values.iter().take(SHOWN_MAX).map(shown).collect();
    match values.len().saturating_sub(SHOWN_MAX) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

fn range(min: f64, max: f64) -> String {
    match (min.is_finite(), max.is_finite()) {
        (true, true) => format!("{min} to {max}"),
        (true, false) => format!("at least {min}"),
        _ => format!("at most {max}"),
    }
}
