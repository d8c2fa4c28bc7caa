//! Changing rows that are there: some go, others come, as one commit.
//!
//! A file is never changed. Those that hold a row that goes are read, what stays of them is written to new files, and one commit
//! removes the former and adds the latter. So every Delta reader agrees, and what changed between two versions is told as for
//! every other commit.
//!
//! ```text
//!   read at N ──▶ write what stays and what comes ──▶ look through what was added since ──▶ put N+k+1
//!       ▲                                                   │
//!       └────────────── a file that was read is gone ───────┘
//! ```
//!
//! Reading takes long, and others commit meanwhile. What they added is looked through as well, the last of it while nobody commits,
//! so that no row that should go is there beside one that came in its place. Changes of one process come one after the other; one that
//! loses its files to another process begins anew.

mod reshape;
mod sieve;
mod turn;

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::{concat_batches, take_record_batch};
use arrow::row::{RowConverter, SortField};
use async_trait::async_trait;
use datafusion::logical_expr::Expr;
use datasets::{DatasetName, DatasetSpec};
use futures::StreamExt;

use crate::bus::CommitKind;
use crate::error::{Code, Error, Result};
use crate::identity::{Principal, Version};
use crate::lake::{
    Author, Before, Checked, CommitLabel, DataFiles, FileWriter, Head, Lake, Proposal, Record,
    RevisedRows, Table, require_same_columns,
};
use crate::session::{Session, for_constants_of, rows_of};

use reshape::{Add, Reshaping};
use sieve::{Sieve, Sifted, Sifting};

pub use reshape::{Reshape, Reshaped};
pub(crate) use sieve::Keys;
pub(crate) use turn::Reviser;

/// How often it begins anew because others changed the same files meanwhile.
const ATTEMPTS_MAX: usize = 8;
/// How often what was added meanwhile is looked through before commits wait for it.
const ROUNDS_MAX: usize = 3;

/// A change of rows.
pub struct Revision {
    /// Those that go.
    pub going: Going,
    /// Those that come in their place.
    pub coming: Coming,
}

/// Which rows go.
#[derive(Clone, Debug)]
pub enum Going {
    /// All.
    All,
    /// Those of which this is true, an expression of the dataset's columns.
    Where(Expr),
    /// Those with the key of one that comes.
    SameKey,
}

/// What comes.
pub enum Coming {
    /// Nothing.
    Nothing,
    /// These. Of two with one key, where keys say what goes, the later one.
    Rows(Vec<RecordBatch>),
    /// What goes, with these columns changed.
    Changed(Vec<(String, Expr)>),
}

/// A change that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revised {
    /// The version that shows it: the newest one where nothing was to be changed.
    pub version: Version,
    /// Rows that went.
    pub removed: u64,
    /// Rows that came.
    pub added: u64,
    /// Rows that were given and did not come, because a later one has their key.
    pub superseded: u64,
    /// Bytes of the files that were written.
    pub bytes: u64,
    /// Whether it had been made before, so that nothing was.
    pub duplicate: bool,
}

/// Makes a change.
pub(crate) async fn revise(
    lake: &Lake,
    session: &Session,
    who: &Principal,
    dataset: &DatasetName,
    revision: Revision,
    label: &CommitLabel,
) -> Result<Revised> {
    lake.require_writer()?;
    let table = lake.table(&who.tenant, dataset).await?;
    let _alone = table.revising.lock().await;
    again_and_again(lake, session, who, &table, &Incoming::Revision(&revision), label).await
}

/// How many rows would be changed or go; fails where making the change would. Nothing is changed.
pub(crate) async fn try_out(
    table: &Arc<Table>,
    session: &Session,
    revision: &Revision,
) -> Result<u64> {
    let (spec, version, mut checked) = {
        let head = table.head().await;
        head.require_writable()?;
        head.require_replaceable()?;
        (Arc::clone(&head.spec), head.version(), Checked::new(&head))
    };
    let sieve = Sieve::new(table, session, &spec, revision, None)?;
    let snapshot = table.snapshot(version).await?;
    let going = sieve.matching(rows_of(session, &snapshot, None, None)?, true)?;
    let Some(going) = going else { return Ok(0) };
    let Some(columns) = &sieve.changed else { return Ok(going.count().await? as u64) };
    let changed = for_constants_of(going.select(columns.clone())?)?;
    let mut changed = changed.execute_stream().await?;
    let mut count = 0;
    while let Some(batch) = changed.next().await {
        count += checked.check(&batch?)?.num_rows() as u64;
    }
    Ok(count)
}

