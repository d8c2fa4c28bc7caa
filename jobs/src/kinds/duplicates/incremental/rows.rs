//! Some rows of a dataset, in the order in which a run over everything reads them.

use std::collections::HashSet;

use arrow::array::{Array, BooleanArray, StringArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::DataType;
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::{Expr, cast, ident};
use engine::Result;
use futures::StreamExt;

use crate::kinds::duplicates::Params;
use crate::kinds::duplicates::corpus::{Corpus, CorpusBuilder, Quarters};
use crate::run::context::RunContext;
use crate::tables::columns::texts;

/// The columns of `frame` that count: the id, the texts, and the one that orders.
fn columns(params: &Params) -> Vec<Expr> {
    let mut columns = vec![cast(ident(&params.id_column), DataType::Utf8).alias("id")];
    for (index, column) in params.text_columns.iter().enumerate() {
        columns.push(ident(column).alias(format!("text_{index}")));
    }
    // Ids are ordered as what they are, and not as texts.
    columns.push(ident(&params.id_column).alias("order_id"));
    columns.extend(params.order_column.iter().map(|column| ident(column).alias("order")));
    columns
}

/// The oldest first, as in [`crate::texts`].
fn sorted(params: &Params, frame: DataFrame) -> Result<DataFrame> {
    let mut order = vec![ident("order_id").sort(true, false)];
    if params.order_column.is_some() {
        order.insert(0, ident("order").sort(true, false));
    }
    Ok(frame.sort(order)?)
}

/// The texts of a frame with the columns of the source.
pub(super) async fn corpus(ctx: &RunContext, params: &Params, frame: DataFrame) -> Result<Corpus> {
    read(ctx, params, sorted(params, frame.select(columns(params))?)?).await
}

/// The texts of the rows with these ids, of the version that the run looks at.
pub(crate) async fn corpus_of(
    ctx: &RunContext,
    params: &Params,
    ids: &HashSet<&str>,
) -> Result<Corpus> {
    let frame = ctx.session().table(&params.dataset).await?.select(columns(params))?;
    let mut rows = ctx.session().stream(frame).await?;
    let mut kept = Vec::new();
    while let Some(batch) = rows.next().await.transpose()? {
        ctx.check()?;
        let is_wanted = |id: Option<&str>| Some(id.is_some_and(|id| ids.contains(id)));
        let wanted: BooleanArray = texts(&batch, 0)?.iter().map(is_wanted).collect();
        if wanted.true_count() > 0 {
            kept.push(filter_record_batch(&batch, &wanted)?);
        }
    }
    if kept.is_empty() {
        return Ok(CorpusBuilder::new(0, Quarters::One, 0).finish());
    }
    let frame = ctx.session().context().read_batches(kept)?;
    read(ctx, params, sorted(params, frame)?).await
}

async fn read(ctx: &RunContext, params: &Params, frame: DataFrame) -> Result<Corpus> {
    let mut rows = ctx.session().stream(frame).await?;
    let row_bytes = params.functions * size_of::<u32>();
    let mut corpus = CorpusBuilder::new(ctx.memory_budget_bytes(), Quarters::One, row_bytes);
    while let Some(batch) = rows.next().await.transpose()? {
        ctx.check()?;
        let columns = 0..=params.text_columns.len();
        let columns: Vec<StringArray> =
            columns.map(|column| texts(&batch, column)).collect::<Result<_>>()?;
        let value = |column: &StringArray, row: usize| {
            column.is_valid(row).then(|| column.value(row).to_owned())
        };
        for row in 0..batch.num_rows() {
            let texts: Vec<String> =
                columns[1..].iter().filter_map(|column| value(column, row)).collect();
            corpus.add_row(value(&columns[0], row).as_deref(), texts.iter().map(String::as_str));
        }
        corpus.check()?;
    }
    Ok(corpus.finish())
}

/// The ids of a frame with the columns of the source.
pub(super) async fn ids(
    ctx: &RunContext,
    params: &Params,
    frame: DataFrame,
) -> Result<HashSet<String>> {
    let frame = frame.select(vec![cast(ident(&params.id_column), DataType::Utf8).alias("id")])?;
    let mut rows = ctx.session().stream(frame).await?;
    let mut ids = HashSet::new();
    while let Some(batch) = rows.next().await.transpose()? {
        ctx.check()?;
        ids.extend(texts(&batch, 0)?.iter().flatten().map(str::to_owned));
    }
    Ok(ids)
}
