//! Where the series come from: one dataset, or several that are put on one grid.

use std::collections::HashSet;

use analysis::series::Series;
use engine::{Error, Result, Session};

use super::extent::{Extent, extents};
use super::{NAME, Params};
use crate::parameters::bad;
use crate::run::context::RunContext;
use crate::series::{Empty, EmptyAs, MeasureOf, SeriesReader, SeriesSource};

/// Series of one dataset.
#[derive(Clone)]
pub(super) struct Source<'a> {
    /// Where it stands in the parameter `also`, and what its series are called by; none for the dataset that the run is on.
    also: Option<(usize, &'a str)>,
    pub(super) of: SeriesSource<'a>,
    empty: EmptyAs,
}

/// All of them, that which the run is on first.
pub(super) fn sources(params: &Params) -> Vec<Source<'_>> {
    let first = Source {
        also: None,
        of: SeriesSource {
            job: NAME,
            dataset: &params.dataset,
            series_column: params.series_column.as_deref(),
            time_column: &params.time_column,
            value_column: &params.value_column,
            only: &params.series,
            from: params.from,
            to: params.to,
            condition: params.condition.as_deref(),
            measure: measure(params.measure.as_deref(), params),
        },
        empty: params.empty,
    };
    let others = params.also.iter().enumerate().map(|(at, also)| Source {
        also: Some((at, also.label())),
        of: SeriesSource {
            dataset: &also.dataset,
            series_column: also.series_column.as_deref(),
            time_column: &also.time_column,
            value_column: &also.value_column,
            only: &[],
            condition: also.condition.as_deref(),
            measure: measure(also.measure.as_deref(), params),
            ..first.of.clone()
        },
        empty: also.empty,
    });
    std::iter::once(first.clone()).chain(others).collect()
}

fn measure<'a>(text: Option<&'a str>, params: &Params) -> Option<MeasureOf<'a>> {
    let of = |(text, interval)| MeasureOf::new(text, params.intervals().stated(interval));
    text.zip(params.interval).map(of)
}

impl<'a> Source<'a> {
    /// Fails with BAD_INPUT where a column is not there or of a wrong type.
    pub(super) async fn check(&self, session: &Session) -> Result<()> {
        self.of.check(session).await.map(drop).map_err(|error| self.named(error))
    }

    /// Whose parameter it is that was wrong.
    fn named(&self, error: Error) -> Error {
        match self.also {
            None => error,
            Some((at, _)) => {
                let says = error.to_string();
                let says = says.strip_prefix(&format!("{NAME}: ")).unwrap_or(&says);
                bad(NAME, &format!("also[{at}]"), says)
            }
        }
    }

    /// Ends a measure with the last interval that is over.
    pub(super) async fn close(&mut self, ctx: &RunContext) -> Result<()> {
        if self.of.measure.is_some() {
            let newest = self.of.newest(ctx).await?;
            self.of = self.of.clone().closed(newest);
        }
        Ok(())
    }

    /// When each series begins and ends.
    pub(super) async fn extents(&self, ctx: &RunContext) -> Result<Vec<Extent>> {
        let mut found = extents(ctx, &self.of).await?;
        let empty = self.of.empty(ctx, self.empty)?;
        for extent in &mut found {
            extent.series = self.name(&extent.series);
            if let (Empty::ZeroUntil(last_us), Some(measure)) = (empty, &self.of.measure) {
                extent.last_us = extent.last_us.max(last_us);
                extent.values = (extent.last_us - extent.first_us) / measure.interval_us() + 1;
            }
        }
        Ok(found)
    }

    /// Whether intervals without rows are zero.
    pub(super) fn is_zero(&self, ctx: &RunContext) -> Result<bool> {
        Ok(matches!(self.of.empty(ctx, self.empty)?, Empty::ZeroUntil(_)))
    }

    /// What a series of it is called in the results.
    fn name(&self, series: &str) -> String {
        match self.also {
            None => series.to_owned(),
            Some((_, label)) if self.of.series_column.is_none() => label.to_owned(),
            Some((_, label)) => format!("{label}/{series}"),
        }
    }

    /// The next series, by the names that they have in the results.
    pub(super) async fn chunk(
        &self,
        reader: &mut SeriesReader,
        points_max: usize,
    ) -> Result<Vec<Series>> {
        let mut chunk = reader.chunk(points_max).await?;
        for series in &mut chunk {
            series.name = self.name(&series.name);
        }
        Ok(chunk)
    }
}

/// Fails where two series have one name.
pub(super) fn require_different(extents: &[Extent]) -> Result<()> {
    let mut names = HashSet::new();
    match extents.iter().find(|extent| !names.insert(extent.series.as_str())) {
        None => Ok(()),
        Some(extent) => {
            let shown: String = extent.series.chars().take(100).collect();
            let says = format!(
                "two series are called {shown:?}: give one of their datasets another `name`"
            );
            Err(bad(NAME, "also", says))
        }
    }
}
