//! Sums and means of floats while values come and go: exact, so that one which was there leaves no trace. A plain sum from which a value is
//! taken away keeps what it lost beside it.
//!
//! Source: Shewchuk, "Adaptive Precision Floating-Point Arithmetic and Fast Robust Geometric Predicates", 1997: a sum as parts that do
//! not overlap.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility,
};

/// Of a sum of that many values of this size at most nothing is lost beyond what a float holds.
const SIZE_MAX: f64 = 1e290;

/// The sum of floats.
pub(super) static SUM: LazyLock<Arc<AggregateUDF>> = LazyLock::new(|| made("exact_sum", false));
/// Their mean.
pub(super) static MEAN: LazyLock<Arc<AggregateUDF>> = LazyLock::new(|| made("exact_mean", true));

fn made(name: &'static str, is_mean: bool) -> Arc<AggregateUDF> {
    let signature = Signature::exact(vec![DataType::Float64], Volatility::Immutable);
    Arc::new(AggregateUDF::from(Exact { name, is_mean, signature }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Exact {
    name: &'static str,
    is_mean: bool,
    signature: Signature,
}

impl AggregateUDFImpl for Exact {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Sum { is_mean: self.is_mean, ..Sum::default() }))
    }
}

/// Values that are there, as a sum of parts.
#[derive(Debug, Default)]
struct Sum {
    parts: Vec<f64>,
    count: u64,
    is_mean: bool,
}

impl Sum {
    fn add(&mut self, value: f64) {
        let mut sum = value;
        let mut kept = 0;
        for at in 0..self.parts.len() {
            let Some(mut part) = self.parts.get(at).copied() else { break };
            if sum.abs() < part.abs() {
                std::mem::swap(&mut sum, &mut part);
            }
            let both = sum + part;
            let lost = part - (both - sum);
            if lost != 0.0 {
                if let Some(place) = self.parts.get_mut(kept) {
                    *place = lost;
                }
                kept += 1;
            }
            sum = both;
        }
        self.parts.truncate(kept);
        if sum != 0.0 {
            self.parts.push(sum);
        }
    }

    fn change(&mut self, values: &[ArrayRef], sign: f64) -> Result<()> {
        let values = values.first().and_then(|values| values.as_primitive_opt::<Float64Type>());
        let values = values.ok_or_else(|| DataFusionError::Internal("expected floats".into()))?;
        for value in values.iter().flatten().filter(|value| value.abs() <= SIZE_MAX) {
            self.add(sign * value);
            match sign > 0.0 {
                true => self.count += 1,
                false => self.count = self.count.saturating_sub(1),
            }
        }
        Ok(())
    }
}

/// The float next to a sum of parts that do not overlap, in order of size; of two as near the even one.
fn rounded(parts: &[f64]) -> f64 {
    let mut parts = parts.iter().rev().copied().peekable();
    let (mut sum, mut lost) = (parts.next().unwrap_or(0.0), 0.0);
    for part in parts.by_ref() {
        let before = sum;
        sum += part;
        lost = part - (sum - before);
        if lost != 0.0 {
            break;
        }
    }
    // Half a step was lost, and what is left says which way it goes.
    if parts.peek().is_some_and(|next| lost != 0.0 && (*next > 0.0) == (lost > 0.0)) {
        let doubled = sum + 2.0 * lost;
        if doubled - sum == 2.0 * lost {
            return doubled;
        }
    }
    sum
}

impl Accumulator for Sum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.change(values, 1.0)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.change(values, -1.0)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.count == 0 {
            return Ok(ScalarValue::Float64(None));
        }
        let sum = rounded(&self.parts);
        let count = if self.is_mean { self.count as f64 } else { 1.0 };
        Ok(ScalarValue::Float64(Some(sum / count)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.parts.capacity() * size_of::<f64>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Err(DataFusionError::NotImplemented("a window is kept in one place".into()))
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> Result<()> {
        Err(DataFusionError::NotImplemented("a window is kept in one place".into()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::array::Float64Array;

    use super::*;

    fn floats(values: &[f64]) -> Vec<ArrayRef> {
        vec![Arc::new(Float64Array::from(values.to_vec()))]
    }

    #[test]
    fn what_left_leaves_no_trace() {
        for large in [1e17, 1e280, -1e200] {
            let mut sum = Sum::default();
            sum.update_batch(&floats(&[large, 0.1, large])).unwrap();
            sum.update_batch(&floats(&[0.2, f64::INFINITY, f64::NAN])).unwrap();
            sum.retract_batch(&floats(&[large, large])).unwrap();
            sum.retract_batch(&floats(&[f64::NAN, f64::INFINITY])).unwrap();
            assert_eq!(sum.evaluate().unwrap(), ScalarValue::Float64(Some(0.1 + 0.2)));
            sum.retract_batch(&floats(&[0.2, 0.1])).unwrap();
            assert_eq!(sum.evaluate().unwrap(), ScalarValue::Float64(None));
            assert!(sum.parts.is_empty());
        }
        // Next to the true sums of these floats.
        for (values, expected) in [
            (&[-2.19, 65.76, 63.98][..], 127.55),
            (&[0.1; 10], 1.0),
            (&[1e16, 1.0, 1e-16], 10_000_000_000_000_002.0),
        ] {
            let mut sum = Sum::default();
            sum.update_batch(&floats(values)).unwrap();
            assert_eq!(sum.evaluate().unwrap(), ScalarValue::Float64(Some(expected)));
        }
        let mut mean = Sum { is_mean: true, ..Sum::default() };
        mean.update_batch(&floats(&[1.0, 2.0, 6.0])).unwrap();
        assert_eq!(mean.evaluate().unwrap(), ScalarValue::Float64(Some(3.0)));
    }
}
