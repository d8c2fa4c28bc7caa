//! Whether a table's log is whole, before it is trusted.
//!
//! The library reads what is there: without its last entry a table is at an older version, and nobody knows that there was a
//! newer one; what is committed behind a gap is never seen again. So the log's files since the last checkpoint are listed when
//! a table is opened, and a gap is an error that names it. What each entry holds is checked where it is read (`log`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use serde::Deserialize;

use super::Table;
use super::log::read_entry;
use crate::error::{Code, Error, Result, find};
use crate::storage::STORE_FAILED;

/// The folder of the log in a table's.
pub(super) const LOG_FOLDER: &str = "_delta_log";
/// Digits of a version in the name of a file.
const VERSION_DIGITS: usize = 20;
/// Entries that are read at once.
const ENTRIES_AT_A_TIME: usize = 16;
/// Entries that a listing left out and that are asked for by name, at most.
const ASKED_FOR_MAX: usize = 1_000;
/// Looks at a log that seems damaged before it is called so.
const LOOKS_MAX: u32 = 5;
/// Wait before the second look; four times as long before each further one.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(2);

/// Where in a table's folder the entry of a version lies.
pub(super) fn entry_path(version: u64) -> Path {
    Path::from(format!("{LOG_FOLDER}/{version:020}.json"))
}

/// The versions that a table's log has files of, each in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LogFiles {
    pub(super) entries: Vec<u64>,
    pub(super) checkpoints: Vec<u64>,
    /// Those of the entries that have no bytes: their content is lost.
    pub(super) empty: BTreeSet<u64>,
}

impl LogFiles {
    /// All that the store has.
    pub(super) async fn list(table: &dyn ObjectStore) -> Result<Self> {
        let mut files = Self::list_from(table, 0).await?;
        files.ask_for_missing(table).await?;
        Ok(files)
    }

