//! Many requests, one commit.
//!
//! Each dataset that is being written to has one task. It takes what is waiting, up to the bounds, makes
//! one commit of it, and answers everyone; what arrives meanwhile is the next group. So the busier a
//! dataset is the larger its groups are, and a lone request waits next to nothing.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use datasets::DatasetName;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tracing::Instrument;

use super::body::{Rows, prepare};
use super::group::Group;
use super::sequence::{Standing, digest, standing_on};
use super::{IngestReceipt, IngestRequest, IngestRows, ProducerSequence, duplicate};
use crate::derived::{refuse_kept_name, refuse_rows};
use crate::error::{Code, Error, Result};
use crate::identity::{Principal, TenantId, Version};
use crate::lake::{Lake, Table};
use crate::lanes::{Lanes, Usage};
use crate::options::GroupCommitOptions;
use crate::places::{Places, Taken};

/// Bodies that are read and checked at once, per core; of one tenant half.
const READING_PER_CORE: usize = 2;

/// Takes requests and files.
pub(crate) struct Ingest {
    pub(super) lake: Arc<Lake>,
    options: GroupCommitOptions,
    pub(super) lanes: Arc<Lanes>,
    /// Room for rows that wait for their commit, in KiB.
    waiting: Places,
    queues: Mutex<Queues>,
}

/// What came of reading a request.
enum Read {
    Rows(Rows),
    /// It was taken before, and could not be read now.
    Duplicate(Version),
}

/// Reads and checks rows. A body that can not be read may have been taken once, when the columns were called otherwise.
async fn read(
    lake: &Lake,
    who: &Principal,
    table: &Arc<Table>,
    rows: IngestRows,
    producer: Option<&ProducerSequence>,
) -> Result<Read> {
    match prepare(lake, who, table, &rows, producer.is_some()).await {
        Ok(rows) => Ok(Read::Rows(rows)),
        Err(error) => match was_taken(lake, table, producer, &rows).await? {
            Some(version) => Ok(Read::Duplicate(version)),
            None => Err(error),
        },
    }
}

/// Whether a body that can not be read was taken under its number once; the version by which it is known to be.
async fn was_taken(
    lake: &Lake,
    table: &Table,
    producer: Option<&ProducerSequence>,
    rows: &IngestRows,
) -> Result<Option<Version>> {
    let (Some(request), IngestRows::Body { bytes, .. }) = (producer, rows) else { return Ok(None) };
    let mut head = table.head().await;
    match standing_on(lake, &mut head, table, request, &digest(bytes)).await {
        Ok(Standing::Duplicate) => Ok(Some(head.version())),
        Err(error) if error.code() != Code::Conflict => Err(error),
        // It is new, or said of its number what is no more than what is wrong with its body.
        _ => Ok(None),
    }
}

#[derive(Default)]
struct Queues {
    closed: bool,
    by_dataset: HashMap<(TenantId, DatasetName), Queue>,
}

/// What waits for the commits of one dataset.
struct Queue {
    /// A dataset that came in the place of another has a queue of its own.
    table: Arc<Table>,
    waiting: mpsc::Sender<Member>,
    task: JoinHandle<()>,
}

/// One request on its way into a group.
pub(super) struct Member {
    pub(super) rows: Rows,
    pub(super) producer: Option<ProducerSequence>,
    pub(super) subject: String,
    pub(super) answer: oneshot::Sender<Result<IngestReceipt>>,
    pub(super) _room: Taken,
}

