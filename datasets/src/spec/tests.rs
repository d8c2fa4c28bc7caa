//! What a spec is told that does not agree with itself.
#![allow(clippy::unwrap_used)]
use super::*;

#[test]
fn a_spec_that_contradicts_itself_says_where() {
    let text = r#"
        name = "calls"
        key = ["id"]
        time_column = "at"
        columns = [{name = "id", type = "text"}, {name = "at", type = "int64"}]
    "#;
    let message = DatasetSpec::from_toml(text, "calls.toml").unwrap_err().to_string();
    assert_eq!(message, r#"spec of calls: time column "at" is int64; expected timestamp or date"#);
}

#[test]
fn what_toml_is_wrong_is_said_in_one_line() {
    let text = "name = \"a\"\ncolumns = [{name = \"n\", type = \"int65\"}]";
    let message = DatasetSpec::from_toml(text, "a.toml").unwrap_err().to_string();
    assert!(message.contains("line 2") && message.contains("int65"), "{message}");
    assert!(!message.contains('\n'), "{message}");
}

#[test]
fn a_range_that_no_number_is_in_is_refused() {
    let text = r#"{"name": "a", "columns": [{"name": "n", "type": "int64"}],
        "validations": [{"check": "range", "column": "n", "min": 2.0, "max": 1.0}]}"#;
    let spec: DatasetSpec = serde_json::from_str(text).unwrap();
    let message = spec.check().unwrap_err().to_string();
    assert!(message.contains("min 2 above max 1"), "{message}");
}

#[test]
fn all_that_does_not_agree_is_told() {
    let text = r#"{"name": "a", "key": ["k", "n"], "time_column": "k", "columns": [{"name": "k", "type": "int64", "nullable": false},
        {"name": "K", "type": "text"}], "validations": [{"check": "finite", "column": "k"}]}"#;
    let says = DatasetSpec::from_json(text).unwrap_err().to_string();
    for problem in [
        "column name \"K\"",
        "key column \"n\" is not a column",
        "time column \"k\" is int64; expected timestamp or date",
        "a validation of \"k\" expects a float; the column is int64",
    ] {
        assert!(says.contains(problem), "{problem}: {says}");
    }
    let columns: Vec<_> =
        (0..25).map(|at| format!(r#"{{"name": "C{at}", "type": "text"}}"#)).collect();
    let many = format!(r#"{{"name": "a", "columns": [{}]}}"#, columns.join(", "));
    let says = DatasetSpec::from_json(&many).unwrap_err().to_string();
    assert!(says.ends_with("; 5 more problems") && !says.contains("C20"), "{says}");
    let twice = r#"{"name": "a", "key": ["k", "k"], "columns": [{"name": "k", "type": "int64", "nullable": false}]}"#;
    let says = DatasetSpec::from_json(twice).unwrap().check().unwrap_err().to_string();
    assert!(says.contains("key column \"k\" stands twice"), "{says}");
}

#[test]
fn a_float_is_no_key_of_a_new_dataset() {
    let text = r#"{"name": "a", "key": ["k"], "columns": [{"name": "k", "type": "float64"}]}"#;
    // One that is there is read.
    let spec = DatasetSpec::from_json(text).unwrap();
    spec.check().unwrap();
    let message = spec.check_new().unwrap_err().to_string();
    assert!(message.contains("key column \"k\" is float64"), "{message}");
}

fn with(validations: Vec<Validation>) -> Result<()> {
    let text = r#"{"name": "a", "columns": [{"name": "t", "type": "text"}]}"#;
    DatasetSpec { validations, ..DatasetSpec::from_json(text).unwrap() }.check()
}

fn matches(pattern: &str) -> Validation {
    Validation::Matches { column: "t".into(), pattern: pattern.to_owned() }
}

#[test]
fn what_a_spec_may_ask_for_is_bounded() {
    let long = "x".repeat(TEXT_MAX_BYTES + 1);
    for (validations, says) in [
        (vec![matches("a"); 17], "17 validations that are patterns; expected at most 16"),
        (vec![Validation::NonEmpty { column: "t".into() }; 2_049], "2049 validations; expected"),
        (
            vec![Validation::OneOf { column: "t".into(), values: vec![long.clone(); 17] }],
            "17 values of 278817 bytes; expected at most 262144",
        ),
        (vec![matches(r"\w{999}")], "compiled to more than 2097152 bytes"),
    ] {
        let error = with(validations).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let text = format!(r#"{{"name": "a", "owner": "{long}", "columns": []}}"#);
    assert!(DatasetSpec::from_json(&text).is_err());
    let text = text.replace("[]", r#"[{"name": "t", "type": "text"}]"#);
    // A table that has it is read.
    let error = DatasetSpec::from_json(&text).unwrap().check().unwrap_err().to_string();
    assert!(error.contains("a owner of 16385 bytes; expected at most 16384"), "{error}");
}

/// They take less than half a second together; this is much more, because machines differ.
#[test]
fn the_worst_patterns_are_compiled_soon() {
    for worst in [r"\w{38}", &r"\pL".repeat(300), &r"[\w&&[^\d]]".repeat(80), r"((.{9}){9}){9}"] {
        let began = crate::read::busy_seconds();
        let _ = with((0..PATTERNS_MAX).map(|i| matches(&format!("{worst}{i}"))).collect());
        let took = crate::read::busy_seconds() - began;
        assert!(took < 5.0, "{worst}: {took} s");
    }
}
