//! All of what is said of made rows, held against a file. See [`crate::pinned`].
#![allow(clippy::unwrap_used)]

use super::lead::{Edge, lead_graph};
use super::origin::origin;
use super::partial::partial;
use super::precision::{Shrinkage, given_all};
use super::split::largest_of_splits;
use super::stability::stability;
use super::{lead, origin, pair, stability};
use crate::Noise;
use crate::pinned::Pinned;
use crate::significance::{
    PValues, autocorrelation, effective_samples, of_best, p_value, two_sided,
};
use crate::testing::weighted_sum;

const NAN: f64 = f64::NAN;

/// Noise in which each value keeps `kept` of the one before.
fn wandering(n: usize, kept: f64, seed: u64) -> Vec<f64> {
    let mut noise = Noise::new(seed);
    let mut last = 0.0;
    (0..n)
        .map(|_| {
            last = kept * last + noise.normal();
            last
        })
        .collect()
}

/// `part` of a row, and noise.
fn follows(of: &[f64], part: f64, kept: f64, seed: u64) -> Vec<f64> {
    let noise = wandering(of.len(), kept, seed);
    of.iter().zip(noise).map(|(of, noise)| part * of + noise).collect()
}

/// Without values at some places.
fn with_gaps(mut row: Vec<f64>, every: usize) -> Vec<f64> {
    (every / 2..row.len()).step_by(every).for_each(|at| row[at] = NAN);
    row
}

/// Two rows whose relation is `before` up to a place and `after` from there on.
fn turning(n: usize, at: usize, [before, after]: [f64; 2], kept: f64, seed: u64) -> [Vec<f64>; 2] {
    let x = wandering(n, kept, seed);
    let mut y = follows(&x, before, kept, seed + 1);
    let later = follows(&x, after, kept, seed + 1);
    y[at..].copy_from_slice(&later[at..]);
    [x, y]
}

#[test]
fn pairs_and_what_remains_of_them() {
    let mut pinned = Pinned::default();
    for (seed, n) in [4, 5, 8, 9, 12, 15, 16, 20, 33, 60, 150].into_iter().enumerate() {
        for kept in [0.0, 0.6, 0.95, -0.5] {
            let seed = 10 * seed as u64;
            let z = wandering(n, kept, seed);
            let x = follows(&z, 0.9, kept, seed + 1);
            let y = follows(&z, -0.7, kept / 2.0, seed + 2);
            pinned.line(&format!("pair {n} {kept}"), &pair(&x, &y));
            pinned.line("with gaps", &pair(&with_gaps(x.clone(), 5), &with_gaps(y.clone(), 7)));
            pinned.line("given", &partial(&x, &y, &z));
            pinned.line("given, with gaps", &partial(&x, &y, &with_gaps(z.clone(), 3)));
        }
    }
    let x = wandering(40, 0.3, 7);
    let scaled: Vec<f64> = x.iter().map(|value| 3.0 - 2.0 * value).collect();
    let nearly =
        follows(&scaled, 1.0, 0.0, 8).into_iter().zip(&scaled).map(|(a, b)| b + 1e-7 * (a - b));
    let nearly: Vec<f64> = nearly.collect();
    // What is nearly another row: where it begins to be one.
    let z = wandering(40, 0.3, 9);
    for step in 0..60 {
        let part = 10_f64.powf(-3.0 - f64::from(step) / 20.0);
        let near: Vec<f64> = x.iter().zip(&z).map(|(x, z)| x + part * z).collect();
        let is = |found: bool| if found { "ok" } else { "no" };
        let given = given_all(&[&x, &z, &near], Shrinkage::Fixed(0.0)).is_ok();
        pinned.line(
            "nearly",
            &[is(partial(&x, &z, &near).is_ok()), is(partial(&near, &z, &x).is_ok()), is(given)],
        );
    }
    let mut with_jump = vec![1.0; 40];
    with_jump[17] = 1.0 + 1e-9;
    for (name, y) in [
        ("itself", &x),
        ("turned", &scaled),
        ("nearly", &nearly),
        ("constant", &vec![2.5; 40]),
        ("almost constant", &with_jump),
        ("short", &x[1..].to_vec()),
        ("empty", &vec![NAN; 40]),
        ("infinite", &[&[f64::INFINITY], &x[1..]].concat()),
        ("huge", &x.iter().map(|value| value * 1e200).collect()),
        ("tiny", &x.iter().map(|value| value * 1e-200).collect()),
    ] {
        pinned.line(name, &pair(&x, y));
        pinned.line(&format!("{name}, given"), &partial(&x, y, &wandering(40, 0.3, 9)));
        pinned.line(&format!("given {name}"), &partial(&x, &wandering(40, 0.3, 9), y));
    }
    assert_eq!(pinned.against("association_pairs"), Ok(()));
}

