//! The commits of a dataset: those that came after a version, however many come meanwhile, and those that changed no row.

use datasets::DatasetName;
use engine::{CommitRecord, Engine, Principal, Result};

/// Operations that leave all rows of a dataset as they are.
const STILL: [&str; 6] = ["create", "evolve", "compact", "vacuum", "drop", "restore"];

/// Whether a commit, which is of no run, left all rows as they were.
pub(crate) fn is_still(commit: &CommitRecord) -> bool {
    commit.run_id.is_none() && STILL.contains(&commit.operation.as_str())
}

/// Those after `version`, -1 for all, the newest `most` of them at most, newest first.
pub(crate) async fn after(
    engine: &Engine,
    who: &Principal,
    dataset: &DatasetName,
    version: i64,
    most: usize,
) -> Result<Vec<CommitRecord>> {
    let mut limit = 1;
    loop {
        let mut made = engine.history(who, dataset, limit).await?;
        let number = |commit: &CommitRecord| i64::try_from(commit.version.0).unwrap_or(i64::MAX);
        let reaches = made.last().is_none_or(|oldest| number(oldest) <= version.saturating_add(1));
        if reaches || made.len() < limit || limit >= most {
            made.retain(|commit| number(commit) > version);
            return Ok(made);
        }
        // One that came since it was asked takes the place of the oldest, which is then asked for again.
        let newer = made.first().map_or(0, |newest| number(newest).saturating_sub(version));
        limit = usize::try_from(newer).unwrap_or(most).clamp(limit + 1, most);
    }
}
