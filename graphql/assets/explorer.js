// Starts GraphiQL on this server: queries over HTTP, subscriptions over SSE, and a first query made
// from the datasets that there are.
"use strict";

const ENDPOINT = "/graphql";

// Who has logged in, and the token that shows the server that a page of its own asks.
let session = {};

function post(params, headers, accept, signal) {
  const own = session.csrfToken ? { "x-csrf-token": session.csrfToken } : {};
  return fetch(ENDPOINT, {
    method: "POST",
    headers: { ...own, ...headers, "content-type": "application/json", accept },
    body: JSON.stringify(params),
    signal,
  });
}

function isSubscription(params, options) {
  const operations = (options?.documentAST?.definitions ?? []).filter(
    (definition) => definition.kind === "OperationDefinition",
  );
  const chosen =
    operations.find((operation) => operation.name?.value === params.operationName) ?? operations[0];
  return chosen?.operation === "subscription";
}

// The events of a text/event-stream, as graphql-sse sends them.
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
      const lines = text.slice(0, end).split("\n");
      text = text.slice(end + 2);
      const field = (name) =>
        lines
          .filter((line) => line.startsWith(`${name}:`))
          .map((line) => line.slice(name.length + 1).trimStart())
          .join("\n");
      if (field("event") === "complete") return;
      if (field("event") === "next") yield JSON.parse(field("data"));
    }
  }
}

async function* subscribe(params, headers) {
  const stop = new AbortController();
  try {
    const response = await post(params, headers, "text/event-stream", stop.signal);
    const isStream = (response.headers.get("content-type") ?? "").startsWith("text/event-stream");
    if (isStream) yield* events(response);
    else yield await response.json();
  } finally {
    stop.abort();
  }
}

async function fetcher(params, options) {
  const headers = options?.headers ?? {};
  if (isSubscription(params, options)) return subscribe(params, headers);
  const response = await post(params, headers, "application/graphql-response+json, application/json;q=0.9");
  return response.json();
}

const SAMPLE_OF_ANY = `# Colonnade: everything is a dataset, every result is a commit.
# Run a query with Ctrl-Enter; the book at the left shows the schema.
query Datasets {
  datasets {
    name
    field
    version
    rows
    description
  }
}
`;

// A page of a dataset's rows, and the subscription to its changes.
function sample(dataset) {
  const shown = dataset.columns
    .filter((column) => !/^(json|bytes|list|vector)/.test(column.type))
    .slice(0, 6);
  const time = dataset.columns.find((column) => column.name === dataset.timeColumn);
  const order = time ? `, orderBy: [{ ${time.field}: DESC }]` : "";
  const fields = shown.map((column) => column.field).join("\n      ");
  const capital = dataset.field[0].toUpperCase() + dataset.field.slice(1);
  return `
# The newest rows of ${dataset.name}, at one version.
query ${capital} {
  ${dataset.field}(first: 10${order}) {
    version
    totalCount
    nodes {
      ${fields}
    }
    pageInfo {
      endCursor
      hasNextPage
    }
  }
}

# Each commit to ${dataset.name}, pushed when it happens.
subscription ${capital}Changed {
  ${dataset.field}Changed {
    version
    previousVersion
    runId
    added {
      count
      nodes(first: 5) {
        ${shown.map((column) => column.field).join("\n        ")}
      }
    }
    removed {
      count
    }
  }
}
`;
}

async function firstQuery() {
  const query = "{ datasets { name field timeColumn rows isQuarantine columns { name field type } } }";
  try {
    const response = await post({ query }, {}, "application/json");
    const datasets = (await response.json()).data.datasets;
    const filled = datasets.filter((d) => !d.isQuarantine && d.name !== "runs" && Number(d.rows) > 0);
    const wanted = ["anomalies", "model_calls", "metrics", "correlations"];
    const chosen = wanted.map((name) => filled.find((d) => d.name === name)).find(Boolean) ?? filled[0];
    return chosen ? SAMPLE_OF_ANY + sample(chosen) : SAMPLE_OF_ANY;
  } catch {
    return SAMPLE_OF_ANY;
  }
}

async function whoIsIt() {
  try {
    const response = await fetch("/auth/me", { headers: { accept: "application/json" } });
    if (response.status === 401) return { canLogIn: true };
    return response.ok ? await response.json() : {};
  } catch {
    return {};
  }
}

async function logOut() {
  const headers = { "x-csrf-token": session.csrfToken };
  const response = await fetch("/auth/logout", { method: "POST", headers });
  const { endSessionUrl } = await response.json();
  location.assign(endSessionUrl ?? "/");
}

// In the place of GraphiQL's name: the way in, or who is in and the way out. Nothing, where nobody logs in.
function logo() {
  if (session.canLogIn) {
    return React.createElement(GraphiQL.Logo, null, React.createElement("a", { href: "/auth/login?to=/" }, "Log in"));
  }
  if (!session.csrfToken) return null;
  const out = React.createElement("button", { type: "button", className: "graphiql-button", onClick: logOut }, "Log out");
  return React.createElement(GraphiQL.Logo, null, `${session.subject} `, out);
}

async function start() {
  session = await whoIsIt();
  return firstQuery();
}

start().then((defaultQuery) => {
  const root = ReactDOM.createRoot(document.getElementById("explorer"));
  root.render(
    React.createElement(GraphiQL, {
      fetcher,
      defaultQuery,
      defaultEditorToolsVisibility: true,
      shouldPersistHeaders: false,
    }, logo()),
  );
});
