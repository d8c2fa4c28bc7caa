//! The drawing: title of the axis and legend above, the plot with few lines, marks beside it.

use std::fmt::Write;

use plotters::coord::Shift;
use plotters::prelude::{
    DrawingArea, IntoDrawingArea, IntoFont, PathElement, RGBColor, Rectangle, SVGBackend, Text,
};
use plotters::style::Color;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::gather::Gathered;
use super::marks;
use super::measure::{fit, width};
use super::palette::{BASE, GRID, INK, OTHER, QUIET, SERIES};
use super::ticks::Axis;
use crate::template::{ChartKind, ChartSection, Width};

/// What is drawn on is so many times as fine as its unit, which is a pixel of a screen.
const FINE: f64 = 10.0;
/// Letters.
pub(super) const SIZE: f64 = 11.5;
/// Between lines of text.
const LINE: f64 = 18.0;

pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub(super) type Failed = String;

/// What a chart says besides its data.
pub struct Words<'a> {
    /// What it is, for who does not see it.
    pub alt: &'a str,
    pub x_label: &'a str,
    pub y_label: &'a str,
}

/// A rectangle, in units.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

/// What draws: an area, and where in it the plot is.
pub(super) struct Pen<'a, 'b> {
    pub area: &'a Area<'b>,
    pub frame: Frame,
}

impl Frame {
    /// Where a share of the width lies.
    pub fn x(&self, axis: &Axis, number: f64) -> f64 {
        self.left + (self.right - self.left) * share(axis, number)
    }

    /// Where a share of the height lies, from below.
    pub fn y(&self, axis: &Axis, number: f64) -> f64 {
        self.bottom - (self.bottom - self.top) * share(axis, number)
    }
}

fn share(axis: &Axis, number: f64) -> f64 {
    let span = axis.to - axis.from;
    if span == 0.0 { 0.5 } else { (number - axis.from) / span }
}

/// A place in the drawing's fine units.
#[expect(clippy::cast_possible_truncation, reason = "a place in the drawing")]
fn fine(number: f64) -> i32 {
    (number * FINE).round().clamp(-1e6, 1e6) as i32
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a width in the drawing"
)]
fn stroke(number: f64) -> u32 {
    (number * FINE).round().clamp(0.0, 1e6) as u32
}

impl Pen<'_, '_> {
    pub fn line(&self, points: &[(f64, f64)], color: RGBColor, wide: f64) -> Result<(), Failed> {
        let points: Vec<_> = points.iter().map(|(x, y)| (fine(*x), fine(*y))).collect();
        let path = PathElement::new(points, color.stroke_width(stroke(wide)));
        self.area.draw(&path).map_err(|error| error.to_string())
    }

    pub fn fill(&self, points: &[(f64, f64)], color: RGBColor) -> Result<(), Failed> {
        let points: Vec<_> = points.iter().map(|(x, y)| (fine(*x), fine(*y))).collect();
        let polygon = plotters::element::Polygon::new(points, color.filled());
        self.area.draw(&polygon).map_err(|error| error.to_string())
    }

    pub fn bar(&self, from: (f64, f64), to: (f64, f64), color: RGBColor) -> Result<(), Failed> {
        let corners = [
            (fine(from.0.min(to.0)), fine(from.1.min(to.1))),
            (fine(from.0.max(to.0)), fine(from.1.max(to.1))),
        ];
        self.area.draw(&Rectangle::new(corners, color.filled())).map_err(|error| error.to_string())
    }

    pub fn dot(
        &self,
        at: (f64, f64),
        radius: f64,
        color: RGBColor,
        alpha: f64,
    ) -> Result<(), Failed> {
        let color = color.mix(alpha);
        let dot = plotters::element::Circle::new(
            (fine(at.0), fine(at.1)),
            stroke(radius),
            color.filled(),
        );
        self.area.draw(&dot).map_err(|error| error.to_string())
    }

    pub fn text(
        &self,
        text: &str,
        at: (f64, f64),
        side: HPos,
        color: RGBColor,
    ) -> Result<(), Failed> {
        // plotters divides the size by 1.24
        let font = ("Noto Sans", SIZE * FINE * 1.24).into_font();
        let style = font.color(&color).pos(Pos::new(side, VPos::Center));
        let element = Text::new(text.to_owned(), (fine(at.0), fine(at.1)), style);
        self.area.draw(&element).map_err(|error| error.to_string())
    }
}

/// Colours in the order of series.
pub(super) fn colors(gathered: &Gathered) -> Vec<RGBColor> {
    let mut colors = SERIES.iter().cycle();
    let color = |is_other| if is_other { OTHER } else { colors.next().copied().unwrap_or(OTHER) };
    gathered.series.iter().map(|series| series.is_other).map(color).collect()
}

