//! The findings, one after the other, and the numbers that are told of each.

use std::cmp::Reverse;

use super::cells::{Cells, Measure};
use super::contribution::{Parts, contribution, interaction, parts, surprise};
use super::excess::{BASE_MIN, Background, Excess, Judge, NET_MIN, UNITS_MIN};
use super::search::{Candidate, Level, Search};
use super::tally::{OfSum, OfUnits, Reading, Side, Sums, Tally, total};
use super::{Halted, Pair};
use crate::significance::two_sided;

/// Most pairs of a group that can be asked for.
pub const DEPTH_LIMIT: usize = 4;

/// Most findings that can be asked for.
const FINDINGS_LIMIT: usize = 100;

/// Cells times subsets of dimensions that one search looks at, at most; with more, groups have fewer pairs.
const WORK_MAX: u64 = 1 << 29;

/// Groups that are taken, however few are told: so many stand out that they are what moved, or the rest is.
const TAKEN_MIN: usize = 10;

/// A group within another is told in its place where its z is at least this part of the other's, and what is left of the other
/// moves less than the second part as much for each row, where that would be as many standard deviations as the third.
const WITHIN_MIN: f64 = 0.9;
const ALIKE_MAX: f64 = 0.5;
const SEEN_MIN: f64 = 4.0;

/// What to look for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Most pairs of a group, 1 to [`DEPTH_LIMIT`]. Default: 3.
    pub depth_max: usize,
    /// Most findings. Default: 10.
    pub findings_max: usize,
    /// Findings end where they explain this share of the gross change, that of all that stands out. Default: 0.9, because the
    /// last tenth takes most of the lines.
    pub explained: f64,
    /// Probability that anything is found where there is only noise. Default: 0.01.
    pub significance: f64,
    /// Variance of the noise, over that of independent rows: more than 1 where rows come in bursts. Default: 1.
    pub dispersion: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { depth_max: 3, findings_max: 10, explained: 0.9, significance: 0.01, dispersion: 1.0 }
    }
}

/// What came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Some groups moved differently from the rest.
    Found,
    /// The measure changed, and all groups alike as far as noise lets see, but for some that did not: the change is spread
    /// evenly.
    Even,
    /// Nothing stands out from noise.
    Noise,
    /// A period has no rows, or a ratio no denominator.
    Incomparable,
}

/// Why a measure changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// What came out.
    pub outcome: Outcome,
    /// The measure of all cells, earlier; none of a ratio without denominator.
    pub before: Option<f64>,
    /// The same later.
    pub after: Option<f64>,
    /// Δ, the later less the earlier; 0 where there is none.
    pub change: f64,
    /// Δ over its standard deviation; 0 where there is no noise to go by.
    pub change_z: f64,
    /// What moving alike was taken to be.
    pub background: Background,
    /// By magnitude of their excess. Each adds to the change beyond noise; where the measure changed beyond noise, in its
    /// direction.
    pub findings: Vec<Finding>,
    /// Contribution of all cells that no finding has: what moved alike or against the change, and noise.
    pub rest: f64,
    /// Most pairs of the groups that were searched: fewer than asked for where there are too many cells and dimensions.
    pub depth: usize,
    /// Groups that were judged.
    pub judged: u64,
}

/// A group that moved differently from the rest. Its numbers are of all its cells where nothing else is said.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Its pairs, in the order of the dimensions.
    pub group: Vec<Pair>,
    /// The measure of the group, earlier; none of a ratio without denominator.
    pub before: Option<f64>,
    /// The same later.
    pub after: Option<f64>,
    /// Rows earlier and later.
    pub rows: [u64; 2],
    /// What it adds to Δ. Those of all values of a dimension add up to Δ.
    pub contribution: f64,
    /// The contribution to a ratio in parts.
    pub parts: Option<Parts>,
    /// The contribution over Δ; none where Δ is 0. Can be negative or more than 1 where groups cancel each other.
    pub share: Option<f64>,
    /// The contribution of those of its cells that no finding before it has. With `rest` these add up to Δ.
    pub own: f64,
    /// What these cells moved the measure by beyond what moving as the rest would have.
    pub excess: f64,
    /// |excess| over the gross change: that of all groups that stand out and carry the change.
    pub gross_share: f64,
    /// How far its share of the whole moved, in nats (Adtributor).
    pub surprise: f64,
    /// Of a conjunction, what it adds beyond what its single values, and smaller conjunctions, lead to expect.
    pub interaction: Option<f64>,
    /// The excess over its standard deviation.
    pub z: f64,
    /// Probability of such a z by noise in any of the groups that were judged (Bonferroni).
    pub p: f64,
}

