//! Mooncake's request traces: one JSON object per line, with the ids of the prompt's blocks.
//!
//! Their time counts in milliseconds from the start of the trace, which has no date; here it starts at
//! [`EPOCH_US`]. Equal leading blocks of two requests are a prefix that a cache could serve.

use super::json::{self, JsonError, RawValue};
use super::mapped::{self, Fault, MappedLines};
use super::{ReadOptions, RowReader, Source};
use crate::column_type::ColumnType;
use crate::error::Result;
use crate::parse::Slot;

/// The instant at which a trace is taken to start: 2024-01-01T00:00:00Z, in microseconds.
pub const EPOCH_US: i64 = 1_704_067_200_000_000;

pub(crate) fn open(source: &Source, options: &ReadOptions) -> Result<Box<dyn RowReader>> {
    let names = ["id", "at", "input_tokens", "output_tokens", "prefix_blocks"];
    let columns = mapped::columns_of("model_calls", &names)?;
    let name = source.name().to_owned();
    MappedLines::open(
        source,
        &columns,
        options,
        Box::new(move |place, fields| {
            let (mut at, mut input, mut output, mut blocks) = (None, None, None, Slot::Null);
            json::members::<MemberFault>(fields[0], |member, value| {
                match member.as_ref() {
                    "timestamp" => at = Some(integer("at", &value)?),
                    "input_length" => input = Some(integer("input_tokens", &value)?),
                    "output_length" => output = Some(integer("output_tokens", &value)?),
                    "hash_ids" => {
                        blocks = slot(
                            "prefix_blocks",
                            &ColumnType::List(Box::new(ColumnType::Int64)),
                            &value,
                        )?;
                    }
                    _ => {}
                }
                Ok(())
            })
            .map_err(|MemberFault(fault)| fault)?;
            let missing = |column, member: &str| {
                Fault::of(column, format!("expected {member:?}, found none"))
            };
            let at_us = at
                .ok_or_else(|| missing("at", "timestamp"))?
                .checked_mul(1_000)
                .and_then(|us| us.checked_add(EPOCH_US))
                .ok_or_else(|| Fault::of("at", "\"timestamp\" is out of range"))?;
            Ok(vec![
                Slot::Text(format!("{name}:{}", place.row).into()),
                Slot::Int(at_us),
                Slot::Int(input.ok_or_else(|| missing("input_tokens", "input_length"))?),
                Slot::Int(output.ok_or_else(|| missing("output_tokens", "output_length"))?),
                blocks,
            ])
        }),
    )
}

struct MemberFault(Fault);

impl From<JsonError> for MemberFault {
    fn from(error: JsonError) -> Self {
        Self(Fault::row(format!("column {}: {}", error.at + 1, error.problem)))
    }
}

fn slot<'a>(
    column: &'static str,
    data_type: &ColumnType,
    value: &RawValue<'a>,
) -> Result<Slot<'a>, MemberFault> {
    value
        .slot(data_type)
        .map_err(|e| MemberFault(Fault::of(column, format!("column {}: {e}", value.at + 1))))
}

fn integer(column: &'static str, value: &RawValue<'_>) -> Result<i64, MemberFault> {
    match slot(column, &ColumnType::Int64, value)? {
        Slot::Int(v) => Ok(v),
        _ => Err(MemberFault(Fault::of(column, "expected a number, found null"))),
    }
}
