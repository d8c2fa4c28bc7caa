//! What is to be known before pages are set: how wide columns are, how large letters, and where words that are too long may break, so
//! that nothing leaves the page.

use serde::Serialize;

use crate::chart::width;
use crate::report::{Body, Part, Report, Table, beside};
use crate::template::Paper;

/// Points of the page's width beside the text, at each side.
const MARGIN: f64 = 51.0;
/// Points between columns, and so many more before a text behind a number.
const GUTTER: f64 = 10.0;
const MORE_GUTTER: f64 = 8.0;
/// Letters of tables, and the room that a text has at least, from what is read best to what is still read.
const STEPS: [(f64, f64); 14] = [
    (8.5, 150.0),
    (8.0, 150.0),
    (7.5, 150.0),
    (8.5, 110.0),
    (8.0, 110.0),
    (7.5, 110.0),
    (7.0, 110.0),
    (8.5, 74.0),
    (8.0, 74.0),
    (7.5, 74.0),
    (7.0, 74.0),
    (6.5, 74.0),
    (6.0, 74.0),
    (6.0, 52.0),
];
/// Measures are taken with a little to spare.
const SPARE: f64 = 1.04;
/// Semi-bold letters are wider than regular ones.
const BOLD: f64 = 1.07;
/// A report with its measures.
#[derive(Serialize)]
pub(super) struct Pages {
    paper: &'static str,
    margin: f64,
    title: String,
    /// As it is in the file's own data.
    name: String,
    subtitle: Option<String>,
    parameters: Vec<(String, String)>,
    /// What stands below each page.
    footer: String,
    notes: Vec<String>,
    provenance: String,
    /// Parts that stand beside each other, or alone.
    lines: Vec<Vec<Placed>>,
}

#[derive(Serialize)]
struct Placed {
    title: Option<String>,
    note: Option<String>,
    body: Body,
    /// Of a table: points of each column, and of its letters.
    widths: Vec<f64>,
    size: f64,
    /// Of a table: whether it stays on one page.
    is_whole: bool,
    /// Of figures: how many stand beside each other.
    columns: usize,
}

pub(super) fn pages(report: &Report, paper: Paper) -> Pages {
    let (paper, page) = match paper {
        Paper::A4 => ("a4", 595.28),
        Paper::Letter => ("us-letter", 612.0),
    };
    let wide = page - 2.0 * MARGIN;
    let mut lines: Vec<Vec<Placed>> = Vec::new();
    let mut open_half = false;
    for part in &report.parts {
        let half = (wide - 16.0) / 2.0;
        let placed = placed(part, if part.is_half { half } else { wide });
        match lines.last_mut() {
            Some(line) if open_half && part.is_half => {
                line.push(placed);
                open_half = false;
            }
            _ => {
                lines.push(vec![placed]);
                open_half = part.is_half;
            }
        }
    }
    let text = |text: &str, size: f64| broken(text, size, wide);
    let sources = report.sources.join(", ");
    let made = format!("made at {} UTC", crate::format::instant(report.made_at));
    let footer = match report.sources.len() {
        0 => format!("M{}", &made[1..]),
        _ if width(&sources, 7.0) < 1.4 * wide => format!("{sources}; {made}"),
        many => format!("{many} datasets, listed on the last page; {made}"),
    };
    Pages {
        paper,
        margin: MARGIN,
        title: text(&report.title, 24.0),
        name: report.title.clone(),
        subtitle: report.subtitle.as_ref().map(|subtitle| text(subtitle, 12.0)),
        parameters: report.parameters.iter().map(|(t, v)| (text(t, 9.0), text(v, 9.0))).collect(),
        footer: broken(&footer, 7.0, wide * 0.75),
        notes: report.notes.iter().map(|note| text(note, 8.0)).collect(),
        provenance: text(&report.provenance(), 8.0),
        lines,
    }
}

