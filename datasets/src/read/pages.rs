//! What a Parquet file declares, checked before anything is allocated for it.
//!
//! The Parquet crate reserves memory by numbers that it reads from the file: list lengths, chunk sizes,
//! uncompressed page sizes. A reservation that the allocator refuses ends the process, which nothing can
//! catch, so those numbers are walked over first, in a small reader of the Thrift compact protocol
//! (<https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>).

/// Deepest nesting of Thrift values; Parquet's own structures need less than ten.
const THRIFT_DEPTH_MAX: usize = 32;
/// Deepest nesting of groups in a schema: readers recurse over it.
const SCHEMA_DEPTH_MAX: usize = 64;
/// Longest list of the metadata, far above what any file needs.
const LIST_MAX: usize = 1 << 20;
/// Row groups have 16-bit ordinals.
const ROW_GROUPS_MAX: usize = i16::MAX as usize;
/// Most elements of a schema.
const SCHEMA_ELEMENTS_MAX: usize = 65_536;

/// What a footer says.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Footer {
    /// Some columns are encrypted.
    pub(crate) encrypted: bool,
}

/// What a page header says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct PageHeader {
    /// Bytes of the header itself.
    pub(crate) header_bytes: usize,
    pub(crate) compressed_bytes: i64,
    pub(crate) uncompressed_bytes: i64,
    /// Values of a data page; none for other pages.
    pub(crate) values: Option<i64>,
    /// How a data page's values are encoded.
    pub(crate) encoding: Option<i64>,
    /// Values of a dictionary page.
    pub(crate) dictionary_values: Option<i64>,
}

/// Walks over a footer (the serialized `FileMetaData`).
pub(crate) fn check_footer(bytes: &[u8]) -> Result<Footer, String> {
    let mut walk = Walk { bytes, at: 0 };
    let mut footer = Footer::default();
    walk.fields(0, |walk, id, kind| match (id, kind) {
        (2, Kind::List) => walk.schema(),
        (4, Kind::List) => {
            let (item, count) = walk.list_header()?;
            if count > ROW_GROUPS_MAX {
                return Err(format!("{count} row groups; at most {ROW_GROUPS_MAX} are possible"));
            }
            if item != Kind::Struct {
                return Err("the row groups are not a list of groups".into());
            }
            (0..count).try_for_each(|_| walk.row_group())
        }
        (8, kind) => {
            footer.encrypted = true;
            walk.skip(kind, 0)
        }
        (_, kind) => walk.skip(kind, 0),
    })?;
    Ok(footer)
}

/// Reads the page header at the start of `bytes`.
pub(crate) fn page_header(bytes: &[u8]) -> Result<PageHeader, String> {
    let mut walk = Walk { bytes, at: 0 };
    let mut page =
        PageHeader { compressed_bytes: -1, uncompressed_bytes: -1, ..Default::default() };
    walk.fields(0, |walk, id, kind| match (id, kind) {
        (2, Kind::Int) => {
            page.uncompressed_bytes = walk.int()?;
            Ok(())
        }
        (3, Kind::Int) => {
            page.compressed_bytes = walk.int()?;
            Ok(())
        }
        // A data page's header of version 1 has the encoding in field 2, one of version 2 in field 4.
        (5 | 8, Kind::Struct) => {
            let encoding = if id == 5 { 2 } else { 4 };
            walk.fields(1, |walk, id, kind| match (id, kind) {
                (1, Kind::Int) => walk.int().map(|values| page.values = Some(values)),
                (id, Kind::Int) if id == encoding => {
                    walk.int().map(|encoding| page.encoding = Some(encoding))
                }
                (_, kind) => walk.skip(kind, 1),
            })
        }
        (7, Kind::Struct) => walk.fields(1, |walk, id, kind| match (id, kind) {
            (1, Kind::Int) => walk.int().map(|values| page.dictionary_values = Some(values)),
            (_, kind) => walk.skip(kind, 1),
        }),
        (_, kind) => walk.skip(kind, 0),
    })?;
    page.header_bytes = walk.at;
    Ok(page)
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// A boolean field, whose value is in its type.
    Flag,
    Byte,
    /// 16, 32 or 64 bits.
    Int,
    Double,
    Binary,
    List,
    Map,
    Struct,
    Uuid,
}

