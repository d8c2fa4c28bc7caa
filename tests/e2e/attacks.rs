//! Attacks on a GraphQL server, as OWASP's cheat sheet and graphql-armor list them: what whoever tries one is told, how soon, and that
//! the server goes on.

mod wire;

use std::fmt::Write as _;
use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

use crate::harness::{Answer, Server, binary, colonnade, model_calls, ndjson, without_settings};

/// Within this each is answered.
const SOON: Duration = Duration::from_secs(5);
const JSON: &str = "application/json";
const KEY: &str = "a-key-of-this-test-0123456789";
const DATASETS: &str = "{ datasets { name } }";
const COUNT: &str = "query($where: ModelCallsWhere) { modelCalls(where: $where) { totalCount } }";
const MUTATION: &str = "mutation { createDataset(spec: {name: \"planted\", columns: [{name: \"a\", type: \"int64\"}]}) { name } }";
/// What an answer never has: places in our sources, and what a panic says.
const INSIDE: [&str; 6] =
    [".rs:", ".cargo", "panicked", "stack backtrace", "RUST_BACKTRACE", "thread '"];

/// A server with ten rows, the last of which has a long text.
struct Target {
    root: TempDir,
    server: Server,
}

impl Target {
    async fn new(variables: &[(&str, &str)]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let file = tempfile::Builder::new().suffix(".ndjson").tempfile().unwrap();
        let mut rows = model_calls(0, 10);
        rows[9]["model"] = json!(format!("{}!", "a".repeat(50_000)));
        std::fs::write(file.path(), ndjson(&rows)).unwrap();
        let arguments = ["ingest", "model_calls", file.path().to_str().unwrap(), "--json"];
        assert_eq!(colonnade(root.path(), &arguments).await.json()["accepted"], 10);
        let mut command = Command::new(binary());
        command.arg("--data").arg(root.path()).args(["serve", "--listen", "127.0.0.1:0"]);
        without_settings(&mut command);
        command.envs(variables.iter().copied());
        let server = Server::of(command).await.unwrap_or_else(|log| panic!("{log}"));
        Self { root, server }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.server.client.request(method, self.server.url(path))
    }

    /// A POST of this body that says that it is JSON.
    fn post(&self, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.request(Method::POST, "/graphql").header("content-type", JSON).body(body)
    }

    fn get(&self, query: &str) -> RequestBuilder {
        self.request(Method::GET, &format!("/graphql?query={}", percent(query)))
    }

    /// The answer, which comes soon and tells nothing of the inside.
    async fn send(&self, request: RequestBuilder) -> Answer {
        let sent = async { Answer::of(request.send().await.unwrap()).await };
        let sent = timeout(SOON, sent).await;
        let answer = sent.unwrap_or_else(|_| panic!("no answer within {SOON:?}"));
        self.tells_nothing(&answer.body.to_string());
        answer
    }

    fn tells_nothing(&self, text: &str) {
        let root = self.root.path().to_str().unwrap();
        for inside in INSIDE.into_iter().chain([root]) {
            assert!(!text.contains(inside), "{inside:?} in {text}");
        }
    }

    async fn ask(&self, query: &str, variables: Value) -> Answer {
        self.send(self.post(json!({"query": query, "variables": variables}).to_string())).await
    }

    /// Asserts that an ordinary query is answered, and that nothing was changed.
    async fn goes_on(&self) {
        let query = "{ datasets { name } modelCalls(first: 1) { totalCount } }";
        let request = self.post(json!({ "query": query }).to_string());
        let answer = self.send(request.header("x-api-key", KEY)).await;
        let expected =
            json!({"datasets": [{"name": "model_calls"}], "modelCalls": {"totalCount": "10"}});
        assert_eq!(answer.body["data"], expected, "{answer:?}");
    }
}

fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |mut all, byte| {
        write!(all, "%{byte:02x}").unwrap();
        all
    })
}

/// Asserts a refusal with this status, code, and these parts of a message.
fn refused(what: &str, answer: &Answer, status: u16, code: &str, parts: &[&str]) {
    let error = &answer.body["errors"][0];
    let message = error["message"].as_str().unwrap_or_default();
    assert_eq!(answer.status, status, "{what}: {answer:?}");
    assert_eq!(error["extensions"]["code"], code, "{what}: {answer:?}");
    for part in parts {
        assert!(message.contains(part), "{what}: expected {part:?} in: {message}");
    }
}

