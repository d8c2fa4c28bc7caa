//! A view of a table's folder that remembers what was written through it.
//!
//! Data files are written before the commit that makes them part of the table. When the commit never
//! comes they are garbage, and the library's writer does not say which they were.
//!
//! An object that could not be put is kept from that writer until it is asked for here: it would abort what has ended already,
//! and panic.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use parking_lot::Mutex;

/// A folder that remembers its new objects.
#[derive(Debug)]
pub(super) struct Tracked {
    store: Arc<dyn ObjectStore>,
    written: Mutex<Vec<Path>>,
    failure: Failure,
}

/// The first object that could not be put.
type Failure = Arc<Mutex<Option<object_store::Error>>>;

/// Keeps an error and answers as if there were none.
fn keep(failure: &Failure, put: Result<PutResult>) -> Result<PutResult> {
    put.or_else(|error| {
        failure.lock().get_or_insert(error);
        Ok(PutResult { e_tag: None, version: None })
    })
}

impl Tracked {
    pub(super) fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, written: Mutex::default(), failure: Failure::default() }
    }

    /// Why an object could not be put, once.
    pub(super) fn failure(&self) -> Result<()> {
        self.failure.lock().take().map_or(Ok(()), Err)
    }

    /// Deletes everything that was written; what can't be deleted is left to the table's clean-up.
    pub(super) async fn discard(&self) {
        let written: Vec<Path> = std::mem::take(&mut *self.written.lock());
        let paths = stream::iter(written.into_iter().map(Ok)).boxed();
        let mut deleted = self.store.delete_stream(paths);
        while let Some(result) = deleted.next().await {
            match result {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(e) => {
                    tracing::warn!(error = %e, "a data file of a failed write stays behind");
                }
            }
        }
    }

    fn note(&self, location: &Path) {
        self.written.lock().push(location.clone());
    }
}

#[async_trait]
impl ObjectStore for Tracked {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.note(location);
        keep(&self.failure, self.store.put_opts(location, payload, options).await)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.note(location);
        let upload = self.store.put_multipart_opts(location, options).await?;
        Ok(Box::new(Upload { upload, failure: Arc::clone(&self.failure) }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.store.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.store.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.store.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store.copy_opts(from, to, options).await
    }
}

/// An upload in parts.
#[derive(Debug)]
struct Upload {
    upload: Box<dyn MultipartUpload>,
    failure: Failure,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.upload.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        keep(&self.failure, self.upload.complete().await)
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}

impl fmt::Display for Tracked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store.fmt(f)
    }
}
