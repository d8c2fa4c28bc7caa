//! From blocks to links: compare the candidates, learn, and take those that are probable enough.

use std::cell::RefCell;

use analysis::curve::{self, Point};
use analysis::linkage::blocking::makes;
use analysis::linkage::fellegi_sunter::{FieldModel, Model, probability};
use analysis::linkage::logistic::{Background, Examples, Logistic};
use analysis::linkage::{
    Candidates, Column, Features, Halted, Pattern, RecordLink, Records, level_same,
};
use analysis::trial::wilson;
use engine::{Code, Error, Result};
use serde_json::{Value, json};

use super::plan::{Plan, too_many};
use super::{LABELS_MIN, Method, VECTORS_ARE_LEARNED_FROM};
use crate::kinds::duplicates::NAME;
use crate::kinds::duplicates::labels::{Kinds, Label};
use crate::kinds::duplicates::semantic::RecordVectors;
use crate::parameters::bad;

/// What is taken for a duplicate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkOptions {
    pub(crate) method: Method,
    /// None: the one with the best F1 of the labels, and without labels [`MIN_PROBABILITY`].
    pub(crate) min_probability: Option<f64>,
    /// The factor by which labels may change the number of pairs.
    pub(crate) labels_change_max: Option<f64>,
    pub(crate) candidates_max: u64,
    pub(crate) pairs_max: usize,
}

/// The least probability of a pair without labels and without a request.
pub(crate) const MIN_PROBABILITY: f64 = 0.9;

/// Labels after which it is asked again whether to stop.
const HALT_LABELS: usize = 256;

/// Links and how they came to be.
pub(crate) struct Linked {
    /// By first and then second row.
    pub(crate) links: Vec<RecordLink>,
    /// Different pairs that were compared.
    pub(crate) candidates: u64,
    pub(crate) report: Value,
}

enum Scorer<'a> {
    FellegiSunter(Model),
    /// What labels change of the model without them.
    Logistic(OfPair<'a>, Logistic, Model),
}

/// What is learned from: what the values of a pair say, and, where there are vectors, their cosine.
struct OfPair<'a> {
    values: Features<'a>,
    vectors: Option<&'a RecordVectors>,
}

impl OfPair<'_> {
    fn count(&self) -> usize {
        self.values.count() + usize::from(self.vectors.is_some())
    }

    /// Appends the features of two rows; NaN where something is missing.
    fn push(&self, a: usize, b: usize, features: &mut Vec<f64>) {
        self.values.of_pair(a, b, features);
        features.extend(self.vectors.map(|vectors| vectors.cosine(a, b).unwrap_or(f64::NAN)));
    }
}

thread_local! {
    /// The features of the pair that is looked at.
    static FEATURES: RefCell<Vec<f64>> = const { RefCell::new(Vec::new()) };
}

