//! How far the mean of a window strays from a reference if nothing changes, whatever the autocorrelation.
//!
//! ```text
//!   A(l) = ½ · mean of (mean of a block of l − mean of the next block)²       Allan's variance, l = 1, 2, 4, …
//!   Var(mean of L − mean of a span of H around it) = Σ ½ · A(l),  l = L, 2L, … < H
//! ```
//!
//! The sum splits the distance into independent steps, from a block to twice its length (Percival and Guttorp, "Long-memory
//! processes, the Allan variance and wavelets", 1994). A(l) falls like 1/l in white noise, is flat in 1/f noise and grows like l in
//! a random walk. Scales beyond the reference follow from the slope of the last ones, one standard error steeper. Large
//! scales have few degrees of freedom, so a drifting series needs a very large distance.

/// The last scales, from which A is extrapolated.
const SLOPE_SCALES: usize = 4;
/// Doublings beyond the reference that are known.
const SCALES_MORE: usize = 24;
/// Degrees of freedom of overlapping blocks, for each block of the reference.
const FREEDOM_PART: f64 = 0.75;
/// A of a scale is at least this: scores vary by about 1.
const VARIANCE_MIN: f64 = 1e-12;

/// Variances of block means at lengths 1, 2, 4, …
pub(super) struct Scales {
    allan: Vec<f64>,
    freedom: Vec<f64>,
}

impl Scales {
    /// Of the values of a reference, four or more.
    pub(super) fn of(reference: &[f64]) -> Self {
        let count = reference.len();
        let sums = sums(reference);
        let cap = (crossings(reference) as f64 / 2.0).max(1.0);
        let (mut allan, mut freedom) = (Vec::new(), Vec::new());
        let mut length = 1;
        while 2 * length <= count {
            let pairs = 0..count - 2 * length + 1;
            let all = pairs.len() as f64;
            let square = |at: usize| {
                let step = sums[at + 2 * length] - 2.0 * sums[at + length] + sums[at];
                (step / length as f64).powi(2)
            };
            allan.push((0.5 * pairs.map(square).sum::<f64>() / all).max(VARIANCE_MIN));
            let blocks = count as f64 / length as f64 - 1.0;
            freedom.push((FREEDOM_PART * blocks).min(cap).max(1.0));
            length *= 2;
        }
        let mut scales = Self { allan, freedom };
        scales.extrapolate();
        scales
    }

    /// Raises the last scales to the line through them, and extrapolates along it.
    fn extrapolate(&mut self) {
        let known = self.allan.len();
        let first = known.saturating_sub(SLOPE_SCALES);
        let last = || {
            let all = self.allan.iter().zip(&self.freedom).enumerate().skip(first);
            all.map(|(scale, (allan, freedom))| (scale as f64, allan.log2(), *freedom))
        };
        let weight: f64 = last().map(|(_, _, weight)| weight).sum();
        let centre = last().map(|(scale, _, weight)| weight * scale).sum::<f64>() / weight;
        let height = last().map(|(_, log, weight)| weight * log).sum::<f64>() / weight;
        let square: f64 = last().map(|(scale, _, weight)| weight * (scale - centre).powi(2)).sum();
        let slope = match square > 0.0 {
            true => {
                let both =
                    last().map(|(scale, log, weight)| weight * (scale - centre) * (log - height));
                let error = (2.0 / std::f64::consts::LN_2.powi(2) / square).sqrt();
                (both.sum::<f64>() / square + error).clamp(-1.0, 2.0)
            }
            false => 0.0,
        };
        let line = |scale: usize| (height + slope * (scale as f64 - centre)).exp2();
        let above = self.allan.iter_mut().enumerate().filter(|(scale, _)| *scale as f64 > centre);
        above.for_each(|(scale, allan)| *allan = allan.max(line(scale)));
        let (end, freedom) = (self.allan[known - 1], self.freedom[known - 1]);
        for scale in known..known + SCALES_MORE {
            let onwards = end * (slope * (scale + 1 - known) as f64).exp2();
            self.allan.push(line(scale).max(onwards));
            self.freedom.push(freedom);
        }
    }

    /// The variance of the mean of `length` values, a power of two, about that of a span of `span`, and its degrees of freedom
    /// by Satterthwaite.
    pub(super) fn of_mean(&self, length: usize, span: usize) -> (f64, f64) {
        let (mut variance, mut squares) = (0.0, 0.0);
        let mut scale = length.ilog2() as usize;
        let mut reach = length;
        while reach < span && scale < self.allan.len() {
            let part = self.allan[scale] / 2.0;
            variance += part;
            squares += part * part / self.freedom[scale];
            scale += 1;
            reach = reach.saturating_mul(2);
        }
        (variance, (variance * variance / squares).max(1.0))
    }
}

/// Sums of the values before each place.
pub(super) fn sums(values: &[f64]) -> Vec<f64> {
    let mut sum = 0.0;
    let before = values.iter().map(|value| {
        sum += value;
        sum
    });
    std::iter::once(0.0).chain(before).collect()
}

/// Times that the values cross their median.
fn crossings(values: &[f64]) -> usize {
    let Some(middle) = crate::series::median(&mut values.to_vec()) else { return 0 };
    values.windows(2).filter(|pair| (pair[0] > middle) != (pair[1] > middle)).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Noise;

    #[test]
    fn the_variance_of_means_is_that_of_the_process() {
        let (mut white, mut walk) = (Vec::new(), Vec::new());
        let mut noise = Noise::new(1);
        let mut sum = 0.0;
        for _ in 0..4_096 {
            white.push(noise.normal());
            sum += noise.normal();
            walk.push(sum);
        }
        let (variance, freedom) = Scales::of(&white).of_mean(16, 4_096);
        assert!((variance - 1.0 / 16.0).abs() < 0.01, "{variance}");
        assert!(freedom > 60.0, "{freedom}");
        let (variance, freedom) = Scales::of(&walk).of_mean(16, 4_096);
        assert!(variance > 200.0, "{variance}");
        assert!(freedom < 8.0, "{freedom}");
    }

    #[test]
    fn what_lies_beyond_the_reference_is_no_less_certain() {
        let mut noise = Noise::new(2);
        let white: Vec<f64> = (0..300).map(|_| noise.normal()).collect();
        let scales = Scales::of(&white);
        let of = |span: usize| scales.of_mean(16, span).0;
        assert!(of(300) < of(1_200) && of(1_200) < of(1 << 20));
        assert!(of(1 << 20) < 2.0 * of(300));
    }
}
