//! Models as files: nets in PNML (ISO/IEC 15909-2), which tools of process mining read and write.
//!
//! ```text
//! <pnml><net><page>
//!   <place id="p0"> with <initialMarking> where a case begins
//!   <transition id="t0"> whose <name> is the activity; with a toolspecific activity="$invisible$" it is not seen
//!   <arc source="p0" target="t0"/>
//! </page>
//! <finalmarkings> where a case ends; without them in the one place that nothing leaves
//! ```

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Write;

use roxmltree::{Document, Node, ParsingOptions};

use super::log::Names;
use super::net::{Net, Transition};

/// Bytes of a file, and elements in it, at most.
const BYTES_MAX: usize = 4 << 20;
const NODES_MAX: u32 = 500_000;
/// Places and transitions of a net, at most.
const PARTS_MAX: usize = 5_000;

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadModel(pub String);

impl std::fmt::Display for BadModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadModel {}

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

/// A net as PNML.
pub fn to_pnml(net: &Net, names: &Names) -> String {
    let mut out = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<pnml xmlns=\"http://www.pnml.org/version-2009/grammar/pnml\">\n  \
         <net id=\"net\" type=\"http://www.pnml.org/version-2009/grammar/pnmlcoremodel\">\n    <page id=\"page\">\n",
    );
    // Writing to a text can't fail.
    for place in 0..net.places {
        let marking = match place == net.first {
            true => "<initialMarking><text>1</text></initialMarking>",
            false => "",
        };
        let _ = writeln!(
            out,
            "      <place id=\"p{place}\"><name><text>p{place}</text></name>{marking}</place>"
        );
    }
    for (number, transition) in net.transitions.iter().enumerate() {
        let (name, unseen) = match transition.activity {
            Some(activity) => (escaped(names.text(activity)), ""),
            None => (
                format!("tau {number}"),
                "<toolspecific tool=\"ProM\" version=\"6.4\" activity=\"$invisible$\"/>",
            ),
        };
        let _ = writeln!(
            out,
            "      <transition id=\"t{number}\"><name><text>{name}</text></name>{unseen}</transition>"
        );
    }
    let mut arcs = 0;
    for (number, transition) in net.transitions.iter().enumerate() {
        let before =
            transition.takes.iter().map(|place| (format!("p{place}"), format!("t{number}")));
        let behind =
            transition.gives.iter().map(|place| (format!("t{number}"), format!("p{place}")));
        for (source, target) in before.chain(behind) {
            let _ = writeln!(
                out,
                "      <arc id=\"a{arcs}\" source=\"{source}\" target=\"{target}\"/>"
            );
            arcs += 1;
        }
    }
    let _ = write!(
        out,
        "    </page>\n    <finalmarkings><marking><place idref=\"p{}\"><text>1</text></place></marking></finalmarkings>\n  \
         </net>\n</pnml>\n",
        net.last
    );
    out
}

