//! Diagrams in BPMN 2.0 as nets (Dijkman, Dumas & Ouyang, 2008): what waits before a node is a place, what a node does a transition.
//!
//! ```text
//! task, event            a transition; what flows in is a choice of ways, what flows out is done side by side
//! exclusive, event-based a place; one of the ways behind it is taken
//! parallel               an unseen transition; it waits for all ways before it, and opens all behind it
//! sub-process            what is inside, between its place and the next
//! boundary event         done instead of its task
//! ```
//!
//! What a workflow net can't say, such as an inclusive join, which waits for what may still come, is refused.

use std::collections::{HashMap, HashSet};

use roxmltree::{Document, Node as Element};

use super::file::{BadModel, activity, few_parts, id_of, known, some};
use super::log::Names;
use super::net::{Net, Transition};

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
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

struct Node<'a, 'input> {
    element: Element<'a, 'input>,
    kind: Kind,
    activity: Option<u32>,
    /// Done once or more.
    repeats: bool,
    /// The sub-process that it is in.
    within: Option<usize>,
    /// Nodes that flows come from and lead to.
    from: Vec<usize>,
    to: Vec<usize>,
}

impl Node<'_, '_> {
    /// Whether several ways behind it are taken side by side.
    fn splits(&self) -> bool {
        self.kind != Kind::Exclusive && self.to.len() > 1
    }

    /// What is wrong with the flows that it has and lacks.
    fn stands_alone(&self) -> Option<&'static str> {
        let is_entered = !matches!(self.kind, Kind::Start | Kind::Boundary(_));
        let is_left = self.kind != Kind::End;
        let name = self.element.tag_name().name();
        let is_of_some = ["inclusiveGateway", "complexGateway"].contains(&name);
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

