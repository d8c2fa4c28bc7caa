//! All pairs of a cohort: their coefficients from the kernel, each tested as it goes by. The coefficients
//! of n series are n² and never exist at once; what is kept is the pairs strong enough to be reported, and
//! the counts of all p-values, without which no rate of false discoveries can be told.

use analysis::series::rows::in_both;
use analysis::significance::{PValues, Repetition, of_best, permutation_p};
use engine::Result;
use kernels::correlate::{
    LagOptions, LaggedPair, PairSink, Pairs, ScoreBlock, correlate, correlate_lagged,
};
use kernels::{DeviceReport, Execution, MatrixView};
use rayon::prelude::*;

use super::NAME;
use super::params::{LagSearch, Params};
use super::prepare::Prepared;
use crate::series::check_cancelled;

/// Multiplications of a lag search over all pairs up to which `auto` takes all.
const AUTO_MULTIPLICATIONS_MAX: f64 = 2e12;
/// Pairs of one call of the lag kernel.
const LAG_PAIRS_AT_ONCE: usize = 1 << 18;
/// Random orders of a permutation test for each p-value that is as small as it must be, at least, and
/// the values that the tests of a cohort permute together, about a minute of one core.
const ORDERS_OF_TESTS: f64 = 3.0;
const ORDERS_MIN: f64 = 1_000.0;
const PERMUTED_MAX: f64 = 1e10;
/// Least samples that two series must share.
const SAMPLES_MIN: usize = 8;

/// What a cohort is compared with and on.
#[derive(Clone, Copy)]
pub(super) struct Threads<'a> {
    pub(super) execution: &'a Execution,
    /// For permutation tests.
    pub(super) pool: &'a rayon::ThreadPool,
}

/// What is known of the series of a cohort before pairs are formed.
pub(super) struct Subjects {
    pub(super) prepared: Prepared,
    repetitions: Vec<Repetition>,
}

/// The p-value of one pair at one lag.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tested {
    pub(super) row: usize,
    pub(super) col: usize,
    pub(super) r: f64,
    pub(super) p: f64,
}

/// The best lag of one pair.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lagged {
    pub(super) pair: LaggedPair,
    pub(super) p: f64,
}

/// What a cohort gave. The p-values of all of it are counted, the pairs worth reporting are kept.
pub(super) struct Kept<T> {
    pub(super) pairs: Vec<T>,
    pub(super) p_values: PValues,
    pub(super) device: Option<DeviceReport>,
    pub(super) seconds: f64,
    /// Pairs that were let go because there were too many.
    pub(super) let_go: u64,
}

impl Subjects {
    pub(super) fn new(prepared: Prepared, pool: &rayon::ThreadPool) -> Self {
        let rows = prepared.values.par_chunks(prepared.cols.max(1));
        let repetitions = pool.install(|| rows.map(Repetition::of).collect());
        Self { prepared, repetitions }
    }

