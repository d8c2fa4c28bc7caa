//! From tested pairs to rows and a summary. The false-discovery rate is over the pairs of all cohorts
//! together, so rows can be made only when the last cohort has been tested.

use std::collections::{BTreeMap, HashMap};

use analysis::calendar;
use analysis::significance::PValues;
use serde_json::{Value, json};

use super::behind::{Behind, Links};
use super::extent::Cohort;
use super::grid::Grid;
use super::output::{BestLag, Correlation, Told};
use super::pairs::{Kept, Lagged, Subjects, Tested};
use super::params::{Also, Params};
use super::prepare::Prepared;
use crate::run::stage::Stage;
use crate::series::replaces;

/// Names of left-out series in a summary, for each reason.
const EXAMPLES_MAX: usize = 20;

/// When a cohort's grid begins and ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    started_at: i64,
    ended_at: i64,
}

/// A pair with all that its row needs but the q-values.
struct Candidate {
    pair: (usize, usize),
    row: Correlation,
    bin: usize,
    lag_bin: Option<usize>,
}

/// A cohort whose pairs are tested.
pub(super) struct Compared {
    candidates: Vec<Candidate>,
    p_values: PValues,
    /// Of the lag search, where it took all pairs.
    lag_p_values: Option<PValues>,
    let_go: u64,
}

/// What the run has found so far.
pub(super) struct Report<'a> {
    params: &'a Params,
    interval: calendar::Interval,
    cohorts: u64,
    series: u64,
    series_with_season: u64,
    left_out: BTreeMap<&'static str, Vec<String>>,
    cells: u64,
    cells_bridged: u64,
    cells_missing: u64,
    p_values: Counted,
    lag_p_values: Counted,
    candidates: Vec<Candidate>,
    let_go: u64,
    passed: u64,
}

/// Counts over several cohorts.
#[derive(Default)]
struct Counted(Option<PValues>);

impl Frame {
    pub(super) fn of(grid: &Grid) -> Self {
        Self {
            started_at: grid.start_us(0),
            ended_at: grid.start_us(grid.buckets.saturating_sub(1)),
        }
    }
}

impl Compared {
    /// Joins the pairs found without a lag and those found with one.
    pub(super) fn new(
        subjects: &Subjects,
        frame: Frame,
        tested: Kept<Tested>,
        lagged: Option<(Kept<Lagged>, bool)>,
    ) -> Self {
        let plain: HashMap<(usize, usize), Tested> =
            tested.pairs.into_iter().map(|t| ((t.row, t.col), t)).collect();
        let (lagged, searched_all) = match lagged {
            Some((lagged, all)) => (Some(lagged), all),
            None => (None, false),
        };
        let mut let_go = tested.let_go;
        let mut lags: HashMap<(usize, usize), Lagged> = HashMap::new();
        let mut lag_p_values = None;
        if let Some(lagged) = lagged {
            let_go += lagged.let_go;
            lags = lagged.pairs.into_iter().map(|l| ((l.pair.row, l.pair.col), l)).collect();
            lag_p_values = searched_all.then_some(lagged.p_values);
        }
        let mut keys: Vec<(usize, usize)> = plain.keys().chain(lags.keys()).copied().collect();
        keys.sort_unstable();
        keys.dedup();
        let candidates = keys
            .into_iter()
            .map(|key| {
                candidate(subjects, frame, key, plain.get(&key), lags.get(&key), searched_all)
            })
            .collect();
        Self { candidates, p_values: tested.p_values, lag_p_values, let_go }
    }

    /// The pairs that may be reported, each with the larger of its coefficients and the lag of that.
    pub(super) fn links(&self) -> Links {
        let of = |candidate: &Candidate| {
            let Correlation { coefficient, lag, .. } = &candidate.row;
            let plain = if coefficient.is_nan() { 0.0 } else { *coefficient };
            let link = match lag {
                Some(lag) if lag.coefficient.abs() > plain.abs() => (lag.coefficient, lag.samples),
                _ => (plain, 0),
            };
            (candidate.pair, link)
        };
        self.candidates.iter().map(of).collect()
    }

