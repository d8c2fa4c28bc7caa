//! FEBRL's invented people: fields separated by a comma **and a space**, all of them text (a leading zero is
//! part of a postcode), the truth in `rec_id` (`rec-N-org` and `rec-N-dup-K` are one person).

use super::dialect::Dialect;
use super::mapped::{self, MappedCsv};
use super::{ReadOptions, RowReader, Source};
use crate::error::Result;

const COLUMNS: [&str; 11] = [
    "rec_id",
    "given_name",
    "surname",
    "street_number",
    "address_1",
    "address_2",
    "suburb",
    "postcode",
    "state",
    "date_of_birth",
    "soc_sec_id",
];

pub(crate) fn open(source: &Source, options: &ReadOptions) -> Result<Box<dyn RowReader>> {
    let columns = mapped::columns_of("people", &COLUMNS)?;
    let dialect = Dialect { padded: true, ..Dialect::STANDARD };
    MappedCsv::open(source, Some(dialect), &columns, options, |header| {
        let at = mapped::find_columns(source.name(), header, COLUMNS)?;
        Ok(Box::new(move |_, fields| Ok(at.map(|at| mapped::optional_text(fields[at])).to_vec())))
    })
}
