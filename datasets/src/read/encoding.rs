//! The encoding of a text file: stated, stored in the dataset, or detected in the first bytes.

use std::io::{BufRead, BufReader};

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};
use encoding_rs_io::DecodeReaderBytesBuilder;

use super::Source;
use super::rows::unmarked_utf16;
use crate::error::{Error, Result};

/// Bytes in which the encoding is detected.
const HEAD_BYTES: usize = 1 << 20;
/// The byte-order mark of UTF-8.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
/// Multi-byte sequences for each invalid byte with which a text is UTF-8. In texts of other encodings most bytes beyond ASCII
/// are invalid UTF-8.
const SEQUENCES_PER_INVALID_BYTE: usize = 4;

/// The encoding of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TextEncoding {
    /// UTF-8.
    #[default]
    Utf8,
    /// Detected in the first bytes.
    Found,
    /// The one that the caller states.
    Named(&'static Encoding),
    /// The one that the dataset stores. A file that contradicts it is refused.
    Stored(&'static Encoding),
}

impl TextEncoding {
    /// The encoding of that name, as the web knows it: `windows-1252`, `latin1`, `utf-16le`.
    pub fn named(label: &str) -> Option<Self> {
        Encoding::for_label(label.as_bytes()).map(Self::Named)
    }

    /// The same if a dataset stores it.
    pub(crate) fn stored(label: &str) -> Option<Self> {
        Encoding::for_label(label.as_bytes()).map(Self::Stored)
    }
}

/// Opens a text as UTF-8, and returns its encoding.
pub(crate) fn decoded(
    source: &Source,
    encoding: TextEncoding,
) -> Result<(Box<dyn BufRead + Send>, &'static Encoding)> {
    let encoding = match encoding {
        TextEncoding::Utf8 => UTF_8,
        TextEncoding::Named(encoding) | TextEncoding::Stored(encoding) => encoding,
        TextEncoding::Found => found(&source.head(HEAD_BYTES)?),
    };
    let text = source.text()?;
    if encoding == UTF_8 {
        return Ok((text, encoding));
    }
    let mut decoder = DecodeReaderBytesBuilder::new();
    let decoder = decoder.encoding(Some(encoding)).bom_override(true).build(text);
    Ok((Box::new(BufReader::new(decoder)), encoding))
}

/// Fails if the text is UTF-8 while `dataset` stores another encoding, in which the text would be read as other characters.
pub(crate) fn check_stored(source: &Source, encoding: TextEncoding, dataset: &str) -> Result<()> {
    let TextEncoding::Stored(encoding) = encoding else { return Ok(()) };
    if encoding == UTF_8 {
        return Ok(());
    }
    let head = source.head(HEAD_BYTES)?;
    // A byte-order mark overrides the stored encoding.
    if Encoding::for_bom(&head).is_some() {
        return Ok(());
    }
    let is_utf8 = if [UTF_16LE, UTF_16BE].contains(&encoding) {
        !head.is_empty() && !head.contains(&0) && std::str::from_utf8(&head).is_ok()
    } else if encoding.is_single_byte() {
        NonAscii::count(&head).is_utf8()
    } else {
        // In other encodings of several bytes, most texts are not UTF-8 throughout.
        let bytes = NonAscii::count(&head);
        bytes.sequences > 0 && bytes.invalid == 0
    };
    if !is_utf8 {
        return Ok(());
    }
    let name = encoding.name().to_ascii_lowercase();
    Err(Error::Mismatch {
        source_name: source.name().to_owned(),
        problem: format!(
            "the file is UTF-8, and dataset {dataset} stores encoding {name:?}; convert the file, or change what is \
             stored with `colonnade alter {dataset} --set encoding=utf-8`; if the file is in {name} after all, \
             state that for this load"
        ),
    })
}

/// A text without the byte-order mark of UTF-8.
pub(super) fn without_mark(head: &[u8]) -> &[u8] {
    head.strip_prefix(BYTE_ORDER_MARK).unwrap_or(head)
}

/// The most likely encoding of a text that begins with `head`.
fn found(head: &[u8]) -> &'static Encoding {
    match head {
        [0xFF, 0xFE, ..] => return UTF_16LE,
        [0xFE, 0xFF, ..] => return UTF_16BE,
        _ => {}
    }
    if let Some(encoding) = unmarked_utf16(head) {
        return encoding;
    }
    let bytes = NonAscii::count(head);
    if head.starts_with(BYTE_ORDER_MARK) || bytes.is_ascii() || bytes.is_utf8() {
        return UTF_8;
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Allow);
    detector.feed(head, true);
    detector.guess(None, Utf8Detection::Deny)
}

