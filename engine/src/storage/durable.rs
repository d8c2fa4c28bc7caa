//! A folder as an object store whose writes are durable when they return.
//!
//! `object_store`'s own `LocalFileSystem` writes atomically (a staged file, then a link or rename), but
//! never asks the disk to keep it: after a power cut an acknowledged commit could be gone, or be there
//! with no content and break the log. So writes are made here: content is on disk before its name is,
//! and the name is on disk before the call returns. Reading is left to `LocalFileSystem`.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error as StoreError, GetOptions, GetResult, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result, UploadPart,
};

use crate::error::{Code, Error};
use crate::options::Access;

/// A folder.
#[derive(Debug)]
pub(super) struct DurableFiles {
    files: LocalFileSystem,
    root: Arc<FilePath>,
}

impl DurableFiles {
    /// Opens the folder at `root`; a writer makes it when it is not there.
    pub(super) fn open(root: &FilePath, access: &Access) -> crate::Result<Self> {
        let unusable = |problem: &str, e: io::Error| {
            let code = match e.kind() {
                io::ErrorKind::StorageFull => Code::ResourcesExhausted,
                _ => Code::StorageUnavailable,
            };
            Error::environment(code, format!("the root is not usable: {problem}"), e)
        };
        match (fs::metadata(root), access) {
            (Ok(found), _) if !found.is_dir() => {
                return Err(unusable(
                    "it is a file; expected a folder",
                    io::ErrorKind::NotADirectory.into(),
                ));
            }
            (Ok(_), _) => {}
            (Err(e), access) if access.writes() && e.kind() == io::ErrorKind::NotFound => {
                create_folder(root).map_err(|e| unusable("creating its folder failed", e))?;
            }
            (Err(e), _) if e.kind() == io::ErrorKind::NotFound => {
                return Err(unusable("there is no such folder", e));
            }
            (Err(e), _) if e.kind() == io::ErrorKind::NotADirectory => {
                return Err(unusable("a part of its path is a file; expected folders", e));
            }
            (Err(e), _) => return Err(unusable("permission denied or not readable", e)),
        }
        fs::read_dir(root).map_err(|e| unusable("listing its folder failed", e))?;
        let files = LocalFileSystem::new_with_prefix(root).map_err(Error::from)?;
        Ok(Self { files, root: root.into() })
    }
}

#[async_trait]
impl ObjectStore for DurableFiles {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        if matches!(options.mode, PutMode::Update(_)) || !options.attributes.is_empty() {
            return self.files.put_opts(location, payload, options).await;
        }
        let path = self.files.path_to_filesystem(location)?;
        let root = Arc::clone(&self.root);
        let name = location.to_string();
        blocking(move || {
            put(&root, &path, &payload, &options.mode).map_err(|e| match e.kind() {
                io::ErrorKind::AlreadyExists => {
                    StoreError::AlreadyExists { path: name, source: Box::new(e) }
                }
                _ => failed(e),
            })
        })
        .await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let path = self.files.path_to_filesystem(location)?;
        if let Some(folder) = path.parent() {
            let folder = folder.to_owned();
            blocking(move || create_folder(&folder).map_err(failed)).await?;
        }
        let upload = self.files.put_multipart_opts(location, options).await?;
        Ok(Box::new(DurableUpload { upload, path }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.files.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.files.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.files.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        in_order(self.files.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        in_order(self.files.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.files.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.files.copy_opts(from, to, options).await
    }
}

impl fmt::Display for DurableFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("files")
    }
}

/// A large file that is written in parts, and made durable when it is complete.
#[derive(Debug)]
struct DurableUpload {
    upload: Box<dyn MultipartUpload>,
    path: PathBuf,
}

#[async_trait]
impl MultipartUpload for DurableUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.upload.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        // The name appears a moment before the content is on disk. That is harmless: no commit
        // refers to the file before this returns.
        let result = self.upload.complete().await?;
        let path = self.path.clone();
        blocking(move || {
            File::open(&path)
                .and_then(|file| file.sync_all())
                .and_then(|()| path.parent().map_or(Ok(()), sync_folder))
                .map_err(failed)
        })
        .await?;
        Ok(result)
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}

/// Object stores list by name, and the log's readers rely on it; a folder lists as it likes.
fn in_order(
    listing: BoxStream<'static, Result<ObjectMeta>>,
) -> BoxStream<'static, Result<ObjectMeta>> {
    stream::once(async move {
        let mut objects: Vec<ObjectMeta> = listing.try_collect().await?;
        objects.sort_unstable_by(|a, b| a.location.cmp(&b.location));
        Ok::<_, StoreError>(stream::iter(objects.into_iter().map(Ok)))
    })
    .try_flatten()
    .boxed()
}

