//! Which step of a pipeline waits for which: those that it names, and those that make what it reads.

use std::collections::{HashMap, HashSet};

use datasets::DatasetName;
use engine::{Code, Error, Result, did_you_mean};
use serde::Serialize;

use super::Step;
use crate::kinds::Jobs;

/// A step, with what it reads and commits to.
#[derive(Clone, Debug, Serialize)]
pub struct PipelineNode {
    /// The step.
    #[serde(flatten)]
    pub step: Step,
    /// The datasets that it reads.
    pub inputs: Vec<DatasetName>,
    /// Those that it commits to.
    pub outputs: Vec<DatasetName>,
}

/// That a step waits for another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PipelineEdge {
    /// The step that is waited for.
    pub from: String,
    /// The step that waits.
    pub to: String,
    /// What the one makes and the other reads; none, where only the order was asked for.
    pub datasets: Vec<DatasetName>,
}

/// The steps of a pipeline and which waits for which.
#[derive(Clone, Debug, Serialize)]
pub struct Graph {
    /// The steps, each behind all that it waits for.
    pub nodes: Vec<PipelineNode>,
    /// Who waits for whom.
    pub edges: Vec<PipelineEdge>,
}

impl Graph {
    /// Of the steps of the pipeline `name`. BAD_INPUT where a step is not known, or where some wait for each other.
    pub(crate) fn of(name: &str, steps: &[Step], jobs: &Jobs) -> Result<Self> {
        let nodes = steps.iter().map(|step| node(name, step, jobs)).collect::<Result<Vec<_>>>()?;
        let places: HashMap<&str, usize> =
            steps.iter().enumerate().map(|(at, step)| (step.name.as_str(), at)).collect();
        let asked = asked_for(name, steps, &places)?;
        let before = all_before(&asked);
        let mut links: Vec<Link> = Vec::new();
        for (to, reader) in nodes.iter().enumerate() {
            for (from, maker) in nodes.iter().enumerate() {
                let datasets = match from == to || before[from][to] {
                    // It is asked for the other way round: the reader reads what was there before.
                    true => Vec::new(),
                    false => passed(maker, reader),
                };
                if asked[to].contains(&from) || !datasets.is_empty() {
                    links.push(Link { from, to, datasets });
                }
            }
        }
        let order = order(&links, nodes.len()).map_err(|circle| {
            let says = circle_in_words(&circle, &links, steps);
            bad(name, format!("its steps wait for each other, for ever: {says}"))
        })?;
        require_one_maker(name, &nodes, &links, jobs)?;
        let edges = links.into_iter().map(|link| PipelineEdge {
            from: steps[link.from].name.clone(),
            to: steps[link.to].name.clone(),
            datasets: link.datasets,
        });
        let mut rest: Vec<Option<PipelineNode>> = nodes.into_iter().map(Some).collect();
        Ok(Self {
            edges: edges.collect(),
            nodes: order.into_iter().filter_map(|at| rest.get_mut(at)?.take()).collect(),
        })
    }

    /// The steps that `step` waits for.
    pub fn before<'a>(&'a self, step: &'a str) -> impl Iterator<Item = &'a str> {
        self.edges.iter().filter(move |edge| edge.to == step).map(|edge| edge.from.as_str())
    }

    /// The datasets that the steps commit to.
    pub(crate) fn outputs(&self) -> impl Iterator<Item = &DatasetName> {
        self.nodes.iter().flat_map(|node| &node.outputs)
    }
}

struct Link {
    from: usize,
    to: usize,
    datasets: Vec<DatasetName>,
}

fn node(pipeline: &str, step: &Step, jobs: &Jobs) -> Result<PipelineNode> {
    let read = || {
        let job = jobs.get(&step.job)?;
        let params = job.canonical(&step.params)?;
        let inputs = job.inputs(&params)?;
        let outputs = job.outputs(&params)?.into_iter().map(|output| output.name).collect();
        Ok(PipelineNode { step: step.clone(), inputs, outputs })
    };
    read()
        .map_err(|e: Error| e.while_doing(format_args!("pipeline {pipeline}, step {}", step.name)))
}

/// The places of the steps that each step names.
fn asked_for(
    pipeline: &str,
    steps: &[Step],
    places: &HashMap<&str, usize>,
) -> Result<Vec<HashSet<usize>>> {
    let of_step = |step: &Step| {
        let place = |after: &String| {
            places.get(after.as_str()).copied().filter(|_| *after != step.name).ok_or_else(|| {
                let others = places.keys().copied().filter(|name| *name != step.name);
                let near = did_you_mean(after, others).map(|near| format!("; {near}"));
                let near = near.unwrap_or_default();
                let shown: String = after.chars().take(80).collect();
                bad(
                    pipeline,
                    format!("step {}: after {shown:?}: expected another step{near}", step.name),
                )
            })
        };
        step.after.iter().map(place).collect::<Result<HashSet<_>>>()
    };
    steps.iter().map(of_step).collect()
}

