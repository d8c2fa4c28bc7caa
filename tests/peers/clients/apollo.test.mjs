// Apollo Client: its cache with Relay's pages, errors, and subscriptions by graphql-ws.

import { test } from "node:test";
import assert from "node:assert/strict";
import { ApolloClient, CombinedGraphQLErrors, HttpLink, InMemoryCache, gql } from "@apollo/client";
import { GraphQLWsLink } from "@apollo/client/link/subscriptions";
import { relayStylePagination } from "@apollo/client/utilities";
import { createClient } from "graphql-ws";
import WebSocket from "ws";
import { http, ids, ingest, sample, ws } from "./server.mjs";

const cache = () =>
  new InMemoryCache({ typePolicies: { Query: { fields: { modelCalls: relayStylePagination(["orderBy", "where"]) } } } });

const page = gql`
  query Page($after: String) {
    modelCalls(first: 4, after: $after, orderBy: [{ at: ASC }]) {
      edges { cursor node { id latencyMs model } }
      pageInfo { endCursor hasNextPage startCursor hasPreviousPage }
    }
  }
`;

test("pages are put together as of one list", async () => {
  const client = new ApolloClient({ link: new HttpLink({ uri: http }), cache: cache() });
  const list = client.watchQuery({ query: page });
  const first = await new Promise((resolve) => {
    list.subscribe((result) => result.loading || resolve(result));
  });
  const { endCursor } = first.data.modelCalls.pageInfo;
  await list.fetchMore({ variables: { after: endCursor } });
  const all = client.readQuery({ query: page });
  assert.deepEqual(all.modelCalls.edges.map((edge) => edge.node.id), ids(0, 8));
  assert.equal(all.modelCalls.edges[0].node.__typename, "ModelCallsRow");
  client.stop();
});

test("an error has its code, and what else was asked for is there", async () => {
  const client = new ApolloClient({ link: new HttpLink({ uri: http }), cache: cache() });
  const query = gql`{ modelCalls(asOf: { version: 9999 }) { version } datasets { name } }`;
  const { data, error } = await client.query({ query, errorPolicy: "all" });
  assert.ok(CombinedGraphQLErrors.is(error), `${error}`);
  assert.equal(error.errors[0].extensions.code, "NOT_FOUND");
  assert.ok(data.datasets.length > 0);
  await assert.rejects(client.query({ query: gql`{ nothing }` }), /nothing/);
});

test("a subscription tells of each commit", async () => {
  const socket = createClient({ url: ws, webSocketImpl: WebSocket });
  const client = new ApolloClient({ link: new GraphQLWsLink(socket), cache: cache() });
  const query = gql`subscription { metricsChanged(where: {series: {eq: "apollo"}}) { added { nodes { value } } } }`;
  const seen = [];
  let sent = 0;
  await new Promise((resolve, reject) => {
    const following = client.subscribe({ query }).subscribe({
      next: ({ data, error }) => {
        if (error) return reject(error);
        seen.push(...data.metricsChanged.added.nodes.map((node) => node.value));
        if (seen.length >= 2) {
          following.unsubscribe();
          resolve();
        }
      },
      error: reject,
    });
    const sending = setInterval(() => {
      if (seen.length >= 2) return clearInterval(sending);
      ingest("metrics", sample("apollo", sent++)).catch(reject);
    }, 300);
  });
  assert.equal(seen[1], seen[0] + 1, `${seen}`);
  await socket.dispose();
});
