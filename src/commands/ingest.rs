//! `colonnade ingest`: files into a dataset. Each file is one commit: all of its good rows, or nothing.

use std::fs::File;
use std::io;
use std::path::Path;

use ::datasets::infer::{SpecHints, spec_from_schema};
use ::datasets::read::{Format, ReadOptions, Source};
use ::datasets::{DatasetName, DatasetSpec, read, specs};
use engine::{Code, Engine, Error, IngestReceipt, LoadOptions, Principal, Result};
use serde_json::json;
use tempfile::NamedTempFile;

use super::{close, open_to_write};
use crate::cli::Ingest;
use crate::config::Settings;
use crate::output::{Output, columns, count};

/// Loads the files in order and says what became of each.
pub async fn ingest(arguments: Ingest, settings: &Settings, output: &Output) -> Result<()> {
    let dataset = DatasetName::new(&arguments.dataset)?;
    let spec = arguments.spec.as_deref().map(read_spec).transpose()?;
    if let Some(spec) = &spec
        && spec.name != dataset
    {
        return Err(Error::user(
            Code::BadInput,
            format!(
                "ingest into {dataset}: the spec is of {}; expected one of {dataset}",
                spec.name
            ),
        ));
    }
    let engine = open_to_write(settings, "colonnade ingest").await?;
    let loaded = load_all(&engine, &arguments, &dataset, spec, settings, output).await;
    close(&engine, loaded).await
}

async fn load_all(
    engine: &Engine,
    arguments: &Ingest,
    dataset: &DatasetName,
    spec: Option<DatasetSpec>,
    settings: &Settings,
    output: &Output,
) -> Result<()> {
    let who = settings.principal()?;
    let asked = arguments.format.as_deref().map(str::parse::<Format>).transpose()?;
    let mut receipts = Vec::new();
    for file in &arguments.files {
        let name = shown_name(file);
        let file = Readable::new(file)?;
        let source = Source::File { path: file.path().to_owned(), name: name.clone() };
        let format = match asked {
            Some(format) => format,
            None => read::recognise(&source, dataset)?,
        };
        let create =
            spec_to_create(engine, &who, dataset, spec.as_ref(), arguments, &source, format)
                .await?;
        let rejects_max = arguments.max_quarantined;
        let options = LoadOptions { create, rejects_max, ..LoadOptions::default() };
        let receipt = engine.load(&who, dataset, source, format, options).await?;
        receipts.push((name, receipt));
    }
    report(dataset, &receipts, output)
}

/// What the dataset is made from when it is not there yet; a spec that was given is held against one that is.
async fn spec_to_create(
    engine: &Engine,
    who: &Principal,
    dataset: &DatasetName,
    spec: Option<&DatasetSpec>,
    arguments: &Ingest,
    source: &Source,
    format: Format,
) -> Result<Option<DatasetSpec>> {
    let exists = engine.catalog(who).await?.has(dataset)?;
    if let Some(spec) = spec {
        if exists {
            // Accepted as it is, grown by its new columns, or refused with what differs.
            engine.ensure_dataset(who, spec).await?;
        }
        return Ok((!exists).then(|| spec.clone()));
    }
    if exists {
        return Ok(None);
    }
    if let Some(spec) = specs::by_name(dataset.as_str()) {
        return Ok(Some(spec));
    }
    if !arguments.create {
        return Err(Error::user(
            Code::NotFound,
            format!(
                "ingest into {dataset}: there is no such dataset; expected one of `colonnade datasets`, a built-in one ({}), --spec FILE, or --create to make it from the file's columns",
                specs::builtin().iter().map(|s| s.name.to_string()).collect::<Vec<_>>().join(", ")
            ),
        ));
    }
    let name = source.name();
    let reader = read::open(source.clone(), format, None, &ReadOptions::default())?;
    let spec = spec_from_schema(dataset, &reader.schema(), &SpecHints::default())
        .map_err(|e| Error::from(e).while_doing(format_args!("make {dataset} from {name}")))?;
    Ok(Some(spec))
}

