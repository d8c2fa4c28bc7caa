//! Renames columns of a file, for example when two names become the same column name.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};

use super::{Chunk, RowReader};
use crate::error::{Error, Result};
use crate::infer::to_identifier;
use crate::parse::quoted;

/// Most names in one message.
const NAMES_SHOWN: usize = 24;

/// New names for the columns of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renames {
    /// Pairs of the name in the file, or `#N` for its column number N, and the name in the dataset.
    pub columns: Vec<(String, String)>,
    /// What happens to columns with the same name.
    pub repeated: RepeatedNames,
}

/// What happens to columns of a file with the same name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RepeatedNames {
    /// The file is refused.
    #[default]
    Refused,
    /// All but the first get a number: `a`, `a_2`.
    Numbered,
}

impl Renames {
    /// The dataset's names for columns that the file calls `names`.
    pub(crate) fn apply(&self, source_name: &str, names: &[String]) -> Result<Vec<String>> {
        let mut renamed = names.to_vec();
        for (from, to) in &self.columns {
            let numbered = || from.strip_prefix('#')?.parse::<usize>().ok()?.checked_sub(1);
            let at = names.iter().position(|name| name == from).or_else(numbered);
            let Some(name) = at.and_then(|at| renamed.get_mut(at)) else {
                let problem = format!(
                    "rename: there is no column {}; there are {}",
                    quoted(from),
                    listed(names)
                );
                return Err(Error::Mismatch { source_name: source_name.to_owned(), problem });
            };
            name.clone_from(to);
        }
        if self.repeated == RepeatedNames::Numbered {
            let mut taken: HashSet<String> = renamed.iter().cloned().collect();
            let mut seen = HashSet::new();
            for name in &mut renamed {
                if !seen.insert(name.clone()) {
                    *name = numbered(name, &taken);
                    taken.insert(name.clone());
                }
            }
        }
        Ok(renamed)
    }

    /// The new names by the old ones, for formats whose rows name their members.
    pub(crate) fn by_name(&self) -> HashMap<String, String> {
        self.columns.iter().cloned().collect()
    }

    /// `reader` with its columns renamed.
    pub(crate) fn wrap(
        &self,
        source_name: &str,
        reader: Box<dyn RowReader>,
    ) -> Result<Box<dyn RowReader>> {
        let schema = reader.schema();
        let names: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
        let renamed = self.apply(source_name, &names)?;
        if renamed == names {
            return Ok(reader);
        }
        let fields = schema.fields().iter().zip(renamed);
        let fields: Vec<_> = fields.map(|(f, name)| f.as_ref().clone().with_name(name)).collect();
        Ok(Box::new(Renamed { inner: reader, schema: Arc::new(Schema::new(fields)) }))
    }
}

/// Numbered names for columns whose identifiers collide with another column's, by the index of the column.
pub(crate) fn distinct(names: &[String]) -> Vec<(usize, String)> {
    let mut taken: HashSet<String> =
        names.iter().filter(|name| to_identifier(name) == **name).cloned().collect();
    let (mut seen, mut found) = (HashSet::new(), Vec::new());
    for (at, name) in names.iter().enumerate() {
        let identifier = to_identifier(name);
        let is_first = match identifier == *name {
            true => seen.insert(name),
            false => taken.insert(identifier.clone()),
        };
        if !is_first {
            let number = numbered(&identifier, &taken);
            taken.insert(number.clone());
            found.push((at, number));
        }
    }
    found
}

/// The name with the first number that makes it unique.
pub(crate) fn numbered(name: &str, taken: &HashSet<String>) -> String {
    let mut number = 2_u64;
    loop {
        let candidate = format!("{name}_{number}");
        if !taken.contains(&candidate) {
            return candidate;
        }
        number += 1;
    }
}

