//! Where files go that leave the lake: a folder, or a part of an object store.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{Error as StoreError, GetOptions, ObjectStoreExt as _, WriteMultipart};

use super::Root;
use crate::error::{Code, Error, Result};
use crate::options::Access;

/// Bytes that are sent at once.
const PIECE_BYTES: usize = 8 << 20;
/// Longest file that is read as a whole.
const SMALL_BYTES_MAX: u64 = 64 << 20;
/// Pieces that are on their way at a time.
const ON_THE_WAY_MAX: usize = 2;

/// A place for files.
#[derive(Clone)]
pub(crate) struct Target(Root);

/// A file that is being written. It is there once it is finished, and before that not at all.
pub(crate) struct Upload(Option<WriteMultipart>);

impl Target {
    /// The place that `text` names; a folder is made when it is not there, unless it is only read.
    pub(crate) fn open(text: &str, access: &Access) -> Result<Self> {
        if let Some(folder) = Root::folder_named(text)? {
            if folder.is_file() {
                let says = format!("{text}: this is a file; expected a folder");
                return Err(Error::user(Code::BadInput, says));
            }
            if access.writes() {
                require_writable(text, &folder)?;
                require_no_links(text, &folder)?;
            } else if !folder.is_dir() {
                let says = format!("{text}: there is no such folder");
                return Err(Error::user(Code::NotFound, says));
            }
        }
        let root = Root::open(text, &BTreeMap::new(), access);
        let root = root.map_err(|error| error.while_doing("the target"))?;
        match root.is_kept() {
            true => Ok(Self(root)),
            false => {
                let says = format!(
                    "{text}: this is gone with the process; expected a folder, or the URL of an object store"
                );
                Err(Error::user(Code::BadInput, says))
            }
        }
    }

    /// Whether nobody else writes there, on a disk: until it is dropped. CONFLICT where somebody does.
    pub(crate) fn lock(&self, name: &str) -> Result<Option<TargetLock>> {
        let Some(folder) = self.0.folder() else { return Ok(None) };
        TargetLock::take(&folder.join(name)).map(Some)
    }

