//! The exact similarity of two texts.
//!
//! ```text
//!   table A   the shingles of one text; stays while that text is compared with others
//!   table B   the shingles of the other text that are not in A
//!   J = |in both| / (|A| + |B only|)
//! ```
//! Tables have a fixed size. Texts with more shingles are gone over several times, each time for one range of hashes.

use super::OPERATION;
use super::shingle::Shingler;
use crate::budget::zeroed;
use crate::error::{Error, Result};
use crate::execution::Execution;

/// Slots of the smallest table.
pub(super) const LEAST_SLOTS: usize = 1024;
/// Slots of the largest table.
pub(super) const MOST_SLOTS: usize = 1 << 22;

/// The most bits that choose a pass: with as many passes no two hashes meet but those made to.
const MOST_BITS: u32 = 48;

/// A set of hashes with an epoch each. What is of an epoch before the table's own is not there.
pub(super) struct Table {
    hashes: Vec<u64>,
    epochs: Vec<u64>,
    own: u64,
    count: usize,
}

/// What became of a hash.
pub(super) enum Place {
    /// It is at this slot.
    At(usize),
    /// It is not there, and would be at this slot.
    Free(usize),
}

impl Table {
    pub(super) fn new(slots: usize) -> Result<Self> {
        Ok(Self {
            hashes: zeroed(OPERATION, slots)?,
            epochs: zeroed(OPERATION, slots)?,
            own: 1,
            count: 0,
        })
    }

    fn clear(&mut self, epoch: u64) {
        (self.own, self.count) = (epoch, 0);
    }

    /// Empties a table that is used alone; answers its epoch.
    pub(super) fn next_epoch(&mut self) -> u64 {
        self.clear(self.own + 1);
        self.own
    }

    #[inline(always)]
    pub(super) fn find(&self, hash: u64) -> Place {
        let mask = self.hashes.len() - 1;
        // The upper bits choose the range of a pass, so the lower ones choose the slot.
        let mut slot = hash as usize & mask;
        loop {
            if self.epochs[slot] < self.own {
                return Place::Free(slot);
            }
            if self.hashes[slot] == hash {
                return Place::At(slot);
            }
            slot = (slot + 1) & mask;
        }
    }

    /// Puts a hash where `find` found room; false where the table is three quarters full.
    #[inline(always)]
    pub(super) fn put(&mut self, slot: usize, hash: u64, epoch: u64) -> bool {
        if 4 * self.count >= 3 * self.hashes.len() {
            return false;
        }
        (self.hashes[slot], self.epochs[slot]) = (hash, epoch);
        self.count += 1;
        true
    }
}

/// Compares texts, on one thread.
pub(super) struct Checker {
    a: Table,
    b: Table,
    /// Larger than every epoch in the tables.
    epoch: u64,
    /// Which row's text is in A, all of it.
    loaded: Option<usize>,
}

/// Bytes of a checker.
pub(super) fn bytes(slots: usize) -> usize {
    2 * slots * 2 * size_of::<u64>()
}

impl Checker {
    /// With tables of `slots`, a power of two.
    pub(super) fn new(slots: usize) -> Result<Self> {
        Ok(Self { a: Table::new(slots)?, b: Table::new(slots)?, epoch: 1, loaded: None })
    }

    /// The Jaccard similarity of the shingles of `first`, the text of `row`, and `second`.
    pub(super) fn jaccard(
        &mut self,
        shingler: &Shingler,
        (row, first): (usize, &[u8]),
        second: &[u8],
        execution: &Execution,
    ) -> Result<f64> {
        // Passes over ranges of the upper bits, twice as many until each fits.
        let mut bits = 0;
        loop {
            let counts = if bits == 0 && self.loaded == Some(row) {
                self.other(shingler, second, (0, 0))
            } else {
                self.loaded = None;
                self.passes(shingler, first, second, bits, execution)?
            };
            if let Some((both, either)) = counts {
                if bits == 0 {
                    self.loaded = Some(row);
                }
                return Ok(if either == 0 { 0.0 } else { both as f64 / either as f64 });
            }
            bits += 1;
            if bits > MOST_BITS {
                return Err(Error::Internal {
                    operation: OPERATION,
                    found: format!("row {row}: hashes that share their upper {MOST_BITS} bits"),
                });
            }
        }
    }

    fn passes(
        &mut self,
        shingler: &Shingler,
        first: &[u8],
        second: &[u8],
        bits: u32,
        execution: &Execution,
    ) -> Result<Option<(usize, usize)>> {
        let (mut both, mut either) = (0, 0);
        for pass in 0..1u64 << bits {
            execution.control.check(OPERATION)?;
            if !self.load(shingler, first, (bits, pass)) {
                return Ok(None);
            }
            let Some(counts) = self.other(shingler, second, (bits, pass)) else {
                return Ok(None);
            };
            both += counts.0;
            either += counts.1;
        }
        Ok(Some((both, either)))
    }

    /// Puts the shingles of a pass into A; false where they don't fit.
    fn load(&mut self, shingler: &Shingler, text: &[u8], pass: (u32, u64)) -> bool {
        self.epoch += 1;
        let (a, epoch) = (&mut self.a, self.epoch);
        a.clear(epoch);
        let mut fits = true;
        shingler.visit(text, 0..text.len(), |hash| {
            if is_in(hash, pass)
                && fits
                && let Place::Free(slot) = a.find(hash)
            {
                fits = a.put(slot, hash, epoch);
            }
        });
        fits
    }

    /// Counts the shingles that are in A and `text`, and those in either; `None` where they don't fit.
    fn other(
        &mut self,
        shingler: &Shingler,
        text: &[u8],
        pass: (u32, u64),
    ) -> Option<(usize, usize)> {
        self.epoch += 1;
        let (a, b, epoch) = (&mut self.a, &mut self.b, self.epoch);
        b.clear(epoch);
        let (mut both, mut fits) = (0, true);
        shingler.visit(text, 0..text.len(), |hash| {
            if !is_in(hash, pass) || !fits {
                return;
            }
            match a.find(hash) {
                Place::At(slot) => {
                    // Counted once for this text.
                    both += usize::from(a.epochs[slot] != epoch);
                    a.epochs[slot] = epoch;
                }
                Place::Free(_) => {
                    if let Place::Free(slot) = b.find(hash) {
                        fits = b.put(slot, hash, epoch);
                    }
                }
            }
        });
        fits.then_some((both, a.count + b.count))
    }
}

/// Whether a hash is of a pass: one of the values of its upper bits.
#[inline(always)]
pub(super) fn is_in(hash: u64, (bits, pass): (u32, u64)) -> bool {
    bits == 0 || hash >> (64 - bits) == pass
}