/// Finds the links among the records. `check` fails when the work shall stop.
pub(crate) fn link(
    (records, vectors): (&Records, Option<&RecordVectors>),
    plan: &Plan,
    labels: &[Label],
    options: &LinkOptions,
    check: &(dyn Fn() -> Result<()> + Sync),
) -> Result<Linked> {
    if plan.pairs() > options.candidates_max {
        return Err(too_many(plan, options.candidates_max));
    }
    let is_stopped = || check().is_err();
    let mut candidates = Candidates::new(records, &plan.blocks, &is_stopped);
    let halted = |halted: Halted| halted_by(halted, options, check);
    let kinds = Kinds::of(labels)?;
    let method = choose(options.method, kinds)?;
    if method != Method::Logistic && vectors.is_some() {
        let problem = format!("{VECTORS_ARE_LEARNED_FROM}; {kinds}");
        return Err(bad(NAME, "vectors", problem));
    }
    let counts = candidates.count().map_err(halted)?;
    let sample = candidates.sample().map_err(halted)?;
    let scorer = Scorer::FellegiSunter(Model::learn(records, &counts, &sample));
    let usual = options.min_probability.unwrap_or(MIN_PROBABILITY);
    let links = |scorer: &Scorer<'_>, threshold: f64| {
        let probability = |a: usize, b: usize, pattern: Option<Pattern>| {
            scorer.probability(records, a, b, pattern)
        };
        candidates.score(threshold, options.pairs_max, &probability).map_err(halted)
    };
    let (compared, without) = links(&scorer, usual)?;
    if labels.is_empty() {
        let report = report(records, plan, &scorer, usual);
        return Ok(Linked { links: without, candidates: compared, report });
    }
    let (scorer, scored) = match (method, scorer) {
        (Method::Logistic, Scorer::FellegiSunter(model)) => {
            let features = OfPair { values: Features::new(records), vectors };
            let unlabelled =
                background(&candidates, &model, records, (compared, &without)).map_err(halted)?;
            learn_from_labels(features, model, records, (labels, &unlabelled), check)?
        }
        (_, scorer) => {
            let scored = |label: &Label| {
                (scorer.probability(records, label.a, label.b, None), label.is_duplicate)
            };
            let scored = labels.iter().map(scored).collect();
            (scorer, scored)
        }
    };
    let points = curve::curve(&scored);
    let best = match &scorer {
        Scorer::Logistic(..) => curve::best_of_calibrated(&scored),
        Scorer::FellegiSunter(_) => curve::best_near(&scored, MIN_PROBABILITY),
    };
    let threshold = options
        .min_probability
        .or_else(|| best.map(|point| shrunk(point.threshold, kinds)))
        .unwrap_or(MIN_PROBABILITY);
    let (candidates, links) = links(&scorer, threshold)?;
    let mut report = report(records, plan, &scorer, threshold);
    let of_labels = OfLabels { labels, scored: &scored, points: &points, best };
    of_labels.add_to(&mut report, plan, threshold, (without.len(), links.len()));
    require_alike(without.len(), links.len(), options.labels_change_max)?;
    Ok(Linked { links, candidates, report })
}

/// Fails if labels change the number of pairs by more than a factor.
fn require_alike(without: usize, with: usize, change_max: Option<f64>) -> Result<()> {
    let Some(most) = change_max else { return Ok(()) };
    match change(without, with) {
        factor if factor <= most => Ok(()),
        factor => Err(bad(
            NAME,
            "labels_change_max",
            format!(
                "labels change the number of pairs from {without} to {with}, by a factor of {factor:.2}; expected {most} at most: \
                 check the labels, or take a larger `labels_change_max`"
            ),
        )),
    }
}

/// The factor by which two numbers differ, 1 or more.
fn change(one: usize, other: usize) -> f64 {
    let (few, many) = (one.min(other), one.max(other));
    many.max(1) as f64 / few.max(1) as f64
}

/// Labels of the rarer kind from which on their threshold counts half.
const THRESHOLD_LABELS: f64 = 100.0;

/// A threshold that labels suggest, drawn to [`MIN_PROBABILITY`] as far as labels are few: which pairs
/// people label says nothing of how many of each probability there are.
fn shrunk(threshold: f64, kinds: Kinds) -> f64 {
    if threshold == MIN_PROBABILITY {
        return threshold;
    }
    let labels = kinds.fewer() as f64;
    let weight = labels / (labels + THRESHOLD_LABELS);
    let odds = |probability: f64| {
        let probability = probability.clamp(0.01, 0.999);
        (probability / (1.0 - probability)).ln()
    };
    probability(weight * odds(threshold) + (1.0 - weight) * odds(MIN_PROBABILITY))
}

/// Pairs without labels that are learned from, of either kind.
const BACKGROUND_PAIRS: usize = 1_000;
/// All of them count as this number of times the labels: of the unlabelled duplicates among them few then
/// speak against labels of their like.
const BACKGROUND_WEIGHT: f64 = 2.0;
/// The part of it with vectors, which the probabilities without labels do not know.
const WITH_VECTORS: f64 = 0.1;
/// Larger log odds without labels are as certain as these.
const OFFSET_MAX: f64 = 10.0;

