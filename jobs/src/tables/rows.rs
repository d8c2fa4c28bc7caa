//! Rows of results, made of a list of what they are about.

use std::sync::Arc;

use analysis::money::{AMOUNT_SCALE, Amount};
use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray,
};
use datasets::DatasetSpec;
use engine::Result;

use super::columns::{instants, timestamps};

/// Digits of an amount of money.
pub(crate) const AMOUNT_PRECISION: u8 = 38;

/// An output and its rows.
pub(crate) type Rows = (DatasetSpec, Vec<RecordBatch>);

/// A row for each of a list, as columns in the order of a spec: the source first, its version last.
pub(crate) struct Table<'a, T> {
    of: &'a [T],
    version: i64,
    columns: Vec<ArrayRef>,
}

impl<'a, T> Table<'a, T> {
    pub(crate) fn new(of: &'a [T], source: &str, version: i64) -> Self {
        let named = StringArray::from_iter_values(of.iter().map(|_| source));
        Self { of, version, columns: vec![Arc::new(named)] }
    }

    pub(crate) fn text(mut self, get: impl Fn(&T) -> String) -> Self {
        self.columns.push(Arc::new(StringArray::from_iter_values(self.of.iter().map(get))));
        self
    }

    pub(crate) fn some_text(mut self, get: impl Fn(&T) -> Option<String>) -> Self {
        self.columns.push(Arc::new(StringArray::from_iter(self.of.iter().map(get))));
        self
    }

    pub(crate) fn whole(mut self, get: impl Fn(&T) -> u64) -> Self {
        let numbers = self.of.iter().map(|of| i64::try_from(get(of)).unwrap_or(i64::MAX));
        self.columns.push(Arc::new(Int64Array::from_iter_values(numbers)));
        self
    }

    pub(crate) fn some_whole(mut self, get: impl Fn(&T) -> Option<u64>) -> Self {
        let numbers = self.of.iter().map(|of| get(of).and_then(|of| i64::try_from(of).ok()));
        self.columns.push(Arc::new(Int64Array::from_iter(numbers)));
        self
    }

    pub(crate) fn flag(mut self, get: impl Fn(&T) -> bool) -> Self {
        let flags: Vec<bool> = self.of.iter().map(get).collect();
        self.columns.push(Arc::new(BooleanArray::from(flags)));
        self
    }

    pub(crate) fn float(mut self, get: impl Fn(&T) -> Option<f64>) -> Self {
        self.columns.push(Arc::new(Float64Array::from_iter(self.of.iter().map(get))));
        self
    }

    pub(crate) fn amount(mut self, get: impl Fn(&T) -> Option<Amount>) -> Result<Self> {
        self.columns.push(amounts(self.of.iter().map(get))?);
        Ok(self)
    }

    pub(crate) fn time(mut self, get: impl Fn(&T) -> i64) -> Self {
        self.columns.push(timestamps(self.of.iter().map(get)));
        self
    }

    pub(crate) fn some_time(mut self, get: impl Fn(&T) -> Option<i64>) -> Self {
        self.columns.push(instants(self.of.iter().map(get)));
        self
    }

    pub(crate) fn finish(self, spec: DatasetSpec) -> Result<Rows> {
        let version = self.version;
        let mut columns = self.columns;
        columns.push(Arc::new(Int64Array::from_iter_values(self.of.iter().map(|_| version))));
        let batch = RecordBatch::try_new(spec.arrow_schema(), columns)?;
        Ok((spec, vec![batch]))
    }
}

/// Amounts of money as a column.
pub(crate) fn amounts(of: impl Iterator<Item = Option<Amount>>) -> Result<ArrayRef> {
    let amounts = Decimal128Array::from_iter(of.map(|amount| amount.map(Amount::atto)));
    Ok(Arc::new(amounts.with_precision_and_scale(AMOUNT_PRECISION, AMOUNT_SCALE)?))
}
