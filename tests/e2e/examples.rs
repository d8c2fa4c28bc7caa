//! Every example of every page, as a reader would type it: those that answer, and those that are refused.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{PATIENCE, Server, Subscriber, binary, colonnade, without_settings};
use crate::{made, messy};

mod operations;

/// What a terminal shows that listens.
const EVENTS: &str = "events.txt";

/// One fenced block of a page.
struct Example {
    /// `docs/triage.md:18`
    place: String,
    language: String,
    text: String,
}

fn examples(page: &str) -> Vec<Example> {
    let text = std::fs::read_to_string(format!("../{page}")).unwrap();
    let mut found: Vec<Example> = Vec::new();
    let mut is_open = false;
    for (number, line) in text.lines().enumerate() {
        match line.strip_prefix("```") {
            Some(_) if is_open => is_open = false,
            Some(language) => {
                let place = format!("{page}:{}", number + 1);
                found.push(Example { place, language: language.to_owned(), text: String::new() });
                is_open = true;
            }
            None if is_open => {
                let example = found.last_mut().unwrap();
                example.text.push_str(line);
                example.text.push('\n');
            }
            None => {}
        }
    }
    assert!(!is_open, "{page}: a block does not end");
    found
}

/// Somebody who goes through a page from top to bottom, in a folder of their own.
struct Reader {
    folder: tempfile::TempDir,
    server: Option<Server>,
    /// The run that was last asked for, which `…` stands for.
    run: String,
    /// Which examples are refused, by a part of them, and a part of what they are told.
    refused: &'static [(&'static str, &'static str)],
    /// What is written otherwise here, and how: no model can be pulled.
    otherwise: &'static [(&'static str, &'static str)],
}

