//! Rows of a file whose key is in the dataset already, or in the file twice.
//!
//! The rows lie in data files by then that no commit names. They are read from there as often as it takes: to find keys that stand
//! twice, to hold them against the dataset, and to leave some out.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Int64Type;
use arrow::row::{OwnedRow, RowConverter, SortField};
use async_trait::async_trait;
use datafusion::common::JoinType;
use datafusion::dataframe::DataFrame;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::{Expr, col, ident, lit};
use datasets::DatasetSpec;

use super::brought::Brought;
use crate::bus::CommitKind;
use crate::error::{Code, Error, Result};
use crate::identity::{Principal, Version};
use crate::lake::{
    Author, Before, Came, CommitLabel, DataFiles, FileWriter, Head, Lake, Proposal, Record,
    Removal, Table, columns_were_changed, require_same_columns,
};
use crate::revise::{Keys, replace_by_key};
use crate::session::{Session, rows_of};

/// How often it begins anew because others committed meanwhile; then it is done while nobody else in this process can commit to the
/// dataset: whoever is always late would never be done beside others who make no pause.
const PATIENT_ATTEMPTS: usize = 3;
/// Keys that stand in a file more than once, at most.
const REPEATED_MAX: usize = 1_000_000;
/// What the column is called that says how often a key is there.
const TIMES: &str = "__colonnade_times";
/// Keys that an error names.
const NAMED_MAX: usize = 3;

/// What becomes of a row whose key is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// It is added beside the other.
    #[default]
    Add,
    /// It takes the other's place. Of two in one file the later stands.
    Replace,
    /// It is left out. Of two in one file the first stands.
    Skip,
    /// Nothing of the file is loaded.
    Error,
    /// Nothing of the file is loaded where its key is in the dataset; of two in one file both are added. Where the dataset has no key,
    /// nothing of a file is loaded that was loaded before, byte for byte, and whose rows are there.
    Again,
    /// For who sends again what may have been taken, and cannot number it: a row is left out whose key is there, as by `Skip`. Where the
    /// dataset has no key, nothing of a body is loaded that was loaded before, byte for byte, and whose rows are there; it is a duplicate.
    Once,
    /// The policy in the dataset's spec.
    Stored,
}

impl OnConflict {
    /// All, by the names that users give.
    pub const NAMED: [(&'static str, Self); 5] = [
        ("refuse", Self::Again),
        ("replace", Self::Replace),
        ("skip", Self::Skip),
        ("error", Self::Error),
        ("add", Self::Add),
    ];
}

/// What was done with rows whose key was there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) version: Version,
    /// Rows of the file that are in the dataset now.
    pub(super) accepted: u64,
    /// Rows that went for them.
    pub(super) replaced: u64,
    /// Keys of which the file has more than one row, all of which were added.
    pub(super) repeated: u64,
    /// Whether the request is a duplicate, so that nothing was loaded.
    pub(super) is_duplicate: bool,
}

/// A file's rows and what they are held against.
pub(super) struct Conflict<'a> {
    pub(super) lake: &'a Lake,
    pub(super) session: &'a Session,
    pub(super) who: &'a Principal,
    pub(super) table: &'a Arc<Table>,
    pub(super) on: OnConflict,
    pub(super) name: &'a str,
}

/// How a client selects another policy.
const OTHER_POLICIES: &str = "load with on_conflict replace, skip or add (`--on-conflict`), or change the dataset's policy with \
     `colonnade alter";

