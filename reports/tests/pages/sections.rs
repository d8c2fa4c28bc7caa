use reports::Answer;
use reports::report::{Body, Meaning};

use super::{body, numbers, report, rows};

fn only(sections: &str, answer: Answer) -> Body {
    report(sections, answer).unwrap().parts.remove(0).body
}

#[test]
fn a_table_is_sorted_cut_and_summed_over_all_rows() {
    let cells: Vec<(String, i64)> = (1..=40).map(|n| (format!("row {n}"), n)).collect();
    let cells: Vec<(&str, i64)> = cells.iter().map(|(name, n)| (name.as_str(), *n)).collect();
    let sections = r#"
[[sections]]
type = "table"
query = "q"
rows = 3
sort = "-number"
columns = [{ column = "name", label = "Name" }, { column = "number", label = "Number", unit = "ms", total = true }]
"#;
    let Body::Table(table) = only(sections, rows(&cells)) else { panic!("no table") };
    assert_eq!(table.rows[0], ["row 40", "40"]);
    assert_eq!(table.columns[1].label, "Number, ms");
    assert_eq!(table.total.unwrap(), ["Total", "820"]);
    assert_eq!(table.left_out.unwrap(), "3 of 40 rows are shown; 37 more are left out.");
}

#[test]
fn figures_say_how_they_changed() {
    let sections = r#"
[[sections]]
type = "figures"
against = "last week"
figures = [{ label = "Now", value = "q.x", previous = "q.y", better = "lower", unit = "ms" }]
"#;
    let Body::Figures { figures } = only(sections, numbers([(90.0, 100.0)])) else {
        panic!("no figures")
    };
    assert_eq!(figures[0].value, "90\u{a0}ms");
    let change = figures[0].change.clone().unwrap();
    assert_eq!(
        (change.text.as_str(), change.meaning),
        ("▼\u{a0}10.0\u{a0}% (last week: 100\u{a0}ms)", Meaning::Good)
    );
}

#[test]
fn every_kind_of_chart_is_drawn() {
    for (kind, keys) in [
        ("line", "x = \"x\"\ny = \"y\""),
        (
            "line",
            "x = \"x\"\ny = [\"y\", \"x\"]\nlabels = [\"a\", \"b\"]\ny_scale = \"log\"\nx_scale = \"log\"",
        ),
        ("area", "x = \"x\"\ny = [\"y\", \"x\"]"),
        ("bar", "x = \"x\"\ny = \"y\""),
        ("bar", "x = \"x\"\ny = \"y\"\nhorizontal = true\nformat = \"money\"\nunit = \"usd\""),
        ("stacked_bar", "x = \"x\"\ny = [\"y\", \"x\"]\nhorizontal = true"),
        ("histogram", "x = \"x\"\nbins = 5"),
        ("histogram", "x = \"x\"\nx_scale = \"log\""),
        ("heatmap", "x = \"x\"\ny = \"y\"\nvalue = \"x\""),
        ("scatter", "x = \"x\"\ny = \"y\"\nx_label = \"X\"\nx_unit = \"ms\""),
    ] {
        for width in ["full", "half"] {
            let sections = format!(
                "[[sections]]\ntype = \"chart\"\nwidth = \"{width}\"\nchart = \"{kind}\"\nquery = \"q\"\n{keys}\n"
            );
            let answer = numbers((1..20).map(|n| (f64::from(n), f64::from(n * n))));
            let Body::Chart { svg, alt, .. } = only(&sections, answer) else {
                panic!("no chart of {keys}")
            };
            assert!(
                svg.starts_with("<svg ") && svg.ends_with("</svg>") && svg.contains("<title>"),
                "{kind}"
            );
            assert!(
                svg.matches("<text").count() > 3 && !svg.contains("NaN") && !svg.contains("inf"),
                "{kind}: {svg}"
            );
            assert!(alt.len() > 10);
        }
    }
}

