//! What is told of models: when they were right less often than before, and who is better.

use analysis::answers::{Answers, Beside, worse};
use analysis::trial::holm;

use super::params::Params;
use super::read::{Model, Read};

/// A model in a period.
#[derive(Clone, Debug)]
pub(super) struct OfPeriod<'a> {
    pub(super) model: &'a Model,
    pub(super) at: i64,
    pub(super) answers: &'a Answers,
    /// The part that was right in the periods before it; none in the first.
    pub(super) before: Option<f64>,
    /// The chance of so few where nothing changed.
    pub(super) p: Option<f64>,
    pub(super) is_worse: bool,
}

/// Each period against those before it that were no worse.
pub(super) fn periods<'a>(params: &Params, read: &'a Read) -> Vec<OfPeriod<'a>> {
    let chance = (params.alarms / params.period.per_quarter()).min(0.5);
    let mut all = Vec::new();
    for model in &read.models {
        let mut before = (0, 0);
        for (at, answers) in model.periods.iter().filter(|(_, of)| of.answers >= params.min_rows) {
            let now = (answers.right, answers.answers);
            let p = (before.1 > 0).then(|| worse(before, now));
            let is_worse = p.is_some_and(|p| p <= chance);
            all.push(OfPeriod {
                model,
                at: *at,
                answers,
                before: (before.1 > 0).then(|| before.0 as f64 / before.1 as f64),
                p,
                is_worse,
            });
            if !is_worse {
                before = (before.0 + now.0, before.1 + now.1);
            }
        }
    }
    all
}

/// Two models beside each other.
#[derive(Clone, Debug)]
pub(super) struct Compared<'a> {
    pub(super) a: &'a Model,
    pub(super) b: &'a Model,
    pub(super) beside: Beside,
    pub(super) p: f64,
    /// With the number of comparisons in mind.
    pub(super) p_adjusted: f64,
    pub(super) better: Option<&'a str>,
}

/// Holds models against each other, or against the champion, on the rows that both answered.
pub(super) fn comparisons<'a>(params: &Params, read: &'a Read) -> Vec<Compared<'a>> {
    let is_champion = |model: &Model| params.champion.as_ref().is_some_and(|of| *of == model.name);
    let mut all = Vec::new();
    for ((a, b), beside) in &read.pairs {
        let (first, second) = (&read.models[*a], &read.models[*b]);
        let p = beside.p();
        let one = Compared { a: first, b: second, beside: *beside, p, p_adjusted: p, better: None };
        // The champion comes first.
        all.push(match is_champion(second) {
            true => {
                let turned = Beside { only_a: beside.only_b, only_b: beside.only_a, ..*beside };
                Compared { a: second, b: first, beside: turned, ..one }
            }
            false => one,
        });
    }
    let raised = holm(&all.iter().map(|of| of.p).collect::<Vec<f64>>());
    for (of, p) in all.iter_mut().zip(raised) {
        of.p_adjusted = p;
        let better = if of.beside.only_a > of.beside.only_b { of.a } else { of.b };
        of.better = (p <= params.alpha).then_some(better.name.as_str());
    }
    all
}