/// A group, the cells that it took, and how these moved.
struct Taken {
    group: Vec<Pair>,
    places: Vec<u32>,
    cells: Tally,
    moved: Excess,
}

/// Groups taken one after the other.
struct Run {
    taken: Vec<Taken>,
    /// How many groups of each number of pairs were judged at first.
    judged: Vec<u64>,
    /// It ended because nothing more stood out.
    is_complete: bool,
}

/// Explains a change. `is_stopped` is asked every few milliseconds, on any thread.
pub fn explain(
    cells: &Cells,
    options: &Options,
    is_stopped: &(dyn Fn() -> bool + Sync),
) -> Result<Explanation, Halted> {
    let reading = Reading::new(cells);
    match cells.measure() {
        Measure::Sum => explain_sums::<OfSum>(cells, options, is_stopped, &reading.by_cell()),
        Measure::Ratio if reading.is_of_units() => {
            explain_sums::<OfUnits>(cells, options, is_stopped, &reading.by_cell())
        }
        Measure::Ratio => explain_sums::<Tally>(cells, options, is_stopped, &reading.by_cell()),
    }
}

fn explain_sums<S: Sums>(
    cells: &Cells,
    options: &Options,
    is_stopped: &(dyn Fn() -> bool + Sync),
    sums: &[S],
) -> Result<Explanation, Halted> {
    let all = total(sums);
    let judge = Judge {
        measure: cells.measure(),
        background: background(cells, &all),
        dispersion: options.dispersion,
        all,
    };
    Explaining { cells, options, is_stopped, sums, judge }.run()
}

/// A factor where it means something. See [`NET_MIN`] and [`BASE_MIN`]. A ratio has another way to move alike, which serves
/// as well where it ends at nothing; a sum hasn't.
fn background(cells: &Cells, all: &Tally) -> Background {
    let is_known = |side: &Side| side.n > 0.0 && side.n * side.n >= BASE_MIN * side.nn;
    let is_sum = cells.measure() == Measure::Sum;
    if !is_known(&all.earlier) || !is_sum && !is_known(&all.later) {
        return Background::Shift;
    }

    let is_net = cells.periods().iter().all(|period| {
        let net: f64 = period.numerators.iter().sum();
        let gross: f64 = period.numerators.iter().map(|n| n.abs()).sum();
        net >= NET_MIN * gross
    });
    if is_net { Background::Factor } else { Background::Shift }
}

/// The most pairs, up to `wanted`, of which one search stays within [`WORK_MAX`].
pub(super) fn depth(cells: usize, dimensions: usize, wanted: usize) -> usize {
    let (mut depth, mut subsets, mut of_size) = (1, dimensions as u64, dimensions as u64);
    while depth < wanted.min(DEPTH_LIMIT).min(dimensions) {
        of_size = of_size * (dimensions - depth) as u64 / (depth as u64 + 1);
        subsets += of_size;
        if subsets * cells as u64 > WORK_MAX {
            break;
        }
        depth += 1;
    }
    depth
}

struct Explaining<'a, S> {
    cells: &'a Cells,
    options: &'a Options,
    is_stopped: &'a (dyn Fn() -> bool + Sync),
    sums: &'a [S],
    judge: Judge,
}

