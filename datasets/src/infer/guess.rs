//! The spec of a dataset from a file that nobody described, and what there is to say of it.

use arrow::datatypes::{Field, Schema};
use encoding_rs::UTF_8;

use super::{Finding, SpecHints, fixed_lists, spec_from_schema, to_identifier};
use crate::error::{Error, Result};
use crate::name::DatasetName;
use crate::parse::quoted;
use crate::read::{self, Format, ReadOptions, RepeatedNames, Source};
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
    /// Renamed columns, as pairs of the name in the file and in the spec; needed to read the file.
    pub renames: Vec<(String, String)>,
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
    /// [`ReadOptions::sheet`].
    Sheet,
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
            Self::Sheet => "another sheet",
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
        Format::Ndjson => ndjson(source, options)?,
        Format::Xlsx => xlsx(source, options)?,
        _ => {
            let reader = read::open(source.clone(), format, None, &options.read)?;
            (fixed_lists::schema_of(reader)?, Vec::new())
        }
    };
    let mut renames = options.read.renames.columns.clone();
    let mut schema = schema;
    let names: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
    let collisions = read::distinct_names(&names);
    if options.read.renames.repeated == RepeatedNames::Refused
        && let Some((at, to)) = collisions.first()
    {
        return Err(collision(source, &names, *at, to));
    }
    for (at, to) in collisions {
        let from = &names[at];
        notes.push(format!("{} is {to}: another column has its name", quoted(from)).into());
        // The file knows a column that was renamed before by its original name.
        match renames.iter_mut().find(|(_, renamed)| renamed == from) {
            Some((_, renamed)) => renamed.clone_from(&to),
            None => renames.push((from.clone(), to.clone())),
        }
        schema = renamed_field(&schema, at, &to);
    }
    let mut spec = spec_from_schema(name, &schema, &options.hints)?;
    // A file with other columns is more often another table's than a wider one.
    spec.evolution = Evolution::Fixed;
    if format == Format::Csv {
        // Later files are read with the same mark, even if this one had no fractions.
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
    Ok(Guess { spec, notes, renames })
}

/// The error for a file without rows and without a header.
fn empty(source: &Source) -> Error {
    let (source_name, problem) = (source.name().to_owned(), "the file is empty".to_owned());
    Error::Mismatch { source_name, problem }
}

/// The error for the column at `at`, which could be renamed to `to`.
fn collision(source: &Source, names: &[String], at: usize, to: &str) -> Error {
    let identifier = to_identifier(&names[at]);
    let is_other =
        |(other, name): &(usize, &String)| *other != at && to_identifier(name) == identifier;
    let other = names.iter().enumerate().find(is_other).map_or(&names[at], |(_, name)| name);
    let column = match *other == names[at] {
        true => format!("#{}", at + 1),
        false => names[at].clone(),
    };
    let problem = format!(
        "columns {} and {} are both {identifier}; rename one of them (--rename \"{column}={to}\")",
        quoted(other),
        quoted(&names[at])
    );
    Error::Mismatch { source_name: source.name().to_owned(), problem }
}

fn renamed_field(schema: &Schema, at: usize, to: &str) -> Schema {
    let mut fields: Vec<Field> = schema.fields().iter().map(|f| f.as_ref().clone()).collect();
    if let Some(field) = fields.get_mut(at) {
        field.set_name(to);
    }
    Schema::new(fields)
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
    if looks.columns.is_empty() {
        return Err(empty(source));
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
    notes.extend(partial(looks.is_whole, looks.rows, options));
    let (schema, found) = typed(looks.columns, options);
    notes.extend(found);
    Ok((schema, notes))
}

fn ndjson(source: &Source, options: &GuessOptions) -> Result<(Schema, Vec<Note>)> {
    let looks = read::ndjson_looks(source, &options.read, options.bytes_max, options.mostly)?;
    if looks.rows == 0 {
        return Err(empty(source));
    }
    let mut notes: Vec<Note> = partial(looks.is_whole, looks.rows, options).into_iter().collect();
    let (schema, found) = typed(looks.columns, options);
    notes.extend(found);
    Ok((schema, notes))
}

fn xlsx(source: &Source, options: &GuessOptions) -> Result<(Schema, Vec<Note>)> {
    let looks = read::xlsx_looks(source, &options.read, options.mostly)?;
    let (schema, mut notes) = typed(looks.columns, options);
    if let Some((last, others)) = looks.others.split_last() {
        let others: Vec<String> = others.iter().map(|name| quoted(name)).collect();
        let others = match others.is_empty() {
            true => format!("another sheet, {}, is not read", quoted(last)),
            false => format!("the sheets {} and {} are not read", others.join(", "), quoted(last)),
        };
        notes.push(Note { text: others, hints: vec![Hint::Sheet] });
    }
    Ok((schema, notes))
}

/// A note if only the first rows were read.
fn partial(is_whole: bool, rows: u64, options: &GuessOptions) -> Option<Note> {
    let mib = options.bytes_max >> 20;
    (!is_whole).then(|| format!("types are those of the first {rows} rows ({mib} MiB)").into())
}

/// The columns with their inferred types, and a reason for each type that is not obvious.
fn typed(columns: Vec<(String, Finding)>, options: &GuessOptions) -> (Schema, Vec<Note>) {
    let mut notes: Vec<Note> = Vec::new();
    let said: Vec<&str> = options.hints.types.iter().map(|(of, _)| of.as_str()).collect();
    let mut fields = Vec::with_capacity(columns.len());
    for (name, Finding { data_type, because, otherwise, .. }) in columns {
        let column = to_identifier(&name);
        let is_said = said.iter().any(|said| *said == name || *said == column);
        if !is_said {
            if let Some(because) = because {
                let (rejected, hints) = match because.most == data_type {
                    true => ("; values that do not fit go to quarantine", Vec::new()),
                    false => ("", vec![Hint::Mostly]),
                };
                let text = format!("{column} is {data_type}: {because}{rejected}");
                notes.push(Note { text, hints });
            }
            if !otherwise.is_empty() {
                let looks: Vec<&str> = otherwise.iter().map(|hint| hint.looks()).collect();
                let looks = looks.join(", or ");
                let text = format!("{column} is text, and most of its values look like {looks}");
                notes.push(Note { text, hints: otherwise });
            }
        }
        let metadata = [(TYPE_METADATA_KEY.to_owned(), data_type.to_string())];
        let field = Field::new(name, data_type.arrow_type(), true);
        fields.push(field.with_metadata(metadata.into()));
    }
    (Schema::new(fields), notes)
}