impl Reader {
    fn new(
        refused: &'static [(&'static str, &'static str)],
        otherwise: &'static [(&'static str, &'static str)],
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, server: None, run: String::new(), refused, otherwise }
    }

    /// Where `colonnade` keeps its data when it is not told.
    fn root(&self) -> PathBuf {
        self.folder.path().join("colonnade-data")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn read(&mut self, page: &str) {
        for example in examples(page) {
            let mut text = example.text;
            for (from, to) in self.otherwise {
                text = text.replace(from, to);
            }
            match example.language.as_str() {
                "sql" => self.asks(&example.place, &text).await,
                "graphql" => {
                    for document in documents(&text) {
                        self.queries(&example.place, &document).await;
                    }
                }
                "sh" | "console" => {
                    for line in commands(&text, example.language == "console") {
                        self.types(&example.place, &line).await;
                    }
                }
                "toml" => self.sets(&example.place, &text).await,
                // What is printed, pictures, and parts of an answer.
                "text" | "json" => {}
                // `make test-recipes` and `make python` try these.
                "python" => {}
                other => panic!("{}: how is `{other}` tried?", example.place),
            }
        }
    }

    async fn asks(&mut self, place: &str, query: &str) {
        let answer = colonnade(&self.root(), &["sql", query, "--format", "json"]).await.json();
        assert!(!answer.as_array().unwrap().is_empty(), "{place}: no rows:\n{query}");
    }

    async fn sets(&mut self, place: &str, text: &str) {
        self.stops_the_server().await;
        if text.starts_with("name = ") {
            // A spec.
            std::fs::write(self.file("spec.toml"), text).unwrap();
            self.types(place, "colonnade ingest orders orders.csv --spec spec.toml").await;
            return;
        }
        if text.starts_with("[load]") {
            // Part of a spec, which a test in `datasets` parses.
            return;
        }
        if text.starts_with("title = ") {
            // The template of a report.
            std::fs::write(self.file("costs.toml"), text).unwrap();
            self.types(place, "colonnade report costs.toml --to of-a-team.html").await;
            return;
        }
        if let Some(file) = text.lines().next().and_then(|line| line.strip_prefix("# pipelines/")) {
            std::fs::create_dir_all(self.file("pipelines")).unwrap();
            std::fs::write(self.file("pipelines").join(file), text).unwrap();
            self.types(place, &format!("colonnade pipeline apply --check pipelines/{file}")).await;
            return;
        }
        for file in ["alerts.toml", "features.toml", "metrics.toml", "targets.toml"] {
            if text.starts_with(&format!("# {file}")) {
                std::fs::write(self.file(file), text).unwrap();
                return;
            }
        }
        std::fs::write(self.file("colonnade.toml"), text).unwrap();
        self.types(place, "colonnade config").await;
        std::fs::remove_file(self.file("colonnade.toml")).unwrap();
    }

    /// A command of a shell.
    async fn types(&mut self, place: &str, line: &str) {
        let is_elsewhere = ["make ", "colonnade models pull", "colonnade serve"]
            .iter()
            .any(|begin| line.starts_with(begin));
        if is_elsewhere {
            return;
        }
        let mut line = line.to_owned();
        let listens = line.contains("text/event-stream");
        if line.starts_with("curl") {
            let server = self.served().await;
            line = line.replace("127.0.0.1:8642", &server.address);
            if listens {
                // In a terminal of its own: it goes on for ever.
                line = format!("({line}) > {EVENTS} 2>&1 &");
            }
        } else if line.starts_with("colonnade") {
            self.stops_the_server().await;
        }
        let expected = self.refusal(&line);
        let folder = self.folder.path();
        let mut command = Command::new("bash");
        let path = std::env::var("PATH").unwrap();
        let programs = binary().parent().unwrap().to_str().unwrap().to_owned();
        // A variable of one line is there in the next.
        let variables = std::fs::read_to_string(self.file("variables")).unwrap_or_default();
        if line.starts_with("row=") {
            std::fs::write(self.file("variables"), format!("{variables}{line}\n")).unwrap();
        }
        command.arg("-c").arg(format!("{variables}{line}")).current_dir(folder);
        without_settings(&mut command);
        command
            .env("PATH", format!("{programs}:{path}"))
            .env("COLONNADE_MODELS", folder.join("models"))
            .stdin(Stdio::null());
        let outcome = command.output().await.unwrap();
        let says = String::from_utf8_lossy(&outcome.stdout).into_owned()
            + &String::from_utf8_lossy(&outcome.stderr);
        match expected {
            Some(expected) => {
                assert!(
                    !outcome.status.success() && says.contains(expected),
                    "{place}: {line}\n{says}"
                );
            }
            None => assert!(outcome.status.success(), "{place}: {line}\n{says}"),
        }
        if listens {
            let server = self.served().await;
            until(async || {
                let metrics = server.client.get(server.url("/metrics")).send().await.unwrap();
                metrics.text().await.unwrap().contains("colonnade_subscriptions_open 1")
            })
            .await;
        }
    }

    /// A GraphQL document.
    async fn queries(&mut self, place: &str, document: &str) {
        let document = document.replace('…', &self.run);
        let expected = self.refusal(&document);
        if document.starts_with("subscription") {
            return self.subscribes(place, &document, expected).await;
        }
        let server = self.served().await;
        let answer = server.graphql(&document, json!({})).await;
        let shown = || format!("{place}: {document}\n{answer:?}");
        let run = &answer.body["data"]["runJob"];
        match expected {
            // A run that fails is no failure of the question; one that can't begin is.
            Some(expected) => {
                let asked = &answer.body["errors"][0];
                let error = if asked.is_null() { &run["error"] } else { asked };
                assert!(error["message"].as_str().unwrap().contains(expected), "{}", shown());
                assert_ne!(error["extensions"]["code"], "INTERNAL", "{}", shown());
                assert!(run.is_null() || run.get("summary") == Some(&Value::Null), "{}", shown());
            }
            None => {
                assert!(
                    answer.body.get("errors").is_none() && run["error"].is_null(),
                    "{}",
                    shown()
                );
                assert!(run.get("summary") != Some(&Value::Null), "{}", shown());
                assert_ne!(answer.body["data"]["ordersDelete"]["rows"], "0", "{}", shown());
            }
        }
        if let Some(id) = run["id"].as_str() {
            self.run = id.to_owned();
        }
    }

    async fn subscribes(&mut self, place: &str, document: &str, expected: Option<&str>) {
        let field = document.split(['{', '(']).nth(1).unwrap().trim().to_owned();
        let server = self.served().await;
        let mut subscriber = Subscriber::open(server, &field, document).await;
        loop {
            let message = subscriber.receive().await;
            assert_eq!(message["type"], "next", "{place}: {message}");
            assert!(message["payload"].get("errors").is_none(), "{place}: {message}");
            let body = &message["payload"]["data"][&field];
            // A key that was asked for is always there.
            assert!(field != "runUpdates" || body.get("summary").is_some(), "{place}: {message}");
            match body["state"].as_str() {
                Some("QUEUED" | "RUNNING") => {}
                Some("SUCCEEDED") => return assert_eq!(expected, None, "{place}: {message}"),
                Some("FAILED") => {
                    let says = body["error"]["message"].as_str().unwrap();
                    let expected = expected.unwrap_or_else(|| panic!("{place}: {message}"));
                    return assert!(says.contains(expected), "{place}: {message}");
                }
                Some(other) => panic!("{place}: {other}"),
                None => return,
            }
        }
    }

    fn refusal(&self, text: &str) -> Option<&'static str> {
        self.refused.iter().find(|(part, _)| text.contains(part)).map(|(_, says)| *says)
    }

    async fn served(&mut self) -> &Server {
        if self.server.is_none() {
            let root = self.root();
            self.server = Some(Server::start(&root).await);
        }
        self.server.as_ref().unwrap()
    }

    async fn stops_the_server(&mut self) {
        if let Some(server) = self.server.take() {
            if self.file(EVENTS).exists() {
                let events = || std::fs::read_to_string(self.file(EVENTS)).unwrap();
                until(async || events().contains("event: next\ndata: {\"data\"")).await;
                std::fs::remove_file(self.file(EVENTS)).unwrap();
            }
            assert!(server.stop().await.success());
        }
    }
}