/// A file that can be read more than once: to see what is in it, and to load it.
enum Readable<'a> {
    AsItIs(&'a Path),
    /// What came through a pipe.
    Copied(NamedTempFile),
}

impl<'a> Readable<'a> {
    fn new(path: &'a Path) -> Result<Self> {
        // What is not there or may not be read is for the reader to say.
        let is_file =
            |path: &Path| std::fs::metadata(path).is_ok_and(|of| of.is_file() || of.is_dir());
        if !is_stdin(path) && (is_file(path) || !path.exists()) {
            return Ok(Self::AsItIs(path));
        }
        let failed = |e: io::Error| {
            let doing = format!("copy {} to a temporary file", shown_name(path));
            Error::environment(Code::StorageUnavailable, doing, e)
        };
        let mut copy = NamedTempFile::new().map_err(failed)?;
        match is_stdin(path) {
            true => io::copy(&mut io::stdin().lock(), &mut copy),
            false => File::open(path).and_then(|mut pipe| io::copy(&mut pipe, &mut copy)),
        }
        .map_err(failed)?;
        Ok(Self::Copied(copy))
    }

    fn path(&self) -> &Path {
        match self {
            Self::AsItIs(path) => path,
            Self::Copied(file) => file.path(),
        }
    }
}

fn report(
    dataset: &DatasetName,
    receipts: &[(String, IngestReceipt)],
    output: &Output,
) -> Result<()> {
    let accepted: u64 = receipts.iter().map(|(_, r)| r.accepted).sum();
    let quarantined: u64 = receipts.iter().map(|(_, r)| r.quarantined).sum();
    if output.is_json() {
        let files: Vec<_> = receipts
            .iter()
            .map(|(file, r)| {
                json!({"file": file, "accepted": r.accepted, "quarantined": r.quarantined, "version": r.version.0, "duplicate": r.duplicate, "causes": r.causes})
            })
            .collect();
        output.document(&json!({
            "dataset": dataset.as_str(),
            "files": files,
            "accepted": accepted,
            "quarantined": quarantined,
            "version": receipts.last().map(|(_, r)| r.version.0),
        }))?;
        return some_accepted(dataset, accepted, quarantined);
    }
    let rows: Vec<Vec<String>> = receipts
        .iter()
        .map(|(file, r)| {
            vec![file.clone(), count(r.accepted), count(r.quarantined), r.version.to_string()]
        })
        .collect();
    output.line(&columns(&["file", "accepted", "quarantined", "version"], &rows))?;
    if quarantined > 0 {
        output.note(&format!(
            "{} rows are in {} with their reasons:",
            count(quarantined),
            dataset.quarantine()
        ));
        let causes = receipts.iter().flat_map(|(_, receipt)| &receipt.causes);
        let causes = causes
            .map(|cause| vec![count(cause.rows), cause.cause.clone(), cause.first.clone()])
            .collect::<Vec<_>>();
        output.note(&columns(&["rows", "cause", "the first"], &causes));
    }
    some_accepted(dataset, accepted, quarantined)
}

/// That nothing was accepted is no success.
fn some_accepted(dataset: &DatasetName, accepted: u64, quarantined: u64) -> Result<()> {
    if accepted > 0 || quarantined == 0 {
        return Ok(());
    }
    Err(Error::user(
        Code::BadInput,
        format!(
            "ingest into {dataset}: none of {quarantined} rows fits; they are in {} with their reasons",
            dataset.quarantine()
        ),
    ))
}

fn read_spec(path: &Path) -> Result<DatasetSpec> {
    let name = shown_name(path);
    let text = std::fs::read_to_string(path)
        .map_err(|e| Error::user(Code::BadInput, format!("spec {name}: {e}")))?;
    Ok(DatasetSpec::from_toml(&text, &name)?)
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// The file's name as messages show it: as it was typed.
fn shown_name(path: &Path) -> String {
    if is_stdin(path) {
        return "standard input".to_owned();
    }
    path.file_name()
        .map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}
