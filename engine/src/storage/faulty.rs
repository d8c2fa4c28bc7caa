//! A store that fails on demand, over one that does not.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;

/// What happens to a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// It is refused, and not made.
    Refused,
    /// It is made, and its answer is lost.
    AnswerLost,
    /// It fails, and is made later: when `deliver` is called.
    Late,
    /// It fails with half of its bytes written.
    Torn,
    /// The disk is full.
    Full,
}

type Plan = Box<dyn FnMut(&Path) -> Fault + Send>;

/// A store with faults.
pub(crate) struct Faulty {
    store: Arc<InMemory>,
    plan: Mutex<Plan>,
    unreadable: Mutex<Option<String>>,
    late: Mutex<Vec<(Path, PutPayload, PutOptions)>>,
}

impl Faulty {
    /// One over an empty store.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            store: Arc::new(InMemory::new()),
            plan: Mutex::new(Box::new(|_| Fault::None)),
            unreadable: Mutex::default(),
            late: Mutex::default(),
        })
    }

    /// Asks `plan` at each write from now on.
    pub(crate) fn plan(&self, plan: impl FnMut(&Path) -> Fault + Send + 'static) {
        *self.plan.lock() = Box::new(plan);
    }

    /// Meets the next write of an object whose path contains `part` with `fault`, and no other.
    pub(crate) fn once(&self, part: &'static str, fault: Fault) {
        let mut armed = true;
        self.plan(move |path| {
            if armed && path.as_ref().contains(part) {
                armed = false;
                return fault;
            }
            Fault::None
        });
    }

    /// Fails reads of objects whose path contains `part`.
    pub(crate) fn unreadable(&self, part: Option<&str>) {
        *self.unreadable.lock() = part.map(str::to_owned);
    }

    /// Makes the late writes.
    pub(crate) async fn deliver(&self) -> usize {
        let late = std::mem::take(&mut *self.late.lock());
        let count = late.len();
        for (path, payload, options) in late {
            let _ = self.store.put_opts(&path, payload, options).await;
        }
        count
    }
}

fn failed() -> Error {
    Error::Generic { store: "faulty", source: "the network is down at /srv/secret/place".into() }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let fault = (self.plan.lock())(location);
        match fault {
            Fault::None => self.store.put_opts(location, payload, options).await,
            Fault::Refused => Err(failed()),
            Fault::Full => Err(Error::Generic {
                store: "faulty",
                source: Box::new(std::io::Error::from(std::io::ErrorKind::StorageFull)),
            }),
            Fault::AnswerLost => {
                self.store.put_opts(location, payload, options).await?;
                Err(failed())
            }
            Fault::Late => {
                self.late.lock().push((location.clone(), payload, options));
                Err(failed())
            }
            Fault::Torn => {
                let bytes: Bytes = payload.into();
                let half = bytes.slice(..bytes.len() / 2);
                self.store.put_opts(location, half.into(), options).await?;
                Err(failed())
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let unreadable = self.unreadable.lock().clone();
        if unreadable.is_some_and(|part| location.as_ref().contains(&part)) {
            return Err(failed());
        }
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

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}
