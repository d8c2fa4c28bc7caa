//! Arguments of what is about pipelines.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// A pipeline is a file of TOML; `colonnade schedule pause` lets what it waits for pass.
#[derive(Debug, Args)]
pub struct Pipeline {
    #[command(subcommand)]
    pub command: PipelineCommand,
    /// Print as one JSON document
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum PipelineCommand {
    /// Make pipelines what files say, whether there were some of their names or not
    Apply {
        /// Files, or folders of files that end with .toml
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// Only say what is wrong with them
        #[arg(long)]
        check: bool,
    },
    /// Draw one, with how far its last run is
    Show(PipelineOfRun),
    /// Begin a run
    Run {
        /// Its name
        name: String,
        /// Wait until it is over, also where a server or worker is there to do it
        #[arg(long)]
        wait: bool,
    },
    /// Have a run go on that failed or was cancelled: its steps that failed run again, and those behind them follow
    Retry {
        #[command(flatten)]
        of: PipelineOfRun,
        /// Wait until it is over, also where a server or worker is there to do it
        #[arg(long)]
        wait: bool,
    },
    /// Stop a run
    Cancel(PipelineOfRun),
    /// Remove one; its runs stay
    Remove {
        /// Its name
        name: String,
    },
}

#[derive(Debug, Args)]
pub struct PipelineOfRun {
    /// Its name
    pub name: String,
    /// A run of it, as `--json` shows it [default: the last]
    #[arg(long, value_name = "ID")]
    pub run: Option<String>,
}

#[derive(Debug, Args)]
pub struct Pipelines {
    /// Print as one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Lineage {
    /// A dataset, or a model as name@version; everything when absent
    pub of: Option<String>,
    /// Print as one JSON document
    #[arg(long)]
    pub json: bool,
}