/// So many fields or fragments, each made of its number.
fn many(count: usize, each: impl Fn(usize) -> String) -> String {
    (0..count).map(each).collect::<Vec<_>>().join(" ")
}

/// Fragments of which each has the next so many times.
fn fragments(count: usize, times: usize, of: &str, end: &str) -> String {
    let each =
        |n| format!("fragment f{n} on {of} {{ {} }}", format!("...f{} ", n + 1).repeat(times));
    format!("{} fragment f{count} on {of} {{ {end} }}", many(count, each))
}

#[tokio::test]
async fn a_document_that_is_large_or_unfolds_is_refused_with_its_limit() {
    let target = Target::new(&[]).await;
    let ids = |count| many(count, |n| format!("a{n}: id"));
    let nodes = |first: usize, fields: &str| {
        format!("{{ modelCalls(first: {first}) {{ nodes {{ {fields} }} }} }}")
    };
    let include =
        |count| format!("{{ datasets {} {{ name }} }}", "@include(if: true) ".repeat(count));
    let types = format!("{}name{}", "fields { type { ".repeat(8), "} }".repeat(8));
    let cases = [
        ("aliases at the root", format!("{{ {} }}", many(1_000, |n| format!("a{n}: datasets {{ name }}"))), 413, "LIMIT_EXCEEDED", ["fields at the root", "20"]),
        ("the same field at the root", format!("{{ {} }}", "__typename ".repeat(5_000)), 413, "LIMIT_EXCEEDED", ["fields at the root", "20"]),
        ("aliases", nodes(1_000, &ids(1_000)), 413, "LIMIT_EXCEEDED", ["cost of the query", "250000"]),
        ("breadth", nodes(100, &ids(2_600)), 413, "LIMIT_EXCEEDED", ["cost of the query", "250000"]),
        ("the same field", nodes(100, &"id ".repeat(5_000)), 413, "LIMIT_EXCEEDED", ["cost of the query", "250000"]),
        ("a page of too many rows", nodes(1_001, "id"), 200, "LIMIT_EXCEEDED", ["first", "1000"]),
        ("a page of very many rows", nodes(100_000_000, "id"), 413, "LIMIT_EXCEEDED", ["cost of the query", "250000"]),
        ("depth", format!("{{ __schema {{ types {{ {types} }} }} }}"), 413, "LIMIT_EXCEEDED", ["depth of the query", "16"]),
        ("nesting", format!("{}{}", "{ a".repeat(500), "}".repeat(500)), 413, "LIMIT_EXCEEDED", ["nesting of the document", "64"]),
        ("inline fragments", format!("{{ {} a {} }}", "... {".repeat(500), "}".repeat(500)), 413, "LIMIT_EXCEEDED", ["nesting of the document", "64"]),
        ("tokens", format!("{{ {} }}", "a ".repeat(20_000)), 413, "LIMIT_EXCEEDED", ["tokens of the document", "10000"]),
        ("directives", include(1_000), 200, "BAD_INPUT", ["number of directives", "8"]),
        ("many directives", include(3_000), 413, "LIMIT_EXCEEDED", ["tokens of the document", "10000"]),
        ("directives that are none", format!("{{ datasets {} {{ name }} }}", "@a ".repeat(4_000)), 200, "BAD_INPUT", ["number of directives", "8"]),
        ("a fragment in itself", "{ ...a } fragment a on Query { ...a }".to_owned(), 200, "BAD_INPUT", ["fragment a", "contains itself"]),
        ("fragments in each other", "{ ...a } fragment a on Query { ...b } fragment b on Query { ...c } fragment c on Query { ...a }".to_owned(), 200, "BAD_INPUT", ["fragment a", "contains itself"]),
        ("fragments in each other's fields", "{ datasets { ...a } } fragment a on Dataset { columns { ...b } } fragment b on DatasetColumn { field ...a }".to_owned(), 200, "BAD_INPUT", ["fragment a", "contains itself"]),
        ("fragments in each other that nobody uses", "{ datasets { name } } fragment a on Query { ...b } fragment b on Query { ...a }".to_owned(), 200, "BAD_INPUT", ["fragment", "contains itself"]),
        ("fragments that unfold in a page of no rows", format!("{{ modelCalls(first: 0) {{ nodes {{ ...f0 }} }} }} {}", fragments(40, 2, "ModelCallsRow", "id")), 413, "LIMIT_EXCEEDED", ["fields and values of all operations", "250000"]),
        ("a chain of fragments", format!("{{ ...f0 }} {}", fragments(500, 1, "Query", "datasets { name }")), 200, "BAD_INPUT", ["recursion depth", "64"]),
        ("a long chain of fragments", format!("{{ ...f0 }} {}", fragments(1_500, 1, "Query", "datasets { name }")), 413, "LIMIT_EXCEEDED", ["tokens of the document", "10000"]),
        ("fragments that unfold at the root", format!("{{ ...f0 }} {}", fragments(40, 2, "Query", "datasets { name }")), 413, "LIMIT_EXCEEDED", ["fields at the root", "20"]),
        ("fragments that unfold", format!("{{ datasets {{ ...f0 }} }} {}", fragments(40, 2, "Dataset", "name")), 413, "LIMIT_EXCEEDED", ["cost of the query", "250000"]),
        ("operations of which none is named", many(1_200, |n| format!("query A{n} {DATASETS}")), 200, "BAD_INPUT", ["1200 operations", "operationName"]),
    ];
    for (what, query, status, code, parts) in cases {
        refused(what, &target.ask(&query, json!({})).await, status, code, &parts);
    }
    // What says one thing often and comes to little is answered once.
    for query in [
        format!("{{ modelCalls(first: 1) {{ {} }} }}", "totalCount ".repeat(5_000)),
        format!("{{ {} }}", "modelCalls(first: 1) { totalCount } ".repeat(20)),
    ] {
        let answer = target.ask(&query, json!({})).await;
        assert_eq!(answer.body["data"], json!({"modelCalls": {"totalCount": "10"}}), "{answer:?}");
    }
    target.goes_on().await;
}

