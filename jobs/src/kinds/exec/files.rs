//! The datasets that a program reads from files. Each is an Arrow IPC stream, `inputs/NAME.arrow` in the working folder. It
//! contains the rows of the pinned version, within the requested time.
//!
//! Cost: a copy of the rows on the disk of the scratch folder, written batch by batch.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use arrow::array::RecordBatch;
use arrow::ipc::writer::StreamWriter;
use engine::{Code, Error, Result};
use futures::StreamExt;
use serde_json::json;

use super::params::Params;
use super::{NAME, within};
use crate::run::context::RunContext;
use crate::tables::input::InputTable;

/// The folder of the input files.
const FOLDER: &str = "inputs";
/// Most bytes of all input files of one run.
const BYTES_MAX: u64 = 64 << 30;

/// Writes the input files.
pub(super) async fn write(ctx: &RunContext, params: &Params, folder: &Path) -> Result<()> {
    if params.datasets.is_empty() {
        return Ok(());
    }
    let folder = folder.join(FOLDER);
    tokio::fs::create_dir(&folder).await.map_err(|error| failed(&error))?;
    let mut left = BYTES_MAX;
    for dataset in &params.datasets {
        let mut stage = ctx.stage("inputs");
        stage.facts(json!({ "dataset": dataset }));
        let table = InputTable::open(ctx.session(), NAME, dataset).await?;
        let mut rows = ctx.session().stream(within(ctx, params, dataset, table.frame)?).await?;
        let path = folder.join(format!("{dataset}.arrow"));
        let file = File::create(path).map_err(|error| failed(&error))?;
        let file = Counting { file: BufWriter::new(file), bytes: 0 };
        let mut writer = StreamWriter::try_new(file, &rows.schema())?;
        while let Some(batch) = rows.next().await.transpose()? {
            stage.record.rows_in += batch.num_rows() as u64;
            writer = ctx.compute(move || with(writer, &batch)).await?;
            if writer.get_ref().bytes > left {
                let says = format!(
                    "{NAME}: datasets: the files of all inputs take more than {BYTES_MAX} bytes; expected fewer rows: narrow `from` and `to`, or make a smaller dataset with the job sql"
                );
                return Err(Error::user(Code::LimitExceeded, says));
            }
        }
        writer.finish()?;
        left = left.saturating_sub(writer.get_ref().bytes);
        stage.record.bytes_read = writer.get_ref().bytes;
        let mut file = writer.into_inner()?;
        ctx.compute(move || file.flush().map_err(|error| failed(&error))).await?;
        stage.finish();
    }
    Ok(())
}

fn with(mut writer: StreamWriter<Counting>, batch: &RecordBatch) -> Result<StreamWriter<Counting>> {
    writer.write(batch).map_err(|error| failed(&error))?;
    Ok(writer)
}

fn failed(error: &dyn std::fmt::Display) -> Error {
    let says = format!("{NAME}: an input file can't be written to the scratch folder: {error}");
    Error::user(Code::ResourcesExhausted, says)
}

/// A file that counts its bytes.
struct Counting {
    file: BufWriter<File>,
    bytes: u64,
}

impl Write for Counting {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}
