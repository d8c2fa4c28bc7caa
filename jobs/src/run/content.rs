//! What a run committed, as a number: the same for the same rows, in whatever order and batches they come.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::Field;
use arrow::row::{RowConverter, SortField};
use datasets::DatasetSpec;
use engine::{Error, Result};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

/// The column in which a row says which run made it. Where there is one, the dataset's time says when that was.
const MADE_BY: &str = "run_id";

/// The rows of a dataset: how many, and a digest of each column and of all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// How many.
    pub rows: u64,
    /// Sum of the digests of all rows, in hex.
    pub digest: Digest,
    /// The same of each column by itself.
    pub columns: BTreeMap<String, Digest>,
}

/// A sum of digests (XXH3 of 128 bits), modulo 2^128. What comes first does not matter; what comes twice does. It tells by chance what is not
/// the same, and is no proof against who forges rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest(u128);

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        u128::from_str_radix(&text, 16).map(Self).map_err(serde::de::Error::custom)
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Digest {
    fn add(&mut self, digest: u128) {
        self.0 = self.0.wrapping_add(digest);
    }
}

impl Content {
    /// Counts the rows of a batch of the dataset: what says when a row was made and by which run is left out.
    pub(crate) fn add(&mut self, spec: &DatasetSpec, batch: &RecordBatch) -> Result<()> {
        let schema = batch.schema();
        let is_made = schema.column_with_name(MADE_BY).is_some();
        let is_result = |field: &Field| {
            let name = field.name();
            !(is_made && (name == MADE_BY || spec.time_column.as_ref() == Some(name)))
        };
        let columns: Vec<(&Field, &ArrayRef)> =
            (schema.fields().iter().map(|field| field.as_ref()))
                .zip(batch.columns())
                .filter(|(field, _)| is_result(field))
                .collect();
        let mut rows = vec![0_u128; batch.num_rows()];
        for (field, column) in columns {
            let sort = SortField::new(column.data_type().clone());
            let converter = RowConverter::new(vec![sort]).map_err(Error::from)?;
            let encoded = converter.convert_columns(std::slice::from_ref(column))?;
            let digest = self.columns.entry(field.name().clone()).or_default();
            for (row, value) in rows.iter_mut().zip(encoded.iter()) {
                let of_value = xxh3_128(value.as_ref());
                digest.add(of_value);
                // That of the columns before it and of this one: their order counts.
                let mut both = [0; 32];
                let (before, own) = both.split_at_mut(16);
                before.copy_from_slice(&row.to_le_bytes());
                own.copy_from_slice(&of_value.to_le_bytes());
                *row = xxh3_128(&both);
            }
        }
        rows.into_iter().for_each(|row| self.digest.add(row));
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// Counts what was counted elsewhere.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        self.digest.0 = self.digest.0.wrapping_add(other.digest.0);
        for (name, digest) in &other.columns {
            let sum = self.columns.entry(name.clone()).or_default();
            sum.0 = sum.0.wrapping_add(digest.0);
        }
    }

    /// The columns whose values are others in `other`, by name.
    pub fn differing<'a>(&'a self, other: &'a Self) -> Vec<&'a str> {
        let names = self.columns.keys().chain(other.columns.keys()).collect::<BTreeSet<_>>();
        let differs = |name: &&String| self.columns.get(*name) != other.columns.get(*name);
        names.into_iter().filter(differs).map(String::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::array::{Float64Array, StringArray, TimestampMicrosecondArray};

    use super::*;
    use crate::testing::spec;

    fn batch(rows: &[(&str, f64)]) -> RecordBatch {
        let series = StringArray::from_iter_values(rows.iter().map(|row| row.0));
        let at = TimestampMicrosecondArray::from(vec![5; rows.len()]).with_timezone("UTC");
        let values = Float64Array::from_iter_values(rows.iter().map(|row| row.1));
        let columns: Vec<ArrayRef> = vec![Arc::new(series), Arc::new(at), Arc::new(values)];
        RecordBatch::try_new(spec("m").arrow_schema(), columns).unwrap()
    }

    fn of(batches: &[RecordBatch]) -> Content {
        let mut content = Content::default();
        for batch in batches {
            content.add(&spec("m"), batch).unwrap();
        }
        content
    }

    #[test]
    fn order_and_batches_do_not_matter_and_everything_else_does() {
        let all = of(&[batch(&[("a", 1.0), ("b", 2.0), ("c", 3.0)])]);
        assert_eq!(all, of(&[batch(&[("c", 3.0)]), batch(&[("b", 2.0), ("a", 1.0)])]));
        assert_eq!(all.rows, 3);
        let text = serde_json::to_string(&all).unwrap();
        assert_eq!(serde_json::from_str::<Content>(&text).unwrap(), all);
        // Each column has the same values, and the rows are others.
        let swapped = of(&[batch(&[("a", 2.0), ("b", 1.0), ("c", 3.0)])]);
        assert_eq!(all.differing(&swapped), [""; 0]);
        assert_ne!(all.digest, swapped.digest);
        let [there, back] = [("a", "b"), ("b", "a")].map(|(first, second)| {
            let columns = [("series", first), ("unit", second)];
            let text = |of: &str| Arc::new(StringArray::from(vec![of])) as ArrayRef;
            let batch = RecordBatch::try_from_iter(columns.map(|(name, of)| (name, text(of))));
            of(&[batch.unwrap()]).digest
        });
        assert_ne!(there, back);
        let other = of(&[batch(&[("a", 1.0), ("b", 2.0), ("c", 3.5)])]);
        assert_eq!(all.differing(&other), ["value"]);
        assert_ne!(all, of(&[batch(&[("a", 1.0), ("a", 1.0), ("b", 2.0), ("c", 3.0)])]));
        assert_ne!(of(&[batch(&[("ab", 1.0)])]).digest, of(&[batch(&[("a", 1.0)])]).digest);
    }
}
