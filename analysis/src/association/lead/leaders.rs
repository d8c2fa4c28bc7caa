//! Series that lead: a series is one as far as others follow it, and more so where these lead themselves. That is PageRank (S. Brin
//! & L. Page, 1998) over edges from followers to leaders, as D. Wu, Y. Ke, J. X. Yu, P. S. Yu & L. Chen rank series ("Detecting
//! leaders from correlated time series", 2010): each gives its own score to those that it follows, by |r|, and edges that follow
//! from chains give nothing.

use super::{Edge, Place};

/// Part of a score that goes on to the leaders; the rest goes to all.
const PASSED: f64 = 0.85;
/// Rounds at most: what is left after as many is 0.85 to that power, 7e-15.
const ROUNDS_MAX: usize = 200;
/// Sum of changes in a round after which there is no other.
const CHANGE_MIN: f64 = 1e-13;

/// A series that others follow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Leader {
    /// Its number.
    pub node: usize,
    /// Its part of all scores of series with edges.
    pub score: f64,
    /// Series that follow it, without those that do by a chain alone.
    pub followers: usize,
    /// Series that it follows.
    pub follows: usize,
}

/// All that have followers, the strongest first. Edges lead from leaders.
pub(super) fn leaders(nodes: &[Option<Place>], edges: &[Edge]) -> Vec<Leader> {
    let count = nodes.iter().flatten().count() as f64;
    let (mut followers, mut follows) = (vec![0; nodes.len()], vec![0; nodes.len()]);
    let mut given = vec![0.0; nodes.len()];
    for edge in edges {
        followers[edge.from] += 1;
        follows[edge.to] += 1;
        given[edge.to] += edge.r.abs();
    }
    let start = |place: &Option<Place>| if place.is_some() { 1.0 / count } else { 0.0 };
    let mut scores: Vec<f64> = nodes.iter().map(start).collect();
    for _ in 0..ROUNDS_MAX {
        // What those give who follow nobody goes to all.
        let free = scores.iter().zip(&given).filter(|(_, given)| **given <= 0.0);
        let kept: f64 = free.map(|(score, _)| score).sum();
        let base = (1.0 - PASSED + PASSED * kept) / count;
        let mut next: Vec<f64> =
            nodes.iter().map(|place| if place.is_some() { base } else { 0.0 }).collect();
        for edge in edges.iter().filter(|edge| given[edge.to] > 0.0) {
            next[edge.from] += PASSED * scores[edge.to] * edge.r.abs() / given[edge.to];
        }
        let change: f64 = next.iter().zip(&scores).map(|(a, b)| (a - b).abs()).sum();
        scores = next;
        if change < CHANGE_MIN {
            break;
        }
    }
    let mut found: Vec<Leader> = (0..nodes.len())
        .filter(|&node| followers[node] > 0)
        .map(|node| Leader {
            node,
            score: scores[node],
            followers: followers[node],
            follows: follows[node],
        })
        .collect();
    found.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.node.cmp(&b.node)));
    found
}
