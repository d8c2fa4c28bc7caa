//! Arguments of reports.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub struct Report {
    /// A report that is ready (operations-week, model-costs, data-quality), or the file of a template; none: what there is
    #[arg(value_name = "NAME|FILE")]
    pub report: Option<String>,
    /// The file that it is written to, .html or .pdf; may be given several times
    #[arg(long, value_name = "FILE", requires = "report")]
    pub to: Vec<PathBuf>,
    /// A value of the template, such as from=2026-01-01; may be given several times
    #[arg(long = "param", value_name = "NAME=VALUE")]
    pub params: Vec<String>,
    /// The paper of PDF: a4 or letter [default: that of the template]
    #[arg(long, value_parser = ["a4", "letter"])]
    pub paper: Option<String>,
    /// Read a dataset at a version or time instead of its latest: DATASET@VERSION
    #[arg(long, value_name = "DATASET@VERSION")]
    pub as_of: Vec<String>,
    /// Replace files that are there
    #[arg(long)]
    pub overwrite: bool,
    /// Print the template instead, to begin one's own with
    #[arg(long, requires = "report", conflicts_with = "to")]
    pub show: bool,
}