impl Conflict<'_> {
    fn key(&self) -> Vec<String> {
        self.table.entry().spec.key.clone()
    }

    /// The rows of files that no commit names.
    async fn rows(&self, files: &DataFiles) -> Result<DataFrame> {
        let snapshot = self.table.snapshot_of(&files.adds).await?.ok_or_else(|| {
            let says = format!("dataset {}: its columns are not this writer's", self.table.name());
            Error::user(Code::Conflict, says)
        })?;
        rows_of(self.session, &snapshot, None, None)
    }

    /// The keys that stand in the file more than once.
    async fn repeating(&self, files: &DataFiles) -> Result<DataFrame> {
        let key: Vec<Expr> = self.key().iter().map(ident).collect();
        let counted = self.rows(files).await?.aggregate(key, vec![count(lit(1)).alias(TIMES)])?;
        Ok(counted.filter(col(TIMES).gt(lit(1)))?)
    }

    /// The same, and how often each does, where one row of each is to stay.
    pub(super) async fn repeated(&self, files: &DataFiles) -> Result<Option<Repeated>> {
        if files.adds.is_empty() || self.on == OnConflict::Again {
            return Ok(None);
        }
        let width = self.key().len();
        let counted = self.repeating(files).await?.limit(0, Some(REPEATED_MAX + 1))?;
        let batches = counted.collect().await?;
        let found: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if found == 0 {
            return Ok(None);
        }
        if self.on == OnConflict::Error {
            let keys: Vec<RecordBatch> = batches
                .iter()
                .map(|batch| batch.project(&(0..width).collect::<Vec<_>>()))
                .collect::<Result<_, _>>()?;
            return Err(self.refuse(
                found,
                ("stands", "stand"),
                "in the file more than once",
                &keys,
            ));
        }
        if found > REPEATED_MAX {
            return Err(Error::user(
                Code::LimitExceeded,
                format!(
                    "{}: more than {REPEATED_MAX} keys stand in the file more than once",
                    self.name
                ),
            ));
        }
        let first = self.on == OnConflict::Skip;
        Repeated::new(&self.table.entry().spec, &batches, width, first).map(Some)
    }

    fn refuse(&self, found: usize, verb: (&str, &str), what: &str, keys: &[RecordBatch]) -> Error {
        let what = match found {
            1 => format!("key {} {what}", verb.0),
            _ => format!("keys {} {what}", verb.1),
        };
        let shown: Vec<String> = keys
            .iter()
            .flat_map(|batch| (0..batch.num_rows()).map(move |row| (batch, row)))
            .take(NAMED_MAX)
            .map(|(batch, row)| {
                let values = batch.columns().iter().map(|column| {
                    arrow::util::display::array_value_to_string(column, row).unwrap_or_default()
                });
                values.collect::<Vec<_>>().join(", ")
            })
            .collect();
        Error::user(
            Code::Conflict,
            format!(
                "{}: {found} {what}, such as {}; nothing was loaded; {OTHER_POLICIES} {} --set on_conflict=replace`",
                self.name,
                shown.join(" and "),
                self.table.name()
            ),
        )
    }

    /// Fails where a key of the file is in the dataset and no row is left out or replaced for it; else the version of which it is
    /// known that none is.
    pub(super) async fn require_new(&self, files: &DataFiles) -> Result<Option<Version>> {
        if matches!(self.on, OnConflict::Replace | OnConflict::Skip) || files.adds.is_empty() {
            return Ok(None);
        }
        let at = self.table.entry().version;
        self.require_new_at(files, at).await?;
        Ok(Some(at))
    }

    /// Fails where a key of the file is in the dataset at a version.
    async fn require_new_at(&self, files: &DataFiles, at: Version) -> Result<()> {
        let key = self.key();
        let there = self.keys_at(at, &key).await?;
        let both = there.join(self.rows(files).await?, JoinType::LeftSemi)?;
        let columns: Vec<Expr> = key.iter().map(ident).collect();
        let batches = both.select(columns)?.distinct()?.collect().await?;
        let found: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if found > 0 {
            let what = format!("in {} already", self.table.name());
            return Err(self.refuse(found, ("is", "are"), &what, &batches));
        }
        Ok(())
    }

    /// Whether a row of the file is not left out.
    pub(super) async fn has_fresh(&self, files: &DataFiles) -> Result<bool> {
        if self.on != OnConflict::Skip {
            return Ok(!files.adds.is_empty());
        }
        let there = self.keys_at(self.table.entry().version, &self.key()).await?;
        let fresh = there.join(self.rows(files).await?, JoinType::LeftAnti)?;
        Ok(fresh.limit(0, Some(1))?.count().await? > 0)
    }

    /// The keys that the dataset has at a version.
    async fn keys_at(&self, version: Version, key: &[String]) -> Result<Keys> {
        let snapshot = self.table.snapshot(version).await?;
        Keys::of(rows_of(self.session, &snapshot, None, None)?, key)
    }

    /// Whether rows are refused for their keys.
    pub(super) fn may_refuse(&self) -> bool {
        matches!(self.on, OnConflict::Error | OnConflict::Again)
    }

    /// Commits the rows of `files`, which have each key once; at version `known`, if there is one, the dataset has none of them.
    /// The files stay the caller's. Where rows may be refused, the commit has also what they have `brought`.
    pub(super) async fn commit(
        &self,
        files: &DataFiles,
        mut known: Option<Version>,
        brought: &Brought,
        first: &dyn Before,
        label: &CommitLabel,
    ) -> Result<Settled> {
        if self.on == OnConflict::Replace {
            let keys = Keys::of(self.rows(files).await?, &self.key())?;
            let revised = replace_by_key(
                self.lake,
                self.session,
                self.who,
                self.table,
                (files, keys),
                first,
                label,
            );
            let revised = revised.await?;
            return Ok(Settled {
                version: revised.version,
                accepted: revised.added,
                replaced: revised.removed,
                is_duplicate: revised.duplicate,
                ..Settled::default()
            });
        }
        for _ in 0..PATIENT_ATTEMPTS {
            let attempt = self.attempt(files, known.take(), true, brought, first, label);
            if let Some(settled) = attempt.await? {
                return Ok(settled);
            }
            tokio::task::yield_now().await;
        }
        let settled = self.attempt(files, None, false, brought, first, label).await?;
        settled.ok_or_else(|| Error::internal("others came before one who let nobody else commit"))
    }

    /// The rows of `files` whose keys the dataset does not have at a version.
    async fn fresh(
        &self,
        files: &DataFiles,
        rows: DataFrame,
        at: Version,
        mut writer: FileWriter,
    ) -> Result<DataFiles> {
        if files.reshaped.is_some_and(|reshaped| reshaped != writer.reshaped()) {
            return Err(columns_were_changed());
        }
        let there = self.keys_at(at, &self.key()).await?;
        let copied = writer.write_rows(there.join(rows, JoinType::LeftAnti)?).await;
        writer.finish_after(copied).await
    }

    /// Leaves out rows whose keys are there, or fails because of them. Nothing where others came with some meanwhile.
    async fn attempt(
        &self,
        files: &DataFiles,
        known: Option<Version>,
        is_patient: bool,
        brought: &Brought,
        first: &dyn Before,
        label: &CommitLabel,
    ) -> Result<Option<Settled>> {
        let known = match known {
            None => self.require_new(files).await?,
            known => known,
        };
        let at = known.unwrap_or_else(|| self.table.entry().version);
        let rows = self.rows(files).await?;
        let mut author = Fresh {
            conflict: self,
            files,
            rows,
            brought,
            first,
            kept: None,
            is_patient,
            at,
            is_stale: false,
            is_duplicate: false,
        };
        if self.on == OnConflict::Skip {
            let writer = FileWriter::new(self.table, &*self.table.head().await)?;
            author.kept = Some(self.fresh(files, author.rows.clone(), at, writer).await?);
        }
        let landed = self.lake.commit(self.table, &self.who.subject, label, &mut author).await;
        let (is_stale, is_duplicate) = (author.is_stale, author.is_duplicate);
        let accepted = author.coming().size.rows.unwrap_or_default();
        if let Some(kept) = author.kept.take()
            && !landed.as_ref().is_ok_and(|landed| landed.committed)
        {
            kept.discard(self.table).await;
        }
        let landed = landed?;
        if is_stale {
            return Ok(None);
        }
        if is_duplicate {
            let version = landed.version;
            return Ok(Some(Settled { version, is_duplicate, ..Settled::default() }));
        }
        let repeated = match self.on {
            OnConflict::Again if accepted > 0 => self.repeating(files).await?.count().await? as u64,
            _ => 0,
        };
        Ok(Some(Settled { version: landed.version, accepted, repeated, ..Settled::default() }))
    }
}

