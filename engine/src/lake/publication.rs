//! Commits to several tables of a tenant that become visible together: what one run makes.
//!
//! The data files are written first, by each [`Prepared`]. Then one object is put, the record, which says all that the commits will
//! do: from there on they are decided. Each is made once, by its number, so that whoever finds a record can make those that are
//! missing, also beside its writer: a process that dies leaves nothing half. Readers see none of them before all are there
//! (`holding.rs`).
//!
//! ```text
//!   files ──▶ put the record ──▶ commit to a ──▶ commit to b ──▶ show a and b ──▶ take the record away
//!               (decided)             (a is held from sight)
//! ```
//!
//! Who follows another process knows by the commit to a that one to b belongs to it, and shows neither before it has both.
//!
//! A publication may have conditions: a table must still be at the version that the run read. Putting the record does not check
//! them, because two processes can check at the same moment. Instead the first member with a condition is the *deciding*
//! commit. It is made first, and Delta's put-if-absent makes check and commit a single step. If the condition fails, the
//! publication is void: no table ever gets a commit of it. Every process that finds the record applies the same rule.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use datasets::DatasetName;
use deltalake_core::kernel::{Action, Add};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStoreExt as _, PutMode, PutOptions};
use serde::{Deserialize, Serialize};

use super::head::Size;
use super::shelf::Shelf;
use super::write::{Replaced, Write, require_as_read};
use super::{Commit, CommitLabel, DataFiles, Head, Lake, Table};
use crate::error::{Code, Error, Result};
use crate::identity::{Principal, RunId, TenantId, Version};

/// The folder of records, which is no dataset.
const FOLDER: &str = "_publications";
/// The version of the format of records without a condition, which earlier releases can read.
const FORM: u32 = 1;
/// The format version of records with conditions. An earlier release would ignore the conditions, so it must refuse the record.
const FORM_WITH_CONDITIONS: u32 = 2;
/// How far back the commit of a publication is looked for, where nothing can be written.
const BACK_MAX: u64 = 100;

/// Rows that are written, and not committed.
#[derive(Debug)]
pub struct Prepared {
    pub(super) table: Arc<Table>,
    pub(super) files: DataFiles,
    pub(super) replaced: Replaced,
    /// The version that must still be the newest when it is decided.
    pub(super) after: Option<Version>,
    pub(super) label: CommitLabel,
}

impl Prepared {
    /// The dataset that they are for.
    pub fn dataset(&self) -> &DatasetName {
        &self.table.name
    }

    /// How many they are.
    pub fn rows(&self) -> u64 {
        self.files.size.rows.unwrap_or_default()
    }

    /// Bytes of their files.
    pub fn bytes(&self) -> u64 {
        self.files.size.bytes
    }

    fn commit(&self, version: Version, duplicate: bool) -> Commit {
        let (rows, bytes) = if duplicate { (0, 0) } else { (self.rows(), self.bytes()) };
        Commit { dataset: self.table.name.clone(), version, rows, bytes, duplicate }
    }
}

/// What a commit belongs to, as `commitInfo` has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Publication {
    /// Its name: that of the run.
    pub(crate) id: String,
    /// The datasets that it commits to.
    pub(crate) datasets: BTreeSet<DatasetName>,
}

/// What is decided.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    form: u32,
    run_id: Option<RunId>,
    operation: String,
    subject: String,
    commits: Vec<Member>,
}

/// One commit of it.
#[derive(Debug, Serialize, Deserialize)]
struct Member {
    dataset: DatasetName,
    /// The id and the number that it is made under.
    application: String,
    number: i64,
    /// Numbers that it keeps besides.
    marks: Vec<(String, i64)>,
    replaced: Replaced,
    /// The version on which the rows are based.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<u64>,
    adds: Vec<Action>,
    rows: Option<u64>,
    bytes: u64,
    row_bytes: u64,
    reshaped: Option<u64>,
}

