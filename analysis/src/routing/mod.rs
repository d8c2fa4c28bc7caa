//! What other ways to route requests to models would have cost, and how good the answers would have been.
//!
//! A request was answered by one model, seldom by several, so what another one would have made of it is not known; what it made of
//! requests like it is. Requests are told apart by cells, such as a kind and a length. Within a cell a policy's requests cost, and
//! are answered, as those of its model were on the average: the estimate by strata, which holds where within a cell it was no matter of
//! the request which model it went to.
//!
//! Policies are learned from what was earlier, and are tried on what came later. How far off that may be is seen by drawing stretches of
//! time again (Efron 1979; stretches, since what happens at one time happens to many requests at once).

mod policy;
mod sums;
#[cfg(test)]
mod tests;

use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::noise::Noise;
pub use policy::{Level, learn};
use sums::Weighted;
pub use sums::{Cell, Seen, Table, Values};

/// Stretches of time below which nothing is said: with requests, and of a model, with judged calls.
pub const STRETCHES_MIN: usize = 20;
/// Times that stretches are drawn again.
const DRAWS: usize = 1_000;
const SEED: u64 = 0x726f_7574_6573;
/// Within so many deviations 95 % of normal values are.
const NORMAL_95: f64 = 1.96;

/// How a policy is asked to do.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// By how much of the quality, 0 to 1, the answers of a policy may be worse.
    pub loss_max: f64,
    /// Part of the cost that a policy must save to be recommended.
    pub saving_min: f64,
    /// How often any policy at all may be recommended by chance that loses more.
    pub alpha: f64,
    /// Calls of a model in a cell, and judged ones, below which nothing is said of it there.
    pub calls_min: u64,
}

/// A way to route requests: of some cells the model that they go to; others stay as they are.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// What it goes by.
    pub way: Way,
    /// By cell, its model.
    pub models: Vec<Option<usize>>,
}

/// What a policy goes by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    /// All requests go to one model, where it was tried.
    One(usize),
    /// The cheapest model that is no worse than what was done by more than so much of the quality, as far as that is sure.
    Cheapest {
        /// For which requests one model is chosen.
        level: Level,
        /// By how much it may be worse.
        loss_max: f64,
    },
}

/// What a policy makes of a cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// The place of the cell.
    pub cell: usize,
    /// The model that its requests go to.
    pub model: usize,
    /// The later requests of it.
    pub requests: u64,
    /// What one of them cost, and how good an answer was.
    pub before: Values,
    /// What that would have been.
    pub after: Values,
}

/// A value with where it lies with a confidence of 95 %.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The value.
    pub value: f64,
    /// The lower end.
    pub lower: f64,
    /// The upper end.
    pub upper: f64,
}

/// What a policy would have made of the later requests.
#[derive(Clone, Debug)]
pub struct Tried {
    /// The policy.
    pub policy: Policy,
    /// Requests that it sends to a model, others than those that stay as they were.
    pub routed: u64,
    /// Cost of a request on the average.
    pub cost: f64,
    /// Quality of an answer on the average.
    pub quality: f64,
    /// Part of the cost that it saves.
    pub saving: Interval,
    /// By how much its answers are worse.
    pub loss: Interval,
    /// Part of the cost that it saved of the earlier requests, from which it was learned.
    pub learned_saving: f64,
    /// Whether no other one costs less and is as good, or is better and costs no more.
    pub is_on_frontier: bool,
    /// What it does, cell by cell.
    pub rules: Vec<Rule>,
    /// Whether it is sure to save something and to lose no more than it may, however many were tried, and saved of the earlier requests, too.
    pub is_sure: bool,
}

/// What came of all policies.
#[derive(Clone, Debug)]
pub struct Trials {
    /// Requests of the later part.
    pub requests: u64,
    /// What one of them cost, on the average.
    pub cost: f64,
    /// How good an answer was.
    pub quality: f64,
    /// Whether no policy costs less and is as good, or is better and costs no more.
    pub is_on_frontier: bool,
    /// The policies, in the order that they were given in.
    pub tried: Vec<Tried>,
    /// The place of the one that is recommended: of those that are sure, the one that saved most of the earlier requests.
    pub recommended: Option<usize>,
}

