//! One JSON object per line, or an array of objects, straight into the columns of the target.
//!
//! A line that can't be taken is set aside with its text and the column at fault, and the lines around it
//! pass: a producer's one bad event must not cost a batch.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};

use arrow::datatypes::SchemaRef;
use simdutf8::compat::from_utf8;

use super::encoding::without_mark;
use super::json::{self, JsonError, Kind, RawValue};
use super::json_array::ArrayItems;
use super::lines::{Line, Lines};
use super::rows::{Place, RowTable, check_encoding, original_text};
use super::{Chunk, CsvOptions, ReadOptions, RowReader, Source};
use crate::column_type::ColumnType;
use crate::error::{Error, Result};
use crate::infer::{Finding, JsonTally, to_identifier};
use crate::parse::Slot;
use crate::rejected::Position;
use crate::spec::{COLUMNS_MAX, ColumnSpec, DatasetSpec, Evolution};

pub(crate) struct NdjsonReader {
    source: Source,
    lines: Lines,
    pending: VecDeque<OwnedLine>,
    layout: Layout,
    table: RowTable,
    row: u64,
    done: bool,
}

struct OwnedLine {
    bytes: Vec<u8>,
    number: u64,
    cut: bool,
}

/// Which member goes to which column.
struct Layout {
    columns: Vec<ColumnSpec>,
    by_name: HashMap<String, Option<usize>>,
    /// New names for members of the file.
    renamed: HashMap<String, String>,
    /// Column expected next: producers write members in one order.
    hint: usize,
    on_unknown: OnUnknown,
    /// How local times are read, if a zone is stated.
    local: Option<CsvOptions>,
}

#[derive(Clone, Copy, PartialEq)]
enum OnUnknown {
    Fixed,
    /// Columns were looked for in the first rows only.
    Discovered(usize),
}

/// Why a row is set aside.
struct RowError {
    column: Option<String>,
    reason: String,
}

impl From<JsonError> for RowError {
    fn from(error: JsonError) -> Self {
        Self { column: None, reason: format!("column {}: {}", error.at + 1, error.problem) }
    }
}

impl NdjsonReader {
    pub(crate) fn open(
        source: &Source,
        target: Option<&DatasetSpec>,
        options: &ReadOptions,
    ) -> Result<Self> {
        let mut lines = open_lines(source, options)?;
        let mut columns: Vec<ColumnSpec> = target.map(|t| t.columns.clone()).unwrap_or_default();
        let mut pending = VecDeque::new();
        let fixed = target.is_some_and(|t| t.evolution == Evolution::Fixed);
        if !fixed {
            pending = read_ahead(&mut lines, options).map_err(|e| source.io("read", e))?;
            discover(source.name(), &pending, target, options, &mut columns)?;
        }
        let mut by_name: HashMap<String, Option<usize>> =
            columns.iter().enumerate().map(|(at, c)| (c.name.clone(), Some(at))).collect();
        for partition in target.iter().flat_map(|t| t.computed_partitions()) {
            by_name.insert(partition.column.clone(), None);
        }
        let on_unknown =
            if fixed { OnUnknown::Fixed } else { OnUnknown::Discovered(pending.len()) };
        Ok(Self {
            table: RowTable::new(source.name(), &columns, options)?,
            source: source.clone(),
            lines,
            pending,
            layout: Layout {
                columns,
                by_name,
                renamed: options.renames.by_name(),
                hint: 0,
                on_unknown,
                local: options.csv.zone.map(|_| options.csv.clone()),
            },
            row: 0,
            done: false,
        })
    }

    fn fill(&mut self) -> Result<()> {
        while !self.table.is_full() {
            if let Some(line) = self.pending.pop_front() {
                self.row += 1;
                let line = Line { bytes: &line.bytes, number: line.number, cut: line.cut };
                take_line(&mut self.table, &mut self.layout, &line, self.row)?;
                continue;
            }
            match self.lines.next_line().map_err(|e| self.source.io("read", e))? {
                Some(line) => {
                    self.row += 1;
                    take_line(&mut self.table, &mut self.layout, &line, self.row)?;
                }
                None => {
                    self.done = true;
                    break;
                }
            }
        }
        Ok(())
    }
}

impl RowReader for NdjsonReader {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        if self.done {
            return Ok(None);
        }
        if let Err(error) = self.fill() {
            self.done = true;
            return Err(error);
        }
        self.table.take_chunk()
    }
}

