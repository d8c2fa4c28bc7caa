//! Rows by key, bucket by bucket, in bounded memory.
//!
//! ```text
//!   keys of all rows ──▶ those in one range of keys ──▶ in 256 parts, each sorted ──▶ runs of equal keys: buckets
//!                        (at most as many as fit)
//! ```
//! A range that has more rows than fit is split and gone over again. A single key that has more is handed out in
//! pieces, each with the first rows of its bucket.

use rayon::prelude::*;

use super::OPERATION;
use crate::error::{Error, Memory, Result};
use crate::execution::Execution;

/// Rows whose keys are computed together.
const CHUNK: usize = 1 << 16;

/// A row under its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Entry {
    key: u64,
    /// The row.
    pub(super) row: u64,
}

/// What a walk takes, with room for `capacity` entries.
pub(super) fn bytes(rows: usize, capacity: usize, leaders: usize) -> usize {
    rows.min(CHUNK) * size_of::<Option<u64>>()
        + (capacity + leaders.min(rows)) * size_of::<Entry>()
        + (parts(rows, capacity) + 2 * u64::BITS as usize) * size_of::<(u64, u64)>()
}

/// Entries for [`Walk::entries`].
pub(super) fn entries(capacity: usize) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    entries.try_reserve_exact(capacity).map_err(|_| Error::OutOfMemory {
        operation: OPERATION,
        memory: Memory::Host,
        bytes: capacity.saturating_mul(size_of::<Entry>()),
    })?;
    entries.resize(capacity, Entry::default());
    Ok(entries)
}

/// Ranges to begin with: one where all rows fit, else so many that most of them have some room to spare.
fn parts(rows: usize, capacity: usize) -> usize {
    if rows <= capacity { 1 } else { (rows + rows / 4).div_ceil(capacity) }
}

/// Room for a walk.
pub(super) struct Walk<'a> {
    /// Rows that there are.
    pub(super) rows: usize,
    /// How many of the first rows of a bucket come with each piece of it.
    pub(super) leaders: usize,
    /// As many rows as fit; not empty.
    pub(super) entries: &'a mut [Entry],
    /// Ranges that were gone over.
    pub(super) ranges: u64,
}

/// A piece of a bucket: its first rows so far, and rows that follow them.
pub(super) type Visit<'a> = dyn Fn(&[Entry], &[Entry]) -> Result<()> + Sync + 'a;

impl Walk<'_> {
    /// Calls `visit` with every bucket of two rows or more, on several threads. Rows without a key are in none.
    pub(super) fn run(
        &mut self,
        key: &(dyn Fn(usize) -> Option<u64> + Sync),
        execution: &Execution,
        visit: &Visit<'_>,
    ) -> Result<()> {
        let parts = parts(self.rows, self.entries.len()) as u64;
        let width = u64::MAX / parts;
        let mut ranges: Vec<(u64, u64)> = (0..parts)
            .rev()
            .map(|part| {
                let last = if part + 1 == parts { u64::MAX } else { (part + 1) * width - 1 };
                (part * width, last)
            })
            .collect();
        let mut keys = Vec::new();
        while let Some((low, high)) = ranges.pop() {
            self.ranges += 1;
            let (count, rest) = self.gather(0, (low, high), key, &mut keys, execution)?;
            match rest {
                None => self.buckets(count, (low, high), execution, visit)?,
                Some(rest) if low == high => {
                    self.pieces(count, rest, low, key, &mut keys, execution, visit)?;
                }
                Some(_) => self.split(low, high, &mut ranges),
            }
        }
        Ok(())
    }

    /// Takes the rows from `first` on whose keys are in the range, as many as fit; says how many, and the first row
    /// that did not fit.
    fn gather(
        &mut self,
        first: usize,
        (low, high): (u64, u64),
        key: &(dyn Fn(usize) -> Option<u64> + Sync),
        keys: &mut Vec<Option<u64>>,
        execution: &Execution,
    ) -> Result<(usize, Option<usize>)> {
        let mut count = 0;
        for first in (first..self.rows).step_by(CHUNK) {
            execution.control.check(OPERATION)?;
            let end = self.rows.min(first + CHUNK);
            keys.reserve_exact(end - first);
            (first..end).into_par_iter().map(key).collect_into_vec(keys);
            for (row, key) in (first..end).zip(keys.drain(..)) {
                let Some(key) = key.filter(|key| (low..=high).contains(key)) else {
                    continue;
                };
                match self.entries.get_mut(count) {
                    Some(entry) => *entry = Entry { key, row: row as u64 },
                    None => return Ok((count, Some(row))),
                }
                count += 1;
            }
        }
        Ok((count, None))
    }

    fn buckets(
        &mut self,
        count: usize,
        range: (u64, u64),
        execution: &Execution,
        visit: &Visit<'_>,
    ) -> Result<()> {
        let mut rest = &mut self.entries[..count];
        let counts = spread(rest, range, execution)?;
        let mut parts = Vec::with_capacity(counts.len());
        for count in counts {
            let (part, later) = std::mem::take(&mut rest).split_at_mut(count);
            parts.push(part);
            rest = later;
        }
        parts.into_par_iter().with_max_len(1).try_for_each(|part| {
            execution.control.check(OPERATION)?;
            part.sort_unstable();
            let mut buckets = part.chunk_by(|a, b| a.key == b.key);
            buckets
                .try_for_each(|bucket| if bucket.len() > 1 { visit(&[], bucket) } else { Ok(()) })
        })
    }

    /// Splits a range that did not fit around the key that most of its rows have, or in the middle.
    fn split(&mut self, low: u64, high: u64, ranges: &mut Vec<(u64, u64)>) {
        self.entries.par_sort_unstable();
        let most = self.entries.chunk_by(|a, b| a.key == b.key).max_by_key(|bucket| bucket.len());
        match most {
            Some([first, .., last]) if 4 * most.map_or(0, <[_]>::len) > self.entries.len() => {
                let key = first.key.min(last.key);
                if key < high {
                    ranges.push((key + 1, high));
                }
                ranges.push((key, key));
                if key > low {
                    ranges.push((low, key - 1));
                }
            }
            _ => {
                let middle = low + (high - low) / 2;
                ranges.push((middle + 1, high));
                ranges.push((low, middle));
            }
        }
    }

    /// A bucket that does not fit. `count` of its rows were taken, those before row `rest`.
    #[allow(clippy::too_many_arguments)]
    fn pieces(
        &mut self,
        mut count: usize,
        rest: usize,
        only: u64,
        key: &(dyn Fn(usize) -> Option<u64> + Sync),
        keys: &mut Vec<Option<u64>>,
        execution: &Execution,
        visit: &Visit<'_>,
    ) -> Result<()> {
        let mut leaders: Vec<Entry> = Vec::new();
        let mut rest = Some(rest);
        loop {
            visit(&leaders, &self.entries[..count])?;
            let missing = self.leaders - leaders.len();
            leaders.extend(self.entries[..count].iter().take(missing));
            let Some(first) = rest else {
                return Ok(());
            };
            (count, rest) = self.gather(first, (only, only), key, keys, execution)?;
        }
    }
}

