//! Policies that are learned from what was.

use std::collections::BTreeMap;

use super::sums::{Values, Weighted};
use super::{Asked, Policy, Table, Way};
use crate::noise::Noise;

/// Times that stretches are drawn to see how sure a model's quality is.
const DRAWS: usize = 200;
const SEED: u64 = 0x006c_6561_726e;
/// How sure it is that a chosen model is not worse by more than it may be: the part of the draws that may say otherwise.
const DOUBT: f64 = 0.05;
/// What a policy may lose, in parts of what is asked.
const LOSSES: [f64; 3] = [1.0, 2.0, 5.0];
/// Models that are tried for all requests, at most.
const ONE_MAX: usize = 20;

/// For which requests one model is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// For all.
    All,
    /// For those of a kind.
    Kind,
    /// For those of a class of length.
    Length,
    /// For those of a kind and a class of length.
    KindAndLength,
}

/// The policies that stretches before `end` of a table suggest, the simplest first. No two of them do the same.
pub fn learn(table: &Table, end: usize, asked: &Asked) -> Vec<Policy> {
    let stretches = table.with_requests(0..end);
    let all = Weighted::of(table, stretches.iter().map(|at| (*at, 1.0)));
    let mut noise = Noise::new(SEED);
    let draws: Vec<Weighted<'_>> =
        (0..DRAWS).map(|_| Weighted::drawn(table, &stretches, &mut noise)).collect();
    let learning = Learning { table, asked, all, draws };
    let mut policies: Vec<Policy> = Vec::new();
    let mut add = |policy: Policy| {
        let is_new = policies.iter().all(|other| other.models != policy.models);
        if is_new && policy.models.iter().any(Option::is_some) {
            policies.push(policy);
        }
    };
    for model in (0..table.models).take(ONE_MAX) {
        let cells: Vec<usize> = (0..table.cells.len()).collect();
        let models = learning.everywhere(&cells, model);
        add(Policy { way: Way::One(model), models });
    }
    for level in [Level::All, Level::Kind, Level::Length, Level::KindAndLength] {
        let losses = if level == Level::KindAndLength { &LOSSES[..] } else { &LOSSES[..1] };
        for loss in losses {
            let loss_max = loss * asked.loss_max;
            add(learning.cheapest(level, loss_max));
        }
    }
    policies
}

struct Learning<'a> {
    table: &'a Table,
    asked: &'a Asked,
    all: Weighted<'a>,
    draws: Vec<Weighted<'a>>,
}

impl Learning<'_> {
    /// All of some cells to one model, where something is known of it.
    fn everywhere(&self, cells: &[usize], model: usize) -> Vec<Option<usize>> {
        let mut models = vec![None; self.table.cells.len()];
        for cell in cells {
            let is_known = self.all.is_known(*cell, model, self.asked.calls_min);
            if let (true, Some(of)) = (is_known, models.get_mut(*cell)) {
                *of = Some(model);
            }
        }
        models
    }

    fn cheapest(&self, level: Level, loss_max: f64) -> Policy {
        let mut groups: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
        for (place, cell) in self.table.cells.iter().enumerate() {
            let group = match level {
                Level::All => (0, 0),
                Level::Kind => (cell.kind, 0),
                Level::Length => (0, cell.length),
                Level::KindAndLength => (cell.kind, cell.length),
            };
            if self.all.is_served(place) {
                groups.entry(group).or_default().push(place);
            }
        }
        let mut models = vec![None; self.table.cells.len()];
        for cells in groups.values() {
            let Some(chosen) = self.chosen(cells, loss_max) else { continue };
            for (of, chosen) in models.iter_mut().zip(chosen) {
                *of = chosen.or(*of);
            }
        }
        Policy { way: Way::Cheapest { level, loss_max }, models }
    }

    /// The cheapest that is no worse, of what is done now and of each model.
    fn chosen(&self, cells: &[usize], loss_max: f64) -> Option<Vec<Option<usize>>> {
        let base = self.all.of_cells(cells, &[], None)?;
        let mut best: Option<(f64, Vec<Option<usize>>)> = None;
        for model in 0..self.table.models {
            let models = self.everywhere(cells, model);
            if models.iter().all(Option::is_none) {
                continue;
            }
            let Some(found) = self.all.of_cells(cells, &models, None) else { continue };
            let least = best.as_ref().map_or(base.cost, |best| best.0);
            if found.cost < least && self.is_no_worse(cells, &models, loss_max) {
                best = Some((found.cost, models));
            }
        }
        best.map(|best| best.1)
    }

    fn is_no_worse(&self, cells: &[usize], models: &[Option<usize>], loss_max: f64) -> bool {
        let worse = self.draws.iter().filter(|draw| {
            let values = |models: &[Option<usize>]| -> Option<Values> {
                draw.of_cells(cells, models, Some(&self.all))
            };
            match (values(&[]), values(models)) {
                (Some(base), Some(found)) => found.loss(base) > loss_max,
                _ => true,
            }
        });
        (worse.count() as f64) <= DOUBT * self.draws.len() as f64
    }
}