impl Ingest {
    /// One that reads and writes on threads of its own; who of the tenants is first there is told by `usage`.
    pub(crate) fn new(
        lake: Arc<Lake>,
        options: GroupCommitOptions,
        usage: Arc<Usage>,
    ) -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let lanes = Arc::new(Lanes::new(usage, "ingest", cores * READING_PER_CORE)?);
        let waiting = Places::new(waiting_kib(&options));
        Ok(Self { lake, options, lanes, waiting, queues: Mutex::default() })
    }

    /// Takes one request; answers once its rows are committed.
    #[tracing::instrument(name = "ingest", skip_all, fields(tenant = %who.tenant, %dataset))]
    pub(crate) async fn ingest(
        &self,
        who: &Principal,
        dataset: &DatasetName,
        request: IngestRequest,
    ) -> Result<IngestReceipt> {
        self.lake.metrics().requests.add(1);
        if let Some(producer) = &request.producer {
            producer.check()?;
        }
        let table = self.table(who, dataset).await?;
        let read = {
            let turn = self.turn(&who.tenant).await?;
            let (lake, who) = (Arc::clone(&self.lake), who.clone());
            let (table, tenant) = (Arc::clone(&table), who.tenant.clone());
            let (rows, producer) = (request.rows, request.producer.clone());
            let reading = async move {
                // The place is given back when the work has really ended, which is not when nobody waits for it any more.
                let _turn = turn;
                read(&lake, &who, &table, rows, producer.as_ref()).await
            };
            self.lanes.run(&tenant, reading).await??
        };
        let rows = match read {
            Read::Rows(rows) => rows,
            Read::Duplicate(version) => return Ok(duplicate(&self.lake, version)),
        };
        // A request larger than all the room of its tenant takes all of that.
        let kib = (rows.bytes() / 1024).min(self.waiting.share()) as u32;
        let room = self.waiting.take(&who.tenant, kib).await;
        let room = room.map_err(|e| Error::bug("the room for rows is closed", e))?;
        let (answer, answered) = oneshot::channel();
        let subject = who.subject.clone();
        let member = Member { rows, producer: request.producer, subject, answer, _room: room };
        let queue = self.queue(&table, dataset, who)?;
        queue.send(member).await.map_err(|_| closed())?;
        // A task that ends answers everyone first, unless it panicked.
        let stopped = |e| Error::bug("the group commit stopped without an answer", e);
        self.lake.noting(answered.await.map_err(stopped)?)
    }

    /// Waits until rows of the tenant may be read.
    pub(super) async fn turn(&self, tenant: &TenantId) -> Result<Taken> {
        let closed = |e| Error::bug("reading is closed", e);
        self.lanes.places().take(tenant, 1).await.map_err(closed)
    }

    /// The dataset, if rows may be sent to it.
    pub(super) async fn table(&self, who: &Principal, name: &DatasetName) -> Result<Arc<Table>> {
        refuse_kept_name(name)?;
        let table = self.lake.table(&who.tenant, name).await?;
        if table.entry().spec.derived {
            return Err(refuse_rows(name));
        }
        Ok(table)
    }

    /// Lets every group be committed, then takes no more.
    pub(crate) async fn shutdown(&self) {
        let queues: Vec<_> = {
            let mut queues = self.queues.lock();
            queues.closed = true;
            queues.by_dataset.drain().collect()
        };
        for (_, Queue { waiting, task, .. }) in queues {
            drop(waiting);
            if let Err(e) = task.await {
                tracing::error!(error = %e, "a group commit task stopped");
            }
        }
    }

    fn queue(
        &self,
        table: &Arc<Table>,
        dataset: &DatasetName,
        who: &Principal,
    ) -> Result<mpsc::Sender<Member>> {
        let mut queues = self.queues.lock();
        if queues.closed {
            return Err(closed());
        }
        let key = (who.tenant.clone(), dataset.clone());
        let is_its =
            |queue: &&Queue| Arc::ptr_eq(&queue.table, table) && !queue.waiting.is_closed();
        if let Some(queue) = queues.by_dataset.get(&key).filter(is_its) {
            return Ok(queue.waiting.clone());
        }
        let (queue, waiting) = mpsc::channel(self.options.queue_requests_max.max(1));
        let span = tracing::info_span!(
            parent: None, "group_commit", tenant = %who.tenant, %dataset
        );
        let task = committing(
            Arc::clone(&self.lake),
            Arc::clone(&self.lanes),
            Arc::clone(table),
            who.tenant.clone(),
            self.options.clone(),
            waiting,
        );
        // Not on the runtime of the caller, which may end before the dataset's next one comes.
        let task = self.lanes.attend(task.instrument(span))?;
        let (table, waiting) = (Arc::clone(table), queue.clone());
        queues.by_dataset.insert(key, Queue { table, waiting, task });
        Ok(queue)
    }
}

/// Rows that wait take as much as four full groups, those of one tenant as two, whatever their number.
fn waiting_kib(options: &GroupCommitOptions) -> usize {
    (options.bytes_max / 256).clamp(1, u32::MAX as usize)
}

