//! XES event logs (IEEE 1849), streamed: an event is a row as soon as its element is closed.
//!
//! `concept:name` of the trace is the case, of the event the activity; `time:timestamp` is when a step ended,
//! `start_timestamp` when it began, and a step without one is an instant. The events `start` and `complete`
//! of one activity are one step. Everything else goes into `attributes`, the trace's own under `case:…`, as
//! event logs in CSV call them. A trace's attributes must come before its events, as in the standard's schema.
//!
//! Only events are rows: an attribute of the log or of a trace that cannot be read is skipped with a warning.

use std::io;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use chrono_tz::Tz;
use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use serde_json::{Map, Value};

use super::encoding::decoded;
use super::input::{Meter, Tracked};
use super::mapped::columns_of;
use super::rows::{Place, RowTable, unmarked_utf16};
use super::steps::{COLUMNS, Step, Steps};
use super::{Chunk, ReadOptions, RowReader, Source, TextEncoding};
use crate::error::{Error, Result};
use crate::local_time::instant_in;
use crate::parse;
use crate::rejected::Position;

/// Deepest nesting of elements.
const DEPTH_MAX: usize = 64;
/// Bytes that are searched for the document's encoding declaration.
const DECLARATION_BYTES: usize = 1_024;

pub(crate) fn open(source: &Source, options: &ReadOptions) -> Result<Box<dyn RowReader>> {
    let columns = columns_of("workflow_steps", &COLUMNS)?;
    let encoding = encoding_of(&source.head(DECLARATION_BYTES)?).map_err(|problem| {
        let position = Position { source: source.name().to_owned(), row: 1, line: Some(1) };
        Error::Malformed { position, column: None, problem }
    })?;
    let (text, _) = decoded(source, TextEncoding::Named(encoding))?;
    let (input, meter) = Tracked::new(text, options.row_max_bytes);
    let mut reader = Reader::from_reader(input);
    reader.config_mut().check_end_names = true;
    Ok(Box::new(XesReader {
        source: source.clone(),
        reader,
        meter,
        row_max_bytes: options.row_max_bytes,
        table: RowTable::new(source.name(), &columns, options)?,
        steps: Steps::default(),
        zone: options.csv.zone.unwrap_or(Tz::UTC),
        skipped: Skipped::default(),
        buffer: Vec::new(),
        open: Vec::new(),
        trace: Map::new(),
        saw_log: false,
        row: 0,
        done: false,
    }))
}

/// The encoding of an XML document that starts with `head`: by its byte-order mark, else by its first letters, else by its
/// declaration (XML 1.0, appendix F).
fn encoding_of(head: &[u8]) -> Result<&'static Encoding, String> {
    match head {
        [0xFF, 0xFE, ..] => return Ok(UTF_16LE),
        [0xFE, 0xFF, ..] => return Ok(UTF_16BE),
        [0xEF, 0xBB, 0xBF, ..] => return Ok(UTF_8),
        _ => {}
    }
    if let Some(encoding) = unmarked_utf16(head) {
        return Ok(encoding);
    }
    let text = String::from_utf8_lossy(head);
    let declaration =
        text.trim_start().strip_prefix("<?xml").and_then(|rest| rest.split_once("?>"));
    let label = declaration.and_then(|(declaration, _)| {
        let (_, value) = declaration.split_once("encoding")?;
        let value = value.trim_start().strip_prefix('=')?.trim_start();
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        value[1..].split(quote).next()
    });
    let Some(label) = label else { return Ok(UTF_8) };
    match Encoding::for_label(label.trim().as_bytes()) {
        // `head` was readable as single bytes, so the declared UTF-16 is wrong.
        Some(encoding) if encoding == UTF_16LE || encoding == UTF_16BE => Ok(UTF_8),
        Some(encoding) => Ok(encoding),
        None => Err(format!(
            "expected an encoding of the WHATWG standard such as UTF-8, found {}; convert the file to UTF-8",
            parse::quoted(label)
        )),
    }
}

struct XesReader {
    source: Source,
    reader: Reader<Tracked>,
    meter: Arc<Meter>,
    row_max_bytes: usize,
    table: RowTable,
    steps: Steps,
    /// The zone of times without an offset.
    zone: Tz,
    skipped: Skipped,
    buffer: Vec<u8>,
    /// The elements that are open, outermost first.
    open: Vec<Element>,
    /// Attributes of the trace that is open.
    trace: Map<String, Value>,
    saw_log: bool,
    row: u64,
    done: bool,
}

enum Element {
    Log,
    Trace,
    Event {
        attributes: Map<String, Value>,
        line: u64,
        /// Why the event is rejected, if it is.
        fault: Option<String>,
    },
    Attribute {
        key: String,
        value: Value,
        inside: Map<String, Value>,
    },
    /// An attribute of the log, or an element inside one.
    Metadata,
    /// Declarations and other elements without rows.
    Other,
}

/// Attributes that were skipped because they cannot be read.
#[derive(Default)]
struct Skipped {
    count: u64,
    /// The line of the first one, and the problem.
    first: Option<(u64, String)>,
}