/// Tries policies on the stretches `later` of a table; none where there are too few of them, or nothing was judged or cost something.
pub fn try_out(
    table: &Table,
    learned_of: std::ops::Range<usize>,
    later: std::ops::Range<usize>,
    policies: Vec<Policy>,
    asked: &Asked,
) -> Option<Trials> {
    let stretches = table.with_requests(later.clone());
    if stretches.len() < STRETCHES_MIN {
        return None;
    }
    // What is not seen there of a model can't be said there.
    let all = Weighted::of(table, stretches.iter().map(|at| (*at, 1.0)));
    let policies: Vec<Policy> = policies
        .into_iter()
        .map(|policy| Policy { models: all.supported(&policy.models, asked.calls_min), ..policy })
        .collect();
    let base = all.as_it_was()?;
    let values = |of: &Weighted<'_>| -> Option<Vec<Values>> {
        policies.iter().map(|policy| of.values(&policy.models, Some(&all))).collect()
    };
    let found = values(&all)?;
    let mut draws: Vec<Vec<(f64, f64)>> = vec![Vec::with_capacity(DRAWS); policies.len()];
    let mut noise = Noise::new(SEED);
    for _ in 0..DRAWS {
        let drawn = Weighted::drawn(table, &stretches, &mut noise);
        // A draw of which nothing can be said says nothing.
        let (Some(base), Some(values)) = (drawn.as_it_was(), values(&drawn)) else { continue };
        for (draws, of) in draws.iter_mut().zip(values) {
            draws.push((of.saving(base), of.loss(base)));
        }
    }
    let earlier = Weighted::of(table, learned_of.map(|at| (at, 1.0)));
    let earlier_base = earlier.as_it_was()?;
    let doubt = asked.alpha / (2 * policies.len().max(1)) as f64;
    let mut tried: Vec<Tried> = Vec::with_capacity(policies.len());
    for ((policy, of), draws) in policies.into_iter().zip(&found).zip(&draws) {
        let (saving, saving_error) = interval(of.saving(base), draws.iter().map(|of| of.0), 0.0)?;
        // Draws of few answers that are all good are all good, too.
        let chance = all.variance(&policy.models).sqrt();
        let (loss, loss_error) = interval(of.loss(base), draws.iter().map(|of| of.1), chance)?;
        let routed = all.routed(&policy.models);
        // What is known least decides how sure it is.
        let known = all.stretches(&policy.models).min(stretches.len()).max(2);
        let sure = StudentsT::new(0.0, 1.0, (known - 1) as f64).ok()?.inverse_cdf(1.0 - doubt);
        // Of one that would have saved nothing of the earlier requests it is not sure that it goes on to.
        let learned = earlier.values(&policy.models, None).map(|of| of.saving(earlier_base));
        let is_sure = routed > 0
            && learned.is_some_and(|learned| learned >= asked.saving_min)
            && saving.value - sure * saving_error >= asked.saving_min
            && loss.value + sure * loss_error <= asked.loss_max;
        let rules = policy.models.iter().enumerate();
        let rules = rules.filter_map(|(cell, model)| all.rule(cell, (*model)?)).collect();
        tried.push(Tried {
            routed,
            cost: of.cost,
            quality: of.quality,
            saving,
            loss,
            learned_saving: learned.unwrap_or_default(),
            is_on_frontier: false,
            rules,
            is_sure,
            policy,
        });
    }
    let points: Vec<Values> = std::iter::once(base).chain(found).collect();
    for (own, tried) in points.iter().skip(1).zip(&mut tried) {
        tried.is_on_frontier = !points.iter().any(|other| other.is_better_than(own));
    }
    let is_on_frontier = !points.iter().any(|other| other.is_better_than(&base));
    let sure = tried.iter().enumerate().filter(|(_, of)| of.is_sure);
    // The first of equals: they come from the simplest on.
    let recommended =
        sure.rev().max_by(|(_, a), (_, b)| a.learned_saving.total_cmp(&b.learned_saving));
    let recommended = recommended.map(|(at, _)| at);
    Some(Trials {
        requests: all.requests(),
        cost: base.cost,
        quality: base.quality,
        is_on_frontier,
        tried,
        recommended,
    })
}

/// Where a value lies, by what came of the draws, and how far it may be off, which is no less than `least`.
fn interval(value: f64, draws: impl Iterator<Item = f64>, least: f64) -> Option<(Interval, f64)> {
    let mut draws: Vec<f64> = draws.collect();
    if draws.len() < DRAWS / 2 {
        return None;
    }
    draws.sort_by(f64::total_cmp);
    let mean = draws.iter().sum::<f64>() / draws.len() as f64;
    let apart = draws.iter().map(|of| (of - mean).powi(2)).sum::<f64>();
    let deviation = (apart / (draws.len() - 1) as f64).sqrt().max(least);
    let at = |part: f64| draws.get((part * (draws.len() - 1) as f64).round() as usize).copied();
    let wide = NORMAL_95 * least;
    let lower = at(0.025)?.min(value - wide);
    let upper = at(0.975)?.max(value + wide);
    Some((Interval { value, lower, upper }, deviation))
}
