//! How well someone does at tasks, and whether another does better.
//!
//! A trial is one attempt at a task. Trials of one task are alike, so what counts as one observation is a task, not a trial.

use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, Normal, StudentsT};

use crate::noise::Noise;

/// Pairs up to which every sign is tried, and from which on their sum is taken to be normal; between them signs are flipped at random.
const EXACT_MAX: usize = 16;
const NORMAL_FROM: usize = 100;
const FLIPS: usize = 10_000;
/// Signs that one random number gives.
const SIGNS: usize = 50;
/// Values that are no more apart, as a part of the larger one, are equal: the rest is rounding.
const EQUAL: f64 = 1e-9;
/// Of fewer values that are other than the most frequent one it is counted, too, how many there are.
const FEW: f64 = 30.0;
/// Chance of an effect that is said to be detectable to be told.
const POWER: f64 = 0.8;
const SEED: u64 = 0x0074_7269_616c;

/// Trials of a task, and how many of them succeeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    /// Trials.
    pub trials: u64,
    /// Those that succeeded.
    pub successes: u64,
}

/// Successes over all tasks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Part of the trials that succeeded.
    pub rate: f64,
    /// Where the rate behind it lies with a confidence of 95 %, by Wilson (1927).
    pub lower: f64,
    /// The upper end.
    pub upper: f64,
}

/// The part of independent trials that succeeded, and where the rate behind it lies; none without trials.
pub fn wilson(successes: u64, trials: u64) -> Option<Rate> {
    let rate = successes as f64 / trials as f64;
    (trials > 0).then(|| within(rate, trials as f64, quantile(0.975)))
}

/// A rate of observations that carry as much information as `size` independent ones, with its interval; none without observations.
pub fn wilson_of(rate: f64, size: f64) -> Option<Rate> {
    (size > 0.0 && rate.is_finite()).then(|| within(rate, size, quantile(0.975)))
}

/// Wilson's interval of a rate of so many observations.
fn within(rate: f64, size: f64, z: f64) -> Rate {
    let squared = z * z / size;
    let middle = (rate + squared / 2.0) / (1.0 + squared);
    let half = z * (rate * (1.0 - rate) / size + squared / (4.0 * size)).sqrt() / (1.0 + squared);
    Rate { rate, lower: (middle - half).max(0.0), upper: (middle + half).min(1.0) }
}

fn quantile(p: f64) -> f64 {
    Normal::standard().inverse_cdf(p)
}

/// The rate of successes; none without trials. Trials of one task are no independent ones: as many count as would tell as much
/// (the design effect of the tasks, Kish 1965).
pub fn rate(tasks: impl Iterator<Item = Tried> + Clone) -> Option<Rate> {
    let sum = |get: fn(&Tried) -> u64| tasks.clone().map(|of| get(&of)).sum::<u64>() as f64;
    let (trials, successes) = (sum(|of| of.trials), sum(|of| of.successes));
    if trials == 0.0 {
        return None;
    }
    let rate = successes / trials;
    let count = tasks.clone().filter(|of| of.trials > 0).count() as f64;
    let apart = tasks.map(|of| (of.successes as f64 - rate * of.trials as f64).powi(2));
    let of_tasks = apart.sum::<f64>() * count / (count - 1.0).max(1.0) / trials.powi(2);
    let of_trials = rate * (1.0 - rate) / (trials - 1.0).max(1.0);
    let effect = if of_trials > 0.0 { (of_tasks / of_trials).max(1.0) } else { 1.0 };
    // Where all succeed or none does nothing is seen of how alike trials of a task are: then a task counts once. One task is one observation.
    let size = if of_trials > 0.0 && count > 1.0 { trials / effect } else { count };
    // How alike they are is known of so many tasks.
    let z = match trials > count {
        true => Student::of(count - 1.0)?.edge(),
        false => quantile(0.975),
    };
    Some(within(rate, size, z))
}

/// The chance that all of `k` trials of a task succeed (pass^k of tau-bench, Yao et al. 2024): the mean over the tasks that were tried so
/// often of C(successes, k) / C(trials, k), and where the chance behind it lies: a mean of numbers from 0 to 1 varies at most as a rate
/// of as many tasks does. None where there is no such task.
pub fn pass_all(tasks: impl Iterator<Item = Tried>, k: u64) -> Option<Rate> {
    let (mut sum, mut count) = (0.0, 0u64);
    for of in tasks.filter(|of| of.trials >= k) {
        let drawn = (0..k).map(|at| match of.successes.checked_sub(at) {
            Some(left) => left as f64 / (of.trials - at) as f64,
            None => 0.0,
        });
        sum += drawn.product::<f64>();
        count += 1;
    }
    wilson_of(sum / count as f64, count as f64)
}