async fn until(is_so: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The documents of a block: one ends where its brackets do.
fn documents(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let (mut document, mut depth) = (String::new(), 0);
    for letter in text.chars() {
        document.push(letter);
        match letter {
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                if depth == 0 {
                    found.push(std::mem::take(&mut document).trim().to_owned());
                }
            }
            _ => {}
        }
    }
    assert!(document.trim().is_empty(), "what is {document}?");
    found
}

/// The commands of a block: with prompts those behind them, and what an answer shows is not one.
fn commands(text: &str, with_prompts: bool) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in text.lines() {
        let begins = if with_prompts { line.strip_prefix("$ ") } else { Some(line) };
        let is_open = |command: &String| command.matches('\'').count() % 2 == 1;
        if goes_on || found.last().is_some_and(is_open) {
            let command = found.last_mut().unwrap();
            command.push('\n');
            command.push_str(line);
        } else if let Some(command) = begins {
            found.push(command.to_owned());
        } else {
            continue;
        }
        goes_on = line.ends_with('\\');
    }
    found
}

#[tokio::test]
async fn the_examples_of_the_readme_and_of_the_pages_on_queries_answer() {
    let mut reader = Reader::new(
        &[],
        &[("colonnade run embed ", "colonnade run embed --param embedder=ngram ")],
    );
    let demo = ["demo", "--rows", "100000", "--gpu", "off", "--no-serve", "--json"];
    assert!(colonnade(&reader.root(), &demo).await.status.success());
    std::fs::write(reader.file("train.csv"), made::tickets()).unwrap();
    made::write_orders(&reader.file("orders.parquet"));
    reader.read("docs/sql.md").await;
    reader.read("docs/queries.md").await;
    reader.read("docs/exports.md").await;
    reader.read("docs/flight.md").await;
    reader.read("docs/reports.md").await;
    reader.read("docs/without-us.md").await;
    reader.read("README.md").await;
}

