//! Arguments of what takes rows away.

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Export {
    #[command(subcommand)]
    pub command: Option<ExportCommand>,
    /// The dataset
    #[arg(required_unless_present = "sql")]
    pub dataset: Option<String>,
    /// Export the rows of this query instead
    #[arg(long, value_name = "QUERY", conflicts_with_all = ["dataset", "where_", "columns"])]
    pub sql: Option<String>,
    /// The folder that the files go to, or the URL of a place in an object store
    #[arg(long, value_name = "DIR|URL", required = true)]
    pub to: Option<String>,
    /// What the files are
    #[arg(long, default_value = "parquet", value_parser = ["parquet", "csv", "ndjson", "json", "arrow", "arrow_stream", "xlsx"])]
    pub format: String,
    /// How they are packed [default: Parquet by zstd, others not at all]
    #[arg(long, value_name = "PACKING", value_parser = ["none", "gzip", "zstd"])]
    pub packing: Option<String>,
    /// Which rows: a condition in SQL
    #[arg(long = "where", id = "where_", value_name = "CONDITION")]
    pub condition: Option<String>,
    /// Which columns, in this order: a,b,c
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    pub columns: Vec<String>,
    /// What rows are grouped by, instead of being exported, in SQL: "model, CAST(at AS DATE) AS day"; may be given several times
    #[arg(long, value_name = "EXPRESSION", conflicts_with = "sql")]
    pub group_by: Vec<String>,
    /// What is exported of each group, or of all rows, in SQL: "count(*) AS calls"; may be given several times
    #[arg(long = "measure", value_name = "EXPRESSION", conflicts_with = "sql")]
    pub measures: Vec<String>,
    /// Read the dataset at a version or time instead of its latest: 3, 2026-01-01T00:00:00Z, or DATASET@VERSION
    #[arg(long, value_name = "VERSION")]
    pub as_of: Vec<String>,
    /// Only what changed since this version, with a column _change_type: insert or delete
    #[arg(long, value_name = "VERSION", conflicts_with = "sql")]
    pub since: Option<u64>,
    /// Columns whose values become folders (model=a/) instead of standing in the files: a,b
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    pub partition_by: Vec<String>,
    /// Most rows of one file; of a sheet 1048575
    #[arg(long, default_value_t = 1_000_000, value_name = "ROWS", value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub file_rows: u32,
    /// In CSV, keep spreadsheets from computing cells that begin like a formula
    #[arg(long)]
    pub escape_formulas: bool,
    /// Remove an export that lies there first
    #[arg(long)]
    pub overwrite: bool,
    /// Print the run record as one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum ExportCommand {
    /// Hold the files of an export against what its manifest says of them
    Verify(VerifyExport),
}

#[derive(Debug, Args)]
pub struct VerifyExport {
    /// The folder of the export, or its URL
    #[arg(value_name = "DIR|URL")]
    pub at: String,
    /// Print the manifest as one JSON document
    #[arg(long)]
    pub json: bool,
}
