//! What becomes of the cases of a log that go on.

use std::collections::{BTreeSet, HashSet};

use analysis::foresight::{
    Band, Compared, Ending, History, Prefix, Rule, Split, State, Suggestion, suggest,
};
use analysis::process::Log;
use engine::Result;
use serde_json::{Map, Value, json};

use super::TARGETS;
use super::measures::{Measures, Target, band, beside, last_class};
use super::models::{Counts, Net, Said};
use super::params::Params;

/// Prefixes that are looked at to choose and to tell, at most: of more every second case, every third one, and so on.
const PREFIXES_MAX: usize = 100_000;
/// What is said where nothing comes next.
const END: &str = "(end)";
/// Final activities that the summary names.
const NAMED_MAX: usize = 20;

/// Which model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Model {
    Markov,
    Network,
}

impl Model {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Markov => "markov",
            Self::Network => "network",
        }
    }
}

/// How good a model was.
pub(super) struct Accuracy {
    pub(super) target: Target,
    pub(super) model: Model,
    pub(super) is_chosen: bool,
    pub(super) measures: Measures,
    /// By how much it loses less than the other one, on cases that it is held against, and on those that it is chosen by.
    pub(super) test: Option<Compared>,
    pub(super) validation: Option<Compared>,
    /// Last activities of counts, epochs of a network.
    pub(super) order: Option<u64>,
    pub(super) epochs: Option<u64>,
    pub(super) learned_cases: u64,
}

/// A case that goes on.
pub(super) struct Foreseen {
    pub(super) case: String,
    pub(super) at_us: i64,
    pub(super) last_activity: String,
    pub(super) events: u64,
    pub(super) next: Option<(String, f64)>,
    /// Foretold, and the ends of its interval.
    pub(super) remaining_us: Option<(f64, f64, f64)>,
    pub(super) success: Option<f64>,
    pub(super) suggestion: Option<Suggested>,
}

/// What is suggested, in names.
pub(super) struct Suggested {
    pub(super) step: String,
    pub(super) of: Suggestion,
    pub(super) examples: Vec<String>,
}

/// What was found.
pub(super) struct Found {
    pub(super) accuracy: Vec<Accuracy>,
    pub(super) cases: Vec<Foreseen>,
    /// The model of each target that is foretold.
    pub(super) chosen: [Option<Model>; TARGETS],
    pub(super) summary: Value,
}

/// Two models and how good they are.
struct Held {
    counts: Counts,
    net: Net,
    /// Of each target the model that is taken, or why there is none.
    chosen: [Result<Model, String>; TARGETS],
    bands: [Option<Band>; 2],
    accuracy: Vec<Accuracy>,
}

/// Last activities of cases that a summary names.
const CANDIDATES_MAX: usize = 5;

