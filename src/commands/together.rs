//! Work that has several runs: it is begun here and done by whoever works on the root, or by this process where nobody does.

use std::time::Duration;

use engine::{Engine, Result};
use indicatif::{ProgressBar, ProgressStyle};
use jobs::Runner;

use super::run::{Works, start_runner};
use super::schedules::with_runner_of;
use super::stop_signal;
use crate::config::Settings;
use crate::output::Output;

/// How often it is looked how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Work that has several runs, as it stands.
pub(super) trait Course: Sized {
    /// For a person: what it is and how far.
    fn says(&self) -> String;

    /// How much of it has ended, and how much there is.
    fn ended_of(&self) -> (u64, u64);

    /// Whether nothing of it is left to do.
    fn is_over(&self) -> bool;

    /// Why nothing more of it is done for the time being, and what to do about it.
    fn rests(&self) -> Option<&'static str>;

    /// What becomes of it when this process is told to stop.
    fn left(&self) -> &'static str;

    /// The same as it stands now.
    async fn now(&self, runner: &Runner) -> Result<Self>;
}

/// Begins it, and sees it to its end where it is waited for or where nobody else would do it.
pub(super) async fn begin<T: Course>(
    engine: &Engine,
    settings: &Settings,
    label: &str,
    wait: bool,
    output: &Output,
    begin: impl AsyncFnOnce(&Runner) -> Result<T>,
) -> Result<T> {
    let (course, is_worked_at) = with_runner_of(engine, settings, label, async |runner| {
        let course = begin(runner).await?;
        let workers = runner.workers().await?;
        let is_worked_at = workers.iter().any(|worker| worker.runs_max.is_some_and(|n| n > 0));
        match is_worked_at && wait {
            true => Ok((see_to_its_end(runner, course, output).await?, true)),
            false => Ok((course, is_worked_at)),
        }
    })
    .await?;
    if is_worked_at || course.is_over() {
        return Ok(course);
    }
    // This process works as a worker does until it is over.
    let runner = start_runner(engine, settings, Works::Working, label.to_owned()).await?;
    let done = see_to_its_end(&runner, course, output).await;
    runner.shutdown().await;
    done
}

/// Waits for its end, or for the request to stop.
async fn see_to_its_end<T: Course>(runner: &Runner, mut course: T, output: &Output) -> Result<T> {
    let bar = output.shows_progress().then(|| ProgressBar::new(course.ended_of().1));
    if let Some(bar) = &bar
        && let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {elapsed}")
    {
        bar.set_style(style);
    }
    let stop = stop_signal();
    let mut stop = std::pin::pin!(stop);
    let ended = loop {
        if let Some(bar) = &bar {
            bar.set_message(course.says());
            bar.set_position(course.ended_of().0);
        }
        if course.is_over() {
            break Ok(course);
        }
        if let Some(says) = course.rests() {
            output.note(says);
            break Ok(course);
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = stop.as_mut() => {
                output.note(course.left());
                break Ok(course);
            }
        }
        course = match course.now(runner).await {
            Ok(course) => course,
            Err(error) => break Err(error),
        };
    };
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    ended
}
