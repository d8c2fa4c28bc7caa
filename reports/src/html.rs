//! A report as one file of HTML: its style, fonts and drawings are in it, it fetches nothing and runs nothing.

use std::fmt::Write;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};

use crate::error::Result;
use crate::fonts::Fonts;
use crate::report::{Body, Figure, Meaning, Part, Report, Table, beside};

/// The report as a page of HTML.
pub fn html(report: &Report, fonts: &Fonts) -> Result<String> {
    let letters = report.letters();
    let (faces, families) = fonts.css(&letters)?;
    let style = format!("{faces}{}", include_str!("style.css").replace("FAMILIES", &families));
    let hash = BASE64_STANDARD.encode(Sha256::digest(&style));
    let mut page = String::with_capacity(style.len() + 64 * 1024);
    let _ = write!(
        page,
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'sha256-{hash}'; font-src data:; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta name="generator" content="{}">
<title>{}</title>
<style>{style}</style>
</head>
<body>
"#,
        escaped(&report.made_by),
        escaped(&report.title),
    );
    header(&mut page, report);
    page.push_str("<main>\n");
    for (index, one) in report.parts.iter().enumerate() {
        part(&mut page, index, one);
    }
    page.push_str("</main>\n");
    footer(&mut page, report, &fonts.lacking(&letters).into_iter().collect::<Vec<_>>());
    page.push_str("</body>\n</html>\n");
    Ok(page)
}

/// Text for between tags and for between quotes.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// Cells of so many letters do not break.
const SHORT: usize = 18;

fn header(page: &mut String, report: &Report) {
    let _ = writeln!(page, "<header>\n<h1>{}</h1>", escaped(&report.title));
    if let Some(subtitle) = &report.subtitle {
        let _ = writeln!(page, r#"<p class="subtitle">{}</p>"#, escaped(subtitle));
    }
    if !report.parameters.is_empty() {
        page.push_str("<dl class=\"chosen\">\n");
        for (title, value) in &report.parameters {
            let _ =
                writeln!(page, "<div><dt>{}</dt><dd>{}</dd></div>", escaped(title), escaped(value));
        }
        page.push_str("</dl>\n");
    }
    page.push_str("</header>\n");
}

fn part(page: &mut String, index: usize, part: &Part) {
    let half = if part.is_half { r#" class="half""# } else { "" };
    match &part.title {
        Some(title) => {
            let _ = writeln!(
                page,
                "<section{half} aria-labelledby=\"s{index}\">\n<h2 id=\"s{index}\">{}</h2>",
                escaped(title)
            );
        }
        None => {
            let _ = writeln!(page, "<section{half}>");
        }
    }
    let title = part.title.as_deref().unwrap_or("Table");
    match &part.body {
        Body::Text { paragraphs } => {
            for paragraph in paragraphs {
                let _ = writeln!(page, "<p>{}</p>", escaped(paragraph));
            }
        }
        Body::Figures { figures } => {
            let _ = writeln!(page, "<dl class=\"figures by-{}\">", beside(figures.len()));
            figures.iter().for_each(|one| figure(page, one));
            page.push_str("</dl>\n");
        }
        Body::Table(one) => table(page, title, one),
        Body::Chart { svg, left_out, .. } => {
            let _ = writeln!(page, "<div class=\"chart scroll\" tabindex=\"0\">{svg}</div>");
            quiet(page, "left-out", left_out.as_deref());
        }
        Body::Absent { sentence } => quiet(page, "absent", Some(sentence)),
    }
    quiet(page, "note", part.note.as_deref());
    page.push_str("</section>\n");
}

fn quiet(page: &mut String, class: &str, text: Option<&str>) {
    if let Some(text) = text {
        let _ = writeln!(page, r#"<p class="{class}">{}</p>"#, escaped(text));
    }
}

fn figure(page: &mut String, figure: &Figure) {
    let _ = write!(
        page,
        r#"<div><dt>{}</dt><dd class="value">{}</dd>"#,
        escaped(&figure.label),
        escaped(&figure.value)
    );
    if let Some(change) = &figure.change {
        let class = match change.meaning {
            Meaning::Good => "change good",
            Meaning::Bad => "change bad",
            Meaning::Plain => "change",
        };
        let _ = write!(page, r#"<dd class="{class}">{}</dd>"#, escaped(&change.text));
    }
    page.push_str("</div>\n");
}

fn table(page: &mut String, title: &str, table: &Table) {
    let _ = writeln!(
        page,
        r#"<div class="scroll" tabindex="0" role="region" aria-label="{}">
<table>
<thead>
<tr>"#,
        escaped(title)
    );
    let class = |at: usize| match table.columns.get(at) {
        Some(column) if column.is_number => r#" class="number""#,
        Some(column) if column.letters <= SHORT => r#" class="short""#,
        _ => "",
    };
    for (at, column) in table.columns.iter().enumerate() {
        let _ = writeln!(page, r#"<th scope="col"{}>{}</th>"#, class(at), escaped(&column.label));
    }
    page.push_str("</tr>\n</thead>\n<tbody>\n");
    for row in &table.rows {
        cells(page, row, &class);
    }
    page.push_str("</tbody>\n");
    if let Some(total) = &table.total {
        page.push_str("<tfoot>\n");
        cells(page, total, &class);
        page.push_str("</tfoot>\n");
    }
    page.push_str("</table>\n</div>\n");
    quiet(page, "left-out", table.left_out.as_deref());
}

/// The first cell names its row.
fn cells(page: &mut String, row: &[String], class: &dyn Fn(usize) -> &'static str) {
    page.push_str("<tr>");
    for (at, cell) in row.iter().enumerate() {
        let (open, close) = if at == 0 { (r#"th scope="row""#, "th") } else { ("td", "td") };
        let _ = write!(page, "<{open}{}>{}</{close}>", class(at), escaped(cell));
    }
    page.push_str("</tr>\n");
}

fn footer(page: &mut String, report: &Report, lacking: &[&str]) {
    page.push_str("<footer>\n<div>\n");
    for note in &report.notes {
        let _ = writeln!(page, "<p>{}</p>", escaped(note));
    }
    if !lacking.is_empty() {
        let _ = writeln!(
            page,
            "<p>The fonts of this file have no letters for these scripts, which your system's fonts show: {}.</p>",
            escaped(&lacking.join(", "))
        );
    }
    let _ = writeln!(page, "<p>{}</p>\n</div>\n</footer>", escaped(&report.provenance()));
}
