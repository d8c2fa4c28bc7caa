//! The spec of a dataset from a file that nobody described, and what there is to say of it.

use arrow::datatypes::{Field, Schema};
use encoding_rs::UTF_8;

use super::{SpecHints, spec_from_schema, to_identifier};
use crate::column_type::ColumnType;
use crate::error::Result;
use crate::name::DatasetName;
use crate::parse::quoted;
use crate::read::{self, Format, ReadOptions, Source};
use crate::spec::{DatasetSpec, Evolution, TYPE_METADATA_KEY};

/// Bytes of a file that types are told from.
const BYTES_MAX: usize = 64 << 20;

/// What a file is looked at for.
#[derive(Clone, Debug)]
pub struct GuessOptions {
    /// What the user says.
    pub hints: SpecHints,
    /// The share of a column's values that its type must fit; those that do not fit are rejected when they are loaded.
    pub mostly: f64,
    /// Bytes of a text that are looked at.
    pub bytes_max: usize,
    /// How it is read.
    pub read: ReadOptions,
}

impl Default for GuessOptions {
    fn default() -> Self {
        let (hints, read) = (SpecHints::default(), ReadOptions::default());
        Self { hints, mostly: 1.0, bytes_max: BYTES_MAX, read }
    }
}

/// A spec that was found in a file.
#[derive(Clone, Debug)]
pub struct Guess {
    /// The spec.
    pub spec: DatasetSpec,
    /// What is to be known of it.
    pub notes: Vec<Note>,
}

/// Something that is to be known of a spec that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// A sentence.
    pub text: String,
    /// What could be said for it to be otherwise.
    pub hints: Vec<Hint>,
}

/// What could be said of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// [`CsvOptions::decimal_comma`](crate::read::CsvOptions::decimal_comma).
    DecimalComma,
    /// [`CsvOptions::thousands_mark`](crate::read::CsvOptions::thousands_mark).
    ThousandsMark,
    /// [`DateOrder::DayFirst`](crate::read::DateOrder::DayFirst).
    DayFirst,
    /// [`DateOrder::MonthFirst`](crate::read::DateOrder::MonthFirst).
    MonthFirst,
    /// [`GuessOptions::mostly`].
    Mostly,
}

impl Hint {
    /// What values look like for which it could be said.
    fn looks(self) -> &'static str {
        match self {
            Self::DecimalComma => "numbers with a decimal comma",
            Self::ThousandsMark => "numbers with a comma between thousands",
            Self::DayFirst => "dates with their day first",
            Self::MonthFirst => "dates with their month first",
            Self::Mostly => "values of another type",
        }
    }
}

impl From<String> for Note {
    fn from(text: String) -> Self {
        Self { text, hints: Vec::new() }
    }
}

/// Finds a spec for the rows of `source`.
pub fn guess(
    name: &DatasetName,
    source: &Source,
    format: Format,
    options: &GuessOptions,
) -> Result<Guess> {
    let mut thousands_mark = options.read.csv.thousands_mark;
    let (schema, mut notes) = match format {
        Format::Csv => csv(source, options, &mut thousands_mark)?,
        _ => {
            let (discovery_rows, discovery_bytes) = (usize::MAX, options.bytes_max);
            let read = ReadOptions { discovery_rows, discovery_bytes, ..options.read.clone() };
            let reader = read::open(source.clone(), format, None, &read)?;
            (reader.schema().as_ref().clone(), Vec::new())
        }
    };
    let mut spec = spec_from_schema(name, &schema, &options.hints)?;
    // Another table's file is a mistake more often than a wider one.
    spec.evolution = Evolution::Fixed;
    if format == Format::Csv {
        // The next file is read by the same rule, also where this one had no fraction.
        spec.load.decimal_mark = Some(if options.read.csv.decimal_comma { ',' } else { '.' });
        spec.load.thousands_mark = thousands_mark;
    }
    let renamed = schema.fields().iter().map(|field| (field.name(), to_identifier(field.name())));
    // How it is written is no other name.
    let renamed = renamed.filter(|(field, column)| !field.eq_ignore_ascii_case(column));
    let renamed: Vec<String> =
        renamed.map(|(field, column)| format!("{} is {column}", quoted(field))).collect();
    if !renamed.is_empty() {
        notes.push(format!("names of columns: {}", renamed.join(", ")).into());
    }
    Ok(Guess { spec, notes })
}

fn csv(
    source: &Source,
    options: &GuessOptions,
    thousands_mark: &mut Option<char>,
) -> Result<(Schema, Vec<Note>)> {
    let mut looks = read::csv_looks(source, &options.read, options.bytes_max, options.mostly)?;
    let mut notes: Vec<Note> = Vec::new();
    let is_grouped = looks.columns.iter().any(|(_, finding)| finding.is_grouped);
    if is_grouped && thousands_mark.is_none() && !options.read.csv.decimal_comma {
        *thousands_mark = Some(',');
        let mut read = options.read.clone();
        read.csv.thousands_mark = *thousands_mark;
        looks = read::csv_looks(source, &read, options.bytes_max, options.mostly)?;
        notes.push("numbers have a comma between thousands".to_owned().into());
    }
    if looks.encoding != UTF_8 {
        notes.push(format!("read as {}", looks.encoding.name()).into());
    }
    if looks.delimiter != b',' {
        notes.push(format!("fields are separated by {:?}", char::from(looks.delimiter)).into());
    }
    if !looks.has_header {
        let text = "the first row is taken for values, not for names of columns";
        notes.push(text.to_owned().into());
    }
    if !looks.is_whole {
        let mib = options.bytes_max >> 20;
        notes.push(format!("types are those of the first {} rows ({mib} MiB)", looks.rows).into());
    }
    let said: Vec<&str> = options.hints.types.iter().map(|(of, _)| of.as_str()).collect();
    let mut fields = Vec::with_capacity(looks.columns.len());
    for (header, finding) in looks.columns {
        let column = to_identifier(&header);
        let data_type = finding.data_type;
        let is_said = said.iter().any(|said| *said == header || *said == column);
        if !is_said {
            if let Some(because) = finding.because {
                let (rejected, hints) = match data_type {
                    ColumnType::Text => ("", vec![Hint::Mostly]),
                    _ => ("; they are rejected", Vec::new()),
                };
                let text = format!("{column} is {data_type}: {because}{rejected}");
                notes.push(Note { text, hints });
            }
            if !finding.otherwise.is_empty() {
                let hints = finding.otherwise;
                let looks: Vec<&str> = hints.iter().map(|hint| hint.looks()).collect();
                let looks = looks.join(", or ");
                let text = format!("{column} is text, and most of its values look like {looks}");
                notes.push(Note { text, hints });
            }
        }
        let metadata = [(TYPE_METADATA_KEY.to_owned(), data_type.to_string())];
        let field = Field::new(header, data_type.arrow_type(), true);
        fields.push(field.with_metadata(metadata.into()));
    }
    Ok((Schema::new(fields), notes))
}
