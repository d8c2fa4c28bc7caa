//! The datasets that each tenant is expected to have: they can be asked for and followed before their first row.

use std::collections::BTreeMap;

use datasets::{DatasetSpec, specs};
use engine::Result;

use crate::audit::audit_spec;
use crate::insight_feedback;
use crate::kinds::Jobs;
use crate::run::ledger::runs_spec;
use crate::run::logs::logs_spec;
use crate::run::stages::stages_spec;
use crate::texts::labels::{labels_spec, pairs_spec};
use crate::{alert_words, alerting, anomaly_labels};

/// The built-in datasets, what job kinds make where they are told no name, and what Colonnade keeps of what was done.
pub fn expected_datasets() -> Result<Vec<DatasetSpec>> {
    let kept = [runs_spec()?, stages_spec()?, logs_spec()?, audit_spec()?];
    let by_hand = [
        alert_words::spec(),
        alerting::spec(),
        anomaly_labels::spec(),
        insight_feedback::spec(),
        labels_spec(),
        pairs_spec(),
    ];
    let kinds = Jobs::default();
    let all = specs::builtin().into_iter().chain(kinds.results());
    let by_name: BTreeMap<_, _> =
        all.chain(kept).chain(by_hand).map(|spec| (spec.name.clone(), spec)).collect();
    Ok(by_name.into_values().collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_colonnade_fills_by_itself_is_expected() {
        let expected = expected_datasets().unwrap();
        let names: BTreeSet<&str> = expected.iter().map(|spec| spec.name.as_str()).collect();
        assert_eq!(names.len(), expected.len());
        let missing: Vec<_> =
            engine::DERIVED_NAMES.iter().filter(|name| !names.contains(*name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
        assert!(specs::builtin().iter().all(|spec| names.contains(spec.name.as_str())));
        assert!(expected.iter().all(|spec| spec.check_new().is_ok()));
    }
}