    /// The same with what lies behind some of them.
    pub(super) fn with(
        mut self,
        subjects: &Subjects,
        mut found: HashMap<(usize, usize), Behind>,
        intervals: &calendar::Grid,
    ) -> Self {
        for candidate in &mut self.candidates {
            let Some(behind) = found.remove(&candidate.pair) else { continue };
            let row = &mut candidate.row;
            let bucket = |at: usize| {
                // Of changes the first bucket has none.
                let ended = subjects.prepared.cols.saturating_sub(1).saturating_sub(at) as i64;
                intervals.at(intervals.number_before(row.ended_at).saturating_sub(ended))
            };
            row.told = Some(Told {
                origin: behind.origin,
                given: behind.given.map(|(third, remains)| {
                    (subjects.prepared.series.get(third).cloned().unwrap_or_default(), remains)
                }),
                course: behind.course,
                breaks: behind.breaks.map(|(at, sides)| (bucket(at), sides)),
            });
        }
        self
    }
}

fn candidate(
    subjects: &Subjects,
    frame: Frame,
    (row, col): (usize, usize),
    plain: Option<&Tested>,
    lagged: Option<&Lagged>,
    searched_all: bool,
) -> Candidate {
    let n = subjects.shared_samples(row, col);
    let effective_n = subjects.effective(row, col, n);
    let coefficient = match (plain, lagged) {
        (Some(tested), _) => tested.r,
        (None, Some(lagged)) => lagged.pair.r_unshifted,
        (None, None) => f64::NAN,
    };
    let p = plain.map_or_else(|| subjects.p(row, col, coefficient, 0), |tested| tested.p);
    let lag = lagged.map(|found| BestLag {
        samples: found.pair.lag,
        coefficient: found.pair.r,
        p: found.p,
        q: None,
    });
    Candidate {
        pair: (row, col),
        bin: PValues::bin(p),
        lag_bin: lag.filter(|_| searched_all).map(|lag| PValues::bin(lag.p)),
        row: Correlation {
            // Rows are sorted by name, so the first of a pair is a.
            series_a: subjects.prepared.series[row].clone(),
            series_b: subjects.prepared.series[col].clone(),
            coefficient,
            n,
            effective_n,
            p,
            q: 1.0,
            lag,
            interval_us: 0,
            started_at: frame.started_at,
            ended_at: frame.ended_at,
            told: None,
        },
    }
}

impl<'a> Report<'a> {
    pub(super) fn new(params: &'a Params, intervals: &calendar::Grid) -> Self {
        Self {
            params,
            interval: intervals.interval(),
            cohorts: 0,
            series: 0,
            series_with_season: 0,
            left_out: BTreeMap::new(),
            cells: 0,
            cells_bridged: 0,
            cells_missing: 0,
            p_values: Counted::default(),
            lag_p_values: Counted::default(),
            candidates: Vec::new(),
            let_go: 0,
            passed: 0,
        }
    }

    /// Takes the cohorts of one series out: there is nothing to compare them with.
    pub(super) fn leave_out_lone(&mut self, cohorts: Vec<Cohort>) -> Vec<Cohort> {
        let (several, lone): (Vec<Cohort>, Vec<Cohort>) =
            cohorts.into_iter().partition(|cohort| cohort.series.len() > 1);
        let names = lone.into_iter().flat_map(|cohort| cohort.series);
        self.leave_out("shares too little time with any other series", names);
        several
    }

    pub(super) fn prepared(&mut self, prepared: &Prepared) {
        self.series += prepared.series.len() as u64;
        self.series_with_season += prepared.series_with_season;
        self.cells += prepared.values.len() as u64;
        self.cells_bridged += prepared.cells_bridged;
        self.cells_missing += prepared.cells_missing;
        for (reason, names) in &prepared.dropped {
            self.leave_out(reason, names.iter().cloned());
        }
    }

    pub(super) fn too_short(&mut self, series: &[String]) {
        self.series -= series.len() as u64;
        self.leave_out(
            "fewer than 8 shared buckets, or no other series left",
            series.iter().cloned(),
        );
    }

    pub(super) fn compared(&mut self, cohort: Compared) {
        self.cohorts += 1;
        self.p_values.add(Some(cohort.p_values));
        self.lag_p_values.add(cohort.lag_p_values);
        self.candidates.extend(cohort.candidates);
        self.let_go += cohort.let_go;
    }

    /// The rows, the strongest pair first.
    pub(super) fn finish(&mut self) -> Vec<Correlation> {
        let (q, lag_q) = (self.p_values.q_values(), self.lag_p_values.q_values());
        let (min, max_q) = (self.params.min_coefficient, self.params.max_q);
        let mut rows: Vec<Correlation> = std::mem::take(&mut self.candidates)
            .into_iter()
            .filter_map(|candidate| {
                let Candidate { mut row, bin, lag_bin, .. } = candidate;
                row.q = q[bin];
                row.interval_us = self.interval.mean_micros();
                if let (Some(lag), Some(bin)) = (&mut row.lag, lag_bin) {
                    lag.q = Some(lag_q[bin]);
                }
                let at_once = row.coefficient.abs() >= min && row.q <= max_q;
                let later = row
                    .lag
                    .is_some_and(|l| l.coefficient.abs() >= min && l.q.is_some_and(|q| q <= max_q));
                (at_once || later).then_some(row)
            })
            .collect();
        rows.sort_by(|a, b| {
            b.strength()
                .total_cmp(&a.strength())
                .then_with(|| (&a.series_a, &a.series_b).cmp(&(&b.series_a, &b.series_b)))
        });
        self.passed = rows.len() as u64;
        rows.truncate(self.params.pairs_max);
        rows
    }

