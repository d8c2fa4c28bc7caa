// Queries, follows and sends model calls. What it prints are lines of JSON.
//
//   node dist/main.js page MODEL
//   node dist/main.js follow [VERSION]
//   node dist/main.js send PRODUCER [ROWS] < calls.ndjson

import { createInterface } from "node:readline";
import { NewestDocument } from "./calls.js";
import { follow } from "./follow.js";
import { ask } from "./http.js";
import { pages } from "./page.js";
import { send } from "./send.js";

const say = (line: object) => console.log(JSON.stringify(line));
const usage = "expected page MODEL, follow [VERSION] or send PRODUCER [ROWS]";

async function main([command, first, second]: string[]): Promise<void> {
  if (command === "page" && first !== undefined) {
    for await (const { nodes } of pages(first)) nodes.forEach(say);
  } else if (command === "follow") {
    for await (const change of follow(first === undefined ? await newest() : whole(first))) say(change);
  } else if (command === "send" && first !== undefined) {
    const lines = createInterface({ input: process.stdin });
    for await (const receipt of send(lines, first, whole(second ?? "500"))) say(receipt);
  } else {
    throw new Error(usage);
  }
}

async function newest(): Promise<number> {
  const { dataset } = await ask(NewestDocument, {});
  if (!dataset) throw new Error("there is no dataset model_calls yet");
  return dataset.version;
}

function whole(given: string): number {
  if (!/^\d{1,9}$/.test(given)) throw new Error(`${usage}, found ${JSON.stringify(given)} for a number`);
  return Number(given);
}

main(process.argv.slice(2)).catch((error: unknown) => {
  console.error(error);
  process.exit(1);
});
