//! `colonnade compact`: small files of datasets are put together.

use datasets::DatasetName;
use engine::{Engine, Error, Layout, Principal, Result, RowOrder};
use serde_json::json;

use super::{close, open_to_write};
use crate::cli::Compact;
use crate::config::Settings;
use crate::output::{Output, columns, count};

/// Puts files together, dataset by dataset.
pub async fn compact(arguments: Compact, settings: &Settings, output: &Output) -> Result<()> {
    let named: Vec<DatasetName> =
        arguments.datasets.iter().map(DatasetName::new).collect::<Result<_, _>>()?;
    let layout = Layout {
        file_bytes: u64::from(arguments.file_mib) << 20,
        order: match arguments.order.as_str() {
            "time" => RowOrder::Time,
            "key" => RowOrder::Key,
            _ => RowOrder::AsTheyCame,
        },
    };
    let engine = open_to_write(settings, "colonnade compact").await?;
    let made = compact_all(&engine, &settings.principal()?, named, layout, output).await;
    close(&engine, made).await
}

async fn compact_all(
    engine: &Engine,
    who: &Principal,
    named: Vec<DatasetName>,
    layout: Layout,
    output: &Output,
) -> Result<()> {
    let datasets = match named.is_empty() {
        true => engine.catalog(who).await?.datasets.keys().cloned().collect(),
        false => named,
    };
    let mut rows = Vec::new();
    let mut documents = Vec::new();
    let mut failed: Option<Error> = None;
    for dataset in datasets {
        let made = match engine.compact_as(who, &dataset, layout).await {
            Ok(made) => made,
            // The others are done all the same.
            Err(error) => {
                output.note(&format!("{dataset}: {error}"));
                failed.get_or_insert(error);
                continue;
            }
        };
        documents.push(json!({
            "dataset": dataset.as_str(),
            "files_removed": made.removed,
            "files_added": made.added,
            "rows": made.rows,
            "version": made.version.0,
        }));
        rows.push(vec![
            dataset.to_string(),
            count(made.removed),
            count(made.added),
            count(made.rows),
            made.version.to_string(),
        ]);
    }
    if output.is_json() {
        output.document(&documents)?;
    } else if !rows.is_empty() {
        output.line(&columns(&["dataset", "files", "became", "rows", "version"], &rows))?;
    }
    failed.map_or(Ok(()), Err)
}