    fn view(&self) -> Result<MatrixView<'_, f64>> {
        Ok(MatrixView::new(&self.prepared.values, self.rows(), self.prepared.cols)?)
    }

    pub(super) fn rows(&self) -> usize {
        self.prepared.series.len()
    }

    /// Whether there is anything to compare.
    pub(super) fn is_comparable(&self) -> bool {
        self.rows() >= 2 && self.prepared.cols >= SAMPLES_MIN
    }

    /// Samples that both series have.
    pub(super) fn shared_samples(&self, row: usize, col: usize) -> usize {
        match &self.prepared.present {
            None => self.prepared.cols,
            Some(present) => in_both(&present[row], &present[col]),
        }
    }

    pub(super) fn effective(&self, row: usize, col: usize, samples: usize) -> f64 {
        self.repetitions[row].effective_samples(&self.repetitions[col], samples)
    }

    /// The p-value of a coefficient over all but `shift` of the shared samples.
    pub(super) fn p(&self, row: usize, col: usize, r: f64, shift: usize) -> f64 {
        let shared = self.shared_samples(row, col).saturating_sub(shift);
        let effective = self.effective(row, col, shared);
        self.repetitions[row].p_value(&self.repetitions[col], r, effective)
    }

    /// Whether the p-value of a pair needs a permutation test.
    fn is_heavy(&self, row: usize, col: usize) -> bool {
        let effective = self.effective(row, col, self.shared_samples(row, col));
        self.repetitions[row].is_heavy(&self.repetitions[col], effective)
    }

    /// The p-value of a permutation test at a lag.
    fn permuted_p(&self, (row, col, lag): (usize, usize, i64), orders_max: usize) -> f64 {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        let pairs = self.aligned(row, 0).zip(self.aligned(col, lag));
        for (one, other) in pairs.filter_map(|(one, other)| one.zip(other)) {
            a.push(one);
            b.push(other);
        }
        let seed = (row as u64) << 32 | col as u64;
        permutation_p(&a, &b, orders_max, seed)
    }

    /// The values of a row that many buckets later, `None` where there is no sample.
    pub(super) fn aligned(&self, row: usize, lag: i64) -> impl Iterator<Item = Option<f64>> {
        let (cols, prepared) = (self.prepared.cols, &self.prepared);
        let values = prepared.values.get(row * cols..(row + 1) * cols).unwrap_or_default();
        let bits = prepared.present.as_ref().and_then(|present| present.get(row));
        (0..cols).map(move |at| {
            let from = usize::try_from(i64::try_from(at).ok()?.checked_add(lag)?).ok()?;
            let is_present = bits.is_none_or(|bits| {
                bits.get(from / 64).is_some_and(|word| word >> (from % 64) & 1 == 1)
            });
            values.get(from).copied().filter(|_| is_present)
        })
    }

    /// Replaces the p-values of pairs of rare or heavy-tailed values by those of permutation tests, where
    /// these are larger. `place` is the rows, the lag and the p-value of a pair, of the best of `lags`.
    fn confirm<T>(
        &self,
        kept: &mut Kept<T>,
        lags: usize,
        max_q: f64,
        Threads { execution, pool }: Threads<'_>,
        place: impl Fn(&mut T) -> ((usize, usize, i64), &mut f64),
    ) -> Result<()> {
        let tests = (kept.p_values.tested() as f64 * lags as f64 / max_q).ceil();
        let pairs = kept.pairs.iter_mut().map(place);
        let heavy: Vec<((usize, usize, i64), &mut f64)> =
            pairs.filter(|((row, col, _), _)| self.is_heavy(*row, *col)).collect();
        let affordable = PERMUTED_MAX / (heavy.len().max(1) * self.prepared.cols.max(1)) as f64;
        let orders_max = (ORDERS_OF_TESTS * tests).min(affordable).max(ORDERS_MIN) as usize;
        let confirmed = |(at, p): ((usize, usize, i64), &mut f64)| {
            check_cancelled(NAME, execution)?;
            let before = PValues::bin(*p);
            *p = p.max(of_best(self.permuted_p(at, orders_max), lags));
            Ok((before, PValues::bin(*p)))
        };
        let moved: Vec<(usize, usize)> =
            pool.install(|| heavy.into_par_iter().map(confirmed).collect::<Result<_>>())?;
        moved.into_iter().for_each(|(before, after)| kept.p_values.replace(before, after));
        Ok(())
    }

    /// Every pair as it is, without a lag.
    pub(super) fn test_all(&self, params: &Params, threads: Threads<'_>) -> Result<Kept<Tested>> {
        let mut sink = Testing {
            subjects: self,
            params,
            kept: Vec::new(),
            p_values: PValues::none(),
            let_go: 0,
        };
        let summary = correlate(self.view()?, &mut sink, threads.execution)?;
        let Testing { kept, p_values, let_go, .. } = sink;
        let (device, seconds) = (Some(summary.stats.device), summary.stats.seconds);
        let mut kept = Kept { pairs: kept, p_values, device, seconds, let_go };
        self.confirm(&mut kept, 1, params.max_q, threads, |pair: &mut Tested| {
            ((pair.row, pair.col, 0), &mut pair.p)
        })?;
        Ok(kept)
    }

    /// Whether lags are looked at for all pairs, rather than for those that are correlated without one.
    pub(super) fn searches_all(&self, params: &Params) -> bool {
        let rows = self.rows() as f64;
        let lags = (2 * self.max_lag(params) + 1) as f64;
        let multiplications = rows * (rows - 1.0) / 2.0 * lags * self.prepared.cols as f64;
        match params.lag_search {
            LagSearch::All => true,
            LagSearch::Correlated => false,
            LagSearch::Auto => multiplications <= AUTO_MULTIPLICATIONS_MAX,
        }
    }

    /// The lag bound that the length of the series allows: overlaps stay three quarters of it.
    pub(super) fn max_lag(&self, params: &Params) -> usize {
        params.max_lag.min(self.prepared.cols / 4)
    }

    /// The best lag of every pair, or of `only`. Kept when strong enough, or when in `only`.
    pub(super) fn search_lags(
        &self,
        params: &Params,
        only: Option<&[(usize, usize)]>,
        threads: Threads<'_>,
        mut progress: impl FnMut(f64),
    ) -> Result<Kept<Lagged>> {
        let max_lag = self.max_lag(params);
        let options = LagOptions { max_lag, min_overlap: self.prepared.cols - max_lag };
        let mut kept = Kept {
            pairs: Vec::new(),
            p_values: PValues::none(),
            device: None,
            seconds: 0.0,
            let_go: 0,
        };
        let total = only.map_or(self.rows() * (self.rows() - 1) / 2, <[_]>::len);
        let mut all =
            (0..self.rows()).flat_map(|row| (row + 1..self.rows()).map(move |col| (row, col)));
        let mut listed = only.unwrap_or_default().iter().copied();
        let mut done = 0;
        loop {
            let pairs: Vec<(usize, usize)> = match only {
                Some(_) => listed.by_ref().take(LAG_PAIRS_AT_ONCE).collect(),
                None => all.by_ref().take(LAG_PAIRS_AT_ONCE).collect(),
            };
            if pairs.is_empty() {
                let lags = 2 * max_lag + 1;
                self.confirm(&mut kept, lags, params.max_q, threads, |found: &mut Lagged| {
                    ((found.pair.row, found.pair.col, found.pair.lag), &mut found.p)
                })?;
                return Ok(kept);
            }
            check_cancelled(NAME, threads.execution)?;
            let (view, part) = (self.view()?, Pairs::Listed(&pairs));
            let found = correlate_lagged(view, part, &options, threads.execution)?;
            kept.seconds += found.stats.seconds;
            kept.device = Some(found.stats.device);
            for pair in found.pairs {
                let p = self.p(pair.row, pair.col, pair.r, pair.lag.unsigned_abs() as usize);
                let p = of_best(p, 2 * max_lag + 1);
                kept.p_values.add(PValues::bin(p), 1);
                if only.is_some() || (pair.r.abs() >= params.min_coefficient && p <= params.max_q) {
                    kept.pairs.push(Lagged { pair, p });
                }
            }
            kept.let_go += keep_strongest(&mut kept.pairs, params.pairs_max, |l| l.pair.r.abs());
            done += pairs.len();
            progress(done as f64 / total.max(1) as f64);
        }
    }
}

