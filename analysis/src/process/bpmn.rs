//! Trees as BPMN 2.0: tasks between gateways, with places on a page, without which most tools show nothing.

use std::fmt::Write;

use super::file::escaped;
use super::log::Names;
use super::tree::{Operator, Tree};

/// Sizes on the page: of tasks, gateways and events, and the room between.
const TASK: (f64, f64) = (120.0, 80.0);
const GATEWAY: (f64, f64) = (50.0, 50.0);
const EVENT: (f64, f64) = (36.0, 36.0);
const GAP: (f64, f64) = (50.0, 30.0);

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Start,
    End,
    Task,
    Exclusive,
    Parallel,
}

struct Node {
    kind: Kind,
    name: String,
    /// Its middle.
    at: (f64, f64),
}

/// The nodes and flows of a model.
struct Diagram<'a> {
    names: &'a Names,
    nodes: Vec<Node>,
    flows: Vec<(usize, usize)>,
}

/// A tree as a diagram.
pub fn to_bpmn(tree: &Tree, names: &Names) -> String {
    let mut diagram = Diagram { names, nodes: Vec::new(), flows: Vec::new() };
    let (width, height) = size(tree);
    let middle = GAP.1 + height / 2.0;
    let start = diagram.node(Kind::Start, String::new(), (GAP.0 + EVENT.0 / 2.0, middle));
    let left = GAP.0 + EVENT.0 + GAP.0;
    let last = diagram.add(tree, start, (left, middle));
    let end_at = (left + width + GAP.0 + EVENT.0 / 2.0, middle);
    let end = diagram.node(Kind::End, String::new(), end_at);
    diagram.flows.push((last, end));
    diagram.written()
}

/// How much room a tree needs.
fn size(tree: &Tree) -> (f64, f64) {
    match tree {
        Tree::Silent => (0.0, TASK.1),
        Tree::Activity(_) => TASK,
        Tree::Block(Operator::Sequence, parts) => {
            let sizes = parts.iter().map(size);
            let (width, height) = sizes
                .fold((0.0, TASK.1), |(w, h): (f64, f64), (pw, ph)| (w + pw + GAP.0, h.max(ph)));
            ((width - GAP.0).max(0.0), height)
        }
        Tree::Block(_, parts) => {
            let sizes = parts.iter().map(size);
            let (width, height) =
                sizes.fold((0.0, 0.0), |(w, h): (f64, f64), (pw, ph)| (w.max(pw), h + ph + GAP.1));
            (width + 2.0 * (GATEWAY.0 + GAP.0), (height - GAP.1).max(TASK.1))
        }
    }
}

impl Kind {
    fn size(self) -> (f64, f64) {
        match self {
            Self::Start | Self::End => EVENT,
            Self::Task => TASK,
            Self::Exclusive | Self::Parallel => GATEWAY,
        }
    }

    fn element(self) -> &'static str {
        match self {
            Self::Start => "startEvent",
            Self::End => "endEvent",
            Self::Task => "task",
            Self::Exclusive => "exclusiveGateway",
            Self::Parallel => "parallelGateway",
        }
    }
}

