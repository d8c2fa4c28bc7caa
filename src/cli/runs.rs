//! Arguments of what is about runs and schedules.

use chrono::TimeDelta;
use clap::{ArgGroup, Args, Subcommand};

#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct Run {
    /// The job
    #[arg(required_unless_present = "help")]
    pub job: Option<String>,
    /// Print help: of this command, or of the job that is named, with its parameters
    #[arg(short, long)]
    pub help: bool,
    /// A parameter; the value is JSON, or text when it is not, or that of a file as @FILE
    #[arg(long = "param", value_name = "NAME=VALUE")]
    pub params: Vec<String>,
    /// Where to compute: required, preferred or off [default: preferred]
    #[arg(long, value_name = "POLICY")]
    pub gpu: Option<String>,
    /// Read a dataset at a version or time instead of its latest
    #[arg(long, value_name = "DATASET@VERSION")]
    pub as_of: Vec<String>,
    /// Higher is sooner, where runs wait
    #[arg(long, default_value_t = 0, allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-100..=100))]
    pub priority: i32,
    /// Stop it when it has not ended after so long, waiting for its turn among it: 90s, 15m, 2h
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub deadline: Option<TimeDelta>,
    /// Print the run record as one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Reads `90s`, `15m`, `2h` or `1d`.
pub fn time(text: &str) -> Result<TimeDelta, String> {
    let expected =
        || format!("expected a time of up to 1000 days such as 90s, 15m, 2h or 1d, found {text:?}");
    let unit = text.chars().last().ok_or_else(expected)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(expected()),
    };
    let count = text.strip_suffix(unit).and_then(|count| count.parse::<u32>().ok());
    let seconds = count.and_then(|count| i64::from(count).checked_mul(seconds));
    seconds
        .filter(|seconds| (1..=86_400_000).contains(seconds))
        .map(TimeDelta::seconds)
        .ok_or_else(expected)
}

