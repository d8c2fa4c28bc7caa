//! The rule that makes a retry harmless, as in Kafka's idempotent producer (KIP-98).
//!
//! A producer numbers its requests: the first as it likes, each later one with the next number. The highest number taken
//! stands in the table's log as a Delta `txn`, in the same commit as the rows, so that no crash can separate the two; so does
//! the first. Beside it stands what the request held, by its digest. So a number is judged by what was done under it:
//!
//! | number | what comes of it |
//! |---|---|
//! | the first of a producer, or the next | its rows are taken |
//! | of a request that was taken, with the same body, byte for byte | a duplicate: nothing is written, and it is not an error |
//! | of a request that was taken, with another body | CONFLICT: two clients may have one name |
//! | above the next | CONFLICT: rows between are missing |
//! | below the first | CONFLICT: it was never taken |
//! | of a request whose rows a repair found lost | its rows are taken, once |
//!
//! What a request held is found in the last 100 commits of the dataset; before them a number that was taken is a duplicate,
//! whatever comes with it. So it is for rows that come as columns, from within the process. A file is a body like one that was
//! uploaded. The quarantine says the same of the requests whose rows it has, because it is committed first.

use std::io::{self, Read};

use datasets::read::Source;
use sha2::{Digest, Sha256};

use crate::error::{Code, Error, Result};
use crate::lake::{Head, Lake, Table, Taken, TakenRequest};

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
    /// It is not after the last one taken: what was taken under it says more.
    Past,
    /// It was taken before: write nothing.
    Duplicate,
    /// It was taken before, and its rows are lost: take the rows; the producer stays where it is.
    Lost,
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

    /// It as the log has it, with what its rows are known by.
    pub(super) fn taken(&self, digest: Option<&str>) -> TakenRequest {
        let Self { producer, sequence } = self.clone();
        TakenRequest { producer, sequence, digest: digest.map(str::to_owned) }
    }

    /// Where this stands after `last`; a gap is CONFLICT, because rows are missing between.
    pub(crate) fn standing(&self, last: Option<i64>) -> Result<Standing> {
        match last {
            None => Ok(Standing::Next),
            Some(last) if self.sequence <= last => Ok(Standing::Past),
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

    /// Where this stands, which is not after the last one taken, when `taken` is what is known of its number.
    pub(crate) fn standing_in_past(&self, taken: &Taken, digest: Option<&str>) -> Result<Standing> {
        let Self { producer, sequence } = self;
        let conflict = |says: String| Err(Error::user(Code::Conflict, says));
        match taken {
            Taken::Never { first } => conflict(format!(
                "producer {producer:?} sent sequence {sequence}, which was never taken: {first} was its first one"
            )),
            Taken::With(before) if digest.is_some_and(|digest| digest != before) => {
                conflict(format!(
                    "producer {producer:?} sent sequence {sequence} again with another body than the first \
                 time, byte for byte; a retry sends the same bytes, and clients that share a name need one each"
                ))
            }
            Taken::With(_) | Taken::Before => Ok(Standing::Duplicate),
            Taken::Lost => Ok(Standing::Lost),
        }
    }
}

/// What stands under a number whose request comes with the body of this digest.
pub(super) async fn standing_on(
    lake: &Lake,
    head: &mut Head,
    table: &Table,
    request: &ProducerSequence,
    digest: &str,
) -> Result<Standing> {
    let mut standing = request.standing(head.last_sequence(table, &request.producer).await?);
    // What is missing may have come by way of another server.
    if standing.is_err() && lake.follow_others(table, head).await? {
        standing = request.standing(head.last_sequence(table, &request.producer).await?);
    }
    match standing? {
        Standing::Past => {
            let taken = head.taken(table, &request.producer, request.sequence).await?;
            request.standing_in_past(&taken, Some(digest))
        }
        standing => Ok(standing),
    }
}

/// What rows are known by when they come again: the beginning of the SHA-256 of their bytes, in hexadecimal digits.
pub(super) fn digest(bytes: &[u8]) -> String {
    shortened(Sha256::digest(bytes).as_slice())
}

/// The same of a file, which is read for it from its beginning to its end.
pub(super) fn digest_of(source: &Source) -> Result<String> {
    let mut bytes = source.bytes()?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 18]);
    loop {
        match bytes.read(&mut buffer) {
            Ok(0) => return Ok(shortened(hash.finalize().as_slice())),
            Ok(count) => hash.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(source.io("read", error).into()),
        }
    }
}

fn shortened(hash: &[u8]) -> String {
    hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
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
        assert_eq!(at(7).standing(Some(7)).unwrap(), Standing::Past);
        assert_eq!(at(0).standing(Some(7)).unwrap(), Standing::Past);
        let gap = at(9).standing(Some(7)).unwrap_err();
        assert_eq!(gap.code(), Code::Conflict);
        assert!(gap.to_string().contains("expected 8"), "{gap}");
        assert_eq!(at(5).standing(Some(i64::MAX)).unwrap(), Standing::Past);
    }

    #[test]
    fn the_past_is_a_duplicate_where_the_same_rows_were_taken() {
        let (same, other) = (digest(b"rows"), digest(b"other rows"));
        assert_eq!(same.len(), 32);
        let with = Taken::With(same.clone());
        assert_eq!(at(5).standing_in_past(&with, Some(&same)).unwrap(), Standing::Duplicate);
        assert_eq!(at(5).standing_in_past(&with, None).unwrap(), Standing::Duplicate);
        assert_eq!(
            at(5).standing_in_past(&Taken::Before, Some(&same)).unwrap(),
            Standing::Duplicate
        );
        assert_eq!(at(5).standing_in_past(&Taken::Lost, Some(&same)).unwrap(), Standing::Lost);
        for (taken, says) in [(with, "another body"), (Taken::Never { first: 7 }, "never taken: 7")]
        {
            let error = at(5).standing_in_past(&taken, Some(&other)).unwrap_err();
            assert_eq!(error.code(), Code::Conflict);
            assert!(error.to_string().contains(says), "{error}");
        }
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