/// Says early that the whole source is another shape of JSON, rather than setting every line aside.
fn check_first(source_name: &str, head: &[u8]) -> Result<()> {
    let start = without_mark(head);
    let skipped = head.len() - start.trim_ascii_start().len();
    let Some(first) = head.get(skipped) else { return Ok(()) };
    if matches!(first, b'{' | b'[') {
        return Ok(());
    }
    let line_start = head[..skipped].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let found = char::from(*first);
    Err(Error::Malformed {
        position: Position {
            source: source_name.to_owned(),
            row: 1,
            line: Some(1 + head[..skipped].iter().filter(|b| **b == b'\n').count() as u64),
        },
        column: Some((skipped - line_start) as u64 + 1),
        problem: format!(
            "expected one JSON object per line, or an array of objects, found {found:?}"
        ),
    })
}

fn read_ahead(lines: &mut Lines, options: &ReadOptions) -> std::io::Result<VecDeque<OwnedLine>> {
    let mut ahead = VecDeque::new();
    let mut held_bytes = 0;
    while ahead.len() < options.discovery_rows && held_bytes < options.discovery_bytes {
        let Some(line) = lines.next_line()? else { break };
        held_bytes += line.bytes.len();
        ahead.push_back(OwnedLine {
            bytes: line.bytes.to_vec(),
            number: line.number,
            cut: line.cut,
        });
    }
    Ok(ahead)
}

/// Adds the members that no column of the target takes, in the order of their first appearance.
fn discover(
    source_name: &str,
    lines: &VecDeque<OwnedLine>,
    target: Option<&DatasetSpec>,
    options: &ReadOptions,
    columns: &mut Vec<ColumnSpec>,
) -> Result<()> {
    let computed = target.iter().flat_map(|t| t.computed_partitions()).map(|p| p.column.clone());
    let known = columns.iter().map(|c| c.name.clone()).chain(computed).collect();
    let mut members = Members { known, renamed: options.renames.by_name(), ..Members::default() };
    for (row, line) in (1..).zip(lines) {
        members.add(&line.bytes, Place { row, line: line.number });
        members.check_count(source_name, columns.len())?;
    }
    columns.extend(members.into_findings(options.share()).into_iter().map(|(name, finding)| {
        ColumnSpec {
            name,
            data_type: finding.data_type,
            nullable: true,
            unit: None,
            description: String::new(),
        }
    }));
    Ok(())
}

/// The members of objects, and tallies of their values.
#[derive(Default)]
struct Members {
    /// Names that are not counted.
    known: HashSet<String>,
    renamed: HashMap<String, String>,
    order: Vec<String>,
    tallies: HashMap<String, JsonTally>,
}

impl Members {
    /// Counts the members of a line. A line that is not JSON does not affect the types; it is rejected when the rows are read.
    fn add(&mut self, line: &[u8], at: Place) {
        let Ok(text) = from_utf8(line) else { return };
        let mut seen = Vec::new();
        let parsed = json::members::<JsonError>(text, |name, value| {
            let renamed = self.renamed.get(name.as_ref()).cloned();
            let name = renamed.map_or(name, Cow::Owned);
            if !self.known.contains(name.as_ref()) && !self.known.contains(&to_identifier(&name)) {
                seen.push((name, value));
            }
            Ok(())
        });
        if parsed.is_err() {
            return;
        }
        for (name, value) in seen {
            match self.tallies.get_mut(name.as_ref()) {
                Some(tally) => tally.add(&value, at),
                None => {
                    let mut tally = JsonTally::default();
                    tally.add(&value, at);
                    self.order.push(name.clone().into_owned());
                    self.tallies.insert(name.into_owned(), tally);
                }
            }
        }
    }

    fn check_count(&self, source_name: &str, others: usize) -> Result<()> {
        if others + self.order.len() <= COLUMNS_MAX {
            return Ok(());
        }
        Err(Error::Limit {
            source_name: source_name.to_owned(),
            what: "the number of columns".into(),
            limit: COLUMNS_MAX as u64,
            unit: "columns",
        })
    }

    fn into_findings(mut self, mostly: f64) -> Vec<(String, Finding)> {
        let tally = |name: &String| self.tallies.remove(name).unwrap_or_default();
        let tallies: Vec<JsonTally> = self.order.iter().map(tally).collect();
        self.order.into_iter().zip(tallies.iter().map(|tally| tally.decide(mostly))).collect()
    }
}

/// The members of a file's objects and their types.
pub(crate) struct Looks {
    /// The columns by their names in the file.
    pub(crate) columns: Vec<(String, Finding)>,
    /// The number of rows that were read, and whether they are all rows.
    pub(crate) rows: u64,
    pub(crate) is_whole: bool,
}

