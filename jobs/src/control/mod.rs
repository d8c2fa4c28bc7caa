//! Control state: which runs there are, whose turn it is, and who works at them.
//!
//! It lies in a database of its own, SQLite or PostgreSQL, because a queue changes often and in small steps, which tables do not
//! like. Nothing here is a result: what a run committed stands in the tables, and the runs that ended are rows of the dataset
//! `runs` besides. Who loses this database loses what was waiting, and no result.
//!
//! Each change of state is one statement, or one transaction where two tables change, that names the state it comes from: of two
//! who try, one finds nothing to change. `migrations/` has the tables and the states.
//!
//! Whether somebody lives is not decided by comparing clocks of two machines. Who works says so by a number that goes on (`beat`); who
//! sees it stand still for long enough, by its own clock, may take its runs away (`dead`). Only runs that are to be tried again, or are
//! of a schedule, wait for a time, by the clock of whoever claims them.

mod acts;
mod admission;
mod error;
mod keys;
#[cfg(test)]
pub(crate) mod postgres;
mod requests;
mod secrets;
mod sql;
#[cfg(test)]
mod tests;
mod ticks;

use futures::future::BoxFuture;

use crate::run::record::Routine;

pub use acts::{ActHead, ActRow, ActStore, BegunAct};
pub use admission::{Cost, DeviceNeed, DeviceRoom, Need};
pub use error::ControlError;
pub use keys::{KeyAdded, KeyEntry, KeyRoom, KeyStore};
pub use requests::{RequestBegin, RequestKey, RequestState, RequestStore};
pub use secrets::SecretStore;
pub use sql::SqlStore;
pub use ticks::{Fired, LastTick, TickCount, TickOf, TickState};

/// What a call comes to.
pub type Result<T> = std::result::Result<T, ControlError>;

/// How much sooner a run is for each step of its priority, as if it had come by so much earlier: a run of low priority waits, but
/// not for ever.
pub const PRIORITY_STEP_US: i64 = 60_000_000;
/// How often later runs may begin before one that does not fit; then all wait until it does.
pub const PASSED_OVER_MAX: i64 = 16;
/// What a tenant is charged for a run when it begins; what it took is known at its end.
const FIRST_CHARGE_US: i64 = 1_000_000;
/// How much more than others a tenant may have had that comes back, so that it has to wait.
const LEAD_MAX_US: i64 = 600_000_000;
/// How often the worker of a run may be gone, until it is taken for the run's doing: whoever claims it then looks whether it is done,
/// and does nothing more.
pub const LOSSES_MAX: i64 = 5;

/// A run that is to wait for its turn.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// Its id; ids sort by the time of the request.
    pub id: String,
    /// Whose it is.
    pub tenant: String,
    /// The job kind.
    pub job: String,
    /// What its result depends on.
    pub key: String,
    /// Higher is sooner.
    pub priority: i32,
    /// When it was asked for, in microseconds.
    pub now_us: i64,
    /// Not before, in microseconds.
    pub due_us: i64,
    /// Main memory that it is thought to need.
    pub memory_bytes: i64,
    /// What it needs of a GPU.
    pub device: DeviceNeed,
    /// It is to have ended by then, in microseconds.
    pub deadline_us: Option<i64>,
    /// How often it is tried where an error can pass.
    pub attempts_max: i64,
    /// The worker that alone may claim it while it lives.
    pub kept_for: Option<String>,
    /// Its record, and what a worker needs beside it.
    pub document: String,
}

/// How many runs may be open.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Of all tenants.
    pub open_max: i64,
    /// Of one tenant.
    pub of_tenant_max: i64,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enqueued {
    /// It waits.
    Queued,
    /// So many runs are open, of the tenant alone where it says so.
    Full { open: i64, of_tenant: bool },
}

/// What a worker can take.
#[derive(Clone, Debug)]
pub struct Wants {
    /// The worker.
    pub worker: String,
    /// Now, in microseconds.
    pub now_us: i64,
    /// Memory that it has free: what needs more waits.
    pub free_bytes: i64,
    /// Its GPU.
    pub device: Option<DeviceRoom>,
    /// How many runs of a kind may be at work at a time, with all workers together.
    pub of_job_max: Vec<(String, i64)>,
    /// Runs of one tenant that may be at work with it.
    pub of_tenant_max: i64,
    /// Whether it takes runs that are kept for it alone.
    pub only_kept: bool,
}

