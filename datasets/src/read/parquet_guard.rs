//! What decoding a row group of a Parquet file will take, checked by its page headers before it is decoded.
//!
//! ```text
//! column chunk: [ header | dictionary page ] [ header | data page ] [ header | data page ] …
//!                 ^ uncompressed size, number of values, encoding: read here, one by one
//! ```
//!
//! Held at a time are, per column, a dictionary, a data page, and a batch's values; the sum stays within the
//! budget, by refusing what can't fit and by choosing how many rows are decoded together.

use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, Encoding, Type as PhysicalType};
use parquet::column::page::{Page, PageReader};
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use parquet::file::reader::ChunkReader;
use parquet::file::serialized_reader::SerializedPageReader;

use super::delta;
use super::pages::{self, PageHeader};
use super::unpack::{self, GZIP_RATIO_MAX, LZ4_RATIO_MAX, Unbounded};

/// Page headers hold at most a few statistics; read this much to find one.
const PAGE_HEADER_BYTES: u64 = 8 * 1024;
const PAGE_HEADER_MAX_BYTES: u64 = 4 * 1024 * 1024;
/// What one value takes while it is decoded, its text aside: a view and its levels.
const VALUE_BYTES: u64 = 20;
/// Nested values that one uncompressed byte may stand for, beyond what the budget covers anyway.
const NESTED_VALUES_PER_BYTE: u64 = 64;
const LZ4_FRAME_MAGIC: [u8; 4] = [0x04, 0x22, 0x4D, 0x18];
const DELTA_LENGTH_BYTE_ARRAY: i64 = 6;
const DELTA_BYTE_ARRAY: i64 = 7;

/// Why a file is not read.
#[derive(Debug)]
pub(super) enum Problem {
    /// It contradicts itself or the format.
    Unreadable(String),
    /// It is larger than the budget allows.
    TooLarge { what: String, limit_bytes: u64 },
}

impl Problem {
    fn at(self, place: &str) -> Self {
        match self {
            Self::Unreadable(problem) => Self::Unreadable(format!("{place}: {problem}")),
            Self::TooLarge { what, limit_bytes } => {
                Self::TooLarge { what: format!("{place}: {what}"), limit_bytes }
            }
        }
    }
}

impl From<parquet::errors::ParquetError> for Problem {
    fn from(error: parquet::errors::ParquetError) -> Self {
        Self::Unreadable(error.to_string())
    }
}

/// Checks a row group; the number of its rows that can be decoded together, at most `rows_max`.
pub(super) fn check_row_group<R: ChunkReader + 'static>(
    input: &Arc<R>,
    group: &RowGroupMetaData,
    rows_max: usize,
    budget_bytes: usize,
) -> Result<usize, Problem> {
    let budget = budget_bytes as u64;
    let group_rows = u64::try_from(group.num_rows())
        .map_err(|_| Problem::Unreadable(format!("{} rows", group.num_rows())))?;
    let mut held_bytes = 0_u64;
    let mut row_bytes = 0_u64;
    for column in group.columns() {
        let place = format!("column {}", column.column_path());
        let need = check_column(input, column, group_rows, budget).map_err(|p| p.at(&place))?;
        held_bytes = held_bytes.saturating_add(need.held_bytes);
        row_bytes = row_bytes.saturating_add(need.row_bytes);
    }
    if held_bytes > budget {
        return Err(Problem::TooLarge {
            what: format!("what its columns' pages unpack to together, {held_bytes} bytes,"),
            limit_bytes: budget,
        });
    }
    Ok((budget / row_bytes.max(1)).clamp(1, rows_max.max(1) as u64) as usize)
}

/// What decoding a column takes.
struct Need {
    /// Its dictionary and its largest page.
    held_bytes: u64,
    /// A row's values, by the densest page.
    row_bytes: u64,
}

/// What the pages of a column chunk declare.
#[derive(Default)]
struct Declared {
    values: u64,
    uncompressed_bytes: u64,
    dictionary_bytes: u64,
    largest_bytes: u64,
    /// Most bytes per value of a page.
    value_bytes: u64,
    has_deltas: bool,
}