    /// A place in a root, which that takes for none of its datasets.
    pub(crate) fn of_root<'a>(root: &Root, parts: impl IntoIterator<Item = &'a str>) -> Self {
        Self(root.below(parts))
    }

    /// Its folder, where it is one.
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        self.0.folder().map(FilePath::to_owned)
    }

    /// The folders in it, by name.
    pub(crate) async fn folders(&self) -> Result<Vec<String>> {
        let there = self.0.store().list_with_delimiter(None).await?;
        let names = there.common_prefixes.iter().filter_map(|path| path.filename());
        Ok(names.map(str::to_owned).collect())
    }

    /// When something was written there last.
    pub(crate) async fn newest(&self) -> Result<Option<DateTime<Utc>>> {
        let files = self.0.store().list(None);
        let newest = files
            .try_fold(None, |newest, file| async move { Ok(newest.max(Some(file.last_modified))) });
        Ok(newest.await?)
    }

    /// Removes what is left of it, where it is a folder: also what no listing shows, of files that never became whole.
    pub(crate) async fn remove_folder(&self) {
        let Some(folder) = self.folder() else { return };
        let removed = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(folder)).await;
        // One that is gone already is what was wanted.
        if let Ok(Err(error)) = removed
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::debug!(%error, "a folder stays there");
        }
    }

    /// The bytes of a small file; `None` where there is none.
    pub(crate) async fn get(&self, name: &str) -> Result<Option<Bytes>> {
        let Some(bytes) = self.size(name).await? else { return Ok(None) };
        if bytes > SMALL_BYTES_MAX {
            let says = format!("{name}: it has {bytes} bytes; expected up to {SMALL_BYTES_MAX}");
            return Err(Error::user(Code::BadInput, says));
        }
        match self.0.store().get(&path_of(name)?).await {
            Ok(found) => Ok(Some(found.bytes().await?)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes a small file, in the place of the one that has its name.
    pub(crate) async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<()> {
        self.0.store().put(&path_of(name)?, bytes.into()).await?;
        Ok(())
    }

    /// Removes a file, where it is there.
    pub(crate) async fn remove(&self, name: &str) -> Result<()> {
        match self.0.store().delete(&path_of(name)?).await {
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

    /// Fails where something else has the name of a file: to read a pipe could take for ever.
    async fn require_file(&self, name: &str) -> Result<()> {
        let Some(folder) = self.0.folder() else { return Ok(()) };
        match tokio::fs::metadata(folder.join(path_of(name)?.as_ref())).await {
            Ok(found) if !found.is_file() => {
                let says = format!("{name}: this is no file; expected one that an export wrote");
                Err(Error::user(Code::BadInput, says))
            }
            _ => Ok(()),
        }
    }

    /// Bytes of a file; `None` where there is none.
    pub(crate) async fn size(&self, name: &str) -> Result<Option<u64>> {
        self.require_file(name).await?;
        match self.0.store().head(&path_of(name)?).await {
            Ok(found) => Ok(Some(found.size)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Begins a file.
    pub(crate) async fn begin(&self, name: &str) -> Result<Upload> {
        let upload = self.0.store().put_multipart(&path_of(name)?).await?;
        Ok(Upload(Some(WriteMultipart::new_with_chunk_size(upload, PIECE_BYTES))))
    }

    /// Some bytes of a file, as they are read; `None` where there is none.
    pub(crate) async fn stream(
        &self,
        name: &str,
        range: Range<u64>,
    ) -> Result<Option<BoxStream<'static, Result<Bytes>>>> {
        self.require_file(name).await?;
        if range.is_empty() {
            return Ok(Some(futures::stream::empty().boxed()));
        }
        let options = GetOptions { range: Some(range.into()), ..GetOptions::default() };
        match self.0.store().get_opts(&path_of(name)?, options).await {
            Ok(found) => Ok(Some(found.into_stream().map_err(Error::from).boxed())),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Hands all bytes of a file to `take`, some at a time; `false` where there is none.
    pub(crate) async fn read(&self, name: &str, mut take: impl FnMut(&[u8])) -> Result<bool> {
        self.require_file(name).await?;
        let found = match self.0.store().get(&path_of(name)?).await {
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

/// Makes the folder, and a file in it, which goes again: what can not be done is known before anything is.
fn require_writable(text: &str, folder: &FilePath) -> Result<()> {
    let failed = |what: &str, error: std::io::Error| {
        let code = match error.kind() {
            std::io::ErrorKind::StorageFull => Code::ResourcesExhausted,
            _ => Code::BadInput,
        };
        let says = format!("{text}: {what}: {error}");
        Error::environment(code, says, error)
    };
    std::fs::create_dir_all(folder)
        .map_err(|error| failed("this folder can not be made", error))?;
    let tried = tempfile::tempfile_in(folder);
    tried.map(drop).map_err(|error| failed("no file can be made in this folder", error))
}

/// Links among the folders lead elsewhere, where nothing is to be written or removed.
fn require_no_links(text: &str, folder: &FilePath) -> Result<()> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_symlink() && entry.path().is_dir() {
                let name = entry.file_name();
                let says = format!(
                    "{text}: {} is a link to a folder; expected one without links",
                    name.to_string_lossy()
                );
                return Err(Error::user(Code::Conflict, says));
            }
            let name = entry.file_name();
            let is_ours =
                name.to_str().is_some_and(|name| name.contains('=') || name.starts_with('_'));
            if kind.is_dir() && is_ours {
                folders.push(entry.path());
            }
        }
    }
    Ok(())
}

/// That nobody else writes to a folder; a lock of the operating system, which does not outlive its process.
#[derive(Debug)]
pub(crate) struct TargetLock(std::fs::File);

impl TargetLock {
    fn take(path: &FilePath) -> Result<Self> {
        let failed = |error| Error::environment(Code::StorageUnavailable, "lock the target", error);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        loop {
            let mut options = std::fs::OpenOptions::new();
            let file = options.create(true).truncate(false).write(true).open(path);
            let file = file.map_err(failed)?;
            if !fs4::fs_std::FileExt::try_lock_exclusive(&file).map_err(failed)? {
                let says =
                    "another export is being written there; expected another folder, or its end";
                return Err(Error::user(Code::Conflict, says));
            }
            if is_at(&file, path) {
                return Ok(Self(file));
            }
            // Whoever had it has ended meanwhile, and taken the file away.
        }
    }
}

impl Drop for TargetLock {
    fn drop(&mut self) {
        // It goes with the file, too.
        let _ = fs4::fs_std::FileExt::unlock(&self.0);
    }
}

#[cfg(unix)]
fn is_at(file: &std::fs::File, path: &FilePath) -> bool {
    use std::os::unix::fs::MetadataExt;
    let place = |of: std::fs::Metadata| (of.dev(), of.ino());
    let (held, there) = (file.metadata().map(place), std::fs::metadata(path).map(place));
    held.is_ok_and(|held| there.is_ok_and(|there| held == there))
}

#[cfg(not(unix))]
fn is_at(_: &std::fs::File, path: &FilePath) -> bool {
    path.exists()
}

/// Names have what they are, and no way out.
fn path_of(name: &str) -> Result<Path> {
    Path::parse(name)
        .map_err(|error| Error::environment(Code::BadInput, "the name of a file", error))
}

impl Upload {
    /// Takes bytes, as soon as there is room for them.
    pub(crate) async fn write(&mut self, bytes: Bytes) -> Result<()> {
        if let Some(upload) = &mut self.0 {
            upload.wait_for_capacity(ON_THE_WAY_MAX).await?;
            upload.put(bytes);
        }
        Ok(())
    }

    /// Makes it a file.
    pub(crate) async fn finish(mut self) -> Result<()> {
        if let Some(upload) = self.0.take() {
            upload.finish().await?;
        }
        Ok(())
    }

    /// Leaves nothing of it.
    pub(crate) async fn abort(mut self) {
        if let Some(upload) = self.0.take() {
            abort(upload).await;
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // Whoever wrote it was told to end: a store would keep what was sent, and show it nowhere.
        if let (Some(upload), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current())
        {
            runtime.spawn(abort(upload));
        }
    }
}

async fn abort(upload: WriteMultipart) {
    if let Err(error) = upload.abort().await {
        tracing::debug!(%error, "what was written of a file stays there");
    }
}
