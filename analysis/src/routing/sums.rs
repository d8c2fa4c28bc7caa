//! Requests by stretch of time, cell and model, as sums.

use std::collections::BTreeMap;

use super::{Rule, STRETCHES_MIN};
use crate::noise::Noise;

/// A kind of requests, by its number, and a class of length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cell {
    /// The kind.
    pub kind: usize,
    /// The class of length.
    pub length: usize,
}

/// Calls of a model in a cell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seen {
    /// Calls of which is known what they cost.
    pub calls: u64,
    /// What they cost.
    pub cost: f64,
    /// Those of them of which is known how good the answer was.
    pub judged: u64,
    /// How good these were, added up.
    pub quality: f64,
}

impl Seen {
    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.cost += other.cost;
        self.judged += other.judged;
        self.quality += other.quality;
    }
}

/// All that was seen.
#[derive(Debug, Default)]
pub struct Table {
    /// The cells, in order.
    pub(super) cells: Vec<Cell>,
    pub(super) models: usize,
    /// By stretch: the place of a cell, a model, the calls of it there, and those of them that were what was answered.
    stretches: Vec<Vec<(usize, usize, Seen, Seen)>>,
}

impl Table {
    /// The table of `(stretch, cell, model)` with all calls, and those that answered a request: others were made to learn of a model alone.
    pub fn new(seen: &BTreeMap<(usize, Cell, usize), (Seen, Seen)>) -> Self {
        let mut cells: Vec<Cell> = seen.keys().map(|of| of.1).collect();
        cells.sort_unstable();
        cells.dedup();
        let mut table = Self { cells, ..Self::default() };
        for ((stretch, cell, model), (all, served)) in seen {
            table.models = table.models.max(model + 1);
            if table.stretches.len() <= *stretch {
                table.stretches.resize_with(stretch + 1, Vec::new);
            }
            if let (Ok(place), Some(of)) =
                (table.cells.binary_search(cell), table.stretches.get_mut(*stretch))
            {
                of.push((place, *model, *all, *served));
            }
        }
        table
    }

    /// The cells, in order.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// Stretches, empty ones among them.
    pub fn stretches(&self) -> usize {
        self.stretches.len()
    }

    /// The stretch behind which not more than `part` of the requests lie before it.
    pub fn split(&self, part: f64) -> usize {
        let requests = |of: &Vec<(usize, usize, Seen, Seen)>| of.iter().map(|of| of.3.calls).sum();
        let counts: Vec<u64> = self.stretches.iter().map(requests).collect();
        let mut left = (counts.iter().sum::<u64>() as f64 * part) as u64;
        counts
            .iter()
            .position(|count| {
                let is_beyond = *count > left;
                left = left.saturating_sub(*count);
                is_beyond
            })
            .unwrap_or(counts.len())
    }

    /// Those of some stretches in which there is a request.
    pub(super) fn with_requests(&self, of: std::ops::Range<usize>) -> Vec<usize> {
        let has = |at: &usize| {
            self.stretches.get(*at).is_some_and(|of| of.iter().any(|of| of.3.calls > 0))
        };
        of.filter(has).collect()
    }
}

/// What a request costs and how good its answer is, on the average.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Values {
    /// The cost.
    pub cost: f64,
    /// The quality, 0 to 1.
    pub quality: f64,
}

impl Values {
    pub(super) fn saving(self, base: Self) -> f64 {
        1.0 - self.cost / base.cost
    }

    pub(super) fn loss(self, base: Self) -> f64 {
        base.quality - self.quality
    }

    /// Whether it costs less and is as good, or is better and costs no more. Rounding makes none better.
    pub(super) fn is_better_than(&self, other: &Self) -> bool {
        const ROUNDING: f64 = 1e-12;
        let cheaper = other.cost - self.cost;
        let better = self.quality - other.quality;
        cheaper >= 0.0
            && better >= 0.0
            && (cheaper > ROUNDING * other.cost.abs() || better > ROUNDING)
    }
}

