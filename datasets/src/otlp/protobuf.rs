//! A body in protobuf: its messages are walked as they lie there, and a span is decoded when it is its turn.

use prost::Message;

use super::attributes::is_of_convention;
use super::collect::Collector;
use super::message::{Resource, Scope, Span};
use super::{SPAN_BYTES_MAX, Stop};

/// Most bytes of a varint.
const VARINT_BYTES_MAX: usize = 10;

/// Reads an `ExportTraceServiceRequest`.
pub(super) fn read(body: &[u8], into: &mut Collector) -> Result<(), Stop> {
    each(body, 1, "resource_spans", |sent| {
        let mut resource = Resource::default();
        each(sent, 1, "resource", |part| {
            if part.len() > SPAN_BYTES_MAX {
                return Err(Stop::Limit { what: "a resource".into(), limit: SPAN_BYTES_MAX });
            }
            resource.merge(part).map_err(problem)
        })?;
        into.begin_resource(&resource);
        each(sent, 2, "scope_spans", |sent| {
            let mut scope = Scope::default();
            each(sent, 1, "scope", |part| scope.merge(part).map_err(problem))?;
            into.begin_scope(scope);
            each(sent, 2, "spans", |span| take(span, into))
        })
    })
}

fn take(sent: &[u8], into: &mut Collector) -> Result<(), Stop> {
    let mut is_row = false;
    each(sent, 9, "attributes", |attribute| {
        each(attribute, 1, "key", |key| {
            is_row |= is_of_convention(key);
            Ok(())
        })
    })?;
    match (is_row, sent.len() > SPAN_BYTES_MAX) {
        (false, _) => into.pass_over(),
        (true, true) => into.refuse_large(sent.len()),
        (true, false) => return into.take(&Span::decode(sent).map_err(problem)?),
    }
    Ok(())
}

fn problem(error: prost::DecodeError) -> Stop {
    Stop::Problem(error.to_string())
}

/// Visits what `message` has under a number, which must be of bytes.
fn each<'a>(
    mut message: &'a [u8],
    number: u64,
    name: &str,
    mut visit: impl FnMut(&'a [u8]) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let mut index = 0;
    while !message.is_empty() {
        let key = varint(&mut message)?;
        let found = field(&mut message, key & 7)?;
        if key >> 3 != number {
            continue;
        }
        let part = found.ok_or_else(|| Stop::Problem("expected bytes".into()));
        part.and_then(&mut visit).map_err(|stop| stop.within(format_args!("{name}[{index}]")))?;
        index += 1;
    }
    Ok(())
}

/// The bytes of a field of this wire type, if it has any; `message` begins after it then.
fn field<'a>(message: &mut &'a [u8], wire_type: u64) -> Result<Option<&'a [u8]>, Stop> {
    let skipped = match wire_type {
        0 => return varint(message).map(|_| None),
        1 => 8,
        2 => varint(message)?,
        5 => 4,
        other => {
            let says = format!("expected a field of wire type 0, 1, 2 or 5, found {other}");
            return Err(Stop::Problem(says));
        }
    };
    let length = usize::try_from(skipped).unwrap_or(usize::MAX);
    let Some((found, rest)) = message.split_at_checked(length) else {
        let says = format!("expected {skipped} bytes, found {}", message.len());
        return Err(Stop::Problem(says));
    };
    *message = rest;
    Ok((wire_type == 2).then_some(found))
}

fn varint(message: &mut &[u8]) -> Result<u64, Stop> {
    let mut value = 0_u64;
    for (at, byte) in message.iter().enumerate().take(VARINT_BYTES_MAX) {
        value |= u64::from(byte & 0x7F) << (7 * at).min(63);
        if byte & 0x80 == 0 {
            *message = &message[at + 1..];
            return Ok(value);
        }
    }
    Err(Stop::Problem("expected a number (varint) of at most 10 bytes".into()))
}
