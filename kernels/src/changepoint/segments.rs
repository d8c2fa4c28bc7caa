//! One series: its sums, its penalty, and the way through it.

use super::candidates::Candidates;
use super::{Cost, OPERATION, PeltOptions, Penalty, RowChanges};
use crate::element::Element;
use crate::error::Result;
use crate::execution::Execution;

/// Samples between two looks at whether to stop.
const LOOK: usize = 64;

/// Of the whole series' variance, what is added to that of each segment.
pub(super) const FLOOR: f64 = 1e-8;

/// What a series of `cols` samples takes.
pub(super) fn bytes(cols: usize) -> usize {
    // Values, places, starts, and two sums.
    5 * (cols + 1) * size_of::<f64>() + Candidates::bytes(cols + 1)
}

/// One thread's room.
pub(super) struct Scratch {
    /// The values that are there, minus their mean, and where they were.
    values: Vec<f64>,
    places: Vec<usize>,
    /// Sums of the first t values and of their squares.
    sums: Vec<[f64; 2]>,
    /// The start of the best last segment of the first t values.
    starts: Vec<usize>,
    candidates: Candidates,
}

/// How the segments of one series are priced.
#[derive(Debug, Clone, Copy)]
pub(super) struct Price {
    pub(super) cost: Cost,
    /// β.
    pub(super) penalty: f64,
    /// Times ln(length / n), for each segment.
    pub(super) weight: f64,
    /// Added to a variance.
    pub(super) floor: f64,
    /// n.
    pub(super) count: f64,
}

impl Price {
    /// Of `count` values, whose noise has the variance `noise` and which have the variance `variance`.
    pub(super) fn new(options: &PeltOptions, count: usize, noise: f64, variance: f64) -> Self {
        let unit = if options.cost == Cost::Mean { noise } else { 1.0 };
        let (count, parameters) = (count as f64, options.cost.parameters());
        let (penalty, weight) = match options.penalty {
            Penalty::Bic => (unit * (parameters + 1.0) * count.ln(), 0.0),
            Penalty::Mbic => (unit * (parameters + 2.0) * count.ln(), unit),
            Penalty::Manual(penalty) => (penalty, 0.0),
            Penalty::Noise(penalty) => (unit * penalty, 0.0),
        };
        Self { cost: options.cost, penalty, weight, floor: FLOOR * variance, count }
    }

    /// What a segment of `length` values with squares `scatter` around their mean costs.
    #[inline(always)]
    pub(super) fn segment(&self, length: f64, scatter: f64) -> f64 {
        let scatter = scatter.max(0.0);
        let own = match self.cost {
            Cost::Mean => scatter,
            Cost::MeanVariance => {
                let constant = 1.0 + std::f64::consts::TAU.ln();
                length * ((scatter / length + self.floor).ln() + constant)
            }
        };
        if self.weight == 0.0 { own } else { own + self.weight * (length / self.count).ln() }
    }
}

impl Scratch {
    pub(super) fn new(cols: usize) -> Self {
        Self {
            values: Vec::with_capacity(cols),
            places: Vec::with_capacity(cols),
            sums: Vec::with_capacity(cols + 1),
            starts: Vec::with_capacity(cols + 1),
            candidates: Candidates::new(cols + 1),
        }
    }

    /// The change points of a series, and how many of its values are missing.
    pub(super) fn run<T: Element>(
        &mut self,
        x: &[T],
        options: &PeltOptions,
        execution: &Execution,
    ) -> Result<(RowChanges, usize)> {
        self.values.clear();
        self.places.clear();
        for (place, value) in x.iter().map(|value| value.to_f64()).enumerate() {
            if value.is_finite() {
                self.values.push(value);
                self.places.push(place);
            }
        }
        let count = self.values.len();
        let missing = x.len() - count;
        let first = self.values.first().copied().unwrap_or(0.0);
        let constant = self.values.iter().all(|&value| value == first);
        if constant || count / 2 < options.min_segment {
            return Ok((RowChanges::default(), missing));
        }
        let noise = self.noise();
        let variance = self.sum();
        if !variance.is_finite() {
            return Ok((RowChanges::default(), missing));
        }
        let price = Price::new(options, count, noise, variance);
        let objective = self.walk(&price, options.min_segment, execution)?;
        let mut points = Vec::new();
        let mut end = count;
        while let Some(&start) = self.starts.get(end).filter(|&&start| start > 0) {
            points.push(self.places.get(start).copied().unwrap_or(start));
            end = start;
        }
        points.reverse();
        Ok((RowChanges { points, objective, penalty: price.penalty }, missing))
    }

    /// The variance of the noise, from the differences of neighbours.
    fn noise(&mut self) -> f64 {
        let differences = &mut self.candidates.value;
        differences.clear();
        differences.extend(self.values.windows(2).map(|two| (two[1] - two[0]).abs()));
        let middle = differences.len() / 2;
        let (_, median, _) = differences.select_nth_unstable_by(middle, f64::total_cmp);
        let robust = (1.4826 * *median).powi(2) / 2.0;
        if robust > 0.0 {
            return robust;
        }
        let squares: f64 = differences.iter().map(|difference| difference * difference).sum();
        squares / (2.0 * differences.len() as f64)
    }

    /// Centres the values, sums them up, and returns their variance, which is not finite where the squares are not.
    fn sum(&mut self) -> f64 {
        let count = self.values.len() as f64;
        let mean = self.values.iter().map(|value| value / count).sum::<f64>();
        let mut totals = [Sum::default(); 2];
        self.sums.clear();
        self.sums.push([0.0; 2]);
        for value in &mut self.values {
            *value -= mean;
            totals[0].add(*value);
            totals[1].add(*value * *value);
            self.sums.push(totals.map(|total| total.value()));
        }
        let [sum, squares] = totals.map(|total| total.value());
        (squares - sum * sum / count) / count
    }

    /// Goes through the series, and returns what the best way to cut it costs.
    fn walk(&mut self, price: &Price, least: usize, execution: &Execution) -> Result<f64> {
        let count = self.values.len();
        self.starts.clear();
        self.starts.resize(count + 1, 0);
        self.candidates.clear();
        // The values are in the sums: their place is taken by F, that of the first t of them at t - 1.
        let costs = &mut self.values;
        for end in least..=count {
            if end.is_multiple_of(LOOK) {
                execution.control.check(OPERATION)?;
            }
            let start = end - least;
            if start == 0 {
                self.candidates.push(start, self.sums[start], -price.penalty);
            } else if start >= least {
                self.candidates.push(start, self.sums[start], costs[start - 1]);
            }
            let (start, cost) = self.candidates.best(end, self.sums[end], price);
            self.starts[end] = start;
            costs[end - 1] = cost + price.penalty;
            self.candidates.forget(end, cost + price.penalty, least);
        }
        Ok(costs[count - 1])
    }
}

/// A sum that keeps what was rounded away (Neumaier, "Rundungsfehleranalyse einiger Verfahren zur Summation endlicher
/// Summen", 1974).
#[derive(Clone, Copy, Default)]
struct Sum {
    sum: f64,
    rest: f64,
}

impl Sum {
    fn add(&mut self, value: f64) {
        let sum = self.sum + value;
        self.rest += if self.sum.abs() >= value.abs() {
            (self.sum - sum) + value
        } else {
            (value - sum) + self.sum
        };
        self.sum = sum;
    }

    fn value(&self) -> f64 {
        self.sum + self.rest
    }
}
