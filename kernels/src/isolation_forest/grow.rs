//! Growing the trees.

use std::num::NonZeroUsize;

use rayon::prelude::*;

use super::{Cut, Forest, ForestOptions, OPERATION, mean_path};
use crate::budget::{halving, largest_tile, zeroed};
use crate::element::Element;
use crate::error::{Error, Memory, Result};
use crate::execution::Execution;
use crate::pool::Pool;
use crate::random::Random;
use crate::simd::{Work, vectorised};
use crate::stats::Stats;
use crate::view::MatrixView;

/// Rows whose sound ones are counted together.
const COUNTED: usize = 4096;

pub(super) fn run<T: Element>(
    x: MatrixView<'_, T>,
    options: &ForestOptions,
    execution: &Execution,
    stats: &mut Stats,
) -> Result<Forest<T>> {
    let columns = x.cols();
    let lacks = |found: String, expected: &str| {
        Err(Error::Shape { operation: OPERATION, found, expected: expected.into() })
    };
    if columns == 0 {
        return lacks(format!("{} rows of no column", x.rows()), "at least 1 column is needed");
    }
    let most_rows = options.sample.min(x.rows()).max(1);
    let list_bytes = x.rows().div_ceil(COUNTED) * size_of::<u64>();
    let thread_bytes = Scratch::<T>::bytes(most_rows, columns);
    let cost = |threads: usize| list_bytes + threads * thread_bytes;
    let most = execution.threads()?.threads().min(options.trees);
    let host_bytes = execution.budget.host_bytes;
    let threads = largest_tile(OPERATION, Memory::Host, host_bytes, most, cost)?;
    stats.peak_bytes = cost(threads) as u64;
    stats.tiles = options.trees as u64;
    execution.control.begin(stats.tiles);

    let sound = Sound::count(x, execution)?;
    stats.excluded_rows = x.rows() as u64 - sound.total;
    if sound.total == 0 {
        let found = format!("{} rows, all with missing values", x.rows());
        return lacks(found, "at least 1 row without is needed");
    }
    let sample = options.sample.min(sound.total as usize);
    let mut forest = empty(columns, sample, options)?;
    let (cuts, terms) = (forest.cuts(), forest.terms);
    let weighted = !forest.weights.is_empty();
    // Trees without a cut, as of a single row, have nothing to be cut into pieces.
    let mut parts: Vec<Growing<'_, T>> = Vec::new();
    let mut thresholds = forest.thresholds.chunks_mut(cuts.max(1));
    let mut cut_columns = forest.cut_columns.chunks_mut((cuts * terms).max(1));
    let mut weights = forest.weights.chunks_mut((cuts * terms).max(1));
    for (tree, leaves) in forest.leaves.chunks_mut(cuts + 1).enumerate() {
        parts.push(Growing {
            tree,
            thresholds: thresholds.next().unwrap_or_default(),
            columns: cut_columns.next().unwrap_or_default(),
            weights: weights.next().unwrap_or_default(),
            leaves,
            terms,
            weighted,
        });
    }
    let (scratches, halvings) = halving(threads, |threads| {
        (0..threads).map(|_| Scratch::<T>::new(sample, columns)).collect::<Result<Vec<_>>>()
    })?;
    stats.halvings = halvings;
    let mut groups: Vec<(Scratch<T>, Vec<Growing<'_, T>>)> =
        scratches.into_iter().map(|scratch| (scratch, Vec::new())).collect();
    let count = groups.len();
    for (tree, part) in parts.into_iter().enumerate() {
        groups[tree % count].1.push(part);
    }
    let grow = |(scratch, trees): &mut (Scratch<T>, Vec<Growing<'_, T>>)| {
        for tree in trees {
            execution.control.check(OPERATION)?;
            let mut random = Random::split(options.seed, tree.tree as u64);
            scratch.draw(x, &sound, &mut random);
            tree.grow(scratch, &mut random);
            execution.control.advance(1);
        }
        Ok(())
    };
    match NonZeroUsize::new(count) {
        Some(fewer) if count < rayon::current_num_threads() => {
            Pool::of_size(fewer)?.run(|| groups.par_iter_mut().try_for_each(grow))?;
        }
        _ => groups.par_iter_mut().with_max_len(1).try_for_each(grow)?,
    }
    drop(groups);
    Ok(forest)
}

fn empty<T: Element>(columns: usize, sample: usize, options: &ForestOptions) -> Result<Forest<T>> {
    // ⌈log₂ ψ⌉: a perfectly balanced tree would end there.
    let depth = sample.next_power_of_two().trailing_zeros() as usize;
    let (terms, weighted) = match options.cut {
        Cut::Axis => (1, false),
        Cut::Oblique { columns } => (columns, true),
    };
    let trees = options.trees;
    let cuts = trees * ((1 << depth) - 1);
    Ok(Forest {
        columns,
        terms,
        depth,
        trees,
        normal: mean_path(sample),
        thresholds: zeroed(OPERATION, cuts)?,
        cut_columns: zeroed(OPERATION, cuts * terms)?,
        weights: zeroed(OPERATION, if weighted { cuts * terms } else { 0 })?,
        leaves: zeroed(OPERATION, trees << depth)?,
        fitted: Stats::new(crate::device::DeviceReport::cpu("")),
    })
}

/// Which rows are free of missing values: how many up to each stretch of rows.
struct Sound {
    before: Vec<u64>,
    total: u64,
}

impl Sound {
    fn count<T: Element>(x: MatrixView<'_, T>, execution: &Execution) -> Result<Self> {
        let mut before = zeroed::<u64>(OPERATION, x.rows().div_ceil(COUNTED))?;
        before.par_iter_mut().enumerate().try_for_each(|(stretch, count)| {
            execution.control.check(OPERATION)?;
            let first = stretch * COUNTED;
            let rows = first..x.rows().min(first + COUNTED);
            *count = rows.filter(|&row| is_sound(x.row(row))).count() as u64;
            Ok(())
        })?;
        let mut total = 0;
        for count in &mut before {
            (*count, total) = (total, total + *count);
        }
        Ok(Self { before, total })
    }

    /// The sound row number `place`.
    fn row<T: Element>(&self, x: MatrixView<'_, T>, place: u64) -> usize {
        if self.total == x.rows() as u64 {
            return place as usize;
        }
        let stretch = self.before.partition_point(|&before| before <= place) - 1;
        let mut left = place - self.before[stretch];
        let first = stretch * COUNTED;
        for row in first..x.rows().min(first + COUNTED) {
            if is_sound(x.row(row)) {
                if left == 0 {
                    return row;
                }
                left -= 1;
            }
        }
        // Not reached: the stretch holds as many as were counted.
        first
    }
}

/// Whether a row holds neither a NaN nor an infinity.
#[inline]
pub(super) fn is_sound<T: Element>(row: &[T]) -> bool {
    struct Check<'a, T>(&'a [T]);
    impl<T: Element> Work for Check<'_, T> {
        type Output = bool;
        #[inline(always)]
        fn run(self) -> bool {
            self.0.iter().fold(true, |sound, value| sound & value.to_f64().is_finite())
        }
    }
    vectorised(Check(row))
}

