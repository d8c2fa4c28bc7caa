//! Safetensors files: an 8-byte length, a JSON header of that length, and the tensors end to end (the
//! format as published by Hugging Face, "Safetensors", format section). Every number in the header is a
//! claim by whoever wrote the file: each is checked against the bytes that are there before it is used, and
//! nothing is allocated by a claimed size.
//!
//! ```text
//!  | n: u64 LE | header: n bytes of JSON                      | data            |
//!  |           | {"w": {"dtype", "shape", "data_offsets"}, …} | w … | b … | …   |
//! ```

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Error, Result};

/// Largest header in bytes, as in the reference implementation.
pub const HEADER_BYTES_MAX: usize = 100_000_000;
/// Most tensors in a file.
pub const TENSORS_MAX: usize = 1 << 20;
/// Most dimensions of a tensor.
const RANK_MAX: usize = 16;
/// Key of the header that holds free text instead of a tensor.
const METADATA_KEY: &str = "__metadata__";
/// Bytes of the length before the header.
const PREFIX_BYTES: usize = 8;

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)] // the names are the documentation
pub enum ElementType {
    Bool,
    U8,
    I8,
    #[serde(rename = "F8_E5M2")]
    F8E5M2,
    #[serde(rename = "F8_E4M3")]
    F8E4M3,
    I16,
    U16,
    F16,
    Bf16,
    I32,
    U32,
    F32,
    I64,
    U64,
    F64,
}

/// Where a tensor lies and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Type of its elements.
    pub element: ElementType,
    /// Its dimensions; none for a single number.
    pub shape: Vec<usize>,
    /// First byte of its data, counted from the end of the header.
    pub begin: usize,
    /// Byte after its data.
    pub end: usize,
}

/// A safetensors file whose header was checked against its length.
#[derive(Clone, Debug)]
pub struct Weights<'a> {
    tensors: BTreeMap<String, TensorInfo>,
    metadata: BTreeMap<String, String>,
    data: &'a [u8],
}

/// A tensor as the header writes it.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: ElementType,
    shape: Vec<usize>,
    data_offsets: (usize, usize),
}

impl ElementType {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Self::Bool | Self::U8 | Self::I8 | Self::F8E5M2 | Self::F8E4M3 => 1,
            Self::I16 | Self::U16 | Self::F16 | Self::Bf16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
        }
    }
}

impl TensorInfo {
    /// Number of elements; a tensor that exists has few enough to count.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

impl<'a> Weights<'a> {
    /// Reads the header of `file` and checks that it describes exactly the bytes that follow.
    pub fn read(file: &'a [u8]) -> Result<Self> {
        let Some((prefix, rest)) = file.split_first_chunk::<PREFIX_BYTES>() else {
            return fail(format!("expected at least 8 bytes, found {}", file.len()));
        };
        let claimed = u64::from_le_bytes(*prefix);
        if claimed > HEADER_BYTES_MAX as u64 {
            return Err(Error::Limit {
                part: "weights header",
                found: claimed,
                limit: HEADER_BYTES_MAX as u64,
                unit: "bytes",
            });
        }
        let Some((header, data)) =
            usize::try_from(claimed).ok().and_then(|n| rest.split_at_checked(n))
        else {
            return fail(format!(
                "expected a header of {claimed} bytes, found {} bytes after its length",
                rest.len()
            ));
        };
        let (tensors, metadata) = parse_header(header)?;
        check_layout(&tensors, data.len())?;
        Ok(Self { tensors, metadata, data })
    }

    /// The tensors by name.
    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    /// Free text that the writer put into the header.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The bytes of a tensor, little-endian, row by row; `None` when there is none of this name.
    pub fn bytes(&self, name: &str) -> Option<&'a [u8]> {
        let tensor = self.tensors.get(name)?;
        self.data.get(tensor.begin..tensor.end)
    }

    /// Elements of all tensors together.
    pub fn parameters(&self) -> u64 {
        self.tensors.values().map(|tensor| tensor.elements() as u64).sum()
    }

