//! What must hold of a template as a whole: names that are there, and bounds.

use std::collections::BTreeSet;

use super::sections::{SectionKind, place};
use super::{
    ChartKind, ChartSection, MOST_COLUMNS, MOST_FIGURES, MOST_PARAGRAPH, MOST_PARAGRAPHS,
    MOST_PARAMETERS, MOST_QUERIES, MOST_SECTIONS, MOST_TABLE_ROWS, MOST_TITLE, Section, Template,
    unknown,
};
use crate::chart::{MOST_BINS, MOST_SERIES};
use crate::format::{Format, Kind, MOST_DECIMALS};
use crate::text::Text;

type Found = Result<(), (String, String)>;

fn at(place: &str, problem: impl Into<String>) -> (String, String) {
    (place.to_owned(), problem.into())
}

fn most(place: &str, count: usize, most: usize, what: &str) -> Found {
    if count > most { Err(at(place, format!("{count} {what}: at most {most}"))) } else { Ok(()) }
}

pub(super) fn template(template: &Template) -> Found {
    most("title", template.title.chars().count(), MOST_TITLE, "letters")?;
    if template.title.trim().is_empty() {
        return Err(at("title", "it is empty: expected what the report is called"));
    }
    if template.sections.is_empty() {
        return Err(at("sections", "there are none: expected one [[sections]] at least"));
    }
    most("sections", template.sections.len(), MOST_SECTIONS, "sections")?;
    most("queries", template.queries.len(), MOST_QUERIES, "queries")?;
    most("parameters", template.parameters.len(), MOST_PARAMETERS, "parameters")?;
    parameters(template)?;
    queries(template)?;
    for (key, text) in [("subtitle", &template.subtitle), ("description", &template.description)] {
        let Some(source) = text else { continue };
        let text = Text::parse(source).map_err(|problem| at(key, problem))?;
        names(template, key, &text)?;
        most(key, source.chars().count(), MOST_PARAGRAPH, "letters")?;
        if text.queries().next().is_some() {
            return Err(at(key, "it may have parameters, and no query"));
        }
    }
    for (index, section) in template.sections.iter().enumerate() {
        let place = place(index, section.title.as_ref().map(Text::source));
        self::section(template, section)
            .map_err(|(key, problem)| (format!("{place}: {key}"), problem))?;
    }
    used(template)
}

