//! The names that an export gives to its files. Others are never touched.

use crate::export::{Form, Packing};

/// Says what the set holds. It is written last.
pub(super) const MANIFEST: &str = "manifest.json";
/// What is known of an export that has not ended lies below this.
pub(super) const JOURNAL: &str = "_export/";
/// Says what is being exported.
pub(super) const PLAN: &str = "_export/plan.json";

/// Digits of a part's number.
const DIGITS: usize = 5;

/// How names end, by form and packing.
pub(super) fn ending(form: Form, packing: Packing) -> String {
    let form_ending = match form {
        Form::Json => "json",
        Form::Ndjson => "ndjson",
        Form::Csv => "csv",
        Form::ArrowStream => "arrows",
        Form::ArrowFile => "arrow",
        Form::Parquet => "parquet",
    };
    let is_packed_inside = matches!(form, Form::ArrowStream | Form::ArrowFile | Form::Parquet);
    match packing {
        Packing::Gzip if !is_packed_inside => format!("{form_ending}.gz"),
        Packing::Zstd if !is_packed_inside => format!("{form_ending}.zst"),
        _ => form_ending.to_owned(),
    }
}

/// The file of a part.
pub(super) fn part(number: usize, ending: &str) -> String {
    format!("part-{number:0DIGITS$}.{ending}")
}

/// What is known of it once it is written.
pub(super) fn record(number: usize) -> String {
    format!("{JOURNAL}part-{number:0DIGITS$}.json")
}

/// Whether an export gives this name to a file.
pub(super) fn is_ours(name: &str) -> bool {
    if name == MANIFEST || name == PLAN {
        return true;
    }
    let name = name.strip_prefix(JOURNAL).unwrap_or(name);
    let Some((number, ending)) = name.strip_prefix("part-").and_then(|rest| rest.split_once('.'))
    else {
        return false;
    };
    let is_number = number.len() >= DIGITS && number.bytes().all(|byte| byte.is_ascii_digit());
    let packed = ending.strip_suffix(".gz").or(ending.strip_suffix(".zst")).unwrap_or(ending);
    is_number && matches!(packed, "json" | "ndjson" | "csv" | "arrows" | "arrow" | "parquet")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ours_is_known_by_its_name() {
        for form in Form::ALL {
            for packing in [Packing::None, Packing::Gzip, Packing::Zstd] {
                assert!(is_ours(&part(0, &ending(form, packing))));
            }
        }
        assert!(is_ours(&part(123_456, "csv")) && is_ours(&record(7)) && is_ours(MANIFEST));
        for other in [
            "part-1.csv",
            "part-00001.exe",
            "part-0000x.csv",
            "notes/part-00000.csv",
            "a.csv",
            "part-00000",
        ] {
            assert!(!is_ours(other), "{other}");
        }
    }
}