fn put(root: &FilePath, path: &FilePath, payload: &PutPayload, mode: &PutMode) -> io::Result<()> {
    let (mut file, staged) = stage(root, path)?;
    let written = payload
        .iter()
        .try_for_each(|part| file.write_all(part))
        .and_then(|()| file.sync_all())
        // Opened before the name appears: a process out of descriptors makes nothing that it can not make durable.
        .and_then(|()| path.parent().map(Folder::open).transpose())
        .and_then(|folder| {
            match mode {
                // A link fails when the name is taken; a rename would replace it.
                PutMode::Create => fs::hard_link(&staged, path)?,
                _ => fs::rename(&staged, path)?,
            }
            Ok(folder)
        });
    if written.is_err() || matches!(mode, PutMode::Create) {
        let _ = fs::remove_file(&staged);
    }
    written?.map_or(Ok(()), |folder| folder.sync())
}

/// A new file beside `path` that no listing shows: `LocalFileSystem` hides names ending in `#DIGITS`.
fn stage(root: &FilePath, path: &FilePath) -> io::Result<(File, PathBuf)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    loop {
        let mut staged = path.as_os_str().to_owned();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        staged.push(format!("#{}{number}", std::process::id()));
        let staged = PathBuf::from(staged);
        match OpenOptions::new().write(true).create_new(true).open(&staged) {
            Ok(file) => return Ok((file, staged)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            // The root itself is not made anew: one that vanished is a fault, not an empty store.
            Err(e) if e.kind() == io::ErrorKind::NotFound && root.is_dir() => match path.parent() {
                Some(folder) if !folder.is_dir() => create_folder(folder)?,
                _ => return Err(e),
            },
            Err(e) => return Err(e),
        }
    }
}

/// Makes `folder` and those above it, each durable in the one above.
fn create_folder(folder: &FilePath) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        if !above.as_os_str().is_empty() {
            create_folder(above)?;
        }
        match fs::create_dir(folder) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        return sync_folder(above);
    }
    Ok(())
}

fn sync_folder(folder: &FilePath) -> io::Result<()> {
    Folder::open(folder)?.sync()
}

/// A folder whose names are to be made durable.
#[cfg(unix)]
struct Folder(File);

#[cfg(unix)]
impl Folder {
    fn open(path: &FilePath) -> io::Result<Self> {
        File::open(path).map(Self)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}

/// Windows keeps names with the file and has no handle to a folder to sync.
#[cfg(not(unix))]
struct Folder;

#[cfg(not(unix))]
impl Folder {
    fn open(_: &FilePath) -> io::Result<Self> {
        Ok(Self)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(failed(io::Error::other(e))),
    }
}

fn failed(error: io::Error) -> StoreError {
    StoreError::Generic { store: "files", source: Box::new(error) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use object_store::ObjectStoreExt;

    use super::*;

    fn writer() -> Access {
        Access::Writer { holder: "test".to_owned() }
    }

    #[tokio::test]
    async fn an_object_is_created_once_and_listed_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let store = DurableFiles::open(folder.path(), &writer()).unwrap();
        for name in ["t/b", "t/a", "t/d/c"] {
            let create = PutOptions::from(PutMode::Create);
            store.put_opts(&name.into(), "x".into(), create).await.unwrap();
        }
        let again = PutOptions::from(PutMode::Create);
        let refused = store.put_opts(&"t/a".into(), "y".into(), again).await.unwrap_err();
        assert!(matches!(refused, StoreError::AlreadyExists { .. }), "{refused}");
        assert_eq!(store.get(&"t/a".into()).await.unwrap().bytes().await.unwrap(), "x");

        let listed: Vec<_> = store.list(None).map_ok(|o| o.location).try_collect().await.unwrap();
        assert_eq!(listed, ["t/a".into(), "t/b".into(), Path::from("t/d/c")]);
        let staged = fs::read_dir(folder.path().join("t")).unwrap().count();
        assert_eq!(staged, 3, "staged files were left behind");
    }

    #[tokio::test]
    async fn a_root_that_vanished_is_not_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        let store = DurableFiles::open(&root, &writer()).unwrap();
        fs::remove_dir_all(&root).unwrap();
        assert!(store.put(&"t/a".into(), "x".into()).await.is_err());
        assert!(!root.exists());
    }

    #[test]
    fn what_is_wrong_with_a_root_is_said_without_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "x").unwrap();
        for (path, access, expected) in [
            (file.clone(), writer(), "it is a file; expected a folder"),
            (file.join("below"), writer(), "a part of its path is a file; expected folders"),
            (folder.path().join("none"), Access::ReadOnly, "there is no such folder"),
        ] {
            let error = DurableFiles::open(&path, &access).unwrap_err();
            assert_eq!(error.code(), Code::StorageUnavailable);
            assert_eq!(error.to_string(), format!("the root is not usable: {expected}"));
        }
    }
}