impl Diagram<'_> {
    fn node(&mut self, kind: Kind, name: String, at: (f64, f64)) -> usize {
        self.nodes.push(Node { kind, name, at });
        self.nodes.len() - 1
    }

    /// Adds a tree behind a node, from a left edge on; the node behind which it goes on.
    fn add(&mut self, tree: &Tree, before: usize, (left, middle): (f64, f64)) -> usize {
        match tree {
            Tree::Silent => before,
            Tree::Activity(activity) => {
                let name = self.names.text(*activity).to_owned();
                let task = self.node(Kind::Task, name, (left + TASK.0 / 2.0, middle));
                self.flows.push((before, task));
                task
            }
            Tree::Block(Operator::Sequence, parts) => {
                let (mut last, mut left) = (before, left);
                for part in parts {
                    last = self.add(part, last, (left, middle));
                    left += size(part).0 + GAP.0;
                }
                last
            }
            Tree::Block(operator, parts) => {
                let kind = match operator {
                    Operator::Parallel => Kind::Parallel,
                    _ => Kind::Exclusive,
                };
                let (width, height) = size(tree);
                let open = self.node(kind, String::new(), (left + GATEWAY.0 / 2.0, middle));
                let close =
                    self.node(kind, String::new(), (left + width - GATEWAY.0 / 2.0, middle));
                self.flows.push((before, open));
                let inner = left + GATEWAY.0 + GAP.0;
                let mut top = middle - height / 2.0;
                for (at, part) in parts.iter().enumerate() {
                    let own = size(part).1;
                    // What is done again goes from the end back to the beginning.
                    let goes_back = *operator == Operator::Loop && at > 0;
                    let (from, to) = if goes_back { (close, open) } else { (open, close) };
                    let last = self.add(part, from, (inner, top + own / 2.0));
                    self.flows.push((last, to));
                    top += own + GAP.1;
                }
                close
            }
        }
    }

    fn written(&self) -> String {
        let mut out = String::from(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<definitions xmlns=\"http://www.omg.org/spec/BPMN/20100524/MODEL\" \
             xmlns:bpmndi=\"http://www.omg.org/spec/BPMN/20100524/DI\" xmlns:omgdc=\"http://www.omg.org/spec/DD/20100524/DC\" \
             xmlns:omgdi=\"http://www.omg.org/spec/DD/20100524/DI\" id=\"definitions\" targetNamespace=\"http://bpmn.io/schema/bpmn\">\n  \
             <process id=\"process\" isExecutable=\"false\">\n",
        );
        // Writing to a text can't fail.
        for (number, node) in self.nodes.iter().enumerate() {
            let (element, name) = (node.kind.element(), escaped(&node.name));
            let name = if name.is_empty() { name } else { format!(" name=\"{name}\"") };
            let _ = writeln!(out, "    <{element} id=\"n{number}\"{name}>");
            for (flow, (from, to)) in self.flows.iter().enumerate() {
                if *to == number {
                    let _ = writeln!(out, "      <incoming>f{flow}</incoming>");
                }
                if *from == number {
                    let _ = writeln!(out, "      <outgoing>f{flow}</outgoing>");
                }
            }
            let _ = writeln!(out, "    </{element}>");
        }
        for (flow, (from, to)) in self.flows.iter().enumerate() {
            let _ = writeln!(
                out,
                "    <sequenceFlow id=\"f{flow}\" sourceRef=\"n{from}\" targetRef=\"n{to}\"/>"
            );
        }
        out.push_str(
            "  </process>\n  <bpmndi:BPMNDiagram id=\"diagram\">\n    <bpmndi:BPMNPlane id=\"plane\" bpmnElement=\"process\">\n",
        );
        for (number, node) in self.nodes.iter().enumerate() {
            let (width, height) = node.kind.size();
            let (x, y) = (node.at.0 - width / 2.0, node.at.1 - height / 2.0);
            let _ = writeln!(
                out,
                "      <bpmndi:BPMNShape id=\"n{number}_shape\" bpmnElement=\"n{number}\"><omgdc:Bounds x=\"{x}\" y=\"{y}\" \
                 width=\"{width}\" height=\"{height}\"/></bpmndi:BPMNShape>"
            );
        }
        for (flow, (from, to)) in self.flows.iter().enumerate() {
            let _ =
                write!(out, "      <bpmndi:BPMNEdge id=\"f{flow}_edge\" bpmnElement=\"f{flow}\">");
            for (x, y) in self.way(*from, *to) {
                let _ = write!(out, "<omgdi:waypoint x=\"{x}\" y=\"{y}\"/>");
            }
            out.push_str("</bpmndi:BPMNEdge>\n");
        }
        out.push_str("    </bpmndi:BPMNPlane>\n  </bpmndi:BPMNDiagram>\n</definitions>\n");
        out
    }

    /// From the side of one node to that of another, at right angles.
    fn way(&self, from: usize, to: usize) -> Vec<(f64, f64)> {
        let (Some(from), Some(to)) = (self.nodes.get(from), self.nodes.get(to)) else {
            return Vec::new();
        };
        let ahead = if to.at.0 >= from.at.0 { 0.5 } else { -0.5 };
        let start = (from.at.0 + ahead * from.kind.size().0, from.at.1);
        let end = (to.at.0 - ahead * to.kind.size().0, to.at.1);
        if start.1 == end.1 {
            return vec![start, end];
        }
        // Gateways stand where ways part, so a way turns there.
        let is_gateway = |node: &Node| matches!(node.kind, Kind::Exclusive | Kind::Parallel);
        match is_gateway(from) {
            true => vec![from.at, (from.at.0, end.1), end],
            false => vec![start, (to.at.0, start.1), to.at],
        }
    }
}
