// Rows on their way to a dataset: each batch once, however often it has to be sent.

import { post } from "./http.js";

/** What became of a batch. It is committed. */
export interface Receipt {
  accepted: number;
  /** Rows that do not fit; they are in `model_calls_quarantine`, with the reason. */
  quarantined: number;
  version: number;
  /** Whether the batch had been taken before, so that nothing was written again. */
  duplicate: boolean;
}

/** Sends lines of NDJSON. The same lines under the same name are the same batches: who is killed begins from the first line. */
export async function* send(
  lines: AsyncIterable<string>,
  producer: string,
  rows: number,
): AsyncGenerator<Receipt & { sequence: number }> {
  let sequence = 1;
  for await (const batch of batches(lines, rows)) {
    const headers = { "content-type": "application/x-ndjson", producer, sequence: String(sequence) };
    const receipt = (await post("/v1/ingest/model_calls", headers, batch)) as Receipt;
    yield { sequence, ...receipt };
    sequence += 1;
  }
}

async function* batches(lines: AsyncIterable<string>, rows: number): AsyncGenerator<string> {
  let held: string[] = [];
  for await (const line of lines) {
    held.push(line);
    if (held.length === rows) {
      yield held.join("\n");
      held = [];
    }
  }
  if (held.length > 0) yield held.join("\n");
}
