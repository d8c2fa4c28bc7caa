//! Arguments of what is about files of datasets.

use clap::Args;

#[derive(Debug, Args)]
pub struct Compact {
    /// The datasets [default: all of the tenant]
    pub datasets: Vec<String>,
    /// How large files become, in MiB
    #[arg(long, default_value_t = 128, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub file_mib: u32,
    /// In which order rows lie in a file: as they came, by the dataset's time, or by its key
    #[arg(long, default_value = "none", value_name = "ORDER", value_parser = ["none", "time", "key"])]
    pub order: String,
    /// Print the outcome as one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Vacuum {
    /// The datasets
    pub datasets: Vec<String>,
    /// All datasets of the tenant
    #[arg(long, conflicts_with = "datasets")]
    pub all: bool,
    /// Versions that were the newest in the last so many days can still be read afterwards; 0 keeps the newest alone
    #[arg(long, default_value_t = 30, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(0..=36_500))]
    pub keep_days: u32,
    /// Say what would go, and take nothing away
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask for confirmation before `--keep-days 0` ends time travel
    #[arg(long, short)]
    pub yes: bool,
    /// Print the outcome as one JSON document
    #[arg(long)]
    pub json: bool,
}
