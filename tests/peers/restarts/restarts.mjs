// Restarts a server by SIGTERM under a running producer, with subscribers of three published clients. Each must read each version once
// and in order, and none may end.
//
// Usage: restarts.mjs BINARY ROOT LISTEN PYTHON COUNT

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const [binary, root, listen, python, countText] = process.argv.slice(2);
const count = Number(countText);
const address = `http://${listen}`;
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
/** Longest that a subscriber may take to read what is committed. */
const CAUGHT_UP_MAX_MS = 60_000;
const here = (name) => fileURLToPath(new URL(name, import.meta.url));

let server;
async function start() {
  server = spawn(binary, ["--data", root, "serve", "--listen", listen], { stdio: ["ignore", "ignore", "pipe"] });
  let log = "";
  server.stderr.on("data", (chunk) => (log = (log + chunk).slice(-4_000)));
  for (let tries = 0; ; tries++) {
    const ready = await fetch(`${address}/readyz`).then((answer) => answer.ok, () => false);
    if (ready) return;
    assert.ok(tries < 600 && server.exitCode === null, `the server does not start: ${log}`);
    await sleep(50);
  }
}

/** Stops the server in order; returns how long that took. */
async function stop() {
  const began = performance.now();
  const exited = once(server, "exit");
  server.kill("SIGTERM");
  const [code] = await exited;
  assert.equal(code, 0, "the server ends in order");
  return performance.now() - began;
}

// The producer numbers its batches, so that one whose answer was lost is sent again and taken once.
let sent = 0;
let producing = true;
async function produce() {
  while (producing) {
    const sequence = sent + 1;
    const at = new Date(Date.UTC(2026, 0, 1) + sequence * 1000).toISOString();
    const row = { id: String(sequence), at, kind: "tick" };
    const headers = { "content-type": "application/x-ndjson", producer: "restarts", sequence: String(sequence) };
    const body = JSON.stringify(row) + "\n";
    try {
      const answer = await fetch(`${address}/v1/ingest/events`, { method: "POST", headers, body });
      const receipt = await answer.json();
      if (answer.ok) {
        assert.ok(receipt.duplicate || receipt.accepted === 1, JSON.stringify(receipt));
        sent = sequence;
      }
    } catch {
      // It is stopped: the same batch goes to the next one.
    }
    await sleep(5 + Math.random() * 20);
  }
}

function subscribe(name, command, args) {
  const child = spawn(command, [...args], { stdio: ["ignore", "pipe", "inherit"] });
  const seen = { name, child, versions: [], ids: [], again: 0, codes: {}, ended: [], errors: [] };
  createInterface({ input: child.stdout }).on("line", (text) => {
    const line = JSON.parse(text);
    if (line.version !== undefined) {
      const previous = seen.versions.at(-1) ?? begin;
      if (line.previous !== previous) seen.errors.push(`version ${line.version} follows ${line.previous}, expected ${previous}`);
      seen.versions.push(line.version);
      seen.ids.push(...line.ids.map(Number));
    }
    if (line.again) seen.again += 1;
    if (line.code) seen.codes[line.code] = (seen.codes[line.code] ?? 0) + 1;
    if (line.ended) seen.ended.push(line);
    if (line.error && !line.ended) seen.errors.push(JSON.stringify(line.error));
  });
  child.on("exit", (code) => seen.ended.push({ ended: "exit", code }));
  return seen;
}

const ask = async (query) => {
  const headers = { "content-type": "application/json" };
  const answer = await fetch(`${address}/graphql`, { method: "POST", headers, body: JSON.stringify({ query }) });
  return (await answer.json()).data;
};

await start();
const begin = Number((await ask("{ events { version } }")).events.version);
const subscribers = [
  ...["graphql-sse", "graphql-ws"].map((kind) =>
    subscribe(kind, process.execPath, [here("subscriber.mjs"), kind, address, String(begin)]),
  ),
  subscribe("gql", python, [here("subscriber.py"), address, String(begin)]),
];
const began = performance.now();
const production = produce();
await sleep(2_000);
const stopped = [];
for (let round = 1; round <= count; round++) {
  // Now and then before a client is there again.
  await sleep(200 + Math.random() * 1_300);
  stopped.push(await stop());
  await start();
  if (round % 10 === 0) console.log(`${round} restarts, ${sent} batches`);
}
await sleep(1_000);
producing = false;
await production;
const until = performance.now() + CAUGHT_UP_MAX_MS;
const isBehind = ({ ids, ended }) => ids.length < sent && ended.length === 0;
while (subscribers.some(isBehind) && performance.now() < until) await sleep(100);
for (const { child } of subscribers) child.removeAllListeners("exit");

let failed = false;
for (const { name, versions, ids, again, codes, ended, errors, child } of subscribers) {
  const once = new Set(ids);
  const missed = Array.from({ length: sent }, (_, n) => n + 1).filter((id) => !once.has(id)).length;
  const twice = ids.length - once.size;
  const isGood = missed === 0 && twice === 0 && ended.length === 0 && errors.length === 0;
  failed ||= !isGood;
  console.log(
    `${name}: ${versions.length} messages, ${once.size} of ${sent} rows, ${missed} missed, ${twice} twice, ` +
      `${again} reconnects, close codes ${JSON.stringify(codes)}, ended ${ended.length}`,
  );
  for (const wrong of [...ended, ...errors].slice(0, 5)) console.log(`  ${JSON.stringify(wrong)}`);
  child.kill();
}
stopped.sort((a, b) => a - b);
const seconds = Math.round((performance.now() - began) / 1000);
console.log(
  `${count} restarts in ${seconds} s; a stop took ${Math.round(stopped[Math.floor(stopped.length / 2)])} ms (median), ` +
    `${Math.round(stopped.at(-1))} ms at most`,
);
await stop();
process.exit(failed ? 1 : 0);