/// The mean of some observations, and where the one behind them lies with a confidence of 95 %, by Student's t; none without two.
pub fn mean(of: &[f64]) -> Option<(f64, f64, f64)> {
    let (mean, variance) = moments(of)?;
    let half = Student::of(of.len() as f64 - 1.0)?.edge() * (variance / of.len() as f64).sqrt();
    Some((mean, mean - half, mean + half))
}

/// The mean of all trials, and where the one behind it lies with a confidence of 95 %: trials of a task vary together, so that the tasks' sums are
/// what varies (as of a ratio; Cochran, 1977). None of fewer than two tasks.
pub fn mean_of_trials<'a>(
    tasks: impl Iterator<Item = &'a [f64]> + Clone,
) -> Option<(f64, f64, f64)> {
    let tasks = tasks.filter(|of| !of.is_empty());
    let (count, trials) = (tasks.clone().count() as f64, tasks.clone().flatten().count() as f64);
    if count < 2.0 {
        return None;
    }
    let mean = tasks.clone().flatten().sum::<f64>() / trials;
    let apart = tasks.map(|of| (of.iter().sum::<f64>() - mean * of.len() as f64).powi(2));
    let variance = apart.sum::<f64>() * count / (count - 1.0) / (trials * trials);
    let half = Student::of(count - 1.0)?.edge() * variance.sqrt();
    Some((mean, mean - half, mean + half))
}

/// The distribution-free 95 % confidence interval of a quantile, from order statistics (Thompson, 1936). The values carry as much
/// information as `size` independent ones. An end is `None` if too few values are beyond it.
pub fn quantile_interval(sorted: &[f64], part: f64, size: u64) -> [Option<f64>; 2] {
    let size = size.min(sorted.len() as u64);
    let Some(below) = Binomial::new(part, size).ok().filter(|_| size > 0) else {
        return [None; 2];
    };
    // The chance that fewer than `count` are below the quantile.
    let chance = |count: u64| count.checked_sub(1).map_or(0.0, |most| below.cdf(most));
    // By halving: chances rise with the count.
    let first_beyond = |chance_of: &dyn Fn(u64) -> bool| {
        let (mut from, mut to) = (0, size + 1);
        while from < to {
            let middle = from + (to - from) / 2;
            if chance_of(middle) { to = middle } else { from = middle + 1 }
        }
        from
    };
    let low = first_beyond(&|count| chance(count) > TAIL).saturating_sub(1);
    let high = first_beyond(&|count| chance(count) >= 1.0 - TAIL);
    let scale = sorted.len() as f64 / size as f64;
    let lower = low.checked_sub(1).and_then(|before| sorted.get((before as f64 * scale) as usize));
    let upper = (high <= size).then(|| (high as f64 * scale).ceil() as usize);
    [lower.copied(), upper.and_then(|place| sorted.get(place.checked_sub(1)?)).copied()]
}

/// Beyond each end of an interval of 95 %.
const TAIL: f64 = 0.025;

fn moments(of: &[f64]) -> Option<(f64, f64)> {
    let count = of.len() as f64;
    let mean = of.iter().sum::<f64>() / count;
    let variance = of.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    (of.len() > 1).then_some((mean, variance))
}

/// Student's t, which is the normal distribution where there is much to go by.
enum Student {
    T(StudentsT),
    Normal(Normal),
}

/// Degrees of freedom beyond which nothing tells the two apart.
const FREEDOM_MAX: f64 = 1e6;

impl Student {
    fn of(freedom: f64) -> Option<Self> {
        match freedom < FREEDOM_MAX {
            true => StudentsT::new(0.0, 1.0, freedom.max(1.0)).ok().map(Self::T),
            false => Some(Self::Normal(Normal::standard())),
        }
    }

    /// Within this distance lies the middle 95 %.
    fn edge(&self) -> f64 {
        match self {
            Self::T(of) => of.inverse_cdf(0.975),
            Self::Normal(of) => of.inverse_cdf(0.975),
        }
    }
}

/// How two are beside each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// By how much the second is above the first, on the mean.
    pub difference: f64,
    /// Where that lies with a confidence of 95 %; no number where nothing spreads.
    pub lower: f64,
    /// The upper end.
    pub upper: f64,
    /// How often chance alone sets two apart at least that far.
    pub p: f64,
    /// The difference that would be found four times of five, alone and at 5 %.
    pub detectable: f64,
}

