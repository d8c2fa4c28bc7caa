//! Where what is foretold lies in four cases of five, by what was foretold wrongly before: split conformal prediction (Papadopoulos et al.
//! 2002), each end by itself (Romano, Patterson and Candès 2019, theorem 2), and for each last activity by itself where it was often
//! seen (Vovk 2012).

use std::collections::HashMap;

/// Part of the cases that the interval is to hold.
pub const CONFIDENCE: f64 = 0.8;
/// Times that an activity must have been the last to have an interval of its own.
const OWN_LEAST: usize = 50;
const SECOND_US: f64 = 1e6;

/// How far below and above what is foretold the truth lies, in logarithms.
#[derive(Clone, Debug, PartialEq)]
pub struct Band {
    unit_us: f64,
    all: (f64, f64),
    own: HashMap<u32, (f64, f64)>,
}

impl Band {
    /// Of the last activity's class, the truth and what was foretold, of cases that were not learned from. None where they are too few.
    pub fn of(foretold: &[(u32, i64, f64)]) -> Option<Self> {
        let mut truths: Vec<i64> = foretold.iter().map(|of| of.1).collect();
        let half = truths.len() / 2;
        let median = if truths.is_empty() { 0 } else { *truths.select_nth_unstable(half).1 };
        let unit_us = (median as f64).max(SECOND_US);
        let mut all = Vec::with_capacity(foretold.len());
        let mut own: HashMap<u32, Vec<f64>> = HashMap::new();
        for (last, truth_us, said_us) in foretold {
            let error = scaled(*truth_us as f64, unit_us) - scaled(*said_us, unit_us);
            all.push(error);
            own.entry(*last).or_default().push(error);
        }
        let all = ends(&mut all)?;
        let own = own.into_iter().filter(|(_, errors)| errors.len() >= OWN_LEAST);
        let own = own.filter_map(|(last, mut errors)| Some((last, ends(&mut errors)?))).collect();
        Some(Self { unit_us, all, own })
    }

    /// The least and the most, around what is foretold; never below zero.
    pub fn around(&self, last: u32, said_us: f64) -> (f64, f64) {
        let (below, above) = self.own.get(&last).unwrap_or(&self.all);
        let said = scaled(said_us, self.unit_us);
        let of = |error: f64| (said + error).exp_m1() * self.unit_us;
        (of(*below).clamp(0.0, said_us.max(0.0)), of(*above).max(said_us))
    }
}

fn scaled(of_us: f64, unit_us: f64) -> f64 {
    (of_us.max(0.0) / unit_us).ln_1p()
}

/// The errors that one more is below in at most a tenth, and above in at most a tenth.
fn ends(errors: &mut [f64]) -> Option<(f64, f64)> {
    errors.sort_by(f64::total_cmp);
    let side = (1.0 - CONFIDENCE) / 2.0;
    let rank = (side * (errors.len() + 1) as f64 + 1e-9).floor() as usize;
    let below = errors.get(rank.checked_sub(1)?)?;
    let above = errors.get(errors.len() - rank)?;
    Some((*below, *above))
}
