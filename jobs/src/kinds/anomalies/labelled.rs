//! What people said of findings ([`crate::anomaly_labels`]), and what follows: which of its like are told.
//!
//! | said | then |
//! |---|---|
//! | not an anomaly | it is not told again unless it is more severe, and of that series and kind nothing that is hardly more severe |
//! | real | it is told, whatever else is learned |
//! | real, where nothing was found | `auto` and `windows` take lower thresholds for that series, as far as it must and at most half |
//!
//! Many words on many series of a kind teach all series ([`analysis::series::taught`]), if they show that what would be left out is no
//! anomaly.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use analysis::series::taught::{Factors, Lesson, Options, Verdict, thresholds};
use analysis::trial::wilson;
use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float64Type, TimestampMicrosecondType};
use datafusion::logical_expr::{cast, ident, lit};
use engine::{Code, Error, Result};
use futures::StreamExt;
use serde_json::{Value, json};

use super::explain::{Anomaly, Kind};
use super::{NAME, Params};
use crate::anomaly_labels::{self, AnomalyVerdict};
use crate::run::context::RunContext;
use crate::series::microseconds;
use crate::tables::columns::texts;

/// Words on one dataset that are minded: the newest.
const WORDS_MAX: usize = 100_000;
/// Of the memory budget they take at most this part.
const BUDGET_PART: usize = 8;
/// The least part of a threshold that a stretch which somebody calls real is looked at with.
pub(super) const PART_MIN: f64 = 0.5;
/// Intervals that what was found may be beside a stretch which somebody calls real.
pub(crate) const BESIDE: i64 = 2;
/// Other series leave findings of a kind out if at most this part of series with such findings has a real one, with 95 % confidence.
/// If more of them are real, leaving them out lowers F1, unless it is below a half.
const REAL_PART_MAX: f64 = 0.25;
/// What is called real is at least so severe: what the job `insights` looks at by default.
const SEVERITY_OF_REAL: f64 = 25.0;
/// Series of words that are not there, in the summary.
const EXAMPLES_MAX: usize = 20;

/// What was said of one finding, or of a stretch of time.
#[derive(Clone, Debug, PartialEq)]
struct Said {
    /// How many words were said after it.
    nth: usize,
    /// The [`family`] of the finding; empty where nothing was found.
    kind: &'static str,
    started_us: i64,
    ended_us: i64,
    verdict: AnomalyVerdict,
    severity: Option<f64>,
}

/// What was said of the series of a dataset.
#[derive(Clone, Debug, Default)]
pub(super) struct Labelled {
    said: HashMap<String, Vec<Said>>,
    /// Numbers of series and kinds that were spoken of.
    series: BTreeMap<String, usize>,
    kinds: BTreeMap<&'static str, usize>,
    factors: Factors,
    /// Kinds of which the words on series say enough for all others.
    learnt: BTreeSet<&'static str>,
    /// Words that are not minded, because more came since than are.
    older: usize,
}