/// The bytes of a text beyond ASCII, read as UTF-8.
struct NonAscii {
    /// Valid sequences of several bytes.
    sequences: usize,
    /// Bytes of no valid sequence. Those of a character that the end of the text cuts are not counted.
    invalid: usize,
}

impl NonAscii {
    fn is_ascii(&self) -> bool {
        self.sequences + self.invalid == 0
    }

    fn is_utf8(&self) -> bool {
        self.sequences > 0 && self.sequences >= self.invalid * SEQUENCES_PER_INVALID_BYTE
    }

    fn count(text: &[u8]) -> Self {
        let (mut sequences, mut invalid, mut rest) = (0, 0, text);
        loop {
            let (valid, problem) = match simdutf8::compat::from_utf8(rest) {
                Ok(valid) => (valid.as_bytes(), None),
                Err(problem) => (&rest[..problem.valid_up_to()], Some(problem.error_len())),
            };
            sequences += valid.iter().filter(|byte| **byte >= 0xC0).count();
            let Some(Some(bytes)) = problem else { return Self { sequences, invalid } };
            invalid += bytes;
            rest = &rest[valid.len() + bytes..];
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_encoding_is_found() {
        let name = |bytes: &[u8]| found(bytes).name();
        assert_eq!(name("Größe;Preis\n".as_bytes()), "UTF-8");
        assert_eq!(name(&"Größe".as_bytes()[..3]), "UTF-8");
        assert_eq!(name(b""), "UTF-8");
        assert_eq!(
            name(b"Gr\xF6\xDFe;Preis\nM\xFCller;\xC4pfel f\xFCr \xD6sterreich\n"),
            "windows-1252"
        );
        assert_eq!(name(b"\xFF\xFEG\0"), "UTF-16LE");
        assert_eq!(name(b"\xFE\xFF\0G"), "UTF-16BE");
        assert_eq!(name(b"G\0r\0\xF6\0;\0P\0\n\0"), "UTF-16LE");
        assert_eq!(name(b"\0G\0r\0\xF6\0;\0P\0\n"), "UTF-16BE");
        // NUL is an ordinary character.
        assert_eq!(name(b"id,t\n1,\0\0\0\0\0\0\0\0\n"), "UTF-8");
        assert_eq!(name(b"a\0,t\n1,\0x\0y\0z\n"), "UTF-8");
    }

    #[test]
    fn a_few_invalid_bytes_do_not_change_the_encoding() {
        let with = |text: &str, bad: &[u8]| found(&[text.as_bytes(), bad].concat()).name();
        assert_eq!(with("Müller-Größe\nMüller-Größe\n", b"x\xFFy\n"), "UTF-8");
        assert_eq!(with(&"größe\n".repeat(20), b"\xFF\xFE\xFA"), "UTF-8");
        assert_eq!(with("Ü\n", b"M\xFCller, Gr\xF6\xDFe, \xC4pfel\n"), "windows-1252");
        // Marked as UTF-8.
        assert_eq!(with("\u{feff}a;b\n", b"1;M\xFCller\n"), "UTF-8");
        // Encodings with several bytes for a character have some valid sequences by chance.
        for (label, text) in [
            ("gbk", "中文测试数据，订单编号与客户姓名，价格和数量。联通"),
            ("shift_jis", "注文番号とお客様の名前、価格と数量です。データ"),
            ("euc-kr", "주문 번호와 고객 이름, 가격과 수량입니다. 데이터"),
            ("windows-1251", "Номер заказа и имя клиента, цена и количество"),
            ("koi8-r", "Номер заказа и имя клиента, цена и количество"),
        ] {
            let encoding = Encoding::for_label(label.as_bytes()).unwrap();
            let (bytes, _, _) = encoding.encode(text);
            assert_ne!(found(&bytes), UTF_8, "{label}");
        }
    }
}
