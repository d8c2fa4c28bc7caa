//! Diagrams in BPMN 2.0 as they are read. What a workflow net can't say, such as an inclusive join, which waits for what may still come,
//! is refused.

use std::collections::{HashMap, HashSet};

use roxmltree::{Document, Node as Element};

use super::bpmn_net::net_of;
use super::file::{BadModel, activity, few_parts, id_of, known, some};
use super::log::Names;
use super::net::Net;

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Start,
    End,
    /// A task or an event.
    Act,
    Exclusive,
    Parallel,
    SubProcess,
    /// An event that is done instead of the node of that number.
    Boundary(usize),
}

/// How often something is done, one time after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Times {
    Once,
    OnceOrMore,
    Any,
}

pub(super) struct Node<'a, 'input> {
    element: Element<'a, 'input>,
    pub(super) kind: Kind,
    pub(super) activity: Option<u32>,
    pub(super) times: Times,
    /// The sub-process that it is in.
    pub(super) within: Option<usize>,
    /// Nodes that flows come from and lead to.
    pub(super) from: Vec<usize>,
    pub(super) to: Vec<usize>,
    /// Events that are done instead of it.
    pub(super) attached: Vec<usize>,
    /// Whether a flow that leaves it is taken on a condition.
    is_conditional: bool,
}

impl Node<'_, '_> {
    /// Whether several ways behind it are taken side by side.
    fn splits(&self) -> bool {
        self.kind != Kind::Exclusive && self.to.len() > 1
    }

    /// Whether exactly one of the ways behind it is taken.
    fn is_choice(&self) -> bool {
        ["exclusiveGateway", "eventBasedGateway"].contains(&self.element.tag_name().name())
    }

    /// What is wrong with the flows that it has and lacks.
    fn stands_alone(&self) -> Option<&'static str> {
        let is_entered = !matches!(self.kind, Kind::Start | Kind::Boundary(_));
        let is_left = self.kind != Kind::End;
        let is_of_some = self.kind == Kind::Exclusive && !self.is_choice();
        match (self.from.len(), self.to.len()) {
            (0, _) if is_entered => Some("no flow leads to it"),
            (1.., _) if !is_entered => Some("a flow leads to it"),
            (_, 0) if is_left => Some("no flow leaves it"),
            (_, 1..) if !is_left => Some("a flow leaves it"),
            (2.., _) | (_, 2..) if is_of_some => Some(
                "how many of its ways are taken can't be said by a workflow net; expected exclusive or parallel gateways",
            ),
            _ => None,
        }
    }

    pub(super) fn refused(&self, says: &str) -> BadModel {
        refused(self.element, says)
    }
}

/// An attribute that says yes or no, which XML writes in two ways.
fn is(element: Element<'_, '_>, attribute: &str, says: bool) -> bool {
    let ways = if says { ["true", "1"] } else { ["false", "0"] };
    element.attribute(attribute).is_some_and(|of| ways.contains(&of.trim()))
}

/// What is wrong with an element of a file.
fn refused(element: Element<'_, '_>, says: &str) -> BadModel {
    let (kind, id) = (element.tag_name().name(), element.attribute("id").unwrap_or_default());
    let name = element.attribute("name").filter(|name| !name.trim().is_empty());
    BadModel(match name {
        Some(name) => format!("{kind} {id:?} ({name:?}): {says}"),
        None => format!("{kind} {id:?}: {says}"),
    })
}

/// The net of a file.
pub(super) fn from_bpmn(document: &Document<'_>, names: &mut Names) -> Result<Net, BadModel> {
    let processes: Vec<Element<'_, '_>> = children(document.root_element())
        .filter(|child| child.tag_name().name() == "process")
        .filter(|process| children(*process).any(is_node))
        .collect();
    let [process] = processes.as_slice() else {
        let ids: Vec<&str> =
            processes.iter().map(|of| of.attribute("id").unwrap_or_default()).collect();
        return Err(BadModel(format!("expected one process with nodes, found {}", some(&ids))));
    };
    let mut diagram = Diagram { in_log: names.len(), ..Diagram::default() };
    let mut open = vec![(*process, None)];
    while let Some((scope, within)) = open.pop() {
        for child in children(scope) {
            if child.tag_name().name() == "sequenceFlow" {
                diagram.flows.push((child, within));
            } else if is_node(child) {
                let at = diagram.take(child, within, names)?;
                if diagram.nodes[at].kind == Kind::SubProcess {
                    open.push((child, Some(at)));
                }
            }
        }
        few_parts("nodes and flows", diagram.nodes.len() + diagram.flows.len())?;
    }
    diagram.attach()?;
    diagram.join()?;
    diagram.check()?;
    net_of(&diagram.nodes)
}