impl Member {
    fn of(prepared: &Prepared) -> Result<Self> {
        let Some((application, number)) = prepared.label.idempotency.clone() else {
            return Err(Error::internal("what is published together needs a number"));
        };
        let files = &prepared.files;
        Ok(Self {
            dataset: prepared.table.name.clone(),
            application,
            number,
            marks: prepared.label.marks.clone(),
            replaced: prepared.replaced.clone(),
            after: prepared.after.map(|version| version.0),
            adds: files.adds.iter().cloned().map(Action::Add).collect(),
            rows: files.size.rows,
            bytes: files.size.bytes,
            row_bytes: files.row_bytes,
            reshaped: files.reshaped,
        })
    }

    fn files(&self) -> DataFiles {
        let add = |action: &Action| match action {
            Action::Add(add) => Some(add.clone()),
            _ => None,
        };
        let adds: Vec<Add> = self.adds.iter().filter_map(add).collect();
        let size = Size { rows: self.rows, bytes: self.bytes, files: adds.len() as u64 };
        DataFiles::written(adds, size, self.row_bytes, self.reshaped)
    }

    fn label(&self, record: &Record) -> CommitLabel {
        CommitLabel {
            run_id: record.run_id,
            operation: record.operation.clone(),
            idempotency: Some((self.application.clone(), self.number)),
            marks: self.marks.clone(),
        }
    }
}

impl Record {
    fn read(id: &str, bytes: &[u8]) -> Result<Self> {
        /// The part that all forms have.
        #[derive(Deserialize)]
        struct Form {
            form: u32,
        }
        let damaged = |e| {
            let says = format!("publication {id}: its record is damaged");
            Error::environment(Code::StorageUnavailable, says, e)
        };
        let of: Form = serde_json::from_slice(bytes).map_err(damaged)?;
        match of.form {
            FORM | FORM_WITH_CONDITIONS => serde_json::from_slice(bytes).map_err(damaged),
            other => Err(Error::user(
                Code::StorageUnavailable,
                format!(
                    "publication {id}: its record has form {other}, expected at most {FORM_WITH_CONDITIONS}; a later release wrote it"
                ),
            )),
        }
    }

    fn publication(&self, id: &str) -> Publication {
        let datasets = self.commits.iter().map(|member| member.dataset.clone()).collect();
        Publication { id: id.to_owned(), datasets }
    }
}

impl Lake {
    /// Commits what was prepared to several tables, so that all of it is seen at once. Of what had been made before, nothing is made.
    pub(crate) async fn publish(
        &self,
        who: &Principal,
        prepared: Vec<Prepared>,
    ) -> Result<Vec<Commit>> {
        self.require_writer()?;
        let shelf = self.shelf(&who.tenant);
        // Only one publication at a time in this process. Another process can still commit between this check and the record;
        // the deciding commit checks again.
        let _alone = shelf.publishing.lock().await;
        let (mut made, mut left) = (Vec::new(), Vec::new());
        let mut refused = None;
        for one in prepared {
            let mut head = one.table.head.lock().await;
            let looked = async {
                self.catch_up(&one.table, &mut head).await?;
                head.require_writable()?;
                let is_made = one.label.is_made(&one.table, &mut head).await?;
                if !is_made {
                    require_as_read(&one.table, &head, one.after, &one.replaced).await?;
                }
                Ok::<_, Error>(is_made)
            };
            let looked = looked.await;
            let version = head.version();
            drop(head);
            match looked {
                Ok(true) => {
                    made.push(one.commit(version, true));
                    one.discard().await;
                }
                Ok(false) => left.push(one),
                Err(e) => {
                    refused.get_or_insert(e);
                    left.push(one);
                }
            }
        }
        if let Some(refused) = refused {
            for one in left {
                one.discard().await;
            }
            return Err(refused);
        }
        if left.len() > 1 {
            made.extend(self.publish_together(who, &shelf, left).await?);
        } else {
            for one in left {
                made.push(self.commit_prepared(who, one).await?);
            }
        }
        Ok(made)
    }