fn placed(part: &Part, wide: f64) -> Placed {
    let mut placed = Placed {
        title: part.title.as_ref().map(|title| broken(title, 13.0 * BOLD, wide)),
        note: part.note.as_ref().map(|note| broken(note, 8.0, wide)),
        body: part.body.clone(),
        widths: Vec::new(),
        size: STEPS[0].0,
        is_whole: false,
        columns: 1,
    };
    match &mut placed.body {
        Body::Text { paragraphs } => {
            paragraphs.iter_mut().for_each(|text| *text = broken(text, 9.5, wide));
        }
        Body::Figures { figures } => {
            placed.columns =
                if wide > 300.0 { beside(figures.len()) } else { figures.len().clamp(1, 2) };
            let count = u32::try_from(placed.columns).unwrap_or(1);
            let each = wide / f64::from(count) - 26.0;
            let widest =
                figures.iter().map(|figure| width(&figure.value, BOLD)).fold(0.0, f64::max);
            placed.size = (each / widest.max(1e-9)).clamp(8.0, 17.0);
            for figure in figures {
                figure.label = broken(&figure.label, 8.5, each);
                figure.value = broken(&figure.value, placed.size * BOLD, each);
                figure
                    .change
                    .iter_mut()
                    .for_each(|change| change.text = broken(&change.text, 8.0, each));
            }
        }
        Body::Table(table) => {
            (placed.size, placed.widths) = columns(table, wide);
            placed.is_whole = height(table, placed.size, &placed.widths) < WHOLE;
            let left_out = table.left_out.take();
            table.left_out = left_out.map(|text| broken(&text, 8.0, wide));
            let more: Vec<f64> =
                (0..table.columns.len()).map(|at| more_gutter(table, at)).collect();
            for (at, column) in table.columns.iter_mut().enumerate() {
                let room = placed.widths[at] - GUTTER - more[at];
                column.label = broken(&column.label, placed.size * BOLD, room);
                let cells = table.rows.iter_mut().filter_map(|row| row.get_mut(at));
                cells.for_each(|cell| *cell = broken(cell, placed.size, room));
                let total = table.total.as_mut().and_then(|total| total.get_mut(at));
                total.into_iter().for_each(|cell| *cell = broken(cell, placed.size * BOLD, room));
            }
        }
        Body::Chart { left_out, .. } => {
            left_out.iter_mut().for_each(|text| *text = broken(text, 8.0, wide));
        }
        Body::Absent { sentence } => *sentence = broken(sentence, 9.5, wide),
    }
    placed
}

/// Points that a table has at most to stay on one page.
const WHOLE: f64 = 290.0;

/// About how high a table is.
fn height(table: &Table, size: f64, widths: &[f64]) -> f64 {
    let lines = |row: &Vec<String>| {
        let lines =
            row.iter().zip(widths).map(|(cell, wide)| (width(cell, size) / (wide - GUTTER)).ceil());
        lines.fold(1.0, f64::max)
    };
    table.rows.iter().map(|row| lines(row) * size * 1.35 + 6.4).sum()
}

/// What a column needs at least, so that no word breaks, and what it would like, so that no line does. At size 1.
fn need_of(table: &Table, at: usize) -> (f64, f64) {
    let is_number = table.columns.get(at).is_some_and(|column| column.is_number);
    let word =
        |text: &str, size: f64| text.split(' ').map(|word| width(word, size)).fold(0.0, f64::max);
    let (mut least, mut most) = (0.0_f64, 0.0_f64);
    for cell in table.rows.iter().filter_map(|row| row.get(at)) {
        let whole = width(cell, 1.0);
        least = least.max(if is_number { whole } else { word(cell, 1.0) });
        most = most.max(whole);
    }
    if let Some(cell) = table.total.as_ref().and_then(|total| total.get(at)) {
        least = least.max(width(cell, BOLD));
        most = most.max(width(cell, BOLD));
    }
    if let Some(column) = table.columns.get(at) {
        least = least.max(word(&column.label, BOLD));
        most = most.max(width(&column.label, BOLD).min(14.0));
    }
    (SPARE * least, SPARE * most.max(least))
}

/// The size of letters and the width of each column, gutter and all. They are as wide as the page at most.
fn columns(table: &Table, wide: f64) -> (f64, Vec<f64>) {
    let wide = wide - (0..table.columns.len()).map(|at| more_gutter(table, at)).sum::<f64>();
    let (size, mut widths) = shares(table, wide);
    widths.iter_mut().enumerate().for_each(|(at, width)| *width += more_gutter(table, at));
    (size, widths)
}

fn more_gutter(table: &Table, at: usize) -> f64 {
    let is_number = |at: usize| table.columns.get(at).is_some_and(|column| column.is_number);
    let is_behind = at.checked_sub(1).is_some_and(is_number) && !is_number(at);
    if is_behind { MORE_GUTTER } else { 0.0 }
}