#[tokio::test]
async fn the_examples_of_the_page_on_triage_answer_or_say_why_not() {
    let mut reader = Reader::new(
        &[("\"previous\"", "no version of triage was promoted before")],
        &[
            ("method: \"head\"", "method: \"head\", embedder: \"ngram\""),
            ("corrections: ", "embedder: \"ngram\", corrections: "),
        ],
    );
    reader.has_tickets().await;
    reader.read("docs/triage.md").await;
    // Runs that failed have no summary, and most steps no facts.
    let query = "{ runs { state summary stages { name facts } error { code } } }";
    let runs = reader.served().await.data(query).await;
    let with =
        |state| runs["runs"].as_array().unwrap().iter().filter(move |run| run["state"] == state);
    assert!(with("FAILED").count() == 1 && with("SUCCEEDED").count() >= 3, "{runs}");
    assert!(with("FAILED").all(|run| run["summary"].is_null()), "{runs}");
}

#[tokio::test]
async fn the_examples_of_the_page_on_embedding_answer_or_say_why_not() {
    // No model can be pulled here, and hashed n-grams learn nothing.
    let mut reader = Reader::new(
        &[
            ("embedder: \"all-MiniLM-L6-v2\"", "models pull"),
            ("runUpdates", "more pairs"),
            ("model: \"embedder\"", "made by embedder_train or triage_train"),
            ("embedder@production", "made by"),
        ],
        &[],
    );
    reader.has_tickets().await;
    reader.types("setup", "colonnade run embed --param embedder=ngram").await;
    reader.read("docs/embedding.md").await;
}

#[tokio::test]
async fn the_examples_of_the_page_on_duplicates_answer() {
    let mut reader = Reader::new(&[], &[("run embed ", "run embed --param embedder=ngram ")]);
    reader.has_tickets().await;
    made::write_people(&reader.file("people.csv"));
    reader.types("setup", "colonnade ingest people people.csv").await;
    made::write_shops(&reader.file("products.csv"), &reader.file("judged.csv"));
    reader.types("setup", "colonnade ingest products products.csv --create --key id").await;
    reader.types("setup", "colonnade ingest judged judged.csv --create").await;
    reader.read("docs/duplicates.md").await;
}

#[tokio::test]
async fn the_examples_of_the_page_on_forecasts_answer() {
    let mut reader = Reader::new(&[], &[]);
    for (file, rows, more) in [
        ("requests", made::hours(), "--create"),
        ("metrics", made::samples(), ""),
        ("tickets_opened", made::opened(), "--create"),
    ] {
        std::fs::write(reader.file(&format!("{file}.csv")), rows).unwrap();
        let line = format!("colonnade ingest {file} {file}.csv {more}");
        reader.types("setup", line.trim_end()).await;
    }
    reader.read("docs/forecast.md").await;
    reader.read("docs/trends.md").await;
    reader.read("docs/anomalies.md").await;
    reader.read("docs/correlate.md").await;
}

#[tokio::test]
async fn intervals_of_the_calendar_are_inferred_and_stated() {
    let mut reader = Reader::new(&[], &[]);
    for (name, rows) in [("sales", made::months()), ("prices", made::business_days())] {
        std::fs::write(reader.file(&format!("{name}.csv")), rows).unwrap();
        let line = format!("colonnade ingest {name} {name}.csv --create");
        reader.types("setup", &line).await;
    }
    reader.read("docs/intervals.md").await;
}

