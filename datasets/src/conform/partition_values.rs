//! Partition values that cannot be folder names.
//!
//! A partition's folder is `column=value`, percent-encoded. File systems limit names to 255 bytes, object stores limit keys to
//! 1,024, and Delta reads an empty value as null. A row with any other value is rejected, and the reason names the column and
//! the value. The rest of its file is loaded, and no retry is needed.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Date32Type, TimestampMicrosecondType};

use crate::parse::{days_from_civil, quoted};
use crate::spec::DatasetSpec;
use crate::validate::Failures;

/// Longest name of a folder, in bytes.
const FOLDER_MAX_BYTES: usize = 255;
/// Longest path of partition folders, in bytes: an object store's key limit, less root, tenant, dataset and file name.
const PATH_MAX_BYTES: usize = 700;
/// The folder of null. Readers cannot distinguish it from a text with this spelling.
const NULL_FOLDER: &str = "__HIVE_DEFAULT_PARTITION__";
/// Length of one percent-encoded byte.
const ENCODED_BYTES: usize = 3;
/// Years that a folder name can state and every reader can parse.
const YEARS: (i64, i64) = (1, 9_999);
const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Records the rows of `batch` whose partition cannot be written.
pub(super) fn note_unwritable(spec: &DatasetSpec, batch: &RecordBatch, failures: &mut Failures) {
    let mut paths = vec![0; if spec.partition_by.len() > 1 { batch.num_rows() } else { 0 }];
    for partition in &spec.partition_by {
        let name = partition.column.as_str();
        let Some(column) = batch.column_by_name(name) else { continue };
        if let Some(texts) = column.as_string_opt::<i32>() {
            for (row, text) in texts.iter().enumerate() {
                let Some(text) = text else { continue };
                let bytes = name.len() + 1 + encoded_bytes(text);
                if let Some(problem) = problem_of(text, bytes) {
                    failures.note(row, name, || refused(name, &quoted(text), &problem));
                } else if let Some(path) = paths.get_mut(row) {
                    *path += bytes + 1;
                }
            }
        }
        let days = |days: i64| {
            let first = i64::from(days_from_civil(YEARS.0, 1, 1));
            let last = i64::from(days_from_civil(YEARS.1, 12, 31));
            (first..=last).contains(&days)
        };
        let range = || format!("its year is outside {} to {}", YEARS.0, YEARS.1);
        if let Some(dates) = column.as_primitive_opt::<Date32Type>() {
            for (row, date) in dates.iter().enumerate() {
                if let Some(date) = date.filter(|date| !days(i64::from(*date))) {
                    let shown = format!("the day {date} since 1970-01-01");
                    failures.note(row, name, || refused(name, &shown, &range()));
                }
            }
        }
        if let Some(instants) = column.as_primitive_opt::<TimestampMicrosecondType>() {
            for (row, micros) in instants.iter().enumerate() {
                let is_out = |micros: &i64| !days(micros.div_euclid(MICROS_PER_DAY));
                if let Some(micros) = micros.filter(is_out) {
                    let shown = format!("{micros} microseconds since 1970-01-01");
                    failures.note(row, name, || refused(name, &shown, &range()));
                }
            }
        }
    }
    for (row, bytes) in paths.into_iter().enumerate().filter(|(_, bytes)| *bytes > PATH_MAX_BYTES) {
        let columns: Vec<&str> = spec.partition_by.iter().map(|p| p.column.as_str()).collect();
        let columns = columns.join(", ");
        failures.note(row, &spec.partition_by[0].column, || {
            format!(
                "the partition columns {columns} have values of {bytes} bytes together, \
                 percent-encoded; expected at most {PATH_MAX_BYTES}"
            )
        });
    }
}

fn refused(name: &str, value: &str, problem: &str) -> String {
    format!("{name:?}: it splits the dataset into partitions, and {value} cannot be one: {problem}")
}

