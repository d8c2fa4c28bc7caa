//! The memory of an answer's rows, counted before it is taken: as Arrow's columns, then as GraphQL's values, which are many times as
//! large where they are small. All fields of an answer share one account; of a subscription, whose results are shared among those who
//! ask the same, each list of rows has one.

use std::sync::atomic::{AtomicUsize, Ordering};

use engine::Result;

use crate::error::over_limit;
use crate::limits::Limits;

/// How many times the bytes of an answer its rows may take while it is made.
const OF_ANSWER: usize = 4;

/// The account of one answer.
#[derive(Debug)]
pub(crate) struct Holding {
    page_bytes_max: usize,
    bytes_max: usize,
    bytes: AtomicUsize,
}

impl Holding {
    /// Of an answer of which nothing is held.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            page_bytes_max: limits.page_bytes_max,
            bytes_max: limits.answer_bytes_max.saturating_mul(OF_ANSWER),
            bytes: AtomicUsize::default(),
        }
    }

    /// Bytes of the rows of one page, as Arrow's columns.
    pub(crate) fn page_bytes_max(&self) -> usize {
        self.page_bytes_max
    }

    /// Counts bytes that are about to be held until the answer is made. LIMIT_EXCEEDED where there is no room for them.
    pub(crate) fn hold(&self, bytes: usize) -> Result<()> {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let found = before.saturating_add(bytes);
        if found > self.bytes_max {
            self.let_go(bytes);
            let what =
                "bytes of memory for the values of an answer (ask for fewer rows or columns)";
            return Err(over_limit(what, self.bytes_max, found));
        }
        Ok(())
    }

    /// A part of the account that is let go with what is returned.
    pub(crate) fn for_a_while(&self) -> ForAWhile<'_> {
        ForAWhile { holding: self, bytes: 0 }
    }

    /// Counts no longer what was held.
    pub(crate) fn let_go(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Counts the next answer from nothing.
    pub(crate) fn begin(&self) {
        self.bytes.store(0, Ordering::Relaxed);
    }
}

/// What is held until this is dropped.
#[derive(Debug)]
pub(crate) struct ForAWhile<'a> {
    holding: &'a Holding,
    bytes: usize,
}

impl ForAWhile<'_> {
    /// As [`Holding::hold`].
    pub(crate) fn hold(&mut self, bytes: usize) -> Result<()> {
        self.holding.hold(bytes)?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for ForAWhile<'_> {
    fn drop(&mut self) {
        self.holding.let_go(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_refused_or_let_go_takes_no_room() {
        let holding = Holding::new(&Limits { answer_bytes_max: 10, ..Limits::default() });
        holding.hold(30).unwrap();
        assert!(holding.hold(11).unwrap_err().to_string().contains("41"));
        let mut while_reading = holding.for_a_while();
        while_reading.hold(6).unwrap();
        while_reading.hold(4).unwrap();
        while_reading.hold(1).unwrap_err();
        assert_eq!(holding.bytes.load(Ordering::Relaxed), 40);
        drop(while_reading);
        assert_eq!(holding.bytes.load(Ordering::Relaxed), 30);
        holding.hold(10).unwrap();
        holding.begin();
        holding.hold(40).unwrap();
    }
}