impl Labelled {
    pub(super) async fn read(ctx: &RunContext, params: &Params) -> Result<Self> {
        let name = anomaly_labels::spec().name;
        if ctx.inputs().iter().all(|input| input.dataset != name) {
            return Ok(Self::default());
        }
        let session = ctx.session();
        let of_source = ident("source").eq(lit(params.dataset.as_str()));
        let columns = vec![
            cast(ident("series"), DataType::Utf8),
            cast(ident("kind"), DataType::Utf8),
            cast(ident("started_at"), microseconds()),
            cast(ident("ended_at"), microseconds()),
            cast(ident("verdict"), DataType::Utf8),
            cast(ident("severity"), DataType::Float64),
        ];
        // The newest first.
        let order =
            ["at", "series", "kind", "started_at"].map(|name| ident(name).sort(false, true));
        let frame = session.table(&name).await?.filter(of_source)?.sort(order.into())?;
        let mut rows = session.stream(frame.select(columns)?).await?;
        let (mut last, mut read, mut bytes) = (BTreeMap::new(), 0, 0);
        let bytes_max = ctx.memory_budget_bytes() / BUDGET_PART;
        while let Some(batch) = rows.next().await.transpose()? {
            ctx.check()?;
            let before = read;
            read += batch.num_rows();
            if before >= WORDS_MAX {
                continue;
            }
            let (series, kinds, verdicts) =
                (texts(&batch, 0)?, texts(&batch, 1)?, texts(&batch, 4)?);
            let instants = |at: usize| batch.column(at).as_primitive::<TimestampMicrosecondType>();
            let (started, ended) = (instants(2), instants(3));
            let severity = batch.column(5).as_primitive::<Float64Type>();
            for row in 0..batch.num_rows() {
                let nth = before + row;
                if nth >= WORDS_MAX {
                    break;
                }
                let kind = family(kinds.value(row));
                // Of a kind that there is no more nothing follows.
                if kind.is_empty() && !kinds.value(row).is_empty() {
                    continue;
                }
                bytes += series.value(row).len() + size_of::<(String, Said)>() * 2;
                if bytes > bytes_max {
                    let says = format!(
                        "{NAME}: the words of {name} on {} take more than {} MiB, an eighth of the memory budget: raise it",
                        params.dataset,
                        bytes_max >> 20
                    );
                    return Err(Error::user(Code::ResourcesExhausted, says));
                }
                let said = Said {
                    nth,
                    kind,
                    started_us: started.value(row),
                    ended_us: ended.value(row),
                    verdict: verdicts.value(row).parse()?,
                    severity: severity.is_valid(row).then(|| severity.value(row)),
                };
                let of = (series.value(row).to_owned(), said.kind, said.started_us);
                last.entry(of).or_insert(said);
            }
        }
        let of = move || {
            let all = last.into_iter().map(|((series, ..), said)| (series, said));
            let all = all.filter(|(_, said)| said.verdict != AnomalyVerdict::TakenBack);
            Ok(Self { older: read.saturating_sub(WORDS_MAX), ..Self::of(all) })
        };
        ctx.compute(of).await
    }

    fn of(all: impl Iterator<Item = (String, Said)>) -> Self {
        let mut labelled = Self::default();
        let mut lessons = Vec::new();
        for (series, said) in all {
            let next = labelled.series.len();
            let number = *labelled.series.entry(series.clone()).or_insert(next);
            let next = labelled.kinds.len();
            let kind = *labelled.kinds.entry(said.kind).or_insert(next);
            let verdict = match said.verdict {
                AnomalyVerdict::Real => Verdict::Real,
                _ => Verdict::Not,
            };
            let lesson =
                |severity| Lesson { series: number, kind, ratio: ratio(severity), verdict };
            lessons.extend(said.severity.map(lesson));
            labelled.said.entry(series).or_default().push(said);
        }
        // A threshold comes down by what is found below it alone: what was found is above it. What is no anomaly is none however severe.
        let options =
            Options { factor_min: 1.0, factor_max: 2.0 * RATIO_MAX, ..Options::default() };
        labelled.factors = thresholds(&lessons, &options);
        let teaches =
            |number: usize| seldom_real(&lessons, number, labelled.factors.of_kind(number));
        let learnt = labelled.kinds.iter().filter(|(_, number)| teaches(**number));
        labelled.learnt = learnt.map(|(kind, _)| *kind).collect();
        labelled
    }

    /// What was said of a finding: the last word on one that it overlaps.
    fn said_of(&self, anomaly: &Anomaly) -> Option<&Said> {
        let kind = family(anomaly.kind.as_str());
        let times = [anomaly.started_at, anomaly.ended_at];
        let is_of = |said: &&Said| {
            (said.kind == kind || said.kind.is_empty()) && said.is_near(times, anomaly.interval_us)
        };
        // The newest has the least number.
        self.said.get(&anomaly.series)?.iter().filter(is_of).min_by_key(|said| said.nth)
    }

