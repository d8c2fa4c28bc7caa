//! What the demo did and found, for people and as JSON.

use std::fmt;

use engine::{Code, Error, Result};
use jobs::RunRecord;
use serde::Serialize;

use super::check::Findings;
use super::fill::DatasetSummary;
use super::steps::LooksFor;
use crate::output::{columns, count};

/// Model calls from which on a demo that finds too little fails. With fewer, planted hours hold only a handful of calls, and
/// whether these stand out is chance.
pub const CHECKED_FROM_ROWS: u64 = 100_000;

/// The outcome of the demo.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// Number of model calls that were requested.
    pub rows: u64,
    /// Whether finding too little is an error, which requires [`CHECKED_FROM_ROWS`].
    pub is_checked: bool,
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
    /// Fails if a job found too little of the planted data. If the rows are too few for that, returns a note instead.
    pub fn require_found(&self) -> Result<Option<String>> {
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
            return Ok(None);
        }
        if !self.is_checked {
            return Ok(Some(format!(
                "demo: {} rows are too few for each job to find nine in ten of what was planted: found {}; from --rows {} on this is an \
                 error",
                count(self.rows),
                told.join(", "),
                CHECKED_FROM_ROWS
            )));
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn summary(rows: u64, found: u64) -> Summary {
        let job = JobSummary {
            job: "metric".to_owned(),
            looks_for: LooksFor::TargetsMissed,
            run: String::new(),
            rows_in: rows,
            rows_out: 0,
            devices: Vec::new(),
            seconds: 0.0,
            found: Findings::new(3, found, 0, Vec::new()),
        };
        Summary {
            rows,
            is_checked: rows >= CHECKED_FROM_ROWS,
            datasets: Vec::new(),
            jobs: vec![job],
            left_out: Vec::new(),
            seconds: 0.0,
        }
    }

    #[test]
    fn a_demo_with_enough_rows_fails_if_it_finds_too_little() {
        let error = summary(CHECKED_FROM_ROWS, 2).require_found().unwrap_err();
        assert_eq!(error.code(), Code::Conflict);
        assert!(error.to_string().contains("found metric 2 of 3 targets missed"), "{error}");
        assert_eq!(summary(CHECKED_FROM_ROWS, 3).require_found().unwrap(), None);
        let note = summary(20_000, 2).require_found().unwrap().unwrap();
        assert!(note.contains("metric 2 of 3") && note.contains("from --rows 100000 on"), "{note}");
    }
}
