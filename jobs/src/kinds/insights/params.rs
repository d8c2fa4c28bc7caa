//! The parameters of `insights`.

use chrono::NaiveDate;
use datasets::{DatasetName, specs};
use engine::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NAME;
use crate::parameters::{bad, dataset_name};

/// Datasets of one form that are read.
const SOURCES_MAX: usize = 50;
/// Days that are looked back on.
const DAYS_MAX: u32 = 3_660;
/// Insights of a day.
const INSIGHTS_MAX: usize = 10_000;

/// Whose findings are said, of which days, and how many.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Datasets of the form that the job anomalies commits, where they are there. Default: ["anomalies"].
    #[schemars(with = "Vec<String>")]
    pub anomalies: Vec<DatasetName>,
    /// The same of the job trends. Default: ["trends"].
    #[schemars(with = "Vec<String>")]
    pub trends: Vec<DatasetName>,
    /// What came beside what was forecast, as the job forecast commits it. Default: ["forecast_accuracy"].
    #[schemars(with = "Vec<String>")]
    pub forecasts: Vec<DatasetName>,
    /// The same of the job correlate. Default: ["correlations"].
    #[schemars(with = "Vec<String>")]
    pub correlations: Vec<DatasetName>,
    /// The same of the job explain. Default: ["explanations"].
    #[schemars(with = "Vec<String>")]
    pub explanations: Vec<DatasetName>,
    /// Clusters as the job duplicates commits them. Default: ["duplicate_clusters"].
    #[schemars(with = "Vec<String>")]
    pub duplicates: Vec<DatasetName>,
    /// The same of the job triage. Default: ["triage"].
    #[schemars(with = "Vec<String>")]
    pub triage: Vec<DatasetName>,
    /// What drifts, as the job drift commits it. Default: ["drifts"].
    #[schemars(with = "Vec<String>")]
    pub drifts: Vec<DatasetName>,
    /// Policies as the job routing commits them. Default: ["routing_policies"].
    #[schemars(with = "Vec<String>")]
    pub routing: Vec<DatasetName>,
    /// Who is better, as the job agents commits it. Default: ["agent_comparisons"].
    #[schemars(with = "Vec<String>")]
    pub comparisons: Vec<DatasetName>,
    /// Values of metrics, of which those with a target may miss it, as the job metric commits them. Default: ["metric_values"].
    #[schemars(with = "Vec<String>")]
    pub metrics: Vec<DatasetName>,
    /// How often models are right by period, as the job accuracy commits it. Default: ["model_accuracy"].
    #[schemars(with = "Vec<String>")]
    pub accuracies: Vec<DatasetName>,
    /// Which models are better, as it commits that. Default: ["model_comparisons"].
    #[schemars(with = "Vec<String>")]
    pub challengers: Vec<DatasetName>,
    /// Checks as the job quality commits them. Default: ["quality_checks"].
    #[schemars(with = "Vec<String>")]
    pub checks: Vec<DatasetName>,
    /// Rows that failed a check. Default: those of the built-in datasets, such as tickets_quarantine.
    #[schemars(with = "Vec<String>")]
    pub quarantines: Vec<DatasetName>,
    /// The day that is told, as 2026-03-01; null takes today, in UTC. Default: null.
    #[schemars(with = "Option<String>", extend("format" = "date"))]
    pub day: Option<NaiveDate>,
    /// Where something was said on an earlier day, only what ended within so many days, up to the end of the day that is told,
    /// 1 to 3660. Default: 30.
    pub days: u32,
    /// What was said within so many days makes what is said of the same subject less new. Default: 14.
    pub novelty_days: u32,
    /// Nothing of less severity is looked at, 0 to 100. Default: 25.
    pub min_severity: f64,
    /// Nothing of a lower score is said, 0 to 100. Default: 10.
    pub min_score: f64,
    /// Most insights of a day, 1 to 10000. Default: 200.
    pub insights_max: usize,
    /// Dataset that the insights are committed to. Default: insights.
    #[schemars(with = "String")]
    pub output: DatasetName,
    /// Dataset that a digest of each day is committed to. Default: insight_digests.
    #[schemars(with = "String")]
    pub digests: DatasetName,
}

