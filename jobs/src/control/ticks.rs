//! Ticks: what schedules stand for, each with one run.

/// What became of a time of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fired {
    /// It has a run now.
    Now,
    /// It had one, or there is no such schedule.
    Before,
    /// Too many runs are open.
    Full,
    /// It is of a run of a pipeline, of which another goes on.
    Waits,
}

/// A time of a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TickOf {
    /// Whose the schedule is.
    pub tenant: String,
    /// Its name; of a step of a pipeline `pipeline/step`.
    pub schedule: String,
    /// The local time that it stands for: one run each.
    pub logical: String,
    /// When it was due, in microseconds.
    pub due_us: i64,
    /// Only where nothing was handled since `.0`; from then on everything is up to `.1`.
    pub moves: Option<(i64, i64)>,
    /// Whether it has a run while its schedule is paused, too: a person began it, or the run of a pipeline that it is a step of.
    pub also_paused: bool,
}

/// The last time of a schedule that has a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastTick {
    /// When it was due, in microseconds.
    pub due_us: i64,
    /// Whether its run waits or is at work.
    pub is_open: bool,
    /// Its run.
    pub run: String,
}

/// A tick as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TickState {
    /// The schedule, or the step of a pipeline.
    pub schedule: String,
    /// When it was due, in microseconds.
    pub due_us: i64,
    /// The local time that it stands for.
    pub logical: String,
    /// Its run.
    pub run: String,
    /// The state of that.
    pub state: Option<String>,
}

/// Ticks of one schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TickCount {
    /// The state of their runs.
    pub state: Option<String>,
    /// How many.
    pub ticks: i64,
}
