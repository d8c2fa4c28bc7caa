//! The dialect of a file of separated values, told from its first records.

use super::CsvOptions;
use super::encoding::without_mark;

/// How fields and records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dialect {
    pub(crate) delimiter: u8,
    pub(crate) quote: u8,
    /// Fields are padded with spaces, as where a comma **and a space** separate them.
    pub(crate) padded: bool,
    pub(crate) header: bool,
}

pub(crate) const DELIMITERS: [u8; 4] = *b",;\t|";
/// Records looked at.
const RECORDS_SEEN: usize = 64;

impl Dialect {
    /// Comma, double quotes, header.
    pub(crate) const STANDARD: Self =
        Self { delimiter: b',', quote: b'"', padded: false, header: true };

    /// The dialect of the text that begins with `head`.
    #[cfg(test)]
    pub(crate) fn sniff(head: &[u8]) -> Self {
        Self::of(head, &CsvOptions::default())
    }

    /// The same, as far as `options` do not say it.
    pub(crate) fn of(head: &[u8], options: &CsvOptions) -> Self {
        let head = without_mark(head);
        let quote = options.quote.unwrap_or_else(|| sniff_quote(head));
        let mut best = (0.0, 0, options.delimiter.unwrap_or(b','));
        for delimiter in DELIMITERS {
            if options.delimiter.is_some() {
                break;
            }
            let counts = field_counts(head, delimiter, quote);
            let Some(first) = counts.first().copied().filter(|n| *n > 1) else { continue };
            let same = counts.iter().filter(|n| **n == first).count() as f64 / counts.len() as f64;
            if same > best.0 + 1e-9 || ((same - best.0).abs() < 1e-9 && first > best.1) {
                best = (same, first, delimiter);
            }
        }
        let delimiter = best.2;
        let records = records(head, delimiter, quote, 2);
        let first = records.first().cloned().unwrap_or_default();
        let padded = first.len() > 1 && first[1..].iter().all(|field| field.starts_with(' '));
        let found = || is_header(&first) || differs(&first, records.get(1));
        let header = options.header.unwrap_or_else(found);
        Self { delimiter, quote, padded, header }
    }

    /// A reader of this dialect.
    pub(crate) fn builder(&self) -> csv::ReaderBuilder {
        let mut builder = csv::ReaderBuilder::new();
        builder
            .delimiter(self.delimiter)
            .quote(self.quote)
            .has_headers(false)
            .flexible(true)
            .buffer_capacity(BUFFER_BYTES)
            // Not CRLF, whose handling in the csv crate counts a line late; the \r is cut off here.
            .terminator(csv::Terminator::Any(b'\n'));
        builder
    }
}

/// The delimiter that a first line such as `sep=;` states, and the bytes of that line.
pub(crate) fn delimiter_line(head: &[u8]) -> Option<(u8, usize)> {
    let marked = without_mark(head);
    let end = marked.iter().position(|byte| *byte == b'\n')?;
    let line = marked[..end].trim_ascii_end();
    // Tab is the only blank that separates fields.
    let line =
        if line.len() == 4 && marked[4..end].starts_with(b"\t") { &marked[..5] } else { line };
    let line = line.strip_prefix(b"\"").and_then(|line| line.strip_suffix(b"\"")).unwrap_or(line);
    let (word, delimiter) = line.split_at_checked(4)?;
    let [delimiter] = delimiter else { return None };
    let fits = delimiter.is_ascii() && !delimiter.is_ascii_alphanumeric() && *delimiter != b'"';
    (fits && word.eq_ignore_ascii_case(b"sep="))
        .then_some((*delimiter, head.len() - marked.len() + end + 1))
}

/// Bytes that the CSV parser reads ahead.
pub(crate) const BUFFER_BYTES: usize = 64 * 1024;