impl<S: Sums> Explaining<'_, S> {
    fn run(&self) -> Result<Explanation, Halted> {
        let (measure, all) = (self.judge.measure, &self.judge.all);
        let (before, after) = (all.earlier.value(measure), all.later.value(measure));
        let change = before.zip(after).map_or(0.0, |(before, after)| after - before);
        let moved = self.judge.change();
        let mut explanation = Explanation {
            outcome: Outcome::Incomparable,
            before,
            after,
            change,
            change_z: moved.map_or(0.0, |moved| moved.z),
            background: self.judge.background,
            findings: Vec::new(),
            rest: change,
            depth: depth(self.cells.len(), self.cells.dimensions().len(), self.options.depth_max),
            judged: 0,
        };
        let has_rows = self.cells.periods().iter().all(|period| period.rows.iter().any(|&n| n > 0));
        if !has_rows || before.is_none() || after.is_none() {
            return Ok(explanation);
        }
        let (mut taken, judged) = self.taken(explanation.depth, explanation.change_z)?;
        explanation.judged = judged.iter().sum();
        let gross: f64 = taken.iter().map(|taken| taken.moved.excess.abs()).sum();
        taken.sort_by(|a, b| {
            let (ours, theirs) = (a.moved.excess.abs(), b.moved.excess.abs());
            theirs.total_cmp(&ours).then_with(|| a.group.cmp(&b.group))
        });
        let mut told = 0.0;
        taken.retain(|taken| {
            let is_told = told == 0.0 || told < self.options.explained * gross;
            told += taken.moved.excess.abs();
            is_told
        });
        taken.truncate(self.options.findings_max);
        explanation.outcome = match taken.is_empty() {
            false => Outcome::Found,
            true if two_sided(explanation.change_z) <= self.options.significance => Outcome::Even,
            true => Outcome::Noise,
        };
        let own = self.own(&taken);
        explanation.rest = contribution(measure, &own[taken.len()], all);
        let told = taken.iter().zip(own);
        explanation.findings =
            told.map(|(taken, own)| self.finding(taken, &own, change, gross, &judged)).collect();
        Ok(explanation)
    }

    /// The groups that carry the change, and how many groups of each number of pairs were judged.
    ///
    /// Where some moved and others did not, both stand out from each other, and the noise of those that have nothing of the
    /// measure is the least. So where any that is taken did not move itself, it is tried with those that did alone. These
    /// explain the change unless there are more of them than of the others, or they alone have no end: then all moved, but for
    /// the others. That the rest stands still needs one number less than by what it moved.
    fn taken(&self, depth: usize, change_z: f64) -> Result<(Vec<Taken>, Vec<u64>), Halted> {
        let is_changed = two_sided(change_z) <= self.options.significance;
        let carrying = |mut taken: Vec<Taken>| {
            taken.retain(|taken| !is_changed || taken.moved.excess * change_z > 0.0);
            taken
        };
        let any = self.take(depth, None)?;
        let count = any.taken.len();
        let moving = self.moving(any.taken, &any.judged);
        if moving.len() == count {
            return Ok((carrying(moving), any.judged));
        }
        let only = self.take(depth, Some(&any.judged))?;
        let (moving, movers) = (carrying(moving), carrying(self.moving(only.taken, &any.judged)));
        let is_short = (moving.len() + 1..=count + 1).contains(&movers.len());
        let is_ended = only.is_complete || !any.is_complete;
        let taken = match is_ended && (moving.is_empty() || is_short) {
            true => movers,
            false => moving,
        };
        Ok((taken, any.judged))
    }

    /// Those that moved: what they took and all of their cells.
    fn moving(&self, mut taken: Vec<Taken>, judged: &[u64]) -> Vec<Taken> {
        let dimensions = self.cells.dimensions();
        taken.retain(|taken| {
            let cells = self.sums.iter().enumerate();
            let is_in = cells.filter(|(cell, _)| has(dimensions, &taken.group, *cell));
            let whole = total(is_in.map(|(_, sums)| sums));
            let moves =
                |tally: &Tally| self.moves(&self.judge, &taken.group, tally, &taken.moved, judged);
            moves(&taken.cells) && moves(&whole)
        });
        taken
    }

    /// Whether a group moved beyond noise, and to the same side as it did beside the rest.
    fn moves(
        &self,
        judge: &Judge,
        group: &[Pair],
        tally: &Tally,
        beside: &Excess,
        judged: &[u64],
    ) -> bool {
        judge.added(tally).is_some_and(|added| {
            added.excess * beside.excess > 0.0
                && self.p(group, added.z, judged) <= self.options.significance
        })
    }

    /// Takes the group that stands out most, and again among the cells that are left. `movers`: of those that moved, with how
    /// many groups were judged.
    fn take(&self, depth: usize, movers: Option<&[u64]>) -> Result<Run, Halted> {
        let dimensions = self.cells.dimensions();
        let mut order: Vec<usize> = (0..dimensions.len()).collect();
        order.sort_by_key(|&number| Reverse(dimensions[number].values));
        let mut left: Vec<u32> = (0..self.cells.len() as u32).collect();
        let mut rest = self.judge.all;
        let mut taken: Vec<Taken> = Vec::new();
        let mut judged: Vec<u64> = Vec::new();
        let mut is_complete = false;
        while taken.len() < self.options.findings_max.clamp(TAKEN_MIN, FINDINGS_LIMIT) {
            let judge = self.judge_of(rest);
            // What is around a finding would tell it again.
            let excluded = |group: &[Pair], tally: &Tally, beside: &Excess| {
                taken.iter().any(|taken| group.iter().all(|pair| taken.group.contains(pair)))
                    || movers.is_some_and(|of| !self.moves(&judge, group, tally, beside, of))
            };
            let search = Search {
                dimensions,
                order: &order,
                sums: self.sums,
                judge,
                depth,
                excluded: &excluded,
                is_stopped: self.is_stopped,
            };
            let levels = search.run(&left)?;
            if judged.is_empty() {
                judged = levels.iter().map(|level| level.judged).collect();
            }
            let smaller: Vec<Candidate> =
                levels.iter().filter_map(|level| level.best.clone()).collect();
            let Some(mut best) = best(levels, &judged) else {
                is_complete = true;
                break;
            };
            for within in smaller {
                if self.is_concentrated(&best, &within, &left, &rest) {
                    best = within;
                }
            }
            if self.p(&best.group, best.excess.z, &judged) > self.options.significance {
                is_complete = true;
                break;
            }
            let is_in = |cell: &u32| has(dimensions, &best.group, *cell as usize);
            let (inside, outside): (Vec<u32>, Vec<u32>) = left.into_iter().partition(is_in);
            left = outside;
            let sums = |cells: &[u32]| total(cells.iter().map(|&cell| &self.sums[cell as usize]));
            rest = sums(&left);
            let (cells, moved) = (sums(&inside), best.excess);
            taken.push(Taken { group: best.group, places: inside, cells, moved });
        }
        // Against what is left in the end, which has not moved with any of them.
        taken.retain_mut(|taken| {
            let mut all = rest;
            all.add(&taken.cells);
            if let Some(moved) = self.judge_of(all).excess(&taken.cells) {
                taken.moved = moved;
                taken.moved.excess *= self.part(&all);
            }
            self.p(&taken.group, taken.moved.z, &judged) <= self.options.significance
        });
        for taken in &mut taken {
            self.narrow(taken, depth);
        }
        Ok(Run { taken, judged, is_complete })
    }

    /// Names what all cells have in common that a group took: of its others some stood still, and were put aside before.
    fn narrow(&self, taken: &mut Taken, depth: usize) {
        let dimensions = self.cells.dimensions();
        for (number, dimension) in dimensions.iter().enumerate() {
            let is_named = taken.group.iter().any(|pair| pair.dimension == number);
            let Some(&first) = taken.places.first().filter(|_| !is_named) else { continue };
            let value = dimension.codes[first as usize];
            let has_value = |cell: usize| dimension.codes[cell] == value;
            let all_have = taken.places.iter().all(|cell| has_value(*cell as usize));
            let is_narrower = || {
                (0..self.cells.len())
                    .any(|cell| has(dimensions, &taken.group, cell) && !has_value(cell))
            };
            if taken.group.len() < depth && all_have && is_narrower() {
                taken.group.push(Pair { dimension: number, value });
                taken.group.sort_unstable();
            }
        }
    }

    /// Whether what is in a group but not in one within it does not move with that: then a little less likelihood is no reason to
    /// tell the larger one, whose noise is that of the same rows.
    fn is_concentrated(
        &self,
        group: &Candidate,
        within: &Candidate,
        left: &[u32],
        all: &Tally,
    ) -> bool {
        let is_within = within.group.len() > group.group.len()
            && group.group.iter().all(|pair| within.group.contains(pair));
        if !is_within || within.excess.z.abs() < WITHIN_MIN * group.excess.z.abs() {
            return false;
        }
        let dimensions = self.cells.dimensions();
        let sums = |group: &[Pair]| {
            let of = left.iter().filter(|cell| has(dimensions, group, **cell as usize));
            total(of.map(|&cell| &self.sums[cell as usize]))
        };
        let (outer, inner) = (sums(&group.group), sums(&within.group));
        let others = outer.less(&inner);
        let mut beside = all.less(&outer);
        beside.add(&others);
        let Some(moved) = self.judge_of(beside).excess(&others) else {
            // Without any noise beside it nothing moved at all.
            let still = contribution(self.judge.measure, &others, &beside) == 0.0;
            return still && others.units() >= UNITS_MIN;
        };
        // What it would have moved by with as much for each row.
        let alike = within.excess.excess.abs() * others.units() / inner.units();
        let deviation = if moved.z == 0.0 { 0.0 } else { moved.excess / moved.z };
        alike >= SEEN_MIN * deviation && moved.excess.abs() < ALIKE_MAX * alike
    }

    fn judge_of(&self, all: Tally) -> Judge {
        Judge { all, ..self.judge }
    }

    /// How much the measure of all moves with that of some cells.
    fn part(&self, some: &Tally) -> f64 {
        match self.judge.measure {
            Measure::Sum => 1.0,
            Measure::Ratio => some.later.d / self.judge.all.later.d,
        }
    }

    /// Of any group that was judged, each number of pairs having the same part of the probability.
    fn p(&self, group: &[Pair], z: f64, judged: &[u64]) -> f64 {
        let groups = judged.get(group.len() - 1).copied().unwrap_or(0).max(1) as f64;
        (two_sided(z) * groups * judged.len() as f64).min(1.0)
    }

    /// The cells of each finding that none before it has, and last those that none has.
    fn own(&self, taken: &[Taken]) -> Vec<Tally> {
        let dimensions = self.cells.dimensions();
        let mut own = vec![S::default(); taken.len() + 1];
        for (cell, sums) in self.sums.iter().enumerate() {
            let owner = taken.iter().position(|taken| has(dimensions, &taken.group, cell));
            own[owner.unwrap_or(taken.len())].add(sums);
        }
        own.iter().map(Sums::tally).collect()
    }

    fn finding(
        &self,
        taken: &Taken,
        own: &Tally,
        change: f64,
        gross: f64,
        judged: &[u64],
    ) -> Finding {
        let (measure, all) = (self.judge.measure, &self.judge.all);
        let (subsets, rows) = self.subsets(&taken.group);
        let group = &subsets[subsets.len() - 1];
        let added = contribution(measure, group, all);
        let weighed: Vec<(f64, f64)> =
            subsets.iter().map(|set| (contribution(measure, set, all), self.weight(set))).collect();
        Finding {
            before: group.earlier.value(measure),
            after: group.later.value(measure),
            rows,
            contribution: added,
            parts: (measure == Measure::Ratio).then(|| parts(group, all)),
            share: (change != 0.0).then(|| added / change),
            own: contribution(measure, own, all),
            excess: taken.moved.excess,
            gross_share: taken.moved.excess.abs() / gross,
            surprise: surprise(measure, group, all),
            interaction: (taken.group.len() > 1).then(|| interaction(&weighed)),
            z: taken.moved.z,
            p: self.p(&taken.group, taken.moved.z, judged),
            group: taken.group.clone(),
        }
    }

    /// The sums of the group of each subset of these pairs, and the rows of all of them together.
    fn subsets(&self, group: &[Pair]) -> (Vec<Tally>, [u64; 2]) {
        let dimensions = self.cells.dimensions();
        let [earlier, later] = self.cells.periods();
        let mut exact = vec![S::default(); 1 << group.len()];
        let mut rows = [0_u64; 2];
        for (cell, sums) in self.sums.iter().enumerate() {
            let has = |(place, pair): (usize, &Pair)| {
                usize::from(dimensions[pair.dimension].codes[cell] == pair.value) << place
            };
            let mask = group.iter().enumerate().map(has).sum::<usize>();
            exact[mask].add(sums);
            if mask + 1 == exact.len() {
                rows[0] = rows[0].saturating_add(earlier.rows[cell]);
                rows[1] = rows[1].saturating_add(later.rows[cell]);
            }
        }
        let within =
            |set: usize| exact.iter().enumerate().filter(move |(mask, _)| mask & set == set);
        let sums = (0..exact.len()).map(|set| total(within(set).map(|(_, sums)| sums)));
        (sums.collect(), rows)
    }

    /// To what contributions are in proportion where everything changes alike.
    fn weight(&self, group: &Tally) -> f64 {
        match (self.judge.background, self.judge.measure) {
            (Background::Factor, _) => group.earlier.n,
            (Background::Shift, Measure::Ratio) => group.earlier.d,
            (Background::Shift, Measure::Sum) => group.earlier.units,
        }
    }
}

/// The most likely one of the best of each level, after what each level pays for its size: log p is about −z²/2 + log groups.
/// Of equal ones that of fewer pairs.
pub(super) fn best(levels: Vec<Level>, judged: &[u64]) -> Option<Candidate> {
    let mut best: Option<(f64, Candidate)> = None;
    for (level, &groups) in levels.into_iter().zip(judged) {
        let Some(candidate) = level.best else {
            continue;
        };
        let likelihood = candidate.excess.weight() - (groups.max(1) as f64).ln();
        if best.as_ref().is_none_or(|(most, _)| likelihood > *most) {
            best = Some((likelihood, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

fn has(dimensions: &[super::Dimension], group: &[Pair], cell: usize) -> bool {
    group.iter().all(|pair| dimensions[pair.dimension].codes[cell] == pair.value)
}