/// A run as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub tenant: String,
    /// Its state in words.
    pub state: String,
    /// How often it was claimed.
    pub attempt: i64,
    /// How often it may be.
    pub attempts_max: i64,
    /// How often whoever worked at it was gone.
    pub losses: i64,
    /// Not before, in microseconds.
    pub due_us: i64,
    /// Main memory that it is thought to need.
    pub memory_bytes: i64,
    /// What it needs of a GPU.
    pub device: DeviceNeed,
    /// The GPU of which it has that.
    pub has_device: Option<String>,
    /// How often a later one began because it did not fit.
    pub passed_over: i64,
    /// Who works at it.
    pub worker: Option<String>,
    /// Whether somebody asked to cancel it.
    pub is_cancel_asked: bool,
    /// The number of its last change.
    pub change: i64,
    /// Its record, and what a worker needs beside it.
    pub document: String,
}

/// The right to say what became of a run: nobody else's word counts while it is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The run.
    pub id: String,
    /// Who holds it.
    pub worker: String,
    /// Which claim of the run it is.
    pub attempt: i64,
}

/// How a run ended, or why it waits again.
#[derive(Clone, Debug)]
pub enum Verdict<'a> {
    /// It ended in this state.
    Ended { state: &'a str, ended_us: i64, worked_us: i64, cost: Option<Cost> },
    /// It is to be tried again, with more memory where it says so.
    Again { due_us: i64, worked_us: i64, memory_bytes: Option<i64> },
}

/// What asking to cancel came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// It waited; it is cancelled.
    AtOnce,
    /// Somebody works at it and will be told.
    Asked,
    /// It is not open.
    NotOpen,
}

/// Which runs are asked for, newest first.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Of this job kind.
    pub job: Option<String>,
    /// In this state.
    pub state: Option<String>,
    /// With this key; those that succeeded, where no state is said.
    pub key: Option<String>,
    /// Requested before this one.
    pub before: Option<String>,
    /// Whether routine runs are included.
    pub routine: Routine,
    /// At most so many.
    pub limit: i64,
}

/// A worker as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// Its id.
    pub id: String,
    /// What it is and where.
    pub label: String,
    /// When it began, in microseconds.
    pub started_us: i64,
    /// How many runs it takes at a time of those that are for anybody, 0 for none; where it is not said it takes what is kept for it.
    pub runs_max: Option<i64>,
    /// Its GPU.
    pub device: Option<DeviceRoom>,
    /// Goes on while it lives.
    pub beat: i64,
}

/// Whether a tenant's runs of before are here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Earlier {
    /// They were read from its dataset.
    pub is_read: bool,
    /// The dataset has some that are not here.
    pub has_older: bool,
}

/// Where control state is kept. All times come from the caller.
pub trait ControlStore: ActStore + KeyStore + RequestStore + SecretStore + Send + Sync {
    /// Adds a run that waits, if there is room.
    fn enqueue<'a>(&'a self, run: &'a NewRun, room: Room) -> BoxFuture<'a, Result<Enqueued>>;

    /// Takes the run whose turn it is: of the tenant for which least was worked, the one of the least rank. None, where none waits
    /// that can be taken.
    fn claim<'a>(&'a self, wants: &'a Wants) -> BoxFuture<'a, Result<Option<Entry>>>;

