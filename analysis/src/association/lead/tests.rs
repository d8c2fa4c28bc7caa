#![allow(clippy::unwrap_used, clippy::print_stdout)]

use super::super::made::assert_near;
use super::*;
use crate::Noise;

fn edge(from: usize, to: usize, lag: f64, r: f64, p: f64) -> Edge {
    Edge { from, to, lag, r, p }
}

fn graph(nodes: usize, edges: &[Edge]) -> LeadGraph {
    lead_graph(nodes, edges, &Options::default()).unwrap()
}

/// Two components, and series 8 without an edge.
fn eight() -> Vec<Edge> {
    vec![
        edge(0, 1, 2.0, 0.9, 1e-6),
        edge(1, 2, 3.0, 0.8, 1e-5),
        edge(0, 2, 6.0, 0.6, 0.01),
        edge(3, 2, -1.0, -0.7, 0.02),
        edge(3, 4, 4.0, 0.95, 0.0),
        edge(0, 4, 7.0, 0.3, 0.2),
        edge(5, 6, 0.0, 0.8, 0.0),
        edge(6, 7, 5.0, -0.5, 0.1),
    ]
}

#[test]
fn times_are_those_of_least_squares() {
    let found = graph(9, &eight());
    // numpy: linalg.lstsq of the edges times the roots of r²/(1 − r²)·(1 − p), the first of each component at 0.
    let times = [0.0, 2.05305384, 5.1802795, 5.93568216, 9.91080155, 0.0, 0.0, 5.0];
    for (node, expected) in times.into_iter().enumerate() {
        let place = found.nodes[node].unwrap();
        assert!((place.time - expected).abs() < 1e-7, "{node}: {place:?}");
        assert_eq!(place.component, usize::from(node >= 5));
    }
    assert_eq!(found.nodes[8], None);
    let residuals = [
        -0.0530538418,
        -0.127225654,
        0.819720504,
        -0.244597335,
        0.0248806147,
        -2.91080155,
        0.0,
        0.0,
    ];
    for (placed, expected) in found.edges.iter().zip(residuals) {
        assert!((placed.residual - expected).abs() < 1e-8, "{placed:?}");
    }
    let [first, second] = found.components[..] else { unreachable!() };
    assert_eq!((first.nodes, first.edges, second.nodes, second.edges), (5, 6, 3, 2));
    assert_near(first.off, 0.260757298944287);
    assert_near(first.inconsistent, 0.00556932220495261);
    assert!(second.off < 1e-9 && second.inconsistent < 1e-18, "{second:?}");
    assert!(found.error <= SETTLED, "{}", found.error);
}

#[test]
fn leaders_have_the_rank_that_networkx_gives_them() {
    let found = graph(9, &eight());
    // networkx 3: pagerank of followers to leaders, weights |r|, without 0→2, which follows from 0→1→2, and 5–6, which has no lag.
    let expected = [
        (0, 0.24089973881456983, 2, 0),
        (1, 0.19331484178246294, 1, 1),
        (2, 0.15259814950811806, 1, 1),
        (6, 0.11767186719603925, 1, 0),
        (3, 0.10469615859712465, 1, 1),
    ];
    assert_eq!(found.leaders.len(), expected.len());
    for (leader, (node, score, followers, follows)) in found.leaders.iter().zip(expected) {
        assert_eq!((leader.node, leader.followers, leader.follows), (node, followers, follows));
        assert_near(leader.score, score);
    }
}

#[test]
fn an_edge_that_follows_from_two_stronger_ones_is_marked() {
    let chain = |lag: f64, r: f64, tolerance: f64| {
        let edges =
            [edge(0, 1, 2.0, 0.8, 0.0), edge(1, 2, 3.0, -0.7, 0.0), edge(0, 2, lag, r, 0.0)];
        let found = lead_graph(3, &edges, &Options { tolerance }).unwrap();
        assert_eq!((found.edges[0].through, found.edges[1].through), (None, None));
        found.edges[2].through
    };
    let through = chain(5.0, -0.5, 1.0).unwrap();
    assert_eq!(through.through, 1);
    assert_near(through.expected, -0.56);
    assert!(chain(6.0, -0.5, 1.0).is_some() && chain(4.0, -0.5, 1.0).is_some());
    assert!(chain(7.0, -0.5, 1.0).is_none() && chain(3.0, -0.5, 1.0).is_none());
    assert!(chain(5.0, -0.5, 0.0).is_some() && chain(5.5, -0.5, 0.0).is_none());
    // As strong as the weaker link, stronger, of the wrong sign.
    assert!(chain(5.0, -0.69, 1.0).is_some());
    assert!(chain(5.0, -0.7, 1.0).is_none() && chain(5.0, -0.75, 1.0).is_none());
    assert!(chain(5.0, 0.5, 1.0).is_none() && chain(5.0, 0.0, 1.0).is_none());
}