fn shares(table: &Table, wide: f64) -> (f64, Vec<f64>) {
    let needs: Vec<(f64, f64, bool)> = (0..table.columns.len())
        .map(|at| {
            let (least, most) = need_of(table, at);
            (least, most, table.columns[at].is_number)
        })
        .collect();
    for (size, text) in STEPS {
        let least = |(least, most, is_number): &(f64, f64, bool)| {
            GUTTER + if *is_number { least * size } else { (most * size).min(text) }
        };
        let most = |(_, most, _): &(f64, f64, bool)| GUTTER + most * size;
        let all_least: f64 = needs.iter().map(least).sum();
        if all_least > wide {
            continue;
        }
        let all_most: f64 = needs.iter().map(most).sum();
        let share = |more: f64, of: f64| if of > 0.0 { more / of } else { 0.0 };
        if all_most <= wide {
            // What is left goes to texts, or, where there are none, to all alike.
            let texts: f64 = needs.iter().filter(|(_, _, is_number)| !is_number).map(most).sum();
            let left = wide - all_most;
            let widths = needs.iter().map(|need| {
                let own = most(need);
                let more = if texts == 0.0 {
                    share(left, all_most)
                } else if need.2 {
                    0.0
                } else {
                    share(left, texts)
                };
                own + own * more
            });
            return (size, widths.collect());
        }
        let part = share(wide - all_least, all_most - all_least);
        let widths = needs.iter().map(|need| least(need) + (most(need) - least(need)) * part);
        return (size, widths.collect());
    }
    // Numbers break as well.
    let (size, text) = STEPS[STEPS.len() - 1];
    let need = |(least, ..): &(f64, f64, bool)| (least * size).min(text) + GUTTER;
    let all: f64 = needs.iter().map(need).sum();
    (size, needs.iter().map(|one| need(one) * wide / all).collect())
}

/// The text, with places to break in words that are wider than `room`.
fn broken(text: &str, size: f64, room: f64) -> String {
    let room = room.max(size * 1.2);
    let mut out = String::with_capacity(text.len());
    for (at, word) in text.split(' ').enumerate() {
        if at > 0 {
            out.push(' ');
        }
        if width(word, size) <= room {
            out.push_str(word);
            continue;
        }
        let (mut wide, mut good) = (0.0, None);
        let mut start = out.len();
        for letter in word.chars() {
            let own = width(letter.encode_utf8(&mut [0; 4]), size);
            if wide + own > room {
                // Behind a sign, where there is one that leaves no short line.
                let cut = good.filter(|good| 2 * (good - start) > out.len() - start);
                let rest = out.split_off(cut.unwrap_or(out.len()));
                out.push('\u{200b}');
                start = out.len();
                wide = width(&rest, size);
                out.push_str(&rest);
                good = None;
            }
            out.push(letter);
            wide += own;
            if !letter.is_alphanumeric() {
                good = Some(out.len());
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Column;

    fn table(cells: &[(&str, bool)]) -> Table {
        let column = |(_, is_number): &(&str, bool)| Column {
            label: "label".to_owned(),
            is_number: *is_number,
            letters: 0,
        };
        Table {
            columns: cells.iter().map(column).collect(),
            rows: vec![cells.iter().map(|(cell, _)| (*cell).to_owned()).collect()],
            total: None,
            left_out: None,
        }
    }

    #[test]
    fn columns_are_never_wider_than_the_page() {
        let long = "x".repeat(400);
        let number = "123,456,789,012,345,678".to_owned();
        for cells in [
            vec![("a", false), ("1", true)],
            vec![(long.as_str(), false); 12],
            vec![(number.as_str(), true); 12],
            vec![
                ("a short text of some words that goes on and on", false),
                (number.as_str(), true),
                (long.as_str(), false),
            ],
        ] {
            let (size, widths) = columns(&table(&cells), 493.0);
            let all: f64 = widths.iter().sum();
            assert!(all <= 493.0 + 1e-6, "{all} for {} columns at {size}", cells.len());
            assert!(widths.iter().all(|width| *width > 20.0));
        }
    }

    #[test]
    fn long_words_may_break_and_short_ones_do_not() {
        assert_eq!(broken("a few words", 8.0, 60.0), "a few words");
        let parts = broken(&"W".repeat(50), 8.0, 60.0);
        assert!(
            parts.split('\u{200b}').all(|part| width(part, 8.0) <= 60.0)
                && parts.contains('\u{200b}')
        );
    }
}