    /// Says what the record of a run at work is by now; false when it is somebody else's meanwhile.
    fn note<'a>(&'a self, lease: &'a Lease, document: &'a str) -> BoxFuture<'a, Result<bool>>;

    /// Says what became of a run; false when it is somebody else's meanwhile.
    fn settle<'a>(
        &'a self,
        lease: &'a Lease,
        verdict: Verdict<'a>,
        document: &'a str,
    ) -> BoxFuture<'a, Result<bool>>;

    /// Cancels a run that waits, with this record, or asks whoever works at it to stop.
    fn cancel<'a>(
        &'a self,
        tenant: &'a str,
        id: &'a str,
        ended_us: i64,
        document: &'a str,
    ) -> BoxFuture<'a, Result<Cancelled>>;

    /// Ends a run that waits, in this state and with this record; false where it does not wait any more.
    fn end_waiting<'a>(
        &'a self,
        id: &'a str,
        state: &'a str,
        ended_us: i64,
        document: &'a str,
    ) -> BoxFuture<'a, Result<bool>>;

    /// Runs of all tenants that wait though they should have ended before `now_us`.
    fn overdue(&self, now_us: i64, limit: i64) -> BoxFuture<'_, Result<Vec<Entry>>>;

    /// What runs of a job kind took before; none, where no run of it has ended.
    fn cost<'a>(&'a self, tenant: &'a str, job: &'a str) -> BoxFuture<'a, Result<Option<Cost>>>;

    /// Runs of a tenant that are no rows of the dataset yet: that wait, that are at work, that ended.
    fn not_counted<'a>(&'a self, tenant: &'a str) -> BoxFuture<'a, Result<[i64; 3]>>;

    /// Gives tenants so many parts of the work when others wait, too; who is not named has one part.
    fn weigh<'a>(&'a self, weights: &'a [(&'a str, i64)]) -> BoxFuture<'a, Result<()>>;

    /// A run of a tenant.
    fn get<'a>(&'a self, tenant: &'a str, id: &'a str) -> BoxFuture<'a, Result<Option<Entry>>>;

    /// Runs of a tenant, newest first.
    fn list<'a>(&'a self, tenant: &'a str, asked: &'a Asked) -> BoxFuture<'a, Result<Vec<Entry>>>;

    /// Runs of all tenants that changed after `change`, in the order of their changes.
    fn changed(&self, change: i64, limit: i64) -> BoxFuture<'_, Result<Vec<Entry>>>;

    /// The number of the last change.
    fn last_change(&self) -> BoxFuture<'_, Result<i64>>;

    /// Says that a worker is there, how many runs it takes at a time ([`Worker::runs_max`]), and which GPU it has. Its id is new.
    fn join<'a>(
        &'a self,
        id: &'a str,
        label: &'a str,
        runs_max: Option<i64>,
        device: Option<&'a DeviceRoom>,
        now_us: i64,
    ) -> BoxFuture<'a, Result<()>>;

    /// Says that it still lives, and hears which of its runs are to be cancelled. None, when others took it for dead: what it was at
    /// is no longer its own.
    fn beat<'a>(&'a self, worker: &'a str) -> BoxFuture<'a, Result<Option<Vec<String>>>>;

    /// The runs that a worker is said to be at.
    fn held<'a>(&'a self, worker: &'a str) -> BoxFuture<'a, Result<Vec<Lease>>>;

    /// Lets others have a run that its worker is not at: whoever claimed it never heard that it had. False when it is somebody
    /// else's.
    fn put_back<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Result<bool>>;

    /// All workers.
    fn workers(&self) -> BoxFuture<'_, Result<Vec<Worker>>>;

    /// Takes the runs of a worker that did not go on since `worker.beat`, so that others can have them. Answers with how many there
    /// were.
    fn dead<'a>(&'a self, worker: &'a Worker) -> BoxFuture<'a, Result<u64>>;

    /// Says that a worker ends by itself. What it was at or kept is for others.
    fn leave<'a>(&'a self, worker: &'a str) -> BoxFuture<'a, Result<()>>;

    /// Lets go of the database.
    fn close(&self) -> BoxFuture<'_, ()>;

    /// Takes runs that ended and are no rows of the dataset yet, oldest first, of the first tenant behind the one that is named that
    /// has some: until the worker says what became of them, nobody else gets them.
    fn to_project<'a>(
        &'a self,
        worker: &'a str,
        after: &'a str,
        limit: i64,
    ) -> BoxFuture<'a, Result<ToProject>>;

    /// Says that they are rows now, or that they may still not be.
    fn projected<'a>(&'a self, ids: &'a [String], are_rows: bool) -> BoxFuture<'a, Result<()>>;

    /// Whether a tenant's runs of before are here.
    fn earlier<'a>(&'a self, tenant: &'a str) -> BoxFuture<'a, Result<Earlier>>;

    /// Adds runs that ended before, as the dataset has them; those that are here stay as they are.
    fn adopt<'a>(
        &'a self,
        tenant: &'a str,
        runs: &'a [Adopted],
        has_older: bool,
    ) -> BoxFuture<'a, Result<()>>;

    /// Lets go of runs that ended before `ended_us` and are rows of the dataset. Answers with how many there were.
    fn forget(&self, ended_us: i64) -> BoxFuture<'_, Result<u64>>;

    /// A schedule of a tenant.
    fn schedule<'a>(
        &'a self,
        tenant: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<ScheduleEntry>>>;

    /// Adds a schedule; false when the tenant has one of this name.
    fn add_schedule<'a>(&'a self, schedule: &'a ScheduleEntry) -> BoxFuture<'a, Result<bool>>;

    /// The schedules of a tenant, or of all, by name.
    fn schedules<'a>(
        &'a self,
        tenant: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<ScheduleEntry>>>;

    /// Fails if the database is not the one that was opened, for example because its file was removed.
    fn require_there(&self) -> Result<()>;

    /// Pauses a schedule, or lets it go on from `up_to`; false when there is none.
    fn pause_schedule<'a>(
        &'a self,
        tenant: &'a str,
        name: &'a str,
        pause: Pause,
    ) -> BoxFuture<'a, Result<bool>>;

    /// Moves a schedule to `up_to`, paused or not. If `from` is given, only a schedule at `from` is moved. Returns false if
    /// there is none.
    fn place_schedule<'a>(
        &'a self,
        tenant: &'a str,
        name: &'a str,
        from: Option<i64>,
        up_to: i64,
    ) -> BoxFuture<'a, Result<bool>>;

    /// Removes a schedule; its runs stay. False when there is none.
    fn remove_schedule<'a>(&'a self, tenant: &'a str, name: &'a str)
    -> BoxFuture<'a, Result<bool>>;

    /// Adds the run of a tick, unless the tick had one. One that ended already, since it could not begin, says in which state.
    fn fire<'a>(
        &'a self,
        tick: &'a TickOf,
        run: &'a NewRun,
        ended: Option<&'a str>,
        room: Room,
    ) -> BoxFuture<'a, Result<Fired>>;

    /// Adds a run in the place of one that failed or was cancelled, for the same tick.
    fn fire_again<'a>(
        &'a self,
        tenant: &'a str,
        failed: &'a str,
        run: &'a NewRun,
        room: Room,
    ) -> BoxFuture<'a, Result<Fired>>;

    /// Lets go of the ticks of a schedule whose runs failed or were cancelled, so that they have others. Answers with how many.
    fn forget_failed<'a>(&'a self, tenant: &'a str, name: &'a str) -> BoxFuture<'a, Result<u64>>;

    /// The ticks of a schedule, newest first.
    fn ticks<'a>(
        &'a self,
        tenant: &'a str,
        name: &'a str,
        limit: i64,
    ) -> BoxFuture<'a, Result<Vec<TickState>>>;

    /// Makes a tick that has no run of the queue, but stands for others; false where it is there, where another of the schedule has
    /// not ended, or where there is no such schedule.
    fn begin_tick<'a>(&'a self, tick: &'a TickOf, id: &'a str) -> BoxFuture<'a, Result<bool>>;

    /// Those of a schedule that have not ended, oldest first.
    fn open_ticks<'a>(
        &'a self,
        tenant: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Vec<TickState>>>;

    /// The ticks, of whatever schedule, whose logical time is `of`: the steps of such a one.
    fn ticks_of<'a>(
        &'a self,
        tenant: &'a str,
        of: &'a str,
    ) -> BoxFuture<'a, Result<Vec<TickState>>>;

    /// The same of the newest ticks of a schedule.
    fn steps<'a>(
        &'a self,
        tenant: &'a str,
        name: &'a str,
        limit: i64,
    ) -> BoxFuture<'a, Result<Vec<TickState>>>;

    /// Says in which state such a one has ended, whatever its steps are at where that is said, and otherwise where none is open and
    /// they are as the state says; or, without a state, that one which ended in vain goes on. False where it is not so.
    fn end_tick<'a>(
        &'a self,
        tenant: &'a str,
        id: &'a str,
        ended: Option<(&'a str, bool)>,
    ) -> BoxFuture<'a, Result<bool>>;

    /// How many ticks of a schedule there are, by the states of their runs.
    fn tick_counts<'a>(
        &'a self,
        tenant: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Vec<TickCount>>>;

    /// Says anew what runs, and when; false when there is no such schedule.
    fn change_schedule<'a>(
        &'a self,
        tenant: &'a str,
        name: &'a str,
        document: &'a str,
    ) -> BoxFuture<'a, Result<bool>>;

    /// When the last run of a schedule was due, and whether it has ended.
    fn last_tick<'a>(
        &'a self,
        tenant: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<LastTick>>>;

    /// Says up to when all ticks are handled, and how many more were missed. It never goes back.
    fn handled<'a>(
        &'a self,
        tenant: &'a str,
        name: &'a str,
        up_to: i64,
        missed: i64,
    ) -> BoxFuture<'a, Result<()>>;

    /// Says of datasets that a version of them is there. What is older than what was said before is passed over, but for the first
    /// version, which is of another dataset of the name.
    fn notify<'a>(&'a self, notices: &'a [Notice]) -> BoxFuture<'a, Result<()>>;

    /// What was said after the notice of this number, in the order in which it was; of each dataset the last.
    fn notices(&self, after: i64, limit: i64) -> BoxFuture<'_, Result<Vec<Notice>>>;

    /// The number of the last notice.
    fn last_notice(&self) -> BoxFuture<'_, Result<i64>>;

    /// The id of the root whose database it is, which is `id` where it was nobody's.
    fn root<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<String>>;

    /// Fails where the database can not be reached, or its file is damaged anywhere.
    fn look_through(&self) -> BoxFuture<'_, Result<()>>;

    /// How many runs failed after a time, in microseconds.
    fn failed_after(&self, at_us: i64) -> BoxFuture<'_, Result<i64>>;

    /// How many runs wait and are at work, of each tenant and job.
    fn counts(&self) -> BoxFuture<'_, Result<Vec<Count>>>;
}