#[test]
fn origins() {
    let mut pinned = Pinned::default();
    for seed in 0..8_u64 {
        let n = 60 + 40 * seed as usize;
        let kept = [0.0, 0.4, 0.8][seed as usize % 3];
        let cause = wandering(n, kept, 100 + seed);
        let x = follows(&cause, 2.0, kept, 200 + seed);
        let y = follows(&cause, -2.0, kept, 300 + seed);
        let own = follows(&x, 1.5, kept, 400 + seed);
        let other = wandering(n, kept, 500 + seed);
        let alike = follows(&x, 9.0, kept, 600 + seed);
        let half = with_gaps(cause.clone(), 2);
        let copy: Vec<f64> = x.iter().map(|value| 2.0 * value + 1.0).collect();
        let options = origin::Options::default();
        let mut say = |name: &str, x: &[f64], y: &[f64], of: &[&[f64]]| {
            pinned.line(&format!("{name} {seed}"), &origin(x, y, of, &options));
        };
        say("common", &x, &y, &[&other, &cause, &half]);
        say("direct", &x, &own, &[&other, &cause, &y]);
        say("alike", &x, &own, &[&other, &alike]);
        say("alike alone", &x, &own, &[&alike]);
        say("copy", &x, &own, &[&other, &copy, &alike]);
        say("copy alone", &x, &own, &[&copy, &copy]);
        say("nobody", &x, &own, &[]);
        say("unrelated", &x, &other, &[&cause, &alike]);
        say("unrelated to its like", &x, &other, &[&alike]);
        say("weak", &x, &y, &[&follows(&cause, 0.6, kept, 700 + seed)]);
        say("with few", &x, &y, &[&with_gaps(vec![NAN; n], 3), &half]);
        say("constant", &x, &y, &[&vec![1.0; n], &cause]);
        say("of another length", &x, &y, &[&cause[1..]]);
        let strict = origin::Options { p_max: 1e-9, remaining: 0.9, alike: 0.6, shared: 0.8 };
        pinned.line("strict", &origin(&x, &y, &[&other, &cause, &half], &strict));
        let lax = origin::Options { p_max: 0.5, remaining: 0.1, alike: 1.0, shared: 0.5 };
        pinned.line("lax", &origin(&x, &own, &[&other, &half, &y], &lax));
        // What remains has the other sign.
        let mix = x.iter().zip(&cause).zip(&other);
        let turned: Vec<f64> = mix.map(|((x, cause), other)| 4.0 * cause - x + other).collect();
        pinned.line("turned", &origin(&x, &turned, &[&cause], &options));
    }
    // Limits that are exactly what is found, and the next number on either side.
    let cause = wandering(120, 0.3, 41);
    let (x, y) = (follows(&cause, 2.0, 0.3, 42), follows(&cause, -2.0, 0.3, 43));
    let usual = origin::Options::default();
    let found = origin(&x, &y, &[&cause], &usual).unwrap();
    let third = found.third.and_then(|third| third.partial).unwrap();
    let like = third.with_x.abs().max(third.with_y.abs());
    for alike in [like.next_down(), like, like.next_up()] {
        let options = origin::Options { alike, ..usual };
        pinned.line("as alike", &origin(&x, &y, &[&cause], &options).map(|of| of.verdict));
    }
    for p_max in [found.pair.p.next_down(), found.pair.p, found.pair.p.next_up()] {
        let options = origin::Options { p_max, ..usual };
        pinned.line("as likely", &origin(&x, &y, &[&cause], &options).map(|of| of.verdict));
    }
    for shared in [0.5_f64.next_down(), 0.5, 0.5_f64.next_up()] {
        let options = origin::Options { shared, ..usual };
        let half = with_gaps(cause.clone(), 2);
        pinned
            .line("as many", &origin(&x, &y, &[&half], &options).map(|of| (of.asked, of.left_out)));
    }
    let rest = third.rest;
    for limit in [rest.high, -rest.low, rest.low].map(|of| of.abs() / third.whole.abs()) {
        for remaining in [limit - 1e-9, limit + 1e-9] {
            let options = origin::Options { remaining, ..usual };
            pinned.line("as much", &origin::verdict(&third, &options));
        }
    }
    assert_eq!(pinned.against("association_origins"), Ok(()));
}

