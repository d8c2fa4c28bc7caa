//! Median, MAD and quantiles from ranks.
//!
//! ```text
//!   samples   4.0  1.0  3.0  9.0  2.0 …        a stretch of one series
//!   ranks      3    0    2    4    1  …        after one sort of the stretch
//!   sorted    1.0  2.0  3.0  4.0  9.0 …
//!   words     1    0    1    1    0   …        bit r is set while the sample of rank r is in the window
//!                        ↑ cursor: a word, and the number of bits set before it
//! ```
//! A step clears one bit, sets one, and moves the cursor to the bit that is k-th now: nearly always in the
//! same word. Compare Suomela, "Median Filtering is Equivalent to Sorting" (2014), who keeps a linked list over
//! the ranks; bits need no pointer to be followed, and give any order statistic.

use std::marker::PhantomData;

use super::cpu::{LANES, Stretch};
use super::sort::{Keys, sort_lanes};
use super::{Statistic, Window};
use crate::element::Element;
use crate::simd::{Level, Work, level, vectorised};

/// Beyond this length the network's log² stages cost more than a sort's branches.
const LONGEST_NETWORK: usize = 8192;
/// Rank of a sample that is missing.
const MISSING: u32 = u32::MAX;

/// The buffers of one thread.
pub(super) struct Scratch<T> {
    keys: Vec<Keys>,
    order: Vec<u32>,
    ranks: Vec<u32>,
    sorted: Vec<T>,
    words: Vec<u64>,
}

impl<T: Element> Scratch<T> {
    pub(super) fn new(length: usize) -> Self {
        Self {
            keys: if length <= LONGEST_NETWORK { vec![[0; LANES]; length] } else { Vec::new() },
            order: Vec::with_capacity(length),
            ranks: vec![0; length],
            sorted: Vec::with_capacity(length),
            words: vec![0; length.div_ceil(64)],
        }
    }

    /// What the buffers for stretches of `length` samples take.
    pub(super) fn bytes(length: usize) -> usize {
        let keys = if length <= LONGEST_NETWORK { size_of::<Keys>() } else { 0 };
        length * (keys + 2 * size_of::<u32>() + size_of::<T>())
            + length.div_ceil(64) * size_of::<u64>()
    }

    /// Fills the outputs that are order statistics.
    pub(super) fn run(
        &mut self,
        group: &mut [Stretch<'_, '_, T>],
        window: &Window,
        statistics: &[Statistic],
    ) {
        if !statistics.iter().any(|statistic| is_order(*statistic)) {
            return;
        }
        let longest = group.iter().map(|stretch| stretch.samples.len()).max().unwrap_or(0);
        let length = longest.next_power_of_two();
        let index_bits = length.trailing_zeros();
        let network = length <= self.keys.len();
        if network {
            self.sort_group(group, length, index_bits);
        }
        for (lane, stretch) in group.iter_mut().enumerate() {
            self.order.clear();
            if network {
                let mask = if T::KEYS_ARE_TRUNCATED {
                    (1i64 << index_bits) - 1
                } else {
                    i64::from(u32::MAX)
                };
                let present =
                    stretch.samples.iter().filter(|value| value.to_f64().is_finite()).count();
                self.order
                    .extend(self.keys[..present].iter().map(|keys| (keys[lane] & mask) as u32));
            } else {
                self.order.extend(
                    (0..stretch.samples.len() as u32)
                        .filter(|&i| stretch.samples[i as usize].to_f64().is_finite()),
                );
                let value = |index: &u32| stretch.samples[*index as usize].to_f64();
                self.order.sort_unstable_by(|a, b| value(a).total_cmp(&value(b)).then(a.cmp(b)));
            }
            self.rank(stretch.samples, network && T::KEYS_ARE_TRUNCATED);
            for (place, statistic) in statistics.iter().enumerate() {
                if is_order(*statistic) {
                    let mut slide = Slide {
                        offset: stretch.offset,
                        window,
                        ranks: &self.ranks[..stretch.samples.len()],
                        sorted: &self.sorted,
                        words: &mut self.words[..length.div_ceil(64)],
                        out: stretch.outputs[place],
                    };
                    slide.run(*statistic);
                }
            }
        }
    }

    fn sort_group(&mut self, group: &[Stretch<'_, '_, T>], length: usize, index_bits: u32) {
        let keys = &mut self.keys[..length];
        for lane in 0..LANES {
            let samples = group.get(lane).map_or(&[][..], |stretch| stretch.samples);
            for (index, (keys, value)) in keys.iter_mut().zip(samples).enumerate() {
                keys[lane] = value.sort_key(index, index_bits);
            }
            for keys in &mut keys[samples.len()..] {
                keys[lane] = i64::MAX;
            }
        }
        sort_lanes(keys);
    }

