//! What can be typed: the commands and their flags, with the help that `--help` shows.

mod alerts;
mod alter;
mod change;
mod export;
mod features;
mod files;
mod insights;
mod keys;
mod models;
mod pipelines;
mod report;
mod runs;
mod written;

use std::path::PathBuf;

use ::datasets::ColumnType;
use ::datasets::read::ReadOptions;
use clap::{Args, Parser, Subcommand, ValueEnum};
use engine::RejectsMax;

pub use alerts::{Alert, AlertCommand, Alerts};
pub use alter::Alter;
pub use change::{Delete, Drop, Rename, Restore, Update, Which};
pub use export::{Export, ExportCommand, VerifyExport};
pub use features::{Feature, FeatureCommand, Features};
pub use files::{Compact, Vacuum};
pub use insights::{Insights, InsightsCommand, Metric, MetricCommand, Metrics};
pub use keys::{Audit, AuditCommand, CreateKey, Keys, KeysCommand};
pub use models::{Devices, Models, ModelsCommand, Pull};
pub use pipelines::{Lineage, Pipeline, PipelineCommand, PipelineOfRun, Pipelines};
pub use report::Report;
pub use runs::{
    Backfill, BackfillCommand, Rerun, Run, RunLogs, RunNamed, Runs, RunsCommand, Schedule,
    ScheduleCommand, ScheduleNamed, Schedules, Usage, When, Worker, time,
};
pub use written::Written;

/// Columnar batch analytics on the GPU, answered in GraphQL.
#[derive(Debug, Parser)]
#[command(name = "colonnade", version, long_version = LONG_VERSION, about, arg_required_else_help = true)]
pub struct Arguments {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// The version, the commit that it was built from, and what was built in (`build.rs`).
const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ncommit: ",
    env!("COLONNADE_COMMIT"),
    "\nfeatures: ",
    env!("COLONNADE_FEATURES"),
    "\nprofile: ",
    env!("COLONNADE_PROFILE"),
);

/// Settings that every command takes; each can also stand in `colonnade.toml` or the environment.
#[derive(Debug, Default, Args)]
pub struct Global {
    /// Root of all data: a folder, or an s3://, az://, gs:// or memory: URL [default: ./colonnade-data]
    #[arg(long, global = true, value_name = "URL")]
    pub data: Option<String>,
    /// Tenant to act in [default: default]
    #[arg(long, global = true, value_name = "TENANT")]
    pub tenant: Option<String>,
    /// Settings file [default: ./colonnade.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Memory for queries and jobs: bytes, 4GiB, or a share such as 50% [default: 50%]
    #[arg(long, global = true, value_name = "SIZE")]
    pub memory: Option<String>,
    /// What to log, as `level` or `module=level,…` [default: warn; serve and worker: info]
    #[arg(long, global = true, value_name = "FILTER")]
    pub log: Option<String>,
    /// How log lines look: text or json [default: text]
    #[arg(long, global = true, value_name = "FORMAT")]
    pub log_format: Option<String>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Generate data, ingest it, run every kind of job on it, compare with what was planted, then serve
    Demo(Demo),
    /// Serve GraphQL, subscriptions and ingest over HTTP
    Serve(Serve),
    /// Work at runs, of all tenants, beside servers or by itself
    Worker(Worker),
    /// Bring files into a dataset
    Ingest(Ingest),
    /// Take rows out of a dataset
    Delete(Delete),
    /// Change columns of rows that are there
    Update(Update),
    /// Change a dataset: its columns and their types, its key, how rows are loaded, what it declares
    Alter(Alter),
    /// Drop a dataset: it is gone for everyone, and can be restored until its files are purged
    Drop(Drop),
    /// Bring a dropped dataset back, with its rows and versions
    Restore(Restore),
    /// Give a dataset another name; labels by hand follow
    Rename(Rename),
    /// Put small files together; the rows stay as they are
    Compact(Compact),
    /// Take away files that no kept version has, such as those of deleted rows
    Vacuum(Vacuum),
    /// Say what rows are, and which are one
    Label(Label),
    /// Run a job
    Run(Run),
    /// Answer a SQL query
    Sql(Sql),
    /// Write a dataset, or the rows of a query, to files that say what they hold
    Export(Export),
    /// Make a report of a template's queries: a page to read, and one to print
    Report(Report),
    /// List the datasets, or show one
    Datasets(Datasets),
    /// List the runs, newest first
    Runs(Runs),
    /// Say when jobs run by themselves: add a schedule, pause, resume or remove it
    Schedule(Schedule),
    /// Run a job for each day or hour of the past
    Backfill(Backfill),
    /// List the schedules, or show one and its next times
    Schedules(Schedules),
    /// Make pipelines of several jobs, and run, show, retry or stop one
    Pipeline(Pipeline),
    /// List the pipelines
    Pipelines(Pipelines),
    /// Tell when rows are a reason to: make or remove alerts, take one, silence some
    Alert(Alert),
    /// List the alerts, those that fire, or the silences
    Alerts(Alerts),
    /// Keep measures of rows up to date as series: make or remove metrics
    Metric(Metric),
    /// List the metrics
    Metrics(Metrics),
    /// Keep features of entities up to date: make or remove views, show an entity's
    Feature(Feature),
    /// List the feature views
    Features(Features),
    /// Show what matters of what jobs found, and say what is useful, known or wrong
    Insights(Insights),
    /// Show what a dataset or model came from, and what came of it
    Lineage(Lineage),
    /// Show what waits, what is at work, and who works
    Queue(Json),
    /// Sum up what runs took: time, memory, rows, bytes and cost
    Usage(Usage),
    /// Do the work of a run that ended again: on what its inputs are now, or as it was
    Rerun(Rerun),
    /// List the models, or bring one here
    Models(Models),
    /// Show the processors that kernels can use
    Devices(Devices),
    /// Say what is wrong with the tables of a root, and mend what can be mended
    Doctor(Doctor),
    /// Make, list and revoke the keys that let clients in
    Keys(Keys),
    /// Look through what was done by whom, which the dataset `audit` has
    Audit(Audit),
    /// Print the GraphQL schema
    Schema {
        /// As a page to read, in Markdown
        #[arg(long)]
        markdown: bool,
    },
    /// Print the settings in force, and where each is from
    Config(Json),
}