/// Some of the candidates: of those that are duplicates without labels, and of the others.
fn background(
    candidates: &Candidates<'_>,
    model: &Model,
    records: &Records,
    (compared, links): (u64, &[RecordLink]),
) -> std::result::Result<Vec<(usize, usize)>, Halted> {
    let every = links.len().div_ceil(BACKGROUND_PAIRS).max(1);
    let of_links = links.iter().step_by(every);
    let others = compared.saturating_sub(links.len() as u64);
    let every = others.div_ceil(BACKGROUND_PAIRS as u64).max(1);
    let of = |a: usize, b: usize, pattern: Option<Pattern>| {
        probability(offset(model, records, (a, b), pattern))
    };
    let below = candidates.some_below(MIN_PROBABILITY, every, &of)?;
    Ok(of_links.chain(&below).map(|link| (link.first, link.second)).collect())
}

/// The log odds of a pair without labels.
fn offset(
    model: &Model,
    records: &Records,
    (a, b): (usize, usize),
    pattern: Option<Pattern>,
) -> f64 {
    let pattern = pattern.unwrap_or_else(|| records.pattern(a, b));
    model.log_odds_of(records, pattern, a).clamp(-OFFSET_MAX, OFFSET_MAX)
}

/// The error of work that was not ended.
fn halted_by(
    halted: Halted,
    options: &LinkOptions,
    check: &(dyn Fn() -> Result<()> + Sync),
) -> Error {
    match halted {
        Halted::Stopped => check()
            .err()
            .unwrap_or_else(|| Error::user(Code::Cancelled, format!("{NAME}: cancelled"))),
        Halted::TooManyLinks => Error::user(
            Code::LimitExceeded,
            format!(
                "{NAME}: found more pairs than `pairs_max`, {}: take a larger `min_probability`",
                options.pairs_max
            ),
        ),
    }
}

fn choose(asked: Method, kinds: Kinds) -> Result<Method> {
    let enough = kinds.fewer() >= LABELS_MIN;
    match asked {
        Method::Auto if enough => Ok(Method::Logistic),
        Method::Logistic if !enough => Err(bad(
            NAME,
            "labels",
            format!(
                "method logistic learns from {LABELS_MIN} pairs of either kind or more, {kinds}"
            ),
        )),
        Method::Logistic => Ok(Method::Logistic),
        _ => Ok(Method::FellegiSunter),
    }
}

fn learn_from_labels<'a>(
    features: OfPair<'a>,
    without: Model,
    records: &Records,
    (labels, unlabelled): (&[Label], &[(usize, usize)]),
    check: &(dyn Fn() -> Result<()> + Sync),
) -> Result<(Scorer<'a>, Vec<(f64, bool)>)> {
    let of_known = if features.vectors.is_some() { WITH_VECTORS } else { 1.0 };
    let weight = of_known * BACKGROUND_WEIGHT * labels.len() as f64;
    let mut background = Background { weight, ..Background::default() };
    for (at, (a, b)) in unlabelled.iter().enumerate() {
        if at.is_multiple_of(HALT_LABELS) {
            check()?;
        }
        features.push(*a, *b, &mut background.features);
        background.offsets.push(offset(&without, records, (*a, *b), None));
    }
    let mut examples = Examples { width: features.count(), background, ..Examples::default() };
    for (at, label) in labels.iter().enumerate() {
        if at.is_multiple_of(HALT_LABELS) {
            check()?;
        }
        features.push(label.a, label.b, &mut examples.features);
        examples.labels.push(label.is_duplicate);
        examples.offsets.push(offset(&without, records, (label.a, label.b), None));
    }
    let Some((model, held_out)) = Logistic::learn(&examples, &|| check().is_err()) else {
        return Err(check().err().unwrap_or_else(|| Error::internal("nobody stopped it")));
    };
    let scored = held_out.into_iter().zip(examples.labels).collect();
    Ok((Scorer::Logistic(features, model, without), scored))
}

