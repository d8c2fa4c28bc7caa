//! A store that fails on demand, over one that does not.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;
use tokio::sync::{Barrier, Semaphore};

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
    /// The process has no descriptors left.
    NoDescriptors,
    /// It is made, and then the process has no descriptors left.
    MadeWithoutDescriptors,
}

/// Where a read waits.
pub(crate) struct Gate {
    reached: Semaphore,
    opened: Semaphore,
}

impl Gate {
    /// Returns once a read waits.
    pub(crate) async fn reached(&self) {
        self.reached.acquire().await.map(|permit| permit.forget()).unwrap_or_default();
    }

    /// Lets the read go on.
    pub(crate) fn open(&self) {
        self.opened.add_permits(1);
    }
}

type Plan = Box<dyn FnMut(&Path) -> Fault + Send>;

/// A store with faults.
pub(crate) struct Faulty {
    store: Arc<InMemory>,
    plan: Mutex<Plan>,
    unreadable: Mutex<Option<String>>,
    late: Mutex<Vec<(Path, PutPayload, PutOptions)>>,
    hidden: Mutex<Option<(String, usize)>>,
    held: Mutex<Option<(String, usize, Arc<Gate>)>>,
    meeting: Mutex<Option<(String, usize, Arc<Barrier>)>>,
}

impl Faulty {
    /// One over an empty store.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            store: Arc::new(InMemory::new()),
            plan: Mutex::new(Box::new(|_| Fault::None)),
            unreadable: Mutex::default(),
            late: Mutex::default(),
            hidden: Mutex::default(),
            held: Mutex::default(),
            meeting: Mutex::default(),
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

    /// Makes the one write that is late when the `nth` object is written whose path contains `part`, before that.
    pub(crate) fn deliver_at(self: &Arc<Self>, part: &'static str, nth: usize) {
        let (store, mut written) = (Arc::clone(self), 0);
        self.plan(move |path| {
            if path.as_ref().contains(part) {
                written += 1;
                if written == nth {
                    assert_eq!(futures::executor::block_on(store.deliver()), 1);
                }
            }
            Fault::None
        });
    }

    /// Fails reads of objects whose path contains `part`.
    pub(crate) fn unreadable(&self, part: Option<&str>) {
        *self.unreadable.lock() = part.map(str::to_owned);
    }

    /// Leaves objects whose path contains `part` out of one listing that would have them, after `before` of these.
    pub(crate) fn hide(&self, part: &str, before: usize) {
        *self.hidden.lock() = Some((part.to_owned(), before));
    }

    /// Holds one read of an object whose path contains `part`, after `before` of these.
    pub(crate) fn hold(&self, part: &str, before: usize) -> Arc<Gate> {
        let gate = Gate { reached: Semaphore::new(0), opened: Semaphore::new(0) };
        let gate = Arc::new(gate);
        *self.held.lock() = Some((part.to_owned(), before, Arc::clone(&gate)));
        gate
    }

    /// Makes the next `count` writes to paths that contain `part` wait for each other.
    pub(crate) fn meet(&self, part: &str, count: usize) {
        *self.meeting.lock() = Some((part.to_owned(), count, Arc::new(Barrier::new(count))));
    }

    /// The barrier at which the write of an object waits for others.
    fn meeting(&self, location: &Path) -> Option<Arc<Barrier>> {
        let mut meeting = self.meeting.lock();
        let (_, left, barrier) =
            meeting.as_mut().filter(|(part, ..)| location.as_ref().contains(part.as_str()))?;
        let barrier = Arc::clone(barrier);
        *left -= 1;
        if *left == 0 {
            *meeting = None;
        }
        Some(barrier)
    }

    /// Where the read of an object waits.
    fn gate(&self, location: &Path) -> Option<Arc<Gate>> {
        let mut held = self.held.lock();
        let (_, before, _) =
            held.as_mut().filter(|(part, ..)| location.as_ref().contains(part.as_str()))?;
        if *before > 0 {
            *before -= 1;
            return None;
        }
        held.take().map(|(.., gate)| gate)
    }

    /// How many objects there are whose path contains `part`.
    pub(crate) async fn count(&self, part: &str) -> usize {
        let objects: Vec<ObjectMeta> =
            self.store.list(None).try_collect().await.unwrap_or_default();
        objects.iter().filter(|object| object.location.as_ref().contains(part)).count()
    }

    /// Deletes an object behind everybody's back.
    pub(crate) async fn lose(&self, path: &str) -> Result<()> {
        self.store.delete(&path.into()).await
    }

    /// What an object holds.
    pub(crate) async fn text(&self, path: &str) -> Result<String> {
        let bytes = self.store.get(&path.into()).await?.bytes().await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Puts an object behind everybody's back.
    pub(crate) async fn put_text(&self, path: &str, text: &str) -> Result<()> {
        self.store.put(&path.into(), text.to_owned().into()).await.map(drop)
    }

    /// What the next listing of `prefix` leaves out.
    fn left_out(&self, prefix: Option<&Path>) -> Option<String> {
        let mut hidden = self.hidden.lock();
        let (part, before) = hidden.as_mut()?;
        if !prefix.is_some_and(|prefix| part.contains(prefix.as_ref())) {
            return None;
        }
        if *before > 0 {
            *before -= 1;
            return None;
        }
        let part = std::mem::take(part);
        *hidden = None;
        Some(part)
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

fn without_descriptors() -> Error {
    let source = Box::new(std::io::Error::other("Too many open files (os error 24)"));
    Error::Generic { store: "faulty", source }
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
        if let Some(barrier) = self.meeting(location) {
            barrier.wait().await;
        }
        match fault {
            Fault::None => self.store.put_opts(location, payload, options).await,
            Fault::Refused => Err(failed()),
            Fault::Full => Err(Error::Generic {
                store: "faulty",
                source: Box::new(std::io::Error::from(std::io::ErrorKind::StorageFull)),
            }),
            Fault::NoDescriptors => Err(without_descriptors()),
            Fault::MadeWithoutDescriptors => {
                self.store.put_opts(location, payload, options).await?;
                Err(without_descriptors())
            }
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
        let found = self.store.get_opts(location, options).await;
        // What is read is as it was when the read began.
        if let Some(gate) = self.gate(location) {
            gate.reached.add_permits(1);
            let _ = gate.opened.acquire().await;
        }
        found
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
        let listing = self.store.list(prefix);
        let Some(part) = self.left_out(prefix) else { return listing };
        let is_shown = move |object: &ObjectMeta| !object.location.as_ref().contains(&part);
        listing.try_filter(move |object| std::future::ready(is_shown(object))).boxed()
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
