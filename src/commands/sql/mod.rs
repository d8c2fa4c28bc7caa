//! `colonnade sql`: queries of the command line, of files, of standard input, and of who types them.

mod copy;
mod shell;
mod writers;

use std::io::{self, IsTerminal as _, Read as _};

use engine::{Code, Engine, Error, Planned, Result, SqlStatements};
use futures::StreamExt as _;

use super::{close, open_to_read, pins};
use crate::cli::Sql;
use crate::config::Settings;
use crate::output::Output;

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
    let statements = SqlStatements::of(text).all;
    if statements.is_empty() {
        return Err(Error::user(Code::BadInput, "SQL: there is no query"));
    }
    let several = statements.len() > 1;
    for (at, statement) in statements.into_iter().enumerate() {
        let answered = answer(engine, statement, arguments, settings, output).await;
        answered.map_err(|error| match several {
            true => error.while_doing(format_args!("query {}", at + 1)),
            false => error,
        })?;
    }
    Ok(())
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
    let mut writer = writers::writer(arguments.format, rows.schema(), arguments.rows, output)?;
    let mut count = 0;
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        count += batch.num_rows() as u64;
        if !writer.write(&batch)? {
            return Ok(count);
        }
    }
    writer.finish()?;
    Ok(count)
}
