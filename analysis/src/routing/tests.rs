//! Made worlds whose best policy is known.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::Write as _;

use super::*;
use crate::noise::Noise;

const ASKED: Asked = Asked { loss_max: 0.01, saving_min: 0.01, alpha: 0.05, calls_min: 50 };
const KINDS: usize = 2;
const LENGTHS: usize = 2;
const MODELS: usize = 4;
const STRETCHES: usize = 200;
/// Calls of a stretch.
const CALLS: f64 = 4_000.0;
/// What each model costs for each class of length.
const COSTS: [[f64; LENGTHS]; MODELS] = [[10.0, 40.0], [4.0, 16.0], [2.0, 8.0], [0.5, 2.0]];

/// What is so in a world.
struct World {
    table: Table,
    /// By cell and model.
    quality: Vec<[f64; MODELS]>,
    shares: Vec<[f64; MODELS]>,
    of_cells: Vec<f64>,
}

/// How good a model is at a kind and a class of length.
type Good = fn(usize, usize, usize) -> f64;

/// The cheapest is as good at the first kind, and far worse at the second, where the third is as good for what is short.
fn with_optimum(kind: usize, length: usize, model: usize) -> f64 {
    match (kind, length, model) {
        (0, _, _) | (1, 0, 0..=2) | (1, 1, 0) => 0.95,
        _ => 0.60,
    }
}

/// Whoever costs less is so much worse that no kind and length can go there.
fn without_optimum(_: usize, _: usize, model: usize) -> f64 {
    [0.95, 0.70, 0.65, 0.60][model]
}

fn world(seed: u64, good: Good) -> World {
    let mut noise = Noise::new(seed);
    let mut cells = Vec::new();
    for kind in 0..KINDS {
        for length in 0..LENGTHS {
            cells.push(Cell { kind, length });
        }
    }
    let quality: Vec<[f64; MODELS]> = cells
        .iter()
        .map(|cell| std::array::from_fn(|model| good(cell.kind, cell.length, model)))
        .collect();
    // Nearly all go to the best; which others are taken goes by the kind and the length.
    let shares: Vec<[f64; MODELS]> = cells
        .iter()
        .map(|_| {
            let of: [f64; MODELS] = std::array::from_fn(|model| {
                0.2 + noise.uniform() + if model == 0 { 20.0 } else { 0.0 }
            });
            let sum: f64 = of.iter().sum();
            of.map(|of| of / sum)
        })
        .collect();
    let of_cells: Vec<f64> = cells.iter().map(|_| 0.2 + noise.uniform()).collect();
    let sum: f64 = of_cells.iter().sum();
    let of_cells: Vec<f64> = of_cells.iter().map(|of| of / sum).collect();
    let mut seen: BTreeMap<(usize, Cell, usize), (Seen, Seen)> = BTreeMap::new();
    for stretch in 0..STRETCHES {
        // What happens at one time happens to many requests.
        let shock: [f64; MODELS] = std::array::from_fn(|_| 0.01 * noise.normal());
        let load = (0.3 * noise.normal()).exp();
        for (place, cell) in cells.iter().enumerate() {
            for (model, costs) in COSTS.iter().enumerate() {
                let mean = CALLS * load * of_cells[place] * shares[place][model];
                let count = (mean + mean.sqrt() * noise.normal()).round().max(0.0) as u64;
                let mut of = Seen { calls: count, judged: count, ..Seen::default() };
                for _ in 0..count {
                    of.cost += costs[cell.length] * (0.5 + noise.uniform());
                    of.quality +=
                        f64::from(u8::from(noise.uniform() < quality[place][model] + shock[model]));
                }
                seen.insert((stretch, *cell, model), (of, of));
            }
        }
    }
    World { table: Table::new(&seen), quality, shares, of_cells }
}

impl World {
    /// Cost and quality of a request by a policy.
    fn truth(&self, models: &[Option<usize>]) -> Values {
        let mut sum = Values { cost: 0.0, quality: 0.0 };
        for (place, cell) in self.table.cells().iter().enumerate() {
            for (model, costs) in COSTS.iter().enumerate() {
                let share = match models.get(place).copied().flatten() {
                    Some(chosen) => f64::from(u8::from(chosen == model)),
                    None => self.shares[place][model],
                };
                sum.cost += self.of_cells[place] * share * costs[cell.length];
                sum.quality += self.of_cells[place] * share * self.quality[place][model];
            }
        }
        sum
    }

    fn tried(&self) -> Trials {
        let middle = self.table.split(0.5);
        let policies = learn(&self.table, middle, &ASKED);
        let later = middle..self.table.stretches();
        try_out(&self.table, 0..middle, later, policies, &ASKED).unwrap()
    }
}

