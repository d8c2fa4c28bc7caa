//! Sums of a group's cells, from which follow its value, its contribution and its noise.

use rayon::prelude::*;

use super::cells::{Cells, Measure, Period};

/// Sums of one period.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Side {
    /// Σn: numerators.
    pub n: f64,
    /// Σd: denominators; 0 of a sum.
    pub d: f64,
    /// Independent observations: rows, or trials of a binomial ratio.
    pub units: f64,
    /// Σn² over rows.
    pub nn: f64,
    /// Σnd.
    pub nd: f64,
    /// Σd².
    pub dd: f64,
}

/// Sums of both periods.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// The earlier period.
    pub earlier: Side,
    /// The later one.
    pub later: Side,
}

/// How Σn² is found where it isn't given. See [`Cells`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unknown {
    /// All rows of a cell have the same numerator.
    Same,
    /// The denominators are trials, the numerators successes.
    Trials,
    /// The numerators vary as much as their mean.
    AsMean,
}

/// Sums that can be added and told apart from those around them: [`Tally`], or half of it where it says the same.
pub trait Sums: Copy + Default + Send + Sync {
    /// Adds the sums of other cells.
    fn add(&mut self, other: &Self);

    /// All of them.
    fn tally(&self) -> Tally;
}

/// Sums of both periods of a sum: numerators, rows, squares. Half the memory, which is what a search waits for.
#[derive(Clone, Copy, Debug, Default)]
pub struct OfSum([f64; 6]);

/// The same of a ratio whose denominators are its units: of rows, or of trials.
#[derive(Clone, Copy, Debug, Default)]
pub struct OfUnits([f64; 6]);

impl Side {
    /// Adds the sums of other cells.
    pub fn add(&mut self, other: &Self) {
        self.n += other.n;
        self.d += other.d;
        self.units += other.units;
        self.nn += other.nn;
        self.nd += other.nd;
        self.dd += other.dd;
    }

    fn less(&self, other: &Self) -> Self {
        Self {
            n: self.n - other.n,
            d: self.d - other.d,
            units: self.units - other.units,
            nn: self.nn - other.nn,
            nd: self.nd - other.nd,
            dd: self.dd - other.dd,
        }
    }

    /// The measure; none of a ratio without denominator.
    pub fn value(&self, measure: Measure) -> Option<f64> {
        match measure {
            Measure::Sum => Some(self.n),
            Measure::Ratio => (self.d > 0.0).then(|| self.n / self.d),
        }
    }

    /// Σ(αn − βd)² over rows: the variance of Σ(αn − βd), rows being as many as by chance.
    pub fn variance(&self, alpha: f64, beta: f64) -> f64 {
        let squares = alpha * alpha * self.nn + beta * beta * self.dd;
        (squares - 2.0 * alpha * beta * self.nd).max(0.0)
    }

    fn of(period: &Period, cell: usize, unknown: Unknown) -> Self {
        let n = period.numerators[cell];
        let d = period.denominators.get(cell).copied().unwrap_or(0.0);
        let rows = (period.rows[cell] as f64).max(1.0);
        let units = period.rows[cell] as f64;
        let (nd, dd) = (n * d / rows, d * d / rows);
        match (&period.squares, unknown) {
            (Some(squares), _) => Self { n, d, units, nn: squares[cell], nd, dd },
            (None, Unknown::Same) => Self { n, d, units, nn: n * n / rows, nd, dd },
            (None, Unknown::Trials) => Self { n, d, units: d, nn: n, nd: n, dd: d },
            (None, Unknown::AsMean) => Self { n, d, units, nn: 2.0 * n * n / rows, nd, dd },
        }
    }
}

impl Sums for Tally {
    fn add(&mut self, other: &Self) {
        self.earlier.add(&other.earlier);
        self.later.add(&other.later);
    }

    fn tally(&self) -> Tally {
        *self
    }
}

impl Sums for OfSum {
    fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, other)| *sum += other);
    }

    fn tally(&self) -> Tally {
        let side = |[n, units, nn]: [f64; 3]| Side { n, units, nn, ..Side::default() };
        let [n, units, nn, later @ ..] = self.0;
        Tally { earlier: side([n, units, nn]), later: side(later) }
    }
}