    fn refused(&self, says: &str) -> BadModel {
        refused(self.element, says)
    }
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
    Ok(diagram.net())
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
            "subProcess" if element.attribute("triggeredByEvent") != Some("true") => {
                Kind::SubProcess
            }
            _ if name == "task" || name.ends_with("Task") => Kind::Act,
            "subProcess" => return Err(refused(element, "a sub-process of events is not read")),
            _ => return Err(refused(element, "an element of this kind is not read")),
        };
        let for_compensation = element.attribute("isForCompensation") == Some("true");
        if for_compensation || has_child(element, "multiInstanceLoopCharacteristics") {
            let what = if for_compensation { "compensation" } else { "several instances at once" };
            return Err(refused(element, &format!("{what} can't be said by a workflow net")));
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
        let repeats = has_child(element, "standardLoopCharacteristics");
        let (from, to) = (Vec::new(), Vec::new());
        self.nodes.push(Node { element, kind, activity, repeats, within, from, to });
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
            if node.element.attribute("cancelActivity") == Some("false") {
                return Err(node.refused("only events that end their task are read"));
            }
            let task = self.number(node.element, "attachedToRef")?;
            if self.nodes[task].kind != Kind::Act {
                return Err(node.refused("only events of a task are read"));
            }
            self.nodes[at].kind = Kind::Boundary(task);
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
            if !is_new && self.nodes[from].kind != Kind::Exclusive {
                let id = self.nodes[to].element.attribute("id").unwrap_or_default();
                return Err(self.nodes[from].refused(&format!("two flows lead to {id:?}")));
            }
            if is_new {
                self.nodes[from].to.push(to);
                self.nodes[to].from.push(from);
            }
        }
        Ok(())
    }

    /// Refuses what can't be said, and nodes that no way leads to or from.
    fn check(&self) -> Result<(), BadModel> {
        if let Some(says) = self.lacks_end(None) {
            return Err(BadModel(says.to_owned()));
        }
        let is_parallel = self.nodes.iter().any(Node::splits);
        let with_condition =
            self.flows.iter().filter(|(flow, _)| has_child(*flow, "conditionExpression"));
        let conditional: HashSet<&str> =
            with_condition.filter_map(|(flow, _)| flow.attribute("sourceRef")).collect();
        for (at, node) in self.nodes.iter().enumerate() {
            let is_conditional =
                node.element.attribute("id").is_some_and(|id| conditional.contains(id));
            let is_end_of_all = has_child(node.element, "terminateEventDefinition");
            let says = if node.splits() && node.kind != Kind::Parallel && is_conditional {
                Some(
                    "several of the flows that leave it may be taken, each on a condition; expected a gateway behind it",
                )
            } else if is_parallel && is_end_of_all {
                Some("an end of all that is done side by side can't be said by a workflow net")
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

    fn net(&self) -> Net {
        let mut net = Net { places: 2, first: 0, last: 1, transitions: Vec::new() };
        let mut place = || {
            net.places += 1;
            net.places - 1
        };
        // Before each node but those that wait for several, and behind each sub-process and what is done again.
        let mut before: Vec<u32> = self.nodes.iter().map(|_| place()).collect();
        let behind: Vec<u32> = self.nodes.iter().map(|_| place()).collect();
        for (at, node) in self.nodes.iter().enumerate() {
            // Who alone is led to by a choice waits at the choice; so no step is needed to come to it.
            let waits_alone = matches!(node.kind, Kind::Act | Kind::End | Kind::SubProcess);
            if let ([from], true) = (node.from.as_slice(), waits_alone && !node.repeats)
                && self.nodes[*from].kind == Kind::Exclusive
            {
                before[at] = before[*from];
            }
        }
        let mut flows: HashMap<(usize, usize), u32> = HashMap::new();
        for (at, node) in self.nodes.iter().enumerate() {
            for to in &node.to {
                let waits = self.nodes[*to].kind == Kind::Parallel;
                flows.insert((at, *to), if waits { place() } else { before[*to] });
            }
        }
        let outward = |at: usize| -> Vec<u32> {
            self.nodes[at].to.iter().filter_map(|to| flows.get(&(at, *to)).copied()).collect()
        };
        let mut transitions = Vec::new();
        let mut add = |activity, takes: Vec<u32>, gives: Vec<u32>| {
            transitions.push(Transition { activity, takes, gives });
        };
        for (at, node) in self.nodes.iter().enumerate() {
            let (begin, end) = match node.within {
                None => (0, 1),
                Some(whole) => (before[whole], behind[whole]),
            };
            match node.kind {
                Kind::Start => add(node.activity, vec![begin], outward(at)),
                Kind::End => add(node.activity, vec![before[at]], vec![end]),
                Kind::Boundary(task) => add(node.activity, vec![before[task]], outward(at)),
                Kind::Act if !node.repeats => add(node.activity, vec![before[at]], outward(at)),
                Kind::Exclusive => {
                    for to in outward(at).into_iter().filter(|to| *to != before[at]) {
                        add(None, vec![before[at]], vec![to]);
                    }
                }
                Kind::Parallel => {
                    let inward = node.from.iter().filter_map(|from| flows.get(&(*from, at)));
                    add(None, inward.copied().collect(), outward(at));
                }
                Kind::Act | Kind::SubProcess => {
                    if node.kind == Kind::Act {
                        add(node.activity, vec![before[at]], vec![behind[at]]);
                    }
                    if node.repeats {
                        add(None, vec![behind[at]], vec![before[at]]);
                    }
                    add(None, vec![behind[at]], outward(at));
                }
            }
        }
        reduced(&Net { transitions, ..net })
    }
}

/// The same net without places that nothing takes from or gives to, and without unseen steps that nothing else can be done instead of.
fn reduced(net: &Net) -> Net {
    let mut takers = vec![0; net.places as usize];
    for place in net.transitions.iter().flat_map(|of| &of.takes) {
        takers[*place as usize] += 1;
    }
    // A token that can do nothing but go on unseen is as good as there: each place, and the one that it stands for.
    let mut stands_for: Vec<u32> = (0..net.places).collect();
    let mut is_left_out = vec![false; net.transitions.len()];
    for (of, is_left_out) in net.transitions.iter().zip(&mut is_left_out) {
        let (None, [from], [to]) = (of.activity, of.takes.as_slice(), of.gives.as_slice()) else {
            continue;
        };
        let ends = [*from, *to].map(|place| found(&mut stands_for, place));
        let is_all = ends == [net.first, net.last].map(|place| found(&mut stands_for, place));
        if takers[*from as usize] == 1 && !is_all {
            stands_for[ends[0] as usize] = ends[1];
            *is_left_out = true;
        }
    }
    let mut numbers: HashMap<u32, u32> = HashMap::new();
    let mut number = |place: u32| {
        let next = numbers.len() as u32;
        *numbers.entry(found(&mut stands_for, place)).or_insert(next)
    };
    let (first, last) = (number(net.first), number(net.last));
    let kept = net.transitions.iter().zip(is_left_out).filter(|(_, is_left_out)| !is_left_out);
    let transitions = kept
        .map(|(of, _)| Transition {
            activity: of.activity,
            takes: of.takes.iter().map(|place| number(*place)).collect(),
            gives: of.gives.iter().map(|place| number(*place)).collect(),
        })
        .collect();
    Net { places: numbers.len() as u32, first, last, transitions }
}

/// The place that one stands for, and it for others.
fn found(stands_for: &mut [u32], mut place: u32) -> u32 {
    while stands_for[place as usize] != place {
        let next = stands_for[place as usize];
        stands_for[place as usize] = stands_for[next as usize];
        place = next;
    }
    place
}
