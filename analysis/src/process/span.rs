//! How long something takes that happens often.

/// Lengths of time of one thing, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spans {
    /// How many there are.
    pub count: u64,
    /// All of them together.
    pub sum_us: i128,
    /// The middle one, between two the mean of both.
    pub median_us: f64,
    /// The 95th percentile, linear between neighbours.
    pub p95_us: f64,
    /// The shortest.
    pub least_us: i64,
    /// The longest.
    pub most_us: i64,
}

impl Spans {
    /// Of these, in any order.
    pub fn of(lengths_us: &mut [i64]) -> Self {
        lengths_us.sort_unstable();
        let (Some(&least_us), Some(&most_us)) = (lengths_us.first(), lengths_us.last()) else {
            return Self::default();
        };
        Self {
            count: lengths_us.len() as u64,
            sum_us: lengths_us.iter().map(|&length| i128::from(length)).sum(),
            median_us: quantile(lengths_us, 0.5),
            p95_us: quantile(lengths_us, 0.95),
            least_us,
            most_us,
        }
    }

    /// Their mean; 0 of none.
    pub fn mean_us(&self) -> f64 {
        self.sum_us as f64 / self.count.max(1) as f64
    }
}

/// Of sorted values, linear between neighbours.
fn quantile(sorted: &[i64], q: f64) -> f64 {
    let position = q * (sorted.len().saturating_sub(1)) as f64;
    let (below, share) = (position.floor() as usize, position.fract());
    let at = |place: usize| sorted.get(place).map_or(0.0, |&value| value as f64);
    if share == 0.0 { at(below) } else { at(below) * (1.0 - share) + at(below + 1) * share }
}
