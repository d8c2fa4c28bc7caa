//! From blocks to links: compare the candidates, learn, and take those that are probable enough.

use std::cell::RefCell;

use analysis::curve::{self, Point};
use analysis::linkage::blocking::makes;
use analysis::linkage::fellegi_sunter::{FieldModel, Model, probability};
use analysis::linkage::logistic::{Examples, Logistic};
use analysis::linkage::{
    Candidates, Column, Features, Halted, Pattern, RecordLink, Records, level_same,
};
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
    Logistic(OfPair<'a>, Logistic),
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
    let method = choose(options.method, labels)?;
    let (scorer, scored) = match method {
        Method::Logistic => {
            let features = OfPair { values: Features::new(records), vectors };
            learn_from_labels(features, labels, check)?
        }
        _ if vectors.is_some() => {
            let problem = format!("{VECTORS_ARE_LEARNED_FROM}; {}", Kinds::of(labels)?);
            return Err(bad(NAME, "vectors", problem));
        }
        _ => {
            let counts = candidates.count().map_err(halted)?;
            let sample = candidates.sample().map_err(halted)?;
            let model = Model::learn(records, &counts, &sample);
            let scorer = Scorer::FellegiSunter(model);
            let scored = labels
                .iter()
                .map(|label| {
                    (scorer.probability(records, label.a, label.b, None), label.is_duplicate)
                })
                .collect();
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
        .or_else(|| best.map(|point| point.threshold))
        .unwrap_or(MIN_PROBABILITY);
    let probability =
        |a: usize, b: usize, pattern: Option<Pattern>| scorer.probability(records, a, b, pattern);
    let (candidates, links) =
        candidates.score(threshold, options.pairs_max, &probability).map_err(halted)?;
    let report = report(records, plan, labels, &scorer, (&points, best), threshold);
    Ok(Linked { links, candidates, report })
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

fn choose(asked: Method, labels: &[Label]) -> Result<Method> {
    let kinds = Kinds::of(labels)?;
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
    labels: &[Label],
    check: &(dyn Fn() -> Result<()> + Sync),
) -> Result<(Scorer<'a>, Vec<(f64, bool)>)> {
    let mut examples = Examples { width: features.count(), ..Examples::default() };
    for (at, label) in labels.iter().enumerate() {
        if at.is_multiple_of(HALT_LABELS) {
            check()?;
        }
        features.push(label.a, label.b, &mut examples.features);
        examples.labels.push(label.is_duplicate);
    }
    let Some((model, held_out)) = Logistic::learn(&examples, &|| check().is_err()) else {
        return Err(check().err().unwrap_or_else(|| Error::internal("nobody stopped it")));
    };
    let scored = held_out.into_iter().zip(examples.labels).collect();
    Ok((Scorer::Logistic(features, model), scored))
}

impl Scorer<'_> {
    fn probability(&self, records: &Records, a: usize, b: usize, pattern: Option<Pattern>) -> f64 {
        match self {
            Self::FellegiSunter(model) => {
                let pattern = pattern.unwrap_or_else(|| records.pattern(a, b));
                probability(model.log_odds_of(records, pattern, a))
            }
            Self::Logistic(features, model) => FEATURES.with_borrow_mut(|of_pair| {
                of_pair.clear();
                features.push(a, b, of_pair);
                model.probability(of_pair)
            }),
        }
    }
}

fn report(
    records: &Records,
    plan: &Plan,
    labels: &[Label],
    scorer: &Scorer<'_>,
    (points, best): (&[Point], Option<Point>),
    threshold: f64,
) -> Value {
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
        Scorer::Logistic(_, model) => {
            report["method"] = "logistic".into();
            report["ridge"] = model.ridge.into();
        }
    }
    if !labels.is_empty() {
        let missed = labels.iter().filter(|label| label.is_duplicate);
        let missed = missed.filter(|label| !makes(&plan.blocks, label.a, label.b)).count();
        report["labels"] = json!({
            "pairs": labels.len(),
            "duplicates": labels.iter().filter(|label| label.is_duplicate).count(),
            "duplicates_outside_blocks": missed,
            "best": best,
            "curve": curve::thinned(points),
        });
    }
    report
}
