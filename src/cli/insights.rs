//! Arguments of what is about metrics and insights.

use std::path::PathBuf;

use chrono::NaiveDate;
use clap::{Args, Subcommand};

/// A metric is a table `[[metric]]` in a file of TOML; `colonnade schedule pause metric-NAME` lets one rest.
#[derive(Debug, Args)]
pub struct Metric {
    #[command(subcommand)]
    pub command: MetricCommand,
    /// Print as one JSON document
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum MetricCommand {
    /// Make metrics what files say, whether there were some of their names or not, and compute them
    Apply {
        /// Files of TOML
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Only say what is wrong with them
        #[arg(long)]
        check: bool,
    },
    /// Remove one: it is kept up to date no more; its values stay
    Remove {
        /// Its name
        name: String,
    },
}

#[derive(Debug, Args)]
pub struct Metrics {
    /// Print as one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Insights {
    #[command(subcommand)]
    pub command: Option<InsightsCommand>,
    /// The day that they were said on [default: the last one that has some]
    #[arg(long)]
    pub day: Option<NaiveDate>,
    /// How many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub first: u32,
    /// The dataset that has them
    #[arg(long, global = true, default_value = "insights")]
    pub dataset: String,
    /// Print as one JSON document
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum InsightsCommand {
    /// Say of one that it is useful, known or wrong: the next run minds it
    Rate {
        /// Its id
        id: String,
        /// useful, known or wrong
        verdict: String,
        /// Why
        #[arg(long)]
        comment: Option<String>,
    },
}