    /// Those from the last checkpoint on, where a file says which that is: a log may have millions before it.
    pub(super) async fn list_newest(table: &dyn ObjectStore) -> Result<Self> {
        #[derive(Deserialize)]
        struct LastCheckpoint {
            version: u64,
        }
        let path = Path::from(format!("{LOG_FOLDER}/_last_checkpoint"));
        let last = match table.get(&path).await {
            Ok(found) => serde_json::from_slice::<LastCheckpoint>(&found.bytes().await?).ok(),
            Err(object_store::Error::NotFound { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let Some(LastCheckpoint { version }) = last else { return Self::list(table).await };
        let mut files = Self::list_from(table, version).await?;
        // It is a hint: where the checkpoint is not there, nothing stands for what was before it.
        if files.checkpoints.is_empty() {
            return Self::list(table).await;
        }
        files.ask_for_missing(table).await?;
        Ok(files)
    }

    async fn list_from(table: &dyn ObjectStore, first: u64) -> Result<Self> {
        let folder = Path::from(LOG_FOLDER);
        let offset = Path::from(format!("{LOG_FOLDER}/{first:020}"));
        let mut listing = match first {
            0 => table.list(Some(&folder)),
            _ => table.list_with_offset(Some(&folder), &offset),
        };
        let (mut entries, mut checkpoints) = (BTreeSet::new(), Checkpoints::default());
        let mut empty = BTreeSet::new();
        while let Some(object) = listing.next().await {
            let object = object?;
            // What lies in folders of the log is no entry.
            let Some(name) = only_part(&object.location, &folder) else { continue };
            let Some((number, rest)) = name.split_once('.') else { continue };
            if number.len() != VERSION_DIGITS || !number.bytes().all(|b| b.is_ascii_digit()) {
                continue;
            }
            let Ok(version) = number.parse() else { continue };
            match rest.strip_prefix("checkpoint.") {
                Some(rest) => checkpoints.add(version, rest, &object),
                None if rest == "json" => {
                    entries.insert(version);
                    if object.size == 0 {
                        empty.insert(version);
                    }
                }
                None => {}
            }
        }
        let (entries, checkpoints) = (entries.into_iter().collect(), checkpoints.whole());
        Ok(Self { entries, checkpoints, empty })
    }

    /// Asks by name for what the listing has not, while it is there: a listing is not made in one moment, and one that is made
    /// beside a writer may have the later of two entries and not the earlier one.
    async fn ask_for_missing(&mut self, table: &dyn ObjectStore) -> Result<()> {
        for _ in 0..ASKED_FOR_MAX {
            let Some(missing) = self.first_missing() else { break };
            let path = entry_path(missing);
            match table.head(&path).await {
                Ok(object) if object.size > 0 => {}
                Ok(_) | Err(object_store::Error::NotFound { .. }) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            self.empty.remove(&missing);
            if let Err(place) = self.entries.binary_search(&missing) {
                self.entries.insert(place, missing);
            }
        }
        Ok(())
    }

    /// The newest version; `None` where there is no log. STORAGE_UNAVAILABLE names the first version that is missing since the
    /// last checkpoint.
    pub(super) fn newest(&self) -> Result<Option<u64>> {
        match self.first_missing() {
            None => Ok(self.last()),
            Some(missing) => {
                let newest = self.last().unwrap_or_default();
                Err(Error::user(
                    Code::StorageUnavailable,
                    format!(
                        "the table's log is damaged: version {missing} {}, and {newest} is there",
                        if self.empty.contains(&missing) { "is empty" } else { "is missing" }
                    ),
                ))
            }
        }
    }

    /// The newest version that there is a file of.
    pub(super) fn last(&self) -> Option<u64> {
        self.entries.last().max(self.checkpoints.last()).copied()
    }

    /// The first version since the last checkpoint that has no entry, or one without bytes, while a later one has.
    pub(super) fn first_missing(&self) -> Option<u64> {
        let first = self.checkpoints.last().map_or(0, |checkpoint| checkpoint.saturating_add(1));
        let there = self.entries.iter().copied().filter(|version| *version >= first);
        (first..=u64::MAX)
            .zip(there)
            .find(|(expected, version)| expected != version || self.empty.contains(version))
            .map(|(expected, _)| expected)
    }
}

/// Looks at a log, and looks again where it seems damaged: beside a clean-up a listing may name what is gone by then.
pub(super) async fn settled<T, F>(mut look: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let mut wait = LOOK_AGAIN_AFTER;
    for _ in 1..LOOKS_MAX {
        match look().await {
            Err(error) if is_damage(&error) => tokio::time::sleep(wait).await,
            settled => return settled,
        }
        wait *= 4;
    }
    look().await
}

/// Whether an error says that files of a table are damaged or missing, and not that the store does not answer.
pub(super) fn is_damage(error: &Error) -> bool {
    let failed =
        |error: &object_store::Error| !matches!(error, object_store::Error::NotFound { .. });
    error.code() == Code::StorageUnavailable
        && !find::<object_store::Error>(error).is_some_and(failed)
        && find::<std::io::Error>(error).is_none_or(|e| e.kind() == std::io::ErrorKind::NotFound)
        // The kernel says so in words only.
        && !error.to_string().ends_with(STORE_FAILED)
}

/// Whether a table can not be read for what it is, and not because the store does not answer.
pub(crate) fn is_unreadable(error: &Error) -> bool {
    is_damage(error) || matches!(error.code(), Code::BadInput | Code::Conflict)
}

/// `error` with where more is said of the damage that it tells of.
pub(super) fn advised(error: Error) -> Error {
    match is_damage(&error) {
        true => error.with_advice("`colonnade doctor` says what can be saved"),
        false => error,
    }
}

/// The name of what lies in `folder` itself.
fn only_part(path: &Path, folder: &Path) -> Option<String> {
    let mut parts = path.prefix_match(folder)?;
    let name = parts.next()?;
    parts.next().is_none().then(|| name.as_ref().to_owned())
}

/// Checkpoints, and which of their parts are there.
#[derive(Default)]
struct Checkpoints {
    whole: BTreeSet<u64>,
    /// By version and number of parts.
    parts: BTreeMap<(u64, u64), BTreeSet<u64>>,
}

impl Checkpoints {
    /// `rest` is the name behind `checkpoint.`: `parquet`, a part and of how many, or an id of a newer kind.
    fn add(&mut self, version: u64, rest: &str, object: &ObjectMeta) {
        if object.size == 0 {
            return;
        }
        let mut words = rest.split('.');
        let mut number = || words.next().and_then(|word| word.parse().ok());
        let _ = match (number(), number()) {
            (Some(part), Some(of)) => self.parts.entry((version, of)).or_default().insert(part),
            _ => self.whole.insert(version),
        };
    }

    fn whole(mut self) -> Vec<u64> {
        let all = self.parts.iter().filter(|((_, of), parts)| parts.len() as u64 == *of);
        self.whole.extend(all.map(|((version, _), _)| *version));
        self.whole.into_iter().collect()
    }
}

impl Table {
    /// The newest version that the log has. STORAGE_UNAVAILABLE where an entry before it is missing.
    pub(super) async fn newest_listed(&self) -> Result<Option<u64>> {
        let newest = async || LogFiles::list_newest(self.store.as_ref()).await?.newest();
        settled(newest).await.map_err(advised)
    }

    /// Fails unless each entry since the last checkpoint, up to that of `version`, is whole: a checkpoint over a damaged one
    /// would make its loss last.
    pub(super) async fn require_whole_log(&self, version: u64) -> Result<()> {
        let files = LogFiles::list_newest(self.store.as_ref()).await?;
        files.newest()?;
        let first = files.checkpoints.last().map_or(0, |checkpoint| checkpoint.saturating_add(1));
        let versions = files.entries.into_iter().filter(|at| (first..=version).contains(at));
        let entries =
            stream::iter(versions).map(|at| read_entry(&self.log, at)).buffered(ENTRIES_AT_A_TIME);
        entries.try_for_each(async |_| Ok(())).await
    }

    /// Fails unless the entry of `version`, the newest that is known, is as it was when it was written or read: of what is
    /// committed on one that is damaged, nothing can be read. It is asked for once a commit, beside the writing of the rows.
    pub(super) async fn require_whole(&self, version: u64, bytes: Option<u64>) -> Result<()> {
        if self.is_damaged.load(Ordering::Relaxed) {
            self.require_whole_log(version).await.map_err(advised)?;
            self.is_damaged.store(false, Ordering::Relaxed);
        }
        let Some(expected) = bytes else { return Ok(()) };
        let path = entry_path(version);
        let found = match self.store.head(&path).await {
            Ok(object) if object.size == expected => return Ok(()),
            Ok(object) => format!("found {} bytes", object.size),
            Err(object_store::Error::NotFound { .. }) => {
                // A checkpoint stands for entries that were cleaned up.
                let files = LogFiles::list_newest(self.store.as_ref()).await?;
                if files.checkpoints.last() >= Some(&version) {
                    return Ok(());
                }
                "it is gone".to_owned()
            }
            Err(error) => return Err(error.into()),
        };
        Err(advised(Error::user(
            Code::StorageUnavailable,
            format!(
                "version {version} of the table's log was damaged after it was committed: expected {expected} bytes, \
                 {found}; nothing is committed on it"
            ),
        )))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_gap_since_the_last_checkpoint_is_named() {
        let newest = |entries: &[u64], checkpoints: &[u64]| {
            let (entries, checkpoints) = (entries.to_vec(), checkpoints.to_vec());
            LogFiles { entries, checkpoints, empty: BTreeSet::new() }.newest()
        };
        assert_eq!(newest(&[], &[]).unwrap(), None);
        assert_eq!(newest(&[0, 1, 2], &[]).unwrap(), Some(2));
        assert_eq!(newest(&[0, 1, 2], &[1]).unwrap(), Some(2));
        assert_eq!(newest(&[3], &[2]).unwrap(), Some(3));
        assert_eq!(newest(&[], &[4]).unwrap(), Some(4));
        // Before the checkpoint they are cleaned up, in whatever order.
        assert_eq!(newest(&[1, 5], &[4]).unwrap(), Some(5));
        // Nor does a later one say anything of those before it.
        assert_eq!(newest(&[0, 1, 2, 4], &[6]).unwrap(), Some(6));
        for (entries, checkpoints, missing) in
            [(&[1, 2][..], &[][..], 0), (&[0, 2], &[], 1), (&[0, 1, 4], &[2], 3), (&[6], &[4], 5)]
        {
            let error = newest(entries, checkpoints).unwrap_err();
            assert_eq!(error.code(), Code::StorageUnavailable);
            assert!(
                error.to_string().contains(&format!("version {missing} is missing")),
                "{error}"
            );
        }
    }

    fn log_files(entries: Vec<u64>, checkpoints: Vec<u64>) -> LogFiles {
        LogFiles { entries, checkpoints, empty: BTreeSet::new() }
    }

    #[tokio::test]
    async fn only_files_of_the_log_itself_are_counted() {
        let store = object_store::memory::InMemory::new();
        let put = async |name: &str, bytes: &'static [u8]| {
            store.put(&Path::from(format!("{LOG_FOLDER}/{name}")), bytes.into()).await.unwrap();
        };
        for version in 3..8 {
            put(&format!("{version:020}.json"), b"{}").await;
        }
        put("00000000000000000002.checkpoint.parquet", b"x").await;
        put("00000000000000000004.checkpoint.parquet", b"").await;
        put("00000000000000000005.checkpoint.0000000001.0000000002.parquet", b"x").await;
        put("00000000000000000006.checkpoint.0000000001.0000000002.parquet", b"x").await;
        put("00000000000000000006.checkpoint.0000000002.0000000002.parquet", b"x").await;
        put("backup/00000000000000000009.json", b"{}").await;
        put("9.json", b"{}").await;
        let files = LogFiles::list(&store).await.unwrap();
        assert_eq!(files, log_files(vec![3, 4, 5, 6, 7], vec![2, 6]));
        put("_last_checkpoint", br#"{"version": 6, "size": 5}"#).await;
        let files = LogFiles::list_newest(&store).await.unwrap();
        assert_eq!(files, log_files(vec![6, 7], vec![6]));
        // It is a hint and no more.
        put("_last_checkpoint", br#"{"version": 7, "size": 5}"#).await;
        assert_eq!(LogFiles::list_newest(&store).await.unwrap().entries, [3, 4, 5, 6, 7]);
    }

    #[tokio::test]
    async fn what_a_listing_left_out_is_asked_for_by_its_name() {
        let store = object_store::memory::InMemory::new();
        for (version, bytes) in [(3, "{}"), (4, "{}"), (5, "{}"), (7, "{}"), (8, "")] {
            let path = entry_path(version);
            store.put(&path, bytes.into()).await.unwrap();
        }
        let asked = async |entries: &[u64], empty: &[u64]| {
            let mut files = log_files(entries.to_vec(), vec![2]);
            files.empty = empty.iter().copied().collect();
            files.ask_for_missing(&store).await.unwrap();
            files
        };
        assert_eq!(asked(&[5, 7], &[]).await.entries, [3, 4, 5, 7]);
        // It was listed between its making and its first byte.
        assert_eq!(asked(&[3, 4, 5], &[4]).await.first_missing(), None);
        assert_eq!(asked(&[3, 7], &[]).await.first_missing(), Some(6));
        assert_eq!(asked(&[3, 4, 5, 6, 7, 8], &[8]).await.first_missing(), Some(8));
        assert_eq!(log_files(vec![3], vec![u64::MAX]).first_missing(), None);
    }
}
