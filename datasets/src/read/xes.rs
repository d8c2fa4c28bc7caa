//! XES event logs (IEEE 1849), streamed: an event is a row as soon as its element is closed.
//!
//! `concept:name` of the trace is the case, of the event the activity; `time:timestamp` is when a step ended,
//! `start_timestamp` when it began, and a step without one is an instant. Everything else goes into
//! `attributes`, the trace's own under `case:…`, as event logs in CSV call them. A trace's attributes must
//! stand before its events, as the standard's schema has it.

use std::io;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use serde_json::{Map, Value};

use super::input::{Meter, Tracked};
use super::mapped::columns_of;
use super::rows::{Place, RowTable};
use super::{Chunk, ReadOptions, RowReader, Source};
use crate::error::{Error, Result};
use crate::parse::{self, Slot};
use crate::rejected::Position;

/// Deepest nesting of elements.
const DEPTH_MAX: usize = 64;
pub(crate) const COLUMNS: [&str; 6] =
    ["case_id", "activity", "started_at", "ended_at", "resource", "attributes"];

pub(crate) fn open(source: &Source, options: &ReadOptions) -> Result<Box<dyn RowReader>> {
    let columns = columns_of("workflow_steps", &COLUMNS)?;
    let (input, meter) = Tracked::new(source.text()?, options.row_max_bytes);
    let mut reader = Reader::from_reader(input);
    reader.config_mut().check_end_names = true;
    Ok(Box::new(XesReader {
        source: source.clone(),
        reader,
        meter,
        row_max_bytes: options.row_max_bytes,
        table: RowTable::new(source.name(), &columns, options)?,
        buffer: Vec::new(),
        open: Vec::new(),
        trace: Map::new(),
        saw_log: false,
        row: 0,
        done: false,
    }))
}

struct XesReader {
    source: Source,
    reader: Reader<Tracked>,
    meter: Arc<Meter>,
    row_max_bytes: usize,
    table: RowTable,
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
    },
    Attribute {
        key: String,
        value: Value,
        inside: Map<String, Value>,
    },
    /// Declarations, which hold no rows.
    Other,
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
                Ok(Event::Decl(declaration)) => {
                    let encoding = declaration
                        .encoding()
                        .and_then(std::result::Result::ok)
                        .map(|e| String::from_utf8_lossy(&e).into_owned());
                    check_encoding(encoding.as_deref())
                        .map(|()| true)
                        .map_err(|problem| self.malformed(line, problem))
                }
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
                return Ok(());
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
                Element::Event { attributes: Map::new(), line }
            }
            (
                Some(
                    Element::Log
                    | Element::Trace
                    | Element::Event { .. }
                    | Element::Attribute { .. },
                ),
                kind @ (b"string" | b"date" | b"int" | b"float" | b"boolean" | b"id" | b"list"
                | b"container"),
            ) => self.attribute(start, kind, line)?,
            // `values` only wraps the items of a list.
            (Some(Element::Attribute { .. }), b"values") => {
                Element::Attribute { key: "values".into(), value: Value::Null, inside: Map::new() }
            }
            _ => Element::Other,
        };
        self.open.push(element);
        Ok(())
    }

    fn attribute(&self, start: &BytesStart<'_>, kind: &[u8], line: u64) -> Result<Element> {
        let (mut key, mut text) = (None, None);
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|e| self.malformed(line, e.to_string()))?;
            let value = attribute
                .decode_and_unescape_value(self.reader.decoder())
                .map_err(|e| self.malformed(line, e.to_string()))?;
            match attribute.key.local_name().as_ref() {
                b"key" => key = Some(value.into_owned()),
                b"value" => text = Some(value.into_owned()),
                _ => {}
            }
        }
        let Some(key) = key else {
            let kind = String::from_utf8_lossy(kind);
            return Err(self.malformed(line, format!("expected a key in <{kind}>, found none")));
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
            Some(Element::Event { attributes, line }) => self.row(attributes, line),
            _ => Ok(()),
        }
    }

    fn row(&mut self, mut attributes: Map<String, Value>, line: u64) -> Result<()> {
        self.row += 1;
        let place = Place { row: self.row, line };
        let original = || Value::Object(attributes.clone()).to_string();
        let bytes = original().len();
        let step = Step::take(self.trace.get("concept:name"), &attributes);
        let step = match step {
            Ok(step) => step,
            Err((column, reason)) => {
                self.table.reject(place, Some(column), reason, original());
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
        self.table.push(place, bytes, &step.slots(attributes))
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
}

/// The columns of a step.
struct Step {
    case_id: String,
    activity: String,
    started_us: i64,
    ended_us: i64,
    resource: Option<String>,
}

impl Step {
    fn take(
        case: Option<&Value>,
        attributes: &Map<String, Value>,
    ) -> Result<Self, (&'static str, String)> {
        let text = |value: Option<&Value>| match value {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Null) | None => None,
            Some(other) => Some(other.to_string()),
        };
        let instant = |column: &'static str, key: &str| match text(attributes.get(key)) {
            None => Ok(None),
            Some(found) => parse::timestamp_us(found.trim()).map(Some).ok_or_else(|| {
                (column, format!("{key:?}: expected a timestamp, found {}", parse::quoted(&found)))
            }),
        };
        let missing = |column, what: &str| (column, format!("expected {what}, found none"));
        let ended_us = instant("ended_at", "time:timestamp")?
            .ok_or_else(|| missing("ended_at", "\"time:timestamp\""))?;
        Ok(Self {
            case_id: text(case)
                .ok_or_else(|| missing("case_id", "\"concept:name\" of the trace"))?,
            activity: text(attributes.get("concept:name"))
                .ok_or_else(|| missing("activity", "\"concept:name\" of the event"))?,
            started_us: instant("started_at", "start_timestamp")?.unwrap_or(ended_us),
            ended_us,
            resource: text(attributes.get("org:resource")),
        })
    }

    fn slots(self, attributes: Map<String, Value>) -> [Slot<'static>; 6] {
        [
            Slot::Text(self.case_id.into()),
            Slot::Text(self.activity.into()),
            Slot::Int(self.started_us),
            Slot::Int(self.ended_us),
            self.resource.map_or(Slot::Null, |r| Slot::Text(r.into())),
            if attributes.is_empty() {
                Slot::Null
            } else {
                Slot::Text(Value::Object(attributes).to_string().into())
            },
        ]
    }
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

fn check_encoding(encoding: Option<&str>) -> Result<(), String> {
    match encoding {
        None => Ok(()),
        Some(e) if e.eq_ignore_ascii_case("utf-8") || e.eq_ignore_ascii_case("us-ascii") => Ok(()),
        Some(other) => Err(format!("expected UTF-8, found encoding {}", parse::quoted(other))),
    }
}