/// It serves nothing. Told to end, by Ctrl-C or a termination signal, it lets go of what it is at, which goes on elsewhere.
#[derive(Debug, Args)]
pub struct Worker {
    /// Runs to work at at a time [default: 2]
    #[arg(long, value_name = "N")]
    pub concurrent: Option<String>,
    /// Where to compute: required, preferred or off [default: preferred]
    #[arg(long, value_name = "POLICY")]
    pub gpu: Option<String>,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Runs {
    #[command(subcommand)]
    pub command: Option<RunsCommand>,
    /// Show this run in full
    pub run: Option<String>,
    /// Only runs of this job
    #[arg(long)]
    pub job: Option<String>,
    /// Only runs that are queued, running, succeeded, failed or cancelled
    #[arg(long)]
    pub state: Option<String>,
    /// Include runs of alerts, which start every half a minute; otherwise only failed ones are listed, or all with --job alerts
    #[arg(long)]
    pub all: bool,
    /// How many at most
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub limit: u32,
    /// Print as one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum RunsCommand {
    /// Show a run in full
    Show(RunNamed),
    /// Wait for a run's end, wherever it is at work, and show how far it is
    Watch(RunNamed),
    /// Show what a run said of itself, wherever it is at work
    Logs(RunLogs),
    /// Stop a run, wherever it is at work
    Cancel(RunNamed),
    /// Do the work of a run that failed again, on what its inputs are now
    Retry(RunNamed),
}

#[derive(Debug, Args)]
pub struct RunNamed {
    /// Its id, as `colonnade runs` shows it
    pub run: String,
    /// Print the run record as one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct RunLogs {
    /// Its id, as `colonnade runs` shows it
    pub run: String,
    /// Go on until the run has ended
    #[arg(long, short)]
    pub follow: bool,
    /// Print each line as a JSON document of its own
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Rerun {
    /// Its id, as `colonnade runs` shows it
    pub run: String,
    /// Read what it read, at the versions that it read, commit nothing, and say whether its rows come out the same
    #[arg(long)]
    pub as_it_was: bool,
    /// Print as one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Usage {
    /// What to sum up by
    #[arg(long, default_value = "job", value_name = "job|day|device|stage|who")]
    pub by: String,
    /// Of runs that ended in so many days until now
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub days: u32,
    /// Print as one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Schedule {
    #[command(subcommand)]
    pub command: ScheduleCommand,
}

#[derive(Debug, Subcommand)]
pub enum ScheduleCommand {
    /// Add one; a server runs its jobs when they are due
    Add(Box<ScheduleAdd>),
    /// Let its times pass without runs
    Pause(ScheduleNamed),
    /// Let it go on, from now
    Resume(ScheduleNamed),
    /// Queue a run of it now; its next time does not change
    Run(ScheduleNamed),
    /// Move its next time to the first one after now
    Reset(ScheduleNamed),
    /// Remove it; its runs stay
    Remove(ScheduleNamed),
}

#[derive(Debug, Args)]
pub struct ScheduleAdd {
    /// Its name: lower-case letters, digits, `_` and `-`
    pub name: String,
    /// The job that runs
    #[arg(long)]
    pub job: String,
    #[command(flatten)]
    pub when: When,
    /// A parameter of the job; the value is JSON, or text when it is not, or that of a file as @FILE
    #[arg(long = "param", value_name = "NAME=VALUE")]
    pub params: Vec<String>,
    /// Higher is sooner, where runs wait
    #[arg(long, default_value_t = 0, allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-100..=100))]
    pub priority: i32,
    /// Where to compute: required, preferred or off; that of the server when absent
    #[arg(long, value_name = "POLICY")]
    pub gpu: Option<String>,
    /// Print as one JSON document
    #[arg(long)]
    pub json: bool,
}

/// What triggers a schedule: exactly one of these.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("trigger").args(["cron", "on_change", "after"]).required(true)))]
pub struct When {
    /// Minute, hour, day of month, month, day of week, such as "30 2 * * 1-5"; or @hourly, @daily, @weekly
    #[arg(long)]
    pub cron: Option<String>,
    /// The time zone whose clock counts
    #[arg(long, default_value = "UTC", value_name = "ZONE", conflicts_with_all = ["on_change", "after"])]
    pub zone: String,
    /// Times that nobody was there for: run none of them, the latest, or all
    #[arg(long, default_value = "latest", value_name = "none|latest|all", conflicts_with_all = ["on_change", "after"])]
    pub catch_up: String,
    /// Begin up to so many seconds after the time, so that schedules of one minute do not begin together
    #[arg(long, default_value_t = 0, value_name = "SECONDS", conflicts_with_all = ["on_change", "after"])]
    pub jitter: u32,
    /// Run when the rows of this dataset change, instead of on the clock
    #[arg(long, value_name = "DATASET", conflicts_with_all = ["cron", "after"])]
    pub on_change: Option<String>,
    /// With --on-change: when so many rows have changed [default: 1]
    #[arg(long, value_name = "ROWS", conflicts_with_all = ["cron", "after"])]
    pub at_least: Option<u64>,
    /// With --on-change: not more often than once in so many seconds [default: 60]
    #[arg(long, value_name = "SECONDS", conflicts_with_all = ["cron", "after"])]
    pub every: Option<u32>,
    /// Run after each run of this schedule, or of this job, that succeeds
    #[arg(long, value_name = "SCHEDULE|JOB", conflicts_with = "cron")]
    pub after: Option<String>,
}

/// Each partition has one run, the oldest first; `colonnade schedules` shows how far it is, and the same command again goes on where
/// it was, with another run for each that failed.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Backfill {
    #[command(subcommand)]
    pub command: Option<BackfillCommand>,
    /// The job that runs, one that has partitions: sql or exec
    #[arg(required = true)]
    pub job: Option<String>,
    /// The first day, such as 2026-01-01
    #[arg(long, value_name = "DAY", required = true)]
    pub from: Option<String>,
    /// The last day
    #[arg(long, value_name = "DAY", required = true)]
    pub to: Option<String>,
    /// How long a partition is
    #[arg(long, default_value = "day", value_name = "day|hour")]
    pub every: String,
    /// The time zone whose days they are
    #[arg(long, default_value = "UTC", value_name = "ZONE")]
    pub zone: String,
    /// How many of its runs may wait or work at a time
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub at_once: u32,
    /// A parameter of the job; the value is JSON, or text when it is not, or that of a file as @FILE
    #[arg(long = "param", value_name = "NAME=VALUE")]
    pub params: Vec<String>,
    /// Its name among schedules [default: JOB-FROM-to-TO]
    #[arg(long)]
    pub name: Option<String>,
    /// Where to compute: required, preferred or off; that of the server when absent
    #[arg(long, value_name = "POLICY")]
    pub gpu: Option<String>,
    /// Wait until it is over, also where a server or worker is there to do it
    #[arg(long)]
    pub wait: bool,
    /// Print as one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum BackfillCommand {
    /// Pause a backfill and cancel the runs of its open partitions
    Cancel(ScheduleNamed),
}

#[derive(Debug, Args)]
pub struct ScheduleNamed {
    /// Its name
    pub name: String,
    /// Print as one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Schedules {
    /// Show this one
    pub name: Option<String>,
    /// How many of its next times
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub next: u32,
    /// Print as one JSON document
    #[arg(long)]
    pub json: bool,
}
