//! What a run makes of several datasets: written first, then committed together.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use datasets::DatasetName;
use futures::future::BoxFuture;

use crate::engine::Engine;
use crate::error::Result;
use crate::identity::{Principal, Role, Version};
use crate::lake::{Batches, Commit, CommitLabel, Forgotten, Prepared, WriteMode};
use crate::session::Session;

impl Engine {
    /// Writes rows that a job made and commits nothing yet: [`publish`](Self::publish) does, or [`discard`](Self::discard) takes
    /// them away. They must have the columns of the dataset's spec, by name, and a label with a run and a number.
    pub fn prepare<'a>(
        &'a self,
        who: &'a Principal,
        dataset: &'a DatasetName,
        mode: WriteMode,
        batches: impl Into<Batches>,
        commit: CommitLabel,
    ) -> BoxFuture<'a, Result<Prepared>> {
        let batches = batches.into();
        Box::pin(async move {
            who.require(Role::Writer)?;
            self.lake().prepare(who, dataset, mode, batches, commit).await
        })
    }

    /// Commits what was prepared, each to a dataset of its own, so that readers see all of it at once, whatever happens to this
    /// process. Where it fails with STORAGE_UNAVAILABLE it may yet be seen.
    pub fn publish<'a>(
        &'a self,
        who: &'a Principal,
        prepared: Vec<Prepared>,
    ) -> BoxFuture<'a, Result<Vec<Commit>>> {
        Box::pin(async move {
            who.require(Role::Writer)?;
            self.lake().publish(who, prepared).await
        })
    }

    /// A session in which these datasets are as they were: at a version, or not there yet. All others are as they are.
    pub fn session_as_it_was<'a>(
        &'a self,
        who: &'a Principal,
        datasets: &'a [(DatasetName, Option<Version>)],
    ) -> BoxFuture<'a, Result<Session>> {
        Box::pin(async move {
            who.require(Role::Reader)?;
            self.sessions().open_as_it_was(self.lake(), &who.tenant, datasets).await
        })
    }

    /// Keeps bytes that are no rows, and says what they are called: the SHA-256 of them.
    pub fn keep_artifact<'a>(
        &'a self,
        who: &'a Principal,
        bytes: Bytes,
    ) -> BoxFuture<'a, Result<String>> {
        Box::pin(async move {
            who.require(Role::Writer)?;
            self.lake().keep_artifact(&who.tenant, bytes).await
        })
    }

    /// Takes away what was kept so before `before` and what no file of `dataset` names in the text column `column`, of whatever
    /// version it is: at first it is set aside, where it is still found, and it goes when it was set aside before `before`.
    pub fn forget_artifacts<'a>(
        &'a self,
        who: &'a Principal,
        dataset: &'a DatasetName,
        column: &'a str,
        before: DateTime<Utc>,
    ) -> BoxFuture<'a, Result<Forgotten>> {
        Box::pin(async move {
            who.require(Role::Admin)?;
            self.lake().forget_artifacts(&who.tenant, dataset, column, before).await
        })
    }

    /// Takes away what was prepared.
    pub fn discard(&self, prepared: Prepared) -> BoxFuture<'_, ()> {
        Box::pin(prepared.discard())
    }

    /// Sees to what was decided to be published, by this process or another, and is not all there.
    pub fn finish_publications<'a>(&'a self, who: &'a Principal) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            who.require(Role::Reader)?;
            self.lake().finish_publications(&who.tenant).await
        })
    }
}
