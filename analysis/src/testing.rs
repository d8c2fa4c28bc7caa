//! What tests of several modules need.

/// A sum that each value has another part in by its place: one number that says of a long list that it is the same.
pub(crate) fn weighted_sum(values: impl IntoIterator<Item = f64>) -> f64 {
    let there = values.into_iter().enumerate().filter(|(_, value)| value.is_finite());
    there.map(|(at, value)| (at % 7 + 1) as f64 * value).sum()
}