#[derive(Debug, Args)]
pub struct Demo {
    /// Model calls to generate; the other datasets follow in proportion. With 100,000 or more, a job that finds too little
    /// fails the demo
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..=1_000_000_000))]
    pub rows: u64,
    /// Seed of the generators
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// End after the summary
    #[arg(long)]
    pub no_serve: bool,
    /// Address to serve at; port 0 takes a free one [default: 127.0.0.1:8642]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Where to compute: required, preferred or off [default: preferred]
    #[arg(long, value_name = "POLICY")]
    pub gpu: Option<String>,
    /// Print the summary as one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Serve {
    /// Address to serve at; port 0 takes a free one [default: 127.0.0.1:8642]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Address at which Arrow Flight SQL is spoken, such as 127.0.0.1:8815; port 0 takes a free one [default: none]
    #[arg(long, value_name = "ADDR")]
    pub flight: Option<String>,
    /// Where jobs compute: required, preferred or off [default: preferred]
    #[arg(long, value_name = "POLICY")]
    pub gpu: Option<String>,
    /// Runs to work at at a time; with 0 all are left to `colonnade worker` [default: 2]
    #[arg(long, value_name = "N")]
    pub workers: Option<String>,
}

#[derive(Debug, Args)]
pub struct Ingest {
    /// Dataset that takes the rows; a built-in one is made when it is not there yet
    pub dataset: String,
    /// Files, each one commit; `-` is what comes through a pipe
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Format of the files; found from each file when absent
    #[arg(long)]
    pub format: Option<String>,
    /// Make the dataset from this TOML spec, or add the columns that the spec has more
    #[arg(long, value_name = "FILE", conflicts_with = "create")]
    pub spec: Option<PathBuf>,
    /// Make the dataset from the first file's columns when it is not there yet
    #[arg(long)]
    pub create: bool,
    #[command(flatten)]
    pub creation: Creation,
    #[command(flatten)]
    pub written: Written,
    /// The name that a column of the files has in the dataset: "Order Id=order_id". A column is named as in
    /// the file, or by its number as in "#3=order_id"
    #[arg(long = "rename", value_name = "COLUMN=NAME", value_parser = |text: &str| file_option("rename", text))]
    pub renames: Vec<String>,
    /// The sheet of a workbook [default: the first that can be seen]
    #[arg(long, value_name = "NAME", value_parser = |text: &str| file_option("sheet", text))]
    pub sheet: Option<String>,
    /// The share of a column's values that its type must fit, for columns that are new in the dataset; rows with other
    /// values go to quarantine [default: 1]
    #[arg(long, value_name = "SHARE", value_parser = |text: &str| file_option("mostly", text))]
    pub mostly: Option<String>,
    /// Say what would become of the rows, and what the dataset would be, and load none
    #[arg(long)]
    pub dry_run: bool,
    /// What happens to a row whose key already exists in the dataset [default: the dataset's on_conflict, or refuse]. A dataset
    /// without a key refuses a file that was already loaded
    #[arg(long, value_enum, value_name = "POLICY")]
    pub on_conflict: Option<Conflict>,
    /// Add columns of the file that the dataset lacks, even if its columns are fixed
    #[arg(long)]
    pub add_columns: bool,
    /// Rows of a file that may go to quarantine, as a number or a share such as 1%; with more, nothing of the file is loaded
    #[arg(long, value_name = "N", value_parser = rejects_max)]
    pub max_quarantined: Option<RejectsMax>,
    /// Print the outcome as one JSON document
    #[arg(long)]
    pub json: bool,
}