impl Sums for OfUnits {
    fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, other)| *sum += other);
    }

    fn tally(&self) -> Tally {
        let side = |[n, d, nn]: [f64; 3]| Side { n, d, units: d, nn, nd: n, dd: d };
        let [n, units, nn, later @ ..] = self.0;
        Tally { earlier: side([n, units, nn]), later: side(later) }
    }
}

impl From<Tally> for OfSum {
    fn from(Tally { earlier, later }: Tally) -> Self {
        Self([earlier.n, earlier.units, earlier.nn, later.n, later.units, later.nn])
    }
}

impl From<Tally> for OfUnits {
    fn from(Tally { earlier, later }: Tally) -> Self {
        Self([earlier.n, earlier.units, earlier.nn, later.n, later.units, later.nn])
    }
}

impl Tally {
    /// The sums without those of some of the cells.
    pub fn less(&self, other: &Self) -> Self {
        Self { earlier: self.earlier.less(&other.earlier), later: self.later.less(&other.later) }
    }

    /// Observations of both periods.
    pub fn units(&self) -> f64 {
        self.earlier.units + self.later.units
    }
}

/// Sums of many cells.
pub fn total<'a, S: Sums + 'a>(sums: impl IntoIterator<Item = &'a S>) -> Tally {
    let mut all = S::default();
    sums.into_iter().for_each(|sums| all.add(sums));
    all.tally()
}

/// How the sums of single cells are found.
pub struct Reading<'a> {
    cells: &'a Cells,
    unknown: Unknown,
}

impl<'a> Reading<'a> {
    /// Looks at what is known of the cells.
    pub fn new(cells: &'a Cells) -> Self {
        let is_trials = cells.periods().iter().all(|period| {
            let mut both = period.numerators.iter().zip(&period.denominators);
            both.all(|(n, d)| (0.0..=*d).contains(n))
        });
        let unknown = match cells.measure() {
            Measure::Sum => Unknown::Same,
            Measure::Ratio if is_trials => Unknown::Trials,
            Measure::Ratio => Unknown::AsMean,
        };
        Self { cells, unknown }
    }

    /// Whether denominators are units in every cell.
    pub fn is_of_units(&self) -> bool {
        let trials = self.unknown == Unknown::Trials;
        self.cells.measure() == Measure::Ratio
            && self.cells.periods().iter().all(|period| {
                let mut both = period.denominators.iter().zip(&period.rows);
                trials && period.squares.is_none() || both.all(|(&d, &rows)| d == rows as f64)
            })
    }