/// The task of one dataset.
async fn committing(
    lake: Arc<Lake>,
    lanes: Arc<Lanes>,
    table: Arc<Table>,
    tenant: TenantId,
    options: GroupCommitOptions,
    mut waiting: mpsc::Receiver<Member>,
) {
    while let Some(first) = waiting.recv().await {
        let (mut rows, mut bytes) = (first.rows.accepted_rows(), first.rows.bytes());
        let mut members = vec![first];
        let deadline = Instant::now() + Duration::from_millis(options.wait_ms);
        while rows < options.rows_max && bytes < options.bytes_max {
            match timeout_at(deadline, waiting.recv()).await {
                Ok(Some(member)) => {
                    rows += member.rows.accepted_rows();
                    bytes += member.rows.bytes();
                    members.push(member);
                }
                Ok(None) | Err(_) => break,
            }
        }
        tracing::debug!(requests = members.len(), rows, "group gathered");
        let (lake, table) = (Arc::clone(&lake), Arc::clone(&table));
        let group = Group::new(&tenant, members);
        let _using = lanes.begin(&tenant);
        let committed = lanes.run(&tenant, async move { group.commit(&lake, &table).await });
        if let Err(error) = committed.await {
            tracing::error!(error = error.detail(), "a group was not committed");
        }
    }
}

fn closed() -> Error {
    Error::user(Code::Cancelled, "the engine is shutting down; the rows were not taken")
}

impl fmt::Debug for Ingest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ingest").field("options", &self.options).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::Bytes;
    use datasets::read::{Format, Source};

    use super::*;
    use crate::storage::Root;
    use crate::storage::faulty::{Fault, Faulty};
    use crate::tests::{calls, name, number, options, who};
    use crate::{Engine, LoadOptions, OnConflict};

    /// An engine of which a thread stands still where it writes what `part` is in the name of: that is told, and it goes on once the
    /// sender is dropped.
    async fn standing_still(
        part: &'static str,
    ) -> (Engine, mpsc::UnboundedReceiver<()>, std::sync::mpsc::Sender<()>) {
        let store = Faulty::new();
        let root = Root::over(store.clone());
        let engine = Engine::open_root(root, options("memory:")).await.unwrap();
        engine.create_dataset(&who(), calls()).await.unwrap();
        let (begins, begun) = mpsc::unbounded_channel();
        let (end, ending) = std::sync::mpsc::channel::<()>();
        store.plan(move |path| {
            if path.as_ref().contains(part) {
                let _ = begins.send(());
                let _ = ending.recv();
            }
            Fault::None
        });
        (engine, begun, end)
    }

    // The store blocks the thread that calls it. With a single thread, it would block the test.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn of_a_client_that_vanishes_a_reading_has_its_place_and_its_bytes_to_its_end() {
        // A body brings a column, whose commit is a part of reading it.
        for (is_file, part) in
            [(false, "calls/_delta_log/00000000000000000001"), (true, "calls/at_month")]
        {
            let (engine, mut begun, end) = standing_still(part).await;
            let (me, to) = (who(), name("calls"));
            let places = engine.ingesting().unwrap().lanes.places();
            // All that the tenant may have but one.
            let others = (1..places.share()).map(|_| places.try_take(&me.tenant).unwrap());
            let _others: Vec<Taken> = others.collect();
            let text = "{\"id\": 1, \"at\": \"2026-01-01T00:00:00Z\", \"region\": \"eu\"}\n";
            let body: Arc<[u8]> = Arc::from(text.as_bytes());
            let bytes = Bytes::from_owner(Arc::clone(&body));
            let (format, named) = (Format::Ndjson, "body".to_owned());
            let sent = match is_file {
                false => {
                    let rows = IngestRows::Body { bytes, format, name: named };
                    engine.ingest(&me, &to, IngestRequest { rows, producer: None })
                }
                true => {
                    let source = Source::Body { bytes, name: named };
                    let on_conflict = OnConflict::Skip;
                    let options = LoadOptions { on_conflict, ..LoadOptions::default() };
                    engine.load_in_turn(&me, &to, source, format, options)
                }
            };
            let ended = tokio::select! {
                ended = sent => Some(ended),
                _ = begun.recv() => None,
            };
            assert!(ended.is_none(), "{ended:?}");
            // The client is gone.
            assert!(places.try_take(&me.tenant).is_none(), "{part}");
            assert_eq!(Arc::strong_count(&body), 2, "{part}");
            drop(end);
            let free = places.take(&me.tenant, 1);
            let free = tokio::time::timeout(Duration::from_secs(60), free).await;
            let _place = free.unwrap().unwrap();
            assert_eq!(Arc::strong_count(&body), 1, "{part}");
            // A file goes on to its end.
            let count = number(&engine, "SELECT count(*) FROM calls").await;
            assert_eq!(count, i64::from(is_file), "{part}");
        }
    }
}
