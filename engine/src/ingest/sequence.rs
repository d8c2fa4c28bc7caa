//! The rule that makes a retry harmless, as in Kafka's idempotent producer (KIP-98).
//!
//! A producer numbers its requests. The highest number taken stands in the table's log as a Delta
//! `txn`, in the same commit as the rows, so that no crash can separate the two.

use crate::error::{Code, Error, Result};

/// Longest name of a producer in bytes.
pub const PRODUCER_MAX_BYTES: usize = 128;

/// A producer and the number of its request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProducerSequence {
    /// 1 to [`PRODUCER_MAX_BYTES`] printable ASCII characters.
    pub producer: String,
    /// Not negative; one more than that of the producer's request before.
    pub sequence: i64,
}

/// What a sequence means against the last one taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is the next: take the rows.
    Next,
    /// It was taken before: write nothing.
    Duplicate,
}

impl ProducerSequence {
    /// Checks the shape of both parts.
    pub fn check(&self) -> Result<()> {
        let name = &self.producer;
        let printable = |b: u8| b.is_ascii_graphic() || b == b' ';
        if name.is_empty() || name.len() > PRODUCER_MAX_BYTES || !name.bytes().all(printable) {
            let shown: String = name.chars().take(80).collect();
            return Err(Error::user(
                Code::BadInput,
                format!(
                    "producer {shown:?}: expected 1 to {PRODUCER_MAX_BYTES} printable ASCII characters"
                ),
            ));
        }
        if self.sequence < 0 {
            return Err(Error::user(
                Code::BadInput,
                format!("producer {name:?}: sequence {} is negative", self.sequence),
            ));
        }
        Ok(())
    }

    /// Where this stands after `last`; a gap is CONFLICT, because rows are missing between.
    pub(crate) fn standing(&self, last: Option<i64>) -> Result<Standing> {
        match last {
            None => Ok(Standing::Next),
            Some(last) if self.sequence <= last => Ok(Standing::Duplicate),
            Some(last) if self.sequence == last + 1 => Ok(Standing::Next),
            Some(last) => Err(Error::user(
                Code::Conflict,
                format!(
                    "producer {:?} sent sequence {}; expected {}, because {last} is the last one taken",
                    self.producer,
                    self.sequence,
                    last + 1
                ),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(sequence: i64) -> ProducerSequence {
        ProducerSequence { producer: "p".to_owned(), sequence }
    }

    #[test]
    fn the_next_is_taken_the_past_is_a_duplicate_and_a_gap_is_a_conflict() {
        assert_eq!(at(7).standing(None).unwrap(), Standing::Next);
        assert_eq!(at(8).standing(Some(7)).unwrap(), Standing::Next);
        assert_eq!(at(7).standing(Some(7)).unwrap(), Standing::Duplicate);
        assert_eq!(at(0).standing(Some(7)).unwrap(), Standing::Duplicate);
        let gap = at(9).standing(Some(7)).unwrap_err();
        assert_eq!(gap.code(), Code::Conflict);
        assert!(gap.to_string().contains("expected 8"), "{gap}");
        assert_eq!(at(5).standing(Some(i64::MAX)).unwrap(), Standing::Duplicate);
    }

    #[test]
    fn a_producer_is_printable_and_a_sequence_is_not_negative() {
        assert!(at(0).check().is_ok());
        assert!(at(-1).check().is_err());
        for bad in ["", "a\n", "é", &"p".repeat(129)] {
            let sequence = ProducerSequence { producer: bad.to_owned(), sequence: 0 };
            assert!(sequence.check().is_err(), "{bad:?} passed");
        }
    }
}
