//! Texts of any lengths end to end. Every product of the network works token by token, so nothing is ever
//! padded there; only attention has to know where a text begins and ends.
//!
//! ```text
//!  ids    | 101 7 9 102 | 101 102 | 101 4 4 4 102 |
//!  starts   0             4         6               11
//! ```

use std::ops::Range;

use crate::error::{Error, Result};

/// The tokens of several texts, end to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    ids: Vec<u32>,
    starts: Vec<usize>,
}

impl Batch {
    /// Puts texts end to end. Fails for no texts and for a text without tokens.
    pub fn new<'a>(texts: impl IntoIterator<Item = &'a [u32]>) -> Result<Self> {
        let (mut ids, mut starts) = (Vec::new(), vec![0]);
        for text in texts {
            if text.is_empty() {
                return fail(format!(
                    "text {}: expected at least 1 token, found none",
                    starts.len() - 1
                ));
            }
            ids.extend_from_slice(text);
            starts.push(ids.len());
        }
        if ids.is_empty() {
            return fail("expected at least 1 text, found none".into());
        }
        Ok(Self { ids, starts })
    }

    /// All ids.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Number of texts.
    pub fn texts(&self) -> usize {
        self.starts.len() - 1
    }

    /// Where each text lies.
    pub fn spans(&self) -> impl Iterator<Item = Range<usize>> {
        self.starts.windows(2).map(|ends| ends[0]..ends[1])
    }

    /// The first token of each text.
    pub fn firsts(&self) -> &[usize] {
        &self.starts[..self.texts()]
    }

    /// The place of each token in its text.
    pub fn positions(&self) -> impl Iterator<Item = usize> {
        self.spans().flat_map(|span| 0..span.len())
    }

    /// Tokens of the longest text.
    pub fn longest(&self) -> usize {
        self.spans().map(|span| span.len()).max().unwrap_or(0)
    }

    /// Whether all texts have the same number of tokens.
    pub fn is_even(&self) -> bool {
        let longest = self.longest();
        self.spans().all(|span| span.len() == longest)
    }
}

fn fail<T>(problem: String) -> Result<T> {
    Err(Error::Config { problem: format!("batch: {problem}") })
}
