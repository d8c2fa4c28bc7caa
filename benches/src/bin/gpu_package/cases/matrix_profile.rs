//! The nearest window of each window of a series.

use kernels::matrix_profile::{ProfileOptions, SelfJoin, matrix_profile};
use kernels::{Execution, Result, tolerance};

use super::{Case, Round};
use crate::agreement::{Agreement, spread};
use crate::data::{each, shrunk, uniform};

const WINDOW: usize = 256;
/// Windows that begin at most this far apart are not compared.
const ZONE: usize = WINDOW / 4;
/// Windows that are compared.
const SAMPLE: usize = 20;

struct Profile {
    values: Vec<f32>,
    found: Option<SelfJoin>,
}

pub fn make(scale: usize) -> Box<dyn Case> {
    let (samples, _) = shrunk(1_000_000, 2_000, scale);
    Box::new(Profile { values: uniform(samples), found: None })
}

/// A window around its mean, by its length.
struct Shape {
    mean: f64,
    norm: f64,
}

impl Profile {
    fn window(&self, first: usize) -> &[f32] {
        &self.values[first..first + WINDOW]
    }

    fn shape(&self, first: usize) -> Shape {
        let window = self.window(first).iter().map(|value| f64::from(*value));
        let mean = window.clone().sum::<f64>() / WINDOW as f64;
        let norm = window.map(|value| (value - mean) * (value - mean)).sum::<f64>().sqrt();
        Shape { mean, norm }
    }

    /// 1 - the correlation of two windows: half of the square of the distance of their shapes, which keeps its digits
    /// where they are alike.
    fn unlike(&self, shapes: &[Shape], first: usize, other: usize) -> f64 {
        let (a, b) = (&shapes[first], &shapes[other]);
        let values = self.window(first).iter().zip(self.window(other));
        let difference = |(x, y): (&f32, &f32)| {
            (f64::from(*x) - a.mean) / a.norm - (f64::from(*y) - b.mean) / b.norm
        };
        0.5 * values.map(difference).map(|by| by * by).sum::<f64>()
    }
}

impl Case for Profile {
    fn size(&self) -> String {
        format!("{}, window {WINDOW}", self.values.len())
    }

    fn run(&mut self, execution: &Execution) -> Result<Round> {
        self.found = None;
        let found = matrix_profile(&self.values, &ProfileOptions::window(WINDOW), execution)?;
        let (stats, windows) = (found.stats.clone(), found.profile.len());
        self.found = Some(found);
        Ok(Round::of(stats).with_fallbacks_of(2 * windows as u64, "neighbours, before and after"))
    }

    fn compare(&self) -> Result<Agreement> {
        let what =
            format!("{SAMPLE} windows with every other, in f64; relative to the root of {WINDOW}");
        let mut agreement = Agreement::new(what, tolerance::MATRIX_PROFILE_DISTANCE);
        let Some(found) = &self.found else {
            return Ok(agreement);
        };
        let all: Vec<usize> = (0..=self.values.len() - WINDOW).collect();
        let shapes = each(&all, |first| self.shape(first));
        let norms = || shapes.iter().map(|shape| shape.norm);
        let ratio = norms().fold(0.0, f64::max) / norms().fold(f64::INFINITY, f64::min);
        // Of two that are nearer in rank than this, either may be picked.
        let pick = tolerance::MATRIX_PROFILE * ratio * ratio;
        let sample = spread(all.len(), SAMPLE);
        let nearest = each(&sample, |first| {
            let others = all.iter().filter(|other| other.abs_diff(first) > ZONE);
            others.map(|&other| self.unlike(&shapes, first, other)).fold(f64::INFINITY, f64::min)
        });
        for (&first, nearest) in sample.iter().zip(nearest) {
            let Some(other) = found.profile.neighbour(first) else {
                agreement.require(false, || format!("window {first} has no neighbour"));
                continue;
            };
            agreement.require(other.abs_diff(first) > ZONE, || format!("{first} met {other}"));
            let unlike = self.unlike(&shapes, first, other);
            agreement.require(unlike - nearest <= pick, || {
                format!("window {first} has {other}, off {unlike}; there is one off {nearest}")
            });
            let distance = found.profile.distances()[first];
            // √(2m · unlike), over √m.
            let by = distance / (WINDOW as f64).sqrt() - (2.0 * unlike).sqrt();
            agreement.differ(by.abs(), || format!("window {first}: {distance} to {other}"));
        }
        Ok(agreement)
    }
}
