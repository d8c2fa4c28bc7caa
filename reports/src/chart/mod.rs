//! Charts: rows of a query put in series ([`gather`]), marks of axes (`ticks`), and the drawing by `plotters` as SVG, which pages of
//! HTML and of PDF both hold.

mod draw;
mod gather;
mod marks;
mod measure;
mod palette;
mod ticks;

pub(crate) use draw::{Words, svg};
pub(crate) use gather::{Gathered, gather};
#[cfg(feature = "pdf")]
pub(crate) use measure::width;

use crate::format::Format;
use crate::template::{ChartKind, ChartSection};

/// Series of a chart; a palette has no more colours that one tells apart.
pub const MOST_SERIES: usize = 7;
/// Values of a chart.
pub const MOST_POINTS: usize = 5_000;
/// Bars beside each other, and rows and columns of a heat map.
pub const MOST_CATEGORIES: usize = 400;
/// Bars that lie under each other.
pub const MOST_LYING: usize = 36;
/// Bins of a histogram.
pub const MOST_BINS: usize = 100;

/// What a chart shows, in words.
pub(crate) fn alt(
    chart: &ChartSection,
    gathered: &Gathered,
    x_label: &str,
    y_label: &str,
) -> String {
    let kind = match chart.chart {
        ChartKind::Line => "Lines",
        ChartKind::Area => "Stacked areas",
        ChartKind::Bar => "Bars",
        ChartKind::StackedBar => "Stacked bars",
        ChartKind::Histogram => "Histogram",
        ChartKind::Heatmap => "Heat map",
        ChartKind::Scatter => "Dots",
    };
    let mut alt =
        format!("{kind}: {y_label} by {}.", if x_label.is_empty() { &chart.x } else { x_label });
    if gathered.series.len() > 1 {
        let names: Vec<&str> = gathered.series.iter().map(|series| series.name.as_str()).collect();
        alt += &format!(" Series: {}.", names.join(", "));
    }
    let x_format = Format { kind: chart.x_format, decimals: None, unit: chart.x_unit.clone() };
    if let (Some(first), Some(last), true) =
        (gathered.places.first(), gathered.places.last(), chart.chart != ChartKind::Histogram)
    {
        alt += &format!(" From {} to {}.", x_format.apply(first), x_format.apply(last));
    }
    if let Some((least, greatest)) = gathered.range() {
        let format = Format { kind: chart.format, decimals: None, unit: chart.unit.clone() };
        alt += &format!(" Values from {} to {}.", format.number(least), format.number(greatest));
    }
    alt
}