/// Tests pairs as the kernel hands them out.
struct Testing<'a> {
    subjects: &'a Subjects,
    params: &'a Params,
    kept: Vec<Tested>,
    p_values: PValues,
    let_go: u64,
}

impl PairSink for Testing<'_> {
    /// Pairs to keep, and the bins of all p-values with their counts.
    type Part = (Vec<Tested>, Vec<(usize, u64)>);

    fn scan(&self, block: &ScoreBlock<'_>) -> Self::Part {
        let (mut kept, mut bins) = (Vec::new(), Vec::new());
        for row in block.rows() {
            let (first, scores) = block.row(row);
            for (offset, &r) in scores.iter().enumerate() {
                // A series that was left out has no coefficient and is not tested.
                if r.is_nan() {
                    continue;
                }
                let col = first + offset;
                let p = self.subjects.p(row, col, r, 0);
                bins.push(PValues::bin(p));
                if r.abs() >= self.params.min_coefficient && p <= self.params.max_q {
                    kept.push(Tested { row, col, r, p });
                }
            }
        }
        (kept, PValues::counts(bins))
    }

    fn take(&mut self, _block: &ScoreBlock<'_>, (kept, counts): Self::Part) -> kernels::Result<()> {
        counts.into_iter().for_each(|(bin, count)| self.p_values.add(bin, count));
        self.kept.extend(kept);
        self.let_go +=
            keep_strongest(&mut self.kept, self.params.pairs_max, |tested| tested.r.abs());
        Ok(())
    }
}

/// Cuts `pairs` to the strongest `most` once there are twice as many. Returns how many went.
fn keep_strongest<T>(pairs: &mut Vec<T>, most: usize, strength: impl Fn(&T) -> f64) -> u64 {
    if pairs.len() < 2 * most {
        return 0;
    }
    let gone = pairs.len() - most;
    pairs.select_nth_unstable_by(most, |a, b| strength(b).total_cmp(&strength(a)));
    pairs.truncate(most);
    gone as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_stay_once_there_are_twice_as_many() {
        let strength = |pair: &i32| f64::from(*pair);
        let mut pairs = vec![3, 9, 1, 7, 5];
        assert_eq!((keep_strongest(&mut pairs, 3, strength), pairs.len()), (0, 5));
        pairs.push(8);
        assert_eq!(keep_strongest(&mut pairs, 3, strength), 3);
        pairs.sort_unstable();
        assert_eq!(pairs, [7, 8, 9]);
    }

    #[test]
    fn lags_of_all_pairs_are_searched_while_that_is_quick() {
        let subjects = |cols: usize| Subjects {
            prepared: Prepared {
                series: vec![String::new(); 2_001],
                cols,
                values: Vec::new(),
                present: None,
                dropped: std::collections::BTreeMap::new(),
                cells_bridged: 0,
                cells_missing: 0,
                series_with_season: 0,
                device: None,
            },
            repetitions: Vec::new(),
        };
        let searches = |cols: usize, lag_search: LagSearch| {
            let params = Params { max_lag: 2, lag_search, ..Params::default() };
            subjects(cols).searches_all(&params)
        };
        // 2,001,000 pairs at five lags.
        assert_eq!([199_900, 199_901].map(|cols| searches(cols, LagSearch::Auto)), [true, false]);
        assert!(searches(199_901, LagSearch::All) && !searches(10, LagSearch::Correlated));
    }
}
