//! Arguments of what is about feature views.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// A feature view is a table `[[feature]]` in a file of TOML; `colonnade schedule pause feature-NAME` lets one rest.
#[derive(Debug, Args)]
pub struct Feature {
    #[command(subcommand)]
    pub command: FeatureCommand,
    /// Print as one JSON document
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum FeatureCommand {
    /// Make feature views what files say, whether there were some of their names or not, and compute them
    Apply {
        /// Files of TOML
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Only say what is wrong with them
        #[arg(long)]
        check: bool,
    },
    /// Remove one: it is kept up to date no more; its rows stay
    Remove {
        /// Its name
        name: String,
    },
    /// Show an entity's features as they are now
    Get {
        /// The dataset of the view
        view: String,
        /// The entity, as user_id=u1, each of the columns that name it
        #[arg(required = true, value_name = "COLUMN=VALUE")]
        entity: Vec<String>,
    },
    /// Compare what reads by entity would give with what a query of the view gives
    Check {
        /// The dataset of the view
        view: String,
    },
}

#[derive(Debug, Args)]
pub struct Features {
    /// Print as one JSON document
    #[arg(long)]
    pub json: bool,
}
