//! From which size on a device is faster than the processor.
//!
//! Opening a device, loading its code and copying an input cost about the same whatever the size; below some
//! amount of work the processor is done before the device has begun. `gpu = preferred` decides by this table.

/// For each operation the least work for which `gpu = preferred` takes a device. Every field is public, so that
/// a caller who has measured better can say so; 0 sends everything to the device.
///
/// ```
/// use kernels::{Crossover, Execution};
///
/// let crossover = Crossover { rolling: 1e6, ..Crossover::default() };
/// let execution = Execution { crossover, ..Execution::default() };
/// assert_eq!(execution.crossover.rolling, 1e6);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Crossover {
    /// Multiply-adds: pairs × samples.
    pub correlate: f64,
    /// Multiply-adds: pairs × samples × lags.
    pub correlate_lagged: f64,
    /// Values × statistics.
    pub rolling: f64,
    /// Multiply-adds: pairs × dimensions.
    pub nearest: f64,
    /// Multiply-adds: rows × clusters × dimensions × iterations.
    pub kmeans: f64,
    /// Series × samples × candidate models.
    pub forecast: f64,
    /// Cells of the distance matrix.
    pub matrix_profile: f64,
    /// Shingles × hash functions.
    pub minhash: f64,
    /// Rows × trees.
    pub isolation_forest: f64,
}

impl Default for Crossover {
    /// The first step of `colonnade-gpu-package --only crossover` from which on an H100 saved 10 ms or more beside 16 cores
    /// (`benches/RESULTS.md`): less is not worth the 0.3 s in which a device is opened the first time. `correlate` saved nothing up to the
    /// last step, 1.6e11; where it begins to is not known.
    fn default() -> Self {
        Self {
            correlate: 2e11,
            correlate_lagged: 2.5e9,
            rolling: 2.5e7,
            nearest: 1e10,
            kmeans: 1e10,
            forecast: 1e7,
            matrix_profile: 2.5e8,
            minhash: 1.6e10,
            isolation_forest: 2.5e7,
        }
    }
}

/// Where an operation can run, and what `gpu = preferred` makes of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OperationFacts {
    /// Its name.
    pub name: &'static str,
    /// From how much work on a CUDA device is taken, and what that is counted in; none where there is no CUDA path.
    pub device_from: Option<(f64, &'static str)>,
}

impl Crossover {
    /// Every operation of the crate.
    pub fn operations(&self) -> Vec<OperationFacts> {
        let on_device =
            |name, least, unit| OperationFacts { name, device_from: Some((least, unit)) };
        let on_cpu = |name| OperationFacts { name, device_from: None };
        vec![
            on_device("correlate", self.correlate, "multiply-adds"),
            on_device("correlate_lagged", self.correlate_lagged, "multiply-adds"),
            on_device("nearest", self.nearest, "multiply-adds"),
            on_device("rolling", self.rolling, "values"),
            on_device("forecast", self.forecast, "series x samples x models"),
            on_device("matrix_profile", self.matrix_profile, "cells"),
            on_device("minhash", self.minhash, "hashes"),
            on_device("kmeans", self.kmeans, "multiply-adds"),
            on_device("isolation_forest", self.isolation_forest, "rows x trees"),
            on_cpu("ivf"),
            on_cpu("components"),
            on_cpu("changepoint"),
            on_cpu("spectrum"),
        ]
    }
}

/// How much an operation has to do, and from where on a device is worth it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    /// How much.
    pub(crate) amount: f64,
    /// Of what.
    pub(crate) unit: &'static str,
    /// The operation's field of [`Crossover`].
    pub(crate) least: f64,
}

impl Work {
    /// Why the processor is faster, if it is.
    pub(crate) fn too_little(&self) -> Option<String> {
        (self.amount < self.least).then(|| {
            format!(
                "{:.1e} {} are fewer than the {:.1e} from which a device is faster",
                self.amount, self.unit, self.least
            )
        })
    }
}