impl Difference {
    /// None where it can't be told.
    fn of(difference: f64, error: f64, freedom: f64, p: f64) -> Option<Self> {
        // Where no task is unlike another nothing is seen of how far they spread.
        let known = if error > 0.0 { error } else { f64::NAN };
        let edge = Student::of(freedom)?.edge() * known;
        let found = Self {
            difference,
            lower: difference - edge,
            upper: difference + edge,
            p: p.clamp(0.0, 1.0),
            detectable: edge + quantile(POWER) * known,
        };
        let is_known = difference.is_finite() && error.is_finite() && p.is_finite();
        is_known.then_some(found)
    }
}

fn is_equal(a: f64, b: f64) -> bool {
    a == b || (a - b).abs() <= EQUAL * a.abs().max(b.abs())
}

/// One task of both: their values, of each trial.
pub type Pair<'a> = (&'a [f64], &'a [f64]);

/// By how much the second does better at the tasks that both tried. None of fewer than two.
///
/// The test flips the signs of the tasks' differences (Fisher 1935), which are alike with either sign where both are equally good and
/// tried each task equally often. Where they did not, trials of each task are exchanged as well, and the higher chance of both counts.
pub fn paired(tasks: &[Pair<'_>]) -> Option<Difference> {
    let tasks: Vec<&Pair<'_>> =
        tasks.iter().filter(|(a, b)| !a.is_empty() && !b.is_empty()).collect();
    let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
    let difference = |(a, b): &&Pair<'_>| {
        let (a, b) = (mean(a), mean(b));
        if is_equal(a, b) { 0.0 } else { b - a }
    };
    let differences: Vec<f64> = tasks.iter().map(difference).collect();
    let (mean, variance) = moments(&differences)?;
    let error = (variance / differences.len() as f64).sqrt();
    let mut p = flipped(&differences);
    if tasks.iter().any(|(a, b)| a.len() != b.len()) {
        let strata: Vec<Stratum<'_>> = tasks.iter().map(|(a, b)| (*a, *b)).collect();
        p = p.max(exchanged(&strata).p);
    }
    Difference::of(mean, error, differences.len() as f64 - 1.0, p)
}

/// The sum of some values, of which those of unset bits are turned round.
fn signed(of: &[f64], signs: u64) -> f64 {
    let of = of.iter().enumerate();
    of.map(|(at, value)| if signs >> at & 1 == 1 { *value } else { -value }).sum()
}

/// How often random signs set the sum so far from zero.
fn flipped(differences: &[f64]) -> f64 {
    let of: Vec<f64> = differences.iter().copied().filter(|of| *of != 0.0).collect();
    let sum = of.iter().sum::<f64>().abs();
    let squares = of.iter().map(|of| of * of).sum::<f64>();
    if squares == 0.0 {
        return 1.0;
    }
    let least = sum * (1.0 - EQUAL);
    if of.len() <= EXACT_MAX {
        let all = 1u64 << of.len();
        return (0..all).filter(|signs| signed(&of, *signs).abs() >= least).count() as f64
            / all as f64;
    }
    let z = sum / squares.sqrt();
    if of.len() >= NORMAL_FROM {
        return two_sided(z);
    }
    let mut noise = Noise::new(SEED);
    let mut flip = || -> f64 {
        let draw = |some| signed(some, (noise.uniform() * (1u64 << SIGNS) as f64) as u64);
        of.chunks(SIGNS).map(draw).sum()
    };
    let far = (0..FLIPS).filter(|_| flip().abs() >= least).count();
    // What is rarer than can be tried is never more frequent than this (Hoeffding 1963).
    let bound = 2.0 * (-z * z / 2.0).exp();
    bound.min((far + 1) as f64 / (FLIPS + 1) as f64)
}

fn two_sided(z: f64) -> f64 {
    2.0 * Normal::standard().cdf(-z.abs())
}

/// The observations of one kind of task: of the first, and of the second.
pub type Stratum<'a> = (&'a [f64], &'a [f64]);

