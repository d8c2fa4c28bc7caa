//! The two number types that series come in.

use crate::product::MicroKernel;

/// A value of a series: `f32` or `f64`.
///
/// Sealed, because every operation has its own precision argument for exactly these two.
pub trait Element:
    sealed::Kernels
    + bytemuck::Pod
    + Send
    + Sync
    + PartialOrd
    + Default
    + std::fmt::Debug
    + std::fmt::Display
{
    /// Name of the type, as CUDA sources and messages spell it.
    const NAME: &'static str;
    /// Not a number.
    const NAN: Self;

    /// Widens without loss.
    fn to_f64(self) -> f64;

    /// Rounds to the nearest.
    fn from_f64(value: f64) -> Self;
}

impl Element for f32 {
    const NAME: &'static str = "float";
    const NAN: Self = f32::NAN;

    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value as Self
    }
}

impl Element for f64 {
    const NAME: &'static str = "double";
    const NAN: Self = f64::NAN;

    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }

    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value
    }
}

pub(crate) mod sealed {
    use super::MicroKernel;
    use crate::changepoint::{Changes, PeltOptions};
    use crate::correlate::{CorrelateOptions, LagOptions, Lagged, Pairing, Pairs, Summary, Taker};
    use crate::error::Result;
    use crate::execution::Execution;
    use crate::forecast::{ForecastOptions, Forecasts};
    use crate::isolation_forest::{Forest, ForestOptions, Scores};
    use crate::kmeans::{Clustering, KMeansOptions};
    use crate::matrix_profile::{Found, ProfileOptions};
    use crate::nearest::{Codes, Nearest, PairSink, Search};
    use crate::rolling::{RollingOutput, Windows};
    use crate::spectrum::{Spectra, SpectrumOptions};
    use crate::stats::Stats;
    use crate::view::{MatrixView, MatrixViewMut};

    /// What differs between the two types inside the crate.
    ///
    /// The operations are here so that their code is made in this crate, which is always optimised, and
    /// not in whatever crate calls them.
    pub trait Kernels: Copy {
        /// See [`crate::changepoint::pelt`].
        fn pelt(
            x: MatrixView<'_, Self>,
            options: &PeltOptions,
            execution: &Execution,
        ) -> Result<Changes>;

        /// See [`crate::correlate::correlate`].
        fn correlate(
            x: MatrixView<'_, Self>,
            y: MatrixView<'_, Self>,
            pairing: Pairing,
            options: &CorrelateOptions,
            sink: &mut dyn Taker,
            execution: &Execution,
        ) -> Result<Summary>;

        /// See [`crate::correlate::correlate_lagged`].
        fn correlate_lagged(
            x: MatrixView<'_, Self>,
            y: Option<MatrixView<'_, Self>>,
            pairs: Pairs<'_>,
            options: &LagOptions,
            execution: &Execution,
        ) -> Result<Lagged>;

