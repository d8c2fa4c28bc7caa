//! Who is better at what.

use analysis::trial::{Difference, Pair, Stratum, apart, holm, paired};
use engine::{Code, Error, Result};
use rayon::prelude::*;

use super::NAME;
use super::params::{Better, Params};
use super::read::{Done, Trials};

/// Tasks that both must have tried for them to be compared task by task.
const PAIRS_MIN: usize = 10;
/// Comparisons of a run, at most.
const COMPARISONS_MAX: usize = 100_000;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Success,
    /// The measure of that number.
    Measure(usize),
}

/// Two agents beside each other.
#[derive(Clone, Debug)]
pub(super) struct Comparison {
    pub(super) of: Of,
    pub(super) a: usize,
    pub(super) b: usize,
    /// Whether task by task.
    pub(super) is_paired: bool,
    /// Tasks that were compared, of the one and the other; in pairs of both.
    pub(super) tasks: [u64; 2],
    pub(super) found: Difference,
    /// The chance, as many comparisons as there are in mind.
    pub(super) p_adjusted: f64,
    pub(super) better: Option<usize>,
}

/// Compares the agents with the most trials with each other. `check` fails where nobody waits any more.
pub(super) fn compare(
    trials: &Trials,
    params: &Params,
    check: &(dyn Fn() -> Result<()> + Sync),
) -> Result<Vec<Comparison>> {
    let count = |agent: usize| -> u64 {
        let done = (0..trials.kinds.len()).filter_map(|kind| trials.done.get(&(agent, kind)));
        done.flat_map(Done::tried).map(|task| task.trials).sum()
    };
    let mut agents: Vec<(u64, usize)> =
        (0..trials.agents.len()).map(|agent| (count(agent), agent)).collect();
    agents.sort_by(|a, b| b.0.cmp(&a.0).then(trials.agents[a.1].cmp(&trials.agents[b.1])));
    agents.truncate(params.compared);
    let mut agents: Vec<usize> = agents.into_iter().map(|(_, agent)| agent).collect();
    agents.sort_by_key(|agent| &trials.agents[*agent]);
    let measures = (0..params.measured().len()).map(Of::Measure);
    let ofs: Vec<Of> = std::iter::once(Of::Success).chain(measures).collect();
    let pairs = agents.iter().enumerate();
    let pairs = pairs.flat_map(|(at, a)| agents[at + 1..].iter().map(move |b| (*a, *b)));
    let asked: Vec<(usize, usize, Of)> =
        pairs.flat_map(|(a, b)| ofs.iter().map(move |of| (a, b, *of))).collect();
    if asked.len() > COMPARISONS_MAX {
        let says = format!(
            "{NAME}: expected at most {COMPARISONS_MAX} comparisons, found {}; take fewer of `measures`, or less than {} agents (`compared`)",
            asked.len(),
            agents.len()
        );
        return Err(Error::user(Code::LimitExceeded, says));
    }
    let one = |(a, b, of): &(usize, usize, Of)| {
        check()?;
        Ok(compared(trials, *a, *b, *of))
    };
    let found: Vec<Option<Comparison>> = asked.par_iter().map(one).collect::<Result<_>>()?;
    let mut found: Vec<Comparison> = found.into_iter().flatten().collect();
    let raised = holm(&found.iter().map(|of| of.found.p).collect::<Vec<f64>>());
    let directions: Vec<Better> = params.measured().values().copied().collect();
    for (comparison, p) in found.iter_mut().zip(raised) {
        comparison.p_adjusted = p;
        let is_higher = match comparison.of {
            Of::Success => true,
            Of::Measure(measure) => directions.get(measure) == Some(&Better::Higher),
        };
        if p <= params.alpha && comparison.found.difference != 0.0 {
            let is_b = (comparison.found.difference > 0.0) == is_higher;
            comparison.better = Some(if is_b { comparison.b } else { comparison.a });
        }
    }
    Ok(found)
}

fn compared(trials: &Trials, a: usize, b: usize, of: Of) -> Option<Comparison> {
    let of_kind = |kind: usize| {
        let done = |agent: usize| trials.done.get(&(agent, kind));
        done(a).zip(done(b))
    };
    let both: Vec<(&Done, &Done)> = (0..trials.kinds.len()).filter_map(of_kind).collect();
    let number = match of {
        Of::Success => 0,
        Of::Measure(measure) => measure + 1,
    };
    let mut pairs: Vec<Pair<'_>> = Vec::new();
    for (a, b) in &both {
        let (values, beside) = (a.values.get(number)?, b.values.get(number)?);
        let tasks = a.both(b).into_iter();
        let tasks = tasks.map(|(own, other)| (values.of(own), beside.of(other)));
        pairs.extend(tasks.filter(|(a, b)| !a.is_empty() && !b.is_empty()));
    }
    let comparison = |is_paired, tasks, found| Comparison {
        of,
        a,
        b,
        is_paired,
        tasks,
        found,
        p_adjusted: 1.0,
        better: None,
    };
    if pairs.len() >= PAIRS_MIN {
        let count = pairs.len() as u64;
        return Some(comparison(true, [count, count], paired(&pairs)?));
    }
    let means = |done: &Done| -> Vec<f64> {
        done.values.get(number).into_iter().flat_map(|of| of.means()).collect()
    };
    let strata: Vec<(Vec<f64>, Vec<f64>)> =
        both.iter().map(|(a, b)| (means(a), means(b))).collect();
    let strata: Vec<Stratum<'_>> = strata.iter().map(|(a, b)| (&a[..], &b[..])).collect();
    let used = || strata.iter().filter(|(a, b)| a.len() > 1 && b.len() > 1);
    let tasks =
        [used().map(|(a, _)| a.len() as u64).sum(), used().map(|(_, b)| b.len() as u64).sum()];
    Some(comparison(false, tasks, apart(&strata)?))
}
