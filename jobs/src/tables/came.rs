//! What came to an input since a run before.
//!
//! A run says in its commit up to which version of the input it has read ([`engine::CommitLabel::marks`]), under a name made of all its
//! parameters and of what tells the input from another one of its name. The next one has the rows that were added between that version
//! and its own, however late their times are. All is to be
//! read where there is no such commit, where another run wrote after it, or where rows of the input went or changed.

use datafusion::dataframe::DataFrame;
use datasets::DatasetName;
use engine::{Code, Error, Result, TableIdentity, Version};
use futures::StreamExt;
use serde::Serialize;

use crate::parameters;
use crate::run::commits::is_still;
use crate::run::context::RunContext;

/// How far back the last commit of a run is looked for: behind it there are only those that put files together.
const HISTORY_COMMITS: [usize; 2] = [8, 1_000];

/// What a run has to read.
pub(crate) enum Reach {
    /// Nothing: all of it was read before, up to this version.
    Nothing(Version),
    /// The rows that came after one version.
    Since(Since),
    /// All, and why.
    All(String),
}

/// Rows that came.
pub(crate) struct Since {
    pub(crate) from: Version,
    pub(crate) rows: DataFrame,
    /// The version of the output that these rows follow from.
    pub(crate) after: Version,
}

/// The name under which a commit says how far the input was read by a job of these parameters.
pub(crate) fn mark(params: &impl Serialize, input: TableIdentity) -> Result<String> {
    Ok(format!("colonnade-read-{}", parameters::digest(&(params, input))?))
}

/// What such a commit keeps.
pub(crate) fn marks(
    ctx: &RunContext,
    params: &impl Serialize,
    input: &DatasetName,
) -> Result<Vec<(String, i64)>> {
    let version = number_of(ctx.input(input)?.version)?;
    Ok(vec![(mark(params, ctx.identity_of(input)?)?, version)])
}

/// What is to be read of `input` by a job whose rows go to `output`.
pub(crate) async fn reach(
    ctx: &RunContext,
    params: &impl Serialize,
    input: &DatasetName,
    output: &DatasetName,
) -> Result<Reach> {
    let to = ctx.input(input)?.version;
    let mut history = Vec::new();
    for commits in HISTORY_COMMITS {
        history = ctx.history(output, commits).await?;
        if history.len() < commits || history.iter().any(|commit| !is_still(commit)) {
            break;
        }
    }
    let (newest, last) = (history.first(), history.iter().find(|commit| !is_still(commit)));
    let (Some(newest), Some(last)) = (newest, last) else {
        return Ok(Reach::All(format!("{output} has no rows of an earlier run")));
    };
    let mark = mark(params, ctx.identity_of(input)?)?;
    let read = last.numbers.get(&mark).and_then(|read| u64::try_from(*read).ok());
    let Some(from) = read.map(Version) else {
        return Ok(Reach::All(format!(
            "the last commit to {output} (version {}) is not of a run of these parameters on this table",
            last.version
        )));
    };
    // Another run may have read more than this one sees.
    if from >= to {
        return Ok(Reach::Nothing(from));
    }
    let rows = match added(ctx, input, from, to).await? {
        Ok(rows) => rows,
        Err(why) => return Ok(Reach::All(why)),
    };
    if !has_rows(ctx, rows.clone()).await? {
        return Ok(Reach::Nothing(from));
    }
    Ok(Reach::Since(Since { from, rows, after: newest.version }))
}

/// The rows that were added between two versions; or why they are not all that is to be read.
pub(crate) async fn added(
    ctx: &RunContext,
    input: &DatasetName,
    from: Version,
    to: Version,
) -> Result<std::result::Result<DataFrame, String>> {
    let changes = match ctx.engine().changes(ctx.principal(), input, from, to).await {
        Err(error) if error.code() == Code::NotFound => {
            return Ok(Err(format!("version {from} of {input} is gone")));
        }
        changes => changes?,
    };
    match has_rows(ctx, changes.removed).await? {
        true => Ok(Err(format!("rows of {input} went or changed after version {from}"))),
        false => Ok(Ok(changes.added)),
    }
}

/// A version as a commit keeps it.
pub(crate) fn number_of(Version(version): Version) -> Result<i64> {
    i64::try_from(version).map_err(|_| Error::internal("a version too high"))
}

/// Whether a frame has a row.
pub(crate) async fn has_rows(ctx: &RunContext, frame: DataFrame) -> Result<bool> {
    let mut rows = ctx.session().stream(frame.limit(0, Some(1))?).await?;
    while let Some(batch) = rows.next().await.transpose()? {
        ctx.check()?;
        if batch.num_rows() > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}
