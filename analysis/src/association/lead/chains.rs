//! Lags that follow from two others: x→z where x→y and y→z are both stronger, their lags add up to its own within a tolerance, and
//! its sign is the product of theirs.
//!
//! That the weakest of three is the indirect one is the data-processing inequality (A. A. Margolin et al., "ARACNE: an algorithm for
//! the reconstruction of gene regulatory networks", 2006). As links are stronger than what follows from them, no edge follows from
//! itself, however long the chain.
//!
//! For each edge the shorter one of two lists of neighbours is walked: O(m·√m) for m edges (N. Chiba & T. Nishizeki,
//! "Arboricity and subgraph listing algorithms", 1985).

use std::collections::HashMap;

use super::Edge;

/// Two edges that a third follows from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chain {
    /// The series between; of several the one with the strongest weaker link.
    pub through: usize,
    /// The coefficient that it would have if nothing else connected both: the product of those of the links.
    pub expected: f64,
}

/// For each edge, with lags of 0 or more, the chain that it follows from.
pub(super) fn chains(nodes: usize, edges: &[Edge], tolerance: f64) -> Vec<Option<Chain>> {
    let (mut out, mut into) = (vec![Vec::new(); nodes], vec![Vec::new(); nodes]);
    let mut links = HashMap::with_capacity(edges.len());
    for edge in edges.iter().filter(|edge| edge.lag > 0.0) {
        out[edge.from].push(edge.to);
        into[edge.to].push(edge.from);
        links.insert((edge.from, edge.to), edge);
    }
    let chain = |edge: &Edge| {
        let (ahead, behind) = (&out[edge.from], &into[edge.to]);
        let between = if ahead.len() <= behind.len() { ahead } else { behind };
        let candidates = between.iter().filter_map(|&through| {
            let first = links.get(&(edge.from, through))?;
            let second = links.get(&(through, edge.to))?;
            let weaker = first.r.abs().min(second.r.abs());
            let expected = first.r * second.r;
            let follows = weaker > edge.r.abs()
                && expected * edge.r > 0.0
                && (first.lag + second.lag - edge.lag).abs() <= tolerance;
            follows.then_some((weaker, Chain { through, expected }))
        });
        candidates.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, chain)| chain)
    };
    edges.iter().map(|edge| if edge.lag > 0.0 { chain(edge) } else { None }).collect()
}
