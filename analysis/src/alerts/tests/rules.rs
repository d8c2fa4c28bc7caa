//! Rules as they are written.

use serde_json::{Value, json};

use super::super::{Clear, Rule, Severity, Span, read_rules};
use super::{read, rule};

#[test]
fn rules_are_read_from_toml_tables() {
    let text = r#"
        [[alert]]
        name = "disk-full"
        dataset = "disks"
        where = "kind = 'ssd'"
        condition = "used > 0.9 * size"
        value = "100 * used / size"
        by = ["host", "disk"]
        time = "at"
        for = "10m"
        clear = 0
        stands = true
        severity = "critical"
        summary = "{disk} of {host} is {value} % full {{really}}"
        repeat = "4h"
        group = ["host"]
        labels = { team = "storage" }

        [[alert]]
        name = "loads"
        dataset = "loads"
        freshness = "1d2h"
        escalate = [{ after = "1h", severity = "critical" }]

        [[alert]]
        name = "errors"
        dataset = "logs"
        condition = "level = 'error'"
        clear = "never"
        expires = "30m"
    "#;
    let document: Value = toml::from_str(text).unwrap();
    let rules = read_rules(&document).unwrap();
    assert_eq!(
        rules.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(),
        ["disk-full", "loads", "errors"]
    );
    assert_eq!((rules[0].hold.us(), rules[0].clear), (600_000_000, Clear::After(Span::ZERO)));
    assert_eq!(rules[1].freshness.unwrap().us(), 26 * 3_600_000_000);
    assert_eq!((rules[2].clear, rules[2].severity), (Clear::Never, Severity::Warning));
    // The same as JSON, there and back.
    let back = json!({ "alert": rules });
    assert_eq!(read_rules(&back).unwrap(), rules);
    assert_eq!(read_rules(&json!({})).unwrap(), []);
}

#[test]
fn documents_of_another_form_are_refused() {
    let fails = |document: Value| read_rules(&document).unwrap_err().to_string();
    assert_eq!(fails(json!([])), "alerts: document: expected `alert` tables, found a list");
    assert_eq!(
        fails(json!({"alerts": []})),
        "alerts: alerts: there is no such table; expected `[[alert]]`"
    );
    assert_eq!(
        fails(json!({"alert": {}})),
        "alerts: alert: expected a list of tables, found an object"
    );
    assert_eq!(
        fails(json!({"alert": [3]})),
        "alert number 1: table: expected a table, found a number"
    );
    let one = json!({"name": "cpu", "dataset": "metrics", "condition": "ok"});
    assert_eq!(
        fails(json!({"alert": [one, one]})),
        "alert cpu: name: expected a name that no other rule has, found it twice"
    );
    let many: Vec<&Value> = vec![&one; 1_001];
    assert_eq!(
        fails(json!({ "alert": many })),
        "alerts: alert: expected at most 1000 rules, found 1001"
    );
}

