//! The definitions, word by word, in f64. Slow and obviously right.

use super::segments::{FLOOR, Price};
use super::{Cost, CusumOptions, PeltOptions};

fn mean(x: &[f64]) -> f64 {
    let first = x.iter().sum::<f64>() / x.len() as f64;
    first + x.iter().map(|value| value - first).sum::<f64>() / x.len() as f64
}

pub(super) fn scatter(x: &[f64]) -> f64 {
    let mean = mean(x);
    x.iter().map(|value| (value - mean).powi(2)).sum()
}

/// The penalty of a change and what a segment of `x` costs, by the table in the module's text.
pub(super) fn price(x: &[f64], options: &PeltOptions) -> Price {
    let differences: Vec<f64> = x.windows(2).map(|two| (two[1] - two[0]).abs()).collect();
    let mut sorted = differences.clone();
    sorted.sort_by(f64::total_cmp);
    let robust = (1.4826 * sorted[sorted.len() / 2]).powi(2) / 2.0;
    let squares = differences.iter().map(|d| d * d).sum::<f64>() / differences.len() as f64 / 2.0;
    let noise = if robust > 0.0 { robust } else { squares };
    Price::new(options, x.len(), noise, scatter(x) / x.len() as f64)
}

/// What a way to cut costs: `points` are the starts of all segments but the first.
pub(super) fn objective(x: &[f64], points: &[usize], options: &PeltOptions) -> f64 {
    let price = price(x, options);
    let starts = std::iter::once(0).chain(points.iter().copied());
    let ends = points.iter().copied().chain([x.len()]);
    let segments = starts.zip(ends).map(|(start, end)| segment(&x[start..end], x, &price));
    segments.sum::<f64>() + price.penalty * points.len() as f64
}

/// How far what a way to cut costs may be off where the squares of each segment are off by `tolerance` of the series'.
pub(super) fn doubt(x: &[f64], points: &[usize], options: &PeltOptions, tolerance: f64) -> f64 {
    let all = scatter(x);
    let starts = std::iter::once(0).chain(points.iter().copied());
    let ends = points.iter().copied().chain([x.len()]);
    let squares = starts.zip(ends).map(|(start, end)| match options.cost {
        Cost::Mean => all,
        // n·ln(squares/n + floor), derived by the squares.
        Cost::MeanVariance => {
            let part = &x[start..end];
            all / (scatter(part) / part.len() as f64 + FLOOR * all / x.len() as f64)
        }
    });
    tolerance * squares.sum::<f64>()
}

fn segment(part: &[f64], x: &[f64], price: &Price) -> f64 {
    let length = part.len() as f64;
    let whole = x.len() as f64;
    let own = match price.cost {
        Cost::Mean => scatter(part),
        Cost::MeanVariance => {
            let variance = scatter(part) / length + FLOOR * scatter(x) / whole;
            length * (variance.ln() + (2.0 * std::f64::consts::PI).ln() + 1.0)
        }
    };
    own + price.weight * (length / whole).ln()
}

/// Optimal partitioning: every start for every end, nothing forgotten.
pub(super) fn optimal(x: &[f64], options: &PeltOptions) -> Vec<usize> {
    let price = price(x, options);
    let mut best = vec![(f64::INFINITY, 0); x.len() + 1];
    best[0] = (-price.penalty, 0);
    for end in options.min_segment..=x.len() {
        for start in 0..=end - options.min_segment {
            let cost = best[start].0 + segment(&x[start..end], x, &price) + price.penalty;
            if cost <= best[end].0 {
                best[end] = (cost, start);
            }
        }
    }
    let (mut points, mut end) = (Vec::new(), best[x.len()].1);
    while end > 0 {
        points.insert(0, end);
        end = best[end].1;
    }
    points
}

/// The sums at `t` when both were 0 before `since`: the largest sum of any run that ends at t.
pub(super) fn sums(x: &[f64], since: usize, t: usize, options: &CusumOptions) -> (f64, f64) {
    let side = |sign: f64| {
        let excess =
            |value: &f64| sign * (value - options.target) / options.deviation - options.allowance;
        (since..=t).map(|from| x[from..=t].iter().map(excess).sum::<f64>()).fold(0.0, f64::max)
    };
    (side(1.0), side(-1.0))
}
