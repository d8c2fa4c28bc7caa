// graphql-codegen makes types of the printed schema and of documents, which the TypeScript compiler takes, and with which it finds a
// field that is not there.

import { test } from "node:test";
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { generate } from "@graphql-codegen/cli";

const here = dirname(fileURLToPath(import.meta.url));
const folder = mkdtempSync(join(here, "codegen-"));
const documents = `
  query Page($where: ModelCallsWhere, $first: Int!) {
    modelCalls(where: $where, first: $first) { version nodes { id at latencyMs inputTokens } }
    modelCallsGroups(groupBy: [MODEL], first: 5) { nodes { model count p95 { latencyMs } } }
  }
  subscription Changed { modelCallsChanged { version removed { nodes { id } } added { nodes { id } } } }
`;

const settings = { strict: true, noEmit: true, target: "esnext", module: "nodenext", moduleResolution: "nodenext", skipLibCheck: true, types: [] };

function compile(name, text) {
  writeFileSync(join(folder, `${name}.ts`), text);
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions: settings, files: [`${name}.ts`, "schema.ts"] }));
  const compiler = join(here, "node_modules", "typescript", "bin", "tsc");
  const done = spawnSync(process.execPath, [compiler, "--project", folder], { encoding: "utf8" });
  return { ok: done.status === 0, says: done.stdout + done.stderr };
}

test("the schema and documents become types that compile", async () => {
  writeFileSync(join(folder, "package.json"), JSON.stringify({ type: "module" }));
  writeFileSync(join(folder, "documents.graphql"), documents);
  const [out, all] = [join(folder, "types.ts"), join(folder, "schema.ts")];
  await generate(
    {
      schema: process.env.COLONNADE_SDL,
      documents: join(folder, "documents.graphql"),
      silent: true,
      generates: {
        [out]: { plugins: ["typescript-operations", "typed-document-node"] },
        [all]: { plugins: ["typescript"] },
      },
    },
    true,
  );
  assert.match(readFileSync(out, "utf8"), /ModelCallsWhere/);
  assert.match(readFileSync(all, "utf8"), /export type ModelCallsRow = /);
  const uses = (field) => `
    import type { PageQuery } from "./types.js";
    export const first = (page: PageQuery) => page.modelCalls?.nodes?.[0]?.${field};
  `;
  const right = compile("right", uses("latencyMs"));
  assert.ok(right.ok, right.says);
  const wrong = compile("wrong", uses("latencySeconds"));
  assert.ok(!wrong.ok && wrong.says.includes("latencySeconds"), wrong.says);
});
