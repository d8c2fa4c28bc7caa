//! `colonnade label`: a person says what rows are, and which are one.

use datasets::DatasetName;
use engine::{Code, Engine, Error, Principal, Result};
use jobs::anomaly_labels::{AnomalyAt, AnomalyVerdict, label_anomaly};
use jobs::labels::{Labelled, PairLabel, RowLabel, label_pairs, label_rows};
use serde_json::json;

use super::{close, open_to_write};
use crate::cli::Label;
use crate::config::Settings;
use crate::output::{Output, count};

/// Commits labels of rows, or of pairs.
pub async fn label(arguments: Label, settings: &Settings, output: &Output) -> Result<()> {
    let dataset = DatasetName::new(&arguments.dataset)?;
    let engine = open_to_write(settings, "colonnade label").await?;
    let labelled = commit(&engine, &settings.principal()?, &dataset, &arguments).await;
    let Labelled { commit, warnings } = close(&engine, labelled).await?;
    if output.is_json() {
        return output.document(&json!({
            "dataset": commit.dataset.as_str(),
            "rows": commit.rows,
            "version": commit.version.0,
            "warnings": warnings,
        }));
    }
    for warning in &warnings {
        output.note(warning);
    }
    let (rows, word) = (count(commit.rows), if commit.rows == 1 { "label" } else { "labels" });
    output
        .line(&format!("{rows} {word} of {dataset}: {} version {}", commit.dataset, commit.version))
}

async fn commit(
    engine: &Engine,
    who: &Principal,
    dataset: &DatasetName,
    arguments: &Label,
) -> Result<Labelled> {
    if !arguments.rows.is_empty() {
        let label =
            |(id, label): &(String, String)| RowLabel { id: id.clone(), label: label.clone() };
        let labels: Vec<RowLabel> = arguments.rows.iter().map(label).collect();
        return label_rows(engine, who, dataset, &labels).await;
    }
    if !arguments.anomaly.is_empty() {
        return anomalies(engine, who, dataset, arguments).await;
    }
    let pairs = |ids: &[String], is_duplicate| -> Vec<PairLabel> {
        let pairs = ids.chunks_exact(2);
        pairs
            .map(|pair| PairLabel { id_a: pair[0].clone(), id_b: pair[1].clone(), is_duplicate })
            .collect()
    };
    let mut all = pairs(&arguments.same, true);
    all.extend(pairs(&arguments.different, false));
    if all.is_empty() {
        let says = "expected --row ID=LABEL, --same ID ID, --different ID ID or --anomaly SERIES INSTANT VERDICT";
        return Err(Error::user(Code::BadInput, says));
    }
    let commit = label_pairs(engine, who, dataset, &all).await?;
    Ok(Labelled { commit, warnings: Vec::new() })
}

/// Each of them, in their order; those before one that is refused stay.
async fn anomalies(
    engine: &Engine,
    who: &Principal,
    source: &DatasetName,
    arguments: &Label,
) -> Result<Labelled> {
    let bad = |says: String| Error::user(Code::BadInput, format!("--anomaly: {says}"));
    let one = |words: &[String]| {
        let [series, at, verdict] = words else {
            return Err(bad("expected SERIES INSTANT VERDICT".to_owned()));
        };
        let at = at.parse().map_err(|_| {
            bad(format!("expected an instant such as 2026-01-31T08:00:00Z, found {at:?}"))
        })?;
        let of = AnomalyAt {
            dataset: DatasetName::new(&arguments.found_in)?,
            source: source.clone(),
            series: series.clone(),
            at,
            kind: arguments.kind.clone(),
        };
        Ok((of, verdict.parse::<AnomalyVerdict>()?))
    };
    let all = arguments.anomaly.chunks(3).map(one).collect::<Result<Vec<_>>>()?;
    let mut labelled: Option<Labelled> = None;
    for (of, verdict) in all {
        let next = label_anomaly(engine, who, &of, verdict, arguments.comment.as_deref()).await?;
        labelled = Some(match labelled {
            None => next,
            Some(mut before) => {
                before.commit.rows += next.commit.rows;
                before.commit.version = next.commit.version;
                before.warnings.extend(next.warnings);
                before
            }
        });
    }
    labelled.ok_or_else(|| bad("expected SERIES INSTANT VERDICT".to_owned()))
}