    /// Writes a file of tensors in the order of their names.
    pub fn write(
        tensors: &BTreeMap<String, (ElementType, Vec<usize>, &[u8])>,
        metadata: &BTreeMap<String, String>,
    ) -> Result<Vec<u8>> {
        let mut header = serde_json::Map::new();
        let as_json = |e: serde_json::Error| Error::Weights { problem: format!("header: {e}") };
        if !metadata.is_empty() {
            header.insert(METADATA_KEY.into(), serde_json::to_value(metadata).map_err(as_json)?);
        }
        let mut end = 0;
        for (name, (element, shape, bytes)) in tensors {
            let expected = tensor_bytes(*element, shape);
            if expected != Some(bytes.len()) || name == METADATA_KEY {
                return fail(format!(
                    "tensor {name:?} of {element:?} and shape {shape:?}: expected {} bytes, found {}",
                    expected.map_or("countable".into(), |n| n.to_string()),
                    bytes.len()
                ));
            }
            let entry = Entry {
                dtype: *element,
                shape: shape.clone(),
                data_offsets: (end, end + bytes.len()),
            };
            end += bytes.len();
            header.insert(name.clone(), serde_json::to_value(entry).map_err(as_json)?);
        }
        let mut text = serde_json::to_vec(&header).map_err(as_json)?;
        // Data begins at a multiple of 8, so that it can be used where it lies.
        text.resize(text.len().next_multiple_of(8), b' ');
        let mut file = (text.len() as u64).to_le_bytes().to_vec();
        file.extend(text);
        tensors.values().for_each(|(_, _, bytes)| file.extend_from_slice(bytes));
        Ok(file)
    }
}

fn parse_header(header: &[u8]) -> Result<(BTreeMap<String, TensorInfo>, BTreeMap<String, String>)> {
    let Header { tensors, metadata } = serde_json::from_slice(header)
        .map_err(|e| Error::Weights { problem: format!("header: {e}") })?;
    if tensors.len() > TENSORS_MAX {
        return Err(Error::Limit {
            part: "weights header",
            found: tensors.len() as u64,
            limit: TENSORS_MAX as u64,
            unit: "tensors",
        });
    }
    Ok((tensors, metadata))
}

/// A header, each entry read as what its name says: a tree of whatever stands there would take many times the room of its text.
#[derive(Default)]
struct Header {
    tensors: BTreeMap<String, TensorInfo>,
    metadata: BTreeMap<String, String>,
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Header, A::Error> {
        let mut header = Header::default();
        while let Some(name) = map.next_key::<String>()? {
            let malformed = |e: A::Error| A::Error::custom(format!("{:?}: {e}", shortened(&name)));
            if name == METADATA_KEY {
                header.metadata = map.next_value().map_err(malformed)?;
                continue;
            }
            let entry: Entry = map.next_value().map_err(malformed)?;
            let (begin, end) = entry.data_offsets;
            let info = TensorInfo { element: entry.dtype, shape: entry.shape, begin, end };
            header.tensors.insert(name, info);
        }
        Ok(header)
    }
}

/// Tensors must fill the data from first to last byte, without holes and without sharing.
fn check_layout(tensors: &BTreeMap<String, TensorInfo>, data_bytes: usize) -> Result<()> {
    let mut in_order: Vec<(&String, &TensorInfo)> = tensors.iter().collect();
    in_order.sort_by_key(|(_, tensor)| (tensor.begin, tensor.end));
    let mut expected_begin = 0;
    for (name, tensor) in in_order {
        let name = shortened(name);
        if tensor.shape.len() > RANK_MAX {
            return fail(format!(
                "tensor {name:?}: expected at most {RANK_MAX} dimensions, found {}",
                tensor.shape.len()
            ));
        }
        if tensor.begin != expected_begin || tensor.end < tensor.begin || tensor.end > data_bytes {
            return fail(format!(
                "tensor {name:?}: expected data from byte {expected_begin} to at most {data_bytes}, \
                 found {} to {}",
                tensor.begin, tensor.end
            ));
        }
        let expected = tensor_bytes(tensor.element, &tensor.shape);
        if expected != Some(tensor.end - tensor.begin) {
            return fail(format!(
                "tensor {name:?} of {:?} and shape {:?}: expected {} bytes, found {}",
                tensor.element,
                tensor.shape,
                expected.map_or("fewer than 2^64".into(), |n| n.to_string()),
                tensor.end - tensor.begin
            ));
        }
        expected_begin = tensor.end;
    }
    if expected_begin != data_bytes {
        return fail(format!(
            "expected {expected_begin} bytes of tensors after the header, found {data_bytes}"
        ));
    }
    Ok(())
}

