//! What calls cost together: by interval and value, by ticket, and those without a price by their reason.

use analysis::calendar::Grid;
use analysis::series::Span;
use std::collections::BTreeMap;
use std::ops::AddAssign;

use analysis::money::{Amount, Unpriced};
use engine::{Code, Error, Result};
use hashbrown::HashMap;

use super::NAME;
use super::read::{Call, Calls, Priced};

/// Reasons that are told with their models, at most; the calls of others are counted alone.
const REASONS_MAX: usize = 10_000;
/// Memory of the sums of one group beside its name.
const GROUP_BYTES: usize = 300;
/// From this difference on what a call is said to have cost is something else: half of the last digit that `model_calls` keeps.
const DIFFERS_ATTO: i128 = 500_000_000;

/// Sums of some calls.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sums {
    pub(super) calls: u64,
    pub(super) failed: u64,
    pub(super) unpriced: u64,
    /// Calls with a price from a list. Sums that are read again only state whether there was one.
    pub(super) charged: u64,
    pub(super) input_tokens: u64,
    pub(super) cached_tokens: u64,
    pub(super) output_tokens: u64,
    pub(super) cost: Amount,
    /// Calls that are said to have cost something, and what.
    pub(super) recorded_calls: u64,
    pub(super) recorded: Amount,
}

impl Sums {
    fn of(call: &Call<'_>, priced: &std::result::Result<Priced<'_>, Unpriced>) -> Self {
        let tokens = |count: i64| u64::try_from(count).unwrap_or(0);
        Self {
            calls: 1,
            failed: u64::from(call.is_failed),
            unpriced: u64::from(priced.is_err()),
            charged: u64::from(priced.as_ref().is_ok_and(|priced| priced.by.is_some())),
            input_tokens: tokens(call.tokens.input),
            cached_tokens: tokens(call.tokens.cache_read),
            output_tokens: tokens(call.tokens.output),
            cost: priced.map_or(Amount::default(), |priced| priced.cost),
            recorded_calls: u64::from(call.recorded.is_some()),
            recorded: call.recorded.unwrap_or_default(),
        }
    }

    /// `None` if calls have no price and no list priced any: free failed calls say nothing about the cost of the others.
    pub(super) fn known_cost(&self) -> Option<Amount> {
        (self.charged > 0 || self.unpriced == 0).then_some(self.cost)
    }
}

impl AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        self.calls += other.calls;
        self.failed += other.failed;
        self.unpriced += other.unpriced;
        self.charged = self.charged.saturating_add(other.charged);
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.cached_tokens = self.cached_tokens.saturating_add(other.cached_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.cost += other.cost;
        self.recorded_calls += other.recorded_calls;
        self.recorded += other.recorded;
    }
}

/// Sums, and when the calls were.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stretch {
    pub(super) sums: Sums,
    pub(super) first_us: Option<i64>,
    pub(super) last_us: Option<i64>,
    /// When the ticket that they were for was resolved.
    pub(super) resolved_us: Option<i64>,
}

impl Stretch {
    fn add(&mut self, sums: Sums, at_us: Option<i64>) {
        self.sums += sums;
        self.first_us = [self.first_us, at_us].into_iter().flatten().min();
        self.last_us = self.last_us.max(at_us);
    }
}

/// Provider, model, and why there is no price.
type Reason = (String, String, Unpriced);

/// All sums of a run.
pub(super) struct Totals {
    intervals: Grid,
    pub(super) all: Sums,
    /// Calls that are said to have cost something else.
    pub(super) differing: u64,
    /// By column, the first of which is none at all; by the beginning of the interval; by value.
    pub(super) by: Vec<HashMap<i64, HashMap<String, Sums>>>,
    pub(super) tickets: HashMap<String, Stretch>,
    pub(super) reasons: BTreeMap<Reason, Stretch>,
    /// Calls without a price beyond [`REASONS_MAX`] reasons.
    pub(super) reasons_left_out: u64,
    bytes: usize,
    bytes_max: usize,
}

/// What is left where they were taken.
impl Default for Totals {
    fn default() -> Self {
        Self::new(0, Grid::fixed(Span::DAY, 0), 0)
    }
}

impl Totals {
    /// By a number of columns and by intervals, within a number of bytes.
    pub(super) fn new(columns: usize, intervals: Grid, bytes_max: usize) -> Self {
        Self {
            intervals,
            all: Sums::default(),
            differing: 0,
            by: (0..=columns).map(|_| HashMap::new()).collect(),
            tickets: HashMap::new(),
            reasons: BTreeMap::new(),
            reasons_left_out: 0,
            bytes: 0,
            bytes_max,
        }
    }

    pub(super) fn add(
        &mut self,
        calls: &Calls,
        row: usize,
        call: &Call<'_>,
        priced: &std::result::Result<Priced<'_>, Unpriced>,
    ) {
        let sums = Sums::of(call, priced);
        self.all += sums;
        if let (Ok(priced), Some(recorded)) = (priced, call.recorded) {
            let apart = priced.cost.atto().saturating_sub(recorded.atto());
            self.differing += u64::from(apart.abs() > DIFFERS_ATTO);
        }
        if let Some(at_us) = call.at_us {
            let begin = self.intervals.begin(at_us);
            for (column, groups) in self.by.iter_mut().enumerate() {
                let value = match column.checked_sub(1) {
                    Some(column) => calls.by(column, row),
                    None => "",
                };
                let group = groups.entry(begin).or_default().entry_ref(value);
                self.bytes += grown(&group, value);
                *group.or_default() += sums;
            }
        }
        if let Some(ticket) = call.ticket {
            let group = self.tickets.entry_ref(ticket);
            self.bytes += grown(&group, ticket);
            group.or_default().add(sums, call.at_us);
        }
        if let Err(why) = priced {
            let of = |text: Option<&str>| text.unwrap_or_default().to_owned();
            let reason = (of(call.provider), of(call.model), *why);
            self.reasons.entry(reason).or_default().add(sums, call.at_us);
            // The first ones by name, whoever came first.
            if self.reasons.len() > REASONS_MAX {
                let last = self.reasons.pop_last();
                self.reasons_left_out += last.map_or(0, |(_, of)| of.sums.calls);
            }
        }
    }

    /// Room for a group that was not there.
    pub(super) fn grow(&mut self, name: &str) {
        self.bytes += GROUP_BYTES + name.len();
    }

    /// RESOURCES_EXHAUSTED where there are more groups than there is room for.
    pub(super) fn require_room(&self) -> Result<()> {
        if self.bytes <= self.bytes_max {
            return Ok(());
        }
        let says = format!(
            "{NAME}: expected groups that fit in {} bytes; take fewer columns in `by`, a longer `interval`, a narrower `where`, or a larger budget",
            self.bytes_max
        );
        Err(Error::user(Code::ResourcesExhausted, says))
    }
}

/// Bytes that a group takes which was not there.
fn grown<V, S>(
    entry: &hashbrown::hash_map::EntryRef<'_, '_, String, str, V, S>,
    name: &str,
) -> usize {
    match entry {
        hashbrown::hash_map::EntryRef::Occupied(_) => 0,
        hashbrown::hash_map::EntryRef::Vacant(_) => GROUP_BYTES + name.len(),
    }
}