#[test]
fn edges_that_are_written_the_other_way_round_are_the_same() {
    let plain = graph(9, &eight());
    let turned: Vec<Edge> =
        eight().iter().map(|of| edge(of.to, of.from, -of.lag, of.r, of.p)).collect();
    let turned = graph(9, &turned);
    for (a, b) in plain.edges.iter().zip(&turned.edges) {
        assert!((a.residual + b.residual).abs() < 1e-9);
        assert_eq!(a.through, b.through);
    }
    let leaders = |of: &LeadGraph| of.leaders.iter().map(|of| of.node).collect::<Vec<_>>();
    assert_eq!(leaders(&plain), leaders(&turned));
    assert!(plain.edges[2].through.is_some());
}

#[test]
fn links_without_a_lag_lead_nowhere_and_the_strongest_way_is_named() {
    // 0–1 at once: no chain goes over it.
    let edges = [edge(0, 1, 0.0, 0.9, 0.0), edge(1, 2, 3.0, 0.8, 0.0), edge(0, 2, 3.0, 0.5, 0.0)];
    let found = graph(3, &edges);
    assert_eq!(found.edges[2].through, None);
    assert_eq!(found.leaders.iter().map(|of| of.node).collect::<Vec<_>>(), [1, 0]);
    assert!((found.nodes[1].unwrap().time - found.nodes[0].unwrap().time).abs() < 1e-9);
    // Over 1 the weaker link has 0.6, over 2 0.7.
    let edges = [
        edge(0, 1, 1.0, 0.95, 0.0),
        edge(1, 3, 1.0, 0.6, 0.0),
        edge(0, 2, 1.0, 0.7, 0.0),
        edge(2, 3, 1.0, 0.75, 0.0),
        edge(0, 3, 2.0, 0.5, 0.0),
    ];
    assert_eq!(graph(4, &edges).edges[4].through.unwrap().through, 2);
}

#[test]
fn a_circle_has_no_order() {
    let edges = [0, 1, 2].map(|node| edge(node, (node + 1) % 3, 2.0, 0.8, 0.0));
    let found = graph(3, &edges);
    assert_near(found.components[0].inconsistent, 1.0);
    assert_near(found.components[0].off, 2.0);
    assert!(found.nodes.iter().flatten().all(|place| place.time.abs() < 1e-9));
    assert!(found.edges.iter().all(|of| of.through.is_none() && (of.residual - 2.0).abs() < 1e-9));
    assert!(found.leaders.iter().all(|of| (of.score - 1.0 / 3.0).abs() < 1e-9));
    let together = graph(2, &[edge(0, 1, 0.0, 0.8, 0.0)]);
    assert_eq!((together.components[0].inconsistent, together.leaders.len()), (0.0, 0));
}

#[test]
fn coefficients_at_their_bounds_have_weights() {
    for (r, p, weight) in [
        (1.0, 0.0, 1e4),
        (-1.0, 1.0, 1e-4),
        (0.0, 0.0, 1e-4),
        (0.5, 0.0, 1.0 / 3.0),
        (-0.5, 0.4, 0.2),
        (0.9, 1.0, 1e-4),
    ] {
        assert_near(edge(0, 1, 1.0, r, p).weight(), weight);
    }
    let found = graph(3, &[edge(0, 1, 2.0, 1.0, 1.0), edge(1, 2, 0.0, 0.0, 1.0)]);
    assert!(found.nodes.iter().flatten().all(|place| place.time.is_finite()));
    assert_near(found.nodes[2].unwrap().time, 2.0);
    // What says nothing leads all the same, and gives nothing.
    let found = graph(2, &[edge(0, 1, 2.0, 0.0, 1.0)]);
    assert_near(found.leaders[0].score, 0.5);
}

#[test]
fn what_is_no_graph_is_refused() {
    let good = edge(0, 1, 1.0, 0.5, 0.1);
    let refused = |bad: Edge| lead_graph(3, &[good, bad], &Options::default()).unwrap_err();
    assert_eq!(refused(edge(0, 3, 1.0, 0.5, 0.1)), BadEdges::Node { edge: 1 });
    assert_eq!(refused(edge(3, 0, 1.0, 0.5, 0.1)), BadEdges::Node { edge: 1 });
    assert_eq!(refused(edge(2, 2, 1.0, 0.5, 0.1)), BadEdges::Loop { edge: 1 });
    assert_eq!(refused(edge(0, 1, 1.0, 0.5, 0.1)), BadEdges::Twice { edge: 1 });
    assert_eq!(refused(edge(1, 0, -1.0, 0.5, 0.1)), BadEdges::Twice { edge: 1 });
    for (lag, r, p) in [
        (f64::NAN, 0.5, 0.1),
        (f64::INFINITY, 0.5, 0.1),
        (2e100, 0.5, 0.1),
        (1.0, 1.1, 0.1),
        (1.0, f64::NAN, 0.1),
        (1.0, 0.5, -0.1),
        (1.0, 0.5, f64::NAN),
    ] {
        assert_eq!(refused(edge(1, 2, lag, r, p)), BadEdges::Number { edge: 1 });
    }
    let tolerance = |tolerance| lead_graph(3, &[good], &Options { tolerance });
    assert_eq!(tolerance(-0.1), Err(BadEdges::Tolerance));
    assert_eq!(tolerance(f64::NAN), Err(BadEdges::Tolerance));
    assert!(tolerance(0.0).is_ok());
    let many: Vec<Edge> = (0..=EDGES_MAX).map(|at| edge(at, at + 1, 1.0, 0.5, 0.1)).collect();
    let found = lead_graph(EDGES_MAX + 2, &many, &Options::default());
    assert_eq!(found, Err(BadEdges::TooMany));
    assert_eq!(lead_graph(NODES_MAX + 1, &[good], &Options::default()), Err(BadEdges::TooMany));
    let none = graph(2, &[]);
    assert!(none.components.is_empty() && none.leaders.is_empty() && none.nodes == [None, None]);
}

