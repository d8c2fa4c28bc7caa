//! What a set of files says of itself, and whether that is so.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use datasets::DatasetName;
use serde::{Deserialize, Serialize};

use super::files::{JOURNAL, MANIFEST, is_ours};
use crate::error::{Code, Error, Result};
use crate::export::Tally;
use crate::identity::Version;
use crate::options::Access;
use crate::storage::Target;

/// Files that a message names.
const NAMED_MAX: usize = 3;

/// What a set of files holds. It is written last: where it is, the set is whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Of the manifest itself.
    pub format_version: u32,
    /// Which release wrote it.
    pub written_by: String,
    /// Who had it written, as the door knew them.
    pub requested_by: String,
    /// The run that wrote it, where one did.
    pub run_id: Option<String>,
    /// When it was whole, in UTC.
    pub finished_at: String,
    /// Until when it is kept, where it goes by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
    /// What it is of.
    pub source: Described,
    /// The datasets that were read, each at its version.
    pub datasets: Vec<Pinned>,
    /// Whether something was kept back from who had it written: rows, columns, or what stands in them.
    pub is_part: bool,
    /// What tells what its asker saw from what others see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sees: Option<String>,
    /// How the files are written.
    pub form: String,
    /// How they are packed.
    pub packing: String,
    /// Whether texts that a spreadsheet would compute have a `'` before them, which is not data.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_escaped_formulas: bool,
    /// The columns, in their order.
    pub columns: Vec<Column>,
    /// Those of them that stand in the names of folders, and not in the files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partition_by: Vec<String>,
    /// Rows of all files.
    pub rows: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// The files, in the order of their rows.
    pub files: Vec<File>,
}

/// What rows were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Described {
    /// The dataset, where it is of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset: Option<DatasetName>,
    /// The condition on its rows.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// The version since which the changes are exported, instead of all rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Version>,
    /// The query, where it is of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,
    /// The report, where it is one: the name of its template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<String>,
}

/// A dataset at a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    /// Which.
    pub dataset: DatasetName,
    /// Its version.
    pub version: Version,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type, as specs have it where it is of a dataset, else as Arrow does.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it may be null.
    pub nullable: bool,
    /// What its numbers count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// What it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Its name.
    pub name: String,
    /// Its rows.
    pub rows: u64,
    /// Its bytes.
    pub bytes: u64,
    /// Their SHA-256, in hexadecimal digits.
    pub sha256: String,
}

impl Manifest {
    /// What this release writes, and the releases that read it know.
    pub(super) const FORMAT: u32 = 1;

    /// Whether it is kept no more.
    pub(super) fn is_over(&self, now: DateTime<Utc>) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// The manifest that lies there, if one does.
    pub(super) async fn of(target: &Target) -> Result<Option<Self>> {
        let Some(bytes) = target.get(MANIFEST).await? else { return Ok(None) };
        let wrong = |problem: String| {
            Error::user(
                Code::BadInput,
                format!("{MANIFEST}: this is no manifest of an export: {problem}"),
            )
        };
        #[derive(Deserialize)]
        struct Format {
            format_version: u32,
        }
        let format: Format =
            serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        if format.format_version != Self::FORMAT {
            let says = format!(
                "it is of format {}, and this release reads {}",
                format.format_version,
                Self::FORMAT
            );
            return Err(wrong(says));
        }
        serde_json::from_slice(&bytes).map(Some).map_err(|error| wrong(error.to_string()))
    }
}

/// Holds the files of an export against its manifest, byte by byte. Fails where one is missing, is another, or is not of it, and
/// where the export has not ended.
pub async fn verify_export(at: &str) -> Result<Manifest> {
    verify(&Target::open(at, &Access::ReadOnly)?, at).await
}

/// The same of a place that is open, and is called `at`.
pub(super) async fn verify(target: &Target, at: &str) -> Result<Manifest> {
    let wrong = |says: String| Error::user(Code::Conflict, format!("{at}: {says}"));
    let there = target.list().await?;
    let Some(manifest) = Manifest::of(target).await? else {
        let is_begun = there.keys().any(|name| name.starts_with(JOURNAL));
        return Err(match is_begun {
            true => wrong(format!(
                "this export is not whole: it has no {MANIFEST} yet; run the same export again, and it goes on"
            )),
            false => Error::user(
                Code::NotFound,
                format!("{at}: there is no export: it has no {MANIFEST}"),
            ),
        });
    };
    let named: BTreeSet<&str> = manifest.files.iter().map(|file| file.name.as_str()).collect();
    // Who reads all that ends as the files do reads others, too.
    let ending =
        |name: &str| name.rsplit('/').next()?.split_once('.').map(|(_, end)| end.to_owned());
    let ending_of_all = manifest.files.first().and_then(|file| ending(&file.name));
    let looks_like_one = |name: &str| is_ours(name) || ending(name) == ending_of_all;
    let others: Vec<&str> = (there.keys().map(String::as_str))
        .filter(|name| *name != MANIFEST && !name.starts_with(JOURNAL))
        .filter(|name| looks_like_one(name) && !named.contains(name))
        .collect();
    let mut problems = BTreeMap::new();
    for file in &manifest.files {
        if let Some(problem) = problem_of(target, file).await? {
            problems.insert(file.name.as_str(), problem);
        }
    }
    for other in others {
        problems.insert(other, "is not in the manifest".to_owned());
    }
    let sums = manifest.files.iter().fold((0, 0), |(rows, bytes), file| {
        (u64::saturating_add(rows, file.rows), u64::saturating_add(bytes, file.bytes))
    });
    if sums != (manifest.rows, manifest.bytes) {
        problems.insert(MANIFEST, "its sums are not those of its files".to_owned());
    }
    if named.len() != manifest.files.len() {
        problems.insert(MANIFEST, "names a file twice".to_owned());
    }
    if problems.is_empty() {
        return Ok(manifest);
    }
    let mut says: Vec<String> = problems
        .iter()
        .take(NAMED_MAX)
        .map(|(name, problem)| format!("{name} {problem}"))
        .collect();
    if let Some(more) = problems.len().checked_sub(NAMED_MAX).filter(|more| *more > 0) {
        says.push(format!("and {more} more"));
    }
    Err(wrong(format!("this is not what was exported: {}", says.join("; "))))
}

async fn problem_of(target: &Target, file: &File) -> Result<Option<String>> {
    if !is_ours(&file.name) {
        return Ok(Some("is no name of an export's file".to_owned()));
    }
    let (tally, mut writer) = Tally::over(std::io::sink());
    let is_there = target
        .read(&file.name, |bytes| {
            // A sink takes everything.
            let _ = std::io::Write::write_all(&mut writer, bytes);
        })
        .await?;
    if !is_there {
        return Ok(Some("is missing".to_owned()));
    }
    let found = tally.tallied();
    Ok(match found {
        _ if found.bytes != file.bytes => {
            Some(format!("has {} bytes, expected {}", found.bytes, file.bytes))
        }
        _ if found.sha256 != file.sha256 => Some("has other bytes than were written".to_owned()),
        _ => None,
    })
}
