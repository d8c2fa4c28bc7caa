//! What the demo did and found, for people and as JSON.

use std::fmt;

use engine::{Code, Error, Result};
use jobs::RunRecord;
use serde::Serialize;

use super::check::Findings;
use super::fill::DatasetSummary;
use super::steps::LooksFor;
use crate::output::{columns, count};

/// The outcome of the demo.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// What was ingested.
    pub datasets: Vec<DatasetSummary>,
    /// What ran, and what it found.
    pub jobs: Vec<JobSummary>,
    /// Jobs that did not run.
    pub left_out: Vec<LeftOut>,
    /// All of it.
    pub seconds: f64,
}

/// A job that the demo did not run.
#[derive(Debug, Serialize)]
pub struct LeftOut {
    /// The job.
    pub job: String,
    /// Why not.
    pub why: String,
}

impl Summary {
    /// An error where a job found too little of what was planted.
    pub fn require_found(&self) -> Result<()> {
        let missed = |job: &&JobSummary| !job.found.is_enough(job.looks_for);
        let told: Vec<String> = self
            .jobs
            .iter()
            .filter(missed)
            .map(|job| {
                let Findings { planted, found, .. } = &job.found;
                format!("{} {found} of {planted} {}", job.job, job.looks_for)
            })
            .collect();
        if told.is_empty() {
            return Ok(());
        }
        let says = format!(
            "demo: expected each job to find nine in ten of what was planted, found {}",
            told.join(", ")
        );
        Err(Error::user(Code::Conflict, says))
    }
}

/// One job of the demo.
#[derive(Debug, Serialize)]
pub struct JobSummary {
    /// The job.
    pub job: String,
    /// What of the planted it was to find.
    pub looks_for: LooksFor,
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
    pub fn new(record: &RunRecord, looks_for: LooksFor, seconds: f64, found: Findings) -> Self {
        let mut devices: Vec<String> = record.stages.iter().map(|s| s.device.clone()).collect();
        devices.sort();
        devices.dedup();
        Self {
            job: record.job.clone(),
            looks_for,
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
                    j.looks_for.to_string(),
                    count(j.found.planted),
                    count(j.found.found),
                    count(j.found.false_alarms),
                    count(j.rows_in),
                    count(j.rows_out),
                    j.devices.join(", "),
                    format!("{:.1}", j.seconds),
                ]
            })
            .collect();
        let header = [
            "job",
            "looks for",
            "planted",
            "found",
            "false",
            "rows in",
            "rows out",
            "device",
            "seconds",
        ];
        writeln!(f, "{}\n", columns(&header, &rows))?;
        for job in &self.jobs {
            for line in &job.found.notes {
                writeln!(f, "{}, {}: {line}", job.job, job.looks_for)?;
            }
        }
        for LeftOut { job, why } in &self.left_out {
            writeln!(f, "{job}: left out: {why}")?;
        }
        write!(f, "all of it: {:.1} seconds", self.seconds)
    }
}
