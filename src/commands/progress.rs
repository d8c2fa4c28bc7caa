//! How far a run is, drawn on a terminal while it goes on.

use engine::RunId;
use indicatif::{ProgressBar, ProgressStyle};
use jobs::{RunRecord, Runner};
use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;

use crate::output::Output;

/// Parts of a whole run that are told apart.
const PARTS: u64 = 1_000;

/// Draws until it is ended.
pub(super) struct Drawing {
    bar: ProgressBar,
    drawing: JoinHandle<()>,
}

impl Drawing {
    /// Draws the runs of `runner`, of which there is one; nothing where nobody looks.
    pub(super) fn of(runner: &Runner, output: &Output) -> Option<Self> {
        Self::of_run(runner, None, output)
    }

    /// Draws one run of those that `runner` hears of, or all.
    pub(super) fn of_run(runner: &Runner, run: Option<RunId>, output: &Output) -> Option<Self> {
        if !output.shows_progress() {
            return None;
        }
        let bar = ProgressBar::new(PARTS);
        let style = ProgressStyle::with_template("{msg} {wide_bar} {percent} %, {elapsed}");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        let (shown, mut updates) = (bar.clone(), runner.updates());
        let drawing = tokio::spawn(async move {
            loop {
                match updates.recv().await {
                    Ok(record) if run.is_none_or(|run| run == record.id) => {
                        shown.set_message(at(&record));
                        shown.set_position((record.progress * PARTS as f64) as u64);
                    }
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        });
        Some(Self { bar, drawing })
    }

    /// Takes away what was drawn.
    pub(super) fn end(self) {
        self.drawing.abort();
        self.bar.finish_and_clear();
    }
}

/// What a run is at, in a few words.
fn at(record: &RunRecord) -> String {
    let number = |name: &str| record.activity.get(name).and_then(Value::as_u64);
    match (number("step"), number("of")) {
        (Some(step), Some(of)) => format!("{}: step {step} of {of}", record.job),
        _ => record.job.clone(),
    }
}