/// Who commits rows with keys that are not there.
struct Fresh<'a> {
    conflict: &'a Conflict<'a>,
    files: &'a DataFiles,
    /// All rows of `files`.
    rows: DataFrame,
    brought: &'a Brought,
    first: &'a dyn Before,
    /// The rows of `files` that are not left out, where some may be.
    kept: Option<DataFiles>,
    /// Whether it begins anew where others came meanwhile; else it looks again while nobody else can commit.
    is_patient: bool,
    /// The version up to which it is known that the keys are not there.
    at: Version,
    is_stale: bool,
    /// Whether the request is a duplicate.
    is_duplicate: bool,
}

impl Fresh<'_> {
    fn coming(&self) -> &DataFiles {
        self.kept.as_ref().unwrap_or(self.files)
    }

    /// Whether what was found at `at` may not be so at `to`.
    async fn is_overtaken(&self, to: Version) -> Result<bool> {
        match &self.kept {
            Some(kept) => self.is_otherwise_for(kept, to).await,
            None => self.came(to).await,
        }
    }

    /// Whether a row with one of the keys came after `at`.
    async fn came(&self, to: Version) -> Result<bool> {
        let since = self.conflict.table.since(self.at.0, to.0, &Removal::default()).await?;
        if since.is_other {
            return Ok(true);
        }
        let keys = Keys::of(self.rows.clone(), &self.conflict.key())?;
        self.is_among(&keys, Came { version: to, files: since.added }).await
    }

    /// Whether a row came after `at` that has a key of those that are kept, or one may have gone for which another was left out.
    async fn is_otherwise_for(&self, kept: &DataFiles, to: Version) -> Result<bool> {
        let Some(came) = self.conflict.table.came(self.at.0, to.0).await? else { return Ok(true) };
        if came.is_empty() || kept.adds.is_empty() {
            return Ok(false);
        }
        let keys = Keys::of(self.conflict.rows(kept).await?, &self.conflict.key())?;
        for came in came {
            if self.is_among(&keys, came).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether one of the keys is in files that came.
    async fn is_among(&self, keys: &Keys, came: Came) -> Result<bool> {
        if came.files.is_empty() {
            return Ok(false);
        }
        let Conflict { session, table, .. } = self.conflict;
        let snapshot = table.snapshot(came.version).await?;
        let added = rows_of(session, &snapshot, Some(came.files), None)?;
        let same = keys.join(added, JoinType::LeftSemi)?.limit(0, Some(1))?;
        Ok(same.count().await? > 0)
    }

    /// Looks again at a version that stays the newest.
    async fn look_again(&mut self, head: &Head, table: &Table) -> Result<()> {
        let at = head.version();
        if self.conflict.on != OnConflict::Skip {
            return self.conflict.require_new_at(self.files, at).await;
        }
        let writer = FileWriter::new(self.conflict.table, head)?;
        let kept = self.conflict.fresh(self.files, self.rows.clone(), at, writer).await?;
        if let Some(before) = self.kept.replace(kept) {
            before.discard(table).await;
        }
        Ok(())
    }
}

#[async_trait]
impl Author for Fresh<'_> {
    fn commits_elsewhere(&self) -> bool {
        self.first.is_left()
    }

    async fn propose(&mut self, table: &Table, head: &mut Head) -> Result<Option<Proposal>> {
        self.first.look(table, head).await?;
        head.require_writable()?;
        let at = head.version();
        self.is_stale = self.is_overtaken(at).await?;
        if self.is_stale && !self.is_patient {
            self.look_again(head, table).await?;
            self.is_stale = false;
        }
        if self.is_stale {
            return Ok(None);
        }
        let Some(record) = self.first.record(table, head).await? else {
            self.is_duplicate = true;
            return Ok(None);
        };
        require_same_columns(self.coming(), head)?;
        let has_rows = !self.coming().adds.is_empty();
        let spec =
            if self.conflict.may_refuse() && has_rows { self.brought.spec(head)? } else { None };
        self.first.commit().await?;
        if self.coming().adds.is_empty() && record.sequences.is_empty() {
            return Ok(None);
        }
        self.at = at;
        let Record { sequences, requests } = record;
        let proposal = Proposal::adding([self.coming()]);
        Ok(Some(Proposal { kind: Some(CommitKind::Append), spec, sequences, requests, ..proposal }))
    }
}