/// How many rows would be written anew for a change of columns; fails where making it would. Nothing is changed.
pub(crate) async fn try_out_columns(
    table: &Arc<Table>,
    session: &Session,
    reshape: &Reshape,
) -> Result<Reshaped> {
    let (spec, version) = {
        let head = table.head().await;
        head.require_writable()?;
        (Arc::clone(&head.spec), head.version())
    };
    let nothing = Reshaped { version, rows: 0, bytes: 0, checks: 0 };
    let Some(reshaping) = Reshaping::new(reshape, &spec)? else { return Ok(nothing) };
    table.head().await.require_replaceable()?;
    let snapshot = table.snapshot(version).await?;
    let rows = || rows_of(session, &snapshot, None, None);
    reshaping.require_fit(rows()?).await?;
    let mut checked = Checked::of(Arc::clone(&reshaping.spec));
    let mut stream = rows()?.select(reshaping.columns.clone())?.execute_stream().await?;
    let mut count = 0;
    while let Some(batch) = stream.next().await {
        count += checked.check(&batch?)?.num_rows() as u64;
    }
    Ok(Reshaped { rows: count, checks: checks_lost(&spec, &reshaping.spec), ..nothing })
}

fn checks_lost(before: &DatasetSpec, after: &DatasetSpec) -> usize {
    before.validations.len() - after.validations.len()
}

/// Changes the columns of a dataset.
pub(crate) async fn reshape(
    lake: &Lake,
    session: &Session,
    who: &Principal,
    table: &Arc<Table>,
    reshape: &Reshape,
    label: &CommitLabel,
) -> Result<Reshaped> {
    let before = table.entry();
    if Reshaping::new(reshape, &before.spec)?.is_none() {
        let landed = lake.commit(table, &who.subject, label, &mut Add(reshape)).await?;
        return Ok(Reshaped { version: landed.version, rows: 0, bytes: 0, checks: 0 });
    }
    let incoming = Incoming::Reshape(reshape);
    let Revised { version, added, bytes, .. } =
        again_and_again(lake, session, who, table, &incoming, label).await?;
    let checks = checks_lost(&before.spec, &reshape.spec_after(&before.spec)?);
    Ok(Reshaped { version, rows: added, bytes, checks })
}

/// Has the rows of `files`, which no commit names yet, take the place of those with their keys. The files stay the caller's.
pub(crate) async fn replace_by_key(
    lake: &Lake,
    session: &Session,
    who: &Principal,
    table: &Arc<Table>,
    (files, keys): (&DataFiles, Keys),
    first: &dyn Before,
    label: &CommitLabel,
) -> Result<Revised> {
    let _alone = table.revising.lock().await;
    let incoming = Incoming::Written(files, &keys, first);
    again_and_again(lake, session, who, table, &incoming, label).await
}

async fn again_and_again(
    lake: &Lake,
    session: &Session,
    who: &Principal,
    table: &Arc<Table>,
    incoming: &Incoming<'_>,
    label: &CommitLabel,
) -> Result<Revised> {
    let what = match incoming {
        Incoming::Reshape(_) => "columns",
        Incoming::Revision(_) | Incoming::Written(..) => "rows",
    };
    let doing =
        |e: Error| e.while_doing(format_args!("changing {what} of dataset {}", table.name()));
    for _ in 0..ATTEMPTS_MAX {
        if let Some(revised) =
            attempt(lake, session, who, table, incoming, label).await.map_err(doing)?
        {
            return Ok(revised);
        }
        tokio::task::yield_now().await;
    }
    Err(Error::user(
        Code::Conflict,
        format!(
            "changing {what} of dataset {}: others changed the same files {ATTEMPTS_MAX} times meanwhile; \
             try again, or where a server has the root, ask it for the change (GraphQL)",
            table.name()
        ),
    ))
}