/// Elements within another that are of the same format; tools add their own.
fn children<'a, 'input>(of: Element<'a, 'input>) -> impl Iterator<Item = Element<'a, 'input>> {
    let space = of.tag_name().namespace();
    of.children().filter(move |child| child.is_element() && child.tag_name().namespace() == space)
}

/// Whether an element is one that flows join.
fn is_node(element: Element<'_, '_>) -> bool {
    let ends = ["task", "Task", "Event", "Gateway", "callActivity", "ubProcess", "transaction"];
    ends.iter().any(|end| element.tag_name().name().ends_with(end))
}

fn has_child(element: Element<'_, '_>, name: &str) -> bool {
    element.children().any(|child| child.tag_name().name() == name)
}

#[derive(Default)]
struct Diagram<'a, 'input> {
    nodes: Vec<Node<'a, 'input>>,
    numbers: HashMap<&'a str, usize>,
    /// Flows, and the sub-process that they are in.
    flows: Vec<(Element<'a, 'input>, Option<usize>)>,
    /// How many activities the log has; those of greater numbers are the model's alone.
    in_log: usize,
}

impl<'a, 'input> Diagram<'a, 'input> {
    /// Takes an element as a node.
    fn take(
        &mut self,
        element: Element<'a, 'input>,
        within: Option<usize>,
        names: &mut Names,
    ) -> Result<usize, BadModel> {
        let id = id_of(&element)?;
        let name = element.tag_name().name();
        let kind = match name {
            "startEvent" => Kind::Start,
            "endEvent" => Kind::End,
            // Of what it is attached to is looked at when all are there.
            "boundaryEvent" => Kind::Boundary(usize::MAX),
            "intermediateCatchEvent" | "intermediateThrowEvent" | "callActivity" => Kind::Act,
            "exclusiveGateway" | "eventBasedGateway" | "inclusiveGateway" | "complexGateway" => {
                Kind::Exclusive
            }
            "parallelGateway" => Kind::Parallel,
            "subProcess" if is(element, "triggeredByEvent", true) => {
                return Err(refused(element, "a sub-process of events is not read"));
            }
            "subProcess" if children(element).any(is_node) => Kind::SubProcess,
            // One of which nothing is told but its name.
            "subProcess" => Kind::Act,
            _ if name == "task" || name.ends_with("Task") => Kind::Act,
            _ => return Err(refused(element, "an element of this kind is not read")),
        };
        let is_at_once = element.attribute("eventGatewayType") == Some("Parallel");
        for (is_so, what) in [
            (is(element, "isForCompensation", true), "compensation"),
            (has_child(element, "compensateEventDefinition"), "compensation"),
            (has_child(element, "multiInstanceLoopCharacteristics"), "work on several instances"),
            (is_at_once, "events that are all waited for"),
        ] {
            if is_so {
                return Err(refused(element, &format!("{what} can't be said by a workflow net")));
            }
        }
        let label = element.attribute("name").unwrap_or_default();
        let activity = match kind {
            Kind::Exclusive | Kind::Parallel | Kind::SubProcess => None,
            Kind::Act if !name.ends_with("Event") => activity(label, names),
            // An event is seen where the log has it.
            _ => known(label, names).filter(|number| (*number as usize) < self.in_log),
        };
        let number = self.nodes.len();
        if self.numbers.insert(id, number).is_some() {
            return Err(BadModel(format!("two nodes have the id {id:?}")));
        }
        let mut inside = element.children();
        let again = inside.find(|of| of.tag_name().name() == "standardLoopCharacteristics");
        let times = match again {
            Some(again) if is(again, "testBefore", true) => Times::Any,
            Some(_) => Times::OnceOrMore,
            None => Times::Once,
        };
        self.nodes.push(Node {
            element,
            kind,
            activity,
            times,
            within,
            from: Vec::new(),
            to: Vec::new(),
            attached: Vec::new(),
            is_conditional: false,
        });
        Ok(number)
    }