/// Fields, and what is said of them.
#[test]
fn what_is_wrong_names_rule_field_expected_and_found() {
    let identifier = "1 to 63 lower-case letters, digits and `_`, a letter first; found";
    let span = "a duration of at most 366 days such as \"10m\", \"1h30m\" or \"0\" (units, the longest first: w, d, h, m, s, ms, us)";
    let cases = [
        (json!({"sevrity": 1}), "sevrity: there is no such field `sevrity`; expected one of `name`, `dataset`, `where`, `condition`, `value`, `by`, `time`, `for`, `clear`, `expires`, `stands`, `freshness`, `severity`, `summary`, `repeat`, `escalate`, `group`, `labels`".to_owned()),
        (json!({"dataset": null}), format!("dataset: expected the name of a dataset: {identifier} \"\"")),
        (json!({"dataset": "Metrics"}), format!("dataset: expected the name of a dataset: {identifier} \"Metrics\"")),
        (json!({"dataset": 7}), "dataset: expected a string, found integer `7`".to_owned()),
        (json!({"by": "host"}), "by: expected a list, found string \"host\"".to_owned()),
        (json!({"by": ["a b"]}), format!("by: expected the name of a column: {identifier} \"a b\"")),
        (json!({"by": ["a", "b", "a"]}), "by: expected each column once, found \"a\" twice".to_owned()),
        (json!({"by": ["a", "b", "c", "d", "e", "f", "g", "h", "i"]}), "by: expected at most 8 columns, found 9".to_owned()),
        (json!({"group": ["rack"]}), "group: expected columns of `by` (host), found \"rack\"".to_owned()),
        (json!({"by": null, "group": ["rack"]}), "group: expected columns of `by` (it has none), found \"rack\"".to_owned()),
        (json!({"time": ""}), format!("time: expected the name of a column: {identifier} \"\"")),
        (json!({"where": " "}), "where: expected an SQL expression, found an empty text".to_owned()),
        (json!({"where": "FALSE"}), "where: expected what may be true of a row, found \"FALSE\": the rule would never fire".to_owned()),
        (json!({"condition": ""}), "condition: expected an SQL expression, found an empty text".to_owned()),
        (json!({"condition": " ( False ) ;"}), "condition: expected what may be true of a row, found \" ( False ) ;\": the rule would never fire".to_owned()),
        (json!({"condition": "not true"}), "condition: expected what may be true of a row, found \"not true\": the rule would never fire".to_owned()),
        (json!({"condition": "x".repeat(8_193)}), "condition: expected at most 8192 bytes, found 8193".to_owned()),
        (json!({"condition": null}), "condition: expected an SQL expression, or `freshness` instead of it; found neither".to_owned()),
        (json!({"freshness": "1h"}), "freshness: expected either `condition` or `freshness`, found both".to_owned()),
        (json!({"for": "10"}), format!("for: expected {span}, found \"10\"")),
        (json!({"for": 600}), format!("for: expected {span}, found integer `600`")),
        (json!({"clear": "nevr"}), format!("clear: expected \"never\", or {span}, found \"nevr\"")),
        (json!({"clear": true}), format!("clear: expected \"never\", or {span}, found boolean `true`")),
        (json!({"clear": "never"}), "expires: expected a duration, since `clear` is \"never\"; found none: the alert would fire for ever".to_owned()),
        (json!({"expires": 0}), "expires: expected more than 0, found 0".to_owned()),
        (json!({"for": "10m1us", "expires": "10m"}), "for: expected at most `expires` (10m), found 10m1us: the alert would be over before it fires".to_owned()),
        (json!({"severity": "high"}), "severity: unknown variant `high`, expected one of `info`, `warning`, `critical`".to_owned()),
        (json!({"repeat": "59s"}), "repeat: expected at least 1m, found 59s".to_owned()),
        (json!({"escalate": [{"after": 0, "severity": "critical"}]}), "escalate: expected a step `after` more than 0, found 0".to_owned()),
        (json!({"escalate": [{"after": "1h", "severity": "warning"}]}), "escalate: expected a severity above warning, found warning".to_owned()),
        (json!({"severity": "info", "escalate": [{"after": "1h", "severity": "warning"}, {"after": "1h", "severity": "critical"}]}), "escalate: expected a step `after` more than 1h, found 1h".to_owned()),
        (json!({"escalate": [{"after": "1h", "severity": "critical", "to": "x"}]}), "escalate: there is no such field `to`; expected `after` or `severity`".to_owned()),
        (json!({"labels": {"A": "x"}}), format!("labels: expected the name of a label: {identifier} \"A\"")),
        (json!({"labels": {"a": "x".repeat(257)}}), "labels: a: expected at most 256 bytes, found 257".to_owned()),
        (json!({"summary": "x".repeat(1_025)}), "summary: expected at most 1024 bytes, found 1025".to_owned()),
        (json!({"summary": "{rack}"}), "summary: expected in braces one of host, found \"rack\"".to_owned()),
        (json!({"summary": "{rack}", "value": "v"}), "summary: expected in braces one of value, host, found \"rack\"".to_owned()),
        (json!({"summary": "{value}"}), "summary: expected in braces one of host, found \"value\", but the rule has no `value`".to_owned()),
        (json!({"summary": "{x}", "by": null}), "summary: expected no names in braces, found \"x\"".to_owned()),
        (json!({"summary": "a {host"}), "summary: expected `}` after \"{host\"".to_owned()),
        (json!({"summary": "a } b"}), "summary: expected `}}` for a brace, found \"} b\"".to_owned()),
    ];
    for (fields, says) in cases {
        let problem = read(fields.clone()).map(|_| ()).unwrap_err().to_string();
        assert_eq!(problem, format!("alert cpu: {says}"), "{fields}");
    }
}

#[test]
fn names_are_checked_and_said() {
    let longest = "a".repeat(63);
    for good in ["a", "cpu-0_x", longest.as_str()] {
        rule(json!({ "name": good }));
    }
    let longer = "a".repeat(64);
    for wrong in ["", "1a", "Cpu", "a b", "-a", "ä", longer.as_str()] {
        let problem = read(json!({ "name": wrong })).unwrap_err().to_string();
        let expected = format!(
            "alert {wrong:?}: name: expected 1 to 63 lower-case letters, digits, `_` and `-`, a letter first, found {wrong:?}"
        );
        assert_eq!(problem, expected);
    }
    let problem = read(json!({"name": null, "by": 3})).unwrap_err().to_string();
    assert_eq!(problem, "alert number 1: by: expected a list, found integer `3`");
}