    /// From the order to the sorted values and the ranks.
    fn rank(&mut self, samples: &[T], repair: bool) {
        self.sorted.clear();
        self.sorted.extend(self.order.iter().map(|&index| samples[index as usize]));
        if repair {
            // Keys that differ only in the bits that gave way to the index are in the order of the index.
            for end in 1..self.sorted.len() {
                let mut at = end;
                while at > 0 && self.sorted[at - 1] > self.sorted[at] {
                    self.sorted.swap(at - 1, at);
                    self.order.swap(at - 1, at);
                    at -= 1;
                }
            }
        }
        let ranks = &mut self.ranks[..samples.len()];
        if self.order.len() < samples.len() {
            ranks.fill(MISSING);
        }
        for (rank, &index) in self.order.iter().enumerate() {
            ranks[index as usize] = rank as u32;
        }
    }
}

fn is_order(statistic: Statistic) -> bool {
    matches!(statistic, Statistic::Median | Statistic::Mad | Statistic::Quantile(_))
}

/// One statistic along one stretch.
struct Slide<'a, T> {
    offset: isize,
    window: &'a Window,
    ranks: &'a [u32],
    sorted: &'a [T],
    words: &'a mut [u64],
    out: &'a mut [T],
}

impl<T: Element> Slide<'_, T> {
    fn run(&mut self, statistic: Statistic) {
        #[cfg(target_arch = "x86_64")]
        if level() != Level::Portable {
            return vectorised(Selecting { slide: self, statistic });
        }
        self.with_select::<Count>(statistic);
    }

    #[inline(always)]
    fn with_select<S: Select>(&mut self, statistic: Statistic) {
        let sorted = self.sorted;
        let select = PhantomData::<S>;
        match statistic {
            Statistic::Median => self.each_window(Median { sorted, select }),
            Statistic::Quantile(q) => self.each_window(Quantile { sorted, q, select }),
            Statistic::Mad => self.each_window(Mad { median: Median { sorted, select }, first: 0 }),
            Statistic::Mean | Statistic::Std => {}
        }
    }

    #[inline(always)]
    fn each_window<const C: usize>(&mut self, mut pick: impl Pick<C>) {
        self.words.fill(0);
        let mut cursors = [Cursor { word: 0, below: 0 }; C];
        let (mut count, mut entering) = (0, 0);
        for (step, out) in self.out.iter_mut().enumerate() {
            let start = self.offset + step as isize;
            let end = start.saturating_add_unsigned(self.window.size).max(0) as usize;
            // Before the first sample this index wraps around to one that is not there.
            if let Some(&rank) = self.ranks.get(start.wrapping_sub(1) as usize)
                && rank != MISSING
            {
                let word = (rank / 64) as usize;
                self.words[word] ^= 1u64 << (rank % 64);
                for cursor in &mut cursors {
                    cursor.below -= usize::from(word < cursor.word);
                }
                count -= 1;
            }
            while let Some(&rank) = self.ranks.get(entering)
                && entering < end
            {
                entering += 1;
                if rank != MISSING {
                    let word = (rank / 64) as usize;
                    self.words[word] ^= 1u64 << (rank % 64);
                    for cursor in &mut cursors {
                        cursor.below += usize::from(word < cursor.word);
                    }
                    count += 1;
                }
            }
            *out = if count < self.window.least {
                T::NAN
            } else {
                T::from_f64(pick.pick(self.words, &mut cursors, count))
            };
        }
    }
}

#[cfg(target_arch = "x86_64")]
struct Selecting<'s, 'a, T> {
    slide: &'s mut Slide<'a, T>,
    statistic: Statistic,
}

#[cfg(target_arch = "x86_64")]
impl<T: Element> Work for Selecting<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.slide.with_select::<Deposit>(self.statistic);
    }
}

/// A statistic of the values whose bits are set.
trait Pick<const C: usize> {
    /// Of `count` ≥ 1 values. Implementations must be `#[inline(always)]`, see [`Work`].
    fn pick(&mut self, words: &[u64], cursors: &mut [Cursor; C], count: usize) -> f64;
}

struct Median<'a, T, S> {
    sorted: &'a [T],
    select: PhantomData<S>,
}

impl<T: Element, S: Select> Pick<1> for Median<'_, T, S> {
    #[inline(always)]
    fn pick(&mut self, words: &[u64], [cursor]: &mut [Cursor; 1], count: usize) -> f64 {
        let rank = cursor.seek::<S>(words, (count - 1) / 2);
        let low = self.sorted[rank].to_f64();
        if count % 2 == 1 {
            return low;
        }
        let high = after(words, rank).map_or(low, |rank| self.sorted[rank].to_f64());
        0.5 * low + 0.5 * high
    }
}

struct Quantile<'a, T, S> {
    sorted: &'a [T],
    q: f64,
    select: PhantomData<S>,
}

impl<T: Element, S: Select> Pick<1> for Quantile<'_, T, S> {
    #[inline(always)]
    fn pick(&mut self, words: &[u64], [cursor]: &mut [Cursor; 1], count: usize) -> f64 {
        let position = self.q * (count - 1) as f64;
        let whole = (position as usize).min(count - 1);
        let rank = cursor.seek::<S>(words, whole);
        let low = self.sorted[rank].to_f64();
        let part = position - whole as f64;
        if part == 0.0 {
            return low;
        }
        let high = after(words, rank).map_or(low, |rank| self.sorted[rank].to_f64());
        (1.0 - part) * low + part * high
    }
}

