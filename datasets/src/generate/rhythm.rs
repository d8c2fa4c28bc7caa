//! When things happen: more by day than by night, less at weekends.

use super::START_US;

/// Microseconds in an hour.
pub(super) const HOUR_US: i64 = 3_600_000_000;

/// Spreads `count` instants over hours of different weight, in order.
pub(super) struct Rhythm {
    /// `starts[h]` is the share of instants before hour h; one more entry than hours.
    starts: Vec<f64>,
    count: u64,
    hour: usize,
}

impl Rhythm {
    /// `hours` of the working rhythm, times what `factor` says of each.
    pub(super) fn new(hours: usize, count: u64, factor: impl Fn(usize) -> f64) -> Self {
        let mut starts = vec![0.0];
        let mut sum = 0.0;
        for hour in 0..hours {
            sum += working_weight(hour) * factor(hour);
            starts.push(sum);
        }
        starts.iter_mut().for_each(|share| *share /= sum);
        Self { starts, count, hour: 0 }
    }

    /// The instant of row `row`, where `unit` (in [0, 1)) places it in its own slice. Rows must be asked for
    /// in order.
    pub(super) fn at_us(&mut self, row: u64, unit: f64) -> i64 {
        let share = (row as f64 + unit) / self.count as f64;
        while self.hour + 2 < self.starts.len() && self.starts[self.hour + 1] <= share {
            self.hour += 1;
        }
        let (low, high) = (self.starts[self.hour], self.starts[self.hour + 1]);
        let within = ((share - low) / (high - low)).clamp(0.0, 1.0);
        START_US + self.hour as i64 * HOUR_US + (within * (HOUR_US - 1) as f64) as i64
    }
}

/// Weight of an hour since [`START_US`], a Thursday's midnight in UTC.
fn working_weight(hour: usize) -> f64 {
    let of_day = (hour % 24) as f64;
    let day = 1.15 - (std::f64::consts::TAU * (of_day - 2.0) / 24.0).cos();
    let weekend = matches!((hour / 24 + 4) % 7, 0 | 6);
    day * if weekend { 0.45 } else { 1.0 }
}
