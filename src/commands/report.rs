//! `colonnade report`: a template's queries become a file to read and one to print.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::Path;

use engine::{Code, Error, Result};
use jobs::report::{Page, made, paper, ready_reports, ready_text, template, template_of};

use super::{close, open_to_read, pins};
use crate::cli::Report;
use crate::config::Settings;
use crate::output::{Output, count};

/// Longest template, in bytes.
const TEMPLATE_BYTES_MAX: u64 = 1 << 20;

/// Makes a report, or says which there are.
pub async fn report(arguments: Report, settings: &Settings, output: &Output) -> Result<()> {
    let Some(named) = arguments.report.as_deref() else {
        for (name, tells) in ready_reports() {
            output.line(&format!("{name}: {tells}"))?;
        }
        return Ok(());
    };
    if arguments.show {
        return output.line(text_of(named)?.trim_end());
    }
    if arguments.to.is_empty() {
        return Err(bad(
            "report: expected --to with a file, such as report.html or report.pdf".to_owned()
        ));
    }
    let template = match is_file(named) {
        true => template_of(named, &text_of(named)?)?,
        false => template(named)?,
    };
    let chosen = arguments.paper.as_deref().map(paper).transpose()?;
    let pages = arguments.to.iter().map(|to| match to.extension().and_then(|end| end.to_str()) {
        Some(end) if end.eq_ignore_ascii_case("html") => Ok(Page::Html),
        Some(end) if end.eq_ignore_ascii_case("pdf") => Ok(Page::Pdf(chosen)),
        _ => {
            Err(bad(format!("--to {}: expected a file that ends with .html or .pdf", to.display())))
        }
    });
    let pages = pages.collect::<Result<Vec<Page>>>()?;
    for to in &arguments.to {
        // Before minutes of queries.
        if !arguments.overwrite && to.exists() {
            return Err(there(to));
        }
    }
    for folder in arguments.to.iter().filter_map(|to| to.parent()) {
        if !folder.as_os_str().is_empty() && !folder.is_dir() {
            return Err(bad(format!("--to: there is no folder {}", folder.display())));
        }
    }
    let given = parameters(&arguments.params)?;
    let pinned = pins(&arguments.as_of)?;
    let engine = open_to_read(settings).await?;
    let worked = async {
        let who = settings.principal()?;
        let session = engine.session(&who, &pinned).await?;
        let report = made(&session, template, &given, Some(&who.subject), &|| Ok(())).await?;
        let rows = report.rows;
        let read: Vec<String> = (report.datasets.iter())
            .map(|read| format!("{}@{}", read.dataset, read.version.0))
            .collect();
        for ((_, bytes), to) in report.pages(pages).await?.into_iter().zip(&arguments.to) {
            write(to, &bytes, arguments.overwrite)?;
            output.line(&format!("{}: {} bytes", to.display(), count(bytes.len() as u64)))?;
        }
        match read.is_empty() {
            true => Ok(()),
            false => {
                let read = read.join(", ");
                output.line(&format!("of {read}: {} rows of its queries", count(rows)))
            }
        }
    };
    let worked = worked.await;
    close(&engine, worked).await
}

/// A name has neither folders nor an ending.
fn is_file(named: &str) -> bool {
    named.contains(['/', '\\', '.'])
}

fn text_of(named: &str) -> Result<String> {
    if !is_file(named) {
        return ready_text(named);
    }
    let unread = |error: std::io::Error| {
        let says = format!("{named}: the template can not be read");
        match error.kind() {
            ErrorKind::NotFound => {
                bad(format!("{named}: there is no such file; expected a template in TOML"))
            }
            _ => Error::environment(Code::BadInput, says, error),
        }
    };
    let file = std::fs::File::open(named).map_err(unread)?;
    let mut text = String::new();
    file.take(TEMPLATE_BYTES_MAX + 1).read_to_string(&mut text).map_err(unread)?;
    if text.len() as u64 > TEMPLATE_BYTES_MAX {
        return Err(bad(format!(
            "{named}: a template has {TEMPLATE_BYTES_MAX} bytes at most, found more"
        )));
    }
    Ok(text)
}

fn parameters(texts: &[String]) -> Result<BTreeMap<String, String>> {
    let mut given = BTreeMap::new();
    for text in texts {
        let Some((name, value)) = text.split_once('=') else {
            return Err(bad(format!(
                "--param {text:?}: expected NAME=VALUE, such as from=2026-01-01"
            )));
        };
        if given.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(bad(format!("--param {name}: it is given twice")));
        }
    }
    Ok(given)
}

/// The file is there whole or not at all.
fn write(to: &Path, bytes: &[u8], overwrite: bool) -> Result<()> {
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::AlreadyExists => there(to),
        _ => {
            let says = format!("{}: it can not be written", to.display());
            Error::environment(Code::StorageUnavailable, says, error)
        }
    };
    let folder = match to.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    let kept = match overwrite {
        true => file.persist(to),
        false => file.persist_noclobber(to),
    };
    kept.map(drop).map_err(|error| failed(error.error))
}

fn there(to: &Path) -> Error {
    let says = format!("{}: there is a file; expected another name, or --overwrite", to.display());
    Error::user(Code::Conflict, says)
}

fn bad(says: String) -> Error {
    Error::user(Code::BadInput, says)
}
