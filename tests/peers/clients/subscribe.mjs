// What a dashboard does: subscribes with the official client, goes away without a word, comes back with
// the last version it saw. It is served at COLONNADE_ADDRESS.

import assert from "node:assert/strict";
import { createClient } from "graphql-ws";
import WebSocket from "ws";
import { address, ingest } from "./server.mjs";

const COMMITS_TIMED = Number(process.env.COLONNADE_LATENCY_COMMITS ?? 200);

async function graphql(query, variables = {}) {
  const response = await fetch(`${address}/graphql`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ query, variables }),
  });
  const body = await response.json();
  assert.equal(body.errors, undefined, JSON.stringify(body));
  return body.data;
}

const instant = (minute) => new Date(Date.UTC(2026, 0, 1) + minute * 60_000).toISOString();

function metrics(series, from, count, spikes = []) {
  const value = (minute) => (spikes.includes(minute) ? 500 : 10 + ((minute * 7) % 11) / 10);
  return Array.from({ length: count }, (_, n) => ({ series, at: instant(from + n), value: value(from + n) }));
}

const call = (n) => ({
  id: `call-${n}`,
  at: instant(n),
  provider: "example",
  model: "small-1",
  operation: "chat",
  input_tokens: n,
  output_tokens: 1,
  latency_ms: 1.5,
  status: "ok",
});

/** One subscription with the official client; `next` waits for a message, `terminate` cuts the socket. */
function subscribe(query) {
  const sockets = [];
  class Socket extends WebSocket {
    constructor(...given) {
      super(...given);
      sockets.push(this);
    }
  }
  const client = createClient({
    url: `${address.replace("http", "ws")}/graphql`,
    webSocketImpl: Socket,
    retryAttempts: 0,
  });
  const arrived = [];
  const waiting = [];
  let failure;
  const arrive = (message) => (waiting.length > 0 ? waiting.shift().resolve(message) : arrived.push(message));
  client.subscribe(
    { query },
    {
      next: (message) => {
        message.arrivedAt = performance.now();
        assert.equal(message.errors, undefined, JSON.stringify(message));
        arrive(message);
      },
      error: (error) => {
        failure = error;
        waiting.splice(0).forEach(({ reject }) => reject(error));
      },
      complete: () => {},
    },
  );
  return {
    next: () =>
      arrived.length > 0
        ? Promise.resolve(arrived.shift())
        : failure
          ? Promise.reject(failure)
          : new Promise((resolve, reject) => waiting.push({ resolve, reject })),
    terminate: () => sockets.forEach((socket) => socket.terminate()),
    unread: () => arrived.length,
    dispose: () => client.dispose(),
  };
}

async function runAnomalies() {
  const { runJob } = await graphql("mutation { runJob(job: \"anomalies\", params: {}, wait: true) { id state } }");
  assert.equal(runJob.state.toLowerCase(), "succeeded", JSON.stringify(runJob));
  return runJob.id;
}

async function resultsArePushed() {
  await ingest("metrics", metrics("calm", 0, 1440, [700]));
  await runAnomalies();
  const { anomalies } = await graphql("{ anomalies(first: 1) { version } }");
  let last = Number(anomalies.version);
  const query = () =>
    `subscription { anomaliesChanged(since: ${last}) { version previousVersion runId added { count } } }`;
  const expected = [];
  const seen = [];
  const hear = async (subscription, count) => {
    for (let n = 0; n < count; n++) {
      const { data } = await subscription.next();
      const change = data.anomaliesChanged;
      assert.equal(Number(change.previousVersion), last, JSON.stringify(change));
      assert.ok(Number(change.version) > last, JSON.stringify(change));
      last = Number(change.version);
      seen.push(change.runId);
    }
  };
  let minute = 1440;
  const another = async () => {
    await ingest("metrics", metrics("calm", minute, 60, [minute + 30]));
    minute += 60;
    expected.push(await runAnomalies());
  };

  let subscription = subscribe(query());
  await another();
  await hear(subscription, 1);
  subscription.terminate();
  // Away: two results commit. Back: a third while listening.
  await another();
  await another();
  subscription = subscribe(query());
  await hear(subscription, 2);
  await another();
  await hear(subscription, 1);
  assert.deepEqual(seen, expected, "every run's result once and in order");
  assert.equal(subscription.unread(), 0);
  await subscription.dispose();
  console.log(`results: ${seen.length} runs pushed, none missed and none repeated over one break`);
}

async function commitToMessage() {
  let version = await ingest("model_calls", [call(0)]);
  const subscription = subscribe(
    `subscription { modelCallsChanged(since: ${version}) { version previousVersion added { nodes { inputTokens } } } }`,
  );
  const fromSending = [];
  const fromAnswer = [];
  for (let n = 1; n <= COMMITS_TIMED; n++) {
    const began = performance.now();
    const message = subscription.next();
    const committed = await ingest("model_calls", [call(n)]);
    const answered = performance.now();
    const { data, arrivedAt } = await message;
    assert.equal(Number(data.modelCallsChanged.previousVersion), version);
    version = Number(data.modelCallsChanged.version);
    assert.equal(version, Number(committed));
    assert.equal(Number(data.modelCallsChanged.added.nodes[0].inputTokens), n);
    fromSending.push(arrivedAt - began);
    fromAnswer.push(Math.max(0, arrivedAt - answered));
  }
  await subscription.dispose();
  const quantile = (times, share) => {
    times.sort((a, b) => a - b);
    return times[Math.floor((times.length - 1) * share)].toFixed(2);
  };
  const both = (times) => `median ${quantile(times, 0.5)} ms, p99 ${quantile(times, 0.99)} ms`;
  console.log(`${COMMITS_TIMED} commits of model_calls, one at a time:`);
  console.log(`  acknowledgement of the commit to message: ${both(fromAnswer)}`);
  console.log(`  request sent to message (with the commit): ${both(fromSending)}`);
}

await resultsArePushed();
await commitToMessage();