#[tokio::test]
async fn a_file_becomes_metrics_and_an_insight_that_says_what_was_wrong() {
    let mut reader = Reader::new(&[], &[]);
    std::fs::write(reader.file("checkouts.csv"), made::checkouts()).unwrap();
    reader.read("docs/metrics.md").await;
    let query = "{ insights(orderBy: [{rank: ASC}], first: 1) { nodes { kind subject headline startedAt } } }";
    let first = reader.served().await.data(query).await["insights"]["nodes"][0].clone();
    assert_eq!(first["subject"], "error_rate{region=eu}", "{first}");
    assert!(first["startedAt"].as_str().unwrap().starts_with("2026-02-08T"), "{first}");
    let query = "{ alerts { nodes { rule group state } } }";
    let alerts = reader.served().await.data(query).await["alerts"]["nodes"].clone();
    let of_it = json!({ "rule": "insight", "group": "subject=\"error_rate{region=eu}\"", "state": "firing" });
    let alerts = alerts.as_array().unwrap();
    assert!(alerts.contains(&of_it), "{alerts:?}");
    let query = "{ insights(where: {kind: {eq: \"target_miss\"}}) { nodes { subject startedAt headline action } } }";
    let told = reader.served().await.data(query).await["insights"]["nodes"].clone();
    let missed =
        told.as_array().unwrap().iter().find(|of| of["subject"] == "automation_rate{region=eu}");
    let missed = missed.unwrap_or_else(|| panic!("{told}"));
    assert_eq!(missed["startedAt"], "2026-02-08T00:00:00Z", "{missed}");
    assert!(missed["headline"].as_str().unwrap().contains("at least 0.88 is wanted"), "{missed}");
    assert!(missed["action"].as_str().unwrap().starts_with("checkout team: "), "{missed}");
    assert!(!told.to_string().contains("automation_rate{region=us}"), "{told}");
}

#[tokio::test]
async fn the_examples_of_the_page_on_alerts_answer() {
    let mut reader = Reader::new(&[], &[]);
    std::fs::write(reader.file("checkouts.csv"), made::checkouts()).unwrap();
    reader.types("setup", "colonnade ingest checkouts checkouts.csv --create").await;
    reader.read("docs/alerts.md").await;
    let rules = reader.served().await.data("{ alertDefinitions { name } }").await;
    assert_eq!(rules["alertDefinitions"].as_array().unwrap().len(), 4, "{rules}");
}

#[tokio::test]
async fn the_examples_of_the_page_on_insights_answer() {
    let mut reader = Reader::new(&[], &[]);
    std::fs::write(reader.file("metrics.csv"), made::samples()).unwrap();
    reader.types("setup", "colonnade ingest metrics metrics.csv").await;
    reader.read("docs/insights.md").await;
}

#[tokio::test]
async fn the_examples_of_the_page_on_the_first_week_answer() {
    // No model can be pulled here.
    let ngram = [
        ("colonnade run embed ", "colonnade run embed --param embedder=ngram "),
        ("colonnade run triage_train ", "colonnade run triage_train --param embedder=ngram "),
    ];
    let mut reader = Reader::new(&[], Box::leak(Box::new(ngram)));
    std::fs::write(reader.file("bestellungen.csv"), messy::orders()).unwrap();
    messy::write_mails(&reader.file("mails.parquet"));
    let monday = "Bestell-Nr;Größe;Unit Price;Menge;Bestellt am;Bemerkung\n\
                  3;L;3,50;2;05.05.2026;neu\n201;S;1.000,00;1;06.05.2026;k.A.\n";
    std::fs::write(reader.file("monday.csv"), messy::latin1(monday)).unwrap();
    reader.read("docs/first-week.md").await;
    let query = "{ orders(where: {bestellNr: {in: [\"3\", \"7\", \"8\", \"43\", \"201\"]}}) \
                 { totalCount nodes { bestellNr groesse unitPrice quantity } } }";
    let found = reader.served().await.data(query).await;
    let row = |id: &str, size: &str, price: &str, pieces: &str| json!({"bestellNr": id, "groesse": size, "unitPrice": price, "quantity": pieces});
    let expected = json!([
        row("3", "L", "3.50", "2"),
        row("7", "M", "7.07", "5"),
        row("8", "M", "8.08", "2"),
        row("43", "M", "43.43", "3"),
        row("201", "S", "900.00", "1"),
    ]);
    assert_eq!(found["orders"]["nodes"], expected);
    // Each mail without a category has an answer, and most of them the right one.
    let asked = "SELECT count(*) AS mails, count(*) FILTER (WHERE label = headers['truth']) AS found, count(DISTINCT city) AS cities \
                 FROM 'answers.parquet' AS a JOIN mails m ON m.id = a.id WHERE m.category IS NULL";
    reader.stops_the_server().await;
    let mut command = Command::new(binary());
    without_settings(&mut command);
    command.arg("--data").arg(reader.root()).args(["sql", asked, "--format", "json"]);
    let answers = command.current_dir(reader.folder.path()).output().await.unwrap();
    let answers: Value = serde_json::from_slice(&answers.stdout).unwrap();
    assert_eq!((&answers[0]["mails"], &answers[0]["cities"]), (&json!(60), &json!(3)), "{answers}");
    assert!(answers[0]["found"].as_u64().unwrap() >= 54, "{answers}");
}

