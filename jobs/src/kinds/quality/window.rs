//! Periods that are looked at, and how long no row came in them.

use std::collections::BTreeMap;

use super::params::Params;
use crate::tables::period::Periods;

/// The periods that are read, by number, and the instant up to which.
#[derive(Clone, Debug)]
pub(super) struct Window {
    pub(super) periods: Periods,
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) until_us: i64,
}

impl Window {
    pub(super) fn of(params: &Params, until_us: i64) -> Self {
        let periods = params.periods_of();
        let last = periods.of(until_us.saturating_sub(1));
        let first = last - (params.periods + params.history) as i64 + 1;
        Self { periods, first, last, until_us }
    }

    pub(super) fn start_us(&self, period: i64) -> i64 {
        self.periods.start_us(period)
    }

    fn end_us(&self, period: i64) -> i64 {
        self.periods.start_us(period + 1).min(self.until_us)
    }

    pub(super) fn is_over(&self, period: i64) -> bool {
        self.periods.start_us(period + 1) <= self.until_us
    }
}

/// The longest time without a row in each period, of instants in order.
pub(super) struct Gaps {
    window: Window,
    /// In microseconds.
    pub(super) longest: BTreeMap<i64, i64>,
    /// The newest instant.
    pub(super) before: Option<i64>,
}

impl Gaps {
    pub(super) fn new(window: Window) -> Self {
        Self { window, longest: BTreeMap::new(), before: None }
    }

    pub(super) fn row(&mut self, at: i64) {
        self.until(at);
        self.before = Some(at);
    }

    fn until(&mut self, at: i64) {
        let Some(before) = self.before else { return };
        let (from, to) = (self.window.periods.of(before), self.window.periods.of(at));
        for period in from..=to.min(self.window.last) {
            let end = self.window.end_us(period).min(at);
            if end == self.window.start_us(period) {
                continue;
            }
            let longest = self.longest.entry(period).or_default();
            *longest = (*longest).max(end - before);
        }
    }

    pub(super) fn finish(&mut self) {
        self.until(self.window.until_us);
    }
}
