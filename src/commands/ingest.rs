//! `colonnade ingest`: files into a dataset. Each file is one commit: all of its good rows, or nothing.

use std::fs::File;
use std::io;
use std::path::Path;

use ::datasets::infer::to_identifier;
use ::datasets::read::{Format, Source};
use ::datasets::{Cause, DatasetName, DatasetSpec, Evolution, LoadSettings, read, specs};
use engine::{Code, Engine, Error, IngestReceipt, LoadOptions, NewColumns, OnConflict, Result};
use serde_json::json;
use tempfile::NamedTempFile;

use super::guess::{self, Trial, read_options};
use super::{close, open_to_read, open_to_write};
use crate::cli::{Conflict, Ingest};
use crate::config::Settings;
use crate::output::{Output, columns, count, described};

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
    if arguments.dry_run {
        return try_all(&arguments, &dataset, spec, settings, output).await;
    }
    let engine = open_to_write(settings, "colonnade ingest").await?;
    let loaded = load_all(&engine, &arguments, &dataset, spec, settings, output).await;
    close(&engine, loaded).await
}

/// A file that is to be loaded.
struct Incoming {
    source: Source,
    format: Format,
    /// What the dataset is made from, where it is not there yet.
    create: Option<DatasetSpec>,
    /// What stays of it until it is loaded.
    _copy: Option<NamedTempFile>,
}

async fn load_all(
    engine: &Engine,
    arguments: &Ingest,
    dataset: &DatasetName,
    spec: Option<DatasetSpec>,
    settings: &Settings,
    output: &Output,
) -> Result<()> {
    let mut receipts = Vec::new();
    for file in &arguments.files {
        match load(engine, arguments, dataset, file, &spec, settings, output).await {
            Ok(receipt) => receipts.push(receipt),
            Err(error) => {
                // The rows of earlier files are committed.
                if !receipts.is_empty() {
                    report(dataset, &receipts, Some(&error), output)?;
                }
                return Err(error);
            }
        }
    }
    report(dataset, &receipts, None, output)?;
    some_fits(dataset, &receipts)
}

async fn load(
    engine: &Engine,
    arguments: &Ingest,
    dataset: &DatasetName,
    file: &Path,
    spec: &Option<DatasetSpec>,
    settings: &Settings,
    output: &Output,
) -> Result<(String, IngestReceipt)> {
    let who = settings.principal()?;
    let there = engine.catalog(&who).await?;
    let there = there.has(dataset)?.then(|| there.dataset(dataset)).transpose()?;
    let file = incoming(arguments, dataset, file, there.map(|of| &of.spec), spec, output)?;
    let name = file.source.name().to_owned();
    let options = LoadOptions {
        on_conflict: on_conflict(arguments),
        rejects_max: arguments.max_quarantined,
        // One that is there is accepted as it is, grown by the spec's new columns, or refused with what differs.
        create: file.create.clone().or_else(|| spec.clone()),
        read: read_options(&LoadSettings::default(), arguments)?,
        settings: arguments.written.settings()?,
        new_columns: new_columns(arguments),
        ..LoadOptions::default()
    };
    let receipt = engine.load(&who, dataset, file.source.clone(), file.format, options).await?;
    Ok((name, receipt))
}

/// Says of each file what loading it would do. A server may have the root.
async fn try_all(
    arguments: &Ingest,
    dataset: &DatasetName,
    spec: Option<DatasetSpec>,
    settings: &Settings,
    output: &Output,
) -> Result<()> {
    // A folder that is not there has no datasets.
    let is_new = !settings.data().contains(':') && !Path::new(settings.data()).exists();
    let mut there = None;
    if !is_new {
        let engine = open_to_read(settings).await?;
        let catalog = engine.catalog(&settings.principal()?).await?;
        if catalog.has(dataset)? {
            there = Some(catalog.dataset(dataset)?.spec.clone());
        }
    }
    let (mut trials, mut made, mut keys) = (Vec::new(), None, None);
    for file in &arguments.files {
        let known = there.as_ref().or(made.as_ref());
        let file = incoming(arguments, dataset, file, known, &spec, output)?;
        let is_made_here = file.create.is_some();
        let of = file.create.as_ref().or(spec.as_ref()).or(known);
        let mut of = of.ok_or_else(|| Error::internal("a dataset without a spec"))?.clone();
        let (stated, name) = (arguments.written.settings()?, file.source.name());
        stated.require_used(file.format, name)?;
        of.load = match is_made_here {
            true => of.load.of_spec_with(&stated, dataset.as_str())?,
            false => of.load.with(&stated, dataset.as_str())?,
        };
        if new_columns(arguments) == NewColumns::Add {
            of.evolution = Evolution::AddNullable;
        }
        let trial = Trial::make(&file.source, file.format, &of, is_made_here, arguments)?;
        trials.push(trial.within(arguments.max_quarantined));
        if !of.key.is_empty() && !matches!(on_conflict(arguments), OnConflict::Add) {
            keys = Some(of.key.join(", "));
        }
        if let Some(spec) = file.create {
            made = Some(spec);
        }
    }
    let told = guess::report(dataset, &trials, made.as_ref(), output);
    if let Some(keys) = keys {
        output.note(&format!(
            "whether rows with the same key ({keys}) are there already, or twice in a file, is looked at when it is loaded"
        ));
    }
    told
}