fn worlds() -> u64 {
    let asked = std::env::var("COLONNADE_WORLDS").ok().and_then(|of| of.parse().ok());
    asked.unwrap_or(25)
}

#[test]
fn the_best_policy_is_found_and_intervals_hold_the_truth() {
    let worlds = worlds();
    // Cells in order: first kind short and long, second kind short and long.
    let best = [Some(3), Some(3), Some(2), None];
    let (mut found, mut savings, mut losses) = (0, 0, 0);
    for seed in 0..worlds {
        let world = world(seed, with_optimum);
        let trials = world.tried();
        // Where none is sure, another one's intervals are held against what is true.
        let tried = &trials.tried[trials.recommended.unwrap_or(trials.tried.len() - 1)];
        found += u64::from(trials.recommended.is_some() && tried.policy.models == best);
        let (base, truth) = (world.truth(&[]), world.truth(&tried.policy.models));
        let holds = |of: Interval, truth: f64| u64::from(of.lower <= truth && truth <= of.upper);
        savings += holds(tried.saving, truth.saving(base));
        losses += holds(tried.loss, truth.loss(base));
        if trials.recommended.is_some() {
            assert!(truth.loss(base) <= ASKED.loss_max, "world {seed}: {}", truth.loss(base));
        }
    }
    let told = format!("of {worlds}: best {found}, saving {savings}, loss {losses}");
    assert!(found * 100 >= worlds * 90, "{told}");
    assert!(savings * 100 >= worlds * 90 && losses * 100 >= worlds * 90, "{told}");
    let _ = writeln!(std::io::stderr(), "{told}");
}

#[test]
fn where_nothing_can_be_saved_nothing_is_recommended() {
    let worlds = worlds();
    let mut recommended = 0;
    for seed in 0..worlds {
        let trials = world(1_000 + seed, without_optimum).tried();
        assert!(trials.tried.iter().any(|of| of.saving.value > 0.3), "dear ones can be left out");
        recommended += u64::from(trials.recommended.is_some());
    }
    let _ = writeln!(std::io::stderr(), "of {worlds} without: recommended {recommended}");
    assert!(recommended * 100 <= worlds * 5, "{recommended} of {worlds}");
}

/// Two cells and two models by hand.
#[test]
fn estimates_are_the_means_of_cells() {
    let of = |calls: u64, cost: f64, quality: f64| {
        let seen = Seen { calls, cost, judged: calls, quality };
        (seen, seen)
    };
    let mut seen = BTreeMap::new();
    for stretch in 0..40 {
        let (short, long) = (Cell { kind: 0, length: 0 }, Cell { kind: 0, length: 1 });
        seen.insert((stretch, short, 0), of(10, 100.0, 9.0));
        seen.insert((stretch, short, 1), of(30, 30.0, 27.0));
        seen.insert((stretch, long, 0), of(20, 800.0, 20.0));
        // Tried beside what was answered.
        let (tried, _) = of(20, 80.0, 10.0);
        seen.insert((stretch, long, 1), (tried, Seen::default()));
    }
    let table = Table::new(&seen);
    assert_eq!(table.split(0.5), 20);
    let asked = Asked { calls_min: 10, loss_max: 0.05, ..ASKED };
    let policies = learn(&table, 20, &asked);
    let trials = try_out(&table, 0..20, 20..40, policies, &asked).unwrap();
    assert_eq!(trials.requests, 60 * 20);
    let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} is not {b}");
    near(trials.cost, (100.0 + 30.0 + 800.0) / 60.0);
    near(trials.quality, 56.0 / 60.0);
    let of = |models: [Option<usize>; 2]| {
        trials.tried.iter().find(|of| of.policy.models == models).unwrap()
    };
    // Short ones cost 1 in the mean and are as good; long ones cost 4, and half of them are good.
    let second = of([Some(1), Some(1)]);
    near(second.cost, (40.0 * 1.0 + 20.0 * 4.0) / 60.0);
    near(second.quality, (40.0 * 0.9 + 20.0 * 0.5) / 60.0);
    assert!(!second.is_sure && second.is_on_frontier, "dearest saving, much worse");
    let by_length = of([Some(1), None]);
    near(by_length.saving.value, 1.0 - (40.0 + 800.0) / 930.0);
    near(by_length.loss.value, 0.0);
    assert_eq!(
        trials.recommended.map(|at| &trials.tried[at].policy.models[..]),
        Some(&[Some(1), None][..])
    );
    assert_eq!(by_length.routed, 40 * 20);
    let first = of([Some(0), Some(0)]);
    assert!(!first.is_on_frontier && first.saving.value < 0.0, "the same quality for more");
}

