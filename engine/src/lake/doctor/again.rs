//! Rows of entries that were set aside, committed again.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use datasets::ColumnSpec;
use deltalake_core::kernel::{Add, Remove};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt};

use super::super::head::Size;
use super::super::log::{LogEntry, rows_in_file, rows_of};
use super::super::{
    Author, CommitLabel, Head, LOST, Proposal, REGAINED, Table, Taken, TakenRequest, first_of,
    is_note, loses, lost_of, schema, width,
};
use super::{DAMAGED_FOLDER, Examination, FindingKind, PENDING, REPAIR, counted, shown};
use crate::bus::CommitKind;
use crate::error::Result;

/// Numbers between two that are taken for lost, at most.
const LOST_MAX: usize = 10_000;

/// Numbers of requests by producer.
pub(super) type Numbers = BTreeMap<String, BTreeSet<i64>>;

/// What entries hold that were set aside or are to be, and what of it is gone.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) again: Again,
    /// Files that they add and that are not there or can not be read.
    gone: Vec<String>,
    /// Requests of which some rows are there, and some are not.
    partly: Numbers,
    /// Files that hold rows of requests that were sent again since, and of others.
    withheld: Vec<String>,
    /// Numbers between two that are not named, because there are too many.
    more_lost: u64,
}

impl Examination<'_> {
    /// Commits the rows again of entries that were set aside, now or when a repair was cut off.
    pub(super) async fn restore(&mut self, table: &Arc<Table>) -> Result<()> {
        let folder = Path::from(DAMAGED_FOLDER);
        let objects: Vec<ObjectMeta> = self.store.list(Some(&folder)).try_collect().await?;
        let mut pending: Vec<Path> = objects.into_iter().map(|object| object.location).collect();
        pending.retain(|path| path.as_ref().ends_with(PENDING));
        pending.sort();
        if pending.is_empty() {
            return Ok(());
        }
        let mut entries = Vec::new();
        for path in &pending {
            let bytes = self.store.get(path).await?.bytes().await?;
            entries.push((LogEntry::salvaged(&bytes), LogEntry::parse(0, &bytes).is_ok()));
        }
        let mut gathered = self.gather(table, entries).await?;
        if !self.changed {
            let files = gathered.again.adds.len();
            let found = format!(
                "a repair was cut off: {} of entries that were set aside are not in the table",
                counted(files, "file")
            );
            self.finds(FindingKind::Damage, found, "their rows are committed again", self.repair);
        }
        self.tells(&gathered);
        if self.repair {
            let columns = std::mem::take(&mut gathered.again.columns);
            self.lake.evolve(self.who, table, columns).await?;
            let Again { adds, sequences, lost, .. } = &gathered.again;
            if !(adds.is_empty() && sequences.is_empty() && lost.is_empty()) {
                self.commit(table, gathered.again).await?;
            }
            for path in &pending {
                let done = path.as_ref().trim_end_matches(PENDING);
                self.rename(path, &Path::from(done)).await?;
            }
        }
        Ok(())
    }

    /// Says what of set-aside entries is lost, and what their producers can do.
    pub(super) fn tells(&mut self, gathered: &Gathered) {
        let Gathered { again, gone, partly, withheld, more_lost } = gathered;
        if !gone.is_empty() {
            let found = format!(
                "{} of entries that can not be read in place are damaged: {}",
                counted(gone.len(), "data file"),
                shown(gone)
            );
            self.finds(FindingKind::Damage, found, "their rows are lost", self.repair);
        }
        if !again.lost.is_empty() {
            let found =
                format!("requests that were taken are lost: {}", shown(&named(&again.lost)));
            let remedy = match self.name.is_quarantine() {
                true => "none: their rejected rows are gone",
                false => "send them again under the same numbers: each is taken once",
            };
            self.finds(FindingKind::Damage, found, remedy, self.repair);
        }
        if *more_lost > 0 {
            let found = format!("{more_lost} more numbers between those that are known are lost");
            let remedy = "these stay taken; send their rows under new numbers";
            self.finds(FindingKind::Damage, found, remedy, self.repair);
        }
        if !partly.is_empty() {
            let found = format!(
                "rows are lost of requests of which others came back: {}",
                shown(&named(partly))
            );
            let remedy = "these numbers stay taken; send what is missing under new ones";
            self.finds(FindingKind::Damage, found, remedy, self.repair);
        }
        if !withheld.is_empty() {
            let found = format!(
                "{} have rows of requests that were sent again since, and of others: {}",
                counted(withheld.len(), "data file"),
                shown(withheld)
            );
            let remedy = "they are not committed again, so that no row is there twice; send the other requests again";
            self.finds(FindingKind::Damage, found, remedy, self.repair);
        }
    }

    /// What `entries` hold, each with whether it is whole, that `table`, whose log ends before them, has not.
    pub(super) async fn gather(
        &self,
        table: &Table,
        mut entries: Vec<(LogEntry, bool)>,
    ) -> Result<Gathered> {
        // The files that one put together are still there, and so are their rows.
        entries.retain(|(entry, _)| !entry.is_to_move());
        let mut head = table.head().await;
        let state = table.state(head.version).await?;
        let mut known: HashSet<Path> =
            state.log_data().iter().map(|file| file.object_store_path()).collect();
        // Committed again before the repair was cut off.
        known.extend(self.logged(head.version).await?.named);
        let mut seen: HashSet<Path> = HashSet::new();
        let (mut found, mut numbers) = (Gathered::default(), Numbers::new());
        for (mut entry, is_whole) in entries {
            if let Some(metadata) = &entry.metadata {
                found.again.row_bytes = found.again.row_bytes.max(width::stated(metadata));
                found.again.columns.extend(schema::spec_of(self.name, metadata)?.columns);
            }
            for TakenRequest { producer, sequence, .. } in &entry.requests {
                numbers.entry(producer.clone()).or_default().insert(*sequence);
            }
            let has_all = is_whole || self.has_all_adds(table, &mut head, &entry, &found).await?;
            let mut adds = Vec::new();
            for add in std::mem::take(&mut entry.adds) {
                let path = Path::from_url_path(&add.path).map_err(object_store::Error::from)?;
                adds.push((path, add));
            }
            let is_in = |(path, _): &(Path, Add)| known.contains(path) || seen.contains(path);
            if adds.iter().any(is_in) {
                found.again.take(entry);
                continue;
            }
            let mut taken = 0;
            for of in &entry.requests {
                taken += usize::from(is_taken(table, &mut head, of).await?);
            }
            if taken > 0 {
                if taken < entry.requests.len() {
                    found.withheld.extend(adds.iter().map(|(path, _)| self.in_root(path)));
                    for of in &entry.requests {
                        if !is_taken(table, &mut head, of).await? {
                            add_number(&mut found.again.lost, of);
                        }
                    }
                }
                continue;
            }
            let (files, mut there) = (adds.len(), 0);
            for (path, add) in adds {
                match self.problem_of_add(&path, &add).await? {
                    Some(problem) => found.gone.push(problem),
                    None => {
                        there += 1;
                        seen.insert(path);
                        found.again.adds.push(add);
                    }
                }
            }
            let is_lost = there == 0 && (files > 0 || !is_whole);
            let of_lost = if is_lost { &mut found.again.lost } else { &mut found.partly };
            if is_lost || there < files || !has_all {
                entry.requests.iter().for_each(|of| add_number(of_lost, of));
            }
            if !is_lost {
                found.again.take(entry);
            }
        }
        if !self.name.is_quarantine() {
            // Each number of a producer follows the one before: what is between two was taken, too.
            for (producer, numbers) in numbers {
                let mut before = head.last_sequence(table, &producer).await?;
                for number in numbers {
                    let between = before.map_or(0..0, |before| before.saturating_add(1)..number);
                    let many = u64::try_from(between.end.saturating_sub(between.start));
                    let more = many.unwrap_or_default().saturating_sub(LOST_MAX as u64);
                    found.more_lost = found.more_lost.saturating_add(more);
                    let between = between.take(LOST_MAX).collect::<BTreeSet<_>>();
                    if !between.is_empty() {
                        found.again.lost.entry(producer.clone()).or_default().extend(between);
                    }
                    before = before.max(Some(number));
                }
            }
        }
        Ok(found)
    }

    /// Whether a torn entry ends behind the files that it adds: what its producers came to stands there.
    async fn has_all_adds(
        &self,
        table: &Table,
        head: &mut Head,
        entry: &LogEntry,
        found: &Gathered,
    ) -> Result<bool> {
        let mut of_producers = 0;
        let mut producers: BTreeSet<&String> = BTreeSet::new();
        for TakenRequest { producer, sequence, .. } in &entry.requests {
            match head.is_noted_lost(table, producer, *sequence).await? {
                true => of_producers += 1,
                false => drop(producers.insert(producer)),
            }
        }
        for producer in producers {
            let is_first = !found.again.sequences.contains_key(producer)
                && head.last_sequence(table, producer).await?.is_none();
            of_producers += 1 + u64::from(is_first);
        }
        let (adds, metadata) = (entry.adds.len() as u64, u64::from(entry.metadata.is_some()));
        Ok(entry.stated_actions() == Some(1 + adds + metadata + of_producers))
    }

    /// What is wrong with a file that an entry adds.
    async fn problem_of_add(&self, path: &Path, add: &Add) -> Result<Option<String>> {
        let problem = match self.size_of(path).await? {
            None => Some("is not there".to_owned()),
            Some(size) => self.problem_of(path, size, rows_in_file(add)).await?,
        };
        let rows = rows_of(add).map_or_else(|| "?".to_owned(), |rows| rows.to_string());
        Ok(problem.map(|problem| format!("{} ({rows} rows) {problem}", self.in_root(path))))
    }

    pub(super) async fn commit(&self, table: &Arc<Table>, mut author: Again) -> Result<()> {
        let label = CommitLabel { operation: REPAIR.to_owned(), ..CommitLabel::default() };
        self.lake.commit(table, &self.who.subject, &label, &mut author).await.map(drop)
    }
}

