//! Components beside a search.

#![allow(clippy::unwrap_used)]

use rand::Rng;
use rand::seq::SliceRandom;

use super::*;
use crate::testing::generator;

/// The smallest node that can be reached, by going everywhere.
fn searched(nodes: usize, pairs: &[(u32, u32)]) -> Vec<u32> {
    let mut neighbours = vec![Vec::new(); nodes];
    for &(a, b) in pairs {
        neighbours[a as usize].push(b);
        neighbours[b as usize].push(a);
    }
    let mut labels = vec![u32::MAX; nodes];
    for start in 0..nodes as u32 {
        let mut open = vec![start];
        while let Some(node) = open.pop() {
            if labels[node as usize] == u32::MAX {
                labels[node as usize] = start;
                open.extend(&neighbours[node as usize]);
            }
        }
    }
    labels
}

fn wide(pairs: &[(u32, u32)]) -> Vec<(u64, u64)> {
    pairs.iter().map(|&(a, b)| (a.into(), b.into())).collect()
}

#[test]
fn labels_are_those_of_a_search_in_whatever_order_the_pairs_come() {
    let mut rng = generator("components::labels");
    for (nodes, count) in [(0, 0), (1, 0), (1, 3), (2, 1), (97, 40), (97, 300), (5000, 4000)] {
        let mut pairs: Vec<(u32, u32)> = (0..count)
            .map(|_| (rng.random_range(0..nodes as u32), rng.random_range(0..nodes as u32)))
            .collect();
        let expected = searched(nodes, &pairs);
        for _ in 0..3 {
            pairs.shuffle(&mut rng);
            let mut whole = Components::<u32>::new(nodes).unwrap();
            whole.add(&pairs).unwrap();
            let mut batches = Components::<u64>::new(0).unwrap();
            batches.grow(nodes).unwrap();
            let fewer: usize =
                wide(&pairs).chunks(7).map(|batch| batches.add(batch).unwrap()).sum();
            for node in 0..nodes as u32 {
                assert_eq!(whole.label(node), Some(expected[node as usize]));
            }
            assert_eq!(whole.label(nodes as u32), None);
            assert_eq!(whole.labels(), expected);
            let labels: Vec<u64> = expected.iter().map(|&label| label.into()).collect();
            assert_eq!(batches.labels(), labels);
            let roots = (0..nodes).filter(|&node| expected[node] as usize == node).count();
            assert_eq!((whole.count(), batches.count(), nodes - fewer), (roots, roots, roots));
            let size = |label: u32| expected.iter().filter(|&&other| other == label).count();
            assert_eq!(whole.sizes().len(), roots);
            assert!(whole.sizes().iter().all(|&(label, count)| count == size(label)));
        }
    }
}

#[test]
fn two_halves_merged_are_the_whole() {
    let mut rng = generator("components::merge");
    let nodes = 700;
    let pairs: Vec<(u32, u32)> =
        (0..600).map(|_| (rng.random_range(0..nodes), rng.random_range(0..nodes))).collect();
    let of = |pairs: &[(u32, u32)]| {
        let mut components = Components::<u32>::new(nodes as usize).unwrap();
        components.add(pairs).unwrap();
        components
    };
    let mut whole = of(&pairs);
    let mut left = of(&pairs[..250]);
    let before = left.count();
    let fewer = left.merge(&of(&pairs[250..])).unwrap();
    assert_eq!((before - fewer, left.labels()), (whole.count(), whole.labels()));
    // One that saw fewer nodes joins one that saw more, and not the other way round.
    let small = Components::<u32>::new(3).unwrap();
    assert_eq!(left.merge(&small).unwrap(), 0);
    let error = small.clone().merge(&left).unwrap_err();
    assert_eq!(
        error.to_string(),
        "components: components of 700 nodes into those of 3; at least as many are needed"
    );
}

#[test]
fn a_long_chain_in_the_worst_order_is_one_component() {
    let nodes = 200_000u32;
    for backwards in [false, true] {
        let mut pairs: Vec<(u32, u32)> = (1..nodes).map(|node| (node - 1, node)).collect();
        if backwards {
            pairs.reverse();
        }
        let mut components = Components::<u32>::new(nodes as usize).unwrap();
        assert_eq!(components.add(&pairs).unwrap(), nodes as usize - 1);
        assert_eq!(components.sizes(), [(0, nodes as usize)]);
    }
}

#[test]
fn a_node_that_is_not_there_is_named_and_nothing_is_added() {
    let mut components = Components::<u64>::new(10).unwrap();
    let error = components.add(&[(1, 2), (0, 9), (3, u64::MAX)]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "components: pair 2 is (3, 18446744073709551615); ids below 10 are needed"
    );
    assert_eq!(components.count(), 10);
    let error = Components::<u32>::new((1 << 32) + 1).unwrap_err();
    assert_eq!(error.to_string(), "components: nodes is 4294967297; ids of 32 bits number fewer");
    assert!(matches!(Components::<u64>::new(usize::MAX / 16), Err(Error::OutOfMemory { .. })));
}

#[test]
fn similar_pairs_join_their_rows() {
    let mut components = Components::<u32>::new(4).unwrap();
    let pair = |first, second| SimilarPair { first, second, jaccard: 1.0 };
    components.take(&[pair(0, 3), pair(1, 2)]).unwrap();
    assert_eq!(components.labels(), [0, 1, 1, 0]);
    let error = components.take(&[pair(1, 4)]).unwrap_err();
    assert_eq!(error.to_string(), "components: a pair of rows 1 and 4; rows below 4 are needed");
}
