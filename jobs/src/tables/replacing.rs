//! Results that take the place of earlier ones of the same source, wherever a dataset holds those of several.

use datafusion::common::ScalarValue;
use engine::{Result, Version, WriteMode};

use super::rows::Rows;
use crate::run::context::RunContext;

/// In the place of all rows whose `source` this is.
pub(crate) fn in_place_of(source: &str) -> WriteMode {
    WriteMode::ReplacePartitions(partition_of(source))
}

/// The same, unless another run has replaced those rows after version `after`.
pub(crate) fn replacing_after(source: &str, after: Version) -> WriteMode {
    WriteMode::ReplacePartitionsAfter(partition_of(source), after)
}

fn partition_of(source: &str) -> Vec<(String, ScalarValue)> {
    vec![("source".to_owned(), ScalarValue::from(source))]
}

/// Commits rows of several datasets, each in the place of all those of `source`.
pub(crate) async fn commit_in_place_of(
    ctx: &RunContext,
    source: &str,
    rows: impl IntoIterator<Item = Rows>,
) -> Result<()> {
    for (spec, batches) in rows {
        ctx.commit(spec, in_place_of(source), batches).await?;
    }
    Ok(())
}
