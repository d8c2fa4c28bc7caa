//! What stands in the plot: lines, areas, bars, bins, cells and dots.

use chrono::Datelike;
use plotters::prelude::RGBColor;
use plotters::style::text_anchor::HPos;

use super::draw::{Failed, Pen, SIZE, Words, colors, x_marks, y_axis};
use super::gather::{Gathered, range};
use super::measure::{fit, width};
use super::palette::{BASE, INK, QUIET, SERIES, heat};
use super::ticks::{Axis, linear, logarithmic, time};
use crate::format::Format;
use crate::template::{ChartKind, ChartSection, Scale, Width};
use crate::value::Value;

/// Below the plot: marks, and the title of the axis.
const BELOW: f64 = 24.0;
const TITLE_BELOW: f64 = 18.0;
/// One bar that lies, one row of a heat map.
const LYING: f64 = 24.0;
const ROW: f64 = 22.0;

/// How high the plot with what is below it is.
pub(super) fn height(section: &ChartSection, size: Width, gathered: &Gathered) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    let lines = |count: usize, each: f64| count as f64 * each;
    let below = BELOW + if section.x_label.is_some() { TITLE_BELOW } else { 0.0 };
    match section.chart {
        ChartKind::Heatmap => lines(gathered.rows.len(), ROW) + below + 26.0,
        _ if section.horizontal => {
            let bars =
                if section.chart == ChartKind::Bar { gathered.series.len().max(1) } else { 1 };
            lines(gathered.places.len(), LYING.max(lines(bars, 14.0) + 8.0)) + below
        }
        _ if size == Width::Half => 190.0 + below,
        _ => 230.0 + below,
    }
}

pub(super) fn draw(
    section: &ChartSection,
    mut pen: Pen<'_, '_>,
    gathered: &Gathered,
    words: &Words<'_>,
) -> Result<(), Failed> {
    pen.frame.bottom -= BELOW;
    if !words.x_label.is_empty() {
        let at = (pen.frame.right, pen.frame.bottom + BELOW - SIZE / 2.0);
        let text = fit(words.x_label, SIZE, pen.frame.right);
        pen.text(&text, at, HPos::Right, QUIET)?;
        pen.frame.bottom -= TITLE_BELOW;
    }
    match section.chart {
        ChartKind::Line | ChartKind::Area => lines(section, &mut pen, gathered),
        ChartKind::Bar | ChartKind::StackedBar if section.horizontal => {
            lying(section, &mut pen, gathered)
        }
        ChartKind::Bar | ChartKind::StackedBar => bars(section, &mut pen, gathered),
        ChartKind::Histogram => bins(section, &mut pen, gathered),
        ChartKind::Heatmap => cells(section, &mut pen, gathered),
        ChartKind::Scatter => dots(section, &mut pen, gathered),
    }
}

fn formats(section: &ChartSection) -> (Format, Format) {
    let format = |kind, unit: &Option<String>| Format { kind, decimals: None, unit: unit.clone() };
    (format(section.x_format, &section.x_unit), format(section.format, &section.unit))
}

/// The axis of values: from 0 where they are lengths, and where 0 is near.
fn values_axis(
    section: &ChartSection,
    (least, greatest): (f64, f64),
    from_zero: bool,
    format: &Format,
) -> Axis {
    if section.y_scale == Scale::Log {
        return logarithmic(least.max(f64::MIN_POSITIVE), greatest.max(f64::MIN_POSITIVE), format);
    }
    let near = least >= 0.0 && least < greatest * 0.6;
    let least = if from_zero || near { least.min(0.0) } else { least };
    linear(least, greatest.max(if from_zero { 0.0 } else { greatest }), 5, format)
}

/// Values that have a place on the axis: all, or those above 0.
fn placed(scale: Scale, value: f64) -> Option<f64> {
    match scale {
        Scale::Linear => Some(value),
        Scale::Log => (value > 0.0).then(|| value.log10()),
    }
}

fn positive(scale: Scale, gathered: &Gathered) -> Option<(f64, f64)> {
    if scale == Scale::Linear {
        return gathered.range();
    }
    let values = gathered.series.iter().flat_map(|series| &series.values).flatten().copied();
    let free = gathered.points.iter().flatten().map(|(_, y)| *y);
    range(values.chain(free).filter(|value| *value > 0.0))
}

