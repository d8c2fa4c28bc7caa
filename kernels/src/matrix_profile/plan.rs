//! Which diagonals are computed, in which order.
//!
//! ```text
//!   one series                       two series
//!   j − i ≤ zone is left out         b │╲ ╲ ╲ ╲           two passes: rows of a against columns of b from
//!   │╲ ╲ ╲ ╲ │                       a │  ╲ ╲ ╲           diagonal 0, rows of b against columns of a from 1;
//!   │  ╲ ╲ ╲ │  units of 256         ──┤    ╲ ╲           so every diagonal begins in row 0
//!   │    ╲ ╲ │  diagonals            ╲ │      ╲
//! ```
//! Units come in a random order: after a part of them every window has met a sample of all others.

use super::windows::Windows;
use super::{OPERATION, ProfileOptions};
use crate::budget::zeroed;
use crate::error::Result;
use crate::random::Random;

/// Diagonals of a unit.
pub(super) const UNIT: usize = 256;

/// A unit: neighbouring diagonals of one pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unit {
    /// The pass, 0 or 1.
    pub(super) pass: usize,
    /// The first diagonal.
    pub(super) first: usize,
}

/// The windows to be joined, and the units of the join.
pub(super) struct Plan<'a> {
    pub(super) a: &'a Windows,
    /// The other series; `a` itself without one.
    pub(super) b: Option<&'a Windows>,
    /// Windows at most this far apart are not compared, where there is one series.
    pub(super) zone: usize,
    /// Where each pass begins and ends: its diagonals.
    diagonals: [(usize, usize); 2],
    /// Units to be computed, in their order, as numbers.
    order: Vec<u32>,
}

impl<'a> Plan<'a> {
    pub(super) fn bytes(a: usize, b: usize) -> usize {
        (a.div_ceil(UNIT) + b.div_ceil(UNIT)) * size_of::<u32>()
    }

    pub(super) fn new(
        a: &'a Windows,
        b: Option<&'a Windows>,
        zone: usize,
        options: &ProfileOptions,
    ) -> Result<Self> {
        let diagonals = match b {
            None => [(zone.saturating_add(1).min(a.len), a.len), (0, 0)],
            Some(b) => [(0, b.len), (1, a.len)],
        };
        let units = diagonals.map(|(from, to)| (to - from).div_ceil(UNIT));
        let mut order = zeroed::<u32>(OPERATION, units[0] + units[1])?;
        for (number, unit) in (0..).zip(&mut order) {
            *unit = number;
        }
        Random::new(options.seed).shuffle(&mut order);
        order.truncate((options.fraction * order.len() as f64).ceil() as usize);
        Ok(Self { a, b, zone, diagonals, order })
    }

    pub(super) fn units(&self) -> usize {
        self.order.len()
    }

    pub(super) fn unit(&self, place: usize) -> Option<Unit> {
        let number = *self.order.get(place)? as usize;
        let first = (self.diagonals[0].1 - self.diagonals[0].0).div_ceil(UNIT);
        let (pass, number) = if number < first { (0, number) } else { (1, number - first) };
        Some(Unit { pass, first: self.diagonals[pass].0 + number * UNIT })
    }

    /// The windows of a pass: rows, columns.
    pub(super) fn sides(&self, pass: usize) -> (&'a Windows, &'a Windows) {
        match (self.b, pass) {
            (None, _) => (self.a, self.a),
            (Some(b), 0) => (self.a, b),
            (Some(b), _) => (b, self.a),
        }
    }

    /// Rows after which a covariance is computed afresh. It depends on the window alone, so that no tile or thread
    /// changes a bit, and bounds how far rounding drifts.
    pub(super) fn segment(&self) -> usize {
        (4 * self.a.size).max(4096)
    }
}