/// What one thread needs to grow a tree.
struct Scratch<T> {
    /// The sample, column by column.
    values: Vec<T>,
    sample: usize,
    /// Places of the sample, ordered by the branch they are in.
    places: Vec<u32>,
    /// The rows that were drawn, sorted.
    drawn: Vec<u64>,
    /// Columns, those that are constant at hand behind the others.
    columns: Vec<u32>,
}

impl<T: Element> Scratch<T> {
    fn bytes(sample: usize, columns: usize) -> usize {
        sample * (columns * size_of::<T>() + size_of::<u32>() + size_of::<u64>())
            + columns * size_of::<u32>()
    }

    fn new(sample: usize, columns: usize) -> Result<Self> {
        Ok(Self {
            values: zeroed(OPERATION, sample * columns)?,
            sample,
            places: zeroed(OPERATION, sample)?,
            drawn: Vec::with_capacity(sample),
            columns: zeroed(OPERATION, columns)?,
        })
    }

    /// Draws a sample without replacement: Floyd's algorithm (Bentley & Floyd, CACM 30(9), 1987).
    fn draw(&mut self, x: MatrixView<'_, T>, sound: &Sound, random: &mut Random) {
        self.drawn.clear();
        for last in sound.total - self.sample as u64..sound.total {
            let row = random.below(last as usize + 1) as u64;
            match self.drawn.binary_search(&row) {
                // `last` is larger than all that were drawn.
                Ok(_) => self.drawn.push(last),
                Err(place) => self.drawn.insert(place, row),
            }
        }
        for (place, &drawn) in self.drawn.iter().enumerate() {
            let row = x.row(sound.row(x, drawn));
            for (column, &value) in row.iter().enumerate() {
                self.values[column * self.sample + place] = value;
            }
            self.places[place] = place as u32;
        }
        for (index, column) in (0..).zip(&mut self.columns) {
            *column = index;
        }
    }

    /// Least and largest value of a column among some places.
    fn range(values: &[T], places: &[u32]) -> (T, T) {
        let mut range = (values[places[0] as usize], values[places[0] as usize]);
        for &place in places {
            let value = values[place as usize];
            if value < range.0 {
                range.0 = value;
            }
            if value > range.1 {
                range.1 = value;
            }
        }
        range
    }
}