/// Sums of the series up to each, for what is stacked.
fn stacked(gathered: &Gathered) -> Vec<Vec<f64>> {
    let mut sums = vec![vec![0.0; gathered.places.len()]];
    for series in &gathered.series {
        let below = sums.last().cloned().unwrap_or_default();
        sums.push(
            below.iter().zip(&series.values).map(|(sum, v)| sum + v.unwrap_or(0.0)).collect(),
        );
    }
    sums
}

fn lines(section: &ChartSection, pen: &mut Pen<'_, '_>, gathered: &Gathered) -> Result<(), Failed> {
    let (x_format, format) = formats(section);
    let is_area = section.chart == ChartKind::Area;
    let sums = if is_area { stacked(gathered) } else { Vec::new() };
    let all = if is_area {
        range(sums.iter().flatten().copied())
    } else {
        positive(section.y_scale, gathered)
    };
    let Some(all) = all else { return Ok(()) };
    let axis = values_axis(section, all, is_area, &format);
    y_axis(pen, &axis)?;
    let is_time = gathered.places.iter().all(Value::is_time);
    let is_plain = gathered.places.iter().all(|place| place.as_number().is_some());
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    let number = |at: usize, place: &Value| {
        if is_plain {
            place.as_number().and_then(|n| placed(section.x_scale, n))
        } else {
            Some(at as f64)
        }
    };
    let xs: Vec<Option<f64>> =
        gathered.places.iter().enumerate().map(|(at, p)| number(at, p)).collect();
    let Some((least, greatest)) = range(xs.iter().flatten().copied()) else { return Ok(()) };
    let x_axis = match (is_time, is_plain, section.x_scale) {
        (true, ..) => time(least, greatest, marks_of(pen)),
        (_, true, Scale::Log) => logarithmic(10_f64.powf(least), 10_f64.powf(greatest), &x_format),
        (_, true, _) => linear(least, greatest, marks_of(pen), &x_format),
        _ => Axis { from: least, to: greatest, ticks: named(gathered, &x_format, 16.0) },
    };
    let colors = colors(gathered);
    // The greatest last, so that it lies above.
    for (index, series) in gathered.series.iter().enumerate().rev() {
        let color = colors.get(index).copied().unwrap_or(BASE);
        let at = |x: f64, y: f64| (pen.frame.x(&x_axis, x), pen.frame.y(&axis, y));
        if is_area {
            let upper = xs.iter().zip(&sums[index + 1]).filter_map(|(x, y)| Some(at((*x)?, *y)));
            let lower = xs.iter().zip(&sums[index]).rev().filter_map(|(x, y)| Some(at((*x)?, *y)));
            let outline: Vec<_> = upper.chain(lower).collect();
            pen.fill(&outline, color)?;
            continue;
        }
        let mut part: Vec<(f64, f64)> = Vec::new();
        for (x, value) in xs.iter().zip(&series.values) {
            match (x, value.and_then(|value| placed(section.y_scale, value))) {
                (Some(x), Some(y)) => part.push(at(*x, y)),
                _ => stroke(pen, &std::mem::take(&mut part), color)?,
            }
        }
        stroke(pen, &part, color)?;
    }
    base(pen, &axis, section.y_scale)?;
    let ticks: Vec<_> =
        x_axis.ticks.iter().map(|(n, l)| (pen.frame.x(&x_axis, *n), l.clone())).collect();
    x_marks(pen, &ticks, QUIET)
}

/// A line, or a dot where there is one value between gaps.
fn stroke(pen: &Pen<'_, '_>, part: &[(f64, f64)], color: RGBColor) -> Result<(), Failed> {
    match part {
        [] => Ok(()),
        [one] => pen.dot(*one, 2.0, color, 1.0),
        more => pen.line(more, color, 1.8),
    }
}

fn base(pen: &Pen<'_, '_>, axis: &Axis, scale: Scale) -> Result<(), Failed> {
    let has_zero = scale == Scale::Linear && axis.from < 0.0 && axis.to > 0.0;
    let zero = if has_zero { 0.0 } else { axis.from };
    let y = pen.frame.y(axis, zero);
    pen.line(&[(pen.frame.left, y), (pen.frame.right, y)], BASE, 1.0)
}