/// What is to be done.
enum Incoming<'a> {
    Revision(&'a Revision),
    /// Rows that lie in files already take the place of those with their keys; something else is committed first.
    Written(&'a DataFiles, &'a Keys, &'a dyn Before),
    /// All rows are to have other columns.
    Reshape(&'a Reshape),
}

/// Makes it on the table as it is now; nothing, where that was not possible.
async fn attempt(
    lake: &Lake,
    session: &Session,
    who: &Principal,
    table: &Arc<Table>,
    incoming: &Incoming<'_>,
    label: &CommitLabel,
) -> Result<Option<Revised>> {
    let (mut writer, mut checked, spec, version, reshaping) = {
        let mut head = table.head().await;
        head.require_writable()?;
        head.require_replaceable()?;
        if label.is_made(table, &mut head).await? {
            return Ok(Some(duplicate(&head)));
        }
        let reshaping = match incoming {
            Incoming::Reshape(reshape) => Reshaping::new(reshape, &head.spec)?,
            Incoming::Revision(_) | Incoming::Written(..) => None,
        };
        (
            writer_of(table, &head, reshaping.as_ref())?,
            Checked::of(Arc::clone(reshaping.as_ref().map_or(&head.spec, |to| &to.spec))),
            Arc::clone(&head.spec),
            head.version(),
            reshaping,
        )
    };
    let written = async {
        let (sieve, added, superseded) = match incoming {
            Incoming::Revision(revision) => {
                let given = match &revision.coming {
                    Coming::Rows(batches) => {
                        let rows = batches.iter().map(|batch| checked.check(batch));
                        rows.collect::<Result<Vec<_>>>()?
                    }
                    Coming::Nothing | Coming::Changed(_) => Vec::new(),
                };
                let given = Given::new(&spec, &revision.going, given)?;
                let sieve = Sieve::new(table, session, &spec, revision, given.keys.as_ref())?;
                let added = given.rows.iter().map(|batch| batch.num_rows() as u64).sum::<u64>();
                writer.write_all(given.rows).await?;
                (sieve, added, given.superseded)
            }
            Incoming::Written(files, keys, _) => {
                let going = Sifting::Keys((*keys).clone());
                let sieve = Sieve { table, session, going, changed: None, was: None };
                (sieve, files.size.rows.unwrap_or_default(), 0)
            }
            Incoming::Reshape(_) => {
                let columns = reshaping.as_ref().map(|to| to.columns.clone());
                let was = reshaping.as_ref().and_then(|to| to.was.clone());
                (Sieve { table, session, going: Sifting::All, changed: columns, was }, 0, 0)
            }
        };
        if let Some(reshaping) = &reshaping {
            let snapshot = table.snapshot(version).await?;
            reshaping.require_fit(rows_of(session, &snapshot, None, None)?).await?;
        }
        let mut sifted = Sifted::default();
        let mut at = version;
        sieve
            .sift(&mut sifted, &table.snapshot(at).await?, None, &mut writer, &mut checked)
            .await?;
        for _ in 0..ROUNDS_MAX {
            let to = table.entry().version;
            if to == at {
                break;
            }
            if !sieve.follow(&mut sifted, at, to, &mut writer, &mut checked).await? {
                return Ok(None);
            }
            at = to;
        }
        Ok(Some((sieve, sifted, at, added, superseded)))
    };
    let (sieve, sifted, at, added, superseded) = match written.await {
        Ok(Some(written)) => written,
        Ok(None) => {
            writer.abandon().await;
            return Ok(None);
        }
        Err(e) => {
            writer.abandon().await;
            return Err(e);
        }
    };
    let files = writer.finish().await?;
    let mut author = Changer {
        sieve,
        sifted,
        written: match incoming {
            Incoming::Written(files, _, first) => Some((files, *first)),
            Incoming::Revision(_) | Incoming::Reshape(_) => None,
        },
        reshaping,
        files: vec![files],
        at,
        checked,
        added,
        label,
        is_stale: false,
        is_made: false,
    };
    let landed = lake.commit(table, &who.subject, label, &mut author).await;
    let Changer { sifted, files, is_stale, is_made, .. } = author;
    let bytes = files.iter().map(|files| files.size.bytes).sum();
    let came = added + sifted.changed;
    match landed {
        Ok(landed) if landed.committed => Ok(Some(Revised {
            version: landed.version,
            removed: sifted.removed,
            added: came,
            superseded,
            bytes,
            duplicate: false,
        })),
        other => {
            for files in files {
                match &other {
                    Ok(_) => files.drop_unused().await,
                    Err(_) => files.discard(table).await,
                }
            }
            let landed = other?;
            let nothing = Revised {
                version: landed.version,
                removed: 0,
                added: 0,
                superseded: 0,
                bytes: 0,
                duplicate: is_made,
            };
            Ok((!is_stale).then_some(nothing))
        }
    }
}

/// A writer of files as the table is, or as it is to be.
fn writer_of(table: &Table, head: &Head, reshaping: Option<&Reshaping>) -> Result<FileWriter> {
    match reshaping {
        Some(reshaping) => FileWriter::reshaping(table, head, &reshaping.spec),
        None => FileWriter::new(table, head),
    }
}

fn duplicate(head: &Head) -> Revised {
    let version = head.version();
    Revised { version, removed: 0, added: 0, superseded: 0, bytes: 0, duplicate: true }
}

/// The rows that come.
struct Given {
    rows: Vec<RecordBatch>,
    /// Their keys, where those say what goes.
    keys: Option<RecordBatch>,
    superseded: u64,
}

impl Given {
    fn new(spec: &DatasetSpec, going: &Going, rows: Vec<RecordBatch>) -> Result<Self> {
        if !matches!(going, Going::SameKey) {
            return Ok(Self { rows, keys: None, superseded: 0 });
        }
        if spec.key.is_empty() {
            return Err(Error::user(
                Code::BadInput,
                "rows can be replaced by key only where the dataset has one; its spec names no `key`",
            ));
        }
        let Some(schema) = rows.first().map(RecordBatch::schema) else {
            return Ok(Self { rows, keys: None, superseded: 0 });
        };
        let rows = concat_batches(&schema, &rows)?;
        let columns = spec.key.iter().map(|name| schema.index_of(name));
        let keys = rows.project(&columns.collect::<Result<Vec<_>, _>>()?)?;
        let sorts = keys.columns().iter().map(|c| SortField::new(c.data_type().clone()));
        let encoded = RowConverter::new(sorts.collect())?.convert_columns(keys.columns())?;
        // From the end: the later one stands.
        let mut known = HashSet::new();
        let mut stay: Vec<u64> = (0..rows.num_rows())
            .rev()
            .filter(|row| known.insert(encoded.row(*row)))
            .map(|row| row as u64)
            .collect();
        stay.reverse();
        let superseded = (rows.num_rows() - stay.len()) as u64;
        if superseded == 0 {
            return Ok(Self { rows: vec![rows], keys: Some(keys), superseded });
        }
        let stay = arrow::array::UInt64Array::from(stay);
        let (rows, keys) = (take_record_batch(&rows, &stay)?, take_record_batch(&keys, &stay)?);
        Ok(Self { rows: vec![rows], keys: Some(keys), superseded })
    }
}

/// The author of a change.
struct Changer<'a> {
    sieve: Sieve<'a>,
    sifted: Sifted,
    /// Files of rows that come, and stay the caller's, and what is committed before them.
    written: Option<(&'a DataFiles, &'a dyn Before)>,
    /// What its rows are written anew for.
    reshaping: Option<Reshaping>,
    files: Vec<DataFiles>,
    /// The version up to which files were looked through.
    at: Version,
    checked: Checked,
    added: u64,
    label: &'a CommitLabel,
    /// Whether all must begin anew.
    is_stale: bool,
    /// Whether it was made before.
    is_made: bool,
}

#[async_trait]
impl Author for Changer<'_> {
    fn commits_elsewhere(&self) -> bool {
        self.written.is_some_and(|(_, first)| first.is_left())
    }

    async fn propose(&mut self, table: &Table, head: &mut Head) -> Result<Option<Proposal>> {
        if let Some((_, first)) = self.written {
            first.look(table, head).await?;
        }
        head.require_writable()?;
        head.require_replaceable()?;
        if self.label.is_made(table, head).await? {
            self.is_made = true;
            return Ok(None);
        }
        if head.version() != self.at {
            let mut writer = writer_of(table, head, self.reshaping.as_ref())?;
            let (sifted, checked) = (&mut self.sifted, &mut self.checked);
            let followed = self.sieve.follow(sifted, self.at, head.version(), &mut writer, checked);
            match followed.await {
                Ok(true) => self.files.push(writer.finish().await?),
                Ok(false) => {
                    writer.abandon().await;
                    self.is_stale = true;
                    return Ok(None);
                }
                Err(e) => {
                    writer.abandon().await;
                    return Err(e);
                }
            }
            self.at = head.version();
            if let Some(reshaping) = self.reshaping.as_ref().filter(|to| to.is_keyed) {
                let snapshot = table.snapshot(self.at).await?;
                reshaping.require_fit(rows_of(self.sieve.session, &snapshot, None, None)?).await?;
            }
        }
        let mut record = Record::default();
        if let Some((files, first)) = self.written {
            let Some(numbers) = first.record(table, head).await? else {
                self.is_made = true;
                return Ok(None);
            };
            record = numbers;
            require_same_columns(files, head)?;
            first.commit().await?;
        }
        let Sifted { removal, removed, copied, changed, others } = &self.sifted;
        // A commit that is counted is made, so that it is known that nothing is left to do.
        let is_counted = self.label.idempotency.is_some() || !record.sequences.is_empty();
        let is_nothing = removal.removes.is_empty() && self.added + changed == 0;
        if is_nothing && !is_counted && self.reshaping.is_none() {
            return Ok(None);
        }
        let revised = match &self.reshaping {
            // No row is another, but where it was said what a column is to be.
            Some(_) => RevisedRows { removed: *others, copied: changed - others },
            None => RevisedRows { removed: *removed, copied: *copied },
        };
        let proposal = Proposal {
            kind: Some(match (removal.removes.is_empty(), &self.sieve.going) {
                (true, Sifting::Keys(_)) => CommitKind::Append,
                _ => CommitKind::Revise,
            }),
            removes: removal.removes.clone(),
            removed: removal.size,
            revised: Some(revised),
            sequences: self.label.numbers().into_iter().chain(record.sequences).collect(),
            requests: record.requests,
            ..Proposal::adding(self.written.map(|(files, _)| files).into_iter().chain(&self.files))
        };
        Ok(Some(match &self.reshaping {
            Some(reshaping) => reshaping.complete(proposal),
            None => proposal,
        }))
    }
}