/// Looks at all of it.
pub(super) fn foresee(
    log: &Log,
    params: &Params,
    check: &(dyn Fn() -> Result<()> + Sync),
) -> Result<Found> {
    let (finals, unknown) = finals(log, params);
    let ending = Ending::of(log, finals);
    let history = History::new(log, ending, params.success.is_some());
    let [ended, open, abandoned] =
        [State::Ended, State::Open, State::Abandoned].map(|state| history.cases(state));
    check()?;
    let split = Split::of(&history, &ended);
    let held = match split.problem() {
        Some(problem) => Err(problem),
        None => hold(&history, &split, params.seed, check)?,
    };
    let suggestions = match history.has_outcome {
        true => suggest(&history, &ended, &open),
        false => open.iter().map(|_| None).collect(),
    };
    check()?;
    let last: Vec<Prefix> = open.iter().map(|case| now(&history, *case)).collect();
    let said = match &held {
        Ok(held) => Some(say(&history, &ended, &last, held, params.seed, check)?),
        Err(_) => None,
    };
    let chosen = |target: Target| match &held {
        Ok(held) => held.chosen[target as usize].clone(),
        Err(problem) => Err(problem.clone()),
    };
    let model = |target| chosen(target).ok();
    let cases = last.iter().zip(suggestions).enumerate().map(|(row, (prefix, suggestion))| {
        let said = |target| {
            said.as_ref().and_then(|said| Some((&said[model(target)? as usize], model(target)?)))
        };
        let next = said(Target::Next).and_then(|(said, _)| {
            let (class, chance) = *said.next.get(row)?;
            Some((history.name(class).unwrap_or(END).to_owned(), chance))
        });
        let remaining_us = said(Target::Remaining).and_then(|(said, model)| {
            let band = held.as_ref().ok()?.bands[model as usize].as_ref()?;
            let of = *said.remaining_us.get(row)?;
            let (lower, upper) = band.around(last_class(&history, prefix), of);
            Some((of, lower, upper))
        });
        let success = said(Target::Success).and_then(|(said, _)| {
            let has = history.has_succeeded(prefix.case, prefix.length);
            if has { Some(1.0) } else { said.success.get(row).copied() }
        });
        let events = history.events(prefix.case);
        let last = events.last().map_or(0, |event| event.activity);
        let case = |case: &u32| log.cases.text(*case).to_owned();
        Foreseen {
            case: case(&prefix.case),
            at_us: history.ends_us(prefix.case),
            last_activity: log.activities.text(last).to_owned(),
            events: events.len() as u64,
            next,
            remaining_us,
            success,
            suggestion: suggestion.map(|of| Suggested {
                step: history.name(of.step).unwrap_or(END).to_owned(),
                examples: of.examples.iter().map(case).collect(),
                of,
            }),
        }
    });
    let cases: Vec<Foreseen> = cases.collect();
    let problems = Target::ALL.into_iter().filter_map(|target| {
        Some((target.name().to_owned(), Value::String(chosen(target).err()?)))
    });
    let problems: Map<String, Value> = problems.collect();
    let models = Target::ALL.into_iter().filter_map(|target| {
        Some((target.name().to_owned(), Value::String(model(target)?.name().to_owned())))
    });
    let models: Map<String, Value> = models.collect();
    let mut named: Vec<&str> =
        history.ending.finals.iter().map(|of| log.activities.text(*of)).collect();
    named.sort_unstable();
    named.truncate(NAMED_MAX);
    let [train, validation, test] = split.counts();
    let candidates: Vec<(&str, u64)> = Ending::candidates(log, CANDIDATES_MAX)
        .into_iter()
        .map(|(of, cases)| (log.activities.text(of), cases))
        .collect();
    let nothing = (ended.is_empty() && !log.cases.is_empty()).then(|| {
        format!(
            "no case has ended: set `final_activities` to the activities that end a case; the most frequent last activities are {}",
            candidates
                .iter()
                .map(|(activity, cases)| format!("{activity:?} ({cases})"))
                .collect::<Vec<_>>()
                .join(", ")
        )
    });
    let summary = json!({
        "events": log.len(),
        "cases": log.cases.len(),
        "activities": log.activities.len(),
        "cases_ended": ended.len(),
        "cases_open": open.len(),
        "cases_abandoned": abandoned.len(),
        "ended_by": match history.ending.rule {
            Rule::Given => "given activities",
            Rule::Learned => "learned activities",
            Rule::Quiet => "quiet",
        },
        "final_activities": named,
        "final_activities_unknown": unknown,
        "last_activities": candidates
            .iter()
            .map(|(activity, cases)| json!({ "activity": activity, "cases": cases }))
            .collect::<Vec<_>>(),
        "nothing_because": nothing,
        "longest_usual_wait_seconds": history.ending.quiet_us as f64 / 1e6,
        "cases_learned_from": train,
        "cases_chosen_by": validation,
        "cases_held_against": test,
        "cases_across_the_cut": split.across,
        "models": models,
        "not_predicted": problems,
        "suggestions": cases.iter().filter(|of| of.suggestion.is_some()).count(),
    });
    let chosen = Target::ALL.map(model);
    let accuracy = held.map_or_else(|_| Vec::new(), |held| held.accuracy);
    Ok(Found { accuracy, cases, chosen, summary })
}

/// The final activities that are named and there, and those that are named and not there, by name.
fn finals<'a>(log: &Log, params: &'a Params) -> (Option<HashSet<u32>>, Vec<&'a str>) {
    let Some(named) = &params.final_activities else { return (None, Vec::new()) };
    let named: BTreeSet<&str> = named.iter().map(String::as_str).collect();
    let all = (0..).take(log.activities.len());
    let finals: HashSet<u32> = all.filter(|of| named.contains(log.activities.text(*of))).collect();
    let unknown = named.into_iter().filter(|name| log.activities.find(name).is_none()).collect();
    (Some(finals), unknown)
}

/// A case that goes on as it is now; what comes of it is not known.
fn now(history: &History<'_>, case: u32) -> Prefix {
    let length = u32::try_from(history.events(case).len()).unwrap_or(u32::MAX);
    Prefix { case, length, next: history.end(), remaining_us: 0, success: None }
}

