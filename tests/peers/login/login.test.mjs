// People log in at an identity provider, with a browser, and ask Colonnade then.

import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { createClient } from "graphql-ws";
import WebSocket from "ws";
import { Browser } from "./browser.mjs";
import { ACCESS_SECONDS, CLIENT, CLIENT_SECRET, freePort, roles, startProvider } from "./provider.mjs";

const { COLONNADE_BINARY: binary, COLONNADE_SCRATCH: scratch } = process.env;
const STARTS_MAX_MS = 60_000;

let provider;
let site;
const children = [];

/** Starts a server that browsers find at `site`, where it is or where another is: as many do behind one name. */
async function serve(port, name) {
  const config = join(scratch, `${name}.toml`);
  const secret = join(scratch, "client-secret");
  writeFileSync(secret, `${CLIENT_SECRET}\n`);
  writeFileSync(
    config,
    `data = "${join(scratch, "login-data")}"
listen = "127.0.0.1:${port}"

[auth.oidc]
issuer = "${provider.issuer}"
client_id = "${CLIENT}"
client_secret_file = "${secret}"
public_url = "${site}"
secret = "${"of both servers ".repeat(3)}"
scopes = ["openid", "offline_access"]
parameters = { prompt = "consent" }

[[auth.oidc.roles]]
value = "admins"
role = "admin"

[[auth.oidc.roles]]
value = "staff"
role = "viewer"
`,
  );
  const child = spawn(binary, ["--config", config, "serve"], { stdio: ["ignore", "ignore", "pipe"] });
  children.push(child);
  let said = "";
  child.stderr.on("data", (data) => (said += data));
  for (let waited = 0; !said.includes("listening on"); waited += 50) {
    assert.ok(waited < STARTS_MAX_MS && child.exitCode === null, said);
    await sleep(50);
  }
  return `http://127.0.0.1:${port}`;
}

before(async () => {
  const port = await freePort();
  site = `http://127.0.0.1:${port}`;
  provider = await startProvider(site);
  await serve(port, "login");
});

after(() => {
  for (const child of children) child.kill();
  provider?.stop();
});

/** Goes to `path`, and says at the provider who it is. */
async function logIn(browser, name, path = "/auth/login") {
  let page = await browser.open(`${site}${path}`);
  assert.ok(page.url.startsWith(provider.issuer), page.url);
  page = await browser.submit(page, { login: name, password: "any" });
  // What the client may have.
  return browser.submit(page, {});
}

async function me(browser) {
  const response = await browser.send(`${site}/auth/me`);
  return { status: response.status, ...(await response.json()) };
}

async function ask(browser, query, headers = {}) {
  const response = await browser.send(`${site}/graphql`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify({ query }),
  });
  return { status: response.status, ...(await response.json()) };
}

const NAMES = "{ datasets { name } }";

test("somebody logs in, asks, and is who the provider says", async () => {
  const browser = new Browser();
  assert.equal((await me(browser)).status, 401);
  assert.equal((await ask(browser, NAMES)).errors[0].extensions.code, "UNAUTHENTICATED");
  const page = await logIn(browser, "ada", "/auth/login?to=/healthz");
  assert.equal(page.url, `${site}/healthz`, page.text);
  assert.equal(page.status, 200);
  const known = await me(browser);
  assert.equal(known.subject, "ada");
  assert.deepEqual(known.roles, ["admin"]);
  assert.equal(known.by, "session");
  // The cookie alone is not enough.
  const without = await ask(browser, NAMES);
  assert.equal(without.status, 403, JSON.stringify(without));
  const csrf = { "x-csrf-token": known.csrfToken };
  const answer = await ask(browser, NAMES, csrf);
  assert.equal(answer.errors, undefined, JSON.stringify(answer));
  assert.ok(answer.data.datasets.length > 0);
  const key = await ask(browser, 'mutation { createKey(subject: "k", roles: [READER]) { secret } }', csrf);
  assert.match(key.errors[0].message, /outlive/);
  // Who is less may less.
  const other = new Browser();
  await logIn(other, "grace");
  const less = await me(other);
  assert.deepEqual(less.roles, ["reader"]);
  const refused = await ask(other, 'mutation { createKey(subject: "k", roles: [READER]) { secret } }', {
    "x-csrf-token": less.csrfToken,
  });
  assert.equal(refused.errors[0].extensions.code, "FORBIDDEN");
});

test("who is nobody here is told so", async () => {
  const browser = new Browser();
  const page = await logIn(browser, "mallory");
  assert.equal(page.status, 403);
  assert.match(page.text, /claim roles/);
  assert.equal((await me(browser)).status, 401);
});

test("who gives up at the provider is told so", async () => {
  const browser = new Browser();
  const page = await browser.open(`${site}/auth/login`);
  const cancel = page.text.match(/href="([^"]*abort[^"]*)"/)?.[1];
  assert.ok(cancel, page.text);
  const refused = await browser.open(new URL(cancel, page.url).href);
  assert.equal(refused.status, 403, refused.text);
  assert.match(refused.text, /access_denied/);
});