fn is_name(name: &str) -> bool {
    name.len() <= 60
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

const NAME: &str = "expected a name of small letters, digits and _, such as calls_by_day";

fn parameters(template: &Template) -> Found {
    for (name, parameter) in &template.parameters {
        let place = format!("parameters.{name}");
        if !is_name(name) || name == "today" {
            return Err(at(&place, NAME));
        }
        if let Some(from) = parameter.leans_on()
            && !template.parameters.contains_key(from)
        {
            let names: Vec<&str> = template.parameters.keys().map(String::as_str).collect();
            return Err(at(&format!("{place}: default"), unknown("parameter", from, &names)));
        }
        if let (Some(default), None) = (&parameter.default, parameter.leans_on())
            && default.as_str().is_none_or(|text| !text.starts_with("today"))
        {
            let text = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
            parameter
                .read(name, &text)
                .map_err(|error| at(&format!("{place}: default"), error.to_string()))?;
        }
        let Some(query) = &parameter.query else { continue };
        let key = format!("{place}: query");
        let names: Vec<&str> = template.queries.keys().map(String::as_str).collect();
        let Some(asked) = template.queries.get(query) else {
            return Err(at(&key, unknown("query", query, &names)));
        };
        if let Some(taken) = dollars(&asked.sql).first() {
            return Err(at(
                &key,
                format!("query {query} takes ${taken}: expected one without parameters"),
            ));
        }
    }
    Ok(())
}

fn queries(template: &Template) -> Found {
    let parameters: Vec<&str> = template.parameters.keys().map(String::as_str).collect();
    for (name, query) in &template.queries {
        let place = format!("queries.{name}");
        if !is_name(name) {
            return Err(at(&place, NAME));
        }
        if query.sql.trim().is_empty() {
            return Err(at(&format!("{place}: sql"), "it is empty: expected a SELECT"));
        }
        if let Some(taken) = dollars(&query.sql).iter().find(|d| !parameters.contains(&d.as_str()))
        {
            return Err(at(&format!("{place}: sql"), unknown("parameter", taken, &parameters)));
        }
    }
    Ok(())
}

/// That no query is asked for nothing.
fn used(template: &Template) -> Found {
    let shown: BTreeSet<String> = template.sections.iter().flat_map(Section::queries).collect();
    let asked = template.parameters.values().filter_map(|parameter| parameter.query.as_ref());
    let used: BTreeSet<&String> = shown.iter().chain(asked).collect();
    match template.queries.keys().find(|name| !used.contains(name)) {
        Some(name) => {
            Err(at(&format!("queries.{name}"), "no section shows it, and no parameter takes it"))
        }
        None => Ok(()),
    }
}

/// That placeholders name what is there.
fn names(template: &Template, key: &str, text: &Text) -> Found {
    let parameters: Vec<&str> = template.parameters.keys().map(String::as_str).collect();
    let queries: Vec<&str> = template.queries.keys().map(String::as_str).collect();
    if let Some(name) = text.parameters().find(|name| !parameters.contains(name)) {
        return Err(at(key, unknown("parameter", name, &parameters)));
    }
    match text.queries().find(|name| !queries.contains(name)) {
        Some(name) => Err(at(key, unknown("query", name, &queries))),
        None => Ok(()),
    }
}

fn section(template: &Template, section: &Section) -> Found {
    for (key, text) in section.texts() {
        names(template, &key, text)?;
        let bound = if key == "note" || key.starts_with("paragraphs") {
            MOST_PARAGRAPH
        } else {
            MOST_TITLE
        };
        most(&key, text.source().chars().count(), bound, "letters")?;
    }
    let queries: Vec<&str> = template.queries.keys().map(String::as_str).collect();
    for (key, query) in section.queries_by_key() {
        if !queries.contains(&query.as_str()) {
            return Err(at(&key, unknown("query", &query, &queries)));
        }
    }
    match &section.kind {
        SectionKind::Text(text) => {
            if text.paragraphs.is_empty() {
                return Err(at("paragraphs", "there are none: expected one at least"));
            }
            most("paragraphs", text.paragraphs.len(), MOST_PARAGRAPHS, "paragraphs")
        }
        SectionKind::Figures(figures) => {
            if figures.figures.is_empty() {
                return Err(at("figures", "there are none: expected one at least"));
            }
            most("figures", figures.figures.len(), MOST_FIGURES, "figures")?;
            for (index, figure) in figures.figures.iter().enumerate() {
                digits(
                    &format!("figures[{index}]"),
                    figure.format,
                    figure.decimals,
                    figure.unit.as_deref(),
                )?;
            }
            Ok(())
        }
        SectionKind::Table(table) => {
            most("columns", table.columns.len(), MOST_COLUMNS, "columns")?;
            if table.rows == 0 {
                return Err(at("rows", "0: expected 1 at least"));
            }
            most("rows", table.rows, MOST_TABLE_ROWS, "rows")?;
            for (index, column) in table.columns.iter().enumerate() {
                let key = format!("columns[{index}]");
                digits(&key, column.format, column.decimals, column.unit.as_deref())?;
                let letters = column.label.as_ref().map_or(0, |label| label.chars().count());
                most(&format!("{key}.label"), letters, MOST_TITLE, "letters")?;
            }
            Ok(())
        }
        SectionKind::Chart(chart) => self::chart(chart),
    }
}

fn digits(key: &str, kind: Kind, decimals: Option<u8>, unit: Option<&str>) -> Found {
    most(
        &format!("{key}.decimals"),
        decimals.unwrap_or(0).into(),
        MOST_DECIMALS.into(),
        "decimals",
    )?;
    most(&format!("{key}.unit"), unit.map_or(0, |unit| unit.chars().count()), 40, "letters")?;
    let format = Format { kind, decimals, unit: unit.map(str::to_owned) };
    format.check().map_err(|problem| at(key, problem))
}

fn chart(chart: &ChartSection) -> Found {
    most("most_series", chart.most_series, MOST_SERIES, "series")?;
    if chart.most_series == 0 {
        return Err(at("most_series", "0: expected 1 at least"));
    }
    most("y", chart.y.len(), MOST_SERIES, "columns")?;
    if chart.labels.len() > chart.y.len() {
        return Err(at(
            "labels",
            format!("{} for {} columns of y", chart.labels.len(), chart.y.len()),
        ));
    }
    for label in &chart.labels {
        most("labels", label.chars().count(), MOST_TITLE, "letters")?;
    }
    digits("y", chart.format, None, chart.unit.as_deref())?;
    digits("x", chart.x_format, None, chart.x_unit.as_deref())?;
    let is = |kind: ChartKind| chart.chart == kind;
    match (chart.chart, chart.y.len()) {
        (ChartKind::Histogram, 0) => {}
        (ChartKind::Histogram, _) => {
            return Err(at("y", "a histogram counts the values of x: expected no y"));
        }
        (ChartKind::Heatmap, 1) if chart.value.is_some() => {}
        (ChartKind::Heatmap, _) => {
            return Err(at(
                "value",
                "a heat map needs x, one y, and the column `value` that colours it",
            ));
        }
        (_, 0) => return Err(at("y", "it is missing: expected a column")),
        _ => {}
    }
    if chart.value.is_some() && !is(ChartKind::Heatmap) {
        return Err(at("value", "only a heat map has it; others have y"));
    }
    if chart.series.is_some()
        && (chart.y.len() > 1 || is(ChartKind::Histogram) || is(ChartKind::Heatmap))
    {
        return Err(at("series", "it goes with one column of y, and no histogram or heat map"));
    }
    match chart.bins {
        Some(_) if !is(ChartKind::Histogram) => {
            return Err(at("bins", "only a histogram has bins"));
        }
        Some(0) => return Err(at("bins", "0: expected 1 at least")),
        bins => most("bins", bins.unwrap_or(0), MOST_BINS, "bins")?,
    }
    if chart.horizontal && !is(ChartKind::Bar) && !is(ChartKind::StackedBar) {
        return Err(at("horizontal", "only bars can lie"));
    }
    let is_stacked = is(ChartKind::Area) || is(ChartKind::StackedBar);
    if chart.y_scale == super::sections::Scale::Log && (is_stacked || is(ChartKind::Heatmap)) {
        return Err(at("y_scale", "what is stacked or coloured has no logarithmic axis"));
    }
    Ok(())
}

/// Names behind `$`, outside of texts, quoted names and comments.
pub(super) fn dollars(sql: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut rest = sql;
    while let Some(letter) = rest.chars().next() {
        let skipped = match letter {
            '\'' | '"' => 1 + rest[1..].find(letter).map_or(rest.len() - 1, |end| end + 1),
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '$' => {
                let end = rest[1..]
                    .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                    .map_or(rest.len(), |end| end + 1);
                if end > 1 {
                    names.insert(rest[1..end].to_owned());
                }
                end
            }
            other => other.len_utf8(),
        };
        rest = &rest[skipped..];
    }
    names
}
