//! Reports: a TOML [`Template`] of queries, and the answers to them, become a [`Report`], and that becomes one file of HTML ([`html`])
//! or PDF (`pdf`, behind the feature of that name) with tables and charts.
//!
//! Nothing here asks a query or reads a file: whoever has the data answers, and hands over Arrow.
//!
//! ```text
//! template ──▶ queries_of_parameters ──▶ (answers) ──▶ values
//!     │                                                  │
//!     └──────▶ queries_of_sections ────▶ (answers) ──▶ Report::make ──▶ html, pdf
//! ```
//!
//! What is in the data is never markup: HTML and SVG escape it, and PDF gets it as values beside a fixed source.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod chart;
mod error;
mod figures;
mod fonts;
mod format;
mod html;
mod make;
#[cfg(feature = "pdf")]
mod pdf;
mod ready;
pub mod report;
mod table;
pub mod template;
mod text;
mod value;

pub use error::{Error, Result};
pub use fonts::Fonts;
pub use html::html;
pub use make::{Answer, Origin};
#[cfg(feature = "pdf")]
pub use pdf::pdf;
pub use ready::{READY, ready};
pub use report::Report;
pub use template::{Paper, ParameterValue, Template, Values};
pub use value::Rows;