/// As many marks as fit below.
fn marks_of(pen: &Pen<'_, '_>) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
    let marks = ((pen.frame.right - pen.frame.left) / 72.0) as usize;
    marks.clamp(2, 9)
}

/// Names of places with their positions, days short.
fn named(gathered: &Gathered, format: &Format, most_letters: f64) -> Vec<(f64, String)> {
    let mut before = match gathered.places.first() {
        Some(Value::Date(day)) => Some(day.year()),
        _ => None,
    };
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    let named = gathered.places.iter().enumerate().map(|(at, place)| {
        let name = match place {
            Value::Date(day) => {
                let pattern = if before == Some(day.year()) { "%-d %b" } else { "%-d %b %Y" };
                before = Some(day.year());
                day.format(pattern).to_string()
            }
            other => format.apply(other),
        };
        (at as f64, fit(&name, SIZE, most_letters * SIZE))
    });
    named.collect()
}

fn bars(section: &ChartSection, pen: &mut Pen<'_, '_>, gathered: &Gathered) -> Result<(), Failed> {
    let (x_format, format) = formats(section);
    let is_stacked = section.chart == ChartKind::StackedBar;
    let Some(axis) = bars_axis(section, gathered, &format) else { return Ok(()) };
    y_axis(pen, &axis)?;
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    let (places, many) =
        (gathered.places.len() as f64, if is_stacked { 1.0 } else { gathered.series.len() as f64 });
    let each = (pen.frame.right - pen.frame.left) / places;
    let thick = (each * 0.76).min(64.0);
    let colors = colors(gathered);
    for at in 0..gathered.places.len() {
        #[expect(clippy::cast_precision_loss, reason = "small counts")]
        let left = pen.frame.left + each * (at as f64 + 0.5) - thick / 2.0;
        for (from, to, part, color) in parts(section, gathered, at, &axis, &colors) {
            let x = left + thick / many * part;
            let (from, to) = (pen.frame.y(&axis, from), pen.frame.y(&axis, to));
            pen.bar((x, from), (x + thick / many, to), color)?;
        }
    }
    base(pen, &axis, section.y_scale)?;
    let names = named(gathered, &x_format, (each * 1.9 / SIZE).max(9.0));
    let marks: Vec<_> =
        names.into_iter().map(|(at, name)| (pen.frame.left + each * (at + 0.5), name)).collect();
    x_marks(pen, &evenly(marks, each), QUIET)
}

/// Every n-th mark, so that what is left out is left out evenly.
fn evenly(marks: Vec<(f64, String)>, each: f64) -> Vec<(f64, String)> {
    let widest = marks.iter().skip(1).map(|(_, label)| width(label, SIZE)).fold(0.0, f64::max);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
    let every = ((widest + 12.0) / each).ceil().max(1.0) as usize;
    marks.into_iter().step_by(every).collect()
}

fn bars_axis(section: &ChartSection, gathered: &Gathered, format: &Format) -> Option<Axis> {
    let all = if section.chart == ChartKind::StackedBar {
        range(stacked(gathered).into_iter().flatten())?
    } else {
        positive(section.y_scale, gathered)?
    };
    Some(values_axis(section, all, true, format))
}

/// The bars of one place: from where to where, which beside each other, in which colour.
fn parts(
    section: &ChartSection,
    gathered: &Gathered,
    place: usize,
    axis: &Axis,
    colors: &[RGBColor],
) -> Vec<(f64, f64, f64, RGBColor)> {
    let mut parts = Vec::new();
    let mut sum = 0.0;
    for (index, series) in gathered.series.iter().enumerate() {
        let color = colors.get(index).copied().unwrap_or(BASE);
        let Some(value) = series.values.get(place).copied().flatten() else { continue };
        if section.chart == ChartKind::StackedBar {
            parts.push((sum, sum + value, 0.0, color));
            sum += value;
        } else if let Some(to) = placed(section.y_scale, value) {
            let from = if section.y_scale == Scale::Log { axis.from } else { 0.0 };
            #[expect(clippy::cast_precision_loss, reason = "small counts")]
            parts.push((from, to, index as f64, color));
        }
    }
    parts
}

