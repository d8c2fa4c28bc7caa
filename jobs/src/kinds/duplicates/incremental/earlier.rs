//! The pairs and clusters that an earlier run committed.

use std::collections::HashMap;

use analysis::fnv;
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Float64Type;
use datafusion::logical_expr::{Expr, ident, lit};
use datasets::DatasetName;
use engine::Result;
use futures::StreamExt;

use crate::kinds::duplicates::Params;
use crate::kinds::duplicates::find::{Cluster, Grounds, Link};
use crate::run::context::RunContext;
use crate::tables::columns::texts;

/// A pair by the ids of its rows; the first is the older.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct IdPair {
    pub(crate) first: String,
    pub(crate) second: String,
    pub(crate) grounds: Grounds,
    pub(crate) similarity: f64,
}

/// What was committed for a source.
#[derive(Default)]
pub(crate) struct Earlier {
    pub(crate) pairs: Vec<IdPair>,
    /// Of each row of a cluster: the row that stands for it.
    pub(crate) representative: HashMap<String, String>,
}

impl Earlier {
    /// None where there is nothing, or what is there is not of texts.
    pub(crate) async fn read(ctx: &RunContext, params: &Params) -> Result<Option<Self>> {
        let mut earlier = Self::default();
        let mut of_texts = true;
        let columns = ["id_a", "id_b", "grounds", "similarity"];
        let pairs = each(ctx, params, &params.pairs_output, &columns, |batch| {
            let (a, b, grounds) = (texts(batch, 0)?, texts(batch, 1)?, texts(batch, 2)?);
            let similarity = batch.column(3).as_primitive::<Float64Type>();
            for row in 0..batch.num_rows() {
                let Some(grounds) = Grounds::of_texts(grounds.value(row)) else {
                    of_texts = false;
                    continue;
                };
                earlier.pairs.push(IdPair {
                    first: a.value(row).to_owned(),
                    second: b.value(row).to_owned(),
                    grounds,
                    similarity: similarity.value(row),
                });
            }
            Ok(())
        });
        if !pairs.await? {
            return Ok(None);
        }
        let columns = ["id", "cluster_id"];
        let clusters = each(ctx, params, &params.clusters_output, &columns, |batch| {
            let (ids, clusters) = (texts(batch, 0)?, texts(batch, 1)?);
            let rows = ids.iter().zip(&clusters).filter_map(|(id, cluster)| Some((id?, cluster?)));
            earlier.representative.extend(rows.map(|(id, of)| (id.to_owned(), of.to_owned())));
            Ok(())
        });
        Ok((clusters.await? && of_texts).then_some(earlier))
    }

    /// See [`checksum`].
    pub(crate) fn checksum(&self) -> i64 {
        let pairs = self.pairs.iter();
        let pairs = pairs.map(|p| pair_sum(&p.first, &p.second, p.grounds, p.similarity));
        let members = self.representative.iter().map(|(id, of)| member_sum(of, id));
        pairs.chain(members).fold(0, u64::wrapping_add) as i64
    }
}

/// A sum over pairs and clusters, in whatever order they are.
pub(crate) fn checksum<'a>(
    id: &dyn Fn(usize) -> &'a str,
    links: &[Link],
    clusters: &[Cluster],
) -> i64 {
    let pairs = links.iter().map(|l| pair_sum(id(l.first), id(l.second), l.grounds, l.similarity));
    let members = clusters
        .iter()
        .flat_map(|cluster| cluster.iter().map(|&row| member_sum(id(cluster[0]), id(row))));
    pairs.chain(members).fold(0, u64::wrapping_add) as i64
}

fn pair_sum(first: &str, second: &str, grounds: Grounds, similarity: f64) -> u64 {
    fnv(format!("{first}\u{1}{second}\u{1}{grounds:?}\u{1}{}", similarity.to_bits()).as_bytes())
}

fn member_sum(cluster: &str, id: &str) -> u64 {
    fnv(format!("{cluster}\u{1}{id}").as_bytes())
}

/// Gives `take` the rows of the source; false where there is no such dataset.
async fn each(
    ctx: &RunContext,
    params: &Params,
    dataset: &DatasetName,
    columns: &[&str],
    mut take: impl FnMut(&RecordBatch) -> Result<()>,
) -> Result<bool> {
    let session = ctx.present().await?;
    if !session.catalog().has(dataset)? {
        return Ok(false);
    }
    let columns: Vec<Expr> = columns.iter().map(|&column| ident(column)).collect();
    let of_this = ident("source").eq(lit(params.dataset.as_str()));
    let frame = session.table(dataset).await?.filter(of_this)?.select(columns)?;
    let mut rows = session.stream(frame).await?;
    while let Some(batch) = rows.next().await.transpose()? {
        take(&batch)?;
        ctx.check()?;
    }
    Ok(true)
}