/// Draws a chart.
pub fn svg(
    section: &ChartSection,
    size: Width,
    gathered: &Gathered,
    words: &Words<'_>,
) -> Result<String, Failed> {
    let wide = if size == Width::Half { 330.0 } else { 680.0 };
    let legend = legend(section, gathered, wide);
    let above = if words.y_label.is_empty() { 4.0 } else { LINE + 2.0 };
    #[expect(clippy::cast_precision_loss, reason = "some lines")]
    let top = above + legend.len() as f64 * LINE + 8.0;
    let high = top + marks::height(section, size, gathered);
    let mut buffer = String::new();
    {
        let area =
            SVGBackend::with_string(&mut buffer, (stroke(wide), stroke(high))).into_drawing_area();
        let frame = Frame { left: 0.0, top, right: wide, bottom: high };
        let pen = Pen { area: &area, frame };
        if !words.y_label.is_empty() {
            let text = fit(words.y_label, SIZE, wide);
            pen.text(&text, (0.0, LINE / 2.0), HPos::Left, QUIET)?;
        }
        draw_legend(&pen, &legend, above, gathered)?;
        marks::draw(section, pen, gathered, words)?;
        area.present().map_err(|error| error.to_string())?;
    }
    Ok(framed(&buffer, wide, high, words.alt))
}

/// Lines of the legend: which series, and where each begins.
fn legend(
    section: &ChartSection,
    gathered: &Gathered,
    wide: f64,
) -> Vec<Vec<(usize, String, f64)>> {
    let has_none = matches!(section.chart, ChartKind::Histogram | ChartKind::Heatmap);
    if gathered.series.len() < 2 || has_none {
        return Vec::new();
    }
    let mut lines: Vec<Vec<(usize, String, f64)>> = vec![Vec::new()];
    let mut at = 0.0;
    for (index, series) in gathered.series.iter().enumerate() {
        let name = fit(&series.name, SIZE, wide.min(260.0) - 20.0);
        let needs = 16.0 + width(&name, SIZE) + 18.0;
        if at > 0.0 && at + needs - 18.0 > wide {
            lines.push(Vec::new());
            at = 0.0;
        }
        if let Some(line) = lines.last_mut() {
            line.push((index, name, at));
        }
        at += needs;
    }
    lines
}

fn draw_legend(
    pen: &Pen<'_, '_>,
    lines: &[Vec<(usize, String, f64)>],
    above: f64,
    gathered: &Gathered,
) -> Result<(), Failed> {
    let colors = colors(gathered);
    let mut y = above + LINE / 2.0;
    for line in lines {
        for (index, name, x) in line {
            let color = colors.get(*index).copied().unwrap_or(OTHER);
            pen.bar((*x, y - 5.0), (x + 10.0, y + 5.0), color)?;
            pen.text(name, (x + 16.0, y), HPos::Left, INK)?;
        }
        y += LINE;
    }
    Ok(())
}

/// Lines across, with their marks at the left. Returns how wide the marks are.
pub(super) fn y_axis(pen: &mut Pen<'_, '_>, axis: &Axis) -> Result<(), Failed> {
    let widths = axis.ticks.iter().map(|(_, label)| width(label, SIZE));
    pen.frame.left += widths.fold(0.0, f64::max) + 8.0;
    for (number, label) in &axis.ticks {
        let y = pen.frame.y(axis, *number);
        pen.line(&[(pen.frame.left, y), (pen.frame.right, y)], GRID, 1.0)?;
        pen.text(label, (pen.frame.left - 8.0, y), HPos::Right, QUIET)?;
    }
    Ok(())
}

/// Marks below. Those that would touch their neighbours are left out.
pub(super) fn x_marks(
    pen: &Pen<'_, '_>,
    marks: &[(f64, String)],
    color: RGBColor,
) -> Result<(), Failed> {
    let mut free = f64::NEG_INFINITY;
    for (x, label) in marks {
        let half = width(label, SIZE) / 2.0;
        let middle = x.min(pen.frame.right - half).max(pen.frame.left.min(*x) - 40.0 + half);
        if middle - half < free {
            continue;
        }
        pen.line(&[(*x, pen.frame.bottom), (*x, pen.frame.bottom + 4.0)], BASE, 1.0)?;
        pen.text(label, (middle, pen.frame.bottom + 14.0), HPos::Center, color)?;
        free = middle + half + 10.0;
    }
    Ok(())
}

/// The drawing with its size, its title for readers of the screen, and no font size of its own.
fn framed(drawn: &str, wide: f64, high: f64, alt: &str) -> String {
    let inner = drawn.split_once(">\n").map_or(drawn, |(_, rest)| rest);
    let inner = inner.trim_end().trim_end_matches("</svg>");
    let mut svg = String::with_capacity(inner.len() + 300);
    let _ = write!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high:.0}" viewBox="0 0 {} {}" role="img">"#,
        fine(wide),
        fine(high),
    );
    let _ = write!(svg, "<title>{}</title>", crate::html::escaped(alt));
    for line in inner.lines() {
        svg.push_str(line);
        // Text stands between lines of its own, whose ends are no part of it.
        if line.ends_with("/>") || line == "</text>" {
            svg.push('\n');
        }
    }
    svg.push_str("</svg>");
    svg.replace(r#" opacity="1""#, "")
}
