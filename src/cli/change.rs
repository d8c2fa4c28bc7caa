//! Arguments of what changes rows and names that are there.

use clap::Args;

/// Which rows.
#[derive(Debug, Args)]
pub struct Which {
    /// Those of which this is true, as in SQL: "price > 100 and at < '2026-01-01'"
    #[arg(long = "where", value_name = "CONDITION")]
    pub condition: Option<String>,
    /// All rows
    #[arg(long, conflicts_with = "condition")]
    pub all: bool,
    /// Say how many rows there are, and change none
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct Delete {
    /// The dataset
    pub dataset: String,
    #[command(flatten)]
    pub which: Which,
    /// Print the outcome as one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Update {
    /// The dataset
    pub dataset: String,
    /// A column and what it is to be, as in SQL: "price = price * 2"
    #[arg(long = "set", value_name = "COLUMN=VALUE", required = true)]
    pub set: Vec<String>,
    #[command(flatten)]
    pub which: Which,
    /// Print the outcome as one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Drop {
    /// The dataset
    pub dataset: String,
    /// Delete its files, for good, while no server has the root
    #[arg(long)]
    pub purge: bool,
    /// Print the outcome as one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Restore {
    /// The dataset
    pub dataset: String,
    /// Print the outcome as one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Its versions come along, and its quarantine. On a disk its files are linked, in an object store copied. Results of jobs stay under
/// the name that they were made for.
#[derive(Debug, Args)]
pub struct Rename {
    /// The dataset
    pub dataset: String,
    /// What it is to be called
    pub to: String,
    /// Print the outcome as one JSON document
    #[arg(long)]
    pub json: bool,
}
