//! The names that an export gives to its files. Others are never touched.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::error::{Code, Error, Result};
use crate::export::{Form, Packing};

/// Says what the set holds. It is written last.
pub(super) const MANIFEST: &str = "_manifest.json";
/// What is known of an export that has not ended lies below this.
pub(super) const JOURNAL: &str = "_export/";
/// Says what is being exported.
pub(super) const PLAN: &str = "_export/plan.json";

/// Is locked, on a disk, by whoever writes.
pub(super) const LOCK: &str = "_export/lock";
/// Says who writes, or did last.
pub(super) const OWNER: &str = "_export/owner";

/// Pages of a report, by their names, with their media types.
const PAGES: [(&str, &str); 2] =
    [("report.html", "text/html; charset=utf-8"), ("report.pdf", "application/pdf")];

/// Digits of a number in a name.
const DIGITS: usize = 5;
/// The folder of rows that have no value.
const NO_VALUE: &str = "__HIVE_DEFAULT_PARTITION__";
/// What a folder's name is written with as it is, beside letters and digits.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');
/// Longest name of a folder, as disks have it.
const FOLDER_BYTES_MAX: usize = 255;

/// How names end, by form and packing.
pub(super) fn ending(form: Form, packing: Packing) -> String {
    let form_ending = form.ending();
    match packing {
        Packing::Gzip if !form.packs_within() => format!("{form_ending}.gz"),
        Packing::Zstd if !form.packs_within() => format!("{form_ending}.zst"),
        _ => form_ending.to_owned(),
    }
}

/// A file of a part: its only one, or one of several.
pub(super) fn file(number: usize, within: usize, ending: &str) -> String {
    match within {
        0 => format!("part-{number:0DIGITS$}.{ending}"),
        within => format!("part-{number:0DIGITS$}-{within:0DIGITS$}.{ending}"),
    }
}

/// What is known of a part once it is written.
pub(super) fn record(number: usize) -> String {
    format!("{JOURNAL}part-{number:0DIGITS$}.json")
}

/// The folder of the rows that have this value in this column, with its `/`.
pub(super) fn folder(column: &str, value: Option<&str>) -> Result<String> {
    let mut name = String::new();
    let value: &dyn std::fmt::Display = match value {
        None => &NO_VALUE,
        // That text is a value, too, and is read as the same one.
        Some(NO_VALUE) => &NO_VALUE.replacen('_', "%5F", 1),
        Some(value) => &utf8_percent_encode(value, PLAIN),
    };
    // A text takes everything.
    let _ = write!(name, "{}={value}", utf8_percent_encode(column, PLAIN));
    if name.len() > FOLDER_BYTES_MAX {
        let says = format!(
            "partition_by: a value of {column} makes a folder of {} letters; expected values for which {FOLDER_BYTES_MAX} are enough",
            name.len()
        );
        return Err(Error::user(Code::BadInput, says));
    }
    Ok(name + "/")
}

/// An ending without that of a packing around it, and the media type of such a packing.
fn unpacked(ending: &str) -> (&str, Option<&'static str>) {
    let packings = [(".gz", "application/gzip"), (".zst", "application/zstd")];
    let found = packings.iter().find_map(|(end, kind)| Some((ending.strip_suffix(end)?, *kind)));
    found.map_or((ending, None), |(form, kind)| (form, Some(kind)))
}

/// The media type of a file by its name.
pub(super) fn media_type(name: &str) -> &'static str {
    if let Some((_, kind)) = PAGES.iter().find(|(page, _)| *page == name) {
        return kind;
    }
    let file = name.rsplit('/').next().unwrap_or_default();
    let (of, packing) = unpacked(file.split_once('.').map_or("", |(_, ending)| ending));
    let form = Form::ALL.into_iter().find(|form| form.ending() == of).map(Form::media_type);
    packing.or(form).unwrap_or("application/octet-stream")
}

/// Whether it is the name of a page of a report.
pub(super) fn is_page(name: &str) -> bool {
    PAGES.iter().any(|(page, _)| *page == name)
}

/// Whether an export gives this name to a file.
pub(super) fn is_ours(name: &str) -> bool {
    if [MANIFEST, PLAN, LOCK, OWNER].contains(&name) || is_page(name) {
        return true;
    }
    let name = name.strip_prefix(JOURNAL).unwrap_or(name);
    let (folders, file) = match name.rsplit_once('/') {
        None => ("", name),
        Some((folders, file)) => (folders, file),
    };
    let is_folder = |folder: &str| folder.split_once('=').is_some_and(|(name, _)| !name.is_empty());
    let are_folders = folders.is_empty() || folders.split('/').all(is_folder);
    let Some((numbers, ending)) = file.strip_prefix("part-").and_then(|rest| rest.split_once('.'))
    else {
        return false;
    };
    let is_number =
        |text: &str| text.len() >= DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
    let are_numbers = match numbers.split_once('-') {
        None => is_number(numbers),
        Some((number, within)) => is_number(number) && is_number(within),
    };
    let of = unpacked(ending).0;
    let is_ending = Form::ALL.iter().any(|form| form.ending() == of);
    are_folders && are_numbers && is_ending
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_ours_is_known_by_its_name() {
        for form in Form::ALL {
            for packing in [Packing::None, Packing::Gzip, Packing::Zstd] {
                assert!(is_ours(&file(0, 0, &ending(form, packing))));
                assert!(is_ours(&file(7, 12, &ending(form, packing))));
            }
        }
        assert!(is_ours(&file(123_456, 0, "csv")) && is_ours(&record(7)) && is_ours(MANIFEST));
        assert!(is_ours("a=1/b=x%2Fy/part-00000.csv"));
        for other in [
            "part-1.csv",
            "part-00001.exe",
            "part-0000x.csv",
            "part-00001-1.csv",
            "notes/part-00000.csv",
            "a=1/notes/part-00000.csv",
            "=1/part-00000.csv",
            "../part-00000.csv",
            "a=1/../part-00000.csv",
            "a.csv",
            "part-00000",
        ] {
            assert!(!is_ours(other), "{other}");
        }
    }

    #[test]
    fn files_have_the_media_type_of_what_they_are() {
        for (name, kind) in [
            ("part-00000.csv", "text/csv"),
            ("a=1/part-00000-00001.parquet", "application/vnd.apache.parquet"),
            ("part-00000.arrows", "application/vnd.apache.arrow.stream"),
            ("part-00000.ndjson.gz", "application/gzip"),
            ("part-00000.csv.zst", "application/zstd"),
            (MANIFEST, "application/json"),
            ("report.pdf", "application/pdf"),
            ("a=1/report.pdf", "application/octet-stream"),
            ("part-00000", "application/octet-stream"),
        ] {
            assert_eq!(media_type(name), kind, "{name}");
        }
    }

    #[test]
    fn folders_are_named_as_others_read_them() {
        assert_eq!(folder("model", Some("a/b c")).unwrap(), "model=a%2Fb%20c/");
        assert_eq!(folder("on", Some("2026-01-02")).unwrap(), "on=2026-01-02/");
        assert_eq!(folder("on", Some("")).unwrap(), "on=/");
        assert_eq!(folder("a b", None).unwrap(), "a%20b=__HIVE_DEFAULT_PARTITION__/");
        assert_eq!(folder("on", Some(NO_VALUE)).unwrap(), "on=%5F_HIVE_DEFAULT_PARTITION__/");
        assert!(folder("on", Some(&"x".repeat(252))).is_ok());
        let error = folder("on", Some(&"x".repeat(253))).unwrap_err();
        assert!(error.to_string().contains("256 letters"), "{error}");
    }
}
