//! The net change between two versions, as plans over their files.

use std::sync::Arc;

use datafusion::dataframe::DataFrame;
use datafusion::functions_aggregate::expr_fn::sum;
use datafusion::functions_nested::expr_fn::range;
use datafusion::logical_expr::{Expr, col, ident, lit};
use datasets::DatasetName;

use super::Sessions;
use super::batches::frame_of;
use super::carry::with_columns_of;
use super::guard::Guarded;
use crate::error::Result;
use crate::grants::Grants;
use crate::identity::{RunId, TenantId, Version};
use crate::lake::{FileChanges, Lake, Snapshot};

/// What changed after one version up to another.
#[derive(Clone, Debug)]
pub struct Changes {
    /// The version that the change begins after.
    pub from: Version,
    /// The version that it ends with.
    pub to: Version,
    /// Rows that `to` has and `from` has not, as often as that is so, with the columns of the newest version: one that came later is
    /// null.
    pub added: DataFrame,
    /// Rows that `from` has and `to` has not, as often as that is so.
    pub removed: DataFrame,
    /// The runs that committed between, oldest first.
    pub run_ids: Vec<RunId>,
    /// Commits between, without those that only put files together.
    pub commits: u64,
}

impl Sessions {
    /// The change of a dataset between two versions.
    pub(crate) async fn changes(
        &self,
        lake: &Arc<Lake>,
        tenant: &TenantId,
        grants: &Grants,
        dataset: &DatasetName,
        from: Version,
        to: Version,
    ) -> Result<Changes> {
        let session = self.open(lake, tenant, grants, &[]).await?;
        if grants.hides(dataset) {
            session.catalog().dataset(dataset)?;
        }
        let is_part = !grants.is_all() && session.catalog().dataset(dataset)?.is_part;
        let FileChanges { to: end, added, removed, run_ids, commits } =
            lake.file_changes(tenant, dataset, from, to).await?;
        // Ids tell of runs, and when they were, of which rows may be kept back.
        let run_ids = if is_part { Vec::new() } else { run_ids };
        let context = session.context();
        let frame = |files: Vec<String>, snapshot: &Snapshot| -> Result<_> {
            let Guarded { table, entry } = session.schema.opened(dataset, snapshot, Some(files))?;
            Ok((frame_of(entry.row_bytes, context.read_table(table)?), entry))
        };
        let (added, then) = frame(added, &end)?;
        let (added, removed) = match removed {
            None => (added, frame(Vec::new(), &end)?.0),
            Some((start, files)) => {
                let (removed, before) = frame(files, &start)?;
                let removed = with_columns_of(removed, &before, &then)?;
                (surplus(&added, &removed)?, surplus(&removed, &added)?)
            }
        };
        // The columns of now, under their names of now, whichever there were then.
        let now = lake.table(tenant, dataset).await?.entry();
        let now = session.schema.seen(dataset, &now);
        let today = |frame| with_columns_of(frame, &then, &now);
        let same = now.column_ids == then.column_ids && now.spec.columns == then.spec.columns;
        let is_today = now.version <= then.version || same;
        let (added, removed) = match is_today {
            true => (added, removed),
            false => (today(added)?, today(removed)?),
        };
        Ok(Changes { from, to, added, removed, run_ids, commits })
    }
}

/// The rows that `left` has more often than `right`, as often as it has them more.
///
/// Rows are counted per distinct row, those of `right` negatively. (SQL's EXCEPT ALL would say this, but
/// DataFusion plans it as an anti join, which forgets how often a row stood there.)
fn surplus(left: &DataFrame, right: &DataFrame) -> Result<DataFrame> {
    const COUNT: &str = "__count";
    let names: Vec<String> =
        left.schema().fields().iter().map(|field| field.name().clone()).collect();
    let columns = || names.iter().map(ident).collect::<Vec<Expr>>();
    let counted = |frame: &DataFrame, count: i64| {
        let mut columns = columns();
        columns.push(lit(count).alias(COUNT));
        frame.clone().select(columns)
    };
    let frame = counted(left, 1)?
        .union(counted(right, -1)?)?
        .aggregate(columns(), vec![sum(col(COUNT)).alias(COUNT)])?
        .filter(col(COUNT).gt(lit(0_i64)))?;
    let mut repeated = columns();
    repeated.push(range(lit(0_i64), col(COUNT), lit(1_i64)).alias(COUNT));
    Ok(frame.select(repeated)?.unnest_columns(&[COUNT])?.select(columns())?)
}
