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
    use crate::correlate::{LagOptions, Lagged, Pairing, Pairs, Summary, Taker};
    use crate::error::Result;
    use crate::execution::Execution;
    use crate::rolling::{RollingOptions, RollingOutput};
    use crate::stats::Stats;
    use crate::view::MatrixView;

    /// What differs between the two types inside the crate.
    ///
    /// The operations are here so that their code is made in this crate, which is always optimised, and
    /// not in whatever crate calls them.
    pub trait Kernels: Copy {
        /// See [`crate::correlate::correlate`].
        fn correlate(
            x: MatrixView<'_, Self>,
            y: MatrixView<'_, Self>,
            pairing: Pairing,
            sink: &mut dyn Taker,
            execution: &Execution,
        ) -> Result<Summary>;

        /// See [`crate::correlate::correlate_lagged`].
        fn correlate_lagged(
            x: MatrixView<'_, Self>,
            pairs: Pairs<'_>,
            options: &LagOptions,
            execution: &Execution,
        ) -> Result<Lagged>;

        /// See [`crate::rolling::rolling`].
        fn rolling(
            x: MatrixView<'_, Self>,
            options: &RollingOptions,
            outputs: &mut [RollingOutput<'_, Self>],
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
            fn correlate(
                x: MatrixView<'_, Self>,
                y: MatrixView<'_, Self>,
                pairing: Pairing,
                sink: &mut dyn Taker,
                execution: &Execution,
            ) -> Result<Summary> {
                crate::correlate::run(x, y, pairing, sink, execution)
            }

            fn correlate_lagged(
                x: MatrixView<'_, Self>,
                pairs: Pairs<'_>,
                options: &LagOptions,
                execution: &Execution,
            ) -> Result<Lagged> {
                crate::correlate::run_lagged(x, pairs, options, execution)
            }

            fn rolling(
                x: MatrixView<'_, Self>,
                options: &RollingOptions,
                outputs: &mut [RollingOutput<'_, Self>],
                execution: &Execution,
            ) -> Result<Stats> {
                crate::rolling::run(x, options, outputs, execution)
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
