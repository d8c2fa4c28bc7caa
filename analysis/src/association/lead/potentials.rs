//! Times of series by least squares: Σ w·(t_to − t_from − lag)² is least, and the first of each component is at 0.
//!
//! The equations L·t = b have the Laplacian of the weighted graph. They are solved by conjugate gradients, and the preconditioner
//! is the Laplacian of a spanning tree of the heaviest edges (P. M. Vaidya, 1991; D. A. Spielman & J. Woo, "A note on preconditioning
//! by low-stretch spanning trees", 2009), which is solved in one walk down and one up: a tree is done at once, and each edge beside
//! the tree takes one step at most. As L is the tree's at least, rᵀT⁻¹r is no less than the square of the error in the norm of L,
//! so that the search knows when it is done. O(m log m) and O(m) for each of at most [`STEPS_MAX`] steps. Wide grids of equal weights,
//! whose trees make detours, take more, and the error says what is left.

use super::{Edge, SETTLED};
use crate::cholesky::dot;

/// Steps of the search at most.
const STEPS_MAX: usize = 1_000;

/// Times of series.
pub(super) struct Times {
    /// 0 without an edge.
    pub(super) times: Vec<f64>,
    /// Of each series, numbered by their first ones; `None` without an edge.
    pub(super) components: Vec<Option<usize>>,
    /// Bound of the error, in the weighted root of the squares of lags.
    pub(super) error: f64,
}

pub(super) fn times(nodes: usize, edges: &[Edge]) -> Times {
    let weights: Vec<f64> = edges.iter().map(Edge::weight).collect();
    let forest = Forest::of(nodes, edges, &weights);
    let mut times = forest.along_the_tree(edges);
    let apply = |t: &[f64]| {
        let mut found = vec![0.0; nodes];
        for (edge, weight) in edges.iter().zip(&weights) {
            let flow = weight * (t[edge.to] - t[edge.from]);
            found[edge.to] += flow;
            found[edge.from] -= flow;
        }
        found
    };
    let mut rest = vec![0.0; nodes];
    for (edge, weight) in edges.iter().zip(&weights) {
        let flow = weight * (edge.lag - (times[edge.to] - times[edge.from]));
        rest[edge.to] += flow;
        rest[edge.from] -= flow;
    }
    let lags: f64 = edges.iter().zip(&weights).map(|(edge, w)| w * edge.lag * edge.lag).sum();
    let enough = SETTLED * SETTLED * lags;
    let mut towards = forest.solve(&rest);
    let mut step = towards.clone();
    let mut left = dot(&rest, &towards);
    for _ in 0..STEPS_MAX {
        if left <= enough {
            break;
        }
        let flows = apply(&step);
        let along = dot(&step, &flows);
        if along.is_nan() || along <= 0.0 {
            break;
        }
        let length = left / along;
        times.iter_mut().zip(&step).for_each(|(time, step)| *time += length * step);
        rest.iter_mut().zip(&flows).for_each(|(rest, flow)| *rest -= length * flow);
        towards = forest.solve(&rest);
        let before = left;
        left = dot(&rest, &towards);
        step.iter_mut().zip(&towards).for_each(|(step, to)| *step = to + left / before * *step);
    }
    forest.start_at_0(&mut times);
    let error = if lags > 0.0 { (left.max(0.0) / lags).sqrt() } else { 0.0 };
    Times { times, components: forest.components, error }
}

/// A spanning tree of each component.
struct Forest {
    /// Series with edges, parents before their children.
    order: Vec<usize>,
    /// The edge to the parent, and the parent; `None` of roots.
    up: Vec<Option<(usize, usize)>>,
    weights: Vec<f64>,
    components: Vec<Option<usize>>,
}

impl Forest {
    fn of(nodes: usize, edges: &[Edge], weights: &[f64]) -> Self {
        let mut heaviest: Vec<usize> = (0..edges.len()).collect();
        heaviest.sort_by(|a, b| weights[*b].total_cmp(&weights[*a]));
        let mut sets = Sets((0..nodes).collect());
        let mut neighbours = vec![Vec::new(); nodes];
        for index in heaviest {
            let edge = &edges[index];
            if sets.join(edge.from, edge.to) {
                neighbours[edge.from].push((index, edge.to));
                neighbours[edge.to].push((index, edge.from));
            }
        }
        let mut forest = Self {
            order: Vec::with_capacity(nodes),
            up: vec![None; nodes],
            weights: weights.to_vec(),
            components: vec![None; nodes],
        };
        let mut count = 0;
        for root in 0..nodes {
            if neighbours[root].is_empty() || forest.components[root].is_some() {
                continue;
            }
            forest.components[root] = Some(count);
            let mut next = forest.order.len();
            forest.order.push(root);
            while let Some(&node) = forest.order.get(next) {
                next += 1;
                for &(edge, other) in &neighbours[node] {
                    if forest.components[other].is_none() {
                        forest.components[other] = Some(count);
                        forest.up[other] = Some((edge, node));
                        forest.order.push(other);
                    }
                }
            }
            count += 1;
        }
        forest
    }

    /// Times that are those of the tree's edges.
    fn along_the_tree(&self, edges: &[Edge]) -> Vec<f64> {
        let mut times = vec![0.0; self.up.len()];
        for &node in &self.order {
            if let Some((edge, parent)) = self.up[node] {
                let edge = &edges[edge];
                let lag = if edge.to == node { edge.lag } else { -edge.lag };
                times[node] = times[parent] + lag;
            }
        }
        times
    }

    /// What the tree's Laplacian makes `right` of, whose sum is 0 for each component.
    fn solve(&self, right: &[f64]) -> Vec<f64> {
        let mut flows = right.to_vec();
        for &node in self.order.iter().rev() {
            if let Some((_, parent)) = self.up[node] {
                flows[parent] += flows[node];
            }
        }
        let mut found = vec![0.0; right.len()];
        for &node in &self.order {
            if let Some((edge, parent)) = self.up[node] {
                found[node] = found[parent] + flows[node] / self.weights[edge];
            }
        }
        found
    }

    fn start_at_0(&self, times: &mut [f64]) {
        let count = self.components.iter().flatten().max().map_or(0, |last| last + 1);
        let mut first = vec![f64::INFINITY; count];
        for (time, component) in times.iter().zip(&self.components) {
            if let Some(component) = component {
                first[*component] = first[*component].min(*time);
            }
        }
        for (time, component) in times.iter_mut().zip(&self.components) {
            if let Some(component) = component {
                *time -= first[*component];
            }
        }
    }
}

/// Sets of nodes that are joined: the parent of each.
struct Sets(Vec<usize>);

impl Sets {
    /// Joins the sets of two; whether they were different.
    fn join(&mut self, a: usize, b: usize) -> bool {
        let (a, b) = (self.root(a), self.root(b));
        self.0[a.max(b)] = a.min(b);
        a != b
    }

    fn root(&mut self, mut node: usize) -> usize {
        while self.0[node] != node {
            self.0[node] = self.0[self.0[node]];
            node = self.0[node];
        }
        node
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_joined_is_joined_no_more() {
        let mut sets = Sets((0..5).collect());
        let joined = [(3, 1), (1, 3), (0, 2), (2, 3), (1, 0), (4, 4), (4, 1)];
        let joined = joined.map(|(a, b)| sets.join(a, b));
        assert_eq!(joined, [true, false, true, true, false, false, true]);
    }
}