/// The author of a repair.
#[derive(Default)]
pub(super) struct Again {
    adds: Vec<Add>,
    row_bytes: u64,
    columns: Vec<ColumnSpec>,
    removes: Vec<Remove>,
    removed: Size,
    /// Of the producers whose rows are committed again.
    sequences: HashMap<String, i64>,
    requests: Vec<TakenRequest>,
    /// Requests that were taken and of which nothing is there.
    lost: Numbers,
}

impl Again {
    /// How many rows come back, where each file says.
    pub(super) fn rows(&self) -> Option<u64> {
        self.adds.iter().map(rows_of).sum()
    }

    /// One that takes files out of the table.
    pub(super) fn without(removes: Vec<Remove>, removed: Size) -> Self {
        Self { removes, removed, ..Self::default() }
    }

    /// Where an entry is torn its requests are at hand and the rest may not be. What it holds of them is not taken twice.
    fn take(&mut self, entry: LogEntry) {
        let of_requests = entry.requests.iter().map(|of| (of.producer.clone(), of.sequence));
        for (producer, sequence) in entry.txns.into_iter().chain(of_requests) {
            let is_note = is_note(&producer);
            let last = self.sequences.entry(producer).or_insert(sequence);
            *last = if is_note { (*last).min(sequence) } else { (*last).max(sequence) };
        }
        self.requests.extend(entry.requests);
    }
}

