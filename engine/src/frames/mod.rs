//! Arrow batches as Polars frames and back.
//!
//! Both libraries keep columns in the same layout but have array types of their own. What can be shared
//! is shared by owning the other's buffer, in safe Rust; the C data interface would share a little more
//! and needs `unsafe`. What is shared and what is copied:
//!
//! | column | to Polars | to Arrow |
//! |---|---|---|
//! | integers, floats, dates, timestamps | shared | shared |
//! | text, bytes | bytes shared, 16 bytes per row made anew | copied |
//! | lists of numbers | values shared, 8 bytes per row made anew | values shared |
//! | booleans, which values are null | copied: one bit per row | copied: one bit per row |
//!
//! An instant in UTC is a `Datetime` in microseconds without a zone over there, and comes back as UTC:
//! Polars' time operations then need no zone data. Decimals, structs and maps have no frame column;
//! cast them before.

mod to_arrow;
mod to_polars;

#[cfg(test)]
mod tests;

pub use to_arrow::to_arrow;
pub use to_polars::to_polars;
