//! Which rows are Colonnade's own to write: records of runs and models, results of jobs, labels, quarantines. Whoever reads
//! them takes them for what Colonnade says, so none is taken from a client, whatever its role.

use datasets::{DatasetName, DatasetSpec};

use crate::error::{Code, Error, Result};

/// The dataset of what was done by whom: admins alone see it, and nobody drops it.
pub const AUDIT: &str = "audit";

/// Names of such datasets where no other is asked for, kept for them also before they are there.
pub const DERIVED_NAMES: &[&str] = &[
    "agent_comparisons",
    "agent_measures",
    "agent_results",
    "alert_events",
    "alert_outbox",
    "alert_rules",
    "alert_state",
    "alert_words",
    "alerts",
    "anomalies",
    "anomaly_labels",
    "anomaly_state",
    AUDIT,
    "call_costs",
    "case_predictions",
    "correlations",
    "drift_scores",
    "drifts",
    "duplicate_clusters",
    "duplicate_index",
    "duplicate_pairs",
    "embeddings",
    "explanations",
    "forecast_accuracy",
    "forecast_history",
    "forecasts",
    "insight_digests",
    "insight_feedback",
    "insights",
    "label_suspects",
    "labels_by_hand",
    "lead_lag",
    "metric_values",
    "model_accuracy",
    "model_calibration",
    "model_comparisons",
    "model_costs",
    "model_evaluations",
    "model_scores",
    "model_stages",
    "models",
    "pairs_by_hand",
    "prediction_accuracy",
    "process_activities",
    "process_cases",
    "process_edges",
    "process_hand_overs",
    "process_models",
    "process_variants",
    "quality_checks",
    "quality_scores",
    "reconciliation_columns",
    "reconciliation_totals",
    "reconciliations",
    "routing_policies",
    "routing_rules",
    "run_logs",
    "run_stages",
    "runs",
    "ticket_costs",
    "training_rows",
    "trends",
    "triage",
    "unpriced_calls",
    "vector_index",
];

/// Whether only Colonnade itself makes and fills a dataset of that name.
pub fn is_kept_name(name: &DatasetName) -> bool {
    name.is_quarantine() || DERIVED_NAMES.contains(&name.as_str())
}

/// FORBIDDEN where a dataset of this name takes no rows of clients, whatever it is.
pub(crate) fn refuse_kept_name(name: &DatasetName) -> Result<()> {
    if !is_kept_name(name) {
        return Ok(());
    }
    let how = if name.is_quarantine() {
        "rows get there by failing a check"
    } else {
        "Colonnade writes its rows by itself"
    };
    Err(Error::user(
        Code::Forbidden,
        format!(
            "dataset {name} is not for clients to make or to fill: {how}; expected another name"
        ),
    ))
}

/// FORBIDDEN for the spec of a client that asks for what only Colonnade makes.
pub(crate) fn refuse_derived(spec: &DatasetSpec) -> Result<()> {
    refuse_kept_name(&spec.name)?;
    if spec.derived {
        let name = &spec.name;
        let says =
            "`derived` is for datasets that Colonnade fills by itself; expected false or none";
        return Err(Error::user(Code::Forbidden, format!("spec of {name}: {says}")));
    }
    Ok(())
}

/// FORBIDDEN where `wanted` is for clients, and a dataset that is there is not.
pub(crate) fn require_for_clients(there: &DatasetSpec, wanted: &DatasetSpec) -> Result<()> {
    match there.derived && !wanted.derived {
        true => Err(refuse_rows(&there.name)),
        false => Ok(()),
    }
}

/// The error for results where a dataset has rows of clients.
pub(crate) fn refuse_results(name: &DatasetName) -> Error {
    let says = "holds rows that clients sent; results need another name";
    Error::user(Code::Conflict, format!("dataset {name} {says}"))
}

/// The error for a client that would change rows which are not its own.
pub(crate) fn refuse_change(name: &DatasetName) -> Error {
    let says = match name.is_quarantine() {
        true => "holds rejected rows as they came; they can be deleted, and not changed",
        false => "holds what Colonnade itself writes, which a run changes and nobody else",
    };
    Error::user(Code::Forbidden, format!("dataset {name} {says}"))
}

/// FORBIDDEN for the dataset of what was done: whoever did it could take it away.
pub(crate) fn require_no_audit(there: &DatasetSpec) -> Result<()> {
    match there.derived && there.name.as_str() == AUDIT {
        true => Err(Error::user(
            Code::Forbidden,
            format!("dataset {AUDIT} says what was done by whom: it stays, and stays called so"),
        )),
        false => Ok(()),
    }
}

/// The error for rows of a client that a dataset does not take.
pub(crate) fn refuse_rows(name: &DatasetName) -> Error {
    let says = "holds what Colonnade itself writes, and takes no rows of clients";
    Error::user(Code::Forbidden, format!("dataset {name} {says}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn spec(name: &str, derived: bool) -> DatasetSpec {
        let text = format!(r#"{{"name": "{name}", "columns": [{{"name": "a", "type": "text"}}]}}"#);
        DatasetSpec { derived, ..DatasetSpec::from_json(&text).unwrap() }
    }

    #[test]
    fn names_that_colonnade_uses_are_kept_for_it() {
        for name in ["runs", "models", "embeddings", "tickets_quarantine"] {
            let error = refuse_derived(&spec(name, false)).unwrap_err();
            assert_eq!(error.code(), Code::Forbidden, "{name}");
            assert!(error.to_string().contains(name), "{error}");
        }
        assert!(refuse_derived(&spec("tickets", false)).is_ok());
        assert_eq!(refuse_derived(&spec("tickets", true)).unwrap_err().code(), Code::Forbidden);
    }

    #[test]
    fn what_colonnade_fills_takes_nothing_of_clients() {
        let (sent, made) = (spec("mine", false), spec("mine", true));
        assert!(require_for_clients(&sent, &sent).is_ok());
        assert!(require_for_clients(&sent, &made).is_ok());
        assert!(require_for_clients(&made, &made).is_ok());
        assert_eq!(require_for_clients(&made, &sent).unwrap_err().code(), Code::Forbidden);
    }
}
