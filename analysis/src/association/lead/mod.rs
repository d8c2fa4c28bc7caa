//! Who comes first: from pairs of which one leads the other by a lag, an order in time.
//!
//! 1. [`potentials`]: one time for each series, so that differences are the lags as nearly as can be; what a lag is off.
//! 2. [`chains`]: lags that follow from two others.
//! 3. [`leaders`]: those that others follow, and that are followed by those who lead.
//!
//! A pair with lag 0 says that two series are together: it counts for the times, and leads nowhere.
//!
//! Near-linear in the pairs but for the chains, which take O(m·√m).

mod chains;
mod leaders;
mod potentials;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

pub use chains::Chain;
pub use leaders::Leader;
use potentials::Times;

/// Pairs at most.
pub const EDGES_MAX: usize = 100_000;
/// Series at most.
pub const NODES_MAX: usize = 1 << 20;

/// A pair with its best lag.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edge {
    /// Number of the series that leads.
    pub from: usize,
    /// Number of the series that follows.
    pub to: usize,
    /// By how much, in samples; negative where it is the other way round.
    pub lag: f64,
    /// Coefficient at that lag, −1 to 1.
    pub r: f64,
    /// Probability of such a coefficient where there is no relation.
    pub p: f64,
}

impl Edge {
    /// The same with a lag that is not negative.
    fn forward(self) -> Self {
        if self.lag < 0.0 {
            Self { from: self.to, to: self.from, lag: -self.lag, ..self }
        } else {
            self
        }
    }

    /// How sure the lag is. The variance of a delay that is measured goes with (1 − r²)/r² (C. H. Knapp & G. C. Carter, "The
    /// generalized correlation method for estimation of time delay", 1976); a pair that may be chance counts for as much less.
    fn weight(&self) -> f64 {
        let square = self.r * self.r;
        let sure = (square / (1.0 - square)).min(WEIGHT_MAX);
        (sure * (1.0 - self.p)).max(WEIGHT_MIN)
    }
}

/// An edge that says nothing still connects.
const WEIGHT_MIN: f64 = 1e-4;
/// No lag is surer than that of r = 0.9999.
const WEIGHT_MAX: f64 = 1e4;

/// How to look at it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// By how many samples a lag may be off the sum of two others and still follow from them. Three rounded lags are off by 1.5 at
    /// most, and by more than 1 in few cases.
    pub tolerance: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { tolerance: 1.0 }
    }
}

/// Why edges are no graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadEdges {
    /// More than [`EDGES_MAX`] or [`NODES_MAX`].
    TooMany,
    /// An edge of a series that there is not.
    Node {
        /// Its place.
        edge: usize,
    },
    /// An edge from a series to itself.
    Loop {
        /// Its place.
        edge: usize,
    },
    /// A lag that is not finite, a coefficient beyond −1 to 1, or a p beyond 0 to 1.
    Number {
        /// Its place.
        edge: usize,
    },
    /// The second edge of a pair, in either direction.
    Twice {
        /// Its place.
        edge: usize,
    },
    /// A tolerance that is not 0 or more.
    Tolerance,
}

/// Who comes first.
#[derive(Clone, Debug, PartialEq)]
pub struct LeadGraph {
    /// One for each edge.
    pub edges: Vec<Placed>,
    /// One for each series; `None` without an edge.
    pub nodes: Vec<Option<Place>>,
    /// Series that are connected, the one with the first series first.
    pub components: Vec<Component>,
    /// Series that others follow, the strongest first.
    pub leaders: Vec<Leader>,
    /// How far times may be from the best ones, in the lags; above [`SETTLED`] where the search was ended before.
    pub error: f64,
}

/// The error of times that are as good as the best.
pub const SETTLED: f64 = 1e-9;

/// What is known of an edge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placed {
    /// Lag less the difference of the times: how inconsistent it is with the rest.
    pub residual: f64,
    /// Two others that it follows from.
    pub through: Option<Chain>,
}

/// When a series comes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// Number of its component.
    pub component: usize,
    /// Samples after the first of its component.
    pub time: f64,
}

