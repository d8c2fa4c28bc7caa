//! Rows of an answer as series of a chart.

use std::collections::HashMap;

use super::{MOST_CATEGORIES, MOST_LYING, MOST_POINTS};
use crate::format::Format;
use crate::template::{ChartKind, ChartSection};
use crate::value::{Rows, Value};

/// What a chart shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Gathered {
    /// The places along x, in order; empty where points stand freely.
    pub places: Vec<Value>,
    /// Series by their names, each with a value or none for each place.
    pub series: Vec<Series>,
    /// Points that stand freely.
    pub points: Vec<Vec<(f64, f64)>>,
    /// Rows of a heat map.
    pub rows: Vec<Value>,
    /// Cells of a heat map, by row and place.
    pub cells: Vec<Vec<Option<f64>>>,
    /// What is not shown, to be said.
    pub left_out: Option<String>,
}

/// One series.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    pub name: String,
    pub values: Vec<Option<f64>>,
    /// Whether it is what is put together of those that have no colour of their own.
    pub is_other: bool,
}

impl Gathered {
    /// How many values there are.
    pub fn count(&self) -> usize {
        let in_series = self.series.iter().flat_map(|s| &s.values).flatten().count();
        let in_cells = self.cells.iter().flatten().flatten().count();
        in_series + in_cells + self.points.iter().map(Vec::len).sum::<usize>()
    }

    /// The least and the greatest value.
    pub fn range(&self) -> Option<(f64, f64)> {
        let values = self.series.iter().flat_map(|s| &s.values).chain(self.cells.iter().flatten());
        let free = self.points.iter().flatten().map(|(_, y)| *y);
        range(values.flatten().copied().chain(free))
    }
}

/// The least and the greatest.
pub fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |range, value| match range {
        None => Some((value, value)),
        Some((least, greatest)) => Some((least.min(value), greatest.max(value))),
    })
}

/// Puts rows in series, as the section has it.
pub fn gather(section: &ChartSection, rows: &Rows) -> Result<Gathered, String> {
    let x = rows.column(&section.x)?;
    let mut gathered = Gathered {
        places: Vec::new(),
        series: Vec::new(),
        points: Vec::new(),
        rows: Vec::new(),
        cells: Vec::new(),
        left_out: None,
    };
    match section.chart {
        ChartKind::Histogram => histogram(section, &x, &mut gathered)?,
        ChartKind::Heatmap => heatmap(section, rows, x, &mut gathered)?,
        ChartKind::Scatter => scatter(section, rows, &x, &mut gathered)?,
        _ => along(section, rows, x, &mut gathered)?,
    }
    Ok(gathered)
}

fn numbers(name: &str, values: &[Value]) -> Result<Vec<Option<f64>>, String> {
    if let Some(Value::Text(text)) = values.iter().find(|value| matches!(value, Value::Text(_))) {
        return Err(format!("column {name} has the text {text:?}: expected numbers"));
    }
    Ok(values.iter().map(Value::as_number).collect())
}

/// Distinct values with their places: times and numbers in their order, texts as they come.
fn distinct(values: &[Value]) -> (Vec<Value>, HashMap<String, usize>) {
    let mut places: Vec<Value> = Vec::new();
    let mut seen: HashMap<String, usize> = HashMap::new();
    for value in values {
        seen.entry(key(value)).or_insert_with(|| {
            places.push(value.clone());
            places.len() - 1
        });
    }
    if places.iter().all(|value| value.is_time() || value.is_number()) {
        places.sort_by(|a, b| {
            a.as_number().partial_cmp(&b.as_number()).unwrap_or(std::cmp::Ordering::Equal)
        });
        places = days_between(places);
    }
    let at = places.iter().enumerate().map(|(at, value)| (key(value), at)).collect();
    (places, at)
}

fn key(value: &Value) -> String {
    match value {
        Value::Text(text) => format!("t{text}"),
        other => format!("{other:?}"),
    }
}

/// Days of which nothing is known have their place, so that a gap is seen.
fn days_between(values: Vec<Value>) -> Vec<Value> {
    let days: Vec<_> = values
        .iter()
        .filter_map(|v| if let Value::Date(day) = v { Some(*day) } else { None })
        .collect();
    let (Some(first), Some(last)) = (days.first(), days.last()) else { return values };
    let is_daily = days.len() == values.len()
        && days.windows(2).any(|pair| (pair[1] - pair[0]).num_days() == 1);
    let span = usize::try_from((*last - *first).num_days()).unwrap_or(usize::MAX);
    if !is_daily || span > MOST_CATEGORIES {
        return values;
    }
    first.iter_days().take_while(|day| day <= last).map(Value::Date).collect()
}

