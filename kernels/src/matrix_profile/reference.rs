//! The definition, pair by pair, in f64. Slow and obviously right.

/// A window as it is compared.
struct Window {
    /// Whether all values are finite.
    is_finite: bool,
    is_constant: bool,
    /// With mean 0 and variance 1, where it is finite and not constant.
    normalised: Vec<f64>,
}

impl Window {
    fn new(values: &[f64]) -> Self {
        Self {
            is_finite: values.iter().all(|value| value.is_finite()),
            is_constant: values.iter().all(|value| *value == values[0]),
            normalised: normalised(values),
        }
    }

    fn distance(&self, other: &Self) -> f64 {
        if !self.is_finite || !other.is_finite {
            return f64::INFINITY;
        }
        match (self.is_constant, other.is_constant) {
            (true, true) => 0.0,
            (false, false) => {
                let pairs = self.normalised.iter().zip(&other.normalised);
                pairs.map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
            }
            _ => (self.normalised.len() as f64).sqrt(),
        }
    }
}

fn normalised(window: &[f64]) -> Vec<f64> {
    let count = window.len() as f64;
    let mean = window.iter().sum::<f64>() / count;
    let mean = mean + window.iter().map(|value| value - mean).sum::<f64>() / count;
    let variance = window.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    window.iter().map(|value| (value - mean) / variance.sqrt()).collect()
}

/// The z-normalised Euclidean distance of two windows.
pub(super) fn distance(a: &[f64], b: &[f64]) -> f64 {
    Window::new(a).distance(&Window::new(b))
}

/// The distance of every window of `a` to the nearest of those of `b` that `compared` allows.
pub(super) fn profile(
    a: &[f64],
    b: &[f64],
    window: usize,
    compared: impl Fn(usize, usize) -> bool,
) -> Vec<f64> {
    let [a, b] = [a, b].map(|x| x.windows(window).map(Window::new).collect::<Vec<_>>());
    let nearest = |(i, left): (usize, &Window)| {
        let others = b.iter().enumerate().filter(|&(j, _)| compared(i, j));
        others.map(|(_, right)| left.distance(right)).fold(f64::INFINITY, f64::min)
    };
    a.iter().enumerate().map(nearest).collect()
}
