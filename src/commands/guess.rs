//! What a dataset would be that is made from a file, and what would become of the file's rows.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};

use ::datasets::conform::Conformer;
use ::datasets::infer::{Guess, GuessOptions, Hint, Note, SpecHints, guess};
use ::datasets::read::{self, Format, ReadOptions, Source, TextEncoding};
use ::datasets::{Cause, Causes, DatasetName, DatasetSpec, KeyPolicy, LoadSettings};
use engine::{Code, Error, RejectsMax, Result};
use serde_json::json;

use crate::cli::Ingest;
use crate::output::{Output, count};

/// How files are read by these settings.
pub(super) fn read_options(settings: &LoadSettings, arguments: &Ingest) -> Result<ReadOptions> {
    let csv = settings.csv_options_stated(&arguments.written.settings()?, TextEncoding::Found);
    let mut options = ReadOptions { csv, ..ReadOptions::default() };
    let renames = arguments.renames.iter().map(|text| ("rename", text));
    let sheet = arguments.sheet.iter().map(|text| ("sheet", text));
    let mostly = arguments.mostly.iter().map(|text| ("mostly", text));
    for (name, text) in renames.chain(sheet).chain(mostly) {
        options.set(name, text)?;
    }
    Ok(options)
}

/// The spec for a file's rows; what is to be known of it is told, and it is written where that is asked for.
pub(super) fn guessed(
    dataset: &DatasetName,
    arguments: &Ingest,
    source: &Source,
    format: Format,
    output: &Output,
) -> Result<DatasetSpec> {
    let asked = &arguments.creation;
    let stated = arguments.written.settings()?;
    let (name, read) = (source.name(), read_options(&stated, arguments)?);
    read.require_used(format, name)?;
    let options = GuessOptions {
        hints: SpecHints {
            key: asked.key.clone(),
            time_column: asked.time.clone(),
            types: asked.types.clone(),
        },
        mostly: read.mostly.unwrap_or(1.0),
        read,
        ..GuessOptions::default()
    };
    let doing = |e| Error::from(e).while_doing(format_args!("make {dataset} from {name}"));
    let Guess { mut spec, notes, .. } = guess(dataset, source, format, &options).map_err(doing)?;
    spec.load = spec.load.of_spec_with(&stated, dataset.as_str())?;
    // States the policy explicitly, so that every reader of the spec sees it.
    spec.load.on_conflict = (!spec.key.is_empty()).then_some(KeyPolicy::Refuse);
    for Note { text, hints } in &notes {
        let flags: Vec<&str> = hints.iter().map(|hint| flag(*hint)).collect();
        let flags =
            if flags.is_empty() { String::new() } else { format!(" ({})", flags.join(", or ")) };
        output.note(&format!("{name}: {text}{flags}"));
    }
    if let Some(path) = &asked.write_spec {
        let text = spec.to_toml().unwrap_or_default();
        let written = OpenOptions::new().write(true).create_new(true).open(path);
        let written = written.and_then(|mut file| file.write_all(text.as_bytes()));
        // As a trial before wrote it.
        let is_same = || std::fs::read_to_string(path).is_ok_and(|there| there == text);
        let path = path.display();
        match written {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && !is_same() => {
                let says = format!(
                    "--write-spec {path}: there is another file already; it stays as it is. `--spec {path}` loads by it"
                );
                return Err(Error::user(Code::Conflict, says));
            }
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                let doing = format!("write {path}");
                return Err(Error::environment(Code::StorageUnavailable, doing, error));
            }
            _ => {}
        }
    }
    Ok(spec)
}

/// How it is said on the command line.
fn flag(hint: Hint) -> &'static str {
    match hint {
        Hint::DecimalComma => "--decimal-comma",
        Hint::ThousandsMark => "--thousands-mark comma",
        Hint::DayFirst => "--date-order dmy",
        Hint::MonthFirst => "--date-order mdy",
        Hint::Sheet => "--sheet NAME",
        Hint::Mostly => "--mostly 0.99 sends a hundredth to quarantine",
    }
}

/// What loading a file would do.
pub(super) struct Trial {
    name: String,
    accepted: u64,
    rejected: u64,
    causes: Vec<Cause>,
    /// Why the file would be refused.
    refused: Option<String>,
}

impl Trial {
    /// Reads and checks all rows.
    pub(super) fn make(
        source: &Source,
        format: Format,
        spec: &DatasetSpec,
        is_new: bool,
        arguments: &Ingest,
    ) -> Result<Self> {
        let options = read_options(&spec.load, arguments)?;
        let name = source.name().to_owned();
        options.require_used(format, &name)?;
        let mut reader = read::open(source.clone(), format, Some(spec), &options)?;
        let schema = reader.schema();
        if is_new {
            Conformer::require_fit_of_new(spec, &schema, &name)?;
        }
        let (conformer, _) = Conformer::growing(spec, &schema, &name)?;
        let conformer = conformer.in_zone(options.csv.zone);
        let (mut accepted, mut rejected, mut causes) = (0, 0, Causes::default());
        while let Some(chunk) = reader.next_chunk()? {
            let conformed = conformer.conform(&chunk)?;
            accepted += conformed.accepted.num_rows() as u64;
            rejected += conformed.rejected.len() as u64;
            conformed.rejected.iter().for_each(|row| causes.add(row));
        }
        let refused = (is_new && accepted == 0 && rejected > 0).then(|| {
            format!(
                "{name}: none of {rejected} rows fits; dataset {} would not be created",
                spec.name
            )
        });
        Ok(Self { name, accepted, rejected, causes: causes.into_sorted(), refused })
    }

    /// The same where no more than `most` of its rows may be rejected.
    pub(super) fn within(self, most: Option<RejectsMax>) -> Self {
        let Self { name, accepted, rejected, .. } = &self;
        let all = accepted + rejected;
        let over = most.filter(|most| !most.allows(*rejected, all));
        let refused = over.map(|most| {
            format!("{name}: {rejected} of {all} rows do not fit, and at most {most} may; it would not be loaded")
        });
        Self { refused: refused.or(self.refused), ..self }
    }
}

/// Says what loading files would do; `spec` is what the dataset would be made from.
pub(super) fn report(
    dataset: &DatasetName,
    trials: &[Trial],
    spec: Option<&DatasetSpec>,
    output: &Output,
) -> Result<()> {
    if output.is_json() {
        let files = trials.iter().map(|trial| {
            json!({"file": trial.name, "accepted": trial.accepted, "quarantined": trial.rejected, "refused": trial.refused, "causes": trial.causes})
        });
        let files: Vec<_> = files.collect();
        output.document(&json!({"dataset": dataset.as_str(), "spec": spec, "files": files}))?;
        return none_refused(trials);
    }
    if let Some(spec) = spec {
        output.line(&spec.to_toml()?)?;
    }
    for Trial { name, accepted, rejected, causes, refused } in trials {
        let (accepted, rejected) = (count(*accepted), count(*rejected));
        if refused.is_none() {
            output.note(&format!(
                "{name}: {accepted} rows would be loaded, {rejected} would go to quarantine; none was"
            ));
        }
        if !causes.is_empty() {
            output.note(&super::ingest::causes_of(causes));
        }
    }
    none_refused(trials)
}

/// Fails for the first file that would not be loaded: those after it would not be, either.
fn none_refused(trials: &[Trial]) -> Result<()> {
    match trials.iter().find_map(|trial| trial.refused.clone()) {
        Some(says) => Err(Error::user(Code::BadInput, says)),
        None => Ok(()),
    }
}