/// Sums, each stretch as often as it counts.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    calls: f64,
    cost: f64,
    judged: f64,
    quality: f64,
    /// Stretches in which some were judged.
    stretches: u32,
}

impl Sums {
    fn add(&mut self, of: &Seen, weight: f64) {
        self.stretches += u32::from(of.judged > 0);
        self.calls += weight * of.calls as f64;
        self.cost += weight * of.cost;
        self.judged += weight * of.judged as f64;
        self.quality += weight * of.quality;
    }

    fn mean_cost(&self) -> Option<f64> {
        (self.calls > 0.0).then(|| self.cost / self.calls)
    }

    fn mean_quality(&self) -> Option<f64> {
        (self.judged > 0.0).then(|| self.quality / self.judged)
    }

    /// How far its mean quality may be off by chance alone, squared. Of few answers that are all good it is not sure that all are: one
    /// of each kind is added (Laplace).
    fn variance(&self) -> f64 {
        let good = (self.quality + 1.0) / (self.judged + 2.0);
        good * (1.0 - good) / self.judged.max(1.0)
    }
}

/// The sums of some stretches.
pub(super) struct Weighted<'a> {
    table: &'a Table,
    /// By cell, what was answered.
    served: Vec<Sums>,
    /// By cell and model, all calls.
    seen: Vec<Sums>,
}

impl<'a> Weighted<'a> {
    pub(super) fn of(table: &'a Table, stretches: impl Iterator<Item = (usize, f64)>) -> Self {
        let mut served = vec![Sums::default(); table.cells.len()];
        let mut seen = vec![Sums::default(); table.cells.len() * table.models];
        for (at, weight) in stretches.filter(|(_, weight)| *weight > 0.0) {
            for (cell, model, all, own) in table.stretches.get(at).into_iter().flatten() {
                if let Some(of) = seen.get_mut(cell * table.models + model) {
                    of.add(all, weight);
                }
                if let Some(of) = served.get_mut(*cell) {
                    of.add(own, weight);
                }
            }
        }
        Self { table, served, seen }
    }

    /// As many stretches as these are, drawn from them again (Efron 1979).
    pub(super) fn drawn(table: &'a Table, stretches: &[usize], noise: &mut Noise) -> Self {
        let mut counts = vec![0.0; stretches.len()];
        for _ in stretches {
            let drawn = (noise.uniform() * stretches.len() as f64) as usize;
            if let Some(count) = counts.get_mut(drawn) {
                *count += 1.0;
            }
        }
        Self::of(table, stretches.iter().copied().zip(counts))
    }

    fn model(&self, cell: usize, model: usize) -> Sums {
        self.seen.get(cell * self.table.models + model).copied().unwrap_or_default()
    }

    /// Whether something can be said of a model in a cell, and of what was done there: both were judged often, and at many times.
    pub(super) fn is_known(&self, cell: usize, model: usize, calls_min: u64) -> bool {
        let of = self.model(cell, model);
        let was = self.served.get(cell).copied().unwrap_or_default();
        let judged = of.judged.min(was.judged);
        let stretches = of.stretches.min(was.stretches) as usize;
        judged >= calls_min as f64 && stretches >= STRETCHES_MIN
    }

    /// In how many stretches the least known was judged of what a policy sends elsewhere.
    pub(super) fn stretches(&self, models: &[Option<usize>]) -> usize {
        let cells = models.iter().enumerate();
        let of = cells.filter_map(|(cell, model)| {
            let was = self.served.get(cell)?.stretches;
            Some(self.model(cell, (*model)?).stretches.min(was) as usize)
        });
        of.min().unwrap_or(0)
    }