        /// See [`crate::nearest::nearest`].
        fn nearest(search: &Search<'_, Self>, k: usize, execution: &Execution) -> Result<Nearest>;

        /// See [`crate::nearest::join`].
        fn join(
            search: &Search<'_, Self>,
            threshold: f64,
            sink: &mut dyn PairSink,
            execution: &Execution,
        ) -> Result<crate::nearest::Summary>;

        /// See [`crate::nearest::Codes::of`].
        fn codes(search: &Search<'_, Self>, execution: &Execution) -> Result<Codes>;

        /// See [`crate::nearest::Codes::nearest`].
        fn nearest_by_codes(
            codes: &Codes,
            search: &Search<'_, Self>,
            k: usize,
            execution: &Execution,
        ) -> Result<Nearest>;

        /// See [`crate::kmeans::kmeans`].
        fn kmeans(
            x: MatrixView<'_, Self>,
            options: &KMeansOptions<'_>,
            execution: &Execution,
        ) -> Result<Clustering>;
        /// See [`crate::isolation_forest::Forest::fit`].
        fn fit_forest(
            x: MatrixView<'_, Self>,
            options: &ForestOptions,
            execution: &Execution,
        ) -> Result<Forest<Self>>;

        /// See [`crate::isolation_forest::Forest::score`].
        fn score_forest(
            forest: &Forest<Self>,
            x: MatrixView<'_, Self>,
            scores: &mut [f64],
            execution: &Execution,
        ) -> Result<Scores>;

        /// See [`crate::matrix_profile::matrix_profile`].
        fn matrix_profile(
            a: &[Self],
            b: Option<&[Self]>,
            options: &ProfileOptions,
            execution: &Execution,
        ) -> Result<Found>;

        /// See [`crate::rolling::rolling`] and [`crate::rolling::rolling_by_time`].
        fn rolling(
            x: MatrixView<'_, Self>,
            windows: Windows<'_>,
            outputs: &mut [RollingOutput<'_, Self>],
            execution: &Execution,
        ) -> Result<Stats>;

        /// See [`crate::forecast::forecast`].
        fn forecast(
            x: MatrixView<'_, Self>,
            options: &ForecastOptions,
            execution: &Execution,
        ) -> Result<Forecasts>;

        /// See [`crate::spectrum::spectrum`].
        fn spectrum(
            x: MatrixView<'_, Self>,
            options: &SpectrumOptions,
            execution: &Execution,
        ) -> Result<Spectra>;

        /// See [`crate::spectrum::periodogram`].
        fn periodogram(
            x: MatrixView<'_, Self>,
            options: &SpectrumOptions,
            power: &mut MatrixViewMut<'_, f64>,
            execution: &Execution,
        ) -> Result<Stats>;

        /// The fastest inner product block for the processor at hand.
        fn micro_kernel() -> MicroKernel<Self>;

        /// A key whose signed order is the order of the values; its `index_bits` low bits hold
        /// `index`. Not-finite values sort last. See `rolling::order` for what truncation costs.
        fn sort_key(self, index: usize, index_bits: u32) -> i64;

        /// Whether two keys can compare wrongly because `sort_key` dropped bits.
        const KEYS_ARE_TRUNCATED: bool;
    }

    /// The operations, made for one type.
    macro_rules! operations {
        () => {
            fn pelt(
                x: MatrixView<'_, Self>,
                options: &PeltOptions,
                execution: &Execution,
            ) -> Result<Changes> {
                crate::changepoint::run(x, options, execution)
            }

            fn correlate(
                x: MatrixView<'_, Self>,
                y: MatrixView<'_, Self>,
                pairing: Pairing,
                options: &CorrelateOptions,
                sink: &mut dyn Taker,
                execution: &Execution,
            ) -> Result<Summary> {
                crate::correlate::run(x, y, pairing, options, sink, execution)
            }

            fn correlate_lagged(
                x: MatrixView<'_, Self>,
                y: Option<MatrixView<'_, Self>>,
                pairs: Pairs<'_>,
                options: &LagOptions,
                execution: &Execution,
            ) -> Result<Lagged> {
                crate::correlate::run_lagged(x, y, pairs, options, execution)
            }

            fn nearest(
                search: &Search<'_, Self>,
                k: usize,
                execution: &Execution,
            ) -> Result<Nearest> {
                crate::nearest::run(search, k, execution)
            }

            fn join(
                search: &Search<'_, Self>,
                threshold: f64,
                sink: &mut dyn PairSink,
                execution: &Execution,
            ) -> Result<crate::nearest::Summary> {
                crate::nearest::run_join(search, threshold, sink, execution)
            }

            fn codes(search: &Search<'_, Self>, execution: &Execution) -> Result<Codes> {
                crate::nearest::code(search, execution)
            }

            fn nearest_by_codes(
                codes: &Codes,
                search: &Search<'_, Self>,
                k: usize,
                execution: &Execution,
            ) -> Result<Nearest> {
                crate::nearest::run_by_codes(codes, search, k, execution)
            }

            fn kmeans(
                x: MatrixView<'_, Self>,
                options: &KMeansOptions<'_>,
                execution: &Execution,
            ) -> Result<Clustering> {
                crate::kmeans::run(x, options, execution)
            }

            fn fit_forest(
                x: MatrixView<'_, Self>,
                options: &ForestOptions,
                execution: &Execution,
            ) -> Result<Forest<Self>> {
                crate::isolation_forest::fit(x, options, execution)
            }

            fn score_forest(
                forest: &Forest<Self>,
                x: MatrixView<'_, Self>,
                scores: &mut [f64],
                execution: &Execution,
            ) -> Result<Scores> {
                crate::isolation_forest::score(forest, x, scores, execution)
            }

            fn matrix_profile(
                a: &[Self],
                b: Option<&[Self]>,
                options: &ProfileOptions,
                execution: &Execution,
            ) -> Result<Found> {
                crate::matrix_profile::run(a, b, options, execution)
            }

            fn rolling(
                x: MatrixView<'_, Self>,
                windows: Windows<'_>,
                outputs: &mut [RollingOutput<'_, Self>],
                execution: &Execution,
            ) -> Result<Stats> {
                crate::rolling::run(x, windows, outputs, execution)
            }

            fn forecast(
                x: MatrixView<'_, Self>,
                options: &ForecastOptions,
                execution: &Execution,
            ) -> Result<Forecasts> {
                crate::forecast::run(x, options, execution)
            }

            fn spectrum(
                x: MatrixView<'_, Self>,
                options: &SpectrumOptions,
                execution: &Execution,
            ) -> Result<Spectra> {
                crate::spectrum::run(x, options, execution)
            }

            fn periodogram(
                x: MatrixView<'_, Self>,
                options: &SpectrumOptions,
                power: &mut MatrixViewMut<'_, f64>,
                execution: &Execution,
            ) -> Result<Stats> {
                crate::spectrum::run_periodogram(x, options, power, execution)
            }
        };
    }

    impl Kernels for f32 {
        operations!();

        fn micro_kernel() -> MicroKernel<Self> {
            crate::product::micro_kernel_f32()
        }

        #[inline(always)]
        fn sort_key(self, index: usize, _index_bits: u32) -> i64 {
            let bits = self.to_bits() as i32;
            let ordered = bits ^ (((bits >> 31) as u32) >> 1) as i32;
            let ordered = if self.is_finite() { ordered } else { i32::MAX };
            (i64::from(ordered) << 32) | index as i64
        }

        const KEYS_ARE_TRUNCATED: bool = false;
    }

    impl Kernels for f64 {
        operations!();

        fn micro_kernel() -> MicroKernel<Self> {
            crate::product::micro_kernel_f64()
        }

        #[inline(always)]
        fn sort_key(self, index: usize, index_bits: u32) -> i64 {
            let bits = self.to_bits() as i64;
            let ordered = bits ^ (((bits >> 63) as u64) >> 1) as i64;
            let ordered = if self.is_finite() { ordered } else { i64::MAX };
            (ordered & (-1i64 << index_bits)) | index as i64
        }

        const KEYS_ARE_TRUNCATED: bool = true;
    }
}
