//! `colonnade usage`: what runs took.

use chrono::{TimeDelta, Utc};
use engine::Result;
use jobs::QuotaState;

use super::{close, open_to_read};
use crate::cli::Usage;
use crate::config::Settings;
use crate::output::{Output, columns, count, size};

/// Prints the sums.
pub async fn usage(arguments: Usage, settings: &Settings, output: &Output) -> Result<()> {
    let by = arguments.by.parse()?;
    let engine = open_to_read(settings).await?;
    let since = Utc::now() - TimeDelta::days(i64::from(arguments.days));
    let shown = async {
        let who = settings.principal()?;
        let groups = jobs::usage(&engine, &who, by, since).await?;
        if output.is_json() {
            return output.document(&groups);
        }
        let quotas = settings.quotas()?.states(&engine, &who, Utc::now()).await?;
        if !quotas.is_empty() {
            let rows: Vec<Vec<String>> = quotas.iter().map(quota).collect();
            output.line(&format!("{}\n", columns(&["quota", "used", "state", "until"], &rows)))?;
        }
        if groups.is_empty() {
            let days = arguments.days;
            return output.line(&format!("no run with a step has ended in the last {days} days"));
        }
        // Without a GPU its column would only make the table wide.
        let has_gpu = groups.iter().any(|group| group.gpu_seconds > 0.0);
        let rows: Vec<Vec<String>> = groups
            .iter()
            .map(|group| {
                let mut row = vec![
                    group.of.clone(),
                    count(group.runs),
                    seconds(group.wall_seconds),
                    seconds(group.cpu_seconds),
                ];
                row.extend(has_gpu.then(|| seconds(group.gpu_seconds)));
                row.extend([
                    size(group.peak_memory_bytes),
                    count(group.rows_in),
                    size(group.bytes_written),
                    group.cost.map_or_else(|| "-".to_owned(), money),
                ]);
                row
            })
            .collect();
        let mut header = vec![arguments.by.as_str(), "runs", "wall s", "cpu s"];
        header.extend(has_gpu.then_some("gpu s"));
        header.extend(["peak", "rows in", "written", "cost"]);
        output.line(&columns(&header, &rows))
    };
    let shown = shown.await;
    close(&engine, shown).await
}

fn quota(state: &QuotaState) -> Vec<String> {
    let says = match (state.is_reached(), state.is_near()) {
        (true, _) => "reached: no run is taken",
        (_, true) => "nearly reached",
        _ => "ok",
    };
    let used = (state.used * 1000.0).round() / 1000.0;
    let until = state.until.format("%Y-%m-%dT%H:%MZ").to_string();
    vec![state.quota.to_string(), used.to_string(), says.to_owned(), until]
}

fn seconds(seconds: f64) -> String {
    match seconds {
        0.0 => "-".to_owned(),
        _ => format!("{seconds:.2}"),
    }
}

/// Cents, or as many places as it takes to see something.
fn money(cost: f64) -> String {
    match cost {
        0.0 => "0".to_owned(),
        small if small < 0.01 => format!("{small:.6}"),
        cost => format!("{cost:.2}"),
    }
}