/// Reads up to `bytes_max` bytes of `source` and infers column types that fit at least the share `mostly` of the values.
pub(crate) fn look(
    source: &Source,
    options: &ReadOptions,
    bytes_max: usize,
    mostly: f64,
) -> Result<Looks> {
    let mut lines = open_lines(source, options)?;
    let mut members = Members { renamed: options.renames.by_name(), ..Members::default() };
    let (mut rows, mut bytes) = (0, 0);
    let is_whole = loop {
        if bytes > bytes_max {
            break false;
        }
        let Some(line) = lines.next_line().map_err(|e| source.io("read", e))? else { break true };
        rows += 1;
        bytes += line.bytes.len();
        members.add(line.bytes, Place { row: rows, line: line.number });
        members.check_count(source.name(), 0)?;
    };
    Ok(Looks { columns: members.into_findings(mostly), rows, is_whole })
}

/// The lines of `source`; for a JSON array, its items.
fn open_lines(source: &Source, options: &ReadOptions) -> Result<Lines> {
    let mut input = source.text()?;
    let head = input.fill_buf().map_err(|e| source.io("read", e))?;
    check_encoding(source.name(), head)?;
    check_first(source.name(), head)?;
    if ArrayItems::begins(head) {
        input = Box::new(ArrayItems::new(input));
    }
    Ok(Lines::new(input, options.row_max_bytes))
}

fn take_line(table: &mut RowTable, layout: &mut Layout, line: &Line<'_>, row: u64) -> Result<()> {
    let place = Place { row, line: line.number };
    if line.cut {
        let reason = "the line is longer than a row may be; its beginning is kept".to_owned();
        table.reject(place, None, reason, original_text(line.bytes));
        return Ok(());
    }
    let text = match from_utf8(line.bytes) {
        Ok(text) => text,
        Err(e) => {
            let reason = format!("column {}: expected UTF-8 text", e.valid_up_to() + 1);
            table.reject(place, None, reason, original_text(line.bytes));
            return Ok(());
        }
    };
    match layout.slots(text) {
        Ok(slots) => table.push(place, text.len(), &slots),
        Err(error) => {
            table.reject(place, error.column.as_deref(), error.reason, text.to_owned());
            Ok(())
        }
    }
}

impl Layout {
    fn slots<'a>(&mut self, text: &'a str) -> Result<Vec<Slot<'a>>, RowError> {
        let mut slots: Vec<Option<Slot<'a>>> = vec![None; self.columns.len()];
        self.hint = 0;
        json::members(text, |name, value| self.member(&name, &value, &mut slots))?;
        Ok(slots.into_iter().map(|slot| slot.unwrap_or(Slot::Null)).collect())
    }

    fn member<'a>(
        &mut self,
        name: &str,
        value: &RawValue<'a>,
        slots: &mut [Option<Slot<'a>>],
    ) -> Result<(), RowError> {
        let found = match self.columns.get(self.hint) {
            Some(column) if column.name == name && self.renamed.is_empty() => Some(self.hint),
            _ => match self.renamed.get(name).cloned() {
                Some(renamed) => self.find(&renamed, value)?,
                None => self.find(name, value)?,
            },
        };
        let Some(at) = found else { return Ok(()) };
        self.hint = at + 1;
        let column = &self.columns[at];
        let slot = value.slot(&column.data_type).and_then(|slot| match (&self.local, value.kind) {
            (Some(local), Kind::Plain | Kind::Escaped)
                if column.data_type == ColumnType::Timestamp =>
            {
                let text = value.string().unwrap_or_default();
                local.instant(&text).map(Slot::Int)
            }
            _ => Ok(slot),
        });
        let slot = slot.map_err(|problem| RowError {
            column: Some(column.name.clone()),
            reason: format!("column {}: {:?}: {problem}", value.at + 1, column.name),
        })?;
        if slots[at].replace(slot).is_some() {
            return Err(RowError {
                column: Some(column.name.clone()),
                reason: format!("column {}: {name:?} stands twice", value.at + 1),
            });
        }
        Ok(())
    }

    /// The column for `name`; `None` for a member that is computed here and so needs no reading.
    fn find(&mut self, name: &str, value: &RawValue<'_>) -> Result<Option<usize>, RowError> {
        if let Some(at) = self.by_name.get(name) {
            return Ok(*at);
        }
        if let Some(at) = self.by_name.get(&to_identifier(name)).copied() {
            if self.by_name.len() < 4 * COLUMNS_MAX {
                self.by_name.insert(name.to_owned(), at);
            }
            return Ok(at);
        }
        let at = value.at + 1;
        let shown = crate::parse::quoted(name);
        let reason = match self.on_unknown {
            OnUnknown::Fixed => {
                format!(
                    "column {at}: unknown column {shown}; the dataset's columns are fixed; load with \
                     add_columns to add it"
                )
            }
            OnUnknown::Discovered(rows) => {
                format!("column {at}: unknown column {shown}, not in the first {rows} rows")
            }
        };
        Err(RowError { column: None, reason })
    }
}
