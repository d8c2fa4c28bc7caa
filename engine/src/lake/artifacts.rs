//! Bytes that are no rows, as the weights of a model: objects beside a tenant's datasets, each under the digest of what it holds. A
//! row names them; no query selects them.
//!
//! Those that no row of any version names any more go in two steps: they are set aside first, where they are still found, and taken
//! away by a later look. So a row that comes to name one at the moment of the first look loses nothing.

use std::collections::{BTreeMap, HashSet};

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::DataType;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use datasets::DatasetName;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use sha2::{Digest, Sha256};

use super::data_files::is_data_file;
use super::{Lake, Table};
use crate::error::{Code, Error, Result};
use crate::identity::TenantId;

const FOLDER: &str = "_artifacts";
/// In that folder: what no row names.
const ASIDE: &str = "_aside";

/// Artifacts that were taken away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// How many.
    pub artifacts: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Lake {
    /// Keeps bytes, and says what they are called: the SHA-256 of them. What is kept already is not written again.
    pub(crate) async fn keep_artifact(&self, tenant: &TenantId, bytes: Bytes) -> Result<String> {
        self.require_writer()?;
        let name = digest(&bytes);
        let (store, path) = (self.root().store(), path(tenant, &name));
        let there = store.head(&path).await;
        if !there.is_ok_and(|there| there.size == bytes.len() as u64) {
            store.put(&path, bytes.into()).await?;
        }
        Ok(name)
    }

    /// Takes away artifacts that are older than `before` and that no file of `dataset` names in `column`, of whatever version it
    /// is. What is found for the first time is set aside, and goes when it is found again that was set aside before then.
    pub(crate) async fn forget_artifacts(
        &self,
        tenant: &TenantId,
        dataset: &DatasetName,
        column: &str,
        before: DateTime<Utc>,
    ) -> Result<Forgotten> {
        self.require_writer()?;
        let store = self.root().store();
        let folder = Path::from_iter([tenant.as_str(), FOLDER]);
        let kept: Vec<ObjectMeta> = store.list(Some(&folder)).try_collect().await?;
        let mut gone = Forgotten::default();
        // Where none is old enough no file is read.
        if kept.iter().all(|object| object.last_modified >= before) {
            return Ok(gone);
        }
        let named = self.table(tenant, dataset).await?.texts_in_files(column).await?;
        let mut places: BTreeMap<&str, [Option<&ObjectMeta>; 2]> = BTreeMap::new();
        for object in &kept {
            let Some(name) = object.location.filename() else { continue };
            let is_aside = object.location == aside(tenant, name);
            places.entry(name).or_default()[usize::from(is_aside)] = Some(object);
        }
        let is_old = |object: &ObjectMeta| object.last_modified < before;
        for (name, found) in places {
            let (main, aside) = (path(tenant, name), aside(tenant, name));
            // Of each one thing only: what it leads to is seen by the next look.
            match (found, named.contains(name)) {
                // Kept again since it was set aside.
                ([Some(_), Some(_)], _) => self.remove(&aside).await?,
                ([None, Some(_)], true) => self.put_anew(&aside, &main).await?,
                ([None, Some(object)], false) if is_old(object) => {
                    self.remove(&aside).await?;
                    gone.artifacts += 1;
                    gone.bytes += object.size;
                }
                ([Some(object), None], false) if is_old(object) => {
                    self.put_anew(&main, &aside).await?;
                }
                _ => {}
            }
        }
        Ok(gone)
    }

    /// Moves an object, as one that was written now.
    async fn put_anew(&self, from: &Path, to: &Path) -> Result<()> {
        let store = self.root().store();
        let bytes = match store.get(from).await {
            Ok(found) => found.bytes().await?,
            // Another process was faster.
            Err(object_store::Error::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        store.put(to, bytes.into()).await?;
        self.remove(from).await
    }

    async fn remove(&self, path: &Path) -> Result<()> {
        match self.root().store().delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// What is kept under a name.
    pub(crate) async fn artifact(&self, tenant: &TenantId, name: &str) -> Result<Bytes> {
        let store = self.root().store();
        let main = path(tenant, name);
        // What is set aside may go back at that moment.
        let places = [main.clone(), aside(tenant, name), main];
        let mut found = None;
        for place in &places {
            match store.get(place).await {
                Ok(there) => {
                    found = Some(there.bytes().await?);
                    break;
                }
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let Some(found) = found else {
            let says = format!("artifact {name}: it is no longer kept");
            return Err(Error::user(Code::NotFound, says));
        };
        if digest(&found) != name {
            let says = format!("artifact {name}: damaged, its bytes are not those that were kept");
            return Err(Error::user(Code::StorageUnavailable, says));
        }
        Ok(found)
    }
}

fn digest(bytes: &Bytes) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn path(tenant: &TenantId, name: &str) -> Path {
    Path::from_iter([tenant.as_str(), FOLDER, name])
}

fn aside(tenant: &TenantId, name: &str) -> Path {
    Path::from_iter([tenant.as_str(), FOLDER, ASIDE, name])
}

impl Table {
    /// The values of a text column in all data files that are there, those included that only older versions have or no commit.
    async fn texts_in_files(&self, column: &str) -> Result<HashSet<String>> {
        let objects: Vec<ObjectMeta> = self.store.list(None).try_collect().await?;
        let mut texts = HashSet::new();
        for object in objects.iter().filter(|object| is_data_file(&object.location)) {
            let doing =
                |e: Error| e.while_doing(format_args!("{}: file {}", self.name, object.location));
            let bytes = match self.store.get(&object.location).await {
                Ok(found) => found.bytes().await?,
                // Somebody took it away meanwhile: no version has it.
                Err(object_store::Error::NotFound { .. }) => continue,
                Err(error) => return Err(doing(error.into())),
            };
            texts_of(bytes, column, &mut texts).map_err(doing)?;
        }
        Ok(texts)
    }
}

/// Adds the values of a text column of a Parquet file, where it has that.
fn texts_of(file: Bytes, column: &str, texts: &mut HashSet<String>) -> Result<()> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
    if builder.schema().index_of(column).is_err() {
        return Ok(());
    }
    let only = ProjectionMask::columns(builder.parquet_schema(), [column]);
    for batch in builder.with_projection(only).build()? {
        let values = cast(batch?.column(0), &DataType::Utf8)?;
        texts.extend(values.as_string::<i32>().iter().flatten().map(str::to_owned));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::array::{ArrayRef, RecordBatch, StringArray};
    use chrono::TimeDelta;

    use crate::storage::Root;
    use crate::storage::faulty::Faulty;
    use crate::tests::{calls, label, name, options, rows, who};
    use crate::{Engine, Principal, TenantId, WriteMode};

    use super::*;

    #[tokio::test]
    async fn bytes_are_kept_once_and_checked_when_they_are_read() {
        let store = Faulty::new();
        let engine =
            Engine::open_root(Root::over(store.clone()), options("memory:")).await.unwrap();
        let who = who();
        let name = engine.keep_artifact(&who, Bytes::from_static(b"weights")).await.unwrap();
        assert_eq!(engine.keep_artifact(&who, Bytes::from_static(b"weights")).await.unwrap(), name);
        assert_eq!(store.count("_artifacts").await, 1);
        let session = engine.session(&who, &[]).await.unwrap();
        assert_eq!(session.artifact(&name).await.unwrap(), Bytes::from_static(b"weights"));
        assert!(engine.catalog(&who).await.unwrap().datasets.is_empty(), "they are no dataset");
        let other = Principal { tenant: TenantId::new("other").unwrap(), ..who.clone() };
        let of_other = engine.session(&other, &[]).await.unwrap();
        assert_eq!(of_other.artifact(&name).await.unwrap_err().code(), Code::NotFound);
        store.put_text(&format!("default/_artifacts/{name}"), "something").await.unwrap();
        let damaged = session.artifact(&name).await.unwrap_err();
        assert!(damaged.to_string().contains("damaged"), "{damaged}");
        // Kept anew, since it is of another length.
        engine.keep_artifact(&who, Bytes::from_static(b"weights")).await.unwrap();
        assert_eq!(session.artifact(&name).await.unwrap(), Bytes::from_static(b"weights"));
        store.lose(&format!("default/_artifacts/{name}")).await.unwrap();
        let gone = session.artifact(&name).await.unwrap_err();
        assert!(gone.to_string().contains("no longer kept"), "{gone}");
    }

    #[tokio::test]
    async fn what_no_file_names_is_set_aside_and_goes_later() {
        let store = Faulty::new();
        let engine =
            Engine::open_root(Root::over(store.clone()), options("memory:")).await.unwrap();
        let who = who();
        let keep = async |bytes: &'static [u8]| {
            engine.keep_artifact(&who, Bytes::from_static(bytes)).await.unwrap()
        };
        let named = [keep(b"one").await, keep(b"two").await];
        let (unnamed, later) = (keep(b"three").await, keep(b"four").await);
        let dataset = name("calls");
        engine.create_dataset(&who, calls()).await.unwrap();
        let write = async |mode: WriteMode, artifact: &str| {
            let mut batch = rows(0..1);
            let named = Arc::new(StringArray::from(vec![artifact])) as ArrayRef;
            let mut columns = batch.columns().to_vec();
            columns[2] = named;
            batch = RecordBatch::try_new(batch.schema(), columns).unwrap();
            engine.write(&who, &dataset, mode, batch, label("test")).await.unwrap();
        };
        // The second is in an older version alone, whose file is there.
        write(WriteMode::Overwrite, &named[1]).await;
        write(WriteMode::Overwrite, &named[0]).await;
        let forget = async |seconds: i64| {
            let before = Utc::now() + TimeDelta::seconds(seconds);
            engine.forget_artifacts(&who, &dataset, "model", before).await.unwrap()
        };
        assert_eq!(forget(-3_600).await, Forgotten::default());
        assert_eq!(store.count("_aside").await, 0, "all are young");
        assert_eq!(forget(3_600).await, Forgotten::default());
        assert_eq!(store.count("_aside").await, 2);
        let session = engine.session(&who, &[]).await.unwrap();
        for name in named.iter().chain([&unnamed, &later]) {
            session.artifact(name).await.unwrap();
        }
        // One is named after all.
        write(WriteMode::Append, &later).await;
        assert_eq!(forget(-3_600).await, Forgotten::default(), "what is set aside is young");
        assert_eq!(forget(3_600).await, Forgotten { artifacts: 1, bytes: 5 });
        assert_eq!(store.count("_aside").await, 0);
        for name in named.iter().chain([&later]) {
            session.artifact(name).await.unwrap();
        }
        let gone = session.artifact(&unnamed).await.unwrap_err();
        assert_eq!(gone.code(), Code::NotFound);
        assert_eq!(keep(b"three").await, unnamed);
        session.artifact(&unnamed).await.unwrap();
        // What was kept again since it was set aside loses that copy, and nothing else by the same look.
        assert_eq!(forget(3_600).await, Forgotten::default());
        assert_eq!(store.count("_aside").await, 1);
        keep(b"three").await;
        assert_eq!(forget(3_600).await, Forgotten::default());
        assert_eq!(store.count("_aside").await, 0);
        session.artifact(&unnamed).await.unwrap();
        assert_eq!(forget(3_600).await, Forgotten::default());
        assert_eq!(store.count("_aside").await, 1);
    }
}