fn lying(section: &ChartSection, pen: &mut Pen<'_, '_>, gathered: &Gathered) -> Result<(), Failed> {
    let (x_format, format) = formats(section);
    let is_stacked = section.chart == ChartKind::StackedBar;
    let Some(axis) = bars_axis(section, gathered, &format) else { return Ok(()) };
    let names = named(gathered, &x_format, 18.0);
    let widest = names.iter().map(|(_, name)| width(name, SIZE)).fold(0.0, f64::max);
    pen.frame.left += widest + 8.0;
    let says = !is_stacked && section.y_scale == Scale::Linear;
    let said = |value: f64| format.number(value);
    if says {
        let values = gathered.series.iter().flat_map(|s| &s.values).flatten();
        pen.frame.right -= values.map(|value| width(&said(*value), SIZE)).fold(0.0, f64::max) + 8.0;
    }
    for (number, _) in &axis.ticks {
        let x = pen.frame.x(&axis, *number);
        pen.line(&[(x, pen.frame.top), (x, pen.frame.bottom)], super::palette::GRID, 1.0)?;
    }
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    let (places, many) =
        (gathered.places.len() as f64, if is_stacked { 1.0 } else { gathered.series.len() as f64 });
    let each = (pen.frame.bottom - pen.frame.top) / places;
    let thick = each * 0.7;
    let colors = colors(gathered);
    for (at, name) in names {
        let top = pen.frame.top + each * (at + 0.5) - thick / 2.0;
        pen.text(&name, (pen.frame.left - 8.0, top + thick / 2.0), HPos::Right, INK)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
        for (from, to, part, color) in parts(section, gathered, at as usize, &axis, &colors) {
            let y = top + thick / many * part;
            let (from, end) = (pen.frame.x(&axis, from), pen.frame.x(&axis, to));
            pen.bar((from, y), (end, y + thick / many), color)?;
            if says {
                let x = from.max(end) + 6.0;
                pen.text(&said(to), (x, y + thick / many / 2.0), HPos::Left, QUIET)?;
            }
        }
    }
    let has_zero = section.y_scale == Scale::Linear && axis.from < 0.0 && axis.to > 0.0;
    let zero = pen.frame.x(&axis, if has_zero { 0.0 } else { axis.from });
    pen.line(&[(zero, pen.frame.top), (zero, pen.frame.bottom)], BASE, 1.0)?;
    let ticks: Vec<_> =
        axis.ticks.iter().map(|(n, l)| (pen.frame.x(&axis, *n), l.clone())).collect();
    x_marks(pen, &ticks, QUIET)
}

fn bins(section: &ChartSection, pen: &mut Pen<'_, '_>, gathered: &Gathered) -> Result<(), Failed> {
    let (x_format, format) = formats(section);
    let Some((_, most)) = gathered.range() else { return Ok(()) };
    let axis =
        values_axis(section, (most.min(1.0), most), section.y_scale == Scale::Linear, &format);
    y_axis(pen, &axis)?;
    let edges: Vec<f64> = gathered.places.iter().filter_map(Value::as_number).collect();
    let Some((least, greatest)) = range(edges.iter().copied()) else { return Ok(()) };
    let mut x_axis = match section.x_scale {
        Scale::Log => logarithmic(10_f64.powf(least), 10_f64.powf(greatest), &x_format),
        Scale::Linear => linear(least, greatest, marks_of(pen), &x_format),
    };
    if section.x_scale == Scale::Linear && x_axis.to - x_axis.from > 3.0 * (greatest - least) {
        (x_axis.from, x_axis.to) = (least - 0.5, greatest + 0.5);
    }
    for series in &gathered.series {
        for (edge, value) in edges.windows(2).zip(&series.values) {
            let Some(to) = value.and_then(|value| placed(section.y_scale, value)) else { continue };
            let (left, right) = (pen.frame.x(&x_axis, edge[0]), pen.frame.x(&x_axis, edge[1]));
            let right = (right - 0.7).max(left + 0.7);
            pen.bar(
                (left, pen.frame.y(&axis, axis.from)),
                (right, pen.frame.y(&axis, to)),
                SERIES[0],
            )?;
        }
    }
    base(pen, &axis, section.y_scale)?;
    let ticks: Vec<_> =
        x_axis.ticks.iter().map(|(n, l)| (pen.frame.x(&x_axis, *n), l.clone())).collect();
    x_marks(pen, &ticks, QUIET)
}