/// Lines, areas and bars: values along x.
fn along(
    section: &ChartSection,
    rows: &Rows,
    x: Vec<Value>,
    gathered: &mut Gathered,
) -> Result<(), String> {
    let (places, at) = distinct(&x);
    let is_bar = matches!(section.chart, ChartKind::Bar | ChartKind::StackedBar);
    let most = if section.horizontal { MOST_LYING } else { MOST_CATEGORIES };
    if is_bar && places.len() > most {
        return Err(format!("{} bars: at most {most} fit; ask for fewer", places.len()));
    }
    let sums = section.chart != ChartKind::Line;
    let mut series: Vec<Series> = Vec::new();
    let add = |series: &mut Series, place: &Value, value: Option<f64>| {
        let (Some(cell), Some(value)) =
            (at.get(&key(place)).and_then(|at| series.values.get_mut(*at)), value)
        else {
            return Ok(());
        };
        match cell {
            Some(before) if sums => *before += value,
            Some(_) => {
                let place = Format::default().apply(place);
                return Err(format!(
                    "{} = {place} comes twice in series {:?}: expected one row for each",
                    section.x, series.name
                ));
            }
            None => *cell = Some(value),
        }
        Ok(())
    };
    let empty = |name: String| Series { name, values: vec![None; places.len()], is_other: false };
    if let Some(by) = &section.series {
        let y = section.y.first().map(String::as_str).unwrap_or_default();
        let values = numbers(y, &rows.column(y)?)?;
        let mut known: HashMap<String, usize> = HashMap::new();
        for ((name, place), value) in rows.column(by)?.iter().zip(&x).zip(values) {
            let name = Format::default().apply(name);
            let index = *known.entry(name.clone()).or_insert_with(|| {
                series.push(empty(name));
                series.len() - 1
            });
            add(&mut series[index], place, value)?;
        }
    } else {
        for (index, y) in section.y.iter().enumerate() {
            let mut one = empty(section.labels.get(index).unwrap_or(y).clone());
            for (place, value) in x.iter().zip(numbers(y, &rows.column(y)?)?) {
                add(&mut one, place, value)?;
            }
            series.push(one);
        }
    }
    let points: usize = series.iter().map(|series| series.values.len()).sum();
    if points > MOST_POINTS && section.series.is_none() {
        return Err(format!("{points} values: at most {MOST_POINTS}; ask for longer steps"));
    }
    if section.series.is_some() {
        gathered.left_out = fewer(section, &mut series);
    }
    let points: usize = series.iter().map(|series| series.values.len()).sum();
    if points > MOST_POINTS {
        return Err(format!("{points} values: at most {MOST_POINTS}; ask for longer steps"));
    }
    gathered.places = places;
    gathered.series = series;
    Ok(())
}

/// The greatest series first, and those beyond the most put together, or left out where a sum says nothing.
fn fewer(section: &ChartSection, series: &mut Vec<Series>) -> Option<String> {
    let total =
        |series: &Series| series.values.iter().flatten().map(|value| value.abs()).sum::<f64>();
    series.sort_by(|a, b| total(b).total_cmp(&total(a)));
    if series.len() <= section.most_series {
        return None;
    }
    let rest = series.split_off(section.most_series);
    if section.chart == ChartKind::Line {
        return Some(format!("{} more series are not shown.", rest.len()));
    }
    let mut values = vec![None; rest.first().map_or(0, |series| series.values.len())];
    for series in &rest {
        for (sum, value) in values.iter_mut().zip(&series.values) {
            if let Some(value) = value {
                *sum = Some(sum.unwrap_or(0.0) + value);
            }
        }
    }
    series.push(Series { name: format!("{} others", rest.len()), values, is_other: true });
    None
}

