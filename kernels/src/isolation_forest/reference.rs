//! The definition on a tree of its own, row by row in f64. Slow and obviously right.
//!
//! The trees are random, so that there is nothing to compare a fit with but its properties; what is checked is that a
//! row's path, counted cut by cut through the rows a tree was grown from, is the path that scoring takes.

use super::{Forest, mean_path};
use crate::element::Element;

/// The score of one row: walks every tree as a pointer would, and looks at one value at a time.
pub(super) fn score<T: Element>(forest: &Forest<T>, row: &[T]) -> f64 {
    if !row.iter().all(|value| value.to_f64().is_finite()) {
        return f64::NAN;
    }
    let lengths: f64 = (0..forest.trees).map(|tree| path(forest, tree, row)).sum();
    match forest.normal {
        0.0 => 0.5,
        normal => 2f64.powf(-lengths / forest.trees as f64 / normal),
    }
}

fn path<T: Element>(forest: &Forest<T>, tree: usize, row: &[T]) -> f64 {
    let tree = forest.tree(tree);
    let mut cut = 0;
    while cut < tree.thresholds.len() {
        let terms = cut * tree.terms..(cut + 1) * tree.terms;
        let sum: f64 = match tree.weights {
            [] => row[tree.columns[cut] as usize].to_f64(),
            weights => tree.columns[terms.clone()]
                .iter()
                .zip(&weights[terms])
                .map(|(&column, weight)| row[column as usize].to_f64() * weight.to_f64())
                .sum(),
        };
        cut = if sum <= tree.thresholds[cut].to_f64() { 2 * cut + 1 } else { 2 * cut + 2 };
    }
    f64::from(tree.leaves[cut - tree.thresholds.len()])
}

/// The mean depth at which `row` is alone when `sample` is cut along random axes, by drawing many cuts: the
/// definition that a forest averages, with no tree kept.
#[cfg_attr(not(test), allow(dead_code))]
pub(super) fn isolation_depth(
    sample: &[Vec<f64>],
    row: &[f64],
    depth: usize,
    draw: &mut dyn FnMut() -> f64,
) -> f64 {
    let mut rows: Vec<&Vec<f64>> = sample.iter().collect();
    for cuts in 0..depth {
        let range = |column: usize| {
            let values = || rows.iter().map(|row| row[column]);
            (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max))
        };
        let varying: Vec<usize> =
            (0..row.len()).filter(|&column| range(column).0 < range(column).1).collect();
        if rows.len() <= 1 || varying.is_empty() {
            return cuts as f64 + mean_path(rows.len());
        }
        let column = varying[(draw() * varying.len() as f64) as usize];
        let (least, largest) = range(column);
        let threshold = least + draw() * (largest - least);
        rows.retain(|other| (other[column] <= threshold) == (row[column] <= threshold));
    }
    depth as f64 + mean_path(rows.len())
}