/// Series that are connected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Component {
    /// Series.
    pub nodes: usize,
    /// Edges.
    pub edges: usize,
    /// Weighted mean of the squares of residuals, and its root: samples that a lag is usually off.
    pub off: f64,
    /// Part of the weighted squares of lags that no order explains, 0 to 1 (X. Jiang, L.-H. Lim, Y. Yao & Y. Ye, "Statistical
    /// ranking and combinatorial Hodge theory", 2011).
    pub inconsistent: f64,
}

/// The graph of series 0 to `nodes` − 1.
pub fn lead_graph(nodes: usize, edges: &[Edge], options: &Options) -> Result<LeadGraph, BadEdges> {
    check(nodes, edges, options)?;
    let Times { times, components, error } = potentials::times(nodes, edges);
    let forward: Vec<Edge> = edges.iter().map(|edge| edge.forward()).collect();
    let through = chains::chains(nodes, &forward, options.tolerance);
    let leading: Vec<Edge> = forward
        .iter()
        .zip(&through)
        .filter(|(edge, chain)| edge.lag > 0.0 && chain.is_none())
        .map(|(edge, _)| *edge)
        .collect();
    let place = |(time, component): (&f64, &Option<usize>)| {
        component.map(|component| Place { component, time: *time })
    };
    let nodes: Vec<Option<Place>> = times.iter().zip(&components).map(place).collect();
    let residual = |edge: &Edge| edge.lag - (times[edge.to] - times[edge.from]);
    let placed: Vec<Placed> = edges
        .iter()
        .zip(through)
        .map(|(edge, through)| Placed { residual: residual(edge), through })
        .collect();
    Ok(LeadGraph {
        components: measured(&components, edges, &placed),
        leaders: leaders::leaders(&nodes, &leading),
        edges: placed,
        nodes,
        error,
    })
}

fn check(nodes: usize, edges: &[Edge], options: &Options) -> Result<(), BadEdges> {
    if nodes > NODES_MAX || edges.len() > EDGES_MAX {
        return Err(BadEdges::TooMany);
    }
    if options.tolerance.is_nan() || options.tolerance < 0.0 {
        return Err(BadEdges::Tolerance);
    }
    let mut pairs = HashSet::with_capacity(edges.len());
    for (index, edge) in edges.iter().enumerate() {
        let number = edge.lag.abs() <= LAG_MAX
            && (-1.0..=1.0).contains(&edge.r)
            && (0.0..=1.0).contains(&edge.p);
        if edge.from >= nodes || edge.to >= nodes {
            return Err(BadEdges::Node { edge: index });
        }
        if edge.from == edge.to {
            return Err(BadEdges::Loop { edge: index });
        }
        if !number {
            return Err(BadEdges::Number { edge: index });
        }
        if !pairs.insert((edge.from.min(edge.to), edge.from.max(edge.to))) {
            return Err(BadEdges::Twice { edge: index });
        }
    }
    Ok(())
}

/// Squares of longer lags, times weights and edges, may overflow.
const LAG_MAX: f64 = 1e100;

fn measured(components: &[Option<usize>], edges: &[Edge], placed: &[Placed]) -> Vec<Component> {
    let count = components.iter().flatten().max().map_or(0, |last| last + 1);
    let mut found = vec![Component { nodes: 0, edges: 0, off: 0.0, inconsistent: 0.0 }; count];
    components.iter().flatten().for_each(|component| found[*component].nodes += 1);
    // Of weights, and of squares of residuals and of lags with these.
    let mut sums = vec![[0.0; 3]; count];
    for (edge, placed) in edges.iter().zip(placed) {
        if let Some(component) = components[edge.from] {
            let weight = edge.weight();
            found[component].edges += 1;
            let [weights, residuals, lags] = &mut sums[component];
            *weights += weight;
            *residuals += weight * placed.residual * placed.residual;
            *lags += weight * edge.lag * edge.lag;
        }
    }
    for (found, [weights, residuals, lags]) in found.iter_mut().zip(sums) {
        found.off = (residuals / weights).sqrt();
        found.inconsistent = if lags > 0.0 { (residuals / lags).min(1.0) } else { 0.0 };
    }
    found
}
