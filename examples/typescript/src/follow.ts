// Changes as they are committed: each version once and in order, whatever breaks in between.

import { setTimeout as sleep } from "node:timers/promises";
import { print } from "graphql";
import { createClient } from "graphql-ws";
import WebSocket from "ws";
import { FollowDocument, type FollowSubscription } from "./calls.js";
import { authorization, Refused, url, waitBefore } from "./http.js";

export type Change = FollowSubscription["modelCallsChanged"];

/** Who says nothing for so long, and does not answer a ping within so long again, is gone. */
const SILENCE_MS = 10_000;
/** What a socket is closed with where it would not help to come back: a wrong request or protocol, a key that does not let in. */
const NOT_AGAIN = [4400, 4401, 4403, 4406];
/** Errors that pass; so does one that says when to ask again. */
const PASSING = ["RESOURCES_EXHAUSTED", "DEVICE_UNAVAILABLE", "STORAGE_UNAVAILABLE", "TIMEOUT"];

/** What happens after version `since`. It goes on until nobody asks for more. */
export async function* follow(since: number): AsyncGenerator<Change> {
  const client = connect();
  for (let attempt = 0; ; attempt += 1) {
    let broke: unknown = "the server has nothing more to tell";
    try {
      const request = { query: print(FollowDocument), variables: { since } };
      for await (const { data, errors } of client.iterate<FollowSubscription>(request)) {
        if (errors || !data) throw errors;
        const change = data.modelCallsChanged;
        requireWhole(change, since);
        yield change;
        since = change.version;
        attempt = 0;
      }
    } catch (error) {
      if (isFinal(error)) throw error;
      broke = error;
    }
    const wait = waitBefore(attempt);
    console.error(`follow: ${said(broke)}; again after version ${since} in ${Math.round(wait)} ms`);
    await sleep(wait);
  }
}

function connect() {
  let silence: NodeJS.Timeout | undefined;
  const client = createClient({
    url: `${url.replace(/^http/, "ws")}/graphql`,
    webSocketImpl: WebSocket,
    connectionParams: authorization,
    // Its own way to come back asks for what it asked first, and not for what follows the last version.
    retryAttempts: 0,
    keepAlive: SILENCE_MS,
    on: {
      ping: (received) => {
        if (!received) silence = setTimeout(() => client.terminate(), SILENCE_MS);
      },
      pong: (received) => {
        if (received) clearTimeout(silence);
      },
      closed: () => clearTimeout(silence),
    },
  });
  return client;
}

/** A change that does not follow the one before, or of which only the first rows came, would be lost rows. */
function requireWhole({ previousVersion, version, added, removed }: Change, since: number): void {
  if (previousVersion !== since) throw new Refused(`expected the change after version ${since}, found that after ${previousVersion}`);
  for (const { count, nodes } of [added, removed]) {
    if (count !== String(nodes.length)) {
      throw new Refused(`version ${version} changes ${count} rows, and ${nodes.length} came with it: createExport(since: ${since}) has all`);
    }
  }
}

/** Whether it would be the same again. What the server says of a request are GraphQL's errors; of a connection, a code. */
function isFinal(error: unknown): boolean {
  if (Array.isArray(error)) {
    const { code, retryAfter } = error[0]?.extensions ?? {};
    return !PASSING.includes(code) && retryAfter === undefined;
  }
  if (error instanceof Refused) return true;
  return typeof error === "object" && error !== null && "code" in error && NOT_AGAIN.includes(Number(error.code));
}

/** In one line: GraphQL's errors, what a socket is closed with, or what it failed with. */
function said(error: unknown): string {
  if (typeof error !== "object" || error === null) return String(error);
  if ("message" in error && error.message) return String(error.message);
  if ("code" in error && "reason" in error) return `it broke off: ${error.code} ${error.reason}`.trimEnd();
  return JSON.stringify(error);
}
