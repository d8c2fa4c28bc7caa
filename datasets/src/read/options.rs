//! How one file is read: bounds of the reader, and what its caller states of the file.

use super::{CsvOptions, Format, Renames};
use crate::error::{Error, Result};
use crate::name::check_identifier;

/// Bounds of a reader, and what is stated of its file.
#[derive(Clone, Debug)]
pub struct ReadOptions {
    /// Most rows in a chunk.
    pub batch_rows: usize,
    /// Most bytes that a decoded part (a page, a buffer, a chunk) may take.
    pub decoded_budget_bytes: usize,
    /// Longest row of a text format.
    pub row_max_bytes: usize,
    /// Rows of a text format that are read to infer columns and types, if no spec declares them.
    pub discovery_rows: usize,
    /// Most bytes held while looking at those rows.
    pub discovery_bytes: usize,
    /// How files of separated values are written.
    pub csv: CsvOptions,
    /// What columns are called otherwise than in the file.
    pub renames: Renames,
    /// The sheet of a workbook; the first one that can be seen when it is not said.
    pub sheet: Option<String>,
    /// The share of a column's values that its type must fit, where the type is found in them; all without one.
    pub mostly: Option<f64>,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            batch_rows: 8_192,
            decoded_budget_bytes: 256 * 1024 * 1024,
            row_max_bytes: 16 * 1024 * 1024,
            discovery_rows: 16_384,
            discovery_bytes: 32 * 1024 * 1024,
            csv: CsvOptions::default(),
            renames: Renames::default(),
            sheet: None,
            mostly: None,
        }
    }
}

impl ReadOptions {
    /// The options that are stated for one file and not stored, by their names at every door.
    pub const NAMES: [&'static str; 3] = ["rename", "sheet", "mostly"];

    /// Sets the option `name` from text; `rename` adds a column.
    pub fn set(&mut self, name: &str, text: &str) -> Result<()> {
        match name {
            "rename" => self.renames.columns.push(rename(text)?),
            "sheet" if text.is_empty() => return Err(wrong("sheet", text, "the name of a sheet")),
            "sheet" => self.sheet = Some(text.to_owned()),
            "mostly" => self.mostly = Some(share(text)?),
            _ => return Err(wrong("option", name, format!("one of {}", Self::NAMES.join(", ")))),
        }
        Ok(())
    }

    /// Whether no such option is stated.
    pub fn is_plain(&self) -> bool {
        self.renames.columns.is_empty() && self.sheet.is_none() && self.mostly.is_none()
    }

    /// Fails where a stated option does nothing for files of `format`, so that no option is ignored.
    pub fn require_used(&self, format: Format, source_name: &str) -> Result<()> {
        use Format as F;
        let finds_types = matches!(format, F::Csv | F::Ndjson | F::Xlsx);
        let (name, used_by) = match self {
            Self { sheet: Some(_), .. } if format != F::Xlsx => ("sheet", "Excel files"),
            Self { mostly: Some(_), .. } if !finds_types => {
                ("mostly", "CSV, NDJSON and Excel files, whose types are found in their values")
            }
            _ => return Ok(()),
        };
        let problem = format!(
            "{name} was given, and the file is {format}; {name} is an option of {used_by}; leave it out"
        );
        Err(Error::Mismatch { source_name: source_name.to_owned(), problem })
    }

    /// The share of values that a type must fit.
    pub(crate) fn share(&self) -> f64 {
        self.mostly.unwrap_or(1.0)
    }
}

/// Reads `Order Id=order_id`; the last sign separates the names.
fn rename(text: &str) -> Result<(String, String)> {
    let parts = text.rsplit_once('=').filter(|(column, _)| !column.is_empty());
    let expected = "COLUMN=NAME, as in \"Order Id=order_id\"";
    let (column, name) = parts.ok_or_else(|| wrong("rename", text, expected))?;
    check_identifier("column name", name)?;
    Ok((column.to_owned(), name.to_owned()))
}

fn share(text: &str) -> Result<f64> {
    let (number, of) = match text.strip_suffix('%') {
        Some(percent) => (percent, 100.0),
        None => (text, 1.0),
    };
    match number.trim().parse::<f64>() {
        Ok(number) if number > 0.0 && number <= of => Ok(number / of),
        _ => Err(wrong("mostly", text, "a share above 0 up to 1, or up to 100%")),
    }
}

fn wrong(what: &'static str, found: &str, expected: impl Into<String>) -> Error {
    let name = found.chars().take(crate::parse::BYTES_SHOWN).collect();
    Error::Name { what, name, expected: expected.into() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn options_of_one_file_are_read_from_text() {
        let mut options = ReadOptions::default();
        assert!(options.is_plain());
        for (name, text) in
            [("rename", "a=b=order_id"), ("rename", "#2=n"), ("sheet", "Q1"), ("mostly", "99%")]
        {
            options.set(name, text).unwrap();
        }
        let renames = [("a=b", "order_id"), ("#2", "n")];
        assert_eq!(options.renames.columns, renames.map(|(a, b)| (a.to_owned(), b.to_owned())));
        assert_eq!((options.sheet.as_deref(), options.share()), (Some("Q1"), 0.99));
        assert!(!options.is_plain());
        for (name, text, expected) in [
            ("rename", "order_id", "rename \"order_id\": expected COLUMN=NAME"),
            ("rename", "a=B c", "column name \"B c\": expected"),
            ("sheet", "", "expected the name of a sheet"),
            ("mostly", "0", "expected a share above 0 up to 1"),
            ("mostly", "101%", "expected a share above 0 up to 1"),
            ("colour", "red", "option \"colour\": expected one of rename, sheet, mostly"),
        ] {
            let error = options.set(name, text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn an_option_that_does_nothing_for_a_format_is_refused() {
        let refused = |name: &str, text: &str, format| {
            let mut options = ReadOptions::default();
            options.set(name, text).unwrap();
            options.require_used(format, "a.file").map_err(|error| error.to_string())
        };
        assert_eq!(refused("sheet", "Q1", Format::Xlsx), Ok(()));
        assert_eq!(refused("mostly", "0.9", Format::Ndjson), Ok(()));
        let says = refused("sheet", "Q1", Format::Csv).unwrap_err();
        assert!(says.contains("the file is csv; sheet is an option of Excel files"), "{says}");
        let says = refused("mostly", "0.9", Format::Parquet).unwrap_err();
        assert!(says.contains("mostly is an option of CSV, NDJSON and Excel files"), "{says}");
    }
}
