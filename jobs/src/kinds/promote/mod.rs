//! Takes a version of a model into use, or out of it.
//!
//! A version goes to production only when it was evaluated, and when it was compared with the one that is there now and
//! is not worse on the same rows (an embedder without one: with what it was trained from); `force` overrules the
//! comparison, and says so in the record. A version that was in production before may come back without one. The version
//! that it replaces is archived in the same commit. What is so already is left as it is. Of two promotions at a time one
//! is made, and the other is `CONFLICT`.

use datasets::{DatasetName, DatasetSpec};
use engine::{Code, Error, Result, WriteMode};
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::job::{Job, Outcome};
use crate::parameters::{self, bad};
use crate::registry::embedders::check_name;
use crate::registry::{
    Change, Compared, Entry, History, ModelStage, entries, models_name, stage_batch, stages_name,
    stages_spec,
};
use crate::run::context::RunContext;

/// The kind's name.
const NAME: &str = "promote";
/// Instead of a version: the one that was in production before.
const PREVIOUS: &str = "previous";
/// Below this p a difference is taken for one.
const SIGNIFICANT_BELOW: f64 = 0.05;

/// Where a version can go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Into use.
    Production,
    /// Out of use.
    Archived,
}

/// Which version goes where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// The model. Default: triage.
    pub model: String,
    /// The version; null takes the last trained. "previous" takes the version that was in production before the current one,
    /// except those that were rolled back. Default: null.
    pub version: Option<String>,
    /// Where it goes: production or archived. Default: production.
    pub to: Target,
    /// Takes a version into use that was not compared with the one in use, or that is worse. Default: false.
    pub force: bool,
    /// How much less accurate than the one in use a version may be, as a share of rows from 0 to 1, where chance alone makes such a
    /// difference: where p is 0.05 or more. Default: 0.01.
    pub tolerance: f64,
    /// Why, for the record. Default: "".
    pub reason: String,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            model: "triage".into(),
            version: None,
            to: Target::Production,
            force: false,
            tolerance: 0.01,
            reason: String::new(),
        }
    }
}

/// The job kind.
pub struct Promote;

impl Promote {
    fn params(params: &Value) -> Result<Params> {
        let params: Params = parameters::read(NAME, params)?;
        check_name(&params.model).map_err(|problem| bad(NAME, "model", problem))?;
        if !(0.0..=1.0).contains(&params.tolerance) {
            let says = format!("expected a share from 0 to 1, found {}", params.tolerance);
            return Err(bad(NAME, "tolerance", says));
        }
        Ok(params)
    }
}

