//! Where files go that leave the lake: a folder, or a part of an object store.

use std::collections::BTreeMap;
use std::path::Path as FilePath;

use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStoreExt as _, WriteMultipart};

use super::Root;
use crate::error::{Code, Error, Result};
use crate::options::Access;

/// Bytes that are sent at once.
const PIECE_BYTES: usize = 8 << 20;
/// Pieces that are on their way at a time.
const ON_THE_WAY_MAX: usize = 2;

/// A place for files.
#[derive(Clone)]
pub(crate) struct Target(Root);

/// A file that is being written. It is there once it is finished, and before that not at all.
pub(crate) struct Upload(WriteMultipart);

impl Target {
    /// The place that `text` names; a folder is made when it is not there, unless it is only read.
    pub(crate) fn open(text: &str, access: &Access) -> Result<Self> {
        let is_local = !text.contains("://");
        if is_local && FilePath::new(text).is_file() {
            let says = format!("{text}: this is a file; expected a folder");
            return Err(Error::user(Code::BadInput, says));
        }
        if is_local && !access.writes() && !FilePath::new(text).is_dir() {
            return Err(Error::user(Code::NotFound, format!("{text}: there is no such folder")));
        }
        let root = Root::open(text, &BTreeMap::new(), access);
        root.map(Self).map_err(|error| error.while_doing("the target"))
    }

    /// Its folder, where it is one.
    pub(crate) fn folder(&self) -> Option<&FilePath> {
        self.0.folder()
    }

    /// The bytes of a small file; `None` where there is none.
    pub(crate) async fn get(&self, name: &str) -> Result<Option<Bytes>> {
        match self.0.store().get(&Path::from(name)).await {
            Ok(found) => Ok(Some(found.bytes().await?)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes a small file, in the place of the one that has its name.
    pub(crate) async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<()> {
        self.0.store().put(&Path::from(name), bytes.into()).await?;
        Ok(())
    }

    /// Removes a file, where it is there.
    pub(crate) async fn remove(&self, name: &str) -> Result<()> {
        match self.0.store().delete(&Path::from(name)).await {
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// All files, by name, with their bytes.
    pub(crate) async fn list(&self) -> Result<BTreeMap<String, u64>> {
        let files = self.0.store().list(None);
        let named = files.map_ok(|file| (file.location.to_string(), file.size));
        Ok(named.try_collect().await?)
    }

    /// Bytes of a file; `None` where there is none.
    pub(crate) async fn size(&self, name: &str) -> Result<Option<u64>> {
        match self.0.store().head(&Path::from(name)).await {
            Ok(found) => Ok(Some(found.size)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Begins a file.
    pub(crate) async fn begin(&self, name: &str) -> Result<Upload> {
        let upload = self.0.store().put_multipart(&Path::from(name)).await?;
        Ok(Upload(WriteMultipart::new_with_chunk_size(upload, PIECE_BYTES)))
    }

    /// Hands all bytes of a file to `take`, some at a time; `false` where there is none.
    pub(crate) async fn read(&self, name: &str, mut take: impl FnMut(&[u8])) -> Result<bool> {
        let found = match self.0.store().get(&Path::from(name)).await {
            Ok(found) => found,
            Err(StoreError::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let mut pieces = found.into_stream();
        while let Some(piece) = pieces.try_next().await? {
            take(&piece);
        }
        Ok(true)
    }
}

impl Upload {
    /// Takes bytes, as soon as there is room for them.
    pub(crate) async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.0.wait_for_capacity(ON_THE_WAY_MAX).await?;
        self.0.put(bytes);
        Ok(())
    }

    /// Makes it a file.
    pub(crate) async fn finish(self) -> Result<()> {
        self.0.finish().await?;
        Ok(())
    }

    /// Leaves nothing of it.
    pub(crate) async fn abort(self) {
        if let Err(error) = self.0.abort().await {
            tracing::debug!(%error, "what was written of a file stays there");
        }
    }
}