impl Kind {
    fn of(nibble: u8) -> Result<Self, String> {
        Ok(match nibble {
            1 | 2 => Self::Flag,
            3 => Self::Byte,
            4..=6 => Self::Int,
            7 => Self::Double,
            8 => Self::Binary,
            9 | 10 => Self::List,
            11 => Self::Map,
            12 => Self::Struct,
            13 => Self::Uuid,
            other => return Err(format!("Thrift type {other} does not exist")),
        })
    }
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Walk<'_> {
    fn byte(&mut self) -> Result<u8, String> {
        let byte = self.bytes.get(self.at).copied().ok_or("the metadata ends early")?;
        self.at += 1;
        Ok(byte)
    }

    fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7F).checked_shl(shift).unwrap_or_default();
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a number is longer than 64 bits".into())
    }

    fn int(&mut self) -> Result<i64, String> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn pass(&mut self, count: u64) -> Result<(), String> {
        let left = (self.bytes.len() - self.at) as u64;
        if count > left {
            return Err(format!("{count} bytes are declared where {left} are left"));
        }
        self.at += count as usize;
        Ok(())
    }

    fn list_header(&mut self) -> Result<(Kind, usize), String> {
        let byte = self.byte()?;
        let count = match byte >> 4 {
            15 => self.varint()?,
            short => short.into(),
        };
        let left = (self.bytes.len() - self.at) as u64;
        if count > left {
            return Err(format!(
                "a list of {count} elements is declared where {left} bytes are left"
            ));
        }
        // Some writers leave the type of an empty list out.
        let item = if count == 0 { Kind::Byte } else { Kind::of(byte & 0x0F)? };
        Ok((item, count as usize))
    }

    /// Visits the fields of a struct.
    fn fields(
        &mut self,
        depth: usize,
        mut visit: impl FnMut(&mut Self, i64, Kind) -> Result<(), String>,
    ) -> Result<(), String> {
        if depth > THRIFT_DEPTH_MAX {
            return Err(format!("values are nested more than {THRIFT_DEPTH_MAX} deep"));
        }
        let mut id = 0;
        loop {
            let byte = self.byte()?;
            if byte == 0 {
                return Ok(());
            }
            id = match byte >> 4 {
                0 => self.int()?,
                delta => id + i64::from(delta),
            };
            visit(self, id, Kind::of(byte & 0x0F)?)?;
        }
    }

    /// Walks a row group; its columns are its first field.
    fn row_group(&mut self) -> Result<(), String> {
        self.fields(1, |walk, id, kind| match (id, kind) {
            (1, Kind::List) => {
                let (item, count) = walk.list_header()?;
                if count > SCHEMA_ELEMENTS_MAX {
                    return Err(format!("{count} columns; at most {SCHEMA_ELEMENTS_MAX} are read"));
                }
                (0..count).try_for_each(|_| walk.item(item, 2))
            }
            (_, kind) => walk.skip(kind, 1),
        })
    }

    fn skip(&mut self, kind: Kind, depth: usize) -> Result<(), String> {
        match kind {
            Kind::Flag => Ok(()),
            Kind::Byte => self.pass(1),
            Kind::Int => self.varint().map(|_| ()),
            Kind::Double => self.pass(8),
            Kind::Uuid => self.pass(16),
            Kind::Binary => {
                let count = self.varint()?;
                self.pass(count)
            }
            Kind::List => {
                let (item, count) = self.list_header()?;
                if count > LIST_MAX {
                    return Err(format!("a list of {count} elements; at most {LIST_MAX} are read"));
                }
                (0..count).try_for_each(|_| self.item(item, depth + 1))
            }
            Kind::Map => {
                let count = self.varint()?;
                if count == 0 {
                    return Ok(());
                }
                let kinds = self.byte()?;
                let (key, value) = (Kind::of(kinds >> 4)?, Kind::of(kinds & 0x0F)?);
                for _ in 0..count {
                    self.item(key, depth + 1)?;
                    self.item(value, depth + 1)?;
                }
                Ok(())
            }
            Kind::Struct => self.fields(depth + 1, |walk, _, kind| walk.skip(kind, depth + 1)),
        }
    }

    fn item(&mut self, kind: Kind, depth: usize) -> Result<(), String> {
        if depth > THRIFT_DEPTH_MAX {
            return Err(format!("values are nested more than {THRIFT_DEPTH_MAX} deep"));
        }
        match kind {
            // One byte each, of which the decoder behind this takes none: it would go on for as many as are declared.
            Kind::Flag => Err("a list or map of booleans, of which Parquet has none".into()),
            kind => self.skip(kind, depth),
        }
    }

    /// Walks the schema, a tree in depth-first order, where each element says how many children follow.
    fn schema(&mut self) -> Result<(), String> {
        let (item, count) = self.list_header()?;
        if count > SCHEMA_ELEMENTS_MAX {
            return Err(format!("{count} schema elements; at most {SCHEMA_ELEMENTS_MAX} are read"));
        }
        if item != Kind::Struct {
            return Err("the schema is not a list of elements".into());
        }
        // Children still to come, per open group.
        let mut open: Vec<i64> = Vec::new();
        for _ in 0..count {
            let mut children = 0;
            self.fields(1, |walk, id, kind| match (id, kind) {
                (5, Kind::Int) => {
                    children = walk.int()?;
                    Ok(())
                }
                (_, kind) => walk.skip(kind, 1),
            })?;
            if children < 0 || children > count as i64 {
                return Err(format!("a schema element of {children} children among {count}"));
            }
            if let Some(left) = open.last_mut() {
                *left -= 1;
            }
            if children > 0 {
                open.push(children);
            }
            while open.last() == Some(&0) {
                open.pop();
            }
            if open.len() > SCHEMA_DEPTH_MAX {
                return Err(format!("groups are nested more than {SCHEMA_DEPTH_MAX} deep"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_list_longer_than_the_footer_is_refused() {
        // Field 4 (row groups), a list of 2^31 structs, and nothing behind it.
        let footer = [0x49, 0xFC, 0xFF, 0xFF, 0xFF, 0xFF, 0x07];
        assert!(check_footer(&footer).unwrap_err().contains("list of 2147483647 elements"));
    }

    #[test]
    fn deep_schemas_and_values_are_refused() {
        // Every element has one child: `num_children` is field 5, the value 1 is zigzag 2.
        let mut footer = vec![0x29, 0xFC, 0xE8, 0x07];
        for _ in 0..1_000 {
            footer.extend([0x55, 0x02, 0x00]);
        }
        footer.push(0);
        assert!(check_footer(&footer).unwrap_err().contains("nested more than 64"));
        let nested = [0x1C_u8; 200];
        assert!(check_footer(&nested).unwrap_err().contains("nested more than 32"));
    }

    #[test]
    fn booleans_in_lists_and_maps_are_refused() {
        // Field 7, which no page header has: a list of 2 booleans; a map of one boolean to a number; a list of none.
        for (field, is_read) in [
            (&[0x79_u8, 0x21, 1, 1][..], false),
            (&[0x7B, 1, 0x15, 1, 2], false),
            (&[0x79, 0x01], true),
        ] {
            let mut header = vec![0x15, 0, 0x15, 0xC8, 0x01, 0x15, 0x78];
            header.extend(field);
            header.push(0);
            match page_header(&header) {
                Err(problem) => assert!(!is_read && problem.contains("booleans"), "{problem}"),
                Ok(_) => assert!(is_read),
            }
        }
    }

    #[test]
    fn page_headers_are_read() {
        // type 0; uncompressed 100; compressed 60; data page header with 7 values and an encoding.
        let header = [0x15, 0, 0x15, 0xC8, 0x01, 0x15, 0x78, 0x2C, 0x15, 0x0E, 0x15, 0, 0, 0, 9, 9];
        let page = page_header(&header).unwrap();
        assert_eq!(
            page,
            PageHeader {
                header_bytes: 14,
                compressed_bytes: 60,
                uncompressed_bytes: 100,
                values: Some(7),
                encoding: Some(0),
                dictionary_values: None,
            }
        );
        assert!(page_header(&header[..9]).is_err());
    }
}
