// Requests, and when they are sent again.

import { setTimeout as sleep } from "node:timers/promises";
import type { TypedDocumentNode } from "@graphql-typed-document-node/core";
import { print, type ExecutionResult } from "graphql";

export const url = (process.env["COLONNADE_URL"] ?? "http://127.0.0.1:8642").replace(/\/$/, "");
const key = process.env["COLONNADE_API_KEY"];
export const authorization = key ? { authorization: `Bearer ${key}` } : {};

/** Statuses after which the same request may be sent again. */
const AGAIN = [429, 502, 503, 504];
/** How long a server is waited for that is busy or gone. */
const PATIENCE_MS = 60_000;
/** Longest wait for one answer. */
const ANSWER_MS = 30_000;
/** Longest wait between two tries. */
const WAIT_MS = 5_000;

/** What it would not help to send again. */
export class Refused extends Error {}

/** Twice as long each time, and not the same for all who lost the same server. */
export const waitBefore = (attempt: number): number => Math.min(100 * 2 ** attempt, WAIT_MS) * (0.5 + Math.random() / 2);

/** Sends what does no harm when it is sent twice, until it is answered. */
export async function post(path: string, headers: Record<string, string>, body: string): Promise<unknown> {
  const until = Date.now() + PATIENCE_MS;
  for (let attempt = 0; ; attempt += 1) {
    let failed: unknown;
    let wait = waitBefore(attempt);
    try {
      const signal = AbortSignal.timeout(ANSWER_MS);
      const response = await fetch(url + path, { method: "POST", headers: { ...authorization, ...headers }, body, signal });
      const text = await response.text();
      if (response.ok) return JSON.parse(text);
      failed = new Refused(`${path}: status ${response.status}: ${text.trim()}`);
      if (!AGAIN.includes(response.status)) throw failed;
      const told = Number(response.headers.get("retry-after"));
      if (told > 0) wait = told * 1_000;
    } catch (error) {
      if (error instanceof Refused) throw error;
      failed = error;
    }
    if (Date.now() + wait > until) throw new Error(`${url} does not answer`, { cause: failed });
    await sleep(wait);
  }
}

/** The data that a query is answered with. */
export async function ask<Data, Variables>(document: TypedDocumentNode<Data, Variables>, variables: Variables): Promise<Data> {
  const body = JSON.stringify({ query: print(document), variables });
  const answer = (await post("/graphql", { "content-type": "application/json" }, body)) as ExecutionResult<Data>;
  if (answer.errors?.length || !answer.data) throw new Refused(JSON.stringify(answer.errors));
  return answer.data;
}