#[tokio::test]
async fn the_examples_of_the_page_on_specs_hold() {
    let mut reader = Reader::new(&[], &[]);
    let rows = "id,ordered_at,shop,price,pieces,delivered_at,mail,tags\n\
                1,2026-11-30T08:15:00Z,köln,12.34,2,2026-12-01T08:15:00Z,a@b,\"[\"\"x\"\"]\"\n\
                2,2026-11-30T08:15:00Z,paris,12.34,2,,,\n\
                3,2026-11-30T08:15:00Z,web,-1,2,,,\n\
                4,2026-11-30T08:15:00Z,web,1,2,2026-11-29T08:15:00Z,,\n\
                5,2026-11-30T08:15:00Z,web,1,2,,nobody,\n";
    std::fs::write(reader.file("orders.csv"), rows).unwrap();
    reader.read("docs/specs.md").await;
    let query = "{ orders { nodes { id shop tags } } ordersQuarantine { totalCount } }";
    let found = reader.served().await.data(query).await;
    assert_eq!(found["orders"]["nodes"], json!([{"id": "1", "shop": "köln", "tags": ["x"]}]));
    assert_eq!(found["ordersQuarantine"]["totalCount"], "4");
}

#[tokio::test]
async fn the_examples_of_the_page_on_operations_hold() {
    Reader::new(&[], &[]).read("docs/operations.md").await;
}

#[tokio::test]
async fn the_examples_of_the_page_on_jobs_answer() {
    let mut reader = Reader::new(&[], &[]);
    reader.types("setup", "colonnade demo --rows 2000 --no-serve").await;
    reader.read("docs/jobs.md").await;
}

impl Reader {
    async fn has_tickets(&mut self) {
        std::fs::write(self.file("train.csv"), made::tickets()).unwrap();
        self.types("setup", "colonnade ingest tickets train.csv").await;
    }
}

#[test]
fn the_page_on_clients_shows_what_is_compiled_and_run() {
    let folders = [
        "examples",
        "examples/typescript",
        "examples/typescript/src",
        "examples/rust/src",
        "tests/peers/restarts",
    ];
    let files = folders.map(|folder| std::fs::read_dir(format!("../{folder}")).unwrap());
    let text = |file: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(file.unwrap().path()).ok()
    };
    let texts: Vec<String> = files.into_iter().flatten().filter_map(text).collect();
    for example in examples("docs/clients.md") {
        // `make test-examples` types what stands behind prompts.
        let is_shown = texts.iter().any(|text| text.contains(&example.text));
        assert!(example.language == "console" || is_shown, "{}: in no file", example.place);
    }
}

#[test]
fn no_page_has_examples_that_nobody_tries() {
    let tried = "sql queries exports flight reports without-us clients triage embedding duplicates \
        forecast trends processes predictions agents costs reconcile routing drift features \
        otlp anomalies correlate explain alerts metrics insights first-week specs operations \
        jobs accuracy quality gateway intervals";
    for entry in std::fs::read_dir("../docs").unwrap() {
        let name = entry.unwrap().file_name().to_str().unwrap().to_owned();
        let page = format!("docs/{name}");
        let is_tried = tried.split(' ').any(|tried| name.strip_suffix(".md") == Some(tried));
        let has_examples = page.ends_with(".md")
            && examples(&page)
                .iter()
                .any(|example| !matches!(example.language.as_str(), "text" | "json"));
        assert!(!has_examples || is_tried, "{page}");
    }
}