#[test]
fn a_hundred_thousand_edges_are_settled() {
    let mut noise = Noise::new(20);
    let line: Vec<Edge> = (0..EDGES_MAX).map(|at| edge(at, at + 1, 1.0, 0.5, 0.0)).collect();
    let found = graph(EDGES_MAX + 1, &line);
    assert!(found.error <= SETTLED);
    assert!((found.nodes[EDGES_MAX].unwrap().time - EDGES_MAX as f64).abs() < 1e-3);
    // Each of so many rows and columns with the next: the worst for a tree.
    for (side, error) in [(50, SETTLED), (120, 0.005)] {
        let mut grid = Vec::new();
        for node in 0..side * side {
            let mut lag = |distance: f64| distance + noise.normal();
            if node % side + 1 < side {
                grid.push(edge(node, node + 1, lag(3.0), 0.5, 0.0));
            }
            if node + side < side * side {
                grid.push(edge(node, node + side, lag(5.0), 0.5, 0.0));
            }
        }
        let found = graph(side * side, &grid);
        assert!(found.error <= error, "{side}: {}", found.error);
    }
    // Any two of some, which all have a time of their own.
    let times: Vec<f64> = (0..448).map(|_| 20.0 * noise.uniform()).collect();
    let mut all = Vec::new();
    for to in 0..448 {
        for from in 0..to {
            if all.len() < EDGES_MAX {
                let lag = (times[to] - times[from] + 0.5 * noise.normal()).round();
                all.push(edge(from, to, lag, 0.3 + 0.6 * noise.uniform(), 0.0));
            }
        }
    }
    let found = graph(448, &all);
    assert!(found.error <= SETTLED, "{}", found.error);
    let first = times.iter().copied().fold(f64::INFINITY, f64::min);
    for (node, place) in found.nodes.iter().enumerate().take(440) {
        assert!((place.unwrap().time - (times[node] - first)).abs() < 0.5);
    }
    assert!(found.edges.iter().filter(|of| of.through.is_some()).count() > 50_000);
}

/// Twelve series of a tree: each follows one before it. Pairs of which one is above the other agree at the sum of the lags, by the
/// product of the coefficients, and some others by chance.
#[test]
fn trees_are_found_among_pairs_that_follow_from_them() {
    let (mut first, mut links, mut kept, mut indirect, mut marked, mut off) = (0, 0, 0, 0, 0, 0.0);
    for seed in 0..200 {
        let mut noise = Noise::new(31 * seed);
        let mut parents = [0; 12];
        let (mut times, mut edges) = (vec![0.0; 12], Vec::new());
        for node in 1..12 {
            parents[node] = (noise.uniform() * node as f64) as usize;
            let lag = 1.5 + 6.0 * noise.uniform();
            times[node] = times[parents[node]] + lag;
            let (mut above, mut r, mut is_link) = (node, 1.0, true);
            while above > 0 {
                r *= if is_link { 0.75 + 0.15 * noise.uniform() } else { 0.85 };
                above = parents[above];
                let lag = (times[node] - times[above] + 0.2 * noise.normal()).round();
                edges.push((edge(above, node, lag, r, 1e-6), is_link));
                is_link = false;
            }
        }
        let chance = edge(5, 11, 10.0 * noise.uniform(), 0.2, 0.04);
        if !edges.iter().any(|(of, _)| (of.from, of.to) == (5, 11)) {
            edges.push((chance, false));
        }
        let found = graph(12, &edges.iter().map(|(of, _)| *of).collect::<Vec<_>>());
        first += usize::from(found.leaders[0].node == 0);
        for ((_, is_link), placed) in edges.iter().zip(&found.edges) {
            let (all, right) =
                if *is_link { (&mut links, &mut kept) } else { (&mut indirect, &mut marked) };
            *all += 1;
            *right += usize::from(placed.through.is_some() != *is_link);
        }
        for (time, place) in times.iter().zip(&found.nodes) {
            off = f64::max(off, (place.unwrap().time - time).abs());
        }
    }
    // A root with one child may come after it: it is followed by less.
    assert!(first >= 170 && kept >= links - 5 && marked * 100 >= indirect * 92 && off < 1.5);
    println!(
        "first {first} of 200, links {kept} of {links}, indirect {marked} of {indirect}, off {off}"
    );
}
