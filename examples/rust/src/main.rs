//! Queries, follows and sends model calls. What it prints are lines of JSON.
//!
//! ```text
//! colonnade-example page MODEL
//! colonnade-example follow [VERSION]
//! colonnade-example send PRODUCER [ROWS] < calls.ndjson
//! ```

mod documents;
mod follow;
mod http;
mod page;
mod send;

use std::io::Write;
use std::process::ExitCode;

use documents::{Newest, newest};
use http::Server;
use serde::Serialize;

/// What went wrong, in words.
type Failed = Box<dyn std::error::Error>;

const USAGE: &str = "expected page MODEL, follow [VERSION] or send PRODUCER [ROWS]";

fn main() -> ExitCode {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let given: Vec<&str> = given.iter().map(String::as_str).collect();
    match run(&Server::of_environment(), &given) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            eprintln!("{failed}");
            ExitCode::FAILURE
        }
    }
}

fn run(server: &Server, given: &[&str]) -> Result<(), Failed> {
    match given {
        ["page", model] => page::pages(server, model, |calls| calls.nodes.iter().try_for_each(say)),
        ["follow"] => followed(server, newest_version(server)?),
        ["follow", version] => followed(server, number(version)?),
        ["send", producer] => {
            send::send(server, std::io::stdin().lock(), producer, 500, |r| say(&r))
        }
        ["send", producer, rows] => {
            let rows = usize::try_from(number(rows)?)?;
            send::send(server, std::io::stdin().lock(), producer, rows, |receipt| say(&receipt))
        }
        _ => Err(USAGE.into()),
    }
}

fn followed(server: &Server, since: i64) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(follow::follow(server, since, say))
}

fn newest_version(server: &Server) -> Result<i64, Failed> {
    let dataset = server.ask::<Newest>(newest::Variables)?.dataset;
    Ok(dataset.ok_or("there is no dataset model_calls yet")?.version)
}

fn say<Line: Serialize>(line: &Line) -> Result<(), Failed> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, line)?;
    writeln!(out)?;
    Ok(())
}

fn number(given: &str) -> Result<i64, Failed> {
    let number = given.parse().ok().filter(|number| (0..1_000_000_000).contains(number));
    number.ok_or_else(|| format!("{USAGE}, found {given:?} for a number").into())
}