impl XesReader {
    fn fill(&mut self) -> Result<()> {
        while !self.table.is_full() {
            let line = self.meter.line();
            self.buffer.clear();
            let mut buffer = std::mem::take(&mut self.buffer);
            let event = self.reader.read_event_into(&mut buffer);
            let outcome = match event {
                Ok(Event::Start(start)) => self.enter(&start, line).map(|()| true),
                Ok(Event::Empty(start)) => {
                    self.enter(&start, line).and_then(|()| self.leave()).map(|()| true)
                }
                Ok(Event::End(_)) => self.leave().map(|()| true),
                Ok(Event::Text(text)) if self.saw_log && self.open.is_empty() => {
                    match text.iter().all(u8::is_ascii_whitespace) {
                        true => Ok(true),
                        false => {
                            let says = "expected nothing behind </log>, found text".to_owned();
                            Err(self.malformed(line, says))
                        }
                    }
                }
                Ok(Event::Eof) if !self.open.is_empty() => {
                    Err(self.malformed(line, "the document ends inside an element".into()))
                }
                Ok(Event::Eof) if !self.saw_log => {
                    Err(self.malformed(line, "expected an element <log>, found none".into()))
                }
                Ok(Event::Eof) => Ok(false),
                Ok(_) => Ok(true),
                Err(quick_xml::Error::Io(e)) => Err(self.io(&e, line)),
                Err(e) => Err(self.malformed(self.meter.line(), e.to_string())),
            };
            self.buffer = buffer;
            if !outcome? {
                self.done = true;
                return self.steps.finish(&mut self.table);
            }
        }
        Ok(())
    }

    fn enter(&mut self, start: &BytesStart<'_>, line: u64) -> Result<()> {
        if self.open.len() >= DEPTH_MAX {
            return Err(
                self.malformed(line, format!("elements are nested more than {DEPTH_MAX} deep"))
            );
        }
        let name = start.local_name();
        let element = match (self.open.last(), name.as_ref()) {
            (None, b"log") if !self.saw_log => {
                self.saw_log = true;
                Element::Log
            }
            (None, other) => {
                let found = String::from_utf8_lossy(other).into_owned();
                let expected = if self.saw_log { "nothing behind </log>" } else { "<log>" };
                return Err(self.malformed(line, format!("expected {expected}, found <{found}>")));
            }
            (Some(Element::Log), b"trace") => {
                self.trace.clear();
                self.meter.begin_record();
                Element::Trace
            }
            (Some(Element::Trace | Element::Log), b"event") => {
                self.meter.begin_record();
                Element::Event { attributes: Map::new(), line, fault: None }
            }
            (Some(Element::Log | Element::Metadata), kind) if is_attribute(kind) => {
                self.meter.begin_record();
                if let Err(problem) = self.attribute(start, kind) {
                    self.skipped.note(line, problem);
                }
                Element::Metadata
            }
            (Some(Element::Trace | Element::Event { .. } | Element::Attribute { .. }), kind)
                if is_attribute(kind) =>
            {
                match (self.attribute(start, kind), self.open.last_mut()) {
                    (Ok(attribute), _) => attribute,
                    (Err(problem), Some(Element::Event { fault, .. })) => {
                        fault.get_or_insert(problem);
                        Element::Other
                    }
                    (Err(problem), _) => {
                        self.skipped.note(line, problem);
                        Element::Other
                    }
                }
            }
            // `values` only wraps the items of a list.
            (Some(Element::Attribute { .. }), b"values") => {
                Element::Attribute { key: "values".into(), value: Value::Null, inside: Map::new() }
            }
            (Some(Element::Metadata), b"values") => Element::Metadata,
            _ => Element::Other,
        };
        self.open.push(element);
        Ok(())
    }

