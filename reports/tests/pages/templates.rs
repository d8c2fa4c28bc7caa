use std::collections::BTreeMap;

use reports::{ParameterValue, READY, Template, ready};

use super::origin;

fn error(text: &str) -> String {
    Template::parse("week.toml", text).unwrap_err().to_string()
}

const QUERY: &str = "title = \"T\"\n[queries.q]\nsql = \"SELECT 1\"\n";

#[test]
fn ready_templates_are_whole() {
    for (name, _) in READY {
        let template = ready(name).unwrap();
        let given = BTreeMap::from([("to".to_owned(), "2026-02-01".to_owned())]);
        let values = template.values(&given, &BTreeMap::new(), origin().made_at).unwrap();
        for (query, asked) in template.queries_of_sections() {
            for parameter in template.parameters_of(asked) {
                assert!(values.contains_key(&parameter), "{name}: {query} takes ${parameter}");
            }
        }
        assert!(template.queries_of_parameters(&given).is_empty());
        assert_eq!(template.queries_of_parameters(&BTreeMap::new())[0].0, "day_after_last");
    }
    let error = ready("model-cost").unwrap_err().to_string();
    assert!(error.contains("model-costs"), "{error}");
}

#[test]
fn defaults_are_reckoned_from_each_other() {
    let template = ready("operations-week").unwrap();
    let given = BTreeMap::from([("to".to_owned(), "2026-01-31".to_owned())]);
    let values = template.values(&given, &BTreeMap::new(), origin().made_at).unwrap();
    assert_eq!(values["from"].to_string(), "2026-01-24");
    assert_eq!(values["before"].to_string(), "2026-01-17");
    assert!(matches!(values["before"], ParameterValue::Date(_)));
    let today = template.values(&BTreeMap::new(), &BTreeMap::new(), origin().made_at).unwrap();
    assert_eq!(today["to"].to_string(), "2026-02-01");
}

#[test]
fn values_that_do_not_fit_are_named() {
    let template = ready("operations-week").unwrap();
    let error = |name: &str, value: &str| {
        let given = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        template.values(&given, &BTreeMap::new(), origin().made_at).unwrap_err().to_string()
    };
    assert_eq!(
        error("to", "yesterday"),
        r#"parameter to: "yesterday": expected a day, as 2026-01-31"#
    );
    assert_eq!(error("form", "2026-01-01"), "parameter form: there is none; did you mean from?");
}

#[test]
fn what_is_wrong_is_named_by_place() {
    for (text, expected) in [
        ("title = ", vec!["week.toml: line 1: "]),
        ("titel = \"x\"", vec!["unknown field `titel`", "title"]),
        ("title = \"T\"", vec!["sections: there are none"]),
        ("title = \"T\"\npaper = \"a3\"", vec!["paper", "a3", "letter"]),
        ("title = \"T\"\n[queries.q]\nsqll = \"x\"", vec!["queries.q", "sqll", "sql"]),
        ("title = \"T\"\n[parameters.x]\ntype = \"dat\"\n", vec!["parameters.x: type", "date"]),
        ("title = \"T\"\n[[sections]]\ntype = \"chrt\"", vec!["sections[0]: type", "chart"]),
        ("title = \"T\"\n[[sections]]\ntitle = \"A\"", vec!["sections[0] \"A\": type", "missing"]),
    ] {
        let error = error(text);
        for part in expected {
            assert!(error.contains(part), "{error:?} has no {part:?}");
        }
    }
    for (section, expected) in [
        (
            "type = \"table\"\nquery = \"p\"",
            "sections[0]: query: query \"p\" is not there; there are q",
        ),
        ("type = \"table\"\nquery = \"q\"\nrows = 5000", "rows: 5000 rows: at most 1000"),
        (
            "type = \"table\"\nquery = \"q\"\ncolumns = [{ column = \"a\" }, { column = \"b\", fromat = \"money\" }]",
            "columns[1].fromat",
        ),
        (
            "type = \"table\"\nquery = \"q\"\ncolumns = [{ column = \"a\", format = \"monney\" }]",
            "columns[0].format",
        ),
        (
            "type = \"text\"\nparagraphs = [\"{{ x.y }}\"]",
            "paragraphs[0]: query \"x\" is not there",
        ),
        (
            "type = \"text\"\nparagraphs = [\"{{ q.y | percnt }}\"]",
            "paragraphs[0]: format \"percnt\"",
        ),
        ("type = \"chart\"\nchart = \"line\"\nquery = \"q\"\nx = \"a\"", "y: it is missing"),
        (
            "type = \"chart\"\nchart = \"area\"\nquery = \"q\"\nx = \"a\"\ny = \"b\"\ny_scale = \"log\"",
            "y_scale",
        ),
        (
            "type = \"figures\"\nfigures = [{ label = \"a\", value = \"q\" }]",
            "figures[0].value: \"q\": expected QUERY.COLUMN",
        ),
    ] {
        let error = error(&format!("{QUERY}[[sections]]\n{section}\n"));
        assert!(error.contains(expected), "{error:?} has no {expected:?}");
    }
    let unused = error(&format!("{QUERY}[[sections]]\ntype = \"text\"\nparagraphs = [\"x\"]\n"));
    assert!(unused.contains("queries.q: no section shows it"), "{unused}");
    let taken = "title = \"T\"\n[queries.q]\nsql = \"SELECT '$a', $b -- $c\"\n[[sections]]\ntype = \"table\"\nquery = \"q\"\n";
    assert!(error(taken).contains("parameter \"b\" is not there"));
}
