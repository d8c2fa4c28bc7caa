//! What people said of findings ([`crate::anomaly_labels`]), and what follows: which of its like are told.
//!
//! | said | then |
//! |---|---|
//! | not an anomaly | it is not told again unless it is more severe, and of that series and kind nothing that is hardly more severe |
//! | real | it is told, whatever else is learned |
//! | real, where nothing was found | the method `windows` takes lower thresholds for that series, as far as it must and at most half |
//!
//! Many words on many series of a kind teach all series: [`analysis::series::taught`].

use std::collections::{BTreeMap, BTreeSet, HashMap};

use analysis::series::taught::{Factors, Lesson, Options, Verdict, thresholds};
use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float64Type, TimestampMicrosecondType};
use datafusion::logical_expr::{cast, ident, lit};
use engine::{Code, Error, Result};
use futures::StreamExt;
use serde_json::{Value, json};

use super::explain::Anomaly;
use super::{NAME, Params};
use crate::anomaly_labels::{self, AnomalyVerdict};
use crate::run::context::RunContext;
use crate::series::microseconds;
use crate::tables::columns::texts;

/// Words on one dataset that are minded at most.
const WORDS_MAX: usize = 1_000_000;
/// The least part of a threshold that a stretch which somebody calls real is looked at with.
pub(super) const PART_MIN: f64 = 0.5;
/// Intervals that what was found may be beside a stretch which somebody calls real.
const BESIDE: i64 = 2;
/// Series of words that are not there, in the summary.
const EXAMPLES_MAX: usize = 20;

/// What was said of one finding, or of a stretch of time.
#[derive(Clone, Debug, PartialEq)]
struct Said {
    /// Empty where nothing was found.
    kind: String,
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
    kinds: BTreeMap<String, usize>,
    factors: Factors,
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
        let order = ["at", "series", "kind", "started_at"].map(|name| ident(name).sort(true, true));
        let frame = session.table(&name).await?.filter(of_source)?.sort(order.into())?;
        let mut rows = session.stream(frame.select(columns)?).await?;
        let (mut last, mut read) = (BTreeMap::new(), 0);
        while let Some(batch) = rows.next().await.transpose()? {
            ctx.check()?;
            read += batch.num_rows();
            if read > WORDS_MAX {
                let says = format!(
                    "{NAME}: {name} has more than {WORDS_MAX} words on {}: delete those of long ago",
                    params.dataset
                );
                return Err(Error::user(Code::ResourcesExhausted, says));
            }
            let (series, kinds, verdicts) =
                (texts(&batch, 0)?, texts(&batch, 1)?, texts(&batch, 4)?);
            let instants = |at: usize| batch.column(at).as_primitive::<TimestampMicrosecondType>();
            let (started, ended) = (instants(2), instants(3));
            let severity = batch.column(5).as_primitive::<Float64Type>();
            for row in 0..batch.num_rows() {
                let said = Said {
                    kind: kinds.value(row).to_owned(),
                    started_us: started.value(row),
                    ended_us: ended.value(row),
                    verdict: verdicts.value(row).parse()?,
                    severity: severity.is_valid(row).then(|| severity.value(row)),
                };
                let of = (series.value(row).to_owned(), said.kind.clone(), said.started_us);
                last.insert(of, said);
            }
        }
        let all = last.into_iter().map(|((series, ..), said)| (series, said));
        Ok(Self::of(all.filter(|(_, said)| said.verdict != AnomalyVerdict::TakenBack)))
    }

    fn of(all: impl Iterator<Item = (String, Said)>) -> Self {
        let mut labelled = Self::default();
        let mut lessons = Vec::new();
        for (series, said) in all {
            let next = labelled.series.len();
            let number = *labelled.series.entry(series.clone()).or_insert(next);
            let next = labelled.kinds.len();
            let kind = *labelled.kinds.entry(said.kind.clone()).or_insert(next);
            let verdict = match said.verdict {
                AnomalyVerdict::Real => Verdict::Real,
                _ => Verdict::Not,
            };
            let lesson =
                |severity| Lesson { series: number, kind, ratio: ratio(severity), verdict };
            lessons.extend(said.severity.map(lesson));
            labelled.said.entry(series).or_default().push(said);
        }
        // A threshold comes down by what is found below it alone: what was found is above it.
        let options = Options { factor_min: 1.0, ..Options::default() };
        labelled.factors = thresholds(&lessons, &options);
        labelled
    }

    /// What was said of a finding: the last word on one that it overlaps.
    fn said_of(&self, anomaly: &Anomaly) -> Option<&Said> {
        let kind = anomaly.kind.as_str();
        let is_of =
            |said: &&Said| (said.kind == kind || said.kind.is_empty()) && said.is_near(anomaly);
        // Of several the one that began last: a finding that grew is still the one.
        self.said.get(&anomaly.series)?.iter().filter(is_of).max_by_key(|said| said.started_us)
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
        let Some(kind) = self.kinds.get(anomaly.kind.as_str()) else { return true };
        let factor = match self.series.get(&anomaly.series) {
            Some(series) => self.factors.of(*series, *kind),
            None => self.factors.of_kind(*kind),
        };
        factor <= 1.0 || ratio(anomaly.severity) >= factor
    }

    /// What a person said that it is, as it stands in rows.
    pub(super) fn word(&self, anomaly: &Anomaly) -> Option<&'static str> {
        self.said_of(anomaly).map(|said| said.verdict.as_str())
    }

    /// Leaves out what is not told, and says how many that were.
    pub(super) fn retain(&self, anomalies: &mut Vec<Anomaly>) -> usize {
        let all = anomalies.len();
        if !self.said.is_empty() {
            anomalies.retain(|anomaly| self.is_told(anomaly));
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

    /// The greatest of what was found in stretches that were called real though nothing was found.
    pub(super) fn farthest<'a>(
        &self,
        series: &str,
        found: impl Iterator<Item = &'a Anomaly>,
    ) -> Option<f64> {
        let said = self.said.get(series)?;
        let is_meant = |found: &&Anomaly| {
            said.iter().any(|said| {
                said.is_missed()
                    && (said.kind.is_empty() || said.kind == found.kind.as_str())
                    && said.is_near(found)
            })
        };
        found.filter(is_meant).map(|found| found.score.abs()).max_by(f64::total_cmp)
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
        })
    }
}

