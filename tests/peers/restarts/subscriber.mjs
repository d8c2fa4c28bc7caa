// One subscriber that retries as its client's documentation says. It prints each version that it reads as a line of JSON.
//
// Usage: subscriber.mjs graphql-sse|graphql-ws|eventsource http://ADDRESS SINCE

import { createClient as createSse } from "graphql-sse";
import { createClient as createWs } from "graphql-ws";
import WebSocket from "ws";

const [kind, address, since] = process.argv.slice(2);
const query = `subscription($since: Int) {
  eventsChanged(since: $since) { version previousVersion collapsed added { count nodes(first: 1000) { id } } }
}`;
/** The last version that was read. */
let last = Number(since);
const print = (line) => process.stdout.write(JSON.stringify(line) + "\n");

// A restart takes a second. The default waits of both clients double with each attempt and are made for a public network.
const retryWait = () => new Promise((resolve) => setTimeout(resolve, 100 + Math.random() * 200));

const sink = {
  next({ data, errors }) {
    if (errors) return print({ error: errors });
    const change = data.eventsChanged;
    last = Number(change.version);
    print({ version: last, previous: Number(change.previousVersion), ids: change.added.nodes.map((node) => node.id) });
  },
  error: (error) => print({ ended: "error", error: String(error?.reason ?? error?.message ?? JSON.stringify(error)) }),
  complete: () => print({ ended: "complete" }),
};

// Both clients write the request again for each connection, so a getter names the last version.
const variables = Object.defineProperty({}, "since", { enumerable: true, get: () => last });

const subscribers = {
  "graphql-sse"() {
    // `since` stays as it was: the header names the last version.
    const headers = () => ({ "last-event-id": String(last) });
    const on = { connected: (again) => again && print({ again: true }) };
    const client = createSse({ url: `${address}/graphql`, retryAttempts: 1000, retry: retryWait, headers, on });
    client.subscribe({ query, variables: { since: Number(since) } }, sink);
  },
  "graphql-ws"() {
    const client = createWs({
      url: `${address.replace("http", "ws")}/graphql`,
      webSocketImpl: WebSocket,
      retryAttempts: 1000,
      retryWait,
      // A refused connection is an error event of `ws`, which the default does not retry.
      shouldRetry: () => true,
      on: {
        connected: (_socket, _payload, again) => again && print({ again: true }),
        closed: ({ code }) => code && print({ code }),
      },
    });
    client.subscribe({ query, variables }, sink);
  },
};

subscribers[kind]();