impl Scorer<'_> {
    fn probability(&self, records: &Records, a: usize, b: usize, pattern: Option<Pattern>) -> f64 {
        match self {
            Self::FellegiSunter(model) => {
                let pattern = pattern.unwrap_or_else(|| records.pattern(a, b));
                probability(model.log_odds_of(records, pattern, a))
            }
            Self::Logistic(features, model, without) => FEATURES.with_borrow_mut(|of_pair| {
                of_pair.clear();
                features.push(a, b, of_pair);
                model.probability(of_pair, offset(without, records, (a, b), pattern))
            }),
        }
    }
}

fn report(records: &Records, plan: &Plan, scorer: &Scorer<'_>, threshold: f64) -> Value {
    let mut report = json!({
        "blocking": plan.report(),
        "threshold": threshold,
    });
    match scorer {
        Scorer::FellegiSunter(model) => {
            report["method"] = "fellegi_sunter".into();
            report["share_of_duplicates"] = model.share.into();
            report["rounds"] = model.rounds.into();
            let field = |(field, column): (&FieldModel, &Column)| {
                let levels = 1..=level_same(field.compare) as usize;
                let weight =
                    |level: usize| (field.of_duplicates[level] / field.of_others[level]).log2();
                json!({
                    "column": column.field.column,
                    "duplicates": field.of_duplicates[1..],
                    "others": field.of_others[1..],
                    "weights_bits": levels.map(weight).collect::<Vec<_>>(),
                })
            };
            report["levels"] = model.fields.iter().zip(&records.columns).map(field).collect();
        }
        Scorer::Logistic(_, model, _) => {
            report["method"] = "logistic".into();
            report["ridge"] = model.ridge.into();
        }
    }
    report
}

/// What labels say of the result.
struct OfLabels<'a> {
    labels: &'a [Label],
    /// The probability of each labelled pair, and whether it is a duplicate.
    scored: &'a [(f64, bool)],
    points: &'a [Point],
    best: Option<Point>,
}

/// The factor by which labels change the number of pairs, above which the summary warns.
const CHANGE_WARNED: f64 = 1.5;

impl OfLabels<'_> {
    /// Adds it to a report. `without` and `with` are the numbers of pairs without labels and with them.
    fn add_to(
        &self,
        report: &mut Value,
        plan: &Plan,
        threshold: f64,
        (without, with): (usize, usize),
    ) {
        let labels = self.labels;
        let missed = labels.iter().filter(|label| label.is_duplicate);
        let missed = missed.filter(|label| !makes(&plan.blocks, label.a, label.b)).count();
        let count = |of: &dyn Fn(f64, bool) -> bool| {
            self.scored.iter().filter(|(score, label)| of(*score, *label)).count() as u64
        };
        let taken = count(&|score, _| score >= threshold);
        let right = count(&|score, label| score >= threshold && label);
        let duplicates = count(&|_, label| label);
        let rate = |all: u64| {
            let rate = wilson(right, all)?;
            Some(json!({ "rate": rate.rate, "lower": rate.lower, "upper": rate.upper }))
        };
        report["labels"] = json!({
            "pairs": labels.len(),
            "duplicates": duplicates,
            "duplicates_outside_blocks": missed,
            "pairs_without_labels": without,
            // Of the labelled pairs alone, which are no sample of all pairs.
            "precision_of_labelled": rate(taken),
            "recall_of_labelled": rate(duplicates),
            "best": self.best,
            "curve": curve::thinned(self.points),
        });
        let factor = change(without, with);
        if factor > CHANGE_WARNED {
            report["warnings"] = json!([format!(
                "labels changed the number of pairs from {without} to {with}: check some of the pairs, or set `labels_change_max`"
            )]);
        }
    }
}
