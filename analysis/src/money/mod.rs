//! What calls of models cost by lists of prices.

mod amount;
mod price;
#[cfg(test)]
mod tests;

pub use amount::{AMOUNT_SCALE, Amount};
pub use price::{Charged, Listed, PriceBook, PriceKey, Rates, TOKENS_MAX, Tokens, Unpriced};
