//! Whether the values of columns are as they were as a whole.

use datafusion::functions_aggregate::expr_fn::{approx_distinct, count};
use datafusion::logical_expr::ident;
use engine::Result;

use super::read::{Asked, numbers};
use super::window::Window;
use crate::kinds::drift;
use crate::run::context::RunContext;
use crate::run::stage::Stage;
use crate::tables::input::is_text;

/// Values have names in them where so many times the different ones are more than all.
const NAMES_AMONG: f64 = 2.0;

impl Asked<'_> {
    /// Which of the columns whose values are held against earlier ones as a whole have names instead: texts and whole numbers most of which
    /// are of one row alone, and so never as they were.
    pub(super) async fn names(&self, ctx: &RunContext, window: &Window) -> Result<Vec<&str>> {
        let fields = self.table.frame.schema().fields();
        let may_be = |name: &&String| {
            let field = fields.iter().find(|field| field.name() == *name);
            field.is_some_and(|of| is_text(of.data_type()) || of.data_type().is_integer())
        };
        let columns: Vec<&String> = self.distributions.iter().filter(may_be).collect();
        if columns.is_empty() {
            return Ok(Vec::new());
        }
        let counts = columns.iter().enumerate().flat_map(|(at, name)| {
            let all = count(ident(*name)).alias(format!("all_{at}"));
            [all, approx_distinct(ident(*name)).alias(format!("distinct_{at}"))]
        });
        let frame = self.rows(ctx, window).await?.aggregate(Vec::new(), counts.collect())?;
        let mut names = Vec::new();
        for batch in ctx.session().collect(frame).await? {
            let found = numbers(&batch)?;
            let of = |at: usize| found.get(at).and_then(|of| *of.first()?).unwrap_or(0.0);
            let is_name = |at: &usize| of(*at * 2) < NAMES_AMONG * of(*at * 2 + 1);
            let those = (0..columns.len()).filter(is_name);
            names.extend(those.filter_map(|at| columns.get(at).map(|name| name.as_str())));
        }
        Ok(names)
    }

    /// How far the values of columns but these `names` are from earlier ones as a whole; none where that is not asked.
    pub(super) async fn distributions(
        &self,
        ctx: &RunContext,
        window: &Window,
        names: &[&str],
        stage: &mut Stage,
    ) -> Result<Vec<(&str, drift::Seen)>> {
        let is_held = |name: &&str| !names.contains(name);
        let held = self.distributions.iter().map(String::as_str).filter(is_held);
        let held: Vec<&str> = held.collect();
        if held.is_empty() {
            return Ok(Vec::new());
        }
        let time = quoted(&self.time);
        let at = |us: i64| format!("arrow_cast({us}, 'Timestamp(Microsecond, Some(\"UTC\"))')");
        let [from, until] = [window.start_us(window.first), window.until_us].map(at);
        let mut condition = format!("{time} >= {from} AND {time} < {until}");
        if let Some(asked) = &self.params.condition {
            condition = format!("{condition} AND ({asked}\n)");
        }
        let params = drift::Params {
            dataset: self.params.dataset.clone(),
            time_column: Some(self.time.clone()),
            group_column: None,
            columns: Some(held.iter().map(|name| quoted(name)).collect()),
            condition: Some(condition),
            period: self.params.period,
            zone: self.params.zone,
            holidays: self.params.holidays.clone(),
            reference: Some(self.params.history),
            min_rows: self.params.min_rows,
            // No less than that kind takes.
            alarms: self.alarms_of(held.len()).max(0.001),
            ..drift::Params::default()
        };
        let seen = drift::watch(ctx, &params, stage).await?.into_iter();
        let named = |of: drift::Seen| Some((*held.get(of.column)?, of));
        Ok(seen.filter_map(named).collect())
    }
}

/// A name as it stands in SQL.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