    fn attribute(&self, start: &BytesStart<'_>, kind: &[u8]) -> Result<Element, String> {
        let (mut key, mut text) = (None, None);
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|e| e.to_string())?;
            let value = attribute.decode_and_unescape_value(self.reader.decoder());
            let value = value.map_err(|e| e.to_string())?;
            match attribute.key.local_name().as_ref() {
                b"key" => key = Some(value.into_owned()),
                b"value" => text = Some(value.into_owned()),
                _ => {}
            }
        }
        let Some(key) = key else {
            let kind = String::from_utf8_lossy(kind);
            return Err(format!("expected a key in <{kind}>, found none"));
        };
        let value = text.map_or(Value::Null, |text| typed(kind, text));
        Ok(Element::Attribute { key, value, inside: Map::new() })
    }

    fn leave(&mut self) -> Result<()> {
        match self.open.pop() {
            Some(Element::Attribute { key, value, inside }) => {
                let value = nested(value, inside);
                match self.open.last_mut() {
                    Some(Element::Event { attributes, .. }) => {
                        attributes.insert(key, value);
                    }
                    Some(Element::Attribute { inside, .. }) => {
                        inside.insert(key, value);
                    }
                    Some(Element::Trace) => {
                        self.trace.insert(key, value);
                    }
                    _ => {}
                }
                Ok(())
            }
            Some(Element::Event { attributes, line, fault }) => self.row(attributes, line, fault),
            Some(Element::Trace) => {
                self.trace.clear();
                self.steps.finish(&mut self.table)
            }
            _ => Ok(()),
        }
    }

    fn row(
        &mut self,
        mut attributes: Map<String, Value>,
        line: u64,
        fault: Option<String>,
    ) -> Result<()> {
        self.row += 1;
        let place = Place { row: self.row, line };
        let original = Value::Object(attributes.clone()).to_string();
        let fields = match fault {
            Some(problem) => Err((None, problem)),
            None => Fields::take(self.trace.get("concept:name"), &attributes, self.zone)
                .map_err(|(column, problem)| (Some(column), problem)),
        };
        let fields = match fields {
            Ok(fields) => fields,
            Err((column, reason)) => {
                self.table.reject(place, column, reason, original);
                return Ok(());
            }
        };
        for key in ["concept:name", "time:timestamp", "start_timestamp", "org:resource"] {
            attributes.remove(key);
        }
        for (key, value) in &self.trace {
            if key != "concept:name" {
                attributes.insert(format!("case:{key}"), value.clone());
            }
        }
        let Fields { case_id, activity, started_us, ended_us, resource } = fields;
        let step = Step { case_id, activity, started_us, ended_us, resource, attributes, place };
        self.steps.push(step, &mut self.table)
    }

    fn malformed(&self, line: u64, problem: String) -> Error {
        Error::Malformed {
            position: Position {
                source: self.source.name().to_owned(),
                row: self.row + 1,
                line: Some(line),
            },
            column: None,
            problem,
        }
    }

    fn io(&self, error: &io::Error, line: u64) -> Error {
        if Tracked::is_limit(error) {
            return Error::Limit {
                source_name: format!("{}:{line} (row {})", self.source.name(), self.row + 1),
                what: "the event".into(),
                limit: self.row_max_bytes as u64,
                unit: "bytes",
            };
        }
        self.source.io("read", io::Error::new(error.kind(), error.to_string()))
    }
}

impl RowReader for XesReader {
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

    fn warnings(&self) -> Vec<String> {
        self.skipped.warning().into_iter().collect()
    }
}

impl Skipped {
    fn note(&mut self, line: u64, problem: String) {
        self.count += 1;
        self.first.get_or_insert((line, problem));
    }

    fn warning(&self) -> Option<String> {
        let (line, problem) = self.first.as_ref()?;
        let (attributes, are) =
            if self.count == 1 { ("attribute", "is") } else { ("attributes", "are") };
        Some(format!(
            "{} {attributes} {are} skipped, the first on line {line}: {problem}",
            self.count
        ))
    }
}

/// The fields of a step that an event states.
struct Fields {
    case_id: String,
    activity: String,
    started_us: Option<i64>,
    ended_us: i64,
    resource: Option<String>,
}

impl Fields {
    fn take(
        case: Option<&Value>,
        attributes: &Map<String, Value>,
        zone: Tz,
    ) -> Result<Self, (&'static str, String)> {
        let text = |value: Option<&Value>| match value {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Null) | None => None,
            Some(other) => Some(other.to_string()),
        };
        let instant = |column: &'static str, key: &str| match text(attributes.get(key)) {
            None => Ok(None),
            Some(found) => instant_in(found.trim(), zone)
                .map(Some)
                .map_err(|problem| (column, format!("{key:?}: {problem}"))),
        };
        let missing = |column, what: &str| (column, format!("expected {what}, found none"));
        let ended_us = instant("ended_at", "time:timestamp")?
            .ok_or_else(|| missing("ended_at", "\"time:timestamp\""))?;
        Ok(Self {
            case_id: text(case)
                .ok_or_else(|| missing("case_id", "\"concept:name\" of the trace"))?,
            activity: text(attributes.get("concept:name"))
                .ok_or_else(|| missing("activity", "\"concept:name\" of the event"))?,
            started_us: instant("started_at", "start_timestamp")?,
            ended_us,
            resource: text(attributes.get("org:resource")),
        })
    }
}

/// Whether an element is an attribute.
fn is_attribute(kind: &[u8]) -> bool {
    const KINDS: [&[u8]; 8] =
        [b"string", b"date", b"int", b"float", b"boolean", b"id", b"list", b"container"];
    KINDS.contains(&kind)
}

/// An attribute's value by its element; a value that its element does not fit stays text.
fn typed(kind: &[u8], text: String) -> Value {
    let number = match kind {
        b"int" => text.trim().parse::<i64>().ok().map(Value::from),
        b"float" => text
            .trim()
            .parse::<f64>()
            .ok()
            .and_then(|v| serde_json::Number::from_f64(v).map(Value::Number)),
        b"boolean" => parse::bool(text.trim()).map(Value::Bool),
        _ => None,
    };
    number.unwrap_or(Value::String(text))
}

/// An attribute with attributes of its own.
fn nested(value: Value, mut inside: Map<String, Value>) -> Value {
    if inside.is_empty() {
        return value;
    }
    if !value.is_null() {
        inside.insert("value".into(), value);
    }
    Value::Object(inside)
}