/// A schedule as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleEntry {
    /// Whose it is.
    pub tenant: String,
    /// Its name, unique to the tenant.
    pub name: String,
    /// Whether it rests.
    pub is_paused: bool,
    /// Up to where all that it waits for is handled: microseconds, or the version of a dataset, or the number of a change of runs.
    pub up_to: i64,
    /// Ticks that came too late to run.
    pub missed: i64,
    /// What runs, and when.
    pub document: String,
}

/// What becomes of a schedule that rests, or rested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// It rests.
    Begin,
    /// It goes on; what came up to here is not made up for.
    End { up_to: i64 },
}

/// That a version of a dataset is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whose the dataset is.
    pub tenant: String,
    /// Its name.
    pub dataset: String,
    /// Its newest version of which was said.
    pub version: i64,
    /// The number of the notice, given to it when it is said.
    pub number: i64,
}

/// Runs that are to become rows.
#[derive(Clone, Debug, Default)]
pub struct ToProject {
    /// All of them, of one tenant.
    pub entries: Vec<Entry>,
    /// Those that somebody may have written already.
    pub perhaps: Vec<String>,
}

/// A run that ended before this database knew of it.
#[derive(Clone, Debug)]
pub struct Adopted {
    /// Its id.
    pub id: String,
    /// The job kind.
    pub job: String,
    /// Its last state.
    pub state: String,
    /// What its result depends on.
    pub key: String,
    /// When it ended, in microseconds.
    pub ended_us: i64,
    /// Whether it surely is a row of the dataset.
    pub is_row: bool,
    /// Its record.
    pub document: String,
}

/// Open runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// Whose.
    pub tenant: String,
    /// Of which kind.
    pub job: String,
    /// In which state.
    pub state: String,
    /// How many.
    pub runs: i64,
}