/// Prefixes of cases, of so many that there are not too many of them.
fn bounded(history: &History<'_>, cases: &[u32]) -> Vec<Prefix> {
    let events: usize = cases.iter().map(|case| history.events(*case).len()).sum();
    let step = events.div_ceil(PREFIXES_MAX).max(1);
    let some: Vec<u32> = cases.iter().step_by(step).copied().collect();
    history.prefixes(&some)
}

/// Learns both models, holds them against each other and takes one for each target. The problem where nothing can be foretold.
fn hold(
    history: &History<'_>,
    split: &Split,
    seed: u64,
    check: &(dyn Fn() -> Result<()> + Sync),
) -> Result<Result<Held, String>> {
    let train = history.prefixes(&split.train);
    let [validation, test] = [&split.validation, &split.test].map(|cases| bounded(history, cases));
    if train.is_empty() || validation.is_empty() || test.is_empty() {
        return Ok(Err("expected events before those that end cases, found none".to_owned()));
    }
    let counts = Counts::choose(history, &train, &validation);
    check()?;
    let net = Net::choose(history, &train, &validation, seed, check)?;
    let on_validation = [counts.say(history, &validation), net.say(history, &validation, check)?];
    let on_test = [counts.say(history, &test), net.say(history, &test, check)?];
    let bands = [0, 1].map(|model| band(history, &validation, &on_validation[model]));
    let mut accuracy = Vec::new();
    let chosen = Target::ALL.map(|target| {
        if target == Target::Success {
            outcome_problem(history, [&train, &validation, &test]).map_or(Ok(()), Err)?;
        }
        let [by, told] = [(&validation, &on_validation), (&test, &on_test)]
            .map(|(prefixes, said)| beside(target, prefixes, [&said[0], &said[1]]));
        // A network that is better by chance alone is not worth its cost.
        let is_network = by.is_some_and(|by| by.lower > 0.0);
        let chosen = if is_network { Model::Network } else { Model::Markov };
        for model in [Model::Markov, Model::Network] {
            let is_markov = model == Model::Markov;
            let of = |compared: Option<Compared>| {
                compared.map(|of| if is_markov { of.turned() } else { of })
            };
            let band = bands[model as usize].as_ref();
            accuracy.push(Accuracy {
                target,
                model,
                is_chosen: model == chosen,
                measures: Measures::of(target, history, &test, &on_test[model as usize], band),
                test: of(told),
                validation: of(by),
                order: is_markov.then_some(counts.orders[target as usize] as u64),
                epochs: (!is_markov).then_some(net.epochs()[target as usize] as u64),
                learned_cases: split.train.len() as u64,
            });
        }
        Ok(chosen)
    });
    Ok(Ok(Held { counts, net, chosen, bands, accuracy }))
}

/// Why nothing can be said of success, if it can't.
fn outcome_problem(history: &History<'_>, parts: [&Vec<Prefix>; TARGETS]) -> Option<String> {
    if !history.has_outcome {
        return Some("`success` is not told".to_owned());
    }
    let is_unknown = |part: &&Vec<Prefix>| part.iter().all(|of| of.success.is_none());
    if parts.iter().any(is_unknown) {
        return Some("expected events before those of success, found none".to_owned());
    }
    let train = parts[0].iter().filter_map(|of| of.success);
    let (good, all) = (train.clone().filter(|success| *success).count(), train.count());
    match good {
        0 => Some(
            "expected cases that succeed among those that are learned from, found none".to_owned(),
        ),
        _ if good == all => Some(
            "expected cases that fail among those that are learned from, found none".to_owned(),
        ),
        _ => None,
    }
}

/// What the models that were taken say of cases as they are now, once they have learned from all that have ended.
fn say(
    history: &History<'_>,
    ended: &[u32],
    open: &[Prefix],
    held: &Held,
    seed: u64,
    check: &(dyn Fn() -> Result<()> + Sync),
) -> Result<[Said; 2]> {
    let all = history.prefixes(ended);
    let counts = held.counts.again(history, &all).say(history, open);
    check()?;
    let is_asked = held.chosen.contains(&Ok(Model::Network)) && !open.is_empty();
    let net = match is_asked {
        true => held.net.again(history, &all, seed, check)?.say(history, open, check)?,
        false => Said::default(),
    };
    Ok([counts, net])
}