/// The author of a version that takes the place of one that was set aside, and has no rows.
pub(super) struct Filler {
    /// The first and the last version that can not be asked for any more.
    pub(super) set_aside: Option<(u64, u64)>,
}

#[async_trait]
impl Author for Filler {
    async fn propose(&mut self, _: &Table, head: &mut Head) -> Result<Option<Proposal>> {
        head.require_writable()?;
        Ok(Some(Proposal { set_aside: self.set_aside, ..Proposal::without_rows() }))
    }
}

#[async_trait]
impl Author for Again {
    async fn propose(&mut self, table: &Table, head: &mut Head) -> Result<Option<Proposal>> {
        head.require_writable()?;
        for TakenRequest { producer, sequence, .. } in &self.requests {
            let first = first_of(producer);
            if head.last_sequence(table, producer).await?.is_none() {
                let known = self.sequences.entry(first).or_insert(*sequence);
                *known = (*known).min(*sequence);
            }
        }
        let mut sequences = HashMap::new();
        for (name, sequence) in &self.sequences {
            // The producer may have gone on since.
            let is_news = match head.last_sequence(table, name).await? {
                None => true,
                Some(known) if is_note(name) => *sequence < known,
                Some(known) => *sequence > known,
            };
            if is_news {
                sequences.insert(name.clone(), *sequence);
            }
        }
        // What took such a number again says so itself, unless it was torn before that.
        for TakenRequest { producer, sequence, .. } in &self.requests {
            if head.is_noted_lost(table, producer, *sequence).await? {
                sequences.insert(lost_of(producer, *sequence), REGAINED);
            }
        }
        for (producer, numbers) in &self.lost {
            let last = head.last_sequence(table, producer).await?;
            let last = last.max(sequences.get(producer).copied());
            // What is not before its last one comes as its next.
            for number in numbers.iter().filter(|number| last > Some(**number)) {
                sequences.insert(lost_of(producer, *number), LOST);
                sequences.insert(loses(producer), LOST);
            }
        }
        let rows = self.rows();
        let bytes = self.adds.iter().map(|add| u64::try_from(add.size).unwrap_or_default()).sum();
        let kind = match self.removes.is_empty() {
            true => CommitKind::Append,
            false => CommitKind::Overwrite,
        };
        Ok(Some(Proposal {
            kind: Some(kind),
            adds: self.adds.clone(),
            added: Size { rows, bytes, files: self.adds.len() as u64 },
            row_bytes: self.row_bytes,
            removes: self.removes.clone(),
            removed: Size { rows: Some(self.removed.rows.unwrap_or(0)), ..self.removed },
            sequences: sequences.into_iter().collect(),
            requests: self.requests.clone(),
            ..Proposal::default()
        }))
    }
}