/// Opens a file, and says what its dataset is to be made from.
fn incoming(
    arguments: &Ingest,
    dataset: &DatasetName,
    file: &Path,
    there: Option<&DatasetSpec>,
    spec: &Option<DatasetSpec>,
    output: &Output,
) -> Result<Incoming> {
    let asked = arguments.format.as_deref().map(str::parse::<Format>).transpose()?;
    let name = shown_name(file);
    let file = Readable::new(file)?;
    let source = Source::File { path: file.path().to_owned(), name };
    let format = match asked {
        Some(format) => format,
        None => read::recognise(&source, dataset)?,
    };
    let create = match (there, spec) {
        (Some(there), _) => {
            require_same(dataset, there, arguments)?;
            None
        }
        (None, Some(spec)) => Some(spec.clone()),
        (None, None) => Some(new_spec(dataset, arguments, &source, format, output)?),
    };
    let copy = match file {
        Readable::AsItIs(_) => None,
        Readable::Copied(copy) => Some(copy),
    };
    Ok(Incoming { source, format, create, _copy: copy })
}

/// A dataset that is there stays what it is.
fn require_same(dataset: &DatasetName, there: &DatasetSpec, arguments: &Ingest) -> Result<()> {
    let asked = &arguments.creation;
    let key = match there.key.is_empty() {
        true => "no key".to_owned(),
        false => format!("the key {}", there.key.join(", ")),
    };
    let is = |asked: &String, column: &str| asked == column || to_identifier(asked) == column;
    let same_key = asked.key.len() == there.key.len()
        && asked.key.iter().zip(&there.key).all(|(asked, column)| is(asked, column));
    let same_time = |asked: &String| there.time_column.as_ref().is_some_and(|time| is(asked, time));
    let other_type = asked.types.iter().find_map(|(asked, data_type)| {
        let column = there.columns.iter().find(|column| is(asked, &column.name))?;
        (column.data_type != *data_type).then_some((column, data_type))
    });
    let problem = if !asked.key.is_empty() && !same_key {
        format!("has {key}; --key says another")
    } else if asked.time.as_ref().is_some_and(|asked| !same_time(asked)) {
        let time = there.time_column.as_deref().unwrap_or("none");
        format!("has the time column {time}; --time says another")
    } else if let Some((column, data_type)) = other_type {
        format!("has {} as {}; --type says {data_type}", column.name, column.data_type)
    } else {
        return Ok(());
    };
    let says = format!("ingest into {dataset}: it is there already and {problem}");
    Err(Error::user(Code::Conflict, says))
}

fn new_columns(arguments: &Ingest) -> NewColumns {
    if arguments.add_columns { NewColumns::Add } else { NewColumns::BySpec }
}

/// The policy for rows whose key exists: the dataset's, unless the command states one.
fn on_conflict(arguments: &Ingest) -> OnConflict {
    match arguments.on_conflict {
        Some(Conflict::Replace) => OnConflict::Replace,
        Some(Conflict::Skip) => OnConflict::Skip,
        Some(Conflict::Error) => OnConflict::Error,
        Some(Conflict::Add) => OnConflict::Add,
        Some(Conflict::Refuse) => OnConflict::Again,
        None => OnConflict::Stored,
    }
}