    fn number(&self, of: Element<'_, '_>, attribute: &str) -> Result<usize, BadModel> {
        let id = of
            .attribute(attribute)
            .ok_or_else(|| refused(of, &format!("there is no {attribute}")))?;
        let says = || refused(of, &format!("{attribute}: there is no node {id:?}"));
        self.numbers.get(id).copied().ok_or_else(says)
    }

    /// Finds what boundary events are attached to.
    fn attach(&mut self) -> Result<(), BadModel> {
        for at in 0..self.nodes.len() {
            let node = &self.nodes[at];
            if !matches!(node.kind, Kind::Boundary(_)) {
                continue;
            }
            if is(node.element, "cancelActivity", false) {
                return Err(node.refused("only events that end their task are read"));
            }
            let task = self.number(node.element, "attachedToRef")?;
            let of = &self.nodes[task];
            let is_event = of.element.tag_name().name().ends_with("Event");
            if of.kind != Kind::Act || is_event || of.within != node.within {
                return Err(node.refused("only events of a task beside it are read"));
            }
            self.nodes[at].kind = Kind::Boundary(task);
            self.nodes[task].attached.push(at);
        }
        Ok(())
    }

    /// Notes at each node what flows from and to it.
    fn join(&mut self) -> Result<(), BadModel> {
        let mut seen = HashSet::new();
        for (flow, within) in &self.flows {
            let (from, to) = (self.number(*flow, "sourceRef")?, self.number(*flow, "targetRef")?);
            for end in [from, to] {
                if self.nodes[end].within != *within {
                    return Err(refused(*flow, "it leaves its sub-process or enters one"));
                }
            }
            let is_new = seen.insert((from, to));
            // Of two ways of a choice to the same it does not matter which is taken.
            let is_no_matter =
                self.nodes[from].is_choice() && self.nodes[to].kind != Kind::Parallel;
            if !is_new && !is_no_matter {
                let id = self.nodes[to].element.attribute("id").unwrap_or_default();
                return Err(self.nodes[from].refused(&format!("two flows lead to {id:?}")));
            }
            self.nodes[from].is_conditional |= has_child(*flow, "conditionExpression");
            if is_new {
                self.nodes[from].to.push(to);
                self.nodes[to].from.push(from);
            }
        }
        Ok(())
    }

    /// Refuses what can't be said, and nodes that no flow leads to or from.
    fn check(&self) -> Result<(), BadModel> {
        if let Some(says) = self.lacks_end(None) {
            return Err(BadModel(says.to_owned()));
        }
        let is_parallel = self.nodes.iter().any(Node::splits);
        for (at, node) in self.nodes.iter().enumerate() {
            let is_error =
                has_child(node.element, "errorEventDefinition") && node.kind == Kind::End;
            let is_end_of_all = has_child(node.element, "terminateEventDefinition") || is_error;
            let says = if node.splits() && node.kind != Kind::Parallel && node.is_conditional {
                Some(
                    "several of the flows that leave it may be taken, each on a condition; expected a gateway behind it",
                )
            } else if is_error && node.within.is_some() {
                Some("a sub-process that ends by an error is not read")
            } else if is_parallel && is_end_of_all {
                Some(
                    "an end of all that is done side by side (terminate, or an error) can't be said by a workflow net",
                )
            } else {
                node.stands_alone().or_else(|| match node.kind {
                    Kind::SubProcess => self.lacks_end(Some(at)),
                    _ => None,
                })
            };
            if let Some(says) = says {
                return Err(node.refused(says));
            }
        }
        Ok(())
    }

    /// What is wrong where a process or sub-process has no start or no end.
    fn lacks_end(&self, within: Option<usize>) -> Option<&'static str> {
        let has = |kind| self.nodes.iter().any(|node| node.within == within && node.kind == kind);
        match (has(Kind::Start), has(Kind::End)) {
            (true, true) => None,
            (false, _) => Some("there is no startEvent"),
            (true, false) => Some("there is no endEvent"),
        }
    }
}