#[test]
fn all_given_all_others() {
    let mut pinned = Pinned::default();
    for (seed, (n, m)) in
        [(8, 2), (9, 3), (12, 5), (20, 24), (40, 4), (61, 6), (100, 3)].into_iter().enumerate()
    {
        let seed = 1_000 + 100 * seed as u64;
        let cause = wandering(n, 0.5, seed);
        let part = |at: usize| [1.0, -0.6, 0.2, 0.0][at % 4];
        let rows: Vec<Vec<f64>> = (0..m)
            .map(|at| follows(&cause, part(at), 0.3 * (at % 3) as f64, seed + 1 + at as u64))
            .collect();
        let rows: Vec<&[f64]> = rows.iter().map(Vec::as_slice).collect();
        for shrinkage in [
            Shrinkage::Estimated,
            Shrinkage::Fixed(0.0),
            Shrinkage::Fixed(0.3),
            Shrinkage::Fixed(1.0),
            Shrinkage::Fixed(1.5),
        ] {
            let found = given_all(&rows, shrinkage).map(|found| {
                let all = (0..m.min(4)).flat_map(|a| (0..=m).map(move |b| (a, b)));
                let all: Vec<_> = all.map(|(a, b)| found.get(a, b)).collect();
                (found.series, found.samples, found.shrinkage, all)
            });
            pinned.line(&format!("{m} rows of {n}, {shrinkage:?}"), &found);
        }
    }
    let x = wandering(30, 0.5, 1);
    let y = wandering(30, 0.5, 2);
    let sum: Vec<f64> = x.iter().zip(&y).map(|(x, y)| x + y).collect();
    let nearly: Vec<f64> =
        sum.iter().zip(wandering(30, 0.0, 3)).map(|(sum, noise)| sum + 1e-3 * noise).collect();
    let copy: Vec<f64> = x.iter().map(|x| 1.0 - x).collect();
    for (name, rows) in [
        ("one", vec![&x]),
        ("sum", vec![&x, &y, &sum]),
        ("nearly", vec![&x, &y, &nearly]),
        ("copy", vec![&x, &y, &copy]),
        ("too many", vec![&x; 65]),
        ("none", vec![]),
    ] {
        let rows: Vec<&[f64]> = rows.into_iter().map(|row| &row[..]).collect();
        let found = given_all(&rows, Shrinkage::Estimated);
        pinned.line(name, &found.map(|found| (found.shrinkage, found.get(0, 1), found.get(1, 2))));
    }
    assert_eq!(pinned.against("association_given_all"), Ok(()));
}