impl Job for Promote {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "takes a version of a model into use if it is not worse than the one in use, or rolls back"
    }

    fn parameters_schema(&self) -> Value {
        parameters::schema::<Params>()
    }

    fn canonical(&self, params: &Value) -> Result<Value> {
        parameters::canonical(&Self::params(params)?)
    }

    fn inputs(&self, params: &Value) -> Result<Vec<DatasetName>> {
        Self::params(params)?;
        Ok(vec![models_name(), stages_name()])
    }

    fn appends_to_inputs(&self) -> bool {
        true
    }

    fn outputs(&self, params: &Value) -> Result<Vec<DatasetSpec>> {
        Self::params(params)?;
        Ok(vec![stages_spec()])
    }

    fn run<'a>(&'a self, ctx: &'a RunContext, params: &'a Value) -> BoxFuture<'a, Result<Outcome>> {
        Box::pin(async move {
            let params = Self::params(params)?;
            let entries = entries(ctx.session(), &params.model).await?;
            let history = History::read(ctx.session(), &params.model).await?;
            let entry = chosen(&params, &entries, &history)?;
            let now = history.production();
            let mut changes = Vec::new();
            let mut noise = None;
            let change = |version: &str, stage, reason: String| Change {
                version: version.to_owned(),
                stage,
                reason,
                forced: params.force,
            };
            match params.to {
                // What is so already needs no second row.
                Target::Production if now == Some(entry.version.as_str()) => {}
                Target::Production => {
                    noise = gate(&params, entry, &history)?;
                    let reason = format!("replaced by {}", entry.version);
                    changes.extend(now.map(|old| change(old, ModelStage::Archived, reason)));
                    let reason = match (&noise, params.reason.is_empty()) {
                        (Some(noise), true) => noise.clone(),
                        _ => params.reason.clone(),
                    };
                    changes.push(change(&entry.version, ModelStage::Production, reason));
                }
                Target::Archived => {
                    if history.stage(&entry.version) != Some(ModelStage::Archived) {
                        let reason = params.reason.clone();
                        changes.push(change(&entry.version, ModelStage::Archived, reason));
                    }
                }
            }
            let is_changed = !changes.is_empty();
            if is_changed {
                let rows = stage_batch(ctx, &params.model, history.next_number(), &changes)?;
                // What another promotion has changed since was not looked at.
                let after = WriteMode::AppendAfter(ctx.input(&stages_name())?.version);
                let made = ctx.commit(stages_spec(), after, vec![rows]).await;
                made.map_err(|error| error.while_doing(NAME))?;
            }
            let compared = entry.compared.as_ref().map(
                |it| json!({ "version": it.version, "accuracy": it.accuracy, "p_value": it.p_value }),
            );
            let in_production = match params.to {
                Target::Production => Some(entry.version.as_str()),
                Target::Archived => now.filter(|version| *version != entry.version),
            };
            Ok(Outcome {
                summary: json!({
                    "model": params.model,
                    "version": entry.version,
                    "to": params.to,
                    "in_production": in_production,
                    "before": now,
                    "changed": is_changed,
                    "accuracy": entry.accuracy,
                    "compared": compared,
                    "forced": params.force,
                    "noise": noise,
                }),
            })
        })
    }
}

/// The version that the parameters mean.
fn chosen<'a>(params: &Params, entries: &'a [Entry], history: &History) -> Result<&'a Entry> {
    let Some(last) = entries.first() else {
        return Err(Error::user(
            Code::NotFound,
            format!(
                "{NAME}: model {:?} has no versions; the jobs `triage_train` and `embedder_train` make them",
                params.model
            ),
        ));
    };
    let version = match params.version.as_deref() {
        None => &last.version,
        Some(PREVIOUS) => history.previous().ok_or_else(|| {
            let text = format!(
                "no version of {} was promoted before the one in production; expected the name of a version",
                params.model
            );
            bad(NAME, "version", text)
        })?,
        Some(version) => version,
    };
    entries.iter().find(|entry| entry.version == version).ok_or_else(|| {
        let known: Vec<&str> = entries.iter().map(|entry| entry.version.as_str()).take(5).collect();
        Error::user(
            Code::NotFound,
            format!(
                "{NAME}: model {} has no version {version:?}; the last are {}",
                params.model,
                known.join(", ")
            ),
        )
    })
}

/// Whether a version is less accurate by no more than is allowed, and than chance makes.
fn is_noise(params: &Params, accuracy: f64, compared: &Compared) -> bool {
    let less = compared.accuracy - accuracy;
    less > 0.0 && less <= params.tolerance && compared.p_value >= SIGNIFICANT_BELOW
}