/// The net of a file. Activities are numbers of `names`, which takes those that it has not.
pub fn from_pnml(text: &str, names: &mut Names) -> Result<Net, BadModel> {
    if text.len() > BYTES_MAX {
        let says = format!("expected at most {BYTES_MAX} bytes of PNML, found {}", text.len());
        return Err(BadModel(says));
    }
    let options = ParsingOptions { nodes_limit: NODES_MAX, ..ParsingOptions::default() };
    let document = Document::parse_with_options(text, options)
        .map_err(|error| BadModel(format!("no XML: {error}")))?;
    let all = || document.descendants().filter(Node::is_element);
    let named = |name: &'static str| all().filter(move |node| node.tag_name().name() == name);
    if document.root_element().tag_name().name() != "pnml" {
        let found = document.root_element().tag_name().name();
        return Err(BadModel(format!("expected <pnml>, found <{found}>")));
    }
    let mut places: HashMap<&str, u32> = HashMap::new();
    let mut firsts = Vec::new();
    // Markings of the end name places, too.
    for place in named("place").filter(|node| node.attribute("idref").is_none()) {
        let id = id_of(&place)?;
        let number = places.len() as u32;
        if places.insert(id, number).is_some() {
            return Err(BadModel(format!("two places have the id {id:?}")));
        }
        match tokens(&place, "initialMarking")? {
            0 => {}
            1 => firsts.push(id),
            found => {
                return Err(BadModel(format!(
                    "place {id:?}: expected one token at the beginning, found {found}"
                )));
            }
        }
    }
    let mut transitions: Vec<Transition> = Vec::new();
    let mut by_id: HashMap<&str, usize> = HashMap::new();
    for transition in named("transition") {
        let id = id_of(&transition)?;
        if places.contains_key(id) || by_id.insert(id, transitions.len()).is_some() {
            return Err(BadModel(format!("two nodes have the id {id:?}")));
        }
        let is_unseen = transition.children().any(|node| {
            node.tag_name().name() == "toolspecific"
                && node.attribute("activity").is_some_and(|of| of.contains("invisible"))
        });
        // White space around a name is the file's, unless the log has it, too.
        let name = text_of(&transition, "name").filter(|_| !is_unseen);
        let name = name.map(|name| if names.has(name) { name } else { name.trim() });
        let name = name.filter(|name| !name.is_empty());
        transitions.push(Transition {
            activity: name.map(|name| names.number(name)),
            ..Transition::default()
        });
    }
    if places.len() + transitions.len() > PARTS_MAX {
        let found = places.len() + transitions.len();
        let says = format!("expected at most {PARTS_MAX} places and transitions, found {found}");
        return Err(BadModel(says));
    }
    for arc in named("arc") {
        let end = |name: &str| {
            let says = || BadModel(format!("an arc has no {name}"));
            arc.attribute(name).ok_or_else(says)
        };
        let (source, target) = (end("source")?, end("target")?);
        let weight = tokens_of(&arc, "inscription")?.unwrap_or(1);
        let parts = match (places.get(source), by_id.get(target)) {
            (Some(place), Some(transition)) => {
                transitions.get_mut(*transition).map(|of| (*place, &mut of.takes))
            }
            _ => match (by_id.get(source), places.get(target)) {
                (Some(transition), Some(place)) => {
                    transitions.get_mut(*transition).map(|of| (*place, &mut of.gives))
                }
                _ => None,
            },
        };
        let Some((place, ends)) = parts else {
            return Err(BadModel(format!(
                "the arc from {source:?} to {target:?} joins no place with a transition"
            )));
        };
        if weight != 1 {
            return Err(BadModel(format!(
                "the arc from {source:?} to {target:?}: expected a weight of 1, as in every workflow net, found {weight}"
            )));
        }
        if ends.contains(&place) {
            return Err(BadModel(format!("there are two arcs from {source:?} to {target:?}")));
        }
        ends.push(place);
    }
    for (id, number) in &by_id {
        let ends = transitions.get(*number).map(|of| (of.takes.is_empty(), of.gives.is_empty()));
        let lacks = match ends {
            Some((true, _)) => "comes from",
            Some((_, true)) => "leads to",
            _ => continue,
        };
        return Err(BadModel(format!("no workflow net: transition {id:?} {lacks} no place")));
    }
    let [first] = firsts.as_slice() else {
        return Err(BadModel(format!(
            "expected one place with a token at the beginning, found {}",
            some(&firsts)
        )));
    };
    let mut lasts: BTreeSet<&str> = BTreeSet::new();
    for place in named("place") {
        let Some(id) = place.attribute("idref") else { continue };
        let is_of_end = place
            .parent()
            .and_then(|marking| marking.parent())
            .is_some_and(|markings| markings.tag_name().name() == "finalmarkings");
        let mut counts = place.children().filter_map(|node| node.text().map(str::trim));
        if is_of_end && counts.find(|count| !count.is_empty()) != Some("0") {
            lasts.insert(id);
        }
    }
    if lasts.is_empty() {
        let left: HashSet<u32> =
            transitions.iter().flat_map(|of| of.takes.iter().copied()).collect();
        lasts.extend(places.iter().filter(|(_, at)| !left.contains(at)).map(|(id, _)| *id));
    }
    let lasts: Vec<&str> = lasts.into_iter().collect();
    let [last] = lasts.as_slice() else {
        return Err(BadModel(format!(
            "no workflow net: expected one place where cases end, found {}",
            some(&lasts)
        )));
    };
    let number = |id: &str| {
        places.get(id).copied().ok_or_else(|| BadModel(format!("there is no place {id:?}")))
    };
    let (first, last) = (number(first)?, number(last)?);
    Ok(Net { places: places.len() as u32, first, last, transitions })
}

/// How many, and the first of them.
fn some(ids: &[&str]) -> String {
    let named: Vec<String> = ids.iter().take(5).map(|id| format!("{id:?}")).collect();
    match named.is_empty() {
        true => "none".to_owned(),
        false => format!("{}: {}", ids.len(), named.join(", ")),
    }
}

fn id_of<'a>(node: &Node<'a, '_>) -> Result<&'a str, BadModel> {
    let kind = node.tag_name().name();
    node.attribute("id").ok_or_else(|| BadModel(format!("a {kind} has no id")))
}

/// The text within an element of a node.
fn text_of<'a>(node: &Node<'a, '_>, name: &str) -> Option<&'a str> {
    let inside = node.children().find(|child| child.tag_name().name() == name)?;
    let text = inside.descendants().find(|child| child.tag_name().name() == "text")?;
    Some(text.text().unwrap_or_default())
}

fn tokens(node: &Node<'_, '_>, name: &str) -> Result<u64, BadModel> {
    Ok(tokens_of(node, name)?.unwrap_or(0))
}

fn tokens_of(node: &Node<'_, '_>, name: &str) -> Result<Option<u64>, BadModel> {
    let Some(text) = text_of(node, name).map(str::trim) else { return Ok(None) };
    let says = || BadModel(format!("{name}: expected a whole number, found {text:?}"));
    text.parse().map(Some).map_err(|_| says())
}
