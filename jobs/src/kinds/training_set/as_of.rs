//! Features as they were known at instants: of each row the newest that its entity had then, and that counts still.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::functions::core::expr_fn::{get_field, named_struct};
use datafusion::functions_aggregate::first_last::last_value_udaf;
use datafusion::logical_expr::expr::{NullTreatment, WindowFunction};
use datafusion::logical_expr::{
    Expr, JoinType, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition,
    cast, ident, lit, try_cast, when,
};
use datafusion::prelude::DataFrame;
use engine::Result;

use crate::series::microseconds;

/// Columns on the way; no dataset has one whose name begins so.
const AT: &str = "_at";
const TURN: &str = "_turn";
const HELD: &str = "_held";

/// How the rows of a view are put to others.
pub(crate) struct Join<'a> {
    /// The columns that name an entity: of the rows, and of the view.
    pub(crate) entity: Vec<(&'a str, &'a str)>,
    /// The column of the rows' instants.
    pub(crate) time: &'a str,
    /// The columns of the view: that of the instant from which on its values are known, and that of the one from which on they count no more.
    pub(crate) view_time: &'a str,
    pub(crate) expires: Option<&'a str>,
    /// Features, each with the name that it gets.
    pub(crate) features: Vec<(&'a str, &'a str)>,
    /// The name of the column that says since when they were known.
    pub(crate) since: &'a str,
    pub(crate) same_instant: bool,
}

impl Join<'_> {
    /// `rows` with the features. Both are sorted together by entity and instant, and each row takes what came last before it.
    pub(crate) fn of(&self, rows: DataFrame, view: DataFrame) -> Result<DataFrame> {
        let micros = |name: &str| cast(cast(ident(name), microseconds()), DataType::Int64);
        let key = |at: usize| format!("_key_{at}");
        let kinds: Vec<DataType> = self
            .entity
            .iter()
            .map(|(_, of_view)| {
                let field = view.schema().field_with_unqualified_name(of_view)?;
                Ok(field.data_type().clone())
            })
            .collect::<Result<_>>()?;
        // Of others than are asked for nothing is sorted.
        let asked_key = |at: usize| format!("_asked_{at}");
        let mut asked = Vec::new();
        for (at, ((of, _), kind)) in self.entity.iter().zip(&kinds).enumerate() {
            asked.push(try_cast(ident(*of), kind.clone()).alias(asked_key(at)));
        }
        let of_view: Vec<&str> = self.entity.iter().map(|(_, of)| *of).collect();
        let keys: Vec<String> = (0..of_view.len()).map(asked_key).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let asked = rows.clone().select(asked)?.distinct()?;
        let view = view.join(asked, JoinType::LeftSemi, &of_view, &keys, None)?;
        let mut held = vec![lit("since"), micros(self.view_time)];
        held.push(lit("expires"));
        held.push(match self.expires {
            Some(expires) => micros(expires),
            None => lit(ScalarValue::Int64(None)),
        });
        for (at, (feature, _)) in self.features.iter().enumerate() {
            held.push(lit(format!("feature_{at}")));
            held.push(ident(*feature));
        }
        let names: Vec<String> =
            rows.schema().fields().iter().map(|field| field.name().clone()).collect();
        // The turn says who comes first at the same instant: whoever does is not seen by the others.
        let (turn_of_rows, turn_of_view) = match self.same_instant {
            true => (1_i64, 0_i64),
            false => (0, 1),
        };
        let mut of_view: Vec<Expr> = Vec::new();
        for field in rows.schema().fields() {
            let none = ScalarValue::try_from(field.data_type())?;
            of_view.push(lit(none).alias(field.name()));
        }
        for (at, (_, of)) in self.entity.iter().enumerate() {
            of_view.push(ident(*of).alias(key(at)));
        }
        of_view.push(micros(self.view_time).alias(AT));
        of_view.push(lit(turn_of_view).alias(TURN));
        of_view.push(named_struct(held).alias(HELD));
        let view = view.select(of_view)?;
        let struct_type = view.schema().field_with_unqualified_name(HELD)?.data_type().clone();
        let mut of_rows: Vec<Expr> = names.iter().map(ident).collect();
        for (at, ((of, _), kind)) in self.entity.iter().zip(kinds).enumerate() {
            // Whoever has no place among the view's entities is none of them.
            of_rows.push(try_cast(ident(*of), kind).alias(key(at)));
        }
        of_rows.push(micros(self.time).alias(AT));
        of_rows.push(lit(turn_of_rows).alias(TURN));
        of_rows.push(lit(ScalarValue::try_from(&struct_type)?).alias(HELD));
        let both = rows.select(of_rows)?.union(view)?;
        let mut last = WindowFunction::new(
            WindowFunctionDefinition::AggregateUDF(last_value_udaf()),
            vec![ident(HELD)],
        );
        last.params.partition_by = (0..self.entity.len()).map(|at| ident(key(at))).collect();
        last.params.order_by = vec![ident(AT).sort(true, false), ident(TURN).sort(true, false)];
        last.params.null_treatment = Some(NullTreatment::IgnoreNulls);
        last.params.window_frame = WindowFrame::new_bounds(
            WindowFrameUnits::Rows,
            WindowFrameBound::Preceding(ScalarValue::UInt64(None)),
            WindowFrameBound::CurrentRow,
        );
        const LAST: &str = "_last";
        let joined = both.window(vec![Expr::from(last).alias(LAST)])?;
        let joined = joined.filter(ident(TURN).eq(lit(turn_of_rows)))?;
        let part = |name: String| get_field(ident(LAST), name);
        let counts =
            part("expires".to_owned()).is_null().or(part("expires".to_owned()).gt(ident(AT)));
        let mut columns: Vec<Expr> = names.iter().map(ident).collect();
        for (at, (_, name)) in self.features.iter().enumerate() {
            let value = when(counts.clone(), part(format!("feature_{at}"))).end()?;
            columns.push(value.alias(*name));
        }
        let since = cast(part("since".to_owned()), microseconds());
        columns.push(when(counts, since).end()?.alias(self.since));
        Ok(joined.select(columns)?)
    }
}