/// The h values nearest to the median are neighbours: values `first .. first + h` of the window in
/// order. The farther end of that run is the h-th smallest distance. `first` moves little from one
/// window to the next.
struct Mad<'a, T, S> {
    median: Median<'a, T, S>,
    first: usize,
}

impl<T: Element, S: Select> Pick<3> for Mad<'_, T, S> {
    #[inline(always)]
    fn pick(
        &mut self,
        words: &[u64],
        [middle, left, right]: &mut [Cursor; 3],
        count: usize,
    ) -> f64 {
        let mut cursor = [*middle];
        let centre = self.median.pick(words, &mut cursor, count);
        [*middle] = cursor;
        let sorted = self.median.sorted;
        let value = |rank: usize| sorted[rank].to_f64();
        let run = (count - 1) / 2 + 1;
        self.first = self.first.min(count - run);
        let mut low = left.seek::<S>(words, self.first);
        let mut high = right.seek::<S>(words, self.first + run - 1);
        while let Some(next) = after(words, high)
            && centre - value(low) > value(next) - centre
            && let Some(second) = after(words, low)
        {
            (low, high) = (second, next);
            self.first += 1;
        }
        while let Some(previous) = before(words, low)
            && centre - value(previous) <= value(high) - centre
            && let Some(second_last) = before(words, high)
        {
            // A run of one sample has no second last: it moves as a whole.
            (low, high) = (previous, second_last);
            self.first -= 1;
        }
        let distance = (centre - value(low)).max(value(high) - centre);
        if count % 2 == 1 {
            return distance;
        }
        let below = before(words, low).map_or(f64::INFINITY, |rank| centre - value(rank));
        let above = after(words, high).map_or(f64::INFINITY, |rank| value(rank) - centre);
        0.5 * distance + 0.5 * below.min(above)
    }
}

/// A place in the words that remembers how many bits are set before it.
#[derive(Clone, Copy)]
struct Cursor {
    word: usize,
    below: usize,
}

impl Cursor {
    /// The rank of the k-th set bit, from 0. There must be one.
    #[inline(always)]
    fn seek<S: Select>(&mut self, words: &[u64], k: usize) -> usize {
        while self.below > k {
            self.word -= 1;
            self.below -= words[self.word].count_ones() as usize;
        }
        loop {
            let ones = words[self.word].count_ones() as usize;
            if self.below + ones > k {
                return self.word * 64 + S::select(words[self.word], k - self.below);
            }
            self.below += ones;
            self.word += 1;
        }
    }
}

/// The next set bit.
#[inline(always)]
fn after(words: &[u64], rank: usize) -> Option<usize> {
    let mut word = rank / 64;
    let mut bits = words[word] & ((u64::MAX << (rank % 64)) << 1);
    while bits == 0 {
        word += 1;
        bits = *words.get(word)?;
    }
    Some(word * 64 + bits.trailing_zeros() as usize)
}

/// The set bit before.
#[inline(always)]
fn before(words: &[u64], rank: usize) -> Option<usize> {
    let mut word = rank / 64;
    let mut bits = words[word] & !(u64::MAX << (rank % 64));
    while bits == 0 {
        word = word.checked_sub(1)?;
        bits = words[word];
    }
    Some(word * 64 + 63 - bits.leading_zeros() as usize)
}

/// The place of the k-th set bit of a word, from 0.
trait Select {
    fn select(word: u64, k: usize) -> usize;
}

/// By clearing the lowest bit k times.
struct Count;

impl Select for Count {
    #[inline(always)]
    fn select(mut word: u64, k: usize) -> usize {
        for _ in 0..k {
            word &= word - 1;
        }
        word.trailing_zeros() as usize
    }
}

/// By depositing one bit at the k-th set place (BMI2).
#[cfg(target_arch = "x86_64")]
struct Deposit;

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
impl Select for Deposit {
    #[inline(always)]
    fn select(word: u64, k: usize) -> usize {
        // SAFETY: used in code that runs where BMI2 was detected.
        unsafe { std::arch::x86_64::_pdep_u64(1 << k, word) }.trailing_zeros() as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_select_agree() {
        for word in [1u64, u64::MAX, 0x8000_0000_0000_0001, 0x0123_4567_89ab_cdef] {
            let places: Vec<usize> = (0..64).filter(|bit| word >> bit & 1 == 1).collect();
            for (k, &place) in places.iter().enumerate() {
                assert_eq!(Count::select(word, k), place);
                #[cfg(target_arch = "x86_64")]
                if level() != Level::Portable {
                    assert_eq!(Deposit::select(word, k), place);
                }
            }
        }
    }

    #[test]
    fn neighbours_are_found_across_words_and_not_beyond() {
        let words = [1u64 << 63 | 1, 0, 1];
        assert_eq!(
            (after(&words, 0), after(&words, 63), after(&words, 128)),
            (Some(63), Some(128), None)
        );
        assert_eq!(
            (before(&words, 128), before(&words, 63), before(&words, 0)),
            (Some(63), Some(0), None)
        );
    }
}