/// What a dataset is to be that is made from a file's columns.
#[derive(Debug, Args)]
#[command(next_help_heading = "With --create")]
pub struct Creation {
    /// Columns that name a row; by them rows are replaced, found, searched and labelled
    #[arg(long, value_name = "COLUMN", value_delimiter = ',', requires = "create")]
    pub key: Vec<String>,
    /// The column that says when a row happened [default: the only timestamp, where there is one]
    #[arg(long, value_name = "COLUMN", requires = "create")]
    pub time: Option<String>,
    /// The type of a column, whatever its values look like: "price=decimal(12,2)"
    #[arg(long = "type", value_name = "COLUMN=TYPE", value_parser = column_type, requires = "create")]
    pub types: Vec<(String, ColumnType)>,
    /// Write what the dataset is made from to this file, as a spec in TOML
    #[arg(long, value_name = "FILE", requires = "create")]
    pub write_spec: Option<PathBuf>,
}

/// What happens to a row whose key already exists in the dataset.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Conflict {
    /// The file is refused; rows that repeat a key within it are all loaded
    Refuse,
    /// The row replaces the stored one; of two in the file, the later one is loaded
    Replace,
    /// The row is skipped; of two in the file, the first one is loaded
    Skip,
    /// The file is refused, also if a key repeats within it
    Error,
    /// The row is added next to the stored one
    Add,
}

/// Labels go to the dataset labels_by_hand, which `triage_train` takes as its parameter `corrections`, pairs to pairs_by_hand, which
/// `duplicates` takes as `labels`, and words on anomalies to anomaly_labels, which `anomalies` learns from.
#[derive(Debug, Args)]
pub struct Label {
    /// The dataset, whose key is one column; with --anomaly that which was looked at
    pub dataset: String,
    /// A row and what it is
    #[arg(long = "row", value_name = "ID=LABEL", value_parser = row_label, conflicts_with_all = ["same", "different"])]
    pub rows: Vec<(String, String)>,
    /// Two rows that describe the same
    #[arg(long, num_args = 2, value_names = ["ID", "ID"])]
    pub same: Vec<String>,
    /// Two rows that do not
    #[arg(long, num_args = 2, value_names = ["ID", "ID"])]
    pub different: Vec<String>,
    /// What the findings of a series that hold an instant are: real, not_an_anomaly or taken_back
    #[arg(long, num_args = 3, value_names = ["SERIES", "INSTANT", "VERDICT"], conflicts_with_all = ["rows", "same", "different"])]
    pub anomaly: Vec<String>,
    /// Only findings of this kind
    #[arg(long, requires = "anomaly")]
    pub kind: Option<String>,
    /// Why
    #[arg(long, requires = "anomaly")]
    pub comment: Option<String>,
    /// The dataset of the findings
    #[arg(long, value_name = "DATASET", default_value = "anomalies", requires = "anomaly")]
    pub found_in: String,
    /// Print the outcome as one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Sql {
    /// The query, or several with semicolons between them; without one, and without --file, a shell opens where there is a
    /// terminal, and standard input is read where there is none
    pub query: Option<String>,
    /// Files of queries; `-` is standard input
    #[arg(short = 'f', long = "file", value_name = "FILE", conflicts_with = "query")]
    pub files: Vec<PathBuf>,
    /// How rows are written
    #[arg(long, value_enum, default_value_t = SqlFormat::Table)]
    pub format: SqlFormat,
    /// Rows that a table shows at most; 0 for all
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub rows: usize,
    /// Read a dataset at a version or time instead of its latest
    #[arg(long, value_name = "DATASET@VERSION")]
    pub as_of: Vec<String>,
}

/// How the rows of a query are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SqlFormat {
    /// A table for people
    Table,
    /// CSV with a header
    Csv,
    /// One JSON array of objects
    Json,
    /// A JSON object in each line
    Ndjson,
    /// An Arrow IPC stream
    Arrow,
}

