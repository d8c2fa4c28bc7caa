//! Models as files: what is the same of every format.

use std::fmt::Write;

use quick_xml::events::Event;
use roxmltree::{Document, Node, ParsingOptions};

use super::bpmn_in::from_bpmn;
use super::log::Names;
use super::net::Net;
use super::pnml::from_pnml;

/// Bytes of a file, and elements in it, at most.
const BYTES_MAX: usize = 4 << 20;
const NODES_MAX: u32 = 500_000;
/// Places and transitions of a net, or nodes and flows of a diagram, at most.
const PARTS_MAX: usize = 5_000;

/// Attributes of an element, and namespaces that are declared around one, at most: some of what reads them takes the square of these.
const ATTRIBUTES_MAX: usize = 100;
const NAMESPACES_MAX: usize = 50;

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadModel(pub String);

impl std::fmt::Display for BadModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadModel {}

/// The net of a file in PNML or BPMN. Activities are numbers of `names`, which takes those that it has not.
pub fn from_file(text: &str, names: &mut Names) -> Result<Net, BadModel> {
    if text.len() > BYTES_MAX {
        let found = text.len();
        return Err(BadModel(format!("expected at most {BYTES_MAX} bytes, found {found}")));
    }
    few_attributes(text)?;
    let options = ParsingOptions { nodes_limit: NODES_MAX, ..ParsingOptions::default() };
    let document = Document::parse_with_options(text, options)
        .map_err(|error| BadModel(format!("no XML: {error}")))?;
    match document.root_element().tag_name().name() {
        "pnml" => from_pnml(&document, names),
        "definitions" => from_bpmn(&document, names),
        found => {
            Err(BadModel(format!("expected <pnml> or the <definitions> of BPMN, found <{found}>")))
        }
    }
}

/// Refuses elements of very many attributes or namespaces. What else is wrong with a file is told by whoever reads it.
fn few_attributes(text: &str) -> Result<(), BadModel> {
    let mut reader = quick_xml::Reader::from_str(text);
    reader.config_mut().check_end_names = false;
    // Of each element around, how many it declares.
    let (mut around, mut declared) = (Vec::new(), 0);
    loop {
        let (element, is_open) = match reader.read_event() {
            Ok(Event::Start(element)) => (element, true),
            Ok(Event::Empty(element)) => (element, false),
            Ok(Event::End(_)) => {
                declared -= around.pop().unwrap_or(0);
                continue;
            }
            Ok(Event::Eof) | Err(_) => return Ok(()),
            Ok(_) => continue,
        };
        let (mut attributes, mut own) = (0, 0);
        for attribute in element.attributes().with_checks(false).flatten() {
            attributes += 1;
            own += usize::from(attribute.key.as_ref().starts_with(b"xmlns"));
        }
        for (what, found, most) in [
            ("attributes", attributes, ATTRIBUTES_MAX),
            ("namespaces in and around it", declared + own, NAMESPACES_MAX),
        ] {
            if found > most {
                let name = String::from_utf8_lossy(element.name().as_ref()).into_owned();
                let says = format!("<{name}>: expected at most {most} {what}, found {found}");
                return Err(BadModel(says));
            }
        }
        if is_open {
            around.push(own);
            declared += own;
        }
    }
}

/// `text` as it stands in XML. What XML has no way to write is left out.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' | '\r' => {
                // A parser makes spaces of them in attributes.
                let _ = write!(out, "&#{};", u32::from(letter));
            }
            letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => {}
            letter => out.push(letter),
        }
    }
    out
}

/// The activity of a name; none of an empty one.
pub(super) fn activity(name: &str, names: &mut Names) -> Option<u32> {
    let known = known(name, names);
    let words = words(name);
    known.or_else(|| (!words.is_empty()).then(|| names.number(&words)))
}

/// That of a name that there is. White space around a name is the file's, and so are its breaks, unless the log has them, too.
pub(super) fn known(name: &str, names: &Names) -> Option<u32> {
    [name, name.trim(), &words(name)].into_iter().find_map(|name| names.find(name))
}

fn words(name: &str) -> String {
    name.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Refuses a model of too many parts.
pub(super) fn few_parts(of: &str, found: usize) -> Result<(), BadModel> {
    match found > PARTS_MAX {
        true => Err(BadModel(format!("expected at most {PARTS_MAX} {of}, found {found}"))),
        false => Ok(()),
    }
}

/// How many, and the first of them.
pub(super) fn some(ids: &[&str]) -> String {
    let named: Vec<String> = ids.iter().take(5).map(|id| format!("{id:?}")).collect();
    match named.is_empty() {
        true => "none".to_owned(),
        false => format!("{}: {}", ids.len(), named.join(", ")),
    }
}

pub(super) fn id_of<'a>(node: &Node<'a, '_>) -> Result<&'a str, BadModel> {
    let kind = node.tag_name().name();
    node.attribute("id").ok_or_else(|| BadModel(format!("a {kind} has no id")))
}