/// Whether the head has a request of an entry that was set aside: its rows came again since.
async fn is_taken(table: &Table, head: &mut Head, of: &TakenRequest) -> Result<bool> {
    let TakenRequest { producer, sequence, digest } = of;
    if head.last_sequence(table, producer).await? < Some(*sequence) {
        return Ok(false);
    }
    Ok(match head.taken(table, producer, *sequence).await? {
        Taken::With(taken) => digest.as_ref().is_none_or(|digest| *digest == taken),
        Taken::Before => true,
        Taken::Never { .. } | Taken::Lost => false,
    })
}

fn add_number(to: &mut Numbers, of: &TakenRequest) {
    to.entry(of.producer.clone()).or_default().insert(of.sequence);
}

/// `3 to 5 of "p"`, for each range of each producer.
pub(super) fn named(numbers: &Numbers) -> Vec<String> {
    let mut all = Vec::new();
    for (producer, numbers) in numbers {
        let mut ranges: Vec<(i64, i64)> = Vec::new();
        for number in numbers {
            match ranges.last_mut().filter(|(_, last)| last.checked_add(1) == Some(*number)) {
                Some((_, last)) => *last = *number,
                None => ranges.push((*number, *number)),
            }
        }
        all.extend(ranges.into_iter().map(|(first, last)| match first == last {
            true => format!("{first} of {producer:?}"),
            false => format!("{first} to {last} of {producer:?}"),
        }));
    }
    all
}
