//! A graph beside lines of text, a line for each step: lanes run down from a step to those that wait for it.

use jobs::Graph;

/// A line of the drawing: what is left of the text, and the place of the step whose text it is; none where lanes fork or meet.
pub(super) type Line = (String, Option<usize>);

/// Draws a graph whose steps are in the order in which they may run.
pub(super) fn lines(graph: &Graph) -> Vec<Line> {
    let place = |name: &str| graph.nodes.iter().position(|node| node.step.name == name);
    let mut lanes: Vec<Option<usize>> = Vec::new();
    let mut lines: Vec<Line> = Vec::new();
    let mut last = None;
    for (at, node) in graph.nodes.iter().enumerate() {
        let own: Vec<usize> =
            (0..lanes.len()).filter(|lane| lanes.get(*lane) == Some(&Some(at))).collect();
        let column = match own.first() {
            Some(column) => *column,
            None => free(&mut lanes, 0),
        };
        // One that waits for none does not stand under another as if it did.
        if own.is_empty()
            && last == Some(column)
            && lines.last().is_some_and(|line| line.1.is_some())
        {
            lines.push((row(&lanes, usize::MAX), None));
        }
        last = Some(column);
        if own.len() > 1 {
            lines.push((joint(&lanes, &own, ['╯', '┴']), None));
            own.iter().skip(1).for_each(|lane| set(&mut lanes, *lane, None));
        }
        set(&mut lanes, column, Some(at));
        lines.push((row(&lanes, column), Some(at)));
        let mut next = graph.edges.iter().filter(|edge| edge.from == node.step.name);
        set(&mut lanes, column, next.next().and_then(|edge| place(&edge.to)));
        let mut forks = vec![column];
        for edge in next {
            let lane = free(&mut lanes, column + 1);
            set(&mut lanes, lane, place(&edge.to));
            forks.push(lane);
        }
        if forks.len() > 1 {
            lines.push((joint(&lanes, &forks, ['╮', '┬']), None));
        }
    }
    lines
}

/// The first lane from `from` on that leads nowhere.
fn free(lanes: &mut Vec<Option<usize>>, from: usize) -> usize {
    let found = (from..lanes.len()).find(|lane| lanes.get(*lane) == Some(&None));
    found.unwrap_or_else(|| {
        lanes.resize(lanes.len().max(from) + 1, None);
        lanes.len() - 1
    })
}

fn set(lanes: &mut [Option<usize>], lane: usize, to: Option<usize>) {
    if let Some(lane) = lanes.get_mut(lane) {
        *lane = to;
    }
}

/// A step in its lane, beside those that pass it.
fn row(lanes: &[Option<usize>], column: usize) -> String {
    let mark = |(lane, to): (usize, &Option<usize>)| match (lane == column, to) {
        (true, _) => '●',
        (false, Some(_)) => '│',
        (false, None) => ' ',
    };
    spread(lanes.iter().enumerate().map(mark), |_| ' ')
}

/// Lanes that part from the first of `of`, or meet in it; `ends` are the marks of the last one and of those between.
fn joint(lanes: &[Option<usize>], of: &[usize], ends: [char; 2]) -> String {
    let (first, last) = (of.first().copied().unwrap_or(0), of.last().copied().unwrap_or(0));
    let inside = |lane: usize| (first..last).contains(&lane);
    let mark = |(lane, to): (usize, &Option<usize>)| match (of.contains(&lane), to) {
        (true, _) if lane == first => '├',
        (true, _) if lane == last => ends[0],
        (true, _) => ends[1],
        (false, Some(_)) if inside(lane) => '┼',
        (false, Some(_)) => '│',
        (false, None) if inside(lane) => '─',
        (false, None) => ' ',
    };
    spread(lanes.iter().enumerate().map(mark), |lane| if inside(lane) { '─' } else { ' ' })
}

fn spread(marks: impl Iterator<Item = char>, between: impl Fn(usize) -> char) -> String {
    let text: String = marks.enumerate().flat_map(|(lane, mark)| [mark, between(lane)]).collect();
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use jobs::{PipelineEdge, PipelineNode, Step};

    use super::*;

    fn drawn(names: &[&str], edges: &[(&str, &str)]) -> Vec<String> {
        let node = |name: &&str| PipelineNode {
            step: Step {
                name: (*name).into(),
                job: "sql".into(),
                params: serde_json::Value::Null,
                gpu: None,
                after: Vec::new(),
            },
            inputs: Vec::new(),
            outputs: Vec::new(),
        };
        let edge = |(from, to): &(&str, &str)| PipelineEdge {
            from: (*from).into(),
            to: (*to).into(),
            datasets: Vec::new(),
        };
        let graph = Graph {
            nodes: names.iter().map(node).collect(),
            edges: edges.iter().map(edge).collect(),
        };
        let text = |(left, at): Line| match at {
            Some(at) => format!("{left} {}", names[at]),
            None => left,
        };
        lines(&graph).into_iter().map(text).collect()
    }

    #[test]
    fn lanes_run_from_a_step_to_those_that_wait_for_it() {
        assert_eq!(drawn(&["a", "b"], &[("a", "b")]), ["● a", "● b"]);
        assert_eq!(
            drawn(&["a", "b", "c", "d"], &[("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")]),
            ["● a", "├─╮", "● │ b", "│ ● c", "├─╯", "● d"]
        );
        // One that passes another, and two that have nothing to do with each other.
        assert_eq!(
            drawn(&["a", "b", "c"], &[("a", "b"), ("b", "c"), ("a", "c")]),
            ["● a", "├─╮", "● │ b", "├─╯", "● c"]
        );
        assert_eq!(drawn(&["a", "b"], &[]), ["● a", "", "● b"]);
        assert_eq!(
            drawn(&["a", "b", "c", "d"], &[("a", "d"), ("b", "d"), ("c", "d")]),
            ["● a", "│ ● b", "│ │ ● c", "├─┴─╯", "● d"]
        );
        assert_eq!(
            drawn(&["a", "b", "c", "d", "e"], &[("a", "d"), ("b", "e"), ("c", "d"), ("d", "e")]),
            ["● a", "│ ● b", "│ │ ● c", "├─┼─╯", "● │ d", "├─╯", "● e"]
        );
    }
}