    /// How far the loss of a policy may be off at least, squared: by the chance that is in each judged answer.
    pub(super) fn variance(&self, models: &[Option<usize>]) -> f64 {
        let judged = self.served.iter().filter(|was| was.judged > 0.0);
        let requests = judged.map(|was| was.calls).sum::<f64>().max(1.0);
        let cells = self.served.iter().zip(models).enumerate();
        let of = cells.filter_map(|(cell, (was, model))| {
            let share = was.calls / requests;
            Some(share * share * (self.model(cell, (*model)?).variance() + was.variance()))
        });
        of.sum()
    }

    /// The models of a policy in those cells where something can be said of them.
    pub(super) fn supported(&self, models: &[Option<usize>], calls_min: u64) -> Vec<Option<usize>> {
        let cells = models.iter().enumerate();
        cells
            .map(|(cell, model)| model.filter(|model| self.is_known(cell, *model, calls_min)))
            .collect()
    }

    /// Requests that were answered.
    pub(super) fn requests(&self) -> u64 {
        self.served.iter().map(|of| of.calls).sum::<f64>() as u64
    }

    /// Those of them that a policy sends to a model.
    pub(super) fn routed(&self, models: &[Option<usize>]) -> u64 {
        let cells = self.served.iter().zip(models);
        cells.filter(|(_, model)| model.is_some()).map(|(of, _)| of.calls).sum::<f64>() as u64
    }

    /// What sending a cell's requests to a model makes of them.
    pub(super) fn rule(&self, cell: usize, model: usize) -> Option<Rule> {
        let mut models = vec![None; cell + 1];
        *models.last_mut()? = Some(model);
        let requests = self.served.get(cell)?.calls as u64;
        let before = self.of_cells(&[cell], &[], None)?;
        let after = self.of_cells(&[cell], &models, None)?;
        Some(Rule { cell, model, requests, before, after })
    }

    /// What requests cost, and how good answers were; none where nothing was judged or cost something.
    pub(super) fn as_it_was(&self) -> Option<Values> {
        self.values(&[], None).filter(|of| of.cost > 0.0)
    }

    /// What they would have been by a policy. What is not seen of a model in a cell is taken from `or_else`. Cells in which no answer was
    /// judged count for the cost alone.
    pub(super) fn values(
        &self,
        models: &[Option<usize>],
        or_else: Option<&Weighted<'_>>,
    ) -> Option<Values> {
        self.over(0..self.served.len(), models, or_else)
    }

    /// The same, of the requests of some cells.
    pub(super) fn of_cells(
        &self,
        cells: &[usize],
        models: &[Option<usize>],
        or_else: Option<&Weighted<'_>>,
    ) -> Option<Values> {
        self.over(cells.iter().copied(), models, or_else)
    }

    fn over(
        &self,
        cells: impl Iterator<Item = usize>,
        models: &[Option<usize>],
        or_else: Option<&Weighted<'_>>,
    ) -> Option<Values> {
        let (mut requests, mut cost, mut of_judged, mut quality) = (0.0, 0.0, 0.0, 0.0);
        for cell in cells.filter(|cell| self.is_served(*cell)) {
            let was = self.served.get(cell).copied().unwrap_or_default();
            requests += was.calls;
            let model = models.get(cell).copied().flatten();
            let (own_cost, own_quality) = match model {
                Some(model) => {
                    let own = self.model(cell, model);
                    let beside = or_else.map(|of| of.model(cell, model)).unwrap_or_default();
                    let cost = own.mean_cost().or(beside.mean_cost())?;
                    (cost * was.calls, own.mean_quality().or(beside.mean_quality()))
                }
                None => (was.cost, was.mean_quality()),
            };
            cost += own_cost;
            // The same cells count on both sides.
            if let (Some(own_quality), true) = (own_quality, was.judged > 0.0) {
                of_judged += was.calls;
                quality += own_quality * was.calls;
            }
        }
        (requests > 0.0 && of_judged > 0.0)
            .then(|| Values { cost: cost / requests, quality: quality / of_judged })
    }

    /// Whether a cell has requests.
    pub(super) fn is_served(&self, cell: usize) -> bool {
        self.served.get(cell).is_some_and(|of| of.calls > 0.0)
    }
}