fn tensor_bytes(element: ElementType, shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(element.bytes(), |bytes, dimension| bytes.checked_mul(*dimension))
}

fn shortened(name: &str) -> String {
    name.chars().take(80).collect()
}

fn fail<T>(problem: String) -> Result<T> {
    Err(Error::Weights { problem })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
    }

    #[test]
    fn tensors_are_read_as_written() {
        let (w, b) = ([1_u8, 2, 3, 4, 5, 6, 7, 8], [9_u8, 10]);
        let tensors = BTreeMap::from([
            ("layer.w".to_owned(), (ElementType::F32, vec![2, 1], &w[..])),
            ("layer.b".to_owned(), (ElementType::Bf16, vec![], &b[..])),
            ("none".to_owned(), (ElementType::F64, vec![0, 3], &[][..])),
        ]);
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        let file = Weights::write(&tensors, &metadata).unwrap();
        let weights = Weights::read(&file).unwrap();
        assert_eq!(weights.bytes("layer.w").unwrap(), w);
        assert_eq!(weights.bytes("layer.b").unwrap(), b);
        assert_eq!(weights.tensors()["layer.w"].shape, [2, 1]);
        assert_eq!((weights.parameters(), weights.metadata()), (3, &metadata));
        assert!(weights.bytes("other").is_none());
    }

    #[test]
    fn a_file_that_claims_more_than_it_has_is_refused_with_both_numbers() {
        let one = |offsets: &str, shape: &str| {
            format!(r#"{{"w":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}"#)
        };
        let cases: Vec<(Vec<u8>, &str)> = vec![
            (vec![1, 2, 3], "at least 8 bytes, found 3"),
            (u64::MAX.to_le_bytes().to_vec(), "at most 100000000 bytes"),
            ([&99_u64.to_le_bytes()[..], b"{}"].concat(), "header of 99 bytes, found 2"),
            (file("[]", b""), "invalid type"),
            (file("{", b""), "EOF"),
            (file(r#"{"w":[[],[]]}"#, b""), "header: \"w\": expected value"),
            (file(&one("[0,8]", "[2]"), b"1234"), "to at most 4, found 0 to 8"),
            (file(&one("[0,4]", "[2]"), b"1234"), "expected 8 bytes, found 4"),
            (file(&one("[4,0]", "[1]"), b"1234"), "expected data from byte 0"),
            (
                file(&one("[0,4]", "[1]"), b"12345"),
                "expected 4 bytes of tensors after the header, found 5",
            ),
            (file(&one("[0,4]", "[4294967296,4294967296,4]"), b"1234"), "fewer than 2^64"),
            (file(&one("[0,4]", "[1]").replace("F32", "F31"), b"1234"), "unknown variant `F31`"),
        ];
        for (bytes, expected) in cases {
            let message = Weights::read(&bytes).unwrap_err().to_string();
            assert!(message.contains(expected), "{message:?} does not say {expected:?}");
        }
    }

    #[test]
    fn tensors_may_not_share_bytes_and_leave_no_hole() {
        let two = |a: &str, b: &str| {
            format!(
                r#"{{"a":{{"dtype":"U8","shape":[2],"data_offsets":{a}}},"b":{{"dtype":"U8","shape":[2],"data_offsets":{b}}}}}"#
            )
        };
        assert!(Weights::read(&file(&two("[2,4]", "[0,2]"), b"1234")).is_ok());
        for (a, b) in [("[0,2]", "[1,3]"), ("[0,2]", "[3,5]"), ("[0,2]", "[0,2]")] {
            let file = file(&two(a, b), b"12345");
            assert!(Weights::read(&file).is_err(), "{a} {b} passed");
        }
    }

    #[test]
    fn any_cut_of_a_good_file_is_an_error() {
        let data = [7_u8; 12];
        let tensors = BTreeMap::from([("w".to_owned(), (ElementType::F32, vec![3], &data[..]))]);
        let file = Weights::write(&tensors, &BTreeMap::new()).unwrap();
        for length in 0..file.len() {
            assert!(Weights::read(&file[..length]).is_err(), "{length} of {} passed", file.len());
        }
    }
}