#[test]
fn freshness_stands_alone() {
    let fresh = |fields: Value| {
        let mut all = json!({"condition": null, "by": null, "freshness": "1h"});
        fields.as_object().unwrap().iter().for_each(|(name, value)| all[name] = value.clone());
        read(all)
    };
    fresh(json!({"time": "at", "where": "ok"})).unwrap();
    let problem = |fields: Value| fresh(fields).unwrap_err().to_string();
    assert_eq!(
        problem(json!({"freshness": "0"})),
        "alert cpu: freshness: expected more than 0, found 0: no dataset is so fresh"
    );
    fresh(json!({"freshness": "1us"})).unwrap();
    assert_eq!(
        problem(json!({"where": "ok"})),
        "alert cpu: where: expected `time` with it: without, commits count and no rows; found none"
    );
    let others = [
        ("by", json!(["host"])),
        ("value", json!("v")),
        ("for", json!("1m")),
        ("clear", json!("1m")),
        ("expires", json!("1m")),
        ("stands", json!(true)),
    ];
    for (field, value) in others {
        let says = "expected none beside `freshness`, which looks at the dataset as a whole";
        assert_eq!(problem(json!({ field: value })), format!("alert cpu: {field}: {says}"));
    }
}

#[test]
fn what_is_just_within_a_bound_is_taken() {
    rule(json!({"for": "10m", "expires": "10m"}));
    rule(json!({"repeat": "60s", "condition": "x".repeat(8_192), "summary": "x".repeat(1_024)}));
    rule(json!({"condition": "is_false", "where": "1=1"}));
    rule(
        json!({"by": ["a", "b", "c", "d", "e", "f", "g", "h"], "group": ["h", "a"], "labels": {"a": "x".repeat(256)}}),
    );
    rule(json!({"escalate": [{"after": "1us", "severity": "critical"}]}));
}

#[test]
fn spans_are_read_and_written() {
    let read = |text: &str| text.parse::<Span>();
    let good = [
        ("0", 0, "0"),
        ("0s", 0, "0"),
        ("10m", 600_000_000, "10m"),
        ("90m", 5_400_000_000, "1h30m"),
        ("1h30m", 5_400_000_000, "1h30m"),
        ("1w1d1h1m1s1ms1us", 694_861_001_001, "1w1d1h1m1s1ms1us"),
        ("366d", 31_622_400_000_000, "52w2d"),
        ("007us", 7, "7us"),
    ];
    for (text, us, shown) in good {
        let span = read(text).unwrap();
        assert_eq!((span.us(), span.to_string().as_str()), (us, shown), "{text}");
        assert_eq!(read(shown), Ok(span));
    }
    for wrong in [
        "",
        "10",
        "m",
        "10 m",
        "-1m",
        "1.5h",
        "10m1h",
        "1m1m",
        "10M",
        "366d1us",
        "99999999999999999999w",
        "9223372036854775807w",
        "1µs",
        "0m0",
    ] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn the_schema_has_a_field_for_each_and_every_default_is_said() {
    let schema = schemars::schema_for!(Rule).to_value();
    let fields = schema["properties"].as_object().unwrap();
    assert_eq!(fields.len(), 18);
    for (name, field) in fields {
        let says = field["description"].as_str().unwrap();
        assert!(says.contains("Default: ") || says.contains("Required"), "{name}: {says}");
    }
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(
        (fields["for"]["type"].as_str(), fields["clear"]["type"].as_str()),
        (Some("string"), Some("string"))
    );
}

#[test]
fn a_summary_says_what_it_is_made_of() {
    let said = |fields: Value, value: Option<f64>| {
        let mut desk = super::Desk::of(rule(fields));
        let sample = super::Sample { value, ..super::row("a", 5, true) };
        desk.commit_events(5, &[sample])[0].summary.clone()
    };
    let full = json!({"value": "v", "summary": "{{{host}}} at {value}"});
    assert_eq!(said(full.clone(), Some(2.5)), "{a} at 2.5");
    assert_eq!(said(full.clone(), None), "{a} at no value");
    assert_eq!(said(full, Some(1e300)), "{a} at 1e300");
    assert_eq!(said(json!({"value": "v"}), Some(1e-9)), "cpu of host=a: 1e-9");
    assert_eq!(said(json!({"value": "v"}), Some(0.0)), "cpu of host=a: 0");
    assert_eq!(said(json!({}), Some(3.0)), "cpu of host=a");
    // Where there is no `value`, a column may be called so.
    assert_eq!(said(json!({"by": ["value"], "summary": "{value}"}), Some(3.0)), "a");
}
