//! The parts of a workbook, checked before they are parsed.

use std::io::Read;

use zip::ZipArchive;

use super::{Input, WORKBOOK_ZONE, unreadable};
use crate::error::{Error, Result};
use crate::read::ReadOptions;

/// Parts of a workbook (sheets, strings, styles).
const PARTS_MAX: usize = 10_000;
/// Most unpacked bytes of all sheets of a workbook. A full sheet of 20 columns takes about 1 GiB.
const SHEETS_BYTES_MAX: usize = 4 << 30;
/// Bytes that are unpacked at a time for a look at a part.
const BUFFER_BYTES: usize = 64 * 1024;
/// The part with properties that programs state.
const PROPERTIES: &str = "docProps/custom.xml";
/// Longest name of an element that is compared.
const NAME_BYTES: usize = 32;

/// Whether the workbook states that its instants are in UTC. Fails for a workbook whose parts unpack to more than may be held: the crate holds shared texts and styles
/// whole, and of a sheet one cell at a time.
pub(super) fn check_parts(
    name: &str,
    input: Box<dyn Input>,
    options: &ReadOptions,
) -> Result<bool> {
    let failed = |error: &dyn std::fmt::Display| unreadable(name, error);
    let mut archive = ZipArchive::new(input).map_err(|e| failed(&e))?;
    if archive.len() > PARTS_MAX {
        return Err(failed(&format!("{} parts; expected at most {PARTS_MAX}", archive.len())));
    }
    let (mut held, mut sheets) = (options.decoded_budget_bytes, SHEETS_BYTES_MAX);
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut states_utc = false;
    for index in 0..archive.len() {
        let mut part = archive.by_index(index).map_err(|e| failed(&e))?;
        let path = part.name().map_err(|e| failed(&e))?.into_owned();
        let is_sheet = path.contains("worksheets/");
        if !(is_sheet || path.ends_with(".xml") || path.ends_with(".rels")) {
            continue;
        }
        let has_properties = path == PROPERTIES;
        let mut properties = Vec::new();
        let mut run = Run { is_sheet, ..Run::default() };
        loop {
            let count = part.read(&mut buffer).map_err(|e| failed(&e))?;
            if count == 0 {
                break;
            }
            if has_properties && properties.len() < BUFFER_BYTES {
                properties.extend_from_slice(&buffer[..count]);
            }
            let over = |what: String, limit: usize| Error::Limit {
                source_name: name.to_owned(),
                what,
                limit: limit as u64,
                unit: "bytes",
            };
            for piece in buffer[..count].split_inclusive(|byte| *byte == b'<') {
                if run.add(piece) > options.row_max_bytes {
                    return Err(over(format!("a text of {path}"), options.row_max_bytes));
                }
            }
            let (left, what, max_bytes) = match is_sheet {
                true => (&mut sheets, "the unpacked sheets", SHEETS_BYTES_MAX),
                false => (&mut held, "the unpacked texts and styles", options.decoded_budget_bytes),
            };
            *left = left.checked_sub(count).ok_or_else(|| over(what.to_owned(), max_bytes))?;
        }
        states_utc |= String::from_utf8_lossy(&properties).contains(WORKBOOK_ZONE);
    }
    Ok(states_utc)
}

/// The bytes that the parser may hold as one text: those between two tags, and in a sheet those of a whole
/// cell, because a formatted text has tags inside.
#[derive(Default)]
struct Run {
    is_sheet: bool,
    bytes: usize,
    /// The name of the current tag, with its slash.
    name: Vec<u8>,
    /// Whether the name continues.
    is_in_name: bool,
    is_in_cell: bool,
}

impl Run {
    /// Adds the bytes up to the next tag; returns those of the text so far.
    fn add(&mut self, piece: &[u8]) -> usize {
        self.bytes += piece.len();
        if self.is_in_name && self.is_sheet {
            self.read_name(piece);
        }
        let bytes = self.bytes;
        if piece.ends_with(b"<") {
            self.name.clear();
            self.is_in_name = true;
            if !self.is_in_cell {
                self.bytes = 0;
            }
        }
        bytes
    }

    fn read_name(&mut self, piece: &[u8]) {
        for byte in piece {
            match byte {
                b'>' | b'<' | b' ' | b'\t' | b'\r' | b'\n' => self.is_in_name = false,
                b'/' if !self.name.is_empty() => self.is_in_name = false,
                _ if self.name.len() < NAME_BYTES => self.name.push(*byte),
                _ => {}
            }
            if !self.is_in_name {
                break;
            }
        }
        if self.is_in_name {
            return;
        }
        let closes = self.name.starts_with(b"/");
        let local = self.name.rsplit(|byte| matches!(byte, b':' | b'/')).next();
        match local {
            Some(b"c") => {
                self.is_in_cell = !closes;
                self.bytes = piece.len();
            }
            Some(b"row" | b"sheetData") => self.is_in_cell = false,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn longest(text: &str, is_sheet: bool, cut: usize) -> usize {
        let mut run = Run { is_sheet, ..Run::default() };
        let mut longest = 0;
        for buffer in text.as_bytes().chunks(cut) {
            for piece in buffer.split_inclusive(|byte| *byte == b'<') {
                longest = longest.max(run.add(piece));
            }
        }
        longest
    }

    #[test]
    fn a_cell_is_one_text_whatever_tags_it_has() {
        let formatted = "<r><t>0123456789</t></r>".repeat(10);
        let cell = format!("<x:c r=\"A1\"><is>{formatted}</is></x:c>");
        let cells = format!("<row>{}</row>", cell.repeat(5));
        let mergers = "<mergeCell ref=\"A1\"/>".repeat(100);
        let sheet = format!("<sheetData>{cells}</sheetData>{mergers}");
        for cut in [1, 2, 3, 7, 10_000] {
            let bytes = longest(&sheet, true, cut);
            assert!(bytes > 200 && bytes <= cell.len(), "{bytes} of {}", cell.len());
            assert!(longest(&sheet, false, cut) < 30, "{cut}");
        }
        // A cell without content is closed by the next tag of a cell or row.
        let empty = format!("<row>{}</row>{mergers}", "<c r=\"A1\" s=\"1\"/>".repeat(100));
        assert!(longest(&empty, true, 10_000) < 40);
    }
}
