//! Somebody types queries, and sees what they answer.

use std::path::PathBuf;
use std::time::Instant;

use ::datasets::DatasetName;
use engine::{Code, Engine, Error, Principal, Result, SqlStatements};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{Config, Context, Editor, Helper};

use super::super::datasets;
use super::answer;
use crate::cli::Sql;
use crate::config::Settings;
use crate::output::{Output, count};

/// Queries that are kept from one shell to the next.
const HISTORY_MAX: usize = 1_000;

const HELP: &str = "\\d            the datasets\n\\d DATASET    its columns and versions\n\\timing       say how long a query took, or no longer\n\
                    \\q            end, as Ctrl-D does\n\nA query ends with a semicolon. Ctrl-C ends one that runs.";

/// What queries are made of, beside what is in the catalogue.
const WORDS: [&str; 40] = [
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP BY",
    "ORDER BY",
    "HAVING",
    "LIMIT",
    "OFFSET",
    "AS",
    "AND",
    "OR",
    "NOT",
    "IN",
    "IS NULL",
    "IS NOT NULL",
    "BETWEEN",
    "LIKE",
    "JOIN",
    "LEFT JOIN",
    "ON",
    "UNION ALL",
    "WITH",
    "DISTINCT",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "CAST",
    "OVER",
    "PARTITION BY",
    "ASC",
    "DESC",
    "EXPLAIN",
    "DESCRIBE",
    "SHOW TABLES",
    "count(*)",
    "sum(",
    "avg(",
    "date_trunc(",
];

/// Answers until there is no more to be typed.
pub(super) async fn shell(
    engine: &Engine,
    arguments: &Sql,
    settings: &Settings,
    output: &Output,
) -> Result<()> {
    let who = settings.principal()?;
    let mut terminal = Terminal::open()?;
    output.note("Queries end with a semicolon. \\? says what else there is.");
    let (mut text, mut tells_time) = (String::new(), false);
    loop {
        // Others may have made datasets meanwhile, or committed.
        let catalog = engine.refresh_catalog(&who).await?;
        let columns = catalog.datasets.values().flat_map(|entry| &entry.spec.columns);
        let mut words: Vec<String> = columns.map(|column| column.name.clone()).collect();
        words.extend(catalog.datasets.keys().map(DatasetName::to_string));
        let specs = || catalog.datasets.values().map(|entry| &entry.spec);
        words.extend(specs().flat_map(|spec| &spec.dimensions).map(|of| of.name.clone()));
        words.extend(specs().flat_map(|spec| &spec.measures).map(|of| of.name.clone()));
        words.extend(WORDS.map(str::to_owned));
        words.sort_unstable();
        words.dedup();
        let prompt = if text.is_empty() { "colonnade> " } else { "        -> " };
        let line;
        (terminal, line) = terminal.read(words, prompt).await?;
        match line {
            Line::End => return Ok(()),
            // What was begun is given up.
            Line::Interrupt => text.clear(),
            Line::Text(line) if text.is_empty() && line.trim_start().starts_with('\\') => {
                let done =
                    command(engine, &who, line.trim(), &mut tells_time, settings, output).await;
                match done {
                    Ok(true) => return Ok(()),
                    Ok(false) => {}
                    Err(error) => output.error(&error),
                }
            }
            Line::Text(line) => {
                text.push_str(&line);
                text.push('\n');
                let statements = SqlStatements::of(&text);
                if text.trim().is_empty() {
                    text.clear();
                } else if statements.is_complete {
                    terminal.remember(text.trim(), output);
                    for query in statements.all {
                        told(engine, query, arguments, tells_time, settings, output).await;
                    }
                    text.clear();
                }
            }
        }
    }
}

/// Answers a query and says how many rows there are, or what is wrong with it.
async fn told(
    engine: &Engine,
    query: &str,
    arguments: &Sql,
    tells_time: bool,
    settings: &Settings,
    output: &Output,
) {
    let began = Instant::now();
    let answered = tokio::select! {
        answered = answer(engine, query, arguments, settings, output) => answered,
        // Other signals end the shell, as they do where it waits for a line.
        Ok(()) = tokio::signal::ctrl_c() => Err(Error::user(Code::Cancelled, "the query was ended")),
    };
    match answered {
        Ok(rows) => {
            let word = if rows == 1 { "row" } else { "rows" };
            let took = if tells_time { took(began) } else { String::new() };
            output.note(&format!("{} {word}{took}", count(rows)));
        }
        Err(error) => output.error(&error),
    }
}

/// How long it took, behind what was done.
pub(super) fn took(began: Instant) -> String {
    format!(" in {:.1} ms", began.elapsed().as_secs_f64() * 1e3)
}