    /// Whether it is told.
    pub(super) fn is_told(&self, anomaly: &Anomaly) -> bool {
        match self.said_of(anomaly) {
            Some(said) if said.verdict == AnomalyVerdict::Real => return true,
            Some(said) if said.severity.is_some_and(|then| anomaly.severity <= then) => {
                return false;
            }
            _ => {}
        }
        let name = family(anomaly.kind.as_str());
        let Some(kind) = self.kinds.get(name) else { return true };
        let factor = match self.series.get(&anomaly.series) {
            Some(series) => self.factors.of(*series, *kind),
            None if self.learnt.contains(name) => self.factors.of_kind(*kind),
            None => 1.0,
        };
        factor <= 1.0 || ratio(anomaly.severity) >= factor
    }

    /// What a person said that it is, as it stands in rows.
    pub(super) fn word(&self, anomaly: &Anomaly) -> Option<&'static str> {
        self.said_of(anomaly).map(|said| said.verdict.as_str())
    }

    /// Leaves out what is not told, and says how many that were. What is called real is so severe at least that it is an insight.
    pub(super) fn retain(&self, anomalies: &mut Vec<Anomaly>) -> usize {
        let all = anomalies.len();
        if !self.said.is_empty() {
            anomalies.retain(|anomaly| self.is_told(anomaly));
            for anomaly in anomalies.iter_mut() {
                if self.word(anomaly) == Some(AnomalyVerdict::Real.as_str()) {
                    anomaly.severity = anomaly.severity.max(SEVERITY_OF_REAL);
                }
            }
        }
        all - anomalies.len()
    }

    /// Whether somebody said something of a series.
    pub(super) fn has_words_on(&self, series: &str) -> bool {
        self.said.contains_key(series)
    }

    /// Whether somebody said that something is real in a series where nothing was found.
    pub(super) fn has_missed(&self, series: &str) -> bool {
        let said = self.said.get(series);
        said.is_some_and(|said| said.iter().any(Said::is_missed))
    }

    /// Whether an instant is in or near a stretch that was called real though nothing was found.
    pub(super) fn is_in_missed(&self, series: &str, at_us: i64, interval_us: i64) -> bool {
        let said = self.said.get(series);
        let is_in = |said: &Said| said.is_missed() && said.is_near([at_us; 2], interval_us);
        said.is_some_and(|said| said.iter().any(is_in))
    }

    /// Whether a finding is in a stretch that was called real though nothing was found.
    pub(super) fn is_missed(&self, found: &Anomaly) -> bool {
        let kind = family(found.kind.as_str());
        let said = self.said.get(&found.series);
        said.is_some_and(|said| {
            said.iter().any(|said| {
                said.is_missed()
                    && (said.kind.is_empty() || said.kind == kind)
                    && said.is_near([found.started_at, found.ended_at], found.interval_us)
            })
        })
    }

    /// What the summary says of it; null where nothing was said.
    pub(super) fn summary(&self, left_out: usize, is_there: impl Fn(&str) -> bool) -> Value {
        if self.said.is_empty() {
            return Value::Null;
        }
        let absent: BTreeSet<&String> = self.said.keys().filter(|name| !is_there(name)).collect();
        let examples: Vec<&&String> = absent.iter().take(EXAMPLES_MAX).collect();
        json!({
            "words": self.said.values().map(Vec::len).sum::<usize>(),
            "findings_left_out": left_out,
            "series_not_there": { "series": absent.len(), "examples": examples },
            "older_left_out": self.older,
        })
    }
}

impl Said {
    fn is_missed(&self) -> bool {
        self.verdict == AnomalyVerdict::Real && self.severity.is_none()
    }

    /// Whether it is of that stretch of time, ends included, or, where nothing was found, near it.
    fn is_near(&self, times: [i64; 2], interval_us: i64) -> bool {
        let own = [self.started_us, self.ended_us];
        is_near(own, self.severity.is_none(), times, interval_us)
    }
}