/// By how much the second does better where both tried tasks of the same kinds, and not the same tasks: within each kind, so that who had
/// the easier kinds has nothing of it. None where no kind has two of each.
///
/// The difference and its interval are of the means (Welch 1947). The test is of the ranks within each kind (van Elteren 1960), which
/// a few values far out do not decide; where values are two alone, such as successes, it is exact (Fisher, over all kinds).
pub fn apart(strata: &[Stratum<'_>]) -> Option<Difference> {
    let strata: Vec<Stratum<'_>> =
        strata.iter().copied().filter(|(a, b)| a.len() > 1 && b.len() > 1).collect();
    let weight = |(a, b): &Stratum<'_>| {
        let (a, b) = (a.len() as f64, b.len() as f64);
        a * b / (a + b)
    };
    let all: f64 = strata.iter().map(weight).sum();
    let (mut difference, mut error, mut freedom) = (0.0, 0.0, 0.0);
    for stratum in &strata {
        let part = weight(stratum) / all;
        let (a, b) = (moments(stratum.0)?, moments(stratum.1)?);
        difference += part * if is_equal(a.0, b.0) { 0.0 } else { b.0 - a.0 };
        for (variance, count) in [(a.1, stratum.0.len()), (b.1, stratum.1.len())] {
            let own = part * part * variance / count as f64;
            error += own;
            freedom += own * own / (count as f64 - 1.0);
        }
    }
    if strata.is_empty() {
        return None;
    }
    let freedom = if freedom > 0.0 { error * error / freedom } else { f64::INFINITY };
    let found = exchanged(&strata);
    // Where ranks say one thing and means another nothing is shown.
    let p = if found.is_b_higher == (difference > 0.0) { found.p } else { 1.0 };
    Difference::of(difference, error.sqrt(), freedom, p)
}

/// What exchanging observations within strata says.
struct Exchanged {
    p: f64,
    is_b_higher: bool,
}