impl Default for Params {
    fn default() -> Self {
        let one = |name| vec![dataset_name(name)];
        Self {
            anomalies: one("anomalies"),
            trends: one("trends"),
            forecasts: one("forecast_accuracy"),
            correlations: one("correlations"),
            explanations: one("explanations"),
            duplicates: one("duplicate_clusters"),
            triage: one("triage"),
            drifts: one("drifts"),
            routing: one("routing_policies"),
            comparisons: one("agent_comparisons"),
            metrics: one("metric_values"),
            accuracies: one("model_accuracy"),
            challengers: one("model_comparisons"),
            checks: one("quality_checks"),
            quarantines: specs::builtin().iter().map(|spec| spec.name.quarantine()).collect(),
            day: None,
            days: 30,
            novelty_days: 14,
            min_severity: 25.0,
            min_score: 10.0,
            insights_max: 200,
            output: dataset_name("insights"),
            digests: dataset_name("insight_digests"),
        }
    }
}

impl Params {
    /// Checks what the types can't.
    pub(super) fn check(&self) -> Result<()> {
        for (name, datasets) in self.forms() {
            let found = datasets.len();
            if found > SOURCES_MAX {
                let says = format!("expected at most {SOURCES_MAX} datasets, found {found}");
                return Err(bad(NAME, name, says));
            }
            if let Some(own) =
                datasets.iter().find(|of| **of == self.output || **of == self.digests)
            {
                return Err(bad(NAME, name, format!("{own} is what the job itself commits to")));
            }
        }
        if self.sources().next().is_none() {
            return Err(bad(
                NAME,
                "anomalies",
                "expected a dataset in one of the lists, found none in any",
            ));
        }
        for (name, days) in [("days", self.days), ("novelty_days", self.novelty_days)] {
            if !(1..=DAYS_MAX).contains(&days) {
                return Err(bad(
                    NAME,
                    name,
                    format!("expected 1 to {DAYS_MAX} days, found {days}"),
                ));
            }
        }
        for (name, value) in [("min_severity", self.min_severity), ("min_score", self.min_score)] {
            if !(0.0..=100.0).contains(&value) {
                return Err(bad(NAME, name, format!("expected 0 to 100, found {value}")));
            }
        }
        if !(1..=INSIGHTS_MAX).contains(&self.insights_max) {
            let found = self.insights_max;
            let says = format!("expected 1 to {INSIGHTS_MAX} insights, found {found}");
            return Err(bad(NAME, "insights_max", says));
        }
        if self.output == self.digests {
            return Err(bad(
                NAME,
                "digests",
                format!("expected another dataset than {}", self.output),
            ));
        }
        Ok(())
    }

    /// The datasets of each form, by the parameter that names them.
    pub(super) fn forms(&self) -> [(&'static str, &[DatasetName]); 15] {
        [
            ("anomalies", &self.anomalies),
            ("trends", &self.trends),
            ("forecasts", &self.forecasts),
            ("correlations", &self.correlations),
            ("explanations", &self.explanations),
            ("duplicates", &self.duplicates),
            ("triage", &self.triage),
            ("drifts", &self.drifts),
            ("routing", &self.routing),
            ("comparisons", &self.comparisons),
            ("metrics", &self.metrics),
            ("accuracies", &self.accuracies),
            ("challengers", &self.challengers),
            ("checks", &self.checks),
            ("quarantines", &self.quarantines),
        ]
    }

    pub(super) fn sources(&self) -> impl Iterator<Item = &DatasetName> {
        self.forms().into_iter().flat_map(|(_, datasets)| datasets)
    }
}
