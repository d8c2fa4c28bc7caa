//! Which findings are said on a day, and in which order. Pure: no dataset in sight.
//!
//! ```text
//!   score = severity · confidence · (0.4 + 0.3 · novelty + 0.3 · reach) · feedback        0 to 100
//! ```
//!
//! - *severity*, 0 to 100: how far it is from the usual, as its job says: 0 at the job's limit, 50 at twice, 80 at five times.
//! - *confidence*, 0 to 1: one less the chance that noise gives it. Jobs that agree are taken for independent:
//!   `1 - (1 - a)·(1 - b)`.
//! - *novelty*, 0 to 1: `1 / (1 + n)`, where n counts what was said of the same subject and kind on the days before.
//! - *reach*, 0 to 1: `log10(1 + rows) / 6`, so that a million rows are all there is.
//! - *feedback*, 0.1 to 1.5: `2·(useful + 1) / (useful + wrong + 2)` of the kind within its source, times the same of the subject.
//!
//! What was said on an earlier day is not said again unless it became worse; nor what somebody called known or wrong, on the same day
//! too.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::finding::{Family, Finding, Kind};
use crate::insight_feedback::Verdict;

/// Weights of the formula.
const BASE: f64 = 0.4;
const NOVELTY: f64 = 0.3;
const REACH: f64 = 0.3;
/// Rows of the full reach, as a power of ten.
const REACH_DECADES: f64 = 6.0;
/// How much more severe what was said must be to be said again.
const WORSE: f64 = 15.0;
/// Bounds of what feedback does.
const FEEDBACK: (f64, f64) = (0.1, 1.5);

/// What was said.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Said {
    pub(super) id: String,
    pub(super) kind: Kind,
    pub(super) source: String,
    pub(super) subject: String,
    pub(super) started_us: i64,
    pub(super) ended_us: i64,
    pub(super) severity: f64,
    /// When it was said first.
    pub(super) first_us: i64,
    /// Whether that was on an earlier day. Of what was said on this day only what people said of it counts.
    pub(super) is_earlier: bool,
    /// Whether it lies within the days that novelty is counted of.
    pub(super) is_recent: bool,
}

/// What is said on the day.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Insight {
    pub(super) id: String,
    pub(super) finding: Finding,
    pub(super) novelty: f64,
    pub(super) feedback: f64,
    pub(super) score: f64,
    /// When it was said first, where that was on an earlier day.
    pub(super) first_us: Option<i64>,
}

/// What is not said, by why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Unsaid {
    pub(super) known: u64,
    pub(super) dismissed: u64,
    pub(super) weak: u64,
    pub(super) too_many: u64,
}

/// What bounds a day.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) score_min: f64,
    pub(super) insights_max: usize,
}

/// Findings of one family about one subject at one time as one: that of the larger product of severity and confidence speaks.
pub(super) fn merged(findings: Vec<Finding>) -> Vec<Finding> {
    let mut by_subject: BTreeMap<(Family, String, String), Vec<Finding>> = BTreeMap::new();
    for finding in findings {
        let of = (finding.kind.family(), finding.source.clone(), finding.subject.clone());
        by_subject.entry(of).or_default().push(finding);
    }
    let mut all = Vec::new();
    for (_, mut of) in by_subject {
        of.sort_by(|a, b| {
            (a.started_us, a.ended_us, a.kind)
                .cmp(&(b.started_us, b.ended_us, b.kind))
                .then(b.severity.total_cmp(&a.severity))
        });
        let mut open: Option<Finding> = None;
        for finding in of {
            match open.take() {
                Some(before) if is_one(&before, &finding) => open = Some(joined(before, finding)),
                before => {
                    all.extend(before);
                    open = Some(finding);
                }
            }
        }
        all.extend(open);
    }
    all
}

/// Whether two findings of a subject, in order of their beginnings, are of one time.
fn is_one(a: &Finding, b: &Finding) -> bool {
    !a.kind.family().is_of_a_time()
        || b.started_us <= a.ended_us.saturating_add(a.interval_us.max(b.interval_us))
}

fn joined(a: Finding, b: Finding) -> Finding {
    let (mut of, other) = match b.severity * b.confidence > a.severity * a.confidence {
        true => (b, a),
        false => (a, b),
    };
    of.started_us = of.started_us.min(other.started_us);
    of.ended_us = of.ended_us.max(other.ended_us);
    of.interval_us = of.interval_us.max(other.interval_us);
    // One job that says it twice is no second witness.
    let is_witness = other.kind != of.kind && !of.also.contains(&other.kind);
    of.confidence = match is_witness {
        true => 1.0 - (1.0 - of.confidence) * (1.0 - other.confidence),
        false => of.confidence.max(other.confidence),
    };
    of.severity = of.severity.max(other.severity);
    of.reach = of.reach.max(other.reach);
    for kind in std::iter::once(other.kind).chain(other.also) {
        if kind != of.kind && !of.also.contains(&kind) {
            of.also.push(kind);
        }
    }
    of.also.sort_unstable();
    for evidence in other.evidence {
        if of.evidence.len() < EVIDENCE_MAX && !of.evidence.contains(&evidence) {
            of.evidence.push(evidence);
        }
    }
    of
}

/// Evidence of one insight.
const EVIDENCE_MAX: usize = 8;