/// The arrays of one tree while it is grown.
struct Growing<'a, T> {
    tree: usize,
    thresholds: &'a mut [T],
    columns: &'a mut [u32],
    weights: &'a mut [T],
    leaves: &'a mut [f32],
    terms: usize,
    weighted: bool,
}

/// A branch to be grown: its first cut, how deep that is, and its rows.
struct Branch {
    cut: usize,
    depth: usize,
    from: usize,
    to: usize,
}

impl<T: Element> Growing<'_, T> {
    fn grow(&mut self, scratch: &mut Scratch<T>, random: &mut Random) {
        let depth = self.leaves.len().trailing_zeros() as usize;
        // At most one branch of each depth waits.
        let mut waiting = vec![Branch { cut: 0, depth: 0, from: 0, to: scratch.sample }];
        while let Some(branch) = waiting.pop() {
            let middle = if branch.depth < depth && branch.to - branch.from > 1 {
                self.cut(&branch, scratch, random)
            } else {
                None
            };
            let Some(middle) = middle else {
                self.end(&branch, depth);
                continue;
            };
            let Branch { cut, depth, from, to } = branch;
            waiting.push(Branch { cut: 2 * cut + 2, depth: depth + 1, from: middle, to });
            waiting.push(Branch { cut: 2 * cut + 1, depth: depth + 1, from, to: middle });
        }
    }

    /// Every leaf below gets the path length, and every cut below leads left.
    fn end(&mut self, branch: &Branch, depth: usize) {
        let length = branch.depth as f64 + mean_path(branch.to - branch.from);
        let (mut first, mut count) = (branch.cut, 1);
        for _ in branch.depth..depth {
            self.thresholds[first..first + count].fill(T::from_f64(f64::INFINITY));
            first = 2 * first + 1;
            count *= 2;
        }
        let leaf = first - (self.leaves.len() - 1);
        self.leaves[leaf..leaf + count].fill(length as f32);
    }

    /// Cuts the rows of a branch in two, and says where the second part begins; `None` where they are all equal.
    fn cut(
        &mut self,
        branch: &Branch,
        scratch: &mut Scratch<T>,
        random: &mut Random,
    ) -> Option<usize> {
        let Scratch { values, sample, places, columns, .. } = scratch;
        let places = &mut places[branch.from..branch.to];
        // Random columns; those that are constant are put behind the others.
        let (mut chosen, mut left) = (0, columns.len());
        let terms = branch.cut * self.terms;
        let mut threshold = 0.0;
        while chosen < self.terms && chosen < left {
            let place = chosen + random.below(left - chosen);
            let column = columns[place];
            let values = &values[column as usize * *sample..][..*sample];
            let (least, largest) = Scratch::range(values, places);
            if least == largest {
                left -= 1;
                columns.swap(place, left);
                continue;
            }
            let part = random.uniform();
            // Not least + part · (largest − least), which can overflow.
            let at = least.to_f64() * (1.0 - part) + largest.to_f64() * part;
            self.columns[terms + chosen] = column;
            if self.weighted {
                let weight = T::from_f64(random.normal());
                self.weights[terms + chosen] = weight;
                threshold += weight.to_f64() * at;
            } else {
                // Rounding must not let all rows go left.
                let at = T::from_f64(at);
                threshold = if at < largest { at } else { least }.to_f64();
            }
            columns.swap(place, chosen);
            chosen += 1;
        }
        if chosen == 0 {
            return None;
        }
        // Where fewer columns vary, the other terms have weight 0 from the start; any column will do.
        let threshold = T::from_f64(threshold);
        self.thresholds[branch.cut] = threshold;
        let tree = (&self.columns[terms..terms + self.terms], self.weights.get(terms..));
        let goes_left = |place: u32| {
            let value = |column: u32| values[column as usize * *sample + place as usize];
            cut_sum(tree.0, tree.1.filter(|_| self.weighted), value) <= threshold
        };
        let mut middle = 0;
        for at in 0..places.len() {
            if goes_left(places[at]) {
                places.swap(at, middle);
                middle += 1;
            }
        }
        Some(branch.from + middle)
    }
}

/// What is compared with a cut's threshold. Rounded after each product and each sum, on every device.
#[inline(always)]
pub(super) fn cut_sum<T: Element>(
    columns: &[u32],
    weights: Option<&[T]>,
    value: impl Fn(u32) -> T,
) -> T {
    let Some(weights) = weights else {
        return value(columns[0]);
    };
    let mut sum = T::default();
    for (&column, &weight) in columns.iter().zip(weights) {
        sum = plus(sum, T::from_f64(weight.to_f64() * value(column).to_f64()));
    }
    sum
}

/// The sum in the type itself: that of two f32 is exact enough in f64 to be rounded twice.
#[inline(always)]
fn plus<T: Element>(a: T, b: T) -> T {
    T::from_f64(a.to_f64() + b.to_f64())
}
