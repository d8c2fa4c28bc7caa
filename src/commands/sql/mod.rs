//! `colonnade sql`: queries of the command line, of files, of standard input, and of who types them.

mod copy;
mod shell;
mod writers;

use std::io::{self, IsTerminal as _, Read as _};
use std::time::Instant;

use engine::{Code, Engine, Error, Planned, Result, SqlStatements};
use futures::StreamExt as _;

use super::{close, open_to_read, pins};
use crate::cli::Sql;
use crate::config::Settings;
use crate::output::Output;
use writers::RowWriter;

/// Answers on stdout.
pub async fn sql(arguments: Sql, settings: &Settings, output: &Output) -> Result<()> {
    let text = text(&arguments)?;
    let engine = open_to_read(settings).await?;
    let answered = match text {
        Some(text) => answer_all(&engine, &text, &arguments, settings, output).await,
        None => shell::shell(&engine, &arguments, settings, output).await,
    };
    close(&engine, answered).await
}

/// What is asked, unless somebody is there to type it.
fn text(arguments: &Sql) -> Result<Option<String>> {
    if let Some(query) = &arguments.query {
        return Ok(Some(query.clone()));
    }
    if arguments.files.is_empty() {
        if io::stdin().is_terminal() {
            return Ok(None);
        }
        return standard_input().map(Some);
    }
    let texts = arguments.files.iter().map(|path| {
        if path.as_os_str() == "-" {
            return standard_input();
        }
        std::fs::read_to_string(path).map_err(|error| {
            let doing = format!("read {}", path.display());
            match error.kind() {
                io::ErrorKind::NotFound => Error::user(Code::NotFound, format!("{doing}: {error}")),
                _ => Error::environment(Code::StorageUnavailable, doing, error),
            }
        })
    });
    // One may end without a semicolon.
    Ok(Some(texts.collect::<Result<Vec<_>>>()?.join("\n;\n")))
}

fn standard_input() -> Result<String> {
    let mut text = String::new();
    io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| Error::environment(Code::BadInput, "read standard input", error))?;
    Ok(text)
}

/// Answers each query of a text; the first that fails is the last.
async fn answer_all(
    engine: &Engine,
    text: &str,
    arguments: &Sql,
    settings: &Settings,
    output: &Output,
) -> Result<()> {
    let asked = asked(text);
    if asked.is_empty() {
        return Err(Error::user(Code::BadInput, "SQL: there is no query"));
    }
    let who = settings.principal()?;
    let queries = asked.iter().filter(|asked| matches!(asked, Asked::Query(_))).count();
    let (mut at, mut tells_time) = (0, false);
    for asked in asked {
        match asked {
            Asked::Query(query) => {
                at += 1;
                let began = Instant::now();
                let answered = answer(engine, query, arguments, settings, output).await;
                answered.map_err(|error| match queries > 1 {
                    true => error.while_doing(format_args!("query {at}")),
                    false => error,
                })?;
                if tells_time {
                    output.note(&format!("query {at}{}", shell::took(began)));
                }
            }
            Asked::Command(line) => {
                if shell::command(engine, &who, line, &mut tells_time, settings, output).await? {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// What a text asks for.
#[derive(Debug, PartialEq)]
enum Asked<'a> {
    Query(&'a str),
    /// A line with a backslash, as in the shell.
    Command(&'a str),
}

/// The queries of a text, and the lines between them that begin with a backslash.
fn asked(text: &str) -> Vec<Asked<'_>> {
    let mut found = Vec::new();
    let (mut begin, mut end) = (0, 0);
    let queries = |text| SqlStatements::of(text).all.into_iter().map(Asked::Query);
    for line in text.split_inclusive('\n') {
        let before = &text[begin..end];
        let is_command = line.trim_start().starts_with('\\')
            && (before.trim().is_empty() || SqlStatements::of(before).is_complete);
        end += line.len();
        if is_command {
            found.extend(queries(before));
            found.push(Asked::Command(line.trim()));
            begin = end;
        }
    }
    found.extend(queries(&text[begin..]));
    found
}

/// Answers one query; says how many rows there were.
async fn answer(
    engine: &Engine,
    query: &str,
    arguments: &Sql,
    settings: &Settings,
    output: &Output,
) -> Result<u64> {
    let session = engine.session(&settings.principal()?, &pins(&arguments.as_of)?).await?;
    let frame = match session.sql_with_files(query).await? {
        Planned::Query(frame) => frame,
        Planned::Copy { rows, to, format } => {
            return copy::copy(&session, rows, &to, format.as_deref(), output).await;
        }
    };
    let mut rows = session.stream(frame).await?;
    let mut writer = RowWriter::new(arguments.format, rows.schema(), arguments.rows, output)?;
    let mut count = 0;
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        count += batch.num_rows() as u64;
        if writer.write(&batch)?.is_break() {
            return Ok(count);
        }
    }
    writer.finish()?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_a_backslash_stand_between_queries_and_not_within_them() {
        use Asked::{Command, Query};
        let text = "\\timing\nSELECT 1; SELECT\n 2;\n  \\d calls \nSELECT '\n\\d\n'";
        let expected = [
            Command("\\timing"),
            Query("SELECT 1"),
            Query("SELECT\n 2"),
            Command("\\d calls"),
            Query("SELECT '\n\\d\n'"),
        ];
        assert_eq!(asked(text), expected);
        assert_eq!(asked("\\d"), [Command("\\d")]);
        assert_eq!(asked(" -- nothing\n;"), []);
    }
}