fn scatter(
    section: &ChartSection,
    rows: &Rows,
    x: &[Value],
    gathered: &mut Gathered,
) -> Result<(), String> {
    let x = numbers(&section.x, x)?;
    let mut series: Vec<(String, Vec<(f64, f64)>)> = Vec::new();
    let names = match &section.series {
        Some(by) => Some(
            rows.column(by)?.iter().map(|name| Format::default().apply(name)).collect::<Vec<_>>(),
        ),
        None => None,
    };
    for (index, y) in section.y.iter().enumerate() {
        let label = section.labels.get(index).unwrap_or(y);
        for (row, (x, y)) in x.iter().zip(numbers(y, &rows.column(y)?)?).enumerate() {
            let (Some(x), Some(y)) = (x, y) else { continue };
            let name = names.as_ref().and_then(|names| names.get(row)).unwrap_or(label);
            match series.iter().position(|(known, _)| known == name) {
                Some(at) => series[at].1.push((*x, y)),
                None if series.len() < MOST_CATEGORIES => {
                    series.push((name.clone(), vec![(*x, y)]))
                }
                None => return Err(format!("over {MOST_CATEGORIES} series: ask for fewer")),
            }
        }
    }
    series.sort_by_key(|(_, points)| std::cmp::Reverse(points.len()));
    let mut said = Vec::new();
    if series.len() > section.most_series {
        let rest = series.split_off(section.most_series);
        said.push(format!("{} more series are not shown.", rest.len()));
    }
    let all: usize = series.iter().map(|(_, points)| points.len()).sum();
    if all > MOST_POINTS {
        let every = all.div_ceil(MOST_POINTS);
        for (_, points) in &mut series {
            *points = points.iter().step_by(every).copied().collect();
        }
        let shown: usize = series.iter().map(|(_, points)| points.len()).sum();
        let format = Format::default();
        let number =
            |count: usize| format.apply(&Value::Integer(i128::try_from(count).unwrap_or(0)));
        said.push(format!("{} of {} points are shown, evenly.", number(shown), number(all)));
    }
    gathered.left_out = (!said.is_empty()).then(|| said.join(" "));
    for (name, points) in series {
        gathered.series.push(Series { name, values: Vec::new(), is_other: false });
        gathered.points.push(points);
    }
    Ok(())
}

/// Counts of values in bins of one width, each with where it begins and ends.
fn histogram(section: &ChartSection, x: &[Value], gathered: &mut Gathered) -> Result<(), String> {
    let is_log = section.x_scale == crate::template::Scale::Log;
    let mut numbers: Vec<f64> = numbers(&section.x, x)?.into_iter().flatten().collect();
    let all = numbers.len();
    if is_log {
        numbers.retain(|number| *number > 0.0);
        numbers.iter_mut().for_each(|number| *number = number.log10());
    }
    if numbers.len() < all {
        gathered.left_out = Some(format!(
            "{} values that are not above 0 have no place on a logarithmic axis.",
            all - numbers.len()
        ));
    }
    let Some((least, greatest)) = range(numbers.iter().copied()) else { return Ok(()) };
    let bins = section.bins.unwrap_or(30);
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    let width = ((greatest - least) / bins as f64).max(f64::MIN_POSITIVE);
    let mut counts = vec![0.0; bins];
    for number in numbers {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to a bin"
        )]
        let bin = (((number - least) / width).max(0.0) as usize).min(bins - 1);
        counts[bin] += 1.0;
    }
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    let edge = |bin: usize| Value::Number(least + width * bin as f64);
    gathered.places = (0..=bins).map(edge).collect();
    let values = counts.into_iter().map(Some).collect();
    gathered.series.push(Series { name: "values".to_owned(), values, is_other: false });
    Ok(())
}

fn heatmap(
    section: &ChartSection,
    rows: &Rows,
    x: Vec<Value>,
    gathered: &mut Gathered,
) -> Result<(), String> {
    let y_name = section.y.first().map(String::as_str).unwrap_or_default();
    let value_name = section.value.as_deref().unwrap_or_default();
    let y = rows.column(y_name)?;
    let values = numbers(value_name, &rows.column(value_name)?)?;
    let ((places, at_x), (lines, at_y)) = (distinct(&x), distinct(&y));
    if places.len() > MOST_CATEGORIES || lines.len() > MOST_LYING {
        return Err(format!(
            "a heat map of {} by {}: at most {MOST_CATEGORIES} by {MOST_LYING}; ask for fewer",
            places.len(),
            lines.len()
        ));
    }
    let mut cells = vec![vec![None; places.len()]; lines.len()];
    for ((x, y), value) in x.iter().zip(&y).zip(values) {
        let (Some(column), Some(line)) = (at_x.get(&key(x)), at_y.get(&key(y))) else { continue };
        if cells[*line][*column].is_some() {
            let (x, y) = (Format::default().apply(x), Format::default().apply(y));
            return Err(format!(
                "{} = {x}, {y_name} = {y} comes twice: expected one row for each",
                section.x
            ));
        }
        cells[*line][*column] = value;
    }
    (gathered.places, gathered.rows, gathered.cells) = (places, lines, cells);
    Ok(())
}
