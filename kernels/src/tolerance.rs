//! How far a result may be from the one computed in f64 throughout. Every test and every document
//! takes its bound from here.

/// A Pearson coefficient of `f32` series, absolute. Rounding each normalised value to f32 costs at most
/// 2·2⁻²⁴; the two levels of f32 sums 0.8e-6 for terms that all round the same way (see `product`).
pub const CORRELATE_F32: f64 = 1e-6;

/// A Pearson coefficient of `f64` series, absolute.
pub const CORRELATE_F64: f64 = 1e-12;

/// How far the tensor cores' screen may be from the coefficient, absolute: what is this near to a floor is computed again.
/// Rounding both factors to bfloat16 costs (2·2⁻⁸ + 2⁻¹⁶)·Σ|xy| ≤ 7.83e-3, for Σ|xy| ≤ 1; 128 sums in float over
/// the 2,048 samples of a slab, each taken to be off by 2⁻²⁰ of its terms, 1.2e-4.
pub const CORRELATE_SCREEN: f64 = 8e-3;

/// A coefficient over the samples that two series share, absolute, for series of up to 100,000 samples: six sums in f64,
/// and the hundredth part of them that is left at least (see `correlate::pairwise`).
pub const CORRELATE_PAIRWISE: f64 = 1e-10;

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

/// A score of [`nearest`](crate::nearest), for both types: absolute for the cosine, relative to ‖q‖‖x‖ for the product
/// and to (‖q‖ + ‖x‖)² for the squared distance. Computed in f64 in 32 partial sums, each of at most n / 32 terms:
/// (n / 32 + 8)·2⁻⁵³ stays below it for up to some 250,000 dimensions.
pub const NEAREST: f64 = 1e-12;
/// The squares around the mean of a segment of a series, relative to those of the whole series, for series of up to some
/// 100,000 samples.
pub const CHANGE_COST: f64 = 1e-13;
/// Squared distances of k-means, relative to the larger of two: which differ by more are told apart. They are f64 sums of
/// squares of exact differences, of up to some thousand columns.
pub const KMEANS: f64 = 1e-12;

/// Scores of the inverted-file index, relative to ‖q‖·‖v‖, and to ‖q − c‖² + ‖v − c‖² for squared distances: f32 products in
/// chains of 32 and then 8 (2.4e-6 at most for terms that all round the same way), factors and the score rounded to f32.
pub const IVF: f64 = 3e-6;
/// The correlation by which a matrix profile picks a neighbour, absolute, for windows of up to 1,024 samples: times the
/// square of the ratio between the largest standard deviation of a window and the two windows' own. Three roundings
/// in each of 4,096 steps, were all to go the same way.
pub const MATRIX_PROFILE: f64 = 2e-12;

/// The distance to the picked neighbour, relative to √m.
pub const MATRIX_PROFILE_DISTANCE: f64 = 1e-11;

/// The score of an isolation forest, absolute, against its own trees in f64: path lengths are kept as f32. What the
/// trees are is chance: scores of two seeds differ by far more.
pub const ISOLATION_FOREST: f64 = 1e-7;
/// How far -2 log likelihood of a fitted model may lie above that of the same maximum found to full precision. A
/// difference of AICc below 2 says nothing; this one is far below.
pub const FORECAST: f64 = 0.01;

/// A likelihood and the states of a given model, relative to the recursion in textbook form.
pub const FORECAST_MODEL: f64 = 1e-9;

/// An ordinate of a periodogram, relative to the largest one.
pub const SPECTRUM: f64 = 1e-12;
