//! The definitions, word by word, in f64. Slow and obviously right.

/// Pearson's coefficient; `None` where it is not defined.
pub(super) fn pearson(x: &[f64], y: &[f64]) -> Option<f64> {
    if x.iter().chain(y).any(|value| !value.is_finite()) || constant(x) || constant(y) {
        return None;
    }
    let (mean_x, mean_y) = (mean(x), mean(y));
    let sum =
        |pairs: &mut dyn Iterator<Item = f64>| pairs.fold(Exact::default(), Exact::plus).total();
    let cross = sum(&mut x.iter().zip(y).map(|(a, b)| (a - mean_x) * (b - mean_y)));
    let squares_x = sum(&mut x.iter().map(|a| (a - mean_x).powi(2)));
    let squares_y = sum(&mut y.iter().map(|b| (b - mean_y).powi(2)));
    Some(cross / (squares_x.sqrt() * squares_y.sqrt()))
}

/// The coefficient of `x` with `y` moved back by `lag`, over the samples that overlap.
pub(super) fn pearson_at(x: &[f64], y: &[f64], lag: i64) -> Option<f64> {
    let shift = lag.unsigned_abs() as usize;
    let overlap = x.len() - shift;
    if lag >= 0 { pearson(&x[..overlap], &y[shift..]) } else { pearson(&x[shift..], &y[..overlap]) }
}

/// The rank of each value: 1 more than the number of smaller ones, and half of the others that are equal.
pub(super) fn ranks(x: &[f64]) -> Vec<f64> {
    let rank = |own: &f64| {
        let less = x.iter().filter(|other| *other < own).count() as f64;
        let equal = x.iter().filter(|other| *other == own).count() as f64;
        if own.is_finite() { less + (equal + 1.0) / 2.0 } else { f64::NAN }
    };
    x.iter().map(rank).collect()
}

fn constant(x: &[f64]) -> bool {
    x.iter().all(|value| *value == x[0])
}

fn mean(x: &[f64]) -> f64 {
    let rough = x.iter().copied().fold(Exact::default(), Exact::plus).total() / x.len() as f64;
    rough
        + x.iter().map(|value| value - rough).fold(Exact::default(), Exact::plus).total()
            / x.len() as f64
}

/// A compensated sum (A. Neumaier, "Rundungsfehleranalyse einiger Verfahren zur Summation endlicher
/// Summen", 1974).
#[derive(Default)]
struct Exact {
    sum: f64,
    lost: f64,
}

impl Exact {
    fn plus(self, value: f64) -> Self {
        let sum = self.sum + value;
        let lost = if self.sum.abs() >= value.abs() {
            (self.sum - sum) + value
        } else {
            (value - sum) + self.sum
        };
        Self { sum, lost: self.lost + lost }
    }

    fn total(&self) -> f64 {
        self.sum + self.lost
    }
}
