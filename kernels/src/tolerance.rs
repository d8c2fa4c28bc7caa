//! How far a result may be from the one computed in f64 throughout. Every test and every document
//! takes its bound from here.

/// A Pearson coefficient of `f32` series, absolute. Rounding each normalised value to f32 costs at most
/// 2·2⁻²⁴; the two levels of f32 sums 0.8e-6 for terms that all round the same way (see `product`).
pub const CORRELATE_F32: f64 = 1e-6;

/// A Pearson coefficient of `f64` series, absolute.
pub const CORRELATE_F64: f64 = 1e-12;

/// A coefficient at a lag, absolute, for series whose overlap holds at least 1e-4 of their spread.
pub const LAGGED: f64 = 1e-10;

/// Rolling median, MAD and quantile of `f32` series, relative to the largest magnitude in the window. They are
/// picked, not summed: only the average of two neighbours is rounded.
pub const ROLLING_ORDER_F32: f64 = 1.2e-7;

/// The same for `f64` series.
pub const ROLLING_ORDER_F64: f64 = 4.5e-16;

/// Rolling mean and standard deviation of `f32` series, relative to the largest magnitude in the window:
/// computed in f64 and rounded once.
pub const ROLLING_MOMENT_F32: f64 = 1.2e-7;

/// Rolling mean and standard deviation of `f64` series, relative to the largest magnitude in the window, for
/// windows of up to some thousand samples.
pub const ROLLING_MOMENT_F64: f64 = 1e-12;
