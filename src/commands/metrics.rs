//! `colonnade metric` and `colonnade metrics`: measures that are kept up to date as series.

use engine::Result;
use jobs::{MetricState, metric};

use super::kept;
use crate::cli::{Metric, MetricCommand};
use crate::config::Settings;
use crate::output::{Output, plain};

/// What this process is to others.
const LABEL: &str = "colonnade metric";

/// Makes or removes some.
pub async fn metric(arguments: Metric, settings: &Settings, output: &Output) -> Result<()> {
    match arguments.command {
        MetricCommand::Apply { files, check } => {
            kept::apply::<metric::Params>(&files, check, LABEL, settings, output).await
        }
        MetricCommand::Remove { name } => {
            kept::remove::<metric::Params>(&name, LABEL, settings, output).await
        }
    }
}

/// Lists them.
pub async fn metrics(settings: &Settings, output: &Output) -> Result<()> {
    let row = |metric: &MetricState| {
        let of = &metric.definition;
        let by = if of.dimensions.is_empty() { "-".to_owned() } else { of.dimensions.join(", ") };
        vec![
            metric.name.clone(),
            of.dataset.to_string(),
            plain(&of.measure),
            of.condition.as_deref().map_or("-".to_owned(), plain),
            by,
            of.interval.to_string(),
            target(of),
            plain(of.owner.as_deref().unwrap_or("-")),
            of.output.to_string(),
        ]
    };
    kept::list(
        &["metric", "dataset", "measure", "where", "by", "interval", "target", "owner", "output"],
        row,
        LABEL,
        settings,
        output,
    )
    .await
}

/// What is wanted of its values.
fn target(metric: &metric::Params) -> String {
    let both = metric.direction.zip(metric.target);
    both.map_or("-".to_owned(), |(way, target)| format!("{} {target}", way.limit()))
}
