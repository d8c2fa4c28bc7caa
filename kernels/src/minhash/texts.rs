//! Texts as a typed view: the layout of a string column.
//!
//! ```text
//!   bytes    t h e ␣ f o x b a r …        all texts, one after the other
//!   offsets  0             7     10       text i is bytes[offsets[i] .. offsets[i + 1]]
//! ```

use crate::error::{Error, Result};

/// Where texts begin and end: one offset more than there are texts.
#[derive(Debug, Clone, Copy)]
pub enum Offsets<'a> {
    /// Of a column of at most 2 GiB.
    Narrow(&'a [i32]),
    /// Of a larger one.
    Wide(&'a [i64]),
}

impl<'a> From<&'a [i32]> for Offsets<'a> {
    fn from(offsets: &'a [i32]) -> Self {
        Self::Narrow(offsets)
    }
}

impl<'a> From<&'a [i64]> for Offsets<'a> {
    fn from(offsets: &'a [i64]) -> Self {
        Self::Wide(offsets)
    }
}

impl Offsets<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Narrow(offsets) => offsets.len(),
            Self::Wide(offsets) => offsets.len(),
        }
    }

    #[inline(always)]
    fn get(&self, index: usize) -> Option<i64> {
        match self {
            Self::Narrow(offsets) => offsets.get(index).map(|&offset| i64::from(offset)),
            Self::Wide(offsets) => offsets.get(index).copied(),
        }
    }
}

/// Many texts, each a string of bytes; meant to be UTF-8, and defined for any other bytes too.
#[derive(Debug, Clone, Copy)]
pub struct TextsView<'a> {
    bytes: &'a [u8],
    offsets: Offsets<'a>,
    count: usize,
}

impl<'a> TextsView<'a> {
    /// Views `bytes` as the texts between each two neighbours of `offsets`. The first offset need not be 0, as in
    /// a slice of a column.
    ///
    /// Fails when there is no offset, when one is negative or less than that before it, and when the last is
    /// beyond the bytes.
    ///
    /// ```
    /// use kernels::minhash::TextsView;
    ///
    /// let texts = TextsView::new(b"onetwo", &[0i32, 3, 3, 6][..])?;
    /// assert_eq!((texts.len(), texts.text(1), texts.text(2)), (3, &b""[..], &b"two"[..]));
    /// # Ok::<(), kernels::Error>(())
    /// ```
    pub fn new(bytes: &'a [u8], offsets: impl Into<Offsets<'a>>) -> Result<Self> {
        let offsets = offsets.into();
        let shape = |found, expected| Err(Error::Shape { operation: "texts", found, expected });
        let Some(count) = offsets.len().checked_sub(1) else {
            return shape("no offsets".into(), "one offset more than texts is needed".into());
        };
        let mut before = 0;
        for index in 0..=count {
            let offset = offsets.get(index).unwrap_or(-1);
            if offset < before {
                return shape(
                    format!("offset {index} is {offset}"),
                    format!("at least {before} is needed"),
                );
            }
            before = offset;
        }
        if before as u64 > bytes.len() as u64 {
            return shape(
                format!("{} bytes", bytes.len()),
                format!("the offsets end at {before}, so that as many bytes are needed"),
            );
        }
        Ok(Self { bytes, offsets, count })
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Where a text begins in the bytes; of the number of texts, where the last one ends.
    #[inline(always)]
    pub(super) fn offset(&self, index: usize) -> usize {
        self.offsets.get(index).map_or(self.bytes.len(), |offset| offset as usize)
    }

    /// One text. An index that is out of range gives an empty one.
    #[inline]
    pub fn text(&self, index: usize) -> &'a [u8] {
        if index >= self.count {
            return &[];
        }
        self.bytes.get(self.offset(index)..self.offset(index + 1)).unwrap_or(&[])
    }

    /// Bytes of the texts `first..end` together.
    pub(super) fn bytes_of(&self, first: usize, end: usize) -> &'a [u8] {
        self.bytes.get(self.offset(first)..self.offset(end)).unwrap_or(&[])
    }

    /// Bytes of the longest text.
    pub(super) fn longest(&self) -> usize {
        (0..self.count).map(|index| self.text(index).len()).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn offsets_that_are_no_offsets_are_named() {
        let error =
            |bytes: &[u8], offsets: &[i64]| TextsView::new(bytes, offsets).unwrap_err().to_string();
        assert_eq!(error(b"abc", &[]), "texts: no offsets; one offset more than texts is needed");
        assert_eq!(error(b"abc", &[0, 2, 1]), "texts: offset 2 is 1; at least 2 is needed");
        assert_eq!(error(b"abc", &[-1, 2]), "texts: offset 0 is -1; at least 0 is needed");
        assert_eq!(
            error(b"abc", &[0, 4]),
            "texts: 3 bytes; the offsets end at 4, so that as many bytes are needed"
        );
    }

    #[test]
    fn a_slice_of_a_column_may_begin_anywhere() {
        let texts = TextsView::new(b"abcdef", &[2i32, 3, 3, 5][..]).unwrap();
        let all: Vec<&[u8]> = (0..4).map(|index| texts.text(index)).collect();
        assert_eq!(all, [&b"c"[..], b"", b"de", b""]);
        assert_eq!((texts.longest(), texts.bytes_of(0, 3)), (2, &b"cde"[..]));
        assert!(TextsView::new(b"", &[0i32][..]).unwrap().is_empty());
    }
}
