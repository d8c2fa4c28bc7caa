//! Tables that others made: the golden tables of Delta's own repositories, where they are at hand.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arrow::compute::cast;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::catalog::TableProvider;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use super::*;
use crate::Code;

/// The golden tables, when they are beside the checkout.
fn golden() -> Option<(PathBuf, Vec<Value>)> {
    let data = std::env::var_os("COLONNADE_SHARED_DATA")
        .map_or_else(|| Path::new("../../shared/data").to_path_buf(), PathBuf::from);
    let folder = data.join("delta_golden");
    let Ok(index) = std::fs::read(folder.join("INDEX.json")) else {
        let is_required =
            std::env::var_os("COLONNADE_REQUIRE_SHARED_DATA").is_some_and(|value| value == "1");
        assert!(!is_required, "no golden tables at {}", folder.display());
        eprintln!("skipped: {} is not there", folder.display());
        return None;
    };
    Some((folder, serde_json::from_slice(&index).unwrap()))
}

fn dataset_name(table: &str) -> DatasetName {
    let parts: Vec<String> = table
        .split(|c: char| !c.is_ascii_alphanumeric())
        .map(str::to_ascii_lowercase)
        .filter(|part| !part.is_empty())
        .collect();
    name(&format!("t_{}", parts.join("_")).chars().take(60).collect::<String>())
}

/// An engine over a root in which every golden table is a dataset.
async fn engine_over(folder: &Path, index: &[Value], root: &Path) -> Engine {
    let tenant = root.join("default");
    std::fs::create_dir_all(&tenant).unwrap();
    for entry in index {
        let table = entry["table"].as_str().unwrap();
        let from = std::fs::canonicalize(folder.join(table).join("delta")).unwrap();
        std::os::unix::fs::symlink(from, tenant.join(dataset_name(table).as_str())).unwrap();
    }
    let options = EngineOptions { access: Access::ReadOnly, ..options(root.to_str().unwrap()) };
    Engine::open(options).await.unwrap()
}

/// What delta-rs 1.1 refuses, with the reason that we pass on. It knows the final names of the
/// type widening feature and not that of its preview.
const UNSUPPORTED: [&str; 2] = ["type-widening", "type-widening-nested"];

/// Its timestamp partition `2021-09-08 11:11:11` has no zone: the protocol says UTC, and the expected
/// file was written by a session in Los Angeles.
const OTHER_ZONE: &str = "data-reader-partition-values";

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_golden_table_is_read_as_expected_or_refused_with_a_reason() {
    let Some((folder, index)) = golden() else { return };
    let root = tempfile::tempdir().unwrap();
    let engine = engine_over(&folder, &index, root.path()).await;
    let session = session(&engine).await;
    let mut wrong = Vec::new();
    let mut compared = 0;
    for entry in &index {
        let table = entry["table"].as_str().unwrap();
        let dataset = dataset_name(table);
        let refused = entry["must_be_refused"].as_bool().unwrap() || UNSUPPORTED.contains(&table);
        let rows = entry["rows"].as_u64();
        let read = read(&engine, &session, &dataset).await;
        match (read, refused) {
            (Err(e), true) => {
                let message = e.to_string();
                if e.code() == Code::Internal || message.contains(root.path().to_str().unwrap()) {
                    wrong.push(format!("{table}: refused, but with: {message}"));
                }
                println!("{table}: refused: {message}");
            }
            (Ok(_), true) => wrong.push(format!("{table}: read, and must be refused")),
            (Err(e), false) => wrong.push(format!("{table}: {}", e.detail())),
            (Ok((raw, fitted)), false) => {
                if Some(fitted) != rows {
                    wrong.push(format!("{table}: {fitted} rows, expected {rows:?}"));
                }
                if entry["expected_files"].as_u64() > Some(0) {
                    compared += 1;
                    let zone = if table == OTHER_ZONE { "T18:11:11Z" } else { "" };
                    if let Some(difference) = differs(&folder.join(table), &raw, zone) {
                        wrong.push(format!("{table}: {difference}"));
                    }
                }
            }
        }
    }
    println!("{} tables, {compared} compared row by row", index.len());
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), index.len(), wrong.join("\n"));
}