fn dots(section: &ChartSection, pen: &mut Pen<'_, '_>, gathered: &Gathered) -> Result<(), Failed> {
    let (x_format, format) = formats(section);
    let Some(ys) = positive(section.y_scale, gathered) else { return Ok(()) };
    let axis = values_axis(section, ys, false, &format);
    y_axis(pen, &axis)?;
    let xs = gathered.points.iter().flatten().filter_map(|(x, _)| placed(section.x_scale, *x));
    let Some((least, greatest)) = range(xs) else { return Ok(()) };
    let x_axis = match section.x_scale {
        Scale::Log => logarithmic(10_f64.powf(least), 10_f64.powf(greatest), &x_format),
        Scale::Linear => linear(least, greatest, marks_of(pen), &x_format),
    };
    let colors = colors(gathered);
    let alpha = if gathered.count() > 300 { 0.45 } else { 0.85 };
    for (points, color) in gathered.points.iter().zip(colors) {
        for (x, y) in points {
            let (Some(x), Some(y)) = (placed(section.x_scale, *x), placed(section.y_scale, *y))
            else {
                continue;
            };
            pen.dot((pen.frame.x(&x_axis, x), pen.frame.y(&axis, y)), 2.4, color, alpha)?;
        }
    }
    base(pen, &axis, section.y_scale)?;
    let ticks: Vec<_> =
        x_axis.ticks.iter().map(|(n, l)| (pen.frame.x(&x_axis, *n), l.clone())).collect();
    x_marks(pen, &ticks, QUIET)
}

fn cells(section: &ChartSection, pen: &mut Pen<'_, '_>, gathered: &Gathered) -> Result<(), Failed> {
    let (x_format, format) = formats(section);
    let Some((least, greatest)) = gathered.range() else { return Ok(()) };
    let least = if least >= 0.0 { 0.0 } else { least };
    scale(pen, (least, greatest), &format)?;
    let rows = Gathered { places: gathered.rows.clone(), ..gathered.clone() };
    let names = named(&rows, &Format::default(), 18.0);
    pen.frame.left += names.iter().map(|(_, name)| width(name, SIZE)).fold(0.0, f64::max) + 8.0;
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    let each = (pen.frame.right - pen.frame.left) / gathered.places.len().max(1) as f64;
    for ((at, name), cells) in names.iter().zip(&gathered.cells) {
        let top = pen.frame.top + ROW * at;
        pen.text(name, (pen.frame.left - 8.0, top + ROW / 2.0), HPos::Right, INK)?;
        for (column, value) in cells.iter().enumerate() {
            let Some(value) = value else { continue };
            #[expect(clippy::cast_precision_loss, reason = "small counts")]
            let left = pen.frame.left + each * column as f64;
            let share = if greatest > least { (value - least) / (greatest - least) } else { 0.0 };
            let gap = if each > 6.0 { 0.8 } else { 0.0 };
            pen.bar((left + gap, top + gap), (left + each - gap, top + ROW - gap), heat(share))?;
            let said = format.tick(*value, 1e-9_f64.max(value.abs() / 100.0));
            if width(&said, SIZE) + 4.0 < each {
                let ink = if share > 0.55 { RGBColor(255, 255, 255) } else { INK };
                pen.text(&said, (left + each / 2.0, top + ROW / 2.0), HPos::Center, ink)?;
            }
        }
    }
    let names = named(gathered, &x_format, (each * 1.9 / SIZE).max(9.0));
    let marks: Vec<_> =
        names.into_iter().map(|(at, name)| (pen.frame.left + each * (at + 0.5), name)).collect();
    x_marks(pen, &evenly(marks, each), QUIET)
}

/// What the colours mean, at the upper right.
fn scale(
    pen: &mut Pen<'_, '_>,
    (least, greatest): (f64, f64),
    format: &Format,
) -> Result<(), Failed> {
    let y = pen.frame.top + 4.0;
    let greatest = format.number(greatest);
    let right = pen.frame.right - width(&greatest, SIZE) - 6.0;
    pen.text(&greatest, (pen.frame.right, y), HPos::Right, QUIET)?;
    for part in 0..20_u8 {
        let left = right - 120.0 + 6.0 * f64::from(part);
        pen.bar((left, y - 5.0), (left + 6.0, y + 5.0), heat((f64::from(part) + 0.5) / 20.0))?;
    }
    pen.text(&format.number(least), (right - 126.0, y), HPos::Right, QUIET)?;
    pen.frame.top += 20.0;
    Ok(())
}