fn check_column<R: ChunkReader + 'static>(
    input: &Arc<R>,
    column: &ColumnChunkMetaData,
    group_rows: u64,
    budget: u64,
) -> Result<Need, Problem> {
    let mut declared = read_headers(input.as_ref(), column, budget)?;
    if declared.has_deltas {
        let longest = longest_delta_value(input, column, group_rows, budget)?;
        declared.value_bytes = declared.value_bytes.max(longest);
    }
    let descriptor = column.column_descr();
    let width = match descriptor.physical_type() {
        PhysicalType::FIXED_LEN_BYTE_ARRAY => {
            u64::try_from(descriptor.type_length()).map_err(|_| {
                Problem::Unreadable(format!("values of {} bytes", descriptor.type_length()))
            })?
        }
        PhysicalType::BYTE_ARRAY => declared.value_bytes + VALUE_BYTES,
        _ => VALUE_BYTES,
    };
    if width > budget {
        return Err(Problem::TooLarge { what: "a value".into(), limit_bytes: budget });
    }
    let held_bytes = declared.dictionary_bytes + declared.largest_bytes;
    if descriptor.max_rep_level() == 0 {
        return Ok(Need { held_bytes, row_bytes: width.max(1) });
    }
    // Every value of a chunk may belong to one row; only decoding would tell.
    let decoded = declared.values.saturating_mul(VALUE_BYTES);
    let most = budget.max(declared.uncompressed_bytes.saturating_mul(NESTED_VALUES_PER_BYTE));
    if decoded > most {
        return Err(Problem::TooLarge {
            what: format!(
                "its lists ({} values in {} bytes)",
                declared.values, declared.uncompressed_bytes
            ),
            limit_bytes: most,
        });
    }
    let values_per_row = declared.values.div_ceil(group_rows.max(1)).max(1);
    Ok(Need { held_bytes, row_bytes: width.saturating_mul(values_per_row) })
}

fn read_headers<R: ChunkReader>(
    input: &R,
    column: &ColumnChunkMetaData,
    budget: u64,
) -> Result<Declared, Problem> {
    let fail = |problem: String| Err(Problem::Unreadable(problem));
    let length = input.len();
    // Where the decoder begins, whatever lies between.
    let first = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
    let (Ok(start), Ok(size)) = (u64::try_from(first), u64::try_from(column.compressed_size()))
    else {
        return fail("an offset or size below zero".into());
    };
    let Some(end) = start.checked_add(size).filter(|end| *end <= length) else {
        return fail(format!("{size} bytes from byte {start} on, in a file of {length}"));
    };
    let mut at = start;
    let mut declared = Declared::default();
    // All pages: the decoder asks for the next one also where it has all values that the chunk is said to have.
    while at < end {
        let place = format!("page at byte {at}");
        let page = read_header(input, at, end).map_err(|p| Problem::Unreadable(p).at(&place))?;
        let left = end - at - page.header_bytes as u64;
        let (Ok(compressed), Ok(uncompressed), Ok(values), Ok(dictionary_values)) = (
            u64::try_from(page.compressed_bytes),
            u64::try_from(page.uncompressed_bytes),
            u64::try_from(page.values.unwrap_or_default()),
            u64::try_from(page.dictionary_values.unwrap_or_default()),
        ) else {
            return fail(format!("{place}: a size below zero"));
        };
        if compressed > left {
            return fail(format!("{place}: {compressed} bytes where {left} are left"));
        }
        if uncompressed > budget {
            return Err(Problem::TooLarge {
                what: format!("the {place}, unpacked to {uncompressed} bytes,"),
                limit_bytes: budget,
            });
        }
        // A value takes a bit at least; the decoder reserves for as many as are declared.
        if dictionary_values > uncompressed.saturating_mul(8) {
            return fail(format!("{place}: {dictionary_values} values in {uncompressed} bytes"));
        }
        let body = at + page.header_bytes as u64;
        check_codec(input, column.compression(), body, compressed, uncompressed, budget)
            .map_err(|problem| problem.at(&place))?;
        if page.dictionary_values.is_some() {
            // Fixed-width values are decoded beside the page.
            declared.dictionary_bytes =
                declared.dictionary_bytes.max(uncompressed.saturating_mul(2));
        } else {
            declared.largest_bytes = declared.largest_bytes.max(uncompressed);
            declared.value_bytes =
                declared.value_bytes.max(uncompressed.checked_div(values).unwrap_or_default());
        }
        declared.has_deltas |=
            matches!(page.encoding, Some(DELTA_LENGTH_BYTE_ARRAY | DELTA_BYTE_ARRAY));
        declared.values += values;
        declared.uncompressed_bytes += uncompressed;
        at = body + compressed;
    }
    Ok(declared)
}

