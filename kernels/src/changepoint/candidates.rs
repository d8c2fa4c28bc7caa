//! The starts of a last segment that may still be best, side by side for vectors.

use super::Cost;
use super::segments::Price;
use crate::simd::{self, Work};

/// Starts not forgotten, in order.
pub(super) struct Candidates {
    /// As numbers for arithmetic; exact up to 2⁵³.
    start: Vec<f64>,
    sum: Vec<f64>,
    squares: Vec<f64>,
    /// F(start).
    cost: Vec<f64>,
    /// F(start) + C(start, end) for the end at hand.
    pub(super) value: Vec<f64>,
    /// The end from which on it is forgotten.
    expires: Vec<usize>,
    /// The least of `expires`.
    next: usize,
    /// The largest of the values.
    most: f64,
}

impl Candidates {
    pub(super) fn bytes(capacity: usize) -> usize {
        capacity * (5 * size_of::<f64>() + size_of::<usize>())
    }

    pub(super) fn new(capacity: usize) -> Self {
        let numbers = || Vec::with_capacity(capacity);
        Self {
            start: numbers(),
            sum: numbers(),
            squares: numbers(),
            cost: numbers(),
            value: numbers(),
            expires: Vec::with_capacity(capacity),
            next: usize::MAX,
            most: f64::NEG_INFINITY,
        }
    }

    pub(super) fn clear(&mut self) {
        let Self { start, sum, squares, cost, value, expires, next, .. } = self;
        for numbers in [start, sum, squares, cost, value] {
            numbers.clear();
        }
        expires.clear();
        *next = usize::MAX;
    }

    pub(super) fn push(&mut self, start: usize, sums: [f64; 2], cost: f64) {
        self.start.push(start as f64);
        self.sum.push(sums[0]);
        self.squares.push(sums[1]);
        self.cost.push(cost);
        self.value.push(0.0);
        self.expires.push(usize::MAX);
    }

    /// The start with the least F(start) + C(start, end), and that; of equal ones the latest.
    pub(super) fn best(&mut self, end: usize, sums: [f64; 2], price: &Price) -> (usize, f64) {
        let work = Values { candidates: self, end: end as f64, sums, price };
        let (place, least, most) = simd::vectorised(work);
        self.most = most;
        (self.start.get(place).map_or(0, |&start| start as usize), least)
    }

    /// Forgets, `delay` samples later, the starts that can't be best any more: those beyond `limit`.
    pub(super) fn forget(&mut self, end: usize, limit: f64, delay: usize) {
        if self.most >= limit {
            for (value, expires) in self.value.iter().zip(&mut self.expires) {
                if *value >= limit && *expires == usize::MAX {
                    *expires = end + delay;
                    self.next = self.next.min(end + delay);
                }
            }
        }
        // Those that expire with the next end are not tried there.
        if self.next > end + 1 {
            return;
        }
        let mut kept = 0;
        self.next = usize::MAX;
        for place in 0..self.expires.len() {
            if self.expires[place] > end + 1 {
                self.start[kept] = self.start[place];
                self.sum[kept] = self.sum[place];
                self.squares[kept] = self.squares[place];
                self.cost[kept] = self.cost[place];
                self.expires[kept] = self.expires[place];
                self.next = self.next.min(self.expires[kept]);
                kept += 1;
            }
        }
        let Self { start, sum, squares, cost, value, .. } = self;
        for numbers in [start, sum, squares, cost, value] {
            numbers.truncate(kept);
        }
        self.expires.truncate(kept);
    }
}

/// Computes all values; returns the last place of the least, the least and the largest.
struct Values<'a> {
    candidates: &'a mut Candidates,
    end: f64,
    sums: [f64; 2],
    price: &'a Price,
}

/// Values side by side in vectors. No order of comparisons changes the least of them.
const LANES: usize = 8;

impl Work for Values<'_> {
    type Output = (usize, f64, f64);

    #[inline(always)]
    fn run(self) -> (usize, f64, f64) {
        let Self { candidates, end, sums, price } = self;
        let Candidates { start, sum, squares, cost, value, .. } = candidates;
        let scatter = |start: f64, sum: f64, squares: f64| {
            let own = sums[0] - sum;
            (sums[1] - squares) - own * own / (end - start)
        };
        let (mut least, mut most) = ([f64::INFINITY; LANES], [f64::NEG_INFINITY; LANES]);
        let mut compare = |lane: usize, value: f64| {
            least[lane] = if value < least[lane] { value } else { least[lane] };
            most[lane] = if value > most[lane] { value } else { most[lane] };
        };
        if price.cost == Cost::Mean && price.weight == 0.0 {
            let one = |start: f64, sum: f64, squares: f64, cost: f64| {
                cost + scatter(start, sum, squares).max(0.0)
            };
            let (starts, start) = start.as_chunks::<LANES>();
            let (all_sums, sum) = sum.as_chunks::<LANES>();
            let (all_squares, squares) = squares.as_chunks::<LANES>();
            let (costs, cost) = cost.as_chunks::<LANES>();
            let (values, value) = value.as_chunks_mut::<LANES>();
            let others = starts.iter().zip(all_sums).zip(all_squares).zip(costs);
            for (value, (((start, sum), squares), cost)) in values.iter_mut().zip(others) {
                for lane in 0..LANES {
                    value[lane] = one(start[lane], sum[lane], squares[lane], cost[lane]);
                    compare(lane, value[lane]);
                }
            }
            let others = start.iter().zip(sum).zip(squares).zip(cost);
            for (value, (((&start, &sum), &squares), &cost)) in value.iter_mut().zip(others) {
                *value = one(start, sum, squares, cost);
                compare(0, *value);
            }
        } else {
            let others = start.iter().zip(sum.iter()).zip(squares.iter()).zip(cost.iter());
            for (value, (((&start, &sum), &squares), &cost)) in value.iter_mut().zip(others) {
                *value = cost + price.segment(end - start, scatter(start, sum, squares));
                compare(0, *value);
            }
        }
        let least = least.iter().fold(f64::INFINITY, |least, &value| value.min(least));
        let most = most.iter().fold(f64::NEG_INFINITY, |most, &value| value.max(most));
        // The last group that has it, without a branch for each value.
        let (groups, rest) = value.as_chunks::<LANES>();
        let has = |values: &[f64]| values.iter().fold(false, |has, &value| has | (value == least));
        let (first, group): (usize, &[f64]) = if has(rest) {
            (groups.len() * LANES, rest)
        } else {
            let place = groups.iter().rposition(|group| has(group)).unwrap_or(0);
            (place * LANES, groups.get(place).map_or(&[], |group| group))
        };
        let place = group.iter().rposition(|&value| value == least).unwrap_or(0);
        (first + place, least, most)
    }
}