/// Whether what was said of a stretch of time, where something was found or not, is said of a finding at those times.
pub(crate) fn is_near(
    [from_us, to_us]: [i64; 2],
    is_missed: bool,
    [started_us, ended_us]: [i64; 2],
    interval_us: i64,
) -> bool {
    let beside = if is_missed { interval_us.saturating_mul(BESIDE) } else { 0 };
    from_us <= ended_us.saturating_add(beside) && started_us <= to_us.saturating_add(beside)
}

/// Whether lessons on many series say that what a factor leaves out of a kind is seldom real.
fn seldom_real(lessons: &[Lesson], kind: usize, factor: f64) -> bool {
    let mut of_series: BTreeMap<usize, bool> = BTreeMap::new();
    for lesson in lessons.iter().filter(|lesson| lesson.kind == kind && lesson.ratio < factor) {
        *of_series.entry(lesson.series).or_default() |= lesson.verdict == Verdict::Real;
    }
    let real = of_series.values().filter(|is_real| **is_real).count() as u64;
    wilson(real, of_series.len() as u64).is_some_and(|part| part.upper <= REAL_PART_MAX)
}

/// The most that a finding is beyond its threshold: what is beyond that is alike.
const RATIO_MAX: f64 = 1e4;

/// How far beyond its threshold a finding of that severity is.
fn ratio(severity: f64) -> f64 {
    1.0 / (1.0 - severity.clamp(0.0, 100.0) / 100.0).max(1.0 / RATIO_MAX)
}