/// The rows as the table has them, and how many there are as the dataset shows them.
async fn read(
    engine: &Engine,
    session: &Session,
    dataset: &DatasetName,
) -> Result<(Vec<RecordBatch>, u64)> {
    let fitted = session.table(dataset).await?;
    let fitted = session.collect(fitted).await?;
    let table = engine.lake().table(&who().tenant, dataset).await?;
    let scan = Arc::new(table.snapshot(table.entry().version).await?.scan(None)?);
    let schema = scan.schema();
    let raw = session.collect(session.context().read_table(scan)?).await?;
    let raw = if raw.is_empty() { vec![RecordBatch::new_empty(schema)] } else { raw };
    Ok((raw, fitted.iter().map(|b| b.num_rows() as u64).sum()))
}

/// What differs between the expected rows and `raw`, as multisets.
fn differs(table: &Path, raw: &[RecordBatch], other_zone: &str) -> Option<String> {
    let schema = raw[0].schema();
    let mut rows: BTreeMap<String, i64> = BTreeMap::new();
    let mut count = |batch: &RecordBatch, by: i64| {
        let options = FormatOptions::default().with_null("∅");
        let columns: Vec<_> = schema
            .fields()
            .iter()
            .map(|field| {
                let column = batch.column_by_name(field.name()).unwrap_or_else(|| {
                    panic!("{} is not in {:?}", field.name(), batch.schema().fields())
                });
                cast(column, field.data_type()).unwrap()
            })
            .collect();
        let formats: Vec<_> =
            columns.iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            let text: Vec<String> = formats.iter().map(|f| f.value(row).to_string()).collect();
            let mut text = text.join(" | ");
            if by < 0 && !other_zone.is_empty() {
                text = text.replace(other_zone, "T11:11:11Z");
            }
            *rows.entry(text).or_default() += by;
        }
    };
    raw.iter().for_each(|batch| count(batch, 1));
    for entry in std::fs::read_dir(table.join("expected")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "parquet") {
            continue;
        }
        let file = std::fs::File::open(&path).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
        reader.for_each(|batch| count(&batch.unwrap(), -1));
    }
    rows.retain(|_, n| *n != 0);
    let shown: Vec<String> = rows.iter().take(4).map(|(row, n)| format!("{n:+} {row}")).collect();
    (!rows.is_empty()).then(|| format!("{} rows differ: {}", rows.len(), shown.join("; ")))
}

#[cfg(unix)]
#[tokio::test]
async fn versions_of_others_tables_are_read_too() {
    let Some((folder, index)) = golden() else { return };
    let root = tempfile::tempdir().unwrap();
    let engine = engine_over(&folder, &index, root.path()).await;
    let table = dataset_name("time-travel-start-start20-start40");
    for (version, count) in [(0, 10), (1, 20), (2, 30)] {
        let pins = [(table.clone(), crate::AsOf::Version(crate::Version(version)))];
        let session = engine.session(&who(), &pins).await.unwrap();
        let frame = session.table(&table).await.unwrap();
        assert_eq!(frame.count().await.unwrap(), count);
    }
    let changes =
        engine.changes(&who(), &table, crate::Version(0), crate::Version(2)).await.unwrap();
    assert_eq!(changes.added.count().await.unwrap(), 20);
    assert_eq!(changes.removed.count().await.unwrap(), 0);
    let history = engine.history(&who(), &table, 10).await.unwrap();
    assert_eq!(history.len(), 3);
    // A reader may not write, and says so before it looks for the dataset.
    let refused = engine
        .write(&who(), &table, crate::WriteMode::Append, vec![rows(0..1)], label("job"))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Forbidden);
}
