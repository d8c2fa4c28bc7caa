//! What the demo did and found, for people and as JSON.

use std::fmt;

use jobs::RunRecord;
use serde::Serialize;

use super::check::Findings;
use super::fill::DatasetSummary;
use crate::output::{columns, count};

/// The outcome of the demo.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// What was ingested.
    pub datasets: Vec<DatasetSummary>,
    /// What ran, and what it found.
    pub jobs: Vec<JobSummary>,
    /// All of it.
    pub seconds: f64,
}

/// One job of the demo.
#[derive(Debug, Serialize)]
pub struct JobSummary {
    /// The job.
    pub job: String,
    /// Its run.
    pub run: String,
    /// Rows that it read.
    pub rows_in: u64,
    /// Rows that it wrote.
    pub rows_out: u64,
    /// Where its numeric stages ran.
    pub devices: Vec<String>,
    /// From the asking to the commit.
    pub seconds: f64,
    /// Counted against the planted truth.
    pub found: Findings,
}

impl JobSummary {
    /// The summary of a run.
    pub fn new(record: &RunRecord, seconds: f64, found: Findings) -> Self {
        let mut devices: Vec<String> = record.stages.iter().map(|s| s.device.clone()).collect();
        devices.sort();
        devices.dedup();
        Self {
            job: record.job.clone(),
            run: record.id.to_string(),
            rows_in: record.stages.iter().map(|s| s.rows_in).max().unwrap_or(0),
            rows_out: record.outputs.iter().filter_map(|o| o.rows).sum(),
            devices,
            seconds,
            found,
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<Vec<String>> = self
            .datasets
            .iter()
            .map(|d| {
                let rate = if d.ingested > 0 {
                    count(d.rows_per_second as u64)
                } else {
                    "there already".to_owned()
                };
                vec![
                    d.dataset.clone(),
                    count(d.rows),
                    count(d.quarantined),
                    format!("{:.1}", d.seconds),
                    rate,
                    d.version.to_string(),
                ]
            })
            .collect();
        writeln!(
            f,
            "{}\n",
            columns(&["dataset", "rows", "quarantined", "seconds", "rows/s", "version"], &rows)
        )?;
        let rows: Vec<Vec<String>> = self
            .jobs
            .iter()
            .map(|j| {
                vec![
                    j.job.clone(),
                    count(j.found.planted),
                    count(j.found.found),
                    count(j.found.missed),
                    count(j.found.false_alarms),
                    count(j.rows_in),
                    count(j.rows_out),
                    j.devices.join(", "),
                    format!("{:.1}", j.seconds),
                ]
            })
            .collect();
        let header = [
            "job", "planted", "found", "missed", "false", "rows in", "rows out", "device",
            "seconds",
        ];
        writeln!(f, "{}\n", columns(&header, &rows))?;
        for job in &self.jobs {
            for line in &job.found.notes {
                writeln!(f, "{}: {line}", job.job)?;
            }
        }
        write!(f, "all of it: {:.1} seconds", self.seconds)
    }
}