/// What is said of findings that are merged. `said` is what was said before, `verdicts` the last word on each of those.
pub(super) fn ranked(
    findings: Vec<Finding>,
    said: &[Said],
    verdicts: &HashMap<String, Verdict>,
    limits: Limits,
) -> (Vec<Insight>, Unsaid) {
    let feedback = Feedback::of(said, verdicts);
    let mut by_subject: HashMap<(Family, &str, &str), Vec<&Said>> = HashMap::new();
    for one in said {
        by_subject.entry((one.kind.family(), &one.source, &one.subject)).or_default().push(one);
    }
    let mut unsaid = Unsaid::default();
    let mut insights: Vec<Insight> = Vec::new();
    for finding in findings {
        let of = (finding.kind.family(), finding.source.as_str(), finding.subject.as_str());
        let before = by_subject.get(&of).map_or(&[][..], Vec::as_slice);
        let same: Vec<&&Said> = before.iter().filter(|said| is_same(said, &finding)).collect();
        let is = |verdict| same.iter().any(|said| verdicts.get(&said.id) == Some(&verdict));
        if is(Verdict::Wrong) || is(Verdict::Known) {
            unsaid.dismissed += 1;
            continue;
        }
        let same: Vec<&&Said> = same.into_iter().filter(|said| said.is_earlier).collect();
        let worst = same.iter().map(|said| said.severity).fold(f64::NEG_INFINITY, f64::max);
        if finding.severity < worst + WORSE {
            unsaid.known += 1;
            continue;
        }
        let oldest = same.iter().min_by(|a, b| (a.first_us, &a.id).cmp(&(b.first_us, &b.id)));
        let others = before.iter().filter(|said| said.is_recent && said.kind == finding.kind);
        let novelty = 1.0 / (1.0 + others.count() as f64);
        let feedback = feedback.factor(&finding);
        let score = score(&finding, novelty, feedback);
        if score < limits.score_min {
            unsaid.weak += 1;
            continue;
        }
        let id = oldest.map_or_else(|| id(&finding), |said| said.id.clone());
        let first_us = oldest.map(|said| said.first_us);
        insights.push(Insight { id, finding, novelty, feedback, score, first_us });
    }
    // Of equal ones the order is that of their ids, so that it is the same each time.
    insights.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.id.cmp(&b.id)));
    insights.dedup_by(|b, a| b.id == a.id);
    unsaid.too_many = insights.len().saturating_sub(limits.insights_max) as u64;
    insights.truncate(limits.insights_max);
    (insights, unsaid)
}

pub(super) fn score(finding: &Finding, novelty: f64, feedback: f64) -> f64 {
    let reach = ((1.0 + finding.reach as f64).log10() / REACH_DECADES).clamp(0.0, 1.0);
    let weight = BASE + NOVELTY * novelty + REACH * reach;
    (finding.severity * finding.confidence * weight * feedback).clamp(0.0, 100.0)
}

/// Whether what was said is this finding.
fn is_same(said: &Said, finding: &Finding) -> bool {
    let slack = finding.interval_us;
    !finding.kind.family().is_of_a_time()
        || (finding.started_us <= said.ended_us.saturating_add(slack)
            && said.started_us <= finding.ended_us.saturating_add(slack))
}

/// The id of what was not said before.
fn id(finding: &Finding) -> String {
    let family = finding.kind.family();
    let at = if family.is_of_a_time() { finding.started_us } else { 0 };
    let text = format!("{}\n{}\n{}\n{at}", family.as_str(), finding.source, finding.subject);
    format!("{:016x}", analysis::fnv(text.as_bytes()))
}

/// How often what was said was useful or wrong, by kind within a source and by subject.
struct Feedback<'a> {
    kinds: HashMap<(Kind, &'a str), [f64; 2]>,
    subjects: HashMap<(Kind, &'a str, &'a str), [f64; 2]>,
}

impl<'a> Feedback<'a> {
    fn of(said: &'a [Said], verdicts: &HashMap<String, Verdict>) -> Self {
        let mut of = Self { kinds: HashMap::new(), subjects: HashMap::new() };
        let mut seen = HashSet::new();
        for one in said {
            let at = match verdicts.get(&one.id) {
                Some(Verdict::Useful) => 0,
                Some(Verdict::Wrong) => 1,
                Some(Verdict::Known) | None => continue,
            };
            // One that was said on two days is judged once.
            if !seen.insert(one.id.as_str()) {
                continue;
            }
            of.kinds.entry((one.kind, &one.source)).or_default()[at] += 1.0;
            of.subjects.entry((one.kind, &one.source, &one.subject)).or_default()[at] += 1.0;
        }
        of
    }

    fn factor(&self, finding: &Finding) -> f64 {
        let of = |counts: Option<&[f64; 2]>| {
            let [useful, wrong] = counts.copied().unwrap_or_default();
            2.0 * (useful + 1.0) / (useful + wrong + 2.0)
        };
        let kind = of(self.kinds.get(&(finding.kind, finding.source.as_str())));
        let subject = of(self.subjects.get(&(
            finding.kind,
            finding.source.as_str(),
            finding.subject.as_str(),
        )));
        (kind * subject).clamp(FEEDBACK.0, FEEDBACK.1)
    }
}
