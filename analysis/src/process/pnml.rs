//! Nets as PNML (ISO/IEC 15909-2), which tools of process mining read and write.
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

use roxmltree::{Document, Node};

use super::file::{BadModel, activity, escaped, few_parts, id_of, some};
use super::log::Names;
use super::net::{Net, Transition};

/// Most states in which the end of a net is searched.
const END_STATES_MAX: usize = 10_000;

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

/// The net of a file.
pub(super) fn from_pnml(document: &Document<'_>, names: &mut Names) -> Result<Net, BadModel> {
    let all = || document.descendants().filter(Node::is_element);
    let named = |name: &'static str| all().filter(move |node| node.tag_name().name() == name);
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
        let name = text_of(&transition, "name").filter(|_| !is_unseen);
        let activity = name.and_then(|name| activity(&name, names));
        transitions.push(Transition { activity, ..Transition::default() });
    }
    few_parts("places and transitions", places.len() + transitions.len())?;
    for arc in named("arc") {
        let end = |name: &str| {
            let says = || BadModel(format!("an arc has no {name}"));
            arc.attribute(name).ok_or_else(says)
        };
        let (source, target) = (end("source")?, end("target")?);
        let is_plain = |node: Node<'_, '_>| {
            !["arctype", "type", "hlinscription"].contains(&node.tag_name().name())
        };
        if !arc.children().all(is_plain) {
            return Err(BadModel(format!(
                "the arc from {source:?} to {target:?} is of a kind that no workflow net has"
            )));
        }
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
        if !is_of_end {
            continue;
        }
        let mut counts = place.children().filter_map(|node| node.text().map(str::trim));
        match counts.find(|count| !count.is_empty()) {
            Some("0") => {}
            None | Some("1") => drop(lasts.insert(id)),
            Some(found) => {
                return Err(BadModel(format!(
                    "place {id:?}: expected one token at the end, found {found:?}"
                )));
            }
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
    let net = Net { places: places.len() as u32, first, last, transitions };
    match net.can_end(END_STATES_MAX) {
        Some(false) => Err(BadModel(
            "no case can end by it: no run of the net ends with one token in its last place and none elsewhere"
                .to_owned(),
        )),
        _ => Ok(net),
    }
}

/// The text within an element of a node.
fn text_of(node: &Node<'_, '_>, name: &str) -> Option<String> {
    let inside = node.children().find(|child| child.tag_name().name() == name)?;
    let text = inside.descendants().find(|child| child.tag_name().name() == "text")?;
    Some(text.children().filter_map(|part| part.text().filter(|_| part.is_text())).collect())
}

fn tokens(node: &Node<'_, '_>, name: &str) -> Result<u64, BadModel> {
    Ok(tokens_of(node, name)?.unwrap_or(0))
}

fn tokens_of(node: &Node<'_, '_>, name: &str) -> Result<Option<u64>, BadModel> {
    let Some(text) = text_of(node, name) else { return Ok(None) };
    let text = text.trim();
    let says = || BadModel(format!("{name}: expected a whole number, found {text:?}"));
    text.parse().map(Some).map_err(|_| says())
}