/// Two of them would otherwise hold both cores for ever: validation looks at all of a document.
#[tokio::test]
async fn an_operation_that_is_not_asked_for_unfolds_no_more_than_one_that_is() {
    let target = Target::new(&[("COLONNADE_LIMITS_OPERATION_TIME_MAX", "2s")]).await;
    for (root, of, end) in [
        ("...f0", "Query", "datasets { name }"),
        ("datasets { ...f0 }", "Dataset", "name"),
        ("__schema { types { ...f0 } }", "__Type", "name"),
    ] {
        let all = fragments(40, 2, of, end);
        let query = format!("query A {DATASETS} query B {{ {root} }} {all}");
        let body = json!({"query": query, "operationName": "A"}).to_string();
        let answer = target.send(target.post(body)).await;
        assert_ne!(answer.body["errors"][0]["extensions"]["code"], "TIMEOUT", "{root}: {answer:?}");
        target.goes_on().await;
    }
}

/// A condition that asks for nothing is read, copied and dropped as often as one that asks for something.
#[tokio::test]
async fn conditions_that_ask_for_nothing_are_bounded_like_others() {
    let target = Target::new(&[("COLONNADE_LIMITS_OPERATION_TIME_MAX", "2s")]).await;
    let uses = "{or: $any} ".repeat(30);
    let query = format!(
        "query($any: [ModelCallsWhere!]) {{ modelCalls(where: {{or: [{uses}]}}) {{ totalCount }} }}"
    );
    for nothing in [json!({}), json!({"and": []}), json!({"id": null})] {
        let answer = target.ask(&query, json!({"any": vec![&nothing; 10_000]})).await;
        refused(&nothing.to_string(), &answer, answer.status, "LIMIT_EXCEEDED", &["limit is"]);
        target.goes_on().await;
    }
}

#[tokio::test]
async fn an_order_of_very_many_parts_is_refused() {
    let target = Target::new(&[]).await;
    let uses = many(20, |n| format!("a{n}: modelCalls(orderBy: $order) {{ totalCount }}"));
    let query = format!("query($order: [ModelCallsOrderBy!]) {{ {uses} }}");
    let answer = target.ask(&query, json!({"order": vec![json!({"at": "ASC"}); 20_000]})).await;
    refused("orders", &answer, answer.status, "LIMIT_EXCEEDED", &["limit is"]);
    target.goes_on().await;
}

