use super::{body, html, origin, report, rows};

const ALL: &str = r#"
[[sections]]
type = "figures"
title = "Title"
figures = [{ label = "Label", value = "q.name" }]
[[sections]]
type = "text"
paragraphs = ["It says {{ q.name }}."]
[[sections]]
type = "table"
query = "q"
[[sections]]
type = "chart"
chart = "bar"
query = "q"
x = "name"
y = "number"
[[sections]]
type = "chart"
chart = "stacked_bar"
query = "q"
x = "number"
y = "number"
series = "name"
"#;

/// What somebody may write into a ticket.
const ATTACKS: [&str; 12] = [
    "<script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</svg></text><script>alert(1)</script>",
    "\" onload=\"alert(1)",
    "' onmouseover='alert(1)",
    "<img src=x onerror=alert(1)>",
    "]]><!--",
    "{{ q.number }}",
    "#read(\"/etc/passwd\")",
    "#{import \"@preview/x:1.0.0\"} $ x^2 $ *bold* _it_ `raw` <label> @ref = heading",
    "\\u{0} // comment /* */ \\ #sys.inputs",
    "javascript:alert(1)",
];

#[test]
fn what_is_in_the_data_is_never_markup_of_html() {
    for attack in ATTACKS {
        let page = body(&report(ALL, rows(&[(attack, 3), ("b", 2)])).unwrap());
        let tags: Vec<&str> =
            page.split('<').skip(1).map(|rest| rest.split('>').next().unwrap()).collect();
        for tag in tags {
            let name = tag.trim_start_matches('/').split([' ', '\n']).next().unwrap();
            let known = [
                "style", "head", "body", "html", "header", "h1", "p", "dl", "div", "dt", "dd",
                "main", "section", "h2", "table", "thead", "tbody", "tfoot", "tr", "th", "td",
                "footer", "svg", "title", "rect", "line", "text", "polyline", "polygon", "circle",
            ];
            assert!(known.contains(&name), "{attack:?} made a tag <{tag}>");
            let attributes = tag.to_lowercase();
            assert!(
                !attributes.contains(" on")
                    || attributes.contains("&quot; on")
                    || attributes.contains("&#39; on"),
                "{attack:?} made an attribute of <{tag}>"
            );
        }
        assert!(!page.contains("<script") && !page.contains("<img"), "{attack:?}");
    }
}

#[test]
fn titles_labels_and_origins_are_escaped_too() {
    let attack = "</title><script>x</script>\"'";
    let mut made = report(ALL, rows(&[("a", 1)])).unwrap();
    made.title = attack.to_owned();
    made.subtitle = Some(attack.to_owned());
    made.made_by = attack.to_owned();
    made.asked_by = Some(attack.to_owned());
    made.sources = vec![attack.to_owned()];
    made.notes = vec![attack.to_owned()];
    made.parameters = vec![(attack.to_owned(), attack.to_owned())];
    let page = html(&made);
    assert!(!page.contains("<script") && !page.contains("\"'\""));
    assert_eq!(page.matches("</title>").count(), 1 + 2, "one of the page, and one of each chart");
}

#[test]
fn a_page_runs_and_fetches_nothing() {
    let page = html(&report(ALL, rows(&[("https://example.org/x.png", 1)])).unwrap());
    let policy = "default-src 'none'; style-src 'sha256-";
    assert!(page.contains(policy) && page.contains("base-uri 'none'; form-action 'none'"));
    let style = page.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
    for reference in style.split("url(").skip(1) {
        assert!(reference.starts_with("data:font/"), "{}", &reference[..40]);
    }
    for attribute in [" src=", " href=", " style=", "@import", "<link", "<script", "<iframe"] {
        assert!(!page.contains(attribute), "{attribute}");
    }
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let made = || report(ALL, rows(&[("a", 1), ("b", 2)])).unwrap();
    assert_eq!(html(&made()), html(&made()));
    assert!(html(&made()).contains(
        "Made of model_calls@7. Made at 2026-02-01\u{a0}06:00 UTC by Colonnade 0.1.0 for ana."
    ));
    assert_eq!(made().made_at, origin().made_at);
}

#[test]
fn endless_texts_are_cut_and_control_letters_go() {
    let long = "x".repeat(100_000);
    let page = body(&report(ALL, rows(&[(&long, 1), ("a\u{202e}b\u{0}c", 2)])).unwrap());
    assert!(page.len() < 40_000, "{} bytes", page.len());
    assert!(page.contains("ab c") && page.contains('…'));
}

#[cfg(feature = "pdf")]
mod pages_of_pdf {
    use super::*;
    use crate::pdf;

    #[test]
    fn what_is_in_the_data_is_never_markup_of_typst() {
        let cells: Vec<(&str, i64)> = ATTACKS.iter().map(|attack| (*attack, 1)).collect();
        let made = report(ALL, rows(&cells)).unwrap();
        let pages = pdf(&made);
        assert!(pages.starts_with(b"%PDF-"));
        for attack in [ATTACKS[8], ATTACKS[9]] {
            let text = "[[sections]]\ntype = \"text\"\nparagraphs = [\"{{ q.name }}\"]\n";
            let mut one = report(text, rows(&[(attack, 1)])).unwrap();
            one.title = attack.to_owned();
            one.sources = vec![attack.to_owned()];
            one.parameters = vec![(attack.to_owned(), attack.to_owned())];
            assert!(pdf(&one).len() > 5_000, "{attack}");
        }
    }

    #[test]
    fn the_same_input_gives_the_same_pages() {
        let made = report(ALL, rows(&[("a", 1), ("Ж中한ش", 2)])).unwrap();
        assert_eq!(pdf(&made), pdf(&made));
    }

    #[test]
    fn a_table_of_many_rows_and_columns_of_long_words_is_set() {
        let word = "W".repeat(300);
        let cells: Vec<(&str, i64)> =
            (0..150).map(|n| (word.as_str(), n * 1_000_000_007)).collect();
        let columns = r#"{ column = "name" }, { column = "number" }, "#.repeat(6);
        let sections = format!(
            "[[sections]]\ntype = \"table\"\nquery = \"q\"\nrows = 100\ncolumns = [{columns}]"
        );
        assert!(pdf(&report(&sections, rows(&cells)).unwrap()).len() > 20_000);
    }
}