fn read_header<R: ChunkReader>(input: &R, at: u64, end: u64) -> Result<PageHeader, String> {
    let mut window = PAGE_HEADER_BYTES;
    loop {
        let size = window.min(end - at);
        let bytes: Bytes = input.get_bytes(at, size as usize).map_err(|e| e.to_string())?;
        match pages::page_header(&bytes) {
            Err(_) if size < end - at && window < PAGE_HEADER_MAX_BYTES => window *= 8,
            outcome => return outcome,
        }
    }
}

/// Checks that a page unpacks to no more than it declares, where its codec would not stop there.
fn check_codec<R: ChunkReader>(
    input: &R,
    compression: Compression,
    at: u64,
    compressed: u64,
    uncompressed: u64,
    budget: u64,
) -> Result<(), Problem> {
    let codec = match compression {
        Compression::GZIP(_) if compressed.saturating_mul(GZIP_RATIO_MAX) > budget => {
            Unbounded::Gzip
        }
        Compression::BROTLI(_) => Unbounded::Brotli,
        Compression::LZ4 if compressed.saturating_mul(LZ4_RATIO_MAX) > budget => {
            Unbounded::Lz4Frame
        }
        _ => return Ok(()),
    };
    let packed = input.get_bytes(at, compressed as usize)?;
    if codec == Unbounded::Lz4Frame && !packed.starts_with(&LZ4_FRAME_MAGIC) {
        return Ok(());
    }
    unpack::check_unpacked(codec, &packed, uncompressed).map_err(Problem::Unreadable)
}

/// The longest value that the delta-encoded pages of a column hold.
fn longest_delta_value<R: ChunkReader + 'static>(
    input: &Arc<R>,
    column: &ColumnChunkMetaData,
    group_rows: u64,
    budget: u64,
) -> Result<u64, Problem> {
    let descriptor = column.column_descr();
    let levels = [descriptor.max_rep_level(), descriptor.max_def_level()];
    let mut pages =
        SerializedPageReader::new(Arc::clone(input), column, group_rows as usize, None)?;
    let mut longest = 0;
    while let Some(page) = pages.get_next_page()? {
        let (encoding, values) = match &page {
            Page::DataPage { encoding, .. } | Page::DataPageV2 { encoding, .. } => {
                (*encoding, page.num_values() as usize)
            }
            Page::DictionaryPage { .. } => continue,
        };
        let data = values_of(&page, levels)
            .ok_or_else(|| Problem::Unreadable("a page whose levels are longer than it".into()))?;
        let measured = match encoding {
            Encoding::DELTA_LENGTH_BYTE_ARRAY => delta::delta_length(data, values),
            Encoding::DELTA_BYTE_ARRAY => delta::delta_byte_array(data, values),
            _ => continue,
        };
        let measured = measured.map_err(Problem::Unreadable)?;
        if measured.total_bytes > budget {
            return Err(Problem::TooLarge {
                what: format!("a page of texts, {} bytes,", measured.total_bytes),
                limit_bytes: budget,
            });
        }
        longest = longest.max(measured.longest_bytes);
    }
    Ok(longest)
}

/// The values of a data page, behind its levels.
fn values_of(page: &Page, levels: [i16; 2]) -> Option<&[u8]> {
    match page {
        Page::DataPageV2 { buf, def_levels_byte_len, rep_levels_byte_len, .. } => {
            buf.get((*def_levels_byte_len as usize).checked_add(*rep_levels_byte_len as usize)?..)
        }
        Page::DataPage { buf, num_values, def_level_encoding, rep_level_encoding, .. } => {
            let mut at = 0_usize;
            for (level, encoding) in
                levels.into_iter().zip([rep_level_encoding, def_level_encoding])
            {
                if level == 0 {
                    continue;
                }
                if *encoding == Encoding::RLE {
                    let length = buf.get(at..at.checked_add(4)?)?.first_chunk::<4>()?;
                    at = at.checked_add(4)?.checked_add(u32::from_le_bytes(*length) as usize)?;
                } else {
                    // BIT_PACKED, the form of old files.
                    let width = 16 - (level as u16).leading_zeros() as usize;
                    at = at.checked_add((*num_values as usize).checked_mul(width)?.div_ceil(8))?;
                }
            }
            buf.get(at..)
        }
        Page::DictionaryPage { .. } => None,
    }
}