#[tokio::test]
async fn a_body_that_is_no_single_request_is_refused_by_what_it_is() {
    let target = Target::new(&[]).await;
    let deep = |open: &str, close: &str| {
        let (open, close) = (open.repeat(100_000), close.repeat(100_000));
        format!("{{\"query\": \"{DATASETS}\", \"variables\": {{\"a\": {open}1{close}}}}}")
    };
    let one = json!({ "query": DATASETS }).to_string();
    for (what, body, status, code, parts) in [
        ("a batch", format!("[{one}, {one}]"), 400, "BAD_INPUT", ["list", "batches are not taken"]),
        (
            "a batch behind blanks",
            format!(" \n[{one}]"),
            400,
            "BAD_INPUT",
            ["list", "batches are not taken"],
        ),
        (
            "too many bytes",
            format!("{one}{}", " ".repeat(2 << 20)),
            413,
            "LIMIT_EXCEEDED",
            ["bytes of the request", "1048576"],
        ),
        ("nested lists", deep("[", "]"), 400, "BAD_INPUT", ["recursion limit", "column"]),
        ("nested objects", deep("{\"a\":", "}"), 400, "BAD_INPUT", ["recursion limit", "column"]),
        (
            "nested extensions",
            deep("[", "]").replace("variables", "extensions"),
            400,
            "BAD_INPUT",
            ["recursion limit", "column"],
        ),
        ("brackets without an end", "{\"a\":".repeat(150_000), 400, "BAD_INPUT", ["EOF", "column"]),
        (
            "two queries",
            format!("{{\"query\": \"{DATASETS}\", \"query\": \"{DATASETS}\"}}"),
            400,
            "BAD_INPUT",
            ["duplicate field", "query"],
        ),
        (
            "two sets of variables",
            format!("{{\"query\": \"{DATASETS}\", \"variables\": {{}}, \"variables\": {{}}}}"),
            400,
            "BAD_INPUT",
            ["duplicate field", "variables"],
        ),
        (
            "two requests",
            format!("{one} {one}"),
            400,
            "BAD_INPUT",
            ["trailing characters", "column"],
        ),
        (
            "a hash for a query",
            json!({"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "00"}}})
                .to_string(),
            404,
            "NOT_FOUND",
            ["PersistedQuery", "NotFound"],
        ),
        (
            "a lone surrogate",
            r#"{"query": "{ a }", "variables": {"a": "\ud800"}}"#.to_owned(),
            400,
            "BAD_INPUT",
            ["hex escape", "column"],
        ),
        (
            "a null byte as it is",
            "{\"query\": \"{ a }\0\"}".to_owned(),
            400,
            "BAD_INPUT",
            ["control character", "column"],
        ),
        (
            "a number that none is",
            format!("{{\"query\": \"{DATASETS}\", \"variables\": {{\"a\": 1e400}}}}"),
            400,
            "BAD_INPUT",
            ["number out of range", "column"],
        ),
    ] {
        refused(what, &target.send(target.post(body)).await, status, code, &parts);
    }
    let answer = target.send(target.post(b"{\"query\": \"{ a }\xff\"}".to_vec())).await;
    refused("no UTF-8", &answer, 400, "BAD_INPUT", &["unicode", "column"]);
    let chunks = (0..64).map(|_| Ok::<_, std::io::Error>(vec![b' '; 32 << 10]));
    let body = reqwest::Body::wrap_stream(futures::stream::iter(chunks));
    let answer = target.send(target.post(body)).await;
    refused("chunks without a length", &answer, 413, "LIMIT_EXCEEDED", &["1048576", "more than"]);
    for kind in ["text/xml", "image/png", "application/json+x", "text/plain; application/json", ""]
    {
        let request = target.request(Method::POST, "/graphql").header("content-type", kind);
        let answer = target.send(request.body(one.clone())).await;
        let essence = kind.split(';').next().unwrap();
        refused(kind, &answer, 415, "BAD_INPUT", &["application/json", essence]);
    }
    target.goes_on().await;
}

#[tokio::test]
async fn texts_and_numbers_of_a_request_are_values_and_nothing_else() {
    let target = Target::new(&[]).await;
    // As SQL, as a pattern of LIKE, as a template, or with a null byte: no row has such an id.
    for text in [
        "' OR '1'='1",
        "'; DROP TABLE model_calls; --",
        "\" OR \"\"=\"",
        "x' UNION SELECT 1 --",
        "\\'; --",
        "%",
        "_",
        "$1",
        "call\0",
        "\0",
    ] {
        for operator in ["eq", "in", "contains", "startsWith", "endsWith", "regex"] {
            let value = if operator == "in" { json!([text]) } else { json!(text) };
            // To a regular expression `_` and `$` mean something else; they are no worse for that.
            let answer = target.ask(COUNT, json!({"where": {"id": {operator: value}}})).await;
            assert_eq!(
                answer.body["data"]["modelCalls"]["totalCount"], "0",
                "{text:?} {operator}: {answer:?}"
            );
        }
    }
    let order =
        "query($order: [ModelCallsOrderBy!]) { modelCalls(orderBy: $order) { totalCount } }";
    for (query, variables, named) in [
        (order, json!({"order": [{"id": "ASC; DROP TABLE model_calls"}]}), "DROP TABLE"),
        (order, json!({"order": [{"id; DROP TABLE model_calls": "ASC"}]}), "DROP TABLE"),
        (COUNT, json!({"where": {"id' OR 1=1 --": {"eq": "x"}}}), "OR 1=1"),
        (COUNT, json!({"where": {"inputTokens": {"eq": "1 OR 1=1"}}}), "1 OR 1=1"),
        (COUNT, json!({"where": {"inputTokens": {"eq": 1e20}}}), "64-bit integer"),
        (COUNT, json!({"where": {"inputTokens": {"eq": 1.5}}}), "64-bit integer"),
        ("{ modelCalls(first: 99999999999999999999) { totalCount } }", json!({}), "first"),
        ("{ modelCalls(first: -1) { totalCount } }", json!({}), "0 or more"),
        (
            "{ modelCalls(where: {latencyMs: {gt: 1e400}}) { totalCount } }",
            json!({}),
            "number out of range",
        ),
        (
            "{ modelCalls(where: {id: {eq: \"\\ud800\"}}) { totalCount } }",
            json!({}),
            "expected value",
        ),
    ] {
        let answer = target.ask(query, variables.clone()).await;
        refused(&format!("{query} {variables}"), &answer, 200, "BAD_INPUT", &[named]);
    }
    target.goes_on().await;
}

#[tokio::test]
async fn a_regular_expression_takes_time_in_proportion_or_is_refused() {
    let target = Target::new(&[]).await;
    let model = |pattern: &str| json!({"where": {"model": {"regex": pattern}}});
    // A row has 50,000 letters that these are tried at.
    for pattern in ["^(a+)+$", "^(a|a)*$", "^((a*)*)*b$", "^(a|aa)+$", "(.*)*x", "(a?){50}a{50}b"] {
        let answer = target.ask(COUNT, model(pattern)).await;
        assert_eq!(answer.body["data"]["modelCalls"]["totalCount"], "0", "{pattern}: {answer:?}");
    }
    for (pattern, code, named) in [
        ("a{1000000}".to_owned(), "LIMIT_EXCEEDED", "1048576"),
        ("((a{100}){100}){100}".to_owned(), "LIMIT_EXCEEDED", "1048576"),
        ("\\p{L}{1000}".to_owned(), "LIMIT_EXCEEDED", "1048576"),
        ("a".repeat(1_025), "LIMIT_EXCEEDED", "the limit is 1024"),
        (format!("{}a{}", "(".repeat(500), ")".repeat(500)), "BAD_INPUT", "nest"),
        ("(?=a)a".to_owned(), "BAD_INPUT", "look-around"),
        ("(a)\\1".to_owned(), "BAD_INPUT", "backreferences"),
        ("((((".to_owned(), "BAD_INPUT", "unclosed group"),
    ] {
        let answer = target.ask(COUNT, model(&pattern)).await;
        refused(&pattern, &answer, 200, code, &["where.model.regex", named]);
    }
    let any: Vec<Value> = (0..17).map(|n| json!({"id": {"regex": format!("a{n}")}})).collect();
    let answer = target.ask(COUNT, json!({"where": {"or": any}})).await;
    refused("many of them", &answer, 200, "LIMIT_EXCEEDED", &["regular expressions", "16", "17"]);
    target.goes_on().await;
}

#[tokio::test]
async fn a_schema_that_is_kept_back_is_told_by_no_way() {
    let off =
        [("COLONNADE_LIMITS_INTROSPECTION", "false"), ("COLONNADE_LIMITS_SUGGESTIONS", "false")];
    let target = Target::new(&off).await;
    for (query, named) in [
        ("{ __schema { queryType { name } } }", "__schema"),
        ("{ a: __schema { types { name } } }", "__schema"),
        (
            "{ ...f } fragment f on Query { ... on Query { __schema { types { name } } } }",
            "__schema",
        ),
        ("{ __schema\n{ types { name } } }", "__schema"),
        ("{ __type(name: \"ModelCallsRow\") { fields { name } } }", "__type"),
        ("mutation { __schema { types { name } } }", "__schema"),
        ("{ _service { sdl } }", "_service"),
        ("{ datasetz { name } }", "datasetz"),
        ("{ modelCalls(frst: 1) { totalCount } }", "frst"),
        ("{ modelCalls(where: {idd: {eq: \"a\"}}) { totalCount } }", "idd"),
        ("{ modelCalls(where: {id: {eqq: \"a\"}}) { totalCount } }", "eqq"),
        ("{ modelCalls(orderBy: [{id: ASCC}]) { totalCount } }", "ASCC"),
        ("{ modelCalls { nodes { modell } } }", "modell"),
        ("{ ... on Querry { datasets { name } } }", "Querry"),
        ("{ datasets @skp(if: true) { name } }", "skp"),
        ("query($a: ModelCallsWher) { modelCalls(where: $a) { totalCount } }", "ModelCallsWher"),
        ("mutation { creatDataset { name } }", "creatDataset"),
    ] {
        let by_post = target.ask(query, json!({})).await;
        refused(query, &by_post, 200, "BAD_INPUT", &[named]);
        assert!(!by_post.body.to_string().to_lowercase().contains("did you mean"), "{by_post:?}");
        if !query.starts_with("mutation") {
            refused(query, &target.send(target.get(query)).await, 200, "BAD_INPUT", &[named]);
        }
    }
    target.goes_on().await;
}

#[tokio::test]
async fn an_error_tells_nothing_of_the_inside() {
    let target = Target::new(&[]).await;
    for path in
        ["/no-such-path", "/.env", "/..%2f..%2fetc%2fpasswd", "/v1/ingest/..%2f..%2fetc", "/%00"]
    {
        for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::TRACE] {
            let answer = target.send(target.request(method, path)).await;
            assert!([400, 404, 405, 415].contains(&answer.status), "{path}: {answer:?}");
        }
    }
    let answer = target.request(Method::GET, "/healthz").send().await.unwrap();
    for header in ["server", "x-powered-by", "via"] {
        assert!(!answer.headers().contains_key(header), "{answer:?}");
    }
    target.goes_on().await;
    // Damage is told by the dataset's name; `send` looks for the folder that it is in.
    let folder = target.root.path().join("default/model_calls");
    let mut folders = vec![folder.clone()];
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            match path.extension() {
                _ if path.is_dir() => folders.push(path),
                Some(end) if end == "parquet" => std::fs::write(path, "no Parquet").unwrap(),
                _ => {}
            }
        }
    }
    let rows = "{ modelCalls(first: 1) { nodes { id } } }";
    let answer = target.ask(rows, json!({})).await;
    assert!(answer.body["errors"][0]["message"].to_string().contains("model_calls"), "{answer:?}");
    std::fs::remove_dir_all(folder.join("_delta_log")).unwrap();
    for _ in 0..2 {
        target.ask(rows, json!({})).await;
        let row = ndjson(&model_calls(20, 1));
        let answer = target.server.ingest("model_calls", "application/x-ndjson", row).await;
        answer.refused_with(503, "STORAGE_UNAVAILABLE");
        target.tells_nothing(&answer.body.to_string());
    }
    target.server.is_alive().await;
}
