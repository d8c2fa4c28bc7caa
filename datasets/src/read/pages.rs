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

/// What a field of one of Parquet's structures is. The decoder takes it for that, whatever type stands before it, and so comes to read
/// what lies elsewhere: a field of another type is refused. Those that it passes over are not here.
#[derive(Clone, Copy)]
enum Is {
    Byte,
    Int,
    Flag,
    Double,
    Binary,
    Struct(Fields),
    Ints,
    Structs(Fields),
}

/// The fields of a structure, by their numbers (<https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift>).
type Fields = &'static [(i64, Is)];

const FILE: Fields = &[
    (1, Is::Int),
    (2, Is::Structs(SCHEMA_ELEMENT)),
    (3, Is::Int),
    (4, Is::Structs(ROW_GROUP)),
    (5, Is::Structs(KEY_VALUE)),
    (6, Is::Binary),
    (7, Is::Structs(COLUMN_ORDER)),
];
const SCHEMA_ELEMENT: Fields = &[
    (1, Is::Int),
    (2, Is::Int),
    (3, Is::Int),
    (4, Is::Binary),
    (5, Is::Int),
    (6, Is::Int),
    (7, Is::Int),
    (8, Is::Int),
    (9, Is::Int),
    (10, Is::Struct(LOGICAL_TYPE)),
];
const LOGICAL_TYPE: Fields = &[
    (1, Is::Struct(&[])),
    (2, Is::Struct(&[])),
    (3, Is::Struct(&[])),
    (4, Is::Struct(&[])),
    (5, Is::Struct(&[(1, Is::Int), (2, Is::Int)])),
    (6, Is::Struct(&[])),
    (7, Is::Struct(TIME)),
    (8, Is::Struct(TIME)),
    (10, Is::Struct(&[(1, Is::Byte), (2, Is::Flag)])),
    (11, Is::Struct(&[])),
    (12, Is::Struct(&[])),
    (13, Is::Struct(&[])),
    (14, Is::Struct(&[])),
    (15, Is::Struct(&[])),
    (16, Is::Struct(&[(1, Is::Byte)])),
    (17, Is::Struct(&[(1, Is::Binary)])),
    (18, Is::Struct(&[(1, Is::Binary), (2, Is::Int)])),
];
const TIME: Fields = &[(1, Is::Flag), (2, Is::Struct(TIME_UNIT))];
const TIME_UNIT: Fields = &[(1, Is::Struct(&[])), (2, Is::Struct(&[])), (3, Is::Struct(&[]))];
const ROW_GROUP: Fields = &[
    (1, Is::Structs(COLUMN_CHUNK)),
    (2, Is::Int),
    (3, Is::Int),
    (4, Is::Structs(&[(1, Is::Int), (2, Is::Flag), (3, Is::Flag)])),
    (5, Is::Int),
    (7, Is::Int),
];
const COLUMN_CHUNK: Fields = &[
    (1, Is::Binary),
    (2, Is::Int),
    (3, Is::Struct(COLUMN)),
    (4, Is::Int),
    (5, Is::Int),
    (6, Is::Int),
    (7, Is::Int),
];
const COLUMN: Fields = &[
    (1, Is::Int),
    (2, Is::Ints),
    (4, Is::Int),
    (5, Is::Int),
    (6, Is::Int),
    (7, Is::Int),
    (9, Is::Int),
    (10, Is::Int),
    (11, Is::Int),
    (14, Is::Int),
    (15, Is::Int),
    (17, Is::Struct(&[(1, Is::Struct(BOUNDS)), (2, Is::Ints)])),
];
const KEY_VALUE: Fields = &[(1, Is::Binary), (2, Is::Binary)];
const COLUMN_ORDER: Fields = &[(1, Is::Struct(&[]))];
const BOUNDS: Fields = &[
    (1, Is::Double),
    (2, Is::Double),
    (3, Is::Double),
    (4, Is::Double),
    (5, Is::Double),
    (6, Is::Double),
    (7, Is::Double),
    (8, Is::Double),
];
const PAGE: Fields = &[
    (1, Is::Int),
    (2, Is::Int),
    (3, Is::Int),
    (4, Is::Int),
    (5, Is::Struct(DATA_PAGE)),
    (6, Is::Struct(&[])),
    (7, Is::Struct(DICTIONARY_PAGE)),
    (8, Is::Struct(DATA_PAGE_2)),
];
const DATA_PAGE: Fields = &[(1, Is::Int), (2, Is::Int), (3, Is::Int), (4, Is::Int)];
const DICTIONARY_PAGE: Fields = &[(1, Is::Int), (2, Is::Int), (3, Is::Flag)];
const DATA_PAGE_2: Fields = &[
    (1, Is::Int),
    (2, Is::Int),
    (3, Is::Int),
    (4, Is::Int),
    (5, Is::Int),
    (6, Is::Int),
    (7, Is::Flag),
];

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
            // A file without rows may have an empty list of row groups, which need not state its
            // type.
            if item != Kind::Struct && count > 0 {
                return Err("the row groups are not a list of groups".into());
            }
            (0..count).try_for_each(|_| walk.row_group())
        }
        (8, kind) => {
            footer.encrypted = true;
            walk.skip(kind, 0)
        }
        (id, kind) => walk.field(FILE, id, kind, 0),
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
            let (encoding, known) = if id == 5 { (2, DATA_PAGE) } else { (4, DATA_PAGE_2) };
            walk.fields(1, |walk, id, kind| match (id, kind) {
                (1, Kind::Int) => walk.int().map(|values| page.values = Some(values)),
                (id, Kind::Int) if id == encoding => {
                    walk.int().map(|encoding| page.encoding = Some(encoding))
                }
                (id, kind) => walk.field(known, id, kind, 1),
            })
        }
        (7, Kind::Struct) => walk.fields(1, |walk, id, kind| match (id, kind) {
            (1, Kind::Int) => walk.int().map(|values| page.dictionary_values = Some(values)),
            (id, kind) => walk.field(DICTIONARY_PAGE, id, kind, 1),
        }),
        (id, kind) => walk.field(PAGE, id, kind, 0),
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
            // The decoder keeps 16 bits of it.
            if !(0..=i64::from(i16::MAX)).contains(&id) {
                return Err(format!("a field of the number {id}"));
            }
            visit(self, id, Kind::of(byte & 0x0F)?)?;
        }
    }

    /// Walks over a field of a structure, which must be of the type that it has there.
    fn field(&mut self, known: Fields, id: i64, kind: Kind, depth: usize) -> Result<(), String> {
        let Some((_, is)) = known.iter().find(|(known, _)| *known == id) else {
            return self.skip(kind, depth);
        };
        let is_so = match is {
            Is::Byte => kind == Kind::Byte,
            Is::Int => kind == Kind::Int,
            Is::Flag => kind == Kind::Flag,
            Is::Double => kind == Kind::Double,
            Is::Binary => kind == Kind::Binary,
            Is::Struct(_) => kind == Kind::Struct,
            Is::Ints | Is::Structs(_) => kind == Kind::List,
        };
        if !is_so {
            return Err(format!("field {id} is of another type than Parquet has there"));
        }
        match is {
            Is::Byte | Is::Int | Is::Flag | Is::Double | Is::Binary => self.skip(kind, depth),
            Is::Struct(fields) => self.structure(fields, depth + 1),
            Is::Ints | Is::Structs(_) => {
                let (item, count) = self.list_header()?;
                if count > LIST_MAX {
                    return Err(format!("a list of {count} elements; at most {LIST_MAX} are read"));
                }
                let expected = if matches!(is, Is::Ints) { Kind::Int } else { Kind::Struct };
                if item != expected && count > 0 {
                    return Err(format!("field {id} is a list of values of another type"));
                }
                (0..count).try_for_each(|_| match is {
                    Is::Structs(fields) => self.structure(fields, depth + 1),
                    _ => self.skip(item, depth),
                })
            }
        }
    }

    fn structure(&mut self, known: Fields, depth: usize) -> Result<(), String> {
        self.fields(depth, |walk, id, kind| walk.field(known, id, kind, depth))
    }

    /// Walks a row group; its columns are its first field.
    fn row_group(&mut self) -> Result<(), String> {
        self.fields(1, |walk, id, kind| match (id, kind) {
            (1, Kind::List) => {
                let (item, count) = walk.list_header()?;
                if count > SCHEMA_ELEMENTS_MAX {
                    return Err(format!("{count} columns; at most {SCHEMA_ELEMENTS_MAX} are read"));
                }
                if item != Kind::Struct && count > 0 {
                    return Err("the columns of a row group are not a list of columns".into());
                }
                (0..count).try_for_each(|_| walk.structure(COLUMN_CHUNK, 2))
            }
            (id, kind) => walk.field(ROW_GROUP, id, kind, 1),
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
                (id, kind) => walk.field(SCHEMA_ELEMENT, id, kind, 1),
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
    fn an_empty_list_of_row_groups_may_have_any_type() {
        // Field 4 as an empty list: of structs, of bytes, and without a type.
        for list in [0x0C, 0x03, 0x00] {
            assert!(check_footer(&[0x49, list, 0]).is_ok(), "{list:#04x}");
        }
        assert!(check_footer(&[0x49, 0x13, 0, 0]).unwrap_err().contains("not a list of groups"));
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
        // Field 10, which no footer has.
        let mut nested = [0x1C_u8; 200];
        nested[0] = 0xAC;
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
    fn fields_of_other_types_are_refused() {
        let header = |field: &[u8]| {
            let mut header = vec![0x15, 0, 0x15, 0xC8, 0x01, 0x15, 0x78];
            header.extend(field);
            header.push(0);
            page_header(&header).map(|_| ())
        };
        assert_eq!(header(&[0x15, 2]), Ok(()));
        // The checksum as a binary, a structure of a data page as a number, its number of values as a structure.
        for field in [&[0x18, 1, 7][..], &[0x25, 2], &[0x2C, 0x1C, 0, 0]] {
            let problem = header(field).unwrap_err();
            assert!(problem.contains("is of another type than Parquet has there"), "{problem}");
        }
        // Field 65,541, of which 16 bits are 5.
        let problem = header(&[0x0C, 0x8A, 0x80, 0x08, 0]).unwrap_err();
        assert_eq!(problem, "a field of the number 65541");
        // The encodings of a column as a list of binaries: row groups, columns, the column itself.
        let footer = [0x49, 0x1C, 0x19, 0x1C, 0x3C, 0x29, 0x18, 0, 0, 0, 0, 0];
        assert!(check_footer(&footer).unwrap_err().contains("a list of values of another type"));
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