#[test]
fn of_too_little_nothing_is_said() {
    let few = Seen { calls: 5, cost: 5.0, judged: 5, quality: 5.0 };
    let cell = Cell { kind: 0, length: 0 };
    let table = |stretches: usize, of: Seen| {
        Table::new(&(0..stretches).map(|at| ((at, cell, 0), (of, of))).collect())
    };
    let tried = |table: &Table, from: usize| {
        let policy = Policy { way: Way::One(0), models: vec![Some(0)] };
        try_out(table, 0..from, from..table.stretches(), vec![policy], &ASKED)
    };
    assert!(tried(&table(39, few), 20).is_none(), "19 stretches");
    assert!(tried(&table(40, few), 20).is_some(), "20 stretches");
    assert!(tried(&table(40, Seen { judged: 0, ..few }), 20).is_none(), "nothing was judged");
    assert!(tried(&table(40, Seen { cost: 0.0, ..few }), 20).is_none(), "nothing cost something");
    let trials = try_out(&table(40, few), 0..20, 20..40, Vec::new(), &ASKED).unwrap();
    assert!(trials.recommended.is_none());
    assert!(learn(&Table::default(), 0, &ASKED).is_empty());
}

/// A cheap model of which little is known, and which is a little worse than it may be.
#[test]
fn what_is_known_of_few_answers_is_not_sure() {
    let (mut sure, mut worlds) = (0, 0);
    for seed in 0..400 {
        let mut noise = Noise::new(7_000 + seed);
        let (judged, quality) =
            [(50, 0.98), (100, 0.98), (100, 0.985), (300, 0.985)][seed as usize % 4];
        let cell = Cell { kind: 0, length: 0 };
        let mut seen = BTreeMap::new();
        for stretch in 0..200 {
            let dear = Seen { calls: 30, cost: 300.0, judged: 30, quality: 30.0 };
            seen.insert((stretch, cell, 0), (dear, dear));
        }
        for call in 0..2 * judged {
            let at = (call * 200 / (2 * judged), cell, 1);
            let good = f64::from(u8::from(noise.uniform() < quality));
            let of = Seen { calls: 1, cost: 1.0, judged: 1, quality: good };
            seen.entry(at).or_insert((Seen::default(), Seen::default())).0.add(&of);
        }
        let table = Table::new(&seen);
        let policy = Policy { way: Way::One(1), models: vec![Some(1)] };
        let trials = try_out(&table, 0..100, 100..200, vec![policy], &ASKED).unwrap();
        assert!(trials.tried[0].routed > 0 && trials.tried[0].saving.value > 0.8);
        assert!(judged > 100 || trials.tried[0].loss.upper > 0.01, "{:?}", trials.tried[0].loss);
        sure += usize::from(trials.tried[0].is_sure);
        worlds += 1;
    }
    assert!(sure * 20 <= worlds, "{sure} of {worlds}");
}

#[test]
fn what_was_judged_at_one_time_or_not_at_all_is_not_known() {
    let cell = Cell { kind: 0, length: 0 };
    let of = |judged: u64| Seen { calls: 30, cost: 30.0, judged, quality: judged as f64 };
    let routed = |dear: fn(usize) -> u64, cheap: fn(usize) -> u64| {
        let mut seen = BTreeMap::new();
        for stretch in 0..100 {
            seen.insert((stretch, cell, 0), (of(dear(stretch)), of(dear(stretch))));
            seen.insert((stretch, cell, 1), (of(cheap(stretch)), Seen::default()));
        }
        let policy = Policy { way: Way::One(1), models: vec![Some(1)] };
        let table = Table::new(&seen);
        try_out(&table, 0..50, 50..100, vec![policy], &ASKED).unwrap().tried[0].routed
    };
    assert_eq!(routed(|_| 30, |_| 30), 1_500);
    // The cheap one in 20 and in 19 of the later stretches.
    assert_eq!(routed(|_| 30, |at| if at < 70 { 30 } else { 0 }), 1_500);
    assert_eq!(routed(|_| 30, |at| if at < 69 { 30 } else { 0 }), 0);
    // What was done, too; and 50 answers of each.
    assert_eq!(routed(|at| if at < 69 { 30 } else { 0 }, |_| 30), 0);
    assert_eq!(routed(|_| 1, |_| 30), 1_500);
    assert_eq!(routed(|at| u64::from(at < 99), |_| 30), 0);
}