/// Does what a line with a backslash says; whether it is to end.
pub(super) async fn command(
    engine: &Engine,
    who: &Principal,
    line: &str,
    tells_time: &mut bool,
    settings: &Settings,
    output: &Output,
) -> Result<bool> {
    let line = line.trim_end_matches(';').trim();
    let (name, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    match (name, argument.trim()) {
        ("\\q", "") => return Ok(true),
        ("\\?" | "\\h", "") => output.note(HELP),
        ("\\d", "") => datasets::list(engine, settings, output).await?,
        ("\\d", dataset) => {
            let dataset = DatasetName::new(dataset)?;
            // One that is not there is told with those that are spelt alike.
            engine.catalog(who).await?.dataset(&dataset)?;
            datasets::show(engine, &dataset, settings, output).await?;
        }
        ("\\timing", "") => {
            *tells_time = !*tells_time;
            output.note(if *tells_time { "timing is on" } else { "timing is off" });
        }
        _ => {
            let says = format!("{line}: expected one of \\d, \\d DATASET, \\timing, \\q and \\?");
            return Err(Error::user(Code::BadInput, says));
        }
    }
    Ok(false)
}

/// What was typed.
enum Line {
    Text(String),
    Interrupt,
    End,
}

/// Where it is typed.
struct Terminal {
    editor: Editor<Words, FileHistory>,
    history: Option<PathBuf>,
}

impl Terminal {
    fn open() -> Result<Self> {
        let config = Config::builder().max_history_size(HISTORY_MAX);
        let config = config.and_then(|config| config.history_ignore_dups(true)).map_err(failed)?;
        let mut editor =
            Editor::with_config(config.auto_add_history(false).build()).map_err(failed)?;
        editor.set_helper(Some(Words::default()));
        let history = history();
        if let Some(history) = &history {
            // The first time there is none.
            let _ = editor.load_history(history);
        }
        Ok(Self { editor, history })
    }

    /// Waits for a line on a thread that may wait.
    async fn read(mut self, words: Vec<String>, prompt: &'static str) -> Result<(Self, Line)> {
        let reading = tokio::task::spawn_blocking(move || {
            self.editor.set_helper(Some(Words(words)));
            let line = match self.editor.readline(prompt) {
                Ok(line) => Line::Text(line),
                Err(ReadlineError::Interrupted) => Line::Interrupt,
                Err(ReadlineError::Eof) => Line::End,
                Err(error) => return Err(failed(error)),
            };
            Ok((self, line))
        });
        reading.await.map_err(|error| Error::internal(format!("reading the terminal: {error}")))?
    }

    /// Keeps a query for later shells; says once why it can not.
    fn remember(&mut self, query: &str, output: &Output) {
        if !matches!(self.editor.add_history_entry(query), Ok(true)) {
            return;
        }
        let Some(path) = &self.history else {
            return;
        };
        let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        if let Err(error) =
            made.map_err(ReadlineError::Io).and_then(|()| self.editor.save_history(path))
        {
            output.note(&format!("queries are not kept in {}: {error}", path.display()));
            self.history = None;
        }
    }
}

fn failed(error: ReadlineError) -> Error {
    Error::environment(Code::Internal, "read the terminal", error)
}

/// As the XDG says where what is remembered goes.
fn history() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    Some(state.filter(|state| state.is_absolute()).or_else(home)?.join("colonnade/sql_history"))
}

/// What a word may become.
#[derive(Default)]
struct Words(Vec<String>);

impl Words {
    /// Where the word at `at` begins, and what it may become.
    fn of(&self, line: &str, at: usize) -> (usize, Vec<String>) {
        let before = line.get(..at).unwrap_or_default();
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let begin = before.rfind(|c| !is_part(c)).map_or(0, |last| last + 1);
        let word = &before[begin..];
        if word.is_empty() {
            return (begin, Vec::new());
        }
        let begins = |other: &&String| {
            other.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
        };
        (begin, self.0.iter().filter(begins).cloned().collect())
    }
}

impl Completer for Words {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        at: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(self.of(line, at))
    }
}

impl Hinter for Words {
    type Hint = String;
}

impl Highlighter for Words {}
impl Validator for Words {}
impl Helper for Words {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_completed_wherever_it_stands() {
        let words = ["SELECT", "model", "model_calls", "metrics"].map(str::to_owned).to_vec();
        let words = Words(words);
        let of = |line: &str| words.of(line, line.len());
        assert_eq!(of("sel"), (0, vec!["SELECT".to_owned()]));
        assert_eq!(of("SELECT max(mod").1, ["model", "model_calls"]);
        assert_eq!(of("SELECT max(mod").0, 11);
        assert_eq!(of("FROM model_").1, ["model_calls"]);
        assert_eq!(of("FROM "), (5, Vec::new()));
        assert_eq!(of("größe = mo"), (10, Vec::from(["model", "model_calls"].map(str::to_owned))));
        // In the middle of a letter there is none.
        assert_eq!(words.of("größe", 3), (0, Vec::new()));
    }
}
