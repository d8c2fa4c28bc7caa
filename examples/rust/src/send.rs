//! Rows on their way to a dataset: each batch once, however often it has to be sent.

use std::io::BufRead;

use serde::{Deserialize, Serialize};

use crate::Failed;
use crate::http::Server;

/// What became of a batch. It is committed.
#[derive(Debug, Deserialize, Serialize)]
pub struct Receipt {
    #[serde(default)]
    pub sequence: u64,
    pub accepted: u64,
    /// Rows that do not fit; they are in `model_calls_quarantine`, with the reason.
    pub quarantined: u64,
    pub version: u64,
    /// Whether the batch had been taken before, so that nothing was written again.
    pub duplicate: bool,
}

/// Sends lines of NDJSON. The same lines under the same name are the same batches: who is killed begins from the first line.
pub fn send(
    server: &Server,
    lines: impl BufRead,
    producer: &str,
    rows: usize,
    mut take: impl FnMut(Receipt) -> Result<(), Failed>,
) -> Result<(), Failed> {
    let mut lines = lines.lines();
    for sequence in 1.. {
        let batch = lines.by_ref().take(rows).collect::<Result<Vec<_>, _>>()?;
        if batch.is_empty() {
            break;
        }
        let number = sequence.to_string();
        let headers = [
            ("content-type", "application/x-ndjson"),
            ("producer", producer),
            ("sequence", &number),
        ];
        let text = server.post("/v1/ingest/model_calls", &headers, &batch.join("\n"))?;
        take(Receipt { sequence, ..serde_json::from_str(&text)? })?;
    }
    Ok(())
}