#[derive(Debug, Args)]
pub struct Datasets {
    /// Show this one with its columns and versions
    pub dataset: Option<String>,
    /// Print where it lies, for readers of Delta Lake
    #[arg(long, requires = "dataset", conflicts_with = "json")]
    pub path: bool,
    /// Print as one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Doctor {
    /// Mend what can be mended; without it nothing is changed. No other process may have the root
    #[arg(long)]
    pub repair: bool,
    /// Print as one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Json {
    /// Print as one JSON document
    #[arg(long)]
    pub json: bool,
}

impl Command {
    /// How much of our own is logged where the settings say nothing: a server tells what it does.
    pub fn log_level(&self) -> &'static str {
        match self {
            Self::Serve(_) | Self::Worker(_) => "info",
            _ => "warn",
        }
    }

    /// Whether stdout carries one JSON document and nothing else.
    pub fn wants_json(&self) -> bool {
        match self {
            Self::Demo(c) => c.json,
            Self::Ingest(c) => c.json,
            Self::Delete(c) => c.json,
            Self::Update(c) => c.json,
            Self::Alter(c) => c.json,
            Self::Label(c) => c.json,
            Self::Drop(c) => c.json,
            Self::Restore(c) => c.json,
            Self::Rename(c) => c.json,
            Self::Compact(c) => c.json,
            Self::Vacuum(c) => c.json,
            Self::Run(c) => c.json,
            Self::Sql(c) => c.format == SqlFormat::Json,
            Self::Export(c) => match &c.command {
                Some(ExportCommand::Verify(c)) => c.json,
                None => c.json,
            },
            Self::Report(_) => false,
            Self::Datasets(c) => c.json,
            Self::Runs(c) => match &c.command {
                Some(RunsCommand::Logs(logs)) => logs.json,
                Some(
                    RunsCommand::Show(run)
                    | RunsCommand::Watch(run)
                    | RunsCommand::Cancel(run)
                    | RunsCommand::Retry(run),
                ) => run.json,
                None => c.json,
            },
            Self::Schedule(c) => match &c.command {
                ScheduleCommand::Add(c) => c.json,
                ScheduleCommand::Pause(c)
                | ScheduleCommand::Resume(c)
                | ScheduleCommand::Run(c)
                | ScheduleCommand::Reset(c)
                | ScheduleCommand::Remove(c) => c.json,
            },
            Self::Schedules(c) => c.json,
            Self::Backfill(c) => match &c.command {
                Some(BackfillCommand::Cancel(named)) => named.json,
                None => c.json,
            },
            Self::Pipeline(c) => c.json,
            Self::Pipelines(c) => c.json,
            Self::Alert(c) => c.json,
            Self::Alerts(c) => c.json,
            Self::Metric(c) => c.json,
            Self::Metrics(c) => c.json,
            Self::Feature(c) => c.json,
            Self::Features(c) => c.json,
            Self::Insights(c) => c.json,
            Self::Lineage(c) => c.json,
            Self::Queue(c) => c.json,
            Self::Usage(c) => c.json,
            Self::Rerun(c) => c.json,
            Self::Models(c) => c.json,
            Self::Devices(c) => c.json,
            Self::Doctor(c) => c.json,
            Self::Config(c) => c.json,
            Self::Keys(c) => c.json,
            Self::Audit(c) => c.json,
            Self::Serve(_) | Self::Worker(_) | Self::Schema { .. } => false,
        }
    }
}

/// Reads `100` or `1.5%`.
fn rejects_max(text: &str) -> Result<RejectsMax, String> {
    text.parse().map_err(|error: engine::Error| error.to_string())
}

/// Checks the value of an option of one file where it is typed.
fn file_option(name: &str, text: &str) -> Result<String, String> {
    let set = ReadOptions::default().set(name, text);
    set.map(|()| text.to_owned()).map_err(|error| error.to_string())
}

/// Reads `price=decimal(12,2)`.
fn column_type(text: &str) -> Result<(String, ColumnType), String> {
    let (column, data_type) =
        text.split_once('=').ok_or("expected COLUMN=TYPE, such as \"price=decimal(12,2)\"")?;
    let data_type = data_type.trim().parse::<ColumnType>().map_err(|error| error.to_string())?;
    Ok((column.trim().to_owned(), data_type))
}

/// Reads `t-7=refund`; what is behind the last sign is the label.
fn row_label(text: &str) -> Result<(String, String), String> {
    let (id, label) = text.rsplit_once('=').ok_or("expected ID=LABEL, such as \"t-7=refund\"")?;
    Ok((id.to_owned(), label.to_owned()))
}