/// Names for a message.
pub(crate) fn listed(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(NAMES_SHOWN).map(|name| quoted(name)).collect();
    match names.len().saturating_sub(NAMES_SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// A reader with renamed columns.
struct Renamed {
    inner: Box<dyn RowReader>,
    schema: SchemaRef,
}

impl RowReader for Renamed {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        let Some(chunk) = self.inner.next_chunk()? else { return Ok(None) };
        let count = RecordBatchOptions::new().with_row_count(Some(chunk.batch.num_rows()));
        let columns = chunk.batch.columns().to_vec();
        let batch = RecordBatch::try_new_with_options(self.schema(), columns, &count)
            .map_err(|e| Error::Internal(format!("renamed columns: {e}")))?;
        Ok(Some(Chunk { batch, ..chunk }))
    }

    fn warnings(&self) -> Vec<String> {
        self.inner.warnings()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::array::{ArrayRef, AsArray, Int64Array};
    use arrow::datatypes::Int64Type;

    use super::super::{Format, ReadOptions, Source, open};
    use super::*;
    use crate::conform::Conformer;
    use crate::infer::{GuessOptions, guess};

    fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
        of.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect()
    }

    fn parquet() -> Vec<u8> {
        let columns = ["orderId", "Order Id"].map(|name| {
            let values: ArrayRef = Arc::new(Int64Array::from(vec![name.len() as i64]));
            (name, values)
        });
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut bytes = Vec::new();
        let writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None);
        let mut writer = writer.unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        bytes
    }

    /// The columns of a dataset created from a file, and the first value of each.
    fn made(bytes: &[u8], format: Format, renames: &Renames) -> Result<Vec<(String, i64)>> {
        let source = Source::Body { bytes: bytes.to_vec().into(), name: "f".into() };
        let read = ReadOptions { renames: renames.clone(), ..ReadOptions::default() };
        let options = GuessOptions { read: read.clone(), ..GuessOptions::default() };
        let found = guess(&"a".parse().unwrap(), &source, format, &options)?;
        let renames = Renames { columns: found.renames, ..renames.clone() };
        let read = ReadOptions { renames, ..read };
        let mut reader = open(source, format, Some(&found.spec), &read)?;
        let conformer = Conformer::new(&found.spec, &reader.schema(), "f")?;
        let chunk = reader.next_chunk()?.unwrap();
        let rows = conformer.conform(&chunk)?;
        assert!(rows.rejected.is_empty(), "{:?}", rows.rejected);
        let schema = rows.accepted.schema();
        let names = schema.fields().iter().map(|field| field.name().clone());
        let values = rows.accepted.columns().iter().map(|c| c.as_primitive::<Int64Type>().value(0));
        Ok(names.zip(values).collect())
    }

    #[test]
    fn columns_that_collide_are_renamed_in_every_format() {
        let parquet = parquet();
        let csv = "orderId,Order Id\n7,8\n".as_bytes();
        let json = "{\"orderId\": 7, \"Order Id\": 8}\n".as_bytes();
        for (bytes, format) in
            [(csv, Format::Csv), (json, Format::Ndjson), (&parquet[..], Format::Parquet)]
        {
            let with = |columns, repeated| made(bytes, format, &Renames { columns, repeated });
            let problem = with(Vec::new(), RepeatedNames::Refused).unwrap_err().to_string();
            let expected =
                "columns \"orderId\" and \"Order Id\" are both order_id; rename one of them";
            assert!(problem.contains(expected), "{problem}");
            let named = |names: [&str; 2]| vec![(names[0].to_owned(), 7), (names[1].to_owned(), 8)];
            let renamed = with(pairs(&[("Order Id", "other")]), RepeatedNames::Refused).unwrap();
            assert_eq!(renamed, named(["order_id", "other"]), "{format}");
            // Two columns may swap names.
            let both = pairs(&[("orderId", "b"), ("Order Id", "a")]);
            let both = with(both, RepeatedNames::Refused).unwrap();
            assert_eq!(both, named(["b", "a"]), "{format}");
            let numbered = with(Vec::new(), RepeatedNames::Numbered).unwrap();
            assert_eq!(numbered, named(["order_id", "order_id_2"]), "{format}");
            if format != Format::Ndjson {
                let by_number = with(pairs(&[("#1", "first")]), RepeatedNames::Refused).unwrap();
                assert_eq!(by_number, named(["first", "order_id"]), "{format}");
                let problem = with(pairs(&[("Id", "a")]), RepeatedNames::Refused).unwrap_err();
                let expected = "there is no column \"Id\"; there are \"orderId\", \"Order Id\"";
                assert!(problem.to_string().contains(expected), "{problem}");
            }
        }
    }

    #[test]
    fn columns_with_the_same_name_are_renamed_by_number() {
        let csv = "a,b,a\n1,2,3\n".as_bytes();
        let with = |columns, repeated| made(csv, Format::Csv, &Renames { columns, repeated });
        let problem = with(Vec::new(), RepeatedNames::Refused).unwrap_err().to_string();
        assert!(problem.contains("names \"a\" twice: columns 1 and 3"), "{problem}");
        let named =
            |third: &str| vec![("a".to_owned(), 1), ("b".to_owned(), 2), (third.to_owned(), 3)];
        let renamed = with(pairs(&[("#3", "c")]), RepeatedNames::Refused).unwrap();
        assert_eq!(renamed, named("c"));
        assert_eq!(with(Vec::new(), RepeatedNames::Numbered).unwrap(), named("a_2"));
    }

    #[test]
    fn a_numbered_name_is_unique() {
        let names = ["a b", "aB", "a_b", "a_b_2", "a_b"].map(str::to_owned);
        let expected = [(0, "a_b_3"), (1, "a_b_4"), (4, "a_b_5")];
        assert_eq!(distinct(&names), expected.map(|(at, name)| (at, name.to_owned())));
        assert!(distinct(&["x".to_owned(), "Y".to_owned()]).is_empty());
    }
}