/// Keys that stand in a file more than once: of each one row stays.
pub(super) struct Repeated {
    converter: RowConverter,
    /// Rows that are still to come.
    left: HashMap<OwnedRow, i64>,
    /// Whether the first one stays, or the last.
    first: bool,
    columns: Vec<String>,
}

impl Repeated {
    fn new(spec: &DatasetSpec, batches: &[RecordBatch], width: usize, first: bool) -> Result<Self> {
        let schema = batches.first().map(RecordBatch::schema);
        let fields = schema.iter().flat_map(|schema| schema.fields().iter().take(width));
        let sorts = fields.map(|field| SortField::new(field.data_type().clone()));
        let converter = RowConverter::new(sorts.collect())?;
        let mut left = HashMap::new();
        for batch in batches {
            let rows = converter.convert_columns(&batch.columns()[..width])?;
            let times = batch.column(width).as_primitive::<Int64Type>();
            for (row, times) in rows.iter().zip(times.values()) {
                left.insert(row.owned(), *times);
            }
        }
        Ok(Self { converter, left, first, columns: spec.key.clone() })
    }

    /// The rows of the next batch that stay.
    pub(super) fn filter(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = self
            .columns
            .iter()
            .map(|name| Ok(batch.column(batch.schema().index_of(name)?).clone()));
        let rows = self.converter.convert_columns(&columns.collect::<Result<Vec<_>>>()?)?;
        let stays: BooleanArray = rows
            .iter()
            .map(|row| {
                let Some(left) = self.left.get_mut(&row.owned()) else { return Some(true) };
                let stays = match self.first {
                    true => std::mem::take(left) > 0,
                    false => {
                        *left -= 1;
                        *left == 0
                    }
                };
                Some(stays)
            })
            .collect();
        Ok(filter_record_batch(batch, &stays)?)
    }
}
