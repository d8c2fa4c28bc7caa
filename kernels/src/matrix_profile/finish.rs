//! From the best neighbours to distances.
//!
//! The sweep picks a neighbour by a correlation that was carried along a diagonal, and √(2m(1 − ρ)) would lose half
//! its digits near 0. So the distance to the picked window is computed from the samples. Where the two disagree
//! (after a spike that dwarfs everything around it), the pick means nothing, and the window is compared with every
//! other one directly; [`Stats::fallbacks`](crate::Stats::fallbacks) counts those.

use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use super::plan::Plan;
use super::sweep::{Best, NONE};
use super::windows::{Kind, Windows};
use super::{OPERATION, Profile};
use crate::budget::zeroed;
use crate::error::Result;
use crate::execution::Execution;
use crate::progress::Control;

/// A carried correlation may differ from the true one by this much before it is mistrusted.
const TRUSTED: f64 = 1e-9;
/// Windows that are finished together.
const CHUNK: usize = 256;

/// Which windows a window is compared with.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reach {
    /// Those more than the zone before it.
    Before,
    /// Those more than the zone after it.
    After,
    /// All of another series.
    All,
}

impl Reach {
    /// As indices from and up to, of `len` windows.
    fn range(self, window: usize, zone: usize, len: usize) -> (usize, usize) {
        match self {
            Self::Before => (0, window.saturating_sub(zone)),
            Self::After => (window.saturating_add(zone).saturating_add(1).min(len), len),
            Self::All => (0, len),
        }
    }
}

/// The profile of `a`'s windows among those of `b`. Returns how many windows were compared directly, too.
pub(super) fn profile(
    plan: &Plan<'_>,
    (a, b): (&Windows, &Windows),
    reach: Reach,
    best: &Best,
    execution: &Execution,
) -> Result<(Profile, u64)> {
    let mut distances = zeroed::<f64>(OPERATION, a.len)?;
    let mut indices = zeroed::<u32>(OPERATION, a.len)?;
    let flat = Flat::new(b)?;
    let fallbacks = AtomicU64::new(0);
    distances.par_chunks_mut(CHUNK).zip(indices.par_chunks_mut(CHUNK)).enumerate().try_for_each(
        |(chunk, (distances, indices))| {
            execution.control.check(OPERATION)?;
            for (offset, (distance, index)) in distances.iter_mut().zip(indices).enumerate() {
                let window = chunk * CHUNK + offset;
                let range = reach.range(window, plan.zone, b.len);
                (*distance, *index) = match a.kind[window] {
                    Kind::NotFinite => (f64::INFINITY, NONE),
                    Kind::Constant => flat.nearest_of_constant(range, a.size),
                    Kind::Regular => {
                        let (rho, index) = (best.rho[window], best.index[window]);
                        let mut found = (distance_of(a, window, b, index), index);
                        if index != NONE && !trusted(rho, found.0, a.size) {
                            fallbacks.fetch_add(1, Ordering::Relaxed);
                            found = directly(a, window, b, range, &execution.control)?;
                        }
                        nearer(found, flat.nearest_of_regular(range, a.size))
                    }
                };
            }
            Ok(())
        },
    )?;
    Ok((Profile { distances, indices }, fallbacks.into_inner()))
}

/// The nearer of two neighbours; of equals the smaller index.
pub(super) fn nearer(a: (f64, u32), b: (f64, u32)) -> (f64, u32) {
    if b.0 < a.0 || (b.0 == a.0 && b.1 < a.1) { b } else { a }
}

fn trusted(rho: f64, distance: f64, size: usize) -> bool {
    let direct = 1.0 - distance * distance / (2.0 * size as f64);
    (rho - direct).abs() <= TRUSTED
}

/// The distance of two windows that have a shape, from their samples.
fn distance_of(a: &Windows, window: usize, b: &Windows, index: u32) -> f64 {
    if index == NONE {
        return f64::INFINITY;
    }
    let index = index as usize;
    let (a_mean, a_inverse) = (a.mean[window], a.inverse[window]);
    let (b_mean, b_inverse) = (b.mean[index], b.inverse[index]);
    // Eight sums of their own, so that the processor can add them side by side.
    let mut sums = [0.0f64; 8];
    let (a_values, b_values) = (&a.values[window..][..a.size], &b.values[index..][..a.size]);
    for (a_values, b_values) in a_values.chunks(8).zip(b_values.chunks(8)) {
        for ((sum, a), b) in sums.iter_mut().zip(a_values).zip(b_values) {
            let difference = (a - a_mean) * a_inverse - (b - b_mean) * b_inverse;
            *sum += difference * difference;
        }
    }
    (a.size as f64 * sums.iter().sum::<f64>()).sqrt()
}

/// The nearest of the windows `from..to` of `b`, each compared by itself.
fn directly(
    a: &Windows,
    window: usize,
    b: &Windows,
    (from, to): (usize, usize),
    control: &Control,
) -> Result<(f64, u32)> {
    let (mut best, mut index) = (f64::NEG_INFINITY, NONE);
    let mut first = from;
    while first < to {
        control.check(OPERATION)?;
        let products = a.products(window, b, first);
        for (other, product) in (first..to).zip(products) {
            let rho = product * b.inverse[other] * a.inverse[window];
            if rho > best {
                (best, index) = (rho, other as u32);
            }
        }
        first += products.len();
    }
    Ok((distance_of(a, window, b, index), index))
}

/// Where the windows without a shape are. Two of them are 0 apart; one of them is √m from any that has a shape, as
/// in stumpy.
pub(super) struct Flat<'a> {
    windows: &'a Windows,
    constant: Vec<u32>,
    first_regular: usize,
}

impl<'a> Flat<'a> {
    fn new(windows: &'a Windows) -> Result<Self> {
        let is_constant = |&&kind: &&Kind| kind == Kind::Constant;
        let count = windows.kind.iter().filter(is_constant).count();
        let mut constant = zeroed::<u32>(OPERATION, count)?;
        let places = windows.kind.iter().zip(0u32..).filter(|(kind, _)| is_constant(kind));
        for (to, (_, place)) in constant.iter_mut().zip(places) {
            *to = place;
        }
        let first_regular = windows.kind.iter().position(|kind| *kind == Kind::Regular);
        Ok(Self { windows, constant, first_regular: first_regular.unwrap_or(windows.len) })
    }

    /// Bytes for a series of `windows`.
    pub(super) fn bytes(windows: usize) -> usize {
        windows * size_of::<u32>()
    }

    /// The first constant window of a range.
    fn first(&self, (from, to): (usize, usize)) -> Option<u32> {
        let place = self.constant.partition_point(|&window| (window as usize) < from);
        self.constant.get(place).copied().filter(|&window| (window as usize) < to)
    }

    fn nearest_of_regular(&self, range: (usize, usize), size: usize) -> (f64, u32) {
        match self.first(range) {
            Some(index) => ((size as f64).sqrt(), index),
            None => (f64::INFINITY, NONE),
        }
    }

    fn nearest_of_constant(&self, range: (usize, usize), size: usize) -> (f64, u32) {
        if let Some(index) = self.first(range) {
            return (0.0, index);
        }
        // All regular windows are as far. For `After`, this is reached within one zone of the last constant only.
        let from = range.0.max(self.first_regular).min(range.1);
        let mut kinds = (from..range.1).zip(&self.windows.kind[from..range.1]);
        match kinds.find(|(_, kind)| **kind == Kind::Regular) {
            Some((index, _)) => ((size as f64).sqrt(), index as u32),
            None => (f64::INFINITY, NONE),
        }
    }
}