/// Why a text cannot be a folder name, if so.
fn problem_of(text: &str, bytes: usize) -> Option<String> {
    if text.is_empty() {
        return Some("readers take it for null; expected a text that is not empty, or null".into());
    }
    if text == NULL_FOLDER {
        return Some("readers take it for null; expected another text, or null".into());
    }
    (bytes > FOLDER_MAX_BYTES).then(|| {
        format!(
            "its folder's name has {bytes} bytes, percent-encoded; expected at most {FOLDER_MAX_BYTES}"
        )
    })
}

/// Length of a text in which every byte that is not allowed in a folder name is percent-encoded.
fn encoded_bytes(text: &str) -> usize {
    let is_plain =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let plain = text.bytes().filter(|byte| is_plain(byte)).count();
    plain + ENCODED_BYTES * (text.len() - plain)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Date32Array, StringArray, TimestampMicrosecondArray};

    use super::*;

    fn reasons(spec: &str, columns: Vec<(&str, ArrayRef)>) -> Vec<Option<String>> {
        let spec = DatasetSpec::from_toml(spec, "rows.toml").unwrap();
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut failures = Failures::none(batch.num_rows());
        note_unwritable(&spec, &batch, &mut failures);
        (0..batch.num_rows()).map(|row| failures.get(row).map(|it| it.reason.clone())).collect()
    }

    #[test]
    fn a_row_whose_text_cannot_name_a_folder_is_rejected() {
        let spec = r#"
            name = "rows"
            partition_by = [{column = "p"}]
            columns = [{name = "p", type = "text", nullable = true}]
        "#;
        let (fits, long) = ("x".repeat(253), "x".repeat(254));
        let (wide_fits, wide) = ("ö".repeat(42), "ö".repeat(43));
        let texts = [Some(""), None, Some("a/b"), Some(fits.as_str()), Some(long.as_str())];
        let more = [Some(NULL_FOLDER), Some(wide_fits.as_str()), Some(wide.as_str())];
        let texts: Vec<Option<&str>> = texts.into_iter().chain(more).collect();
        let found = reasons(spec, vec![("p", Arc::new(StringArray::from(texts)))]);
        let is_refused: Vec<bool> = found.iter().map(Option::is_some).collect();
        assert_eq!(is_refused, [true, false, false, false, true, true, false, true]);
        let says = found[4].as_deref().unwrap();
        assert!(
            says.starts_with("\"p\": ") && says.contains("xxx") && says.contains("256"),
            "{says}"
        );
    }

    #[test]
    fn a_row_whose_year_no_reader_can_parse_is_rejected() {
        let spec = r#"
            name = "rows"
            partition_by = [{column = "day"}, {column = "at"}]
            columns = [
                {name = "day", type = "date", nullable = true}, {name = "at", type = "timestamp", nullable = true},
            ]
        "#;
        let days = Date32Array::from(vec![Some(0), Some(i32::MAX), None, Some(-719_163), Some(0)]);
        let at = vec![Some(0), None, Some(i64::MIN), Some(0), Some(253_402_300_799_999_999)];
        let at = TimestampMicrosecondArray::from(at).with_timezone("UTC");
        let found = reasons(spec, vec![("day", Arc::new(days)), ("at", Arc::new(at))]);
        let is_refused: Vec<bool> = found.iter().map(Option::is_some).collect();
        assert_eq!(is_refused, [false, true, true, true, false], "{found:?}");
    }

    #[test]
    fn a_row_with_too_long_a_path_is_rejected() {
        let spec = r#"
            name = "rows"
            partition_by = [{column = "a"}, {column = "b"}, {column = "c"}]
            columns = [{name = "a", type = "text"}, {name = "b", type = "text"}, {name = "c", type = "text"}]
        "#;
        let texts =
            |length: usize| -> ArrayRef { Arc::new(StringArray::from(vec!["x".repeat(length)])) };
        let of = |length| {
            reasons(spec, vec![("a", texts(length)), ("b", texts(length)), ("c", texts(length))])
        };
        assert_eq!(of(200), [None]);
        assert!(of(240)[0].as_deref().unwrap().contains("the partition columns a, b, c"));
    }
}