#[test]
fn courses() {
    let mut pinned = Pinned::default();
    let usual = stability::Options::default();
    for (seed, (n, at, parts, kept)) in [
        (31, 16, [1.0, 1.0], 0.0),
        (32, 16, [1.0, 1.0], 0.0),
        (40, 20, [2.0, -2.0], 0.2),
        (96, 48, [1.0, 1.0], 0.0),
        (120, 72, [1.5, 0.0], 0.0),
        (120, 40, [0.0, 1.5], 0.5),
        (200, 150, [1.0, -1.0], 0.3),
        (200, 30, [3.0, 0.5], 0.0),
        (300, 100, [0.4, 2.5], 0.6),
        (300, 10, [0.0, 1.0], 0.0),
        (500, 250, [0.6, 0.6], 0.9),
        (100, 50, [1.0, 1.0], 0.99),
    ]
    .into_iter()
    .enumerate()
    {
        let [x, y] = turning(n, at, parts, kept, 2_000 + 10 * seed as u64);
        let found = stability(&x, &y, &usual);
        pinned.line(&format!("{n} {at} {parts:?} {kept}"), &found);
        if let Ok(Some(split)) = found.map(|found| found.split) {
            pinned.line("turn", &[0.05, 1e-3, 1e-12].map(|p_max| split.turn(p_max)));
        }
        let y = with_gaps(y, 9);
        let many = stability::Options { blocks: 99, p_max: 0.05 };
        pinned.line(
            "in many blocks",
            &stability(&x, &y, &many).map(|of| (of.between, of.blocks.len(), of.course, of.p)),
        );
        let few = stability::Options { blocks: 1, p_max: 1e-6 };
        pinned
            .line("in few", &stability(&x, &y, &few).map(|of| (of.between, of.blocks, of.course)));
    }
    // It goes to and fro, and a row that stands still for a while.
    for seed in 0..4 {
        let x = wandering(240, 0.2, 3_000 + seed);
        let part = |at: usize| if (at / 60).is_multiple_of(2) { 2.0 } else { -2.0 };
        let noise = wandering(240, 0.0, 3_100 + seed);
        let mut y: Vec<f64> = (0..240).map(|at| part(at) * x[at] + noise[at]).collect();
        pinned.line("to and fro", &stability(&x, &y, &usual));
        y[40..40 + 30 * seed as usize].fill(1.0);
        pinned.line("still", &stability(&x, &y, &usual));
        y[..200].fill(3.0);
        pinned.line("mostly still", &stability(&x, &y, &usual));
        pinned.line("mostly still, the other way round", &stability(&y, &x, &usual));
    }
    let [x, y] = turning(200, 90, [1.2, -0.3], 0.2, 3_300);
    let found = stability(&x, &y, &usual).unwrap();
    let split = found.split.unwrap();
    let limits = [found.p, 2.0 * split.p, 2.0 * found.between.p, split.before.p, split.after.p];
    for p_max in limits.into_iter().flat_map(|p| [p.next_down(), p, p.next_up()]) {
        let options = stability::Options { p_max, ..usual };
        let found = stability(&x, &y, &options).unwrap();
        pinned.line("as likely", &(found.course, found.significant, split.turn(p_max)));
    }
    let splits: Vec<f64> = [0.0, 0.5, 1.0, 2.0, 3.0, 6.0, 50.0, NAN, f64::INFINITY]
        .into_iter()
        .flat_map(|x| [0.0, 0.05, 0.15, 0.4, 0.5, 0.7, NAN].map(|side| largest_of_splits(x, side)))
        .collect();
    pinned.line("largest of splits", &splits);
    assert_eq!(pinned.against("association_courses"), Ok(()));
}

#[test]
fn who_leads() {
    let mut pinned = Pinned::default();
    let mut noise = Noise::new(4_000);
    let edge = |from, to, lag, r, p| Edge { from, to, lag, r, p };
    let mut say = |name: &str, nodes: usize, edges: &[Edge], tolerance: f64| {
        pinned.line(name, &lead_graph(nodes, edges, &lead::Options { tolerance }));
    };
    say("none", 3, &[], 1.0);
    say("one", 4, &[edge(1, 3, 2.0, 0.8, 0.01)], 1.0);
    say("backwards", 4, &[edge(1, 3, -2.0, -0.8, 0.01)], 1.0);
    say("at once", 3, &[edge(0, 1, 0.0, 0.9, 0.0), edge(1, 2, 0.0, -0.7, 1e-9)], 1.0);
    say("at once and later", 3, &[edge(0, 1, 0.0, 0.9, 0.0), edge(1, 2, 3.0, 0.7, 0.5)], 1.0);
    let chain = |last: f64, r: f64| {
        [edge(0, 1, 2.0, 0.9, 0.0), edge(1, 2, 3.0, 0.8, 0.0), edge(0, 2, last, r, 0.0)]
    };
    for (last, r) in [
        (5.0, 0.7),
        (6.0, 0.7),
        (6.5, 0.7),
        (4.0, 0.7),
        (3.5, 0.7),
        (5.0, 0.8),
        (5.0, 0.85),
        (5.0, -0.7),
        (-5.0, 0.7),
    ] {
        say(&format!("chain {last} {r}"), 3, &chain(last, r), 1.0);
        say(&format!("chain {last} {r}, strictly"), 3, &chain(last, r), 0.0);
    }
    say(
        "sure",
        3,
        &[edge(0, 1, 1.0, 1.0, 0.0), edge(1, 2, 1.0, -1.0, 1.0), edge(0, 2, 3.0, 0.0, 0.0)],
        1.0,
    );
    say(
        "circle",
        3,
        &[edge(0, 1, 2.0, 0.9, 0.0), edge(1, 2, 2.0, 0.9, 0.0), edge(2, 0, 2.0, 0.9, 0.0)],
        1.0,
    );
    say(
        "unequal circle",
        4,
        &[
            edge(0, 1, 2.0, 0.9, 0.0),
            edge(1, 2, 5.0, 0.5, 0.1),
            edge(2, 3, 1.0, -0.3, 0.3),
            edge(3, 0, 2.0, 0.7, 0.0),
        ],
        1.0,
    );
    for round in 0..12 {
        let nodes = 3 + round;
        let places: Vec<f64> = (0..nodes).map(|_| (9.0 * noise.uniform()).floor()).collect();
        let mut edges = Vec::new();
        for to in 0..nodes {
            for from in 0..to {
                if noise.uniform() < 0.5 {
                    let off = (noise.uniform() * 3.0).floor() - 1.0;
                    let r = 1.9 * noise.uniform() - 0.95;
                    edges.push(edge(
                        from,
                        to,
                        places[to] - places[from] + off,
                        r,
                        0.2 * noise.uniform(),
                    ));
                }
            }
        }
        say(&format!("drawn {round}"), nodes + 1, &edges, [1.0, 0.0, 2.5][round % 3]);
    }
    let one = edge(0, 1, 1.0, 0.5, 0.5);
    say("a node too many", 1, &[one], 1.0);
    say("a loop", 2, &[edge(1, 1, 1.0, 0.5, 0.5)], 1.0);
    say("twice", 2, &[one, edge(1, 0, 4.0, 0.5, 0.5)], 1.0);
    for bad in [
        edge(0, 1, NAN, 0.5, 0.5),
        edge(0, 1, 1e300, 0.5, 0.5),
        edge(0, 1, 1.0, 1.1, 0.5),
        edge(0, 1, 1.0, 0.5, -0.1),
        edge(0, 1, 1.0, -1.0, 1.0),
    ] {
        say("a number", 2, &[bad], 1.0);
    }
    say("a tolerance", 2, &[one], -1.0);
    say("too many", lead::NODES_MAX + 1, &[one], 1.0);
    assert_eq!(pinned.against("association_leads"), Ok(()));
}