impl Said {
    fn is_missed(&self) -> bool {
        self.verdict == AnomalyVerdict::Real && self.severity.is_none()
    }

    fn is_near(&self, anomaly: &Anomaly) -> bool {
        let beside = match self.severity {
            Some(_) => 0,
            None => anomaly.interval_us.saturating_mul(BESIDE),
        };
        self.started_us <= anomaly.ended_at.saturating_add(beside)
            && anomaly.started_at <= self.ended_us.saturating_add(beside)
    }
}

/// How far beyond its threshold a finding of that severity is.
fn ratio(severity: f64) -> f64 {
    1.0 / (1.0 - severity.clamp(0.0, 99.99) / 100.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::kinds::anomalies::explain::Kind;

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

    fn labelled(words: &[(&str, &str, i64, AnomalyVerdict, Option<f64>)]) -> Labelled {
        let said = |&(series, kind, at, verdict, severity): &(&str, &str, i64, _, _)| {
            let (kind, ended_us) = (kind.to_owned(), at + 10);
            (series.to_owned(), Said { kind, started_us: at, ended_us, verdict, severity })
        };
        Labelled::of(words.iter().map(said))
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
        let mut all = vec![found("a", Kind::Outlier, 0, 60.0), found("b", Kind::Outlier, 0, 20.0)];
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
    fn of_what_was_missed_the_farthest_near_it_counts() {
        let of = labelled(&[("a", "", 100, AnomalyVerdict::Real, None)]);
        assert!(of.has_missed("a") && !of.has_missed("b"));
        let all = [
            found("a", Kind::Outlier, 80, 0.0),
            found("a", Kind::Outlier, 120, 10.0),
            found("a", Kind::Outlier, 121, 90.0),
        ];
        let farthest = of.farthest("a", all.iter()).unwrap();
        assert!((farthest - 6.0 / 0.9).abs() < 1e-9, "{farthest}");
        assert_eq!(of.farthest("b", all.iter()), None);
        assert_eq!(of.summary(0, |_| false)["series_not_there"]["examples"], json!(["a"]));
        assert_eq!(Labelled::default().summary(0, |_| false), Value::Null);
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
