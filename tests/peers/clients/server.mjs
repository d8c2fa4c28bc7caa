// The served instance that the clients are tried on, and rows for it.

import assert from "node:assert/strict";

export const address = process.env.COLONNADE_ADDRESS;
export const http = `${address}/graphql`;
export const ws = http.replace("http", "ws");

export async function ingest(dataset, rows) {
  const response = await fetch(`${address}/v1/ingest/${dataset}`, {
    method: "POST",
    headers: { "content-type": "application/x-ndjson" },
    body: rows.map((row) => JSON.stringify(row) + "\n").join(""),
  });
  const body = await response.json();
  assert.equal(response.status, 200, JSON.stringify(body));
  assert.equal(body.quarantined, 0, JSON.stringify(body));
  return body.version;
}

const instant = (minute) => new Date(Date.UTC(2026, 0, 1) + minute * 60_000).toISOString();

/** Model calls whose ids are their number in the order of their time. */
export function calls(from, count) {
  return Array.from({ length: count }, (_, n) => ({
    id: `call-${String(from + n).padStart(4, "0")}`,
    at: instant(from + n),
    provider: "example",
    model: (from + n) % 2 ? "large-1" : "small-1",
    operation: "chat",
    input_tokens: from + n,
    output_tokens: 1,
    latency_ms: 1.5,
    status: "ok",
  }));
}

/** One row that nobody sent before, of a series that nobody else has. */
export function sample(series, n) {
  return [{ series, at: instant(n), value: n + 0.5 }];
}

/** The ids of `calls`. */
export const ids = (from, count) => calls(from, count).map((call) => call.id);
