// urql: queries over its cache, a mutation, an error with its code, and subscriptions by graphql-ws.

import { test } from "node:test";
import assert from "node:assert/strict";
import { Client, cacheExchange, fetchExchange, gql, subscriptionExchange } from "@urql/core";
import { createClient } from "graphql-ws";
import WebSocket from "ws";
import { http, ids, ingest, sample, ws } from "./server.mjs";

const socket = createClient({ url: ws, webSocketImpl: WebSocket });
const client = new Client({
  url: http,
  preferGetMethod: false,
  exchanges: [
    cacheExchange,
    fetchExchange,
    subscriptionExchange({
      forwardSubscription: (request) => ({
        subscribe: (sink) => ({ unsubscribe: socket.subscribe({ ...request, query: request.query ?? "" }, sink) }),
      }),
    }),
  ],
});

const page = gql`
  query Page($after: String) {
    modelCalls(first: 4, after: $after, orderBy: [{ at: ASC }]) {
      nodes { id latencyMs }
      pageInfo { endCursor hasNextPage }
    }
  }
`;

test("pages follow one another, and the same page comes from the cache", async () => {
  const first = await client.query(page, {});
  assert.equal(first.error, undefined, `${first.error}`);
  const next = await client.query(page, { after: first.data.modelCalls.pageInfo.endCursor });
  const found = [first, next].flatMap((of) => of.data.modelCalls.nodes.map((node) => node.id));
  assert.deepEqual(found, ids(0, 8));
  const again = await client.query(page, {});
  assert.equal(again.operation.context.meta.cacheOutcome, "hit");
});

test("queries may be sent by GET", async () => {
  const { data, error } = await client.query(page, {}, { preferGetMethod: "force", requestPolicy: "network-only" });
  assert.equal(error, undefined, `${error}`);
  assert.equal(data.modelCalls.nodes.length, 4);
});

test("an error has a path and a code", async () => {
  const { error } = await client.query(gql`{ modelCalls(asOf: { version: 9999 }) { version } }`, {});
  assert.equal(error.graphQLErrors[0].extensions.code, "NOT_FOUND");
  assert.deepEqual(error.graphQLErrors[0].path, ["modelCalls"]);
});

test("a mutation runs a job", async () => {
  const run = gql`mutation($params: JSON) { runJob(job: "sql", params: $params) { id state } }`;
  const params = { query: "SELECT count(*) AS n FROM model_calls", output: "urql_counts" };
  const { data, error } = await client.mutation(run, { params });
  assert.equal(error, undefined, `${error}`);
  assert.ok(data.runJob.id);
});

test("a subscription tells of each commit", async () => {
  const changed = gql`subscription { metricsChanged(where: {series: {eq: "urql"}}) { added { nodes { value } } } }`;
  const seen = [];
  let sent = 0;
  await new Promise((resolve, reject) => {
    const { unsubscribe } = client.subscription(changed, {}).subscribe(({ data, error }) => {
      if (error) return reject(error);
      seen.push(...data.metricsChanged.added.nodes.map((node) => node.value));
      if (seen.length >= 2) {
        unsubscribe();
        resolve();
      }
    });
    // What commits before the subscription is there is not told.
    const sending = setInterval(() => {
      if (seen.length >= 2) return clearInterval(sending);
      ingest("metrics", sample("urql", sent++)).catch(reject);
    }, 300);
  });
  assert.equal(seen[1], seen[0] + 1, `${seen}`);
  await socket.dispose();
});