/// Kinds that one finding may have one after the other: a series shows its day by and by, and an episode has the aspect that is rarest.
pub(crate) fn family(kind: &str) -> &'static str {
    let Some(kind) = Kind::named(kind) else { return "" };
    match kind {
        Kind::Outlier | Kind::SeasonalOutlier => "outlier",
        Kind::Unusual(_) => "unusual",
        kind => kind.as_str(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::print_stderr)]
    use analysis::Noise;
    use analysis::testing::{exponential, number_from};

    use super::*;

    fn found(series: &str, kind: Kind, at: i64, severity: f64) -> Anomaly {
        Anomaly {
            series: series.into(),
            kind,
            started_at: at,
            ended_at: at + 10,
            peak_at: at,
            observed: None,
            expected: None,
            score: 6.0 * ratio(severity),
            severity,
            samples: 1,
            interval_us: 5,
            season: None,
            explanation: String::new(),
        }
    }

    #[test]
    fn a_severity_says_how_far_beyond_its_threshold_a_finding_is() {
        let told = [(0.0, 1.0), (-5.0, 1.0), (50.0, 2.0), (90.0, 10.0), (99.9, 1e3)];
        for (severity, times) in told {
            assert!((ratio(severity) / times - 1.0).abs() < 1e-9, "{severity}");
        }
        // Where nothing is left to be more, all are alike.
        for severity in [99.99, 99.999, 100.0, 200.0] {
            assert!((ratio(severity) / 1e4 - 1.0).abs() < 1e-9, "{severity}");
        }
    }

    fn labelled(words: &[(&str, &str, i64, AnomalyVerdict, Option<f64>)]) -> Labelled {
        let said =
            |(nth, &(series, kind, at, verdict, severity)): (usize, &(&str, &str, i64, _, _))| {
                let (kind, ended_us) = (family(kind), at + 10);
                (series.to_owned(), Said { nth, kind, started_us: at, ended_us, verdict, severity })
            };
        Labelled::of(words.iter().enumerate().map(said))
    }

    #[test]
    fn what_is_no_anomaly_is_not_told_again_nor_its_like_and_others_are() {
        let of = labelled(&[("a", "outlier", 0, AnomalyVerdict::NotAnAnomaly, Some(60.0))]);
        let is_told =
            |series: &str, kind, at, severity| of.is_told(&found(series, kind, at, severity));
        // The same, where it grew, and its like elsewhere in the series.
        assert!(!is_told("a", Kind::Outlier, 0, 60.0));
        assert!(!is_told("a", Kind::Outlier, 5, 59.0));
        assert!(!is_told("a", Kind::Outlier, 1_000, 60.0));
        assert!(is_told("a", Kind::Outlier, 0, 90.0));
        assert!(is_told("a", Kind::Outlier, 1_000, 90.0));
        // Other kinds and series.
        assert!(is_told("a", Kind::LevelShift, 0, 10.0));
        assert!(is_told("b", Kind::Outlier, 0, 60.0));
        let mut all = vec![found("a", Kind::Outlier, 0, 60.0), found("b", Kind::Outlier, 0, 0.1)];
        assert_eq!((of.retain(&mut all), all.len()), (1, 1));
        assert_eq!(Labelled::default().retain(&mut all), 0);
    }

    #[test]
    fn what_is_real_is_told_whatever_its_like_is() {
        let of = labelled(&[
            ("a", "outlier", 0, AnomalyVerdict::NotAnAnomaly, Some(60.0)),
            ("a", "outlier", 500, AnomalyVerdict::Real, Some(20.0)),
        ]);
        let real = found("a", Kind::Outlier, 500, 20.0);
        assert!(of.is_told(&real));
        assert_eq!(of.word(&real), Some("real"));
        assert_eq!(of.word(&found("a", Kind::Outlier, 900, 20.0)), None);
        assert!(!of.is_told(&found("a", Kind::Outlier, 0, 60.0)));
    }

    #[test]
    fn what_was_missed_is_near_a_stretch_that_was_called_real() {
        let of = labelled(&[("a", "", 100, AnomalyVerdict::Real, None)]);
        assert!(of.has_missed("a") && !of.has_missed("b"));
        // From 100 to 110, and two intervals of 5 beside it.
        let is_missed = |series: &str, at| of.is_missed(&found(series, Kind::Outlier, at, 0.0));
        assert_eq!([79, 80, 120, 121].map(|at| is_missed("a", at)), [false, true, true, false]);
        assert!(!is_missed("b", 100));
        assert_eq!(of.summary(0, |_| false)["series_not_there"]["examples"], json!(["a"]));
        assert_eq!(Labelled::default().summary(0, |_| false), Value::Null);
    }

    #[test]
    fn of_several_words_the_last_one_counts_and_kinds_of_one_finding_are_one() {
        use AnomalyVerdict::{NotAnAnomaly, Real};
        // The newest first.
        let of = labelled(&[
            ("a", "seasonal_outlier", 0, NotAnAnomaly, Some(60.0)),
            ("a", "outlier", 5, Real, Some(20.0)),
            ("b", "excursion", 0, NotAnAnomaly, Some(99.999)),
        ]);
        assert!(!of.is_told(&found("a", Kind::Outlier, 5, 60.0)));
        let unusual = |aspect| found("b", Kind::Unusual(aspect), 500, 99.5);
        use analysis::series::online::Aspect;
        assert!(!of.is_told(&unusual(Aspect::Drift)) && !of.is_told(&unusual(Aspect::Shape)));
        assert!(of.is_told(&found("b", Kind::Outlier, 0, 10.0)));
        let all = ["outlier", "level_shift", "missing", "drift", "unlike", "discord", "joint"];
        assert!(all.iter().all(|kind| !family(kind).is_empty()));
        assert_eq!((family("level"), family("shape"), family("none")), ("unusual", "unusual", ""));
    }

    /// Findings of 20 series and whether each is real. Series differ in how severe their noise is, and what is real is three times as
    /// severe as usual noise, or as any.
    fn world(noise: &mut Noise, is_mixed: bool, is_clear: bool) -> Vec<(Anomaly, bool)> {
        let mut all = Vec::new();
        for series in 0..20 {
            let loud = if is_mixed && series % 4 == 0 { 6.0 } else { 1.3 };
            for at in 0..6 {
                let is_real = noise.uniform() < 0.6;
                let least = if is_real && is_clear { 30.0 } else { 1.0 };
                let far = if is_real && loud < 2.0 { 3.0 } else { loud };
                let ratio = least + far * exponential(noise);
                let severity = 100.0 * (1.0 - 1.0 / ratio);
                all.push((
                    found(&format!("s{series}"), Kind::Outlier, 100 * at, severity),
                    is_real,
                ));
            }
        }
        all
    }

    /// F1 of what is told of the series without words.
    fn f1(all: &[(Anomaly, bool)], silent: &BTreeSet<&str>, of: &Labelled) -> f64 {
        let others = || all.iter().filter(|(found, _)| silent.contains(found.series.as_str()));
        let told: Vec<bool> =
            others().filter(|(found, _)| of.is_told(found)).map(|(_, is_real)| *is_real).collect();
        let real = others().filter(|(_, is_real)| *is_real).count();
        let both = told.iter().filter(|is_real| **is_real).count();
        2.0 * both as f64 / (told.len() + real).max(1) as f64
    }

    /// `COLONNADE_SEEDS` worlds.
    #[test]
    fn words_on_some_series_make_findings_of_the_others_no_worse() {
        let seeds = number_from("COLONNADE_SEEDS", 50);
        let mut best = 0.0_f64;
        for (is_mixed, is_clear) in [(false, false), (true, false), (false, true), (true, true)] {
            for count in [1, 3, 6, 12, 16, 18] {
                let (mut gain, mut worst) = (0.0, 0.0_f64);
                for seed in 0..seeds {
                    let mut noise = Noise::new(1_000 * count as u64 + seed);
                    let all = world(&mut noise, is_mixed, is_clear);
                    let mut series: Vec<String> = (0..20).map(|at| format!("s{at}")).collect();
                    noise.shuffle(&mut series);
                    let (spoken_of, silent) = series.split_at(count);
                    let silent = silent.iter().map(String::as_str).collect();
                    let words: Vec<_> = all
                        .iter()
                        .filter(|(found, _)| spoken_of.contains(&found.series))
                        .map(|(found, is_real)| {
                            let verdict = match is_real {
                                true => AnomalyVerdict::Real,
                                false => AnomalyVerdict::NotAnAnomaly,
                            };
                            let Anomaly { series, started_at, severity, .. } = found;
                            (series.as_str(), "outlier", *started_at, verdict, Some(*severity))
                        })
                        .collect();
                    let labelled = labelled(&words);
                    let usual = Labelled::default();
                    let change = f1(&all, &silent, &labelled) - f1(&all, &silent, &usual);
                    gain += change / seeds as f64;
                    worst = worst.min(change);
                }
                eprintln!(
                    "mixed {is_mixed}, clear {is_clear}, {count} of 20 series: F1 {gain:+.3}, at worst {worst:+.3}"
                );
                assert!(worst >= -0.01, "{is_mixed}, {is_clear}, {count}: {worst}");
                best = best.max(gain);
            }
        }
        assert!(best > 0.05, "{best}");
    }

    #[test]
    fn many_words_on_many_series_teach_all_of_them() {
        let names: Vec<String> = (0..200).map(|at| format!("s{at}")).collect();
        let words: Vec<_> = names
            .iter()
            .map(|name| (name.as_str(), "outlier", 0, AnomalyVerdict::NotAnAnomaly, Some(40.0)))
            .collect();
        let of = labelled(&words);
        assert!(!of.is_told(&found("another", Kind::Outlier, 0, 10.0)));
        assert!(of.is_told(&found("another", Kind::Outlier, 0, 95.0)));
        assert!(of.is_told(&found("another", Kind::LevelShift, 0, 10.0)));
    }
}