/// The character that quotes fields. An apostrophe may begin a word (`'tis`), so it is a quote only where
/// each field that begins with it ends with it on the same line.
fn sniff_quote(head: &[u8]) -> u8 {
    let is_edge = |byte: u8| matches!(byte, b'\n' | b'\r') || DELIMITERS.contains(&byte);
    let (mut apostrophes, mut quotes, mut is_start) = (0, 0, true);
    for (at, byte) in head.iter().enumerate() {
        match byte {
            b'"' if is_start => quotes += 1,
            b'\'' if is_start => {
                let rest = &head[at + 1..];
                let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
                let is_cut = line.len() == rest.len();
                let ends = |index: usize| {
                    line[index] == b'\'' && line.get(index + 1).is_none_or(|next| is_edge(*next))
                };
                if !is_cut && !(0..line.len()).any(ends) {
                    return b'"';
                }
                apostrophes += 1;
            }
            _ => {}
        }
        is_start = is_edge(*byte);
    }
    if apostrophes > quotes { b'\'' } else { b'"' }
}

fn field_counts(head: &[u8], delimiter: u8, quote: u8) -> Vec<usize> {
    records(head, delimiter, quote, RECORDS_SEEN).iter().map(Vec::len).collect()
}

/// The first records; the last one of the head, which may be cut off, only when it is the only one.
fn records(head: &[u8], delimiter: u8, quote: u8, most: usize) -> Vec<Vec<String>> {
    let dialect = Dialect { delimiter, quote, padded: false, header: false };
    let mut reader = dialect.builder().from_reader(head);
    let mut records = Vec::new();
    let mut record = csv::ByteRecord::new();
    while records.len() < most + 1 {
        match reader.read_byte_record(&mut record) {
            Ok(true) => records.push(
                record
                    .iter()
                    .map(|f| String::from_utf8_lossy(f).trim_end_matches('\r').to_owned())
                    .collect(),
            ),
            _ => break,
        }
    }
    if records.len() > 1 && (records.len() > most || !head.ends_with(b"\n")) {
        records.pop();
    }
    records
}

fn is_value(field: &str) -> bool {
    let field = field.trim();
    field.parse::<f64>().is_ok() || crate::parse::timestamp_us(field).is_some()
}

/// The first record has no numbers or instants, and the second has some: those of the first are names, even where two are alike.
fn differs(first: &[String], second: Option<&Vec<String>>) -> bool {
    let named = |field: &String| !field.trim().is_empty() && !is_value(field);
    first.iter().all(named)
        && second.is_some_and(|second| second.iter().any(|field| is_value(field)))
}

/// Names are distinct, and no name is a number or an instant; the first may be empty (a row number).
fn is_header(fields: &[String]) -> bool {
    let mut seen = std::collections::HashSet::new();
    fields.iter().enumerate().all(|(at, field)| {
        let field = field.trim();
        (at == 0 || !field.is_empty()) && !is_value(field) && seen.insert(field)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dialects_are_told_apart() {
        for (text, delimiter, quote, padded, header) in [
            ("a,b\n1,2\n", b',', b'"', false, true),
            ("a;b\n1,5;2\n", b';', b'"', false, true),
            ("a\tb\r\n1\t2\r\n", b'\t', b'"', false, true),
            ("a, b, c\nx, , z\n", b',', b'"', true, true),
            ("1,2\n3,4\n", b',', b'"', false, false),
            ("a,b,a\n1,2,3\n", b',', b'"', false, true),
            ("a,b,a\nc,c,c\n", b',', b'"', false, false),
            ("text,category\r\n\"a, b\nc\",d\r\n", b',', b'"', false, true),
            ("a,b\n'x,y','z'\n'u,v','w'\n", b',', b'\'', false, true),
            ("only\nx\n", b',', b'"', false, true),
            ("id,word\n1,'tis\n2,'twas\n", b',', b'"', false, true),
            ("id,word\n1,'tis\n2,the dogs'\n", b',', b'"', false, true),
            ("", b',', b'"', false, true),
        ] {
            let expected = Dialect { delimiter, quote, padded, header };
            assert_eq!(Dialect::sniff(text.as_bytes()), expected, "{text:?}");
        }
    }
}