/// What a dataset is made from that is not there and has no spec.
fn new_spec(
    dataset: &DatasetName,
    arguments: &Ingest,
    source: &Source,
    format: Format,
    output: &Output,
) -> Result<DatasetSpec> {
    if let Some(spec) = specs::by_name(dataset.as_str()) {
        return Ok(spec);
    }
    if arguments.create {
        return guess::guessed(dataset, arguments, source, format, output);
    }
    Err(Error::user(
        Code::NotFound,
        format!(
            "ingest into {dataset}: there is no such dataset; expected one of `colonnade datasets`, a built-in one ({}), --spec FILE, or --create to make it from the file's columns",
            specs::builtin().iter().map(|s| s.name.to_string()).collect::<Vec<_>>().join(", ")
        ),
    ))
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

/// Reports the result of each loaded file, and the error of the file that ended the command.
fn report(
    dataset: &DatasetName,
    receipts: &[(String, IngestReceipt)],
    failure: Option<&Error>,
    output: &Output,
) -> Result<()> {
    let accepted: u64 = receipts.iter().map(|(_, r)| r.accepted).sum();
    let quarantined: u64 = receipts.iter().map(|(_, r)| r.quarantined).sum();
    if output.is_json() {
        let files: Vec<_> = receipts
            .iter()
            .map(|(file, r)| {
                json!({"file": file, "accepted": r.accepted, "quarantined": r.quarantined, "replaced": r.replaced, "skipped": r.skipped, "repeated": r.repeated, "version": r.version.0, "duplicate": r.duplicate, "causes": r.causes, "added_columns": r.added_columns, "stored_settings": r.stored_settings, "warnings": r.warnings})
            })
            .collect();
        let mut document = json!({
            "dataset": dataset.as_str(),
            "files": files,
            "accepted": accepted,
            "quarantined": quarantined,
            "version": receipts.last().map(|(_, r)| r.version.0),
        });
        if let Some(failure) = failure {
            document["error"] = described(failure);
        }
        return output.document(&document);
    }
    let has_conflicts = receipts.iter().any(|(_, r)| r.replaced + r.skipped > 0);
    let rows: Vec<Vec<String>> = receipts
        .iter()
        .map(|(file, r)| {
            let mut row = vec![file.clone(), count(r.accepted), count(r.quarantined)];
            if has_conflicts {
                row.extend([count(r.replaced), count(r.skipped)]);
            }
            row.push(r.version.to_string());
            row
        })
        .collect();
    let header: &[&str] = match has_conflicts {
        true => &["file", "accepted", "quarantined", "replaced", "skipped", "version"],
        false => &["file", "accepted", "quarantined", "version"],
    };
    output.line(&columns(header, &rows))?;
    for (file, receipt) in receipts.iter().filter(|(_, receipt)| receipt.repeated > 0) {
        let repeated = count(receipt.repeated);
        let (keys, have) = if receipt.repeated == 1 { ("key", "has") } else { ("keys", "have") };
        output.note(&format!(
            "{file}: {repeated} {keys} {have} more than one row; all were loaded (--on-conflict replace or skip take one)"
        ));
    }
    for (file, receipt) in receipts.iter().filter(|(_, receipt)| !receipt.added_columns.is_empty())
    {
        let (columns, are) = match receipt.added_columns.len() {
            1 => ("column", "is"),
            _ => ("columns", "are"),
        };
        output.note(&format!(
            "{file}: {columns} {} {are} new in {dataset} (`colonnade alter {dataset} --drop COLUMN` takes one away)",
            receipt.added_columns.join(", ")
        ));
    }
    for (file, receipt) in receipts.iter().filter(|(_, of)| !of.stored_settings.is_empty()) {
        output.note(&format!(
            "{file}: {dataset} stores {} for later files (`colonnade alter {dataset} --set NAME=VALUE` changes it)",
            receipt.stored_settings
        ));
    }
    for (file, warning) in receipts.iter().flat_map(|(f, r)| r.warnings.iter().map(move |w| (f, w)))
    {
        output.note(&format!("{file}: {warning}"));
    }
    if quarantined > 0 {
        output.note(&format!(
            "{} rows are in {} with their reasons:",
            count(quarantined),
            dataset.quarantine()
        ));
        output.note(&causes_of(receipts.iter().flat_map(|(_, receipt)| &receipt.causes)));
    }
    Ok(())
}

/// Why rows were rejected.
pub(super) fn causes_of<'a>(causes: impl IntoIterator<Item = &'a Cause>) -> String {
    let causes = causes
        .into_iter()
        .map(|cause| vec![count(cause.rows), cause.cause.clone(), cause.first.clone()]);
    columns(&["rows", "cause", "the first"], &causes.collect::<Vec<_>>())
}

/// That nothing fits is no success; rows that are there already do.
fn some_fits(dataset: &DatasetName, receipts: &[(String, IngestReceipt)]) -> Result<()> {
    let fits = receipts.iter().any(|(_, receipt)| receipt.accepted + receipt.skipped > 0);
    let quarantined: u64 = receipts.iter().map(|(_, receipt)| receipt.quarantined).sum();
    if fits || quarantined == 0 {
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
