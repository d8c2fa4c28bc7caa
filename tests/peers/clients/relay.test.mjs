// relay-compiler takes the printed schema and compiles a page, a mutation and a subscription against it; relay-runtime goes from page
// to page with what came out.

import { test } from "node:test";
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, copyFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import runtime from "relay-runtime";
import { http, ids } from "./server.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const folder = mkdtempSync(join(here, "relay-"));
const compiled = join(folder, "src", "__generated__");
mkdirSync(compiled, { recursive: true });
copyFileSync(join(here, "relay", "calls.js"), join(folder, "src", "calls.js"));
copyFileSync(process.env.COLONNADE_SDL, join(folder, "schema.graphql"));
const settings = { src: "./src", schema: "./schema.graphql", language: "javascript", eagerEsModules: false, artifactDirectory: "./src/__generated__" };
writeFileSync(join(folder, "relay.config.json"), JSON.stringify(settings));
writeFileSync(join(folder, "package.json"), JSON.stringify({ type: "commonjs" }));

test("the schema compiles", () => {
  const compiler = join(here, "node_modules", "relay-compiler", "cli.js");
  execFileSync(process.execPath, [compiler], { cwd: folder, stdio: "pipe" });
});

test("pages follow one another in the store", async () => {
  const require = createRequire(join(folder, "package.json"));
  const artifact = (name) => require(join(compiled, `${name}.graphql.js`));
  const { Environment, Network, RecordSource, Store, createOperationDescriptor, fetchQuery, getSingularSelector } = runtime;
  const send = async ({ text }, variables) => {
    const response = await fetch(http, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ query: text, variables }),
    });
    return response.json();
  };
  const environment = new Environment({ network: Network.create(send), store: new Store(new RecordSource()) });
  const [query, fragment] = [artifact("callsPageQuery"), artifact("calls_page")];
  const shown = () => {
    const { fragment: selector } = createOperationDescriptor(query, { first: 4, after: null });
    const { data } = environment.lookup(selector);
    return environment.lookup(getSingularSelector(fragment, data)).data.modelCalls;
  };
  const first = await fetchQuery(environment, query, { first: 4, after: null }).toPromise();
  assert.ok(first.datasets.some((dataset) => dataset.name === "model_calls"));
  assert.deepEqual(shown().edges.map((edge) => edge.node.id), ids(0, 4));
  const { endCursor, hasNextPage } = shown().pageInfo;
  assert.equal(hasNextPage, true);
  await fetchQuery(environment, artifact("callsPaginationQuery"), { first: 4, after: endCursor }).toPromise();
  assert.deepEqual(shown().edges.map((edge) => edge.node.id), ids(0, 8));
});