    async fn publish_together(
        &self,
        who: &Principal,
        shelf: &Shelf,
        mut prepared: Vec<Prepared>,
    ) -> Result<Vec<Commit>> {
        // The deciding commit comes first.
        prepared.sort_by_key(|one| one.after.is_none());
        let has_conditions = prepared.iter().any(|one| one.after.is_some());
        let label = prepared.first().map(|one| one.label.clone()).unwrap_or_default();
        let Some(id) = label.run_id.map(|run| run.to_string()) else {
            return Err(Error::internal("what is published together needs a run"));
        };
        let record = Record {
            form: if has_conditions { FORM_WITH_CONDITIONS } else { FORM },
            run_id: label.run_id,
            operation: label.operation.clone(),
            subject: who.subject.clone(),
            commits: prepared.iter().map(Member::of).collect::<Result<_>>()?,
        };
        let publication = record.publication(&id);
        if publication.datasets.len() != prepared.len() {
            return Err(Error::internal("one publication commits to a table twice"));
        }
        let bytes = serde_json::to_vec(&record).map_err(|e| Error::bug("a record as JSON", e))?;
        let bytes = Bytes::from(bytes);
        if let Err(error) = self.decide(&who.tenant, &id, &bytes).await {
            let path = record_path(&who.tenant, &id);
            let is_final = self.root().failures_are_final();
            if is_final
                && self.record_at(&path).await.is_ok_and(|there| there.as_ref() != Some(&bytes))
            {
                for one in prepared {
                    one.discard().await;
                }
            }
            return Err(error.while_doing("publishing the results of a run"));
        }
        shelf.holding.lock().begin(&publication, true);
        let mut commits = Vec::with_capacity(prepared.len());
        let done = async {
            for (at, one) in prepared.iter().enumerate() {
                let after = one.after.filter(|_| at == 0);
                let landed = self.commit_member(&record.subject, one, after, &publication).await?;
                commits.push(one.commit(landed.version, !landed.committed));
            }
            Ok(())
        };
        let done: Result<()> = done.await;
        match done {
            // They may have been made before by whoever helped, and be known here by that.
            Ok(()) => shelf.whole(self, &id),
            Err(error) if has_conditions && commits.is_empty() && is_final(&error) => {
                self.void(&who.tenant, &id).await;
                return Err(error);
            }
            // They are decided: whoever looks next makes those that are missing.
            Err(error) => {
                shelf.holding.lock().disown(&id);
                return Err(error);
            }
        }
        self.take_away(&who.tenant, &id).await;
        Ok(commits)
    }

    async fn commit_member(
        &self,
        subject: &str,
        one: &Prepared,
        after: Option<Version>,
        publication: &Publication,
    ) -> Result<super::commit::Landed> {
        let mut author = Write {
            files: &one.files,
            replaced: one.replaced.clone(),
            after,
            label: &one.label,
            publication: Some(publication),
        };
        self.commit(&one.table, subject, &one.label, &mut author).await
    }

    /// Puts a record. Whether it is there is certain when this succeeds, and only then.
    async fn decide(&self, tenant: &TenantId, id: &str, bytes: &Bytes) -> Result<()> {
        let path = record_path(tenant, id);
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let put = self.root().store().put_opts(&path, bytes.clone().into(), options).await;
        let Err(failure) = put else { return Ok(()) };
        match self.record_at(&path).await {
            // Its answer was lost.
            Ok(Some(there)) if there == *bytes => Ok(()),
            Ok(Some(_)) => {
                self.finish(tenant, id).await?;
                let says =
                    format!("publication {id}: another process publishes the same; try again");
                Err(Error::user(Code::StorageUnavailable, says))
            }
            Ok(None) | Err(_) => Err(failure.into()),
        }
    }

