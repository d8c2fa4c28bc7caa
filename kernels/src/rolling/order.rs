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

use super::Statistic;
use super::cpu::{Bounds, LANES, Stretch};
use super::select::{Count, Cursor, Select, after, before};
use super::sort::{Keys, sort_lanes};
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
        least: usize,
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
                        bounds: stretch.bounds(),
                        own: stretch.own,
                        least,
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

pub(super) fn is_order(statistic: Statistic) -> bool {
    use Statistic::{Mad, Median, Quantile, Rank};
    matches!(statistic, Median | Mad | Quantile(_) | Rank)
}

/// One statistic along one stretch.
struct Slide<'a, T> {
    bounds: Bounds<'a>,
    own: usize,
    least: usize,
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
            Statistic::Rank => self.each_window(Rank { sorted }),
            Statistic::Mean | Statistic::Std | Statistic::Min | Statistic::Max => {}
        }
    }

    #[inline(always)]
    fn each_window<const C: usize>(&mut self, mut pick: impl Pick<C>) {
        self.words.fill(0);
        let mut cursors = [Cursor { word: 0, below: 0 }; C];
        let (mut count, mut leaving, mut entering) = (0, 0, 0);
        for (step, out) in self.out.iter_mut().enumerate() {
            let (start, end) = self.bounds.at(step);
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
            while let Some(&rank) = self.ranks.get(leaving)
                && leaving < start
            {
                leaving += 1;
                if rank != MISSING {
                    let word = (rank / 64) as usize;
                    self.words[word] ^= 1u64 << (rank % 64);
                    for cursor in &mut cursors {
                        cursor.below -= usize::from(word < cursor.word);
                    }
                    count -= 1;
                }
            }
            *out = if count < self.least {
                T::NAN
            } else {
                let own = self.ranks[self.own + step];
                T::from_f64(pick.pick(self.words, &mut cursors, count, own))
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
        self.slide.with_select::<super::select::Deposit>(self.statistic);
    }
}

/// A statistic of the values whose bits are set.
trait Pick<const C: usize> {
    /// Of `count` ≥ 1 values; `own` is the rank of the sample that the window is for. Implementations must be
    /// `#[inline(always)]`, see [`Work`].
    fn pick(&mut self, words: &[u64], cursors: &mut [Cursor; C], count: usize, own: u32) -> f64;
}

struct Median<'a, T, S> {
    sorted: &'a [T],
    select: PhantomData<S>,
}

impl<T: Element, S: Select> Pick<1> for Median<'_, T, S> {
    #[inline(always)]
    fn pick(&mut self, words: &[u64], [cursor]: &mut [Cursor; 1], count: usize, _own: u32) -> f64 {
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
    fn pick(&mut self, words: &[u64], [cursor]: &mut [Cursor; 1], count: usize, _own: u32) -> f64 {
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
        own: u32,
    ) -> f64 {
        let mut cursor = [*middle];
        let centre = self.median.pick(words, &mut cursor, count, own);
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

/// The number of values below the window's own sample, and half of those that equal it. Equal values are
/// neighbours in order.
struct Rank<'a, T> {
    sorted: &'a [T],
}

impl<T: Element> Pick<1> for Rank<'_, T> {
    #[inline(always)]
    fn pick(&mut self, words: &[u64], [cursor]: &mut [Cursor; 1], _count: usize, own: u32) -> f64 {
        if own == MISSING {
            return f64::NAN;
        }
        let own = own as usize;
        let value = self.sorted[own];
        let (below, above) = (&self.sorted[..own], &self.sorted[own + 1..]);
        let (mut first, mut end) = (own, own + 1);
        if below.last().is_some_and(|&last| last == value) {
            first = below.partition_point(|&other| other < value);
        }
        if above.first().is_some_and(|&next| next == value) {
            end += above.partition_point(|&other| other <= value);
        }
        let less = cursor.below(words, first);
        let equal = cursor.below(words, end) - less;
        less as f64 + 0.5 * (equal + 1) as f64
    }
}
