// graphql-sse: results of queries, and of a subscription as they commit.

import { test } from "node:test";
import assert from "node:assert/strict";
import { createClient } from "graphql-sse";
import { http, ids, ingest, sample } from "./server.mjs";

const client = () => createClient({ url: http, retryAttempts: 0 });

test("a query answers once", async () => {
  const answers = [];
  const query = "query($n: Int!) { modelCalls(first: $n, orderBy: [{at: ASC}]) { nodes { id } } }";
  for await (const answer of client().iterate({ query, variables: { n: 3 } })) answers.push(answer);
  assert.equal(answers.length, 1);
  assert.deepEqual(answers[0].data.modelCalls.nodes.map((node) => node.id), ids(0, 3));
});

test("a refused query tells why", async () => {
  const answers = [];
  for await (const answer of client().iterate({ query: "{ nothing }" })) answers.push(answer);
  assert.equal(answers.length, 1);
  assert.match(answers[0].errors[0].message, /nothing/);
  assert.equal(answers[0].errors[0].extensions.code, "BAD_INPUT");
});

test("a subscription tells of each commit", async () => {
  const query = 'subscription { metricsChanged(where: {series: {eq: "sse"}}) { version added { nodes { value } } } }';
  const events = client().iterate({ query });
  await ingest("metrics", sample("sse", 0));
  const seen = [];
  let sent = 1;
  for await (const { data, errors } of events) {
    assert.equal(errors, undefined, JSON.stringify(errors));
    seen.push(...data.metricsChanged.added.nodes.map((node) => node.value));
    if (sent === 3) break;
    await ingest("metrics", sample("sse", sent++));
  }
  // The first may have been committed before the subscription was there.
  assert.deepEqual(seen, [0.5, 1.5, 2.5].slice(-seen.length));
  assert.ok(seen.length >= 2, `${seen}`);
});
