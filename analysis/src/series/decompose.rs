//! A series without its seasons.

use stlrs::Mstl;

/// A series taken apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decomposed {
    /// Without its seasons; NaN where no value is.
    pub adjusted: Vec<f64>,
    /// By season, what it adds to each value; none where it could not be learnt.
    pub seasonal: Vec<Vec<f64>>,
}

impl Decomposed {
    /// Takes `seasons` out of `values`, of which the first is there (MSTL: Bandara, Hyndman & Bergmeir, 2021).
    pub fn of(values: &[f64], seasons: &[usize]) -> Self {
        let whole = || Self { adjusted: values.to_vec(), seasonal: Vec::new() };
        if seasons.is_empty() {
            return whole();
        }
        let Ok(found) = Mstl::fit(&filled(values), seasons) else { return whole() };
        let mut adjusted = values.to_vec();
        for part in found.seasonal() {
            adjusted.iter_mut().zip(part).for_each(|(value, part)| *value -= part);
        }
        Self { adjusted, seasonal: found.seasonal().to_vec() }
    }
}

/// A line between neighbours where a value is missing, and the last one where none follows. The first is there.
pub fn filled(values: &[f64]) -> Vec<f64> {
    let mut filled = values.to_vec();
    let mut last = 0;
    for at in 1..filled.len() {
        if filled[at].is_nan() {
            continue;
        }
        let (from, to, gap) = (filled[last], filled[at], (at - last) as f64);
        for (offset, value) in filled[last + 1..at].iter_mut().enumerate() {
            *value = from + (to - from) * ((offset + 1) as f64 / gap);
        }
        last = at;
    }
    let tail = filled.get(last).copied().unwrap_or(f64::NAN);
    filled.iter_mut().skip(last + 1).for_each(|value| *value = tail);
    filled
}