    async fn record_at(&self, path: &Path) -> Result<Option<Bytes>> {
        match self.root().store().get(path).await {
            Ok(found) => Ok(Some(found.bytes().await?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Ends a publication whose deciding commit was refused. Its files stay until a vacuum: another process may have read the
    /// record and must not commit deleted files.
    async fn void(&self, tenant: &TenantId, id: &str) {
        self.shelf(tenant).whole(self, id);
        self.take_away(tenant, id).await;
        tracing::info!(%tenant, id, "results of a run were not committed: another commit came first");
    }

    async fn take_away(&self, tenant: &TenantId, id: &str) {
        match self.root().store().delete(&record_path(tenant, id)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            // Whoever finds it finds nothing to do.
            Err(error) => {
                tracing::warn!(%tenant, id, %error, "the record of a publication stays behind")
            }
        }
    }

    /// Sees to publications that others began, or that this process could not end: makes what is missing, and shows them.
    pub(crate) async fn finish_publications(&self, tenant: &TenantId) -> Result<()> {
        let shelf = self.shelf(tenant);
        // First: of what comes meanwhile it is not known whether it is whole.
        let mut waiting = shelf.holding.lock().waiting();
        let mut ids = self.decided(tenant).await?;
        {
            let holding = shelf.holding.lock();
            ids.retain(|id| !holding.is_own(id));
        }
        for id in &ids {
            let finished = match self.writable {
                true => self.finish(tenant, id).await,
                false => self.show_before(tenant, id).await,
            };
            if let Err(error) = finished {
                tracing::warn!(%tenant, id, error = error.detail(), "results of a run still wait to be seen");
                self.show_before(tenant, id).await?;
            }
            waiting.retain(|publication| publication.id != *id);
        }
        // Of these the record is gone, so all commits are there.
        for publication in waiting {
            for name in &publication.datasets {
                let Some(table) = shelf.get(name) else { continue };
                let mut head = table.head.lock().await;
                self.catch_up(&table, &mut head).await?;
            }
            shelf.whole(self, &publication.id);
        }
        Ok(())
    }

    /// Makes what is missing of a publication. None of that name: it is whole already.
    async fn finish(&self, tenant: &TenantId, id: &str) -> Result<()> {
        let shelf = self.shelf(tenant);
        let (is_done, is_unreadable) = {
            let holding = shelf.holding.lock();
            (holding.is_done(id), holding.is_given_up(id))
        };
        if is_done {
            // What is there only because it could not be taken away.
            if !is_unreadable {
                self.take_away(tenant, id).await;
            }
            return Ok(());
        }
        let Some(record) = self.record(tenant, id).await? else { return Ok(()) };
        let publication = record.publication(id);
        shelf.holding.lock().begin(&publication, false);
        for (at, member) in record.commits.iter().enumerate() {
            let after = member.after.filter(|_| at == 0).map(Version);
            let label = member.label(&record);
            // One that is dropped has nobody who waits for its rows.
            let Some(table) = self.find_dropped(tenant, &member.dataset).await? else {
                if after.is_some() {
                    self.void(tenant, id).await;
                    return Ok(());
                }
                tracing::warn!(%tenant, id, dataset = %member.dataset, "results of a run have no dataset any more");
                continue;
            };
            let (files, replaced) = (member.files(), member.replaced.clone());
            let one = Prepared { table, files, replaced, after: None, label };
            match self.commit_member(&record.subject, &one, after, &publication).await {
                Ok(_) => {}
                Err(error) if after.is_some() && is_final(&error) => {
                    self.void(tenant, id).await;
                    return Ok(());
                }
                Err(error) if is_final(&error) => {
                    tracing::error!(
                        %tenant, id, dataset = %member.dataset, error = error.detail(),
                        "results of a run can not be committed any more"
                    );
                }
                Err(error) => return Err(error),
            }
        }
        shelf.whole(self, id);
        self.take_away(tenant, id).await;
        tracing::info!(%tenant, id, "finished what was decided");
        Ok(())
    }

    /// Shows the tables of a publication as they were before it, where what is missing can not be made.
    async fn show_before(&self, tenant: &TenantId, id: &str) -> Result<()> {
        let shelf = self.shelf(tenant);
        if shelf.holding.lock().is_done(id) {
            return Ok(());
        }
        let Some(record) = self.record(tenant, id).await? else { return Ok(()) };
        shelf.holding.lock().begin(&record.publication(id), false);
        // All of it may be there, and only the record be left.
        let (mut there, mut is_whole) = (Vec::new(), true);
        for member in &record.commits {
            let Some(table) = shelf.get(&member.dataset) else { continue };
            let mut head = table.head.lock().await;
            let last = head.last_sequence(&table, &member.application).await?;
            drop(head);
            match last.is_some_and(|last| last >= member.number) {
                true => there.push(table),
                false => is_whole &= table.entry().dropped_at.is_some(),
            }
        }
        if is_whole {
            shelf.whole(self, id);
            return Ok(());
        }
        for table in there {
            let head = table.head.lock().await;
            for version in (head.version.saturating_sub(BACK_MAX)..=head.version).rev() {
                let Some(entry) = table.entry_at(version).await? else { break };
                if let Some(publication) = entry.publication().filter(|of| of.id == id) {
                    let before = table.state(version.saturating_sub(1)).await?;
                    shelf.show_before(&table, &Head::of_state(&table.name, &before)?, &publication);
                    break;
                }
            }
        }
        Ok(())
    }

    /// A record; none, where there is none any more, or one that nobody can read. What such a one decided nobody can make whole, so
    /// nothing waits for it.
    async fn record(&self, tenant: &TenantId, id: &str) -> Result<Option<Record>> {
        let Some(bytes) = self.record_at(&record_path(tenant, id)).await? else { return Ok(None) };
        match Record::read(id, &bytes) {
            Ok(record) => Ok(Some(record)),
            Err(error) => {
                tracing::error!(%tenant, id, error = error.detail(), "results of a run can not be told whole");
                self.shelf(tenant).give_up(self, id);
                Ok(None)
            }
        }
    }

    /// The files of a table that are decided on and may not be committed yet. Fails where that can not be told.
    pub(super) async fn decided_files(&self, table: &Table) -> Result<Vec<String>> {
        let mut paths = Vec::new();
        for id in self.decided(&table.tenant).await? {
            let path = record_path(&table.tenant, &id);
            let Some(bytes) = self.record_at(&path).await? else { continue };
            let record = Record::read(&id, &bytes)?;
            let members = record.commits.iter().filter(|member| member.dataset == table.name);
            paths.extend(members.flat_map(|member| member.files().adds).map(|add| add.path));
        }
        Ok(paths)
    }

    /// The publications that have a record.
    async fn decided(&self, tenant: &TenantId) -> Result<BTreeSet<String>> {
        let folder = Path::from_iter([tenant.as_str(), FOLDER]);
        let listed = self.root().store().list(Some(&folder)).try_collect::<Vec<_>>().await;
        let listed =
            listed.map_err(|e| Error::from(e).while_doing("looking for unfinished results"))?;
        let ids =
            listed.iter().filter_map(|object| object.location.filename()?.strip_suffix(".json"));
        Ok(ids.map(str::to_owned).collect())
    }
}

impl Prepared {
    /// Deletes its files; nothing of it is committed.
    pub(crate) async fn discard(self) {
        // No commit of them was begun.
        self.files.drop_unused().await;
    }
}

/// Whether trying again will not help.
fn is_final(error: &Error) -> bool {
    matches!(error.code(), Code::BadInput | Code::NotFound | Code::Conflict)
}

fn record_path(tenant: &TenantId, id: &str) -> Path {
    Path::from_iter([tenant.as_str(), FOLDER, &format!("{id}.json")])
}