/// How often observations that are exchanged within each stratum set the ranks of both sides so far apart.
fn exchanged(strata: &[Stratum<'_>]) -> Exchanged {
    let (mut above, mut variance) = (0.0, 0.0);
    let mut unusual = Vec::with_capacity(strata.len());
    let mut values = Vec::new();
    let mut is_two_valued = true;
    for (a, b) in strata {
        let mut all: Vec<(f64, bool)> = a.iter().map(|of| (*of, false)).collect();
        all.extend(b.iter().map(|of| (*of, true)));
        all.sort_by(|x, y| x.0.total_cmp(&y.0));
        let (count, of_a, of_b) = (all.len() as f64, a.len() as f64, b.len() as f64);
        let (mut before, mut sum, mut ties) = (0.0, 0.0, 0.0);
        let mut groups = 0;
        let mut most: (usize, usize) = (0, 0);
        for tied in all.chunk_by(|x, y| is_equal(x.0, y.0)) {
            let size = tied.len() as f64;
            let rank = before + (size + 1.0) / 2.0;
            let of_second = tied.iter().filter(|of| of.1).count();
            sum += rank * of_second as f64;
            ties += size * (size * size - 1.0);
            before += size;
            groups += 1;
            if tied.len() > most.0 {
                most = (tied.len(), of_second);
            }
            if values.len() < 3 && !values.iter().any(|of| is_equal(*of, tied[0].0)) {
                values.push(tied[0].0);
            }
        }
        is_two_valued &= groups <= 2 && values.len() <= 2;
        let own = of_a * of_b / 12.0 * ((count + 1.0) - ties / (count * (count - 1.0)).max(1.0));
        // Each stratum counts by how much it tells.
        let weight = 1.0 / (count + 1.0);
        above += weight * (sum - of_b * (count + 1.0) / 2.0);
        variance += weight * weight * own.max(0.0);
        unusual.push(Draw {
            all: all.len() as u64,
            drawn: b.len() as u64,
            marked: (all.len() - most.0) as u64,
            found: (b.len() - most.1) as u64,
        });
    }
    if is_two_valued {
        return two_valued(strata, &values);
    }
    let is_b_higher = above > 0.0;
    if variance <= 0.0 {
        return Exchanged { p: 1.0, is_b_higher };
    }
    let mut p = two_sided(above / variance.sqrt());
    // Ranks of few values that are not like most are no sums of many.
    let least =
        |of: &Draw| of.marked as f64 * of.drawn.min(of.all - of.drawn) as f64 / of.all as f64;
    let sum = |get: fn(&Draw) -> u64| unusual.iter().map(get).sum::<u64>();
    let is_mostly_one = 2 * sum(|of| of.marked) < sum(|of| of.all);
    if is_mostly_one && unusual.iter().map(least).sum::<f64>() < FEW {
        p = p.max(drawn(&unusual));
    }
    Exchanged { p, is_b_higher }
}

fn two_valued(strata: &[Stratum<'_>], values: &[f64]) -> Exchanged {
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let is_high = |of: &&f64| values.len() > 1 && is_equal(**of, high);
    let draws = strata.iter().map(|(a, b)| {
        let found = b.iter().filter(is_high).count();
        let marked = found + a.iter().filter(is_high).count();
        Draw {
            all: (a.len() + b.len()) as u64,
            drawn: b.len() as u64,
            marked: marked as u64,
            found: found as u64,
        }
    });
    let draws: Vec<Draw> = draws.collect();
    let above =
        draws.iter().map(|of| of.found as f64 - of.drawn as f64 * of.marked as f64 / of.all as f64);
    Exchanged { p: drawn(&draws), is_b_higher: above.sum::<f64>() > 0.0 }
}

/// So many marked ones among those that are drawn of all.
struct Draw {
    all: u64,
    drawn: u64,
    marked: u64,
    found: u64,
}

/// What is less likely than this counts for nothing.
const UNLIKELY: f64 = 1e-40;

impl Draw {
    /// How likely each number of marked ones is, from the first that is likely at all.
    fn chances(&self) -> (u64, Vec<f64>) {
        let low = (self.drawn + self.marked).saturating_sub(self.all);
        let high = self.drawn.min(self.marked);
        let (all, drawn, marked) = (self.all as f64, self.drawn as f64, self.marked as f64);
        let middle = ((drawn + 1.0) * (marked + 1.0) / (all + 2.0)).floor() as u64;
        let middle = middle.clamp(low, high);
        // From the most likely one to both sides, each by what it is beside its neighbour.
        let mut up = vec![1.0f64];
        for at in middle..high {
            let at = at as f64;
            let ratio =
                (drawn - at) * (marked - at) / ((at + 1.0) * (all - drawn - marked + at + 1.0));
            let next = up[up.len() - 1] * ratio;
            if next < UNLIKELY {
                break;
            }
            up.push(next);
        }
        let mut down = Vec::new();
        let mut last = 1.0;
        for at in (low + 1..=middle).rev() {
            let at = at as f64;
            last *= at * (all - drawn - marked + at) / ((drawn - at + 1.0) * (marked - at + 1.0));
            if last < UNLIKELY {
                break;
            }
            down.push(last);
        }
        let begin = middle - down.len() as u64;
        let mut chances: Vec<f64> = down.into_iter().rev().chain(up).collect();
        let sum: f64 = chances.iter().sum();
        chances.iter_mut().for_each(|of| *of /= sum);
        (begin, chances)
    }
}

/// How often as many are drawn as were, or more, over all draws together, to either side.
fn drawn(draws: &[Draw]) -> f64 {
    let (mut begin, mut chances) = (0u64, vec![1.0f64]);
    for draw in draws.iter().filter(|of| of.marked > 0 && of.marked < of.all) {
        let (from, own) = draw.chances();
        let mut both = vec![0.0; chances.len() + own.len() - 1];
        for (at, chance) in chances.iter().enumerate() {
            for (more, of) in own.iter().enumerate() {
                both[at + more] += chance * of;
            }
        }
        // What can hardly be any more is left out at both ends.
        let is_likely = |of: &&f64| **of >= UNLIKELY;
        let first = both.iter().take_while(|of| !is_likely(of)).count();
        let last = both.iter().rev().take_while(|of| !is_likely(of)).count();
        both.truncate(both.len() - last);
        both.drain(..first.min(both.len()));
        begin += from + first as u64;
        chances = both;
    }
    let counted = draws.iter().filter(|of| of.marked > 0 && of.marked < of.all);
    let found: u64 = counted.map(|of| of.found).sum();
    let at = found as i128 - i128::from(begin);
    let upper: f64 = chances.iter().skip(at.max(0) as usize).sum();
    let lower: f64 = chances.iter().take((at + 1).max(0) as usize).sum();
    (2.0 * upper.min(lower)).min(1.0)
}

/// The chances of several comparisons, raised so that the chance of one false finding among all stays what it is of one (Holm 1979).
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let mut raised = vec![1.0; p.len()];
    let mut most = 0.0f64;
    for (rank, at) in order.into_iter().enumerate() {
        most = most.max(p[at] * (p.len() - rank) as f64).min(1.0);
        raised[at] = most;
    }
    raised
}

#[cfg(test)]
#[path = "trial_tests.rs"]
mod tests;
