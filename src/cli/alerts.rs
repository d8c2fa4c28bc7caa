//! Arguments of what is about alerts.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// An alert is a table `[[alert]]` in a file of TOML: rows of a dataset that are a reason to tell somebody.
#[derive(Debug, Args)]
pub struct Alert {
    #[command(subcommand)]
    pub command: AlertCommand,
    /// Print as one JSON document
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum AlertCommand {
    /// Make alerts what files say, whether there were some of their names or not, and look at what is there
    Apply {
        /// Files of TOML
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Only say what is wrong with them
        #[arg(long)]
        check: bool,
    },
    /// Remove one: what fires of it is over
    Remove {
        /// Its name
        name: String,
    },
    /// Say that you have one that fires: it is not told again, and does not escalate
    Acknowledge {
        /// Its rule
        rule: String,
        /// Which of its alerts, as `host=a`; none where it has one
        #[arg(default_value = "")]
        group: String,
        /// What you say of it
        #[arg(long, default_value = "")]
        comment: String,
    },
    /// Have nobody told of some for a while
    Silence {
        /// Its name; one that was there is changed
        name: String,
        /// Of this rule, and others that are named so [default: every rule]
        #[arg(long = "rule")]
        rules: Vec<String>,
        /// Of alerts with this value, as `host=a`; of one column that is named twice either
        #[arg(long = "group", value_name = "COLUMN=VALUE")]
        group: Vec<String>,
        /// From then on: an instant, or a time from now such as 2h [default: now]
        #[arg(long)]
        from: Option<String>,
        /// Up to then: an instant, or a time from now such as 2h
        #[arg(long)]
        until: String,
        /// Why
        #[arg(long)]
        reason: String,
    },
    /// End a silence now
    EndSilence {
        /// Its name
        name: String,
    },
}

#[derive(Debug, Args)]
pub struct Alerts {
    /// The alerts that fire, and not the rules
    #[arg(long)]
    pub firing: bool,
    /// The silences that are not over
    #[arg(long, conflicts_with = "firing")]
    pub silences: bool,
    /// Print as one JSON document
    #[arg(long)]
    pub json: bool,
}