/// Parts of a range of keys.
const PARTS: usize = 256;

/// Brings the entries of each part of the range together, in place (McIlroy, Bostic & McIlroy, "Engineering radix
/// sort", 1993), and says how many each has. Parts are sorted side by side, and work can stop between them.
fn spread(
    entries: &mut [Entry],
    (low, high): (u64, u64),
    execution: &Execution,
) -> Result<[usize; PARTS]> {
    let bits = u64::BITS - (high - low).leading_zeros();
    let shift = bits.saturating_sub(PARTS.trailing_zeros());
    let part_of = |entry: &Entry| ((entry.key - low) >> shift) as usize % PARTS;
    let mut counts = [0; PARTS];
    entries.iter().for_each(|entry| counts[part_of(entry)] += 1);
    let (mut ends, mut end) = ([0; PARTS], 0);
    for (part, count) in ends.iter_mut().zip(counts) {
        end += count;
        *part = end;
    }
    // Where the next entry of each part goes.
    let mut next: [usize; PARTS] = std::array::from_fn(|part| ends[part] - counts[part]);
    let mut moved = 0usize;
    for part in 0..PARTS {
        while next[part] < ends[part] {
            moved += 1;
            if moved.is_multiple_of(CHUNK) {
                execution.control.check(OPERATION)?;
            }
            let here = next[part];
            let own = part_of(&entries[here]);
            entries.swap(here, next[own]);
            next[own] += 1;
        }
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use super::*;
    use crate::testing::{Route, on};

    /// Every bucket's rows, in the order in which they came.
    fn walked(keys: &[Option<u64>], capacity: usize, leaders: usize) -> BTreeMap<u64, Vec<u64>> {
        let mut entries = vec![Entry::default(); capacity];
        let mut walk = Walk { rows: keys.len(), leaders, entries: &mut entries, ranges: 0 };
        let seen: Mutex<BTreeMap<u64, Vec<u64>>> = Mutex::default();
        walk.run(&|row| keys[row], &on(Route::Cpu), &|first, rows| {
            let mut seen = seen.lock().unwrap();
            let bucket = seen.entry(rows[0].key).or_default();
            let before = bucket.iter().take(leaders);
            assert!(first.iter().map(|entry| &entry.row).eq(before), "{first:?}");
            bucket.extend(rows.iter().map(|entry| entry.row));
            Ok(())
        })
        .unwrap();
        seen.into_inner().unwrap()
    }

    #[test]
    fn every_bucket_comes_whole_and_in_order_however_little_fits() {
        let keys: Vec<Option<u64>> = (0..997u64)
            .map(|row| match row % 7 {
                0 => None,
                1..=3 => Some(u64::MAX),
                4 => Some(0),
                _ => Some((row % 83).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            })
            .collect();
        let mut expected: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for (row, key) in keys.iter().enumerate() {
            if let Some(key) = key {
                expected.entry(*key).or_default().push(row as u64);
            }
        }
        expected.retain(|_, rows| rows.len() > 1);
        for capacity in [997, 100, 20, 3, 2] {
            assert_eq!(walked(&keys, capacity, 5), expected, "{capacity}");
        }
    }

    #[test]
    fn nothing_is_in_no_bucket() {
        assert!(walked(&[], 1, 1).is_empty());
        assert!(walked(&[Some(1), None, Some(2)], 1, 1).is_empty());
    }
}
