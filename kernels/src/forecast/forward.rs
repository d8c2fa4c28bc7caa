//! A fitted model goes on through more of its series.

use super::cpu::Point;
use super::predict::Track;
use super::result::{Model, SeriesForecast, Status};
use super::search::Smoothing;

impl SeriesForecast {
    /// What comes in the `horizon` samples after the last of `samples`, which are those that this was fitted to, and any that came
    /// since. States follow them and nothing is estimated anew: of the samples that it was fitted to alone this is its forecast.
    ///
    /// `None` where no model of exponential smoothing was fitted, and where errors or seasons multiply and a sample is not above 0.
    pub fn after(&self, samples: &[f64], horizon: usize) -> Option<Vec<f64>> {
        let Model::Ets(model) = self.model else { return None };
        if self.status != Status::Fitted {
            return None;
        }
        let first = samples.iter().position(|sample| sample.is_finite())?;
        let or = |value: f64, without: f64| if value.is_nan() { without } else { value };
        let of = &self.parameters;
        let point = Point {
            smoothing: Smoothing {
                alpha: of.alpha,
                beta: or(of.beta, 0.0),
                gamma: or(of.gamma, 0.0),
                phi: or(of.phi, 1.0),
            },
            level: self.initial.level,
            trend: self.initial.trend,
            season: self.initial.season.clone(),
        };
        let mut track = Track::begin(model, point);
        for &sample in &samples[first..] {
            if model.needs_positive() && sample <= 0.0 {
                return None;
            }
            track.see(if sample.is_finite() { sample } else { f64::NAN });
        }
        let mut mean = vec![0.0; horizon];
        track.mean(&mut mean);
        Some(mean)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::reference;
    use super::super::*;
    use crate::device::GpuPolicy;
    use crate::testing::generator;
    use rand::Rng;

    fn fitted(series: &[f64], model: Ets) -> Forecasts {
        let execution = Execution { gpu: GpuPolicy::Off, ..Execution::default() };
        let method = Method::Ets(model);
        let options = ForecastOptions { method, season: 4, horizon: 9, ..Default::default() };
        forecast(MatrixView::new(series, 1, series.len()).unwrap(), &options, &execution).unwrap()
    }

    #[test]
    fn every_model_goes_on_as_its_recursion_says() {
        let mut random = generator("goes_on");
        let mut series: Vec<f64> = (0..80_u32)
            .map(|at| {
                20.0 + 0.1 * f64::from(at)
                    + [3.0, -1.0, -2.0, 0.5][at as usize % 4]
                    + random.random::<f64>()
            })
            .collect();
        (series[0], series[17], series[70]) = (f64::NAN, f64::NAN, f64::INFINITY);
        for model in Ets::all() {
            let known = fitted(&series[..60], model);
            let one = &known.series[0];
            // Of what it knows it says what it said, to the bit.
            assert_eq!(one.after(&series[..60], 9).unwrap(), known.mean(0), "{model}");
            assert_eq!(one.after(&series[1..60], 9).unwrap(), known.mean(0), "{model}");
            let run = reference::run(&series[1..], model, &one.parameters, &one.initial);
            let expected = reference::ahead(model, &one.parameters, &run, 9);
            for (value, expected) in one.after(&series, 9).unwrap().iter().zip(expected) {
                assert!((value / expected - 1.0).abs() < 1e-9, "{model}: {value} {expected}");
            }
        }
    }

    #[test]
    fn what_no_model_can_go_on_from_is_said_to_be_none() {
        let series: Vec<f64> = (0..20).map(|at| 5.0 + f64::from(at % 3)).collect();
        let relative = Ets { error: Errors::Multiplicative, ..Ets::SIMPLE };
        let known = fitted(&series, relative);
        let with = |last: f64| [&series[..], &[last]].concat();
        assert!(known.series[0].after(&with(0.001), 1).is_some());
        assert_eq!(known.series[0].after(&with(0.0), 1), None);
        assert!(fitted(&series, Ets::SIMPLE).series[0].after(&with(0.0), 1).is_some());
        assert_eq!(known.series[0].after(&[f64::NAN; 3], 1), None);
        assert_eq!(known.series[0].after(&[], 1), None);
        let constant = fitted(&[1.0; 20], Ets::SIMPLE);
        assert_eq!(constant.series[0].after(&[1.0; 21], 1), None);
        let theta = ForecastOptions { method: Method::Theta, ..Default::default() };
        let execution = Execution { gpu: GpuPolicy::Off, ..Execution::default() };
        let theta = forecast(MatrixView::new(&series, 1, 20).unwrap(), &theta, &execution).unwrap();
        assert_eq!(theta.series[0].after(&series, 1), None);
    }
}
