//! Series that are nothing most of the time.

/// Share of values that are 0 from which on a series is one of them.
const ZEROS_MIN: f64 = 0.5;
/// How fast the chance and the size follow what is seen.
const ALPHA: f64 = 0.1;

/// What is expected of each of the next values, by the method of Teunter, Syntetos and Babai: the chance that there is one, which every
/// value tells, times its size, which those that are there tell. `None` where it is not one for it.
pub(super) fn mean(values: &[f64]) -> Option<f64> {
    let known = || values.iter().copied().filter(|value| value.is_finite());
    let (count, zeros) = (known().count(), known().filter(|value| *value == 0.0).count());
    let is_for_it = known().all(|value| value >= 0.0)
        && zeros as f64 >= ZEROS_MIN * count as f64
        && zeros < count;
    if !is_for_it {
        return None;
    }
    let mut chance = (count - zeros) as f64 / count as f64;
    let mut size = known().sum::<f64>() / (count - zeros) as f64;
    for value in known() {
        let is_there = f64::from(u8::from(value > 0.0));
        chance += ALPHA * (is_there - chance);
        if value > 0.0 {
            size += ALPHA * (value - size);
        }
    }
    Some(chance * size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chance_times_the_size_is_expected() {
        // One in four, of size 8, from each place on.
        let values: Vec<f64> = (0..400).map(|at| if at % 4 == 0 { 8.0 } else { 0.0 }).collect();
        let found: Vec<f64> = (0..4).filter_map(|less| mean(&values[..400 - less])).collect();
        assert!((found.iter().sum::<f64>() - 8.0).abs() < 0.2, "{found:?}");
    }

    #[test]
    fn what_comes_to_nothing_is_expected_to_be_nothing() {
        let mut values: Vec<f64> = (0..100).map(|at| f64::from(at % 2)).collect();
        values.extend([0.0; 60]);
        assert!(mean(&values).is_some_and(|found| found < 0.01));
    }

    #[test]
    fn it_is_not_for_series_without_zeros_or_below_them() {
        assert_eq!(mean(&[1.0, 2.0, 3.0]), None);
        assert_eq!(mean(&[0.0, 0.0, -3.0]), None);
        assert_eq!(mean(&[0.0, 0.0]), None);
    }
}
