//! What is to run now, and what of the ticks that nobody was there for.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Duration, Utc};
use sha2::{Digest, Sha256};

use super::walk::{Found, Walk};
use super::{Cron, Tick, WhenError, cut};

/// Most ticks that one call of [`due`] gives to run.
pub const RUN_MAX: usize = 1_000;
/// Most ticks that one call of [`due`] looks at: two years of minutes, some 100 ms.
pub const SCAN_MAX: usize = 1_000_000;

/// What becomes of ticks that are later than the grace: after an outage, say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CatchUp {
    /// None of them runs.
    None,
    /// Only the newest of them runs.
    Latest,
    /// All of them run, oldest first.
    All,
}

/// What one look at the clock found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// To run, oldest first; at most [`RUN_MAX`].
    pub run: Vec<Tick>,
    /// Not to run.
    pub missed: Missed,
    /// Up to here all ticks are in `run` or in `missed`: `last` of the next call. Less than `now`
    /// when a bound was reached; then the next call need not wait.
    pub up_to: DateTime<Utc>,
}

/// Ticks that came too late to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missed {
    /// How many.
    pub count: u64,
    /// The oldest.
    pub first: Option<Tick>,
    /// The newest.
    pub last: Option<Tick>,
}

/// The ticks in (`last`, `now`]. One that is at most `grace` late is on time and runs; with older
/// ones it goes by `catch_up`. A clock that stands before `last` gives nothing, and `up_to` stays.
pub fn due(
    cron: &Cron,
    last: DateTime<Utc>,
    now: DateTime<Utc>,
    catch_up: CatchUp,
    grace: Duration,
) -> Due {
    let on_time =
        now.checked_sub_signed(grace.max(Duration::zero())).unwrap_or(DateTime::<Utc>::MIN_UTC);
    let mut run = Vec::new();
    let mut missed = Span::default();
    // The newest late tick, as long as a newer one may follow.
    let mut newest: Option<Found> = None;
    let mut up_to = last.max(now);
    let mut told = last;
    for (seen, found) in Walk::new(cron, last, now).enumerate() {
        let late = found.due() < on_time;
        if let Some(older) = newest.take() {
            match late {
                true => missed.add(older),
                false => run.push(older.tick()),
            }
        }
        if seen == SCAN_MAX || run.len() == RUN_MAX {
            up_to = told;
            break;
        }
        match catch_up {
            CatchUp::None if late => missed.add(found),
            CatchUp::Latest if late => newest = Some(found),
            _ => run.push(found.tick()),
        }
        told = found.due();
    }
    run.extend(newest.map(Found::tick));
    Due { run, missed: missed.told(), up_to }
}

/// How long after its due time a tick starts, so that schedules of the same minute do not start
/// together: always the same for a tick of a schedule, and spread evenly over [0, `max`) in
/// milliseconds.
pub fn jitter(schedule_id: &str, logical: &str, max: Duration) -> Duration {
    let mut hash = Sha256::new();
    hash.update((schedule_id.len() as u64).to_le_bytes());
    hash.update(schedule_id);
    hash.update(logical);
    let [a, b, c, d, e, f, g, h, ..]: [u8; 32] = hash.finalize().into();
    let drawn = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    let max_ms = u64::try_from(max.num_milliseconds()).unwrap_or(0);
    // Lemire, "Fast random integer generation in an interval", 2019: the high half of the product.
    let drawn_ms = (u128::from(drawn) * u128::from(max_ms)) >> 64;
    Duration::milliseconds(i64::try_from(drawn_ms).unwrap_or(0))
}

/// Late ticks are counted in millions, so only the ends are written out.
#[derive(Default)]
struct Span {
    count: u64,
    ends: Option<(Found, Found)>,
}

impl Span {
    fn add(&mut self, found: Found) {
        self.count += 1;
        self.ends = Some((self.ends.map_or(found, |(first, _)| first), found));
    }

    fn told(self) -> Missed {
        let (first, last) = self.ends.map(|(a, b)| (a.tick(), b.tick())).unzip();
        Missed { count: self.count, first, last }
    }
}

impl fmt::Display for CatchUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Latest => "latest",
            Self::All => "all",
        })
    }
}

impl FromStr for CatchUp {
    type Err = WhenError;

    fn from_str(text: &str) -> Result<Self, WhenError> {
        match text {
            "none" => Ok(Self::None),
            "latest" => Ok(Self::Latest),
            "all" => Ok(Self::All),
            other => Err(WhenError::CatchUp { found: cut(other) }),
        }
    }
}