test("a session is renewed while it is used, and what the provider says of somebody then counts", async () => {
  const browser = new Browser();
  await logIn(browser, "grace");
  const { csrfToken } = await me(browser);
  const csrf = { "x-csrf-token": csrfToken };
  const before = provider.refreshed();
  await sleep(ACCESS_SECONDS * 1_000 + 200);
  // A page asks several things at once, all with the cookie of before: the refresh token counts once.
  const answers = await Promise.all(Array.from({ length: 10 }, () => ask(browser, NAMES, csrf)));
  for (const answer of answers) assert.equal(answer.errors, undefined, JSON.stringify(answer));
  assert.equal(provider.refreshed(), before + 1);
  assert.equal((await me(browser)).csrfToken, csrfToken);
  roles.set("grace", ["admins"]);
  await sleep(ACCESS_SECONDS * 1_000 + 200);
  assert.deepEqual((await me(browser)).roles, ["admin"]);
  assert.equal(provider.refreshed(), before + 2);
  roles.set("grace", ["staff"]);
  assert.deepEqual(provider.failed, []);
});

test("a server beside it knows the session", async () => {
  const browser = new Browser();
  await logIn(browser, "ada");
  const { csrfToken } = await me(browser);
  // Cookies are of a host, whatever the port.
  const beside = await serve(await freePort(), "beside");
  const response = await browser.send(`${beside}/auth/me`);
  assert.equal(response.status, 200);
  assert.equal((await response.json()).csrfToken, csrfToken);
});

test("a subscription goes on in a socket of the next session", async () => {
  const browser = new Browser();
  await logIn(browser, "ada");
  const { csrfToken } = await me(browser);
  // As browsers do: the cookie goes with the handshake, and the page says where it is from.
  const of = (origin) =>
    class extends WebSocket {
      constructor(url, protocols) {
        super(url, protocols, { origin, headers: { cookie: browser.jar.getCookieStringSync(site) } });
        this.on("upgrade", (response) => {
          for (const set of response.headers["set-cookie"] ?? []) browser.jar.setCookieSync(set, site);
        });
      }
    };
  const url = `${site.replace("http", "ws")}/graphql`;
  const closed = [];
  const client = createClient({
    url,
    webSocketImpl: of(site),
    retryAttempts: 5,
    shouldRetry: () => true,
    on: { closed: (event) => closed.push(event.code) },
  });
  const events = client.iterate({ query: "subscription { metricsChanged { version } }" });
  const ingest = async (value) => {
    const response = await browser.send(`${site}/v1/ingest/metrics`, {
      method: "POST",
      headers: { "content-type": "application/x-ndjson", "x-csrf-token": csrfToken },
      body: JSON.stringify({ series: "login", at: "2026-01-01T00:00:00Z", value }) + "\n",
    });
    assert.equal(response.status, 200, await response.text());
  };
  const next = events.next();
  const beforehand = Date.now();
  // Until the socket was closed, and is open again.
  while (closed.length === 0) {
    assert.ok(Date.now() - beforehand < 20_000);
    await sleep(100);
  }
  assert.equal(closed[0], 4403);
  for (let value = 0; value < 50; value += 1) {
    await ingest(value);
    const told = await Promise.race([next, sleep(200)]);
    if (told) {
      assert.equal(told.value.errors, undefined, JSON.stringify(told.value));
      break;
    }
    assert.ok(value < 49, "nothing was told");
  }
  await events.return();
  await client.dispose();
  const foreign = createClient({ url, webSocketImpl: of("https://evil.example"), retryAttempts: 0 });
  await assert.rejects(foreign.iterate({ query: "subscription { metricsChanged { version } }" }).next());
});

test("whoever logs out is out, here and at the provider", async () => {
  const browser = new Browser();
  await logIn(browser, "ada");
  const { csrfToken } = await me(browser);
  const thief = new Browser();
  thief.jar = await browser.jar.clone();
  const refused = await browser.send(`${site}/auth/logout`, { method: "POST" });
  assert.equal(refused.status, 403);
  const headers = { "x-csrf-token": csrfToken };
  const out = await browser.send(`${site}/auth/logout`, { method: "POST", headers });
  assert.equal(out.status, 200);
  const { endSessionUrl } = await out.json();
  assert.equal((await me(browser)).status, 401);
  assert.equal((await me(thief)).status, 401);
  // The provider asks whether it is meant, and sends the browser back.
  const page = await browser.open(endSessionUrl);
  const back = await browser.submit(page, { logout: "yes" });
  assert.equal(back.url, `${site}/`, back.text);
  // Who comes again has to say who it is.
  const again = await browser.open(`${site}/auth/login`);
  assert.match(again.text, /name="login"/);
});
