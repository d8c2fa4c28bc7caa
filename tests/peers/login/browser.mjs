// As much of a browser as a login needs: a cookie jar (`tough-cookie`), redirects, and forms that are sent.

import assert from "node:assert/strict";
import { CookieJar } from "tough-cookie";

const HOPS_MAX = 20;

export class Browser {
  jar = new CookieJar();

  /** One request, with the cookies that its address is given. */
  async send(url, options = {}) {
    const cookie = await this.jar.getCookieString(url);
    const headers = { ...options.headers, ...(cookie ? { cookie } : {}) };
    const response = await fetch(url, { ...options, headers, redirect: "manual" });
    for (const set of response.headers.getSetCookie()) await this.jar.setCookie(set, url);
    return response;
  }

  /** A page, wherever it leads. */
  async open(url, options = {}) {
    for (let hop = 0; hop < HOPS_MAX; hop += 1) {
      const response = await this.send(url, options);
      const to = response.headers.get("location");
      if (!to) return { url, status: response.status, text: await response.text() };
      url = new URL(to, url).href;
      options = {};
    }
    assert.fail(`more than ${HOPS_MAX} redirects, at last to ${url}`);
  }

  /** Sends the form of a page, its hidden fields and these. */
  async submit(page, fields) {
    const action = page.text.match(/<form[^>]*action="([^"]+)"/)?.[1];
    assert.ok(action, `a page with a form: ${page.url} ${page.text}`);
    const hidden = [...page.text.matchAll(/<input[^>]*type="hidden"[^>]*>/g)].map(([input]) => [
      input.match(/name="([^"]*)"/)[1],
      input.match(/value="([^"]*)"/)?.[1] ?? "",
    ]);
    const body = new URLSearchParams({ ...Object.fromEntries(hidden), ...fields });
    return this.open(new URL(action, page.url).href, { method: "POST", body });
  }
}