/// Whether a version may go into use; where it is less accurate than the one that is there, why it may all the same.
fn gate(params: &Params, entry: &Entry, history: &History) -> Result<Option<String>> {
    let Some(accuracy) = entry.accuracy.filter(|_| entry.held_out_rows > 0) else {
        return Err(conflict(params, entry, "was never evaluated: it can't be taken into use"));
    };
    if params.force || history.was_in_production(&entry.version) {
        return Ok(None);
    }
    let compared = entry.compared.as_ref();
    let (now, why) = match (history.production(), compared) {
        (Some(now), _) => (now, "which is in production"),
        // Another model's version: what an embedder was trained from is in use where no version of it is.
        (None, Some(compared)) if compared.version.contains('@') => {
            (compared.version.as_str(), "from which it was trained")
        }
        (None, _) => return Ok(None),
    };
    match compared {
        Some(compared) if compared.version == now && accuracy >= compared.accuracy => Ok(None),
        Some(compared) if compared.version == now && is_noise(params, accuracy, compared) => {
            Ok(Some(format!(
                "accuracy {accuracy:.4} beside {:.4} of {now}: no less than chance makes (p = {:.2})",
                compared.accuracy, compared.p_value
            )))
        }
        Some(compared) if compared.version == now => Err(conflict(
            params,
            entry,
            &format!(
                "is worse than {now}, {why}: accuracy {accuracy:.4} beside {:.4} on the same {} rows (p = {:.3}; up to {} less \
                 is taken where p is {SIGNIFICANT_BELOW} or more); force = true overrules this",
                compared.accuracy, entry.held_out_rows, compared.p_value, params.tolerance
            ),
        )),
        other => Err(conflict(
            params,
            entry,
            &format!(
                "was compared with {}, and not with {now}, {why}: train again, or force = true",
                other.map_or("none", |compared| compared.version.as_str())
            ),
        )),
    }
}

fn conflict(params: &Params, entry: &Entry, problem: &str) -> Error {
    let text = format!("{NAME}: {}@{} {problem}", params.model, entry.version);
    Error::user(Code::Conflict, text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_difference_that_chance_makes_is_none() {
        let compared = |p_value| Compared { version: "v1".to_owned(), accuracy: 0.942, p_value };
        let params = Params::default();
        assert!(is_noise(&params, 0.940, &compared(0.73)));
        assert!(!is_noise(&params, 0.940, &compared(0.01)), "a small one that is one");
        assert!(!is_noise(&params, 0.920, &compared(0.73)), "more than is allowed");
        let none = Params { tolerance: 0.0, ..params };
        assert!(!is_noise(&none, 0.940, &compared(0.73)));
    }

    #[test]
    fn the_gate_is_open_to_what_is_as_good_and_says_why_where_it_is_less() {
        let (history, none) = (History::of(&["v1"]), History::of(&[]));
        let entry = |accuracy, p_value| Entry {
            version: "v2".to_owned(),
            held_out_rows: 100,
            accuracy: Some(accuracy),
            compared: Some(Compared { version: "v1".to_owned(), accuracy: 0.942, p_value }),
        };
        let asked = |entry: &Entry, history: &History| gate(&Params::default(), entry, history);
        let refused = |entry: &Entry, history: &History, says: &str| {
            let error = asked(entry, history).unwrap_err();
            assert_eq!(error.code(), Code::Conflict);
            assert!(error.to_string().contains(says), "{error}");
        };
        assert_eq!(asked(&entry(0.942, 1.0), &history).unwrap(), None);
        let says = asked(&entry(0.940, 0.73), &history).unwrap().unwrap();
        assert_eq!(
            says,
            "accuracy 0.9400 beside 0.9420 of v1: no less than chance makes (p = 0.73)"
        );
        refused(&entry(0.940, 0.01), &history, "is worse than v1, which is in production");
        refused(&entry(0.920, 0.73), &history, "is worse than v1");
        refused(
            &entry(0.950, 0.01),
            &History::of(&["v0"]),
            "was compared with v1, and not with v0",
        );
        refused(&Entry { accuracy: None, ..entry(0.9, 0.1) }, &none, "was never evaluated");
        refused(&Entry { held_out_rows: 0, ..entry(0.9, 0.1) }, &none, "was never evaluated");
        assert_eq!(asked(&entry(0.5, 0.0), &none).unwrap(), None);
        // One that was in production comes back, and one that is forced goes there.
        assert_eq!(asked(&entry(0.5, 0.0), &History::of(&["v2", "v1"])).unwrap(), None);
        let forced = Params { force: true, ..Params::default() };
        assert_eq!(gate(&forced, &entry(0.5, 0.0), &history).unwrap(), None);
    }
}