#[test]
fn chances() {
    let mut pinned = Pinned::default();
    for n in [0, 1, 4, 5, 9, 10, 30, 600] {
        for kept in [0.0, 0.7] {
            let row = wandering(n, kept, 5_000 + n as u64);
            let found = autocorrelation(&row);
            let other = autocorrelation(&wandering(n, 0.9, 5_100 + n as u64));
            let sum = weighted_sum(found.iter().copied());
            pinned.line(
                &format!("repetition {n} {kept}"),
                &(found.len(), found.iter().take(4).collect::<Vec<_>>(), sum),
            );
            pinned.line("worth", &effective_samples(n, &found, &other));
            pinned.line(
                "worth of a few",
                &[1, 2, 3, 4, 50].map(|n| effective_samples(n, &found, &found)),
            );
        }
    }
    pinned.line("constant", &autocorrelation(&[2.0; 20]));
    for samples in [2.0, 2.9, 3.0, 3.5, 10.0, 200.0] {
        let of =
            [0.0, 0.1, -0.1, 0.5, -0.9, 0.999, 1.0, -1.0, 1.5, NAN].map(|r| p_value(r, samples));
        pinned.line(&format!("p of {samples}"), &of);
    }
    for lags in [1, 2, 49] {
        pinned.line("best", &[0.0, 1e-20, 1e-3, 0.5, 1.0].map(|p| of_best(p, lags)));
    }
    pinned.line("two sided", &[0.0, 1.0, -1.96, 3.0, 40.0, NAN].map(two_sided));
    let p = [0.0, -1.0, 1e-310, 1e-300, 1.5e-300, 1e-8, 0.01, 0.0101, 0.5, 1.0, 3.0];
    pinned.line("bins", &p.map(PValues::bin));
    let mut all = PValues::none();
    pinned.line("counts", &PValues::counts(vec![7, 3, 7, 7, 29_000, 3]));
    for (bin, count) in [(3, 1), (29_000, 4), (29_500, 2), (30_000, 3)] {
        all.add(bin, count);
    }
    let mut more = all.clone();
    more.add_all(&all);
    more.add(28_000, 5);
    for of in [&all, &more, &PValues::none()] {
        let q = of.q_values();
        let at =
            [0, 3, 4, 28_000, 28_001, 29_000, 29_001, 29_500, 29_999, 30_000].map(|bin| q[bin]);
        pinned.line("q", &(of.tested(), q.len(), at));
    }
    assert_eq!(pinned.against("significance"), Ok(()));
}
