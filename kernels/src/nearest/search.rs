//! What is searched and how, checked.

use super::cpu::is_set;
use super::{Metric, OPERATION, Rows};
use crate::crossover::Work;
use crate::element::Element;
use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::view::MatrixView;

/// Whether the queries are the base itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    /// One set: no row is its own neighbour, a pair is found once.
    Within,
    /// Two sets.
    Between,
}

/// What is searched, and how.
#[derive(Clone, Copy)]
pub struct Search<'a, T> {
    pub(super) queries: MatrixView<'a, T>,
    pub(super) base: MatrixView<'a, T>,
    pub(super) pairing: Pairing,
    pub(super) metric: Metric,
    pub(super) allowed: Rows<'a>,
}

impl<T: Element> Search<'_, T> {
    pub(super) fn check(&self) -> Result<()> {
        let (queries, base) = (self.queries, self.base);
        if queries.cols() != base.cols() {
            return Err(Error::Shape {
                operation: OPERATION,
                found: format!(
                    "queries of {} x {} in a base of {} x {}",
                    queries.rows(),
                    queries.cols(),
                    base.rows(),
                    base.cols()
                ),
                expected: "vectors of the same number of dimensions are needed".into(),
            });
        }
        let most = i32::MAX as usize;
        if queries.rows().max(base.rows()) > most {
            return Err(Error::Shape {
                operation: OPERATION,
                found: format!("{} queries in {} rows", queries.rows(), base.rows()),
                expected: format!("at most {most} of each are possible at a time"),
            });
        }
        self.allowed.check(base.rows())
    }

    pub(super) fn work(&self, execution: &Execution) -> Work {
        Work {
            amount: self.queries.rows() as f64 * self.base.rows() as f64 * self.base.cols() as f64,
            unit: "multiply-adds",
            least: execution.crossover.nearest,
        }
    }
}

impl Rows<'_> {
    pub(super) fn check(&self, rows: usize) -> Result<()> {
        let option = |found: String, expected: String| {
            Err(Error::Option { operation: OPERATION, option: "allowed rows", found, expected })
        };
        match *self {
            Self::All => Ok(()),
            Self::Bits(words) => {
                let is_beyond = |(word, bits): (usize, &u64)| {
                    let first = word.saturating_mul(64);
                    *bits != 0 && first + 63 - bits.leading_zeros() as usize >= rows
                };
                match words.iter().enumerate().rev().find(|(_, bits)| **bits != 0) {
                    Some(last) if is_beyond(last) => {
                        option("a bitmap with a bit beyond the base".into(), beyond(rows))
                    }
                    _ => Ok(()),
                }
            }
            Self::Listed(listed) => {
                if let Some(pair) = listed.windows(2).find(|pair| pair[0] >= pair[1]) {
                    let found = format!("a list with {} before {}", pair[0], pair[1]);
                    return option(found, "ascending rows are needed, each once".into());
                }
                match listed.last() {
                    Some(&last) if last >= rows => {
                        option(format!("a list with row {last}"), beyond(rows))
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// The rows, ascending.
    pub(super) fn collect(&self, rows: usize) -> Vec<u32> {
        match *self {
            Self::All => (0..rows as u32).collect(),
            Self::Bits(words) => (0..rows as u32).filter(|row| is_set(words, *row)).collect(),
            Self::Listed(listed) => listed.iter().map(|&row| row as u32).collect(),
        }
    }
}

fn beyond(rows: usize) -> String {
    format!("the base has {rows} rows")
}
