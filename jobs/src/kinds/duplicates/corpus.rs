//! All texts of a dataset in memory, made alike in what does not matter: case, and how much white space.
//!
//! ```text
//!   ids      t-1   t-2   t-4  …               in order: the oldest first
//!   bytes    disk full on db1disk full…       one after the other
//!   offsets  0               16        …      text i is bytes[offsets[i] .. offsets[i + 1]]
//! ```

use std::ops::Range;

use analysis::append_alike;
use arrow::array::{LargeStringArray, LargeStringBuilder};
use engine::{Code, Error, Result};
use kernels::minhash::TextsView;

use super::NAME;
use crate::texts::TextRows;

/// Texts and the names of their rows.
pub(super) struct Corpus {
    ids: LargeStringArray,
    bytes: Vec<u8>,
    offsets: Vec<i64>,
    pub(super) left_out: LeftOut,
}

/// Rows that are not compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LeftOut {
    /// Their id is null.
    pub(super) without_id: u64,
    /// There is nothing in their text but white space.
    pub(super) without_text: u64,
}

/// A corpus that is being read.
pub(super) struct CorpusBuilder {
    ids: LargeStringBuilder,
    bytes: Vec<u8>,
    offsets: Vec<i64>,
    left_out: LeftOut,
    bytes_max: usize,
    share: Quarters,
    row_bytes: usize,
}

/// A share of the memory budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quarters {
    One,
    Three,
}

impl Quarters {
    fn of(self, bytes: usize) -> usize {
        match self {
            Self::One => bytes / 4,
            Self::Three => bytes / 4 * 3,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::One => "a quarter",
            Self::Three => "three quarters",
        }
    }
}

impl CorpusBuilder {
    /// For texts that take at most a share of `budget_bytes`, with `row_bytes` for each row beside its text.
    pub(super) fn new(budget_bytes: usize, share: Quarters, row_bytes: usize) -> Self {
        Self {
            ids: LargeStringBuilder::new(),
            bytes: Vec::new(),
            offsets: vec![0],
            left_out: LeftOut::default(),
            bytes_max: share.of(budget_bytes),
            share,
            row_bytes,
        }
    }

    /// Adds rows. `RESOURCES_EXHAUSTED` when they are more than fits.
    pub(super) fn add(&mut self, rows: &TextRows) -> Result<()> {
        for row in 0..rows.len() {
            self.add_row(rows.id(row), rows.texts(row));
        }
        self.check()
    }

    /// Adds a row, where it has an id and a text.
    pub(super) fn add_row<'a>(&mut self, id: Option<&str>, texts: impl Iterator<Item = &'a str>) {
        let Some(id) = id else {
            self.left_out.without_id += 1;
            return;
        };
        let before = self.bytes.len();
        for text in texts {
            append_alike(text, before, &mut self.bytes);
        }
        if self.bytes.len() == before {
            self.left_out.without_text += 1;
            return;
        }
        self.ids.append_value(id);
        self.offsets.push(self.bytes.len() as i64);
    }

    /// `RESOURCES_EXHAUSTED` when the rows are more than fits.
    pub(super) fn check(&self) -> Result<()> {
        let rows = self.offsets.len() - 1;
        let taken = self.bytes.len() + rows * self.row_bytes;
        if taken > self.bytes_max {
            return Err(Error::user(
                Code::ResourcesExhausted,
                format!(
                    "{NAME}: the first {rows} texts and their signatures take {taken} bytes; {} of \
                     the memory budget, {} bytes, are for them: take fewer `functions`, or a larger budget",
                    self.share.as_str(),
                    self.bytes_max
                ),
            ));
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Corpus {
        Corpus {
            ids: self.ids.finish(),
            bytes: self.bytes,
            offsets: self.offsets,
            left_out: self.left_out,
        }
    }
}

impl Corpus {
    pub(super) fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    pub(super) fn ids(&self) -> &LargeStringArray {
        &self.ids
    }

    pub(super) fn texts(&self) -> Result<TextsView<'_>> {
        self.texts_of(0..self.len())
    }

    /// Those of some rows.
    pub(super) fn texts_of(&self, rows: Range<usize>) -> Result<TextsView<'_>> {
        Ok(TextsView::new(&self.bytes, &self.offsets[rows.start..=rows.end])?)
    }
}