#[test]
fn charts_of_odd_numbers_are_drawn_or_refused_with_a_reason() {
    let extremes = [
        f64::NAN,
        f64::INFINITY,
        -f64::INFINITY,
        0.0,
        -1.0,
        1e300,
        -1e300,
        f64::MIN_POSITIVE,
        f64::MAX,
    ];
    for kind in ["line", "area", "bar", "stacked_bar", "histogram", "heatmap", "scatter"] {
        let keys = match kind {
            "histogram" => "",
            "heatmap" => "y = \"y\"\nvalue = \"y\"",
            _ => "y = \"y\"",
        };
        for scale in ["linear", "log"] {
            for (x, y) in extremes.iter().flat_map(|x| extremes.iter().map(move |y| (*x, *y))) {
                let scale = if ["area", "stacked_bar", "heatmap"].contains(&kind) {
                    "linear"
                } else {
                    scale
                };
                let sections = format!(
                    "[[sections]]\ntype = \"chart\"\nchart = \"{kind}\"\nquery = \"q\"\nx = \"x\"\nx_scale = \"{scale}\"\ny_scale = \"{scale}\"\n{keys}\n"
                );
                if let Ok(report) = report(&sections, numbers([(x, y), (2.0, 3.0)])) {
                    assert!(
                        !format!("{:?}", report.parts).contains("NaN"),
                        "{kind} of {x} and {y}"
                    );
                }
            }
        }
    }
}

#[test]
fn series_beyond_the_most_are_put_together_or_said_to_be_left_out() {
    let cells: Vec<(String, i64)> = (0..12).map(|n| (format!("s{n:02}"), 100 - n)).collect();
    let cells: Vec<(&str, i64)> = cells.iter().map(|(name, n)| (name.as_str(), *n)).collect();
    let chart = |kind: &str| {
        let sections = format!(
            "[[sections]]\ntype = \"chart\"\nchart = \"{kind}\"\nquery = \"q\"\nx = \"number\"\ny = \"number\"\nseries = \"name\"\n"
        );
        match only(&sections, rows(&cells)) {
            Body::Chart { svg, left_out, .. } => (svg, left_out),
            other => panic!("{other:?}"),
        }
    };
    assert!(chart("stacked_bar").0.contains("5 others"));
    assert_eq!(chart("line").1.unwrap(), "5 more series are not shown.");
}

#[test]
fn too_much_is_refused_with_a_way_out() {
    let cells: Vec<(String, i64)> = (0..500).map(|n| (format!("s{n}"), n)).collect();
    let cells: Vec<(&str, i64)> = cells.iter().map(|(name, n)| (name.as_str(), *n)).collect();
    let sections = "[[sections]]\ntitle = \"Bars\"\ntype = \"chart\"\nchart = \"bar\"\nquery = \"q\"\nx = \"name\"\ny = \"number\"\n";
    let error = report(sections, rows(&cells)).unwrap_err().to_string();
    assert_eq!(
        error,
        r#"test.toml: sections[0] "Bars": query q: 500 bars: at most 400 fit; ask for fewer"#
    );
    let text = "[[sections]]\ntype = \"chart\"\nchart = \"bar\"\nquery = \"q\"\nx = \"number\"\ny = \"name\"\n";
    let error = report(text, rows(&[("many", 1)])).unwrap_err().to_string();
    assert!(error.contains(r#"column name has the text "many": expected numbers"#), "{error}");
    let unknown =
        "[[sections]]\ntype = \"table\"\nquery = \"q\"\ncolumns = [{ column = \"numbr\" }]\n";
    let error = report(unknown, rows(&[("many", 1)])).unwrap_err().to_string();
    assert!(error.contains(r#"no column "numbr"; there is "number""#), "{error}");
}

#[test]
fn what_is_missing_is_left_out_where_it_may_be() {
    let missing = || Answer::Missing("there is no dataset tickets".to_owned());
    let section = "[[sections]]\ntitle = \"T\"\ntype = \"table\"\nquery = \"q\"\n";
    let error = report(section, missing()).unwrap_err().to_string();
    assert!(
        error.contains("there is no dataset tickets") && error.contains("optional = true"),
        "{error}"
    );
    let page = body(&report(&format!("{section}optional = true\n"), missing()).unwrap());
    assert!(page.contains("This section is left out: there is no dataset tickets."));
    let empty = body(&report(&format!("{section}empty = \"None came.\"\n"), rows(&[])).unwrap());
    assert!(empty.contains("None came."));
}