    /// Of each cell.
    pub fn by_cell<S: Sums + From<Tally>>(&self) -> Vec<S> {
        let [earlier, later] = self.cells.periods();
        let of_cell = |cell| Tally {
            earlier: Side::of(earlier, cell, self.unknown),
            later: Side::of(later, cell, self.unknown),
        };
        (0..self.cells.len()).into_par_iter().map(|cell| of_cell(cell).into()).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The same in both periods.
    fn cells(measure: Measure, numbers: &[(f64, f64, u64)], squares: Option<Vec<f64>>) -> Cells {
        let of = |pick: fn(&(f64, f64, u64)) -> f64| numbers.iter().map(pick).collect();
        let denominators = if measure == Measure::Ratio { of(|n| n.1) } else { Vec::new() };
        let rows = numbers.iter().map(|n| n.2).collect();
        let period = Period { numerators: of(|n| n.0), denominators, squares, rows };
        Cells::new(measure, Vec::new(), period.clone(), period).unwrap()
    }

    fn sides(cells: &Cells) -> Vec<Side> {
        let tallies = Reading::new(cells).by_cell::<Tally>();
        assert!(tallies.iter().all(|tally| tally.earlier == tally.later));
        tallies.iter().map(|tally| tally.later).collect()
    }

    #[test]
    fn rows_of_a_sum_are_alike_where_squares_are_not_given() {
        let numbers = [(6.0, 0.0, 3), (2.0, 0.0, 0), (-4.0, 0.0, 2)];
        let side = |n, units, nn| Side { n, units, nn, ..Side::default() };
        let expected = [side(6.0, 3.0, 12.0), side(2.0, 0.0, 4.0), side(-4.0, 2.0, 8.0)];
        assert_eq!(sides(&cells(Measure::Sum, &numbers, None)), expected);
        let given = sides(&cells(Measure::Sum, &numbers, Some(vec![14.0, 4.0, 10.0])));
        assert_eq!([given[0].nn, given[1].nn, given[2].nn], [14.0, 4.0, 10.0]);
    }

    #[test]
    fn a_ratio_is_of_trials_where_every_numerator_is_part_of_its_denominator() {
        let trials = Side { n: 3.0, d: 10.0, units: 10.0, nn: 3.0, nd: 3.0, dd: 10.0 };
        let first = (3.0, 10.0, 2);
        for second in [(5.0, 5.0, 1), (0.0, 5.0, 1)] {
            let made = cells(Measure::Ratio, &[first, second], None);
            assert_eq!(sides(&made)[0], trials);
            assert!(Reading::new(&made).is_of_units());
        }
        let as_mean = Side { n: 3.0, d: 10.0, units: 2.0, nn: 9.0, nd: 15.0, dd: 50.0 };
        for second in [(5.1, 5.0, 1), (-0.1, 5.0, 1)] {
            let made = cells(Measure::Ratio, &[first, second], None);
            assert_eq!(sides(&made)[0], as_mean);
            assert!(!Reading::new(&made).is_of_units());
        }
        let made = cells(Measure::Ratio, &[first], Some(vec![7.0]));
        assert_eq!(sides(&made)[0], Side { nn: 7.0, ..as_mean });
        assert!(!Reading::new(&made).is_of_units());
    }

    #[test]
    fn half_the_sums_say_the_same_where_denominators_are_rows() {
        let numbers = [(30.0, 10.0, 10), (4.0, 2.0, 2)];
        for squares in [None, Some(vec![100.0, 9.0])] {
            let made = cells(Measure::Ratio, &numbers, squares.clone());
            let reading = Reading::new(&made);
            assert!(reading.is_of_units());
            let (half, whole) = (reading.by_cell::<OfUnits>(), reading.by_cell::<Tally>());
            assert!(half.iter().zip(&whole).all(|(half, whole)| half.tally() == *whole));
            assert_eq!(total(&half), total(&whole));
            let made = cells(Measure::Sum, &numbers, squares);
            let reading = Reading::new(&made);
            assert!(!reading.is_of_units());
            let (half, whole) = (reading.by_cell::<OfSum>(), reading.by_cell::<Tally>());
            assert!(half.iter().zip(&whole).all(|(half, whole)| half.tally() == *whole));
            assert_eq!(total(&half), total(&whole));
        }
        assert!(!Reading::new(&cells(Measure::Ratio, &[(30.0, 10.0, 9)], None)).is_of_units());
    }

    #[test]
    fn a_variance_is_of_the_squares() {
        let side = Side { nn: 5.0, nd: 4.0, dd: 6.0, ..Side::default() };
        // 4·5 − 2·2·3·4 + 9·6
        assert_eq!(side.variance(2.0, 3.0), 26.0);
        assert_eq!(Side { nd: 10.0, ..side }.variance(2.0, 3.0), 0.0);
        let (a, b) =
            (Tally { earlier: side, later: side }, Tally { later: side, ..Tally::default() });
        assert_eq!(total([&a, &b]).less(&b), a);
        let side = Side { n: 3.0, d: 4.0, units: 5.0, ..Side::default() };
        assert_eq!((side.value(Measure::Sum), side.value(Measure::Ratio)), (Some(3.0), Some(0.75)));
        assert_eq!(Side { d: 0.0, ..side }.value(Measure::Ratio), None);
        assert_eq!(Tally { earlier: side, later: Side { units: 2.0, ..side } }.units(), 7.0);
    }
}