/// Fails where two steps commit to one dataset and neither waits for the other: whose rows stay would be chance. Registries, which
/// all that append to them read as well, are for many.
fn require_one_maker(
    pipeline: &str,
    nodes: &[PipelineNode],
    links: &[Link],
    jobs: &Jobs,
) -> Result<()> {
    let mut waited_for = vec![HashSet::new(); nodes.len()];
    for link in links {
        waited_for[link.to].insert(link.from);
    }
    let is_before = all_before(&waited_for);
    // Of each dataset the steps that make it so far.
    let mut makers: HashMap<&DatasetName, Vec<usize>> = HashMap::new();
    for (at, node) in nodes.iter().enumerate() {
        if jobs.get(&node.step.job).is_ok_and(|job| job.appends_to_inputs()) {
            continue;
        }
        for dataset in &node.outputs {
            let others = makers.entry(dataset).or_default();
            let is_loose = |other: usize| !is_before[at][other] && !is_before[other][at];
            let loose = others.iter().find(|&&other| other != at && is_loose(other));
            if let Some(&other) = loose {
                let (one, other) = (&nodes[other].step.name, &node.step.name);
                return Err(bad(
                    pipeline,
                    format!(
                        "steps {one} and {other} both make {dataset}, and neither waits for the other; give one another output, or have \
                         it come `after` the other"
                    ),
                ));
            }
            others.push(at);
        }
    }
    Ok(())
}

/// Of each step which others it waits for, directly or through others.
fn all_before(asked: &[HashSet<usize>]) -> Vec<Vec<bool>> {
    let of = |step: usize| {
        let mut is_before = vec![false; asked.len()];
        let mut reached = vec![step];
        while let Some(step) = reached.pop() {
            for &before in &asked[step] {
                if !std::mem::replace(&mut is_before[before], true) {
                    reached.push(before);
                }
            }
        }
        is_before
    };
    (0..asked.len()).map(of).collect()
}

/// What `maker` makes and `reader` reads. What both read and write, as a registry, passes from neither to the other.
fn passed(maker: &PipelineNode, reader: &PipelineNode) -> Vec<DatasetName> {
    let is_history = |name: &DatasetName| {
        [maker, reader].iter().all(|node| node.inputs.contains(name) && node.outputs.contains(name))
    };
    let read = reader.inputs.iter().filter(|name| maker.outputs.contains(name));
    read.filter(|name| !is_history(name)).cloned().collect()
}

/// The places in an order in which each comes after those that it waits for, the first of the definition first; or some that wait
/// for each other, in a circle.
fn order(links: &[Link], count: usize) -> std::result::Result<Vec<usize>, Vec<usize>> {
    let mut order = Vec::with_capacity(count);
    let mut is_done = vec![false; count];
    let mut waits_for = vec![0_usize; count];
    links.iter().for_each(|link| waits_for[link.to] += 1);
    while order.len() < count {
        let next = (0..count).find(|&step| !is_done[step] && waits_for[step] == 0);
        if let Some(next) = next {
            is_done[next] = true;
            order.push(next);
            let freed = links.iter().filter(|link| link.from == next);
            freed.for_each(|link| waits_for[link.to] -= 1);
            continue;
        }
        // Each that is left waits for one that is left: who follows them comes back.
        let mut way = Vec::new();
        let waits = |step: usize| links.iter().find(|link| link.to == step && !is_done[link.from]);
        let mut step = (0..count).find(|&step| !is_done[step]);
        while let Some(at) = step {
            if let Some(begin) = way.iter().position(|&before| before == at) {
                let mut circle = way.split_off(begin);
                circle.push(at);
                circle.reverse();
                return Err(circle);
            }
            way.push(at);
            step = waits(at).map(|link| link.from);
        }
        return Err(way);
    }
    Ok(order)
}

fn circle_in_words(circle: &[usize], links: &[Link], steps: &[Step]) -> String {
    let name = |at: usize| steps[at].name.as_str();
    let names: Vec<&str> = circle.iter().map(|&at| name(at)).collect();
    let because = circle.windows(2).filter_map(|pair| {
        let link = links.iter().find(|link| link.from == pair[0] && link.to == pair[1])?;
        let (from, to) = (name(link.from), name(link.to));
        Some(match link.datasets.first() {
            Some(dataset) => format!("{to} reads {dataset}, which {from} makes"),
            None => format!("{to} is after {from}"),
        })
    });
    format!("{} ({})", names.join(" -> "), because.collect::<Vec<_>>().join("; "))
}

pub(super) fn bad(pipeline: &str, says: String) -> Error {
    let shown: String = pipeline.chars().take(80).collect();
    Error::user(Code::BadInput, format!("pipeline {shown}: {says}"))
}