    pub(super) fn summary(&self, reported: usize) -> Value {
        let left_out: serde_json::Map<String, Value> = self
            .left_out
            .iter()
            .map(|(reason, names)| {
                let examples = &names[..names.len().min(EXAMPLES_MAX)];
                ((*reason).to_owned(), json!({ "series": names.len(), "examples": examples }))
            })
            .collect();
        json!({
            "source": self.params.dataset,
            "also": self.params.also.iter().map(Also::label).collect::<Vec<_>>(),
            "replaces": replaces(&self.params.dataset, &self.params.series),
            "interval": self.interval,
            "interval_inferred": self.params.interval.is_none(),
            "cohorts": self.cohorts,
            "series_compared": self.series,
            "series_with_season": self.series_with_season,
            "series_left_out": left_out,
            "buckets": self.cells,
            "buckets_bridged": self.cells_bridged,
            "buckets_missing": self.cells_missing,
            "pairs_tested": self.p_values.tested(),
            "pairs_tested_at_lags": self.lag_p_values.tested(),
            "pairs_reported": reported,
            "pairs_beyond_pairs_max": self.let_go + self.passed.saturating_sub(reported as u64),
            "significance": "two-sided test on the effective sample size (Bartlett) and the kurtoses (Pitman), and \
                             by random orders where values are rare; Šidák over lags; Benjamini & Hochberg over all \
                             pairs tested",
        })
    }

    fn leave_out(&mut self, reason: &'static str, names: impl IntoIterator<Item = String>) {
        let mut names = names.into_iter().peekable();
        if names.peek().is_some() {
            self.left_out.entry(reason).or_default().extend(names);
        }
    }
}

impl Counted {
    fn add(&mut self, other: Option<PValues>) {
        match (&mut self.0, other) {
            (Some(all), Some(other)) => all.add_all(&other),
            (all @ None, other) => *all = other,
            (Some(_), None) => {}
        }
    }

    fn tested(&self) -> u64 {
        self.0.as_ref().map_or(0, PValues::tested)
    }

    fn q_values(&self) -> Vec<f64> {
        self.0.as_ref().map(PValues::q_values).unwrap_or_default()
    }
}

/// Fills in the record of a step that a kernel did.
pub(super) fn record<T>(stage: &mut Stage, kept: &Kept<T>) {
    stage.record.rows_in = kept.p_values.tested();
    stage.record.rows_out = kept.pairs.len() as u64;
    if let Some(report) = &kept.device {
        stage.on_device(report.device.to_string(), report.reason.clone());
        if report.device != kernels::Device::Cpu {
            stage.record.gpu_seconds = kept.seconds;
        }
    }
    stage.facts(json!({ "kernel_seconds": kept.seconds }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_coefficients_the_larger_links_whatever_its_sign() {
        let link = |coefficient: f64, lagged: Option<f64>| {
            let lag =
                lagged.map(|coefficient| BestLag { coefficient, samples: 3, p: 0.0, q: None });
            let row = Correlation {
                series_a: "a".into(),
                series_b: "b".into(),
                coefficient,
                n: 9,
                effective_n: 9.0,
                p: 0.0,
                q: 0.0,
                lag,
                interval_us: 1,
                started_at: 0,
                ended_at: 9,
                told: None,
            };
            let candidate = Candidate { pair: (0, 1), row, bin: 0, lag_bin: None };
            let compared = Compared {
                candidates: vec![candidate],
                p_values: PValues::none(),
                lag_p_values: None,
                let_go: 0,
            };
            compared.links().into_values().next()
        };
        assert_eq!(link(-0.9, Some(0.5)), Some((-0.9, 0)));
        assert_eq!(link(0.5, Some(-0.9)), Some((-0.9, 3)));
        assert_eq!(link(-0.4, None), Some((-0.4, 0)));
        assert_eq!(link(f64::NAN, Some(-0.2)), Some((-0.2, 3)));
    }
}
