//! Measures and dimensions of a spec, planned: what groups of GraphQL are made of, and what SQL puts in the place of a name.
//!
//! ```text
//!  "sum(cost) / calls"  ─parse─▶ names written out ─▶ safe_divide(sum(cost), count(*))     definition.rs
//!                                                        ├─▶ aggregates and what is made of them   (Measure: groups)
//!                                                        └─▶ put into a query                      (calls.rs: SQL)
//! ```
//!
//! A dimension is an expression of a row, and so a column of the table that SQL sees, computed above whatever keeps rows and values
//! back. What does not fit its columns any more is left out and told, and the dataset is read as before.

mod calls;
mod definition;
mod shape;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::DataType;
use datafusion::catalog::TableProvider;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{
    EmptyRelation, Expr, LogicalPlan, LogicalPlanBuilder, Projection, cast, ident,
};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::sql::sqlparser::ast::Expr as Ast;
use datafusion::sql::sqlparser::ast::ExprWithAlias;
use datasets::{ColumnType, DatasetName, DatasetSpec, DimensionSpec, MeasureSpec, did_you_mean};

pub(super) use calls::write_out;
pub(super) use definition::with_safe_quotients;
use definition::{Definition, Definitions};
pub use shape::Shape;

use super::instants::{met, number_is_seconds};
use super::opaque::Opaque;
use super::runtime;
use crate::error::{Code, Error, Result};

/// The function of SQL that has a measure's name.
const MEASURE: &str = "measure";
/// Problems of a spec that an error tells.
const PROBLEMS_TOLD_MAX: usize = 20;
/// What the parts of a measure are called until they have names of a plan.
const PART: &str = "_part_";

/// What plans them.
static PLANNER: LazyLock<Result<Opaque<SessionState>>> =
    LazyLock::new(|| runtime::planner().map(Opaque::new));

fn planner() -> Result<&'static SessionState> {
    PLANNER.as_deref().map_err(Clone::clone)
}

/// What a name is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Dimension,
    Measure,
}

impl Which {
    fn as_str(self) -> &'static str {
        match self {
            Self::Dimension => "dimension",
            Self::Measure => "measure",
        }
    }
}

/// What is computed of a dataset's rows, by name.
#[derive(Debug, Default)]
pub struct Semantics {
    dataset: Option<DatasetName>,
    dimensions: Vec<Dimension>,
    measures: Vec<Measure>,
    unfit: BTreeMap<String, Error>,
}

/// Something that is computed of one row.
#[derive(Clone, Debug)]
pub struct Dimension {
    /// What was declared.
    pub spec: DimensionSpec,
    /// The type of its values.
    pub kind: ColumnType,
    /// Its value, of columns by their names alone.
    pub value: Expr,
}

/// Something that is computed of many rows.
#[derive(Clone)]
pub struct Measure {
    /// What was declared.
    pub spec: MeasureSpec,
    /// The type of its values.
    pub kind: ColumnType,
    /// Of rows.
    aggregates: Vec<Expr>,
    /// Of aggregates.
    value: Expr,
    ast: Opaque<Ast>,
}

impl Semantics {
    /// Those of `spec`. What does not fit is in [`unfit`](Self::unfit).
    pub fn of(spec: &DatasetSpec) -> Self {
        let mut semantics = Self { dataset: Some(spec.name.clone()), ..Self::default() };
        if spec.dimensions.is_empty() && spec.measures.is_empty() {
            return semantics;
        }
        let definitions = Definitions::of(spec);
        let schema = || Ok(Arc::new(DFSchema::try_from(spec.arrow_schema().as_ref().clone())?));
        let schema: Result<Arc<DFSchema>> = schema();
        let read = |which: Which, name: &str| {
            let problem = |says: String| {
                let says = format!("{} {name:?}: {says}", which.as_str());
                Error::user(Code::BadInput, format!("spec of {}: {says}", spec.name))
            };
            let schema = schema.clone().map_err(|error| problem(error.to_string()))?;
            // Its name may be that of a column which came later.
            if schema.has_column_with_unqualified_name(name) {
                return Err(problem("there is a column of this name".to_owned()));
            }
            let definition = definitions.written_out(name).map_err(problem)?;
            Ok::<_, Error>((definition, schema))
        };
        for of in &spec.dimensions {
            let found = read(Which::Dimension, &of.name).and_then(|(definition, schema)| {
                Dimension::new(of, definition, &schema)
                    .map_err(|e| e.while_doing(doing(spec, Which::Dimension, &of.name)))
            });
            match found {
                Ok(dimension) => semantics.dimensions.push(dimension),
                Err(error) => drop(semantics.unfit.insert(of.name.clone(), error)),
            }
        }
        for of in &spec.measures {
            let found = read(Which::Measure, &of.name).and_then(|(definition, schema)| {
                Measure::new(of, definition, &schema)
                    .map_err(|e| e.while_doing(doing(spec, Which::Measure, &of.name)))
            });
            match found {
                Ok(measure) => semantics.measures.push(measure),
                Err(error) => drop(semantics.unfit.insert(of.name.clone(), error)),
            }
        }
        semantics
    }

    /// What is computed of each row, in the order of the spec.
    pub fn dimensions(&self) -> &[Dimension] {
        &self.dimensions
    }

    /// What is computed of many, in the order of the spec.
    pub fn measures(&self) -> &[Measure] {
        &self.measures
    }

    /// Those that do not fit the columns, and why.
    pub fn unfit(&self) -> &BTreeMap<String, Error> {
        &self.unfit
    }

    /// The measure of this name. BAD_INPUT names those that are spelt alike.
    pub fn measure(&self, name: &str) -> Result<&Measure> {
        if let Some(measure) = self.measures.iter().find(|measure| measure.spec.name == name) {
            return Ok(measure);
        }
        if let Some(error) = self.unfit.get(name) {
            return Err(error.clone());
        }
        let names = || self.measures.iter().map(|measure| measure.spec.name.as_str());
        let all = || match self.measures.is_empty() {
            true => "it declares none".to_owned(),
            false => format!("it has {}", names().collect::<Vec<_>>().join(", ")),
        };
        let says = match self.dimensions.iter().any(|it| it.spec.name == name) {
            true => "it is a dimension, which is used as a column is".to_owned(),
            false => did_you_mean(name, names()).unwrap_or_else(all),
        };
        let dataset = self.dataset.as_ref().map_or("", DatasetName::as_str);
        let shown: String = name.chars().take(80).collect();
        let says = format!("dataset {dataset} has no measure {shown:?}; {says}");
        Err(Error::user(Code::BadInput, says))
    }

    /// `table` with its dimensions as columns behind its own.
    pub(super) fn beside(&self, table: Arc<dyn TableProvider>) -> Result<Arc<dyn TableProvider>> {
        let (Some(dataset), false) = (&self.dataset, self.dimensions.is_empty()) else {
            return Ok(table);
        };
        let own = table.schema();
        let own = own.fields().iter().map(|field| ident(field.name()));
        let computed =
            self.dimensions.iter().map(|it| it.value.clone().alias(it.spec.name.as_str()));
        let columns: Vec<Expr> = own.chain(computed).collect();
        let plan = LogicalPlanBuilder::scan(dataset.as_str(), provider_as_source(table), None)?
            .project(columns)?
            .build()?;
        Ok(Arc::new(ViewTable::new(plan, None)))
    }
}

fn doing(spec: &DatasetSpec, which: Which, name: &str) -> String {
    format!("spec of {}: {} {name:?}", spec.name, which.as_str())
}

impl Dimension {
    fn new(spec: &DimensionSpec, of: Definition, schema: &Arc<DFSchema>) -> Result<Self> {
        let value = planned(of.ast, schema)?;
        let mut has_aggregates = false;
        value.apply(|part| {
            has_aggregates |= matches!(part, Expr::AggregateFunction(_));
            Ok(TreeNodeRecursion::Continue)
        })?;
        if has_aggregates {
            return Err(bad("aggregates are not taken here; a dimension is made of one row"));
        }
        let plan = Projection::try_new(vec![value.clone().alias(&spec.name)], nothing(schema))?;
        let (kind, found) = type_of(LogicalPlan::Projection(plan))?;
        let value = in_type(value, &kind, &found);
        Ok(Self { spec: spec.clone(), kind, value })
    }
}

impl Measure {
    fn new(spec: &MeasureSpec, of: Definition, schema: &Arc<DFSchema>) -> Result<Self> {
        let expression = planned(of.ast.clone(), schema)?;
        let (mut aggregates, mut bare, mut is_nested) = (Vec::<Expr>::new(), None, false);
        let value = expression.transform_down(|part| {
            Ok(match part {
                Expr::AggregateFunction(_) => {
                    part.apply_children(|child| {
                        child.apply(|inner| {
                            is_nested |= matches!(inner, Expr::AggregateFunction(_));
                            Ok(TreeNodeRecursion::Continue)
                        })
                    })?;
                    let known = aggregates.iter().position(|aggregate| *aggregate == part);
                    let at = known.unwrap_or(aggregates.len());
                    if known.is_none() {
                        aggregates.push(part);
                    }
                    Transformed::new(ident(format!("{PART}{at}")), true, TreeNodeRecursion::Jump)
                }
                Expr::Column(column) => {
                    bare.get_or_insert_with(|| column.name.clone());
                    Transformed::no(Expr::Column(column))
                }
                part => Transformed::no(part),
            })
        })?;
        if is_nested {
            return Err(bad(
                "an aggregate stands within an aggregate; a measure is named beside it",
            ));
        }
        if let Some(column) = bare {
            return Err(bad(format!(
                "{column:?} stands outside of an aggregate, as sum({column}); of many rows it has no one value"
            )));
        }
        for aggregate in &mut aggregates {
            if let Ok(simple) = simplified(aggregate.clone(), schema) {
                *aggregate = simple;
            }
        }
        if aggregates.is_empty() {
            return Err(bad("expected an aggregate of columns, as sum, avg or count(*)"));
        }
        let mut measure = Self {
            spec: spec.clone(),
            kind: ColumnType::Int64,
            aggregates,
            value: value.data,
            ast: Opaque::new(of.ast),
        };
        let mut parts = Vec::new();
        let value = measure.value(None, |aggregate| {
            let name = format!("{PART}{}", parts.len());
            parts.push(aggregate.alias(&name));
            name
        })?;
        let plan = LogicalPlanBuilder::from(nothing(schema).as_ref().clone())
            .aggregate(Vec::<Expr>::new(), parts)?
            .project(vec![value.alias(&spec.name)])?
            .build()?;
        let (kind, found) = type_of(plan)?;
        measure.value = in_type(measure.value, &kind, &found);
        measure.kind = kind;
        Ok(measure)
    }

    /// Its value in a plan of groups, over the rows that `filter` takes. `column_of` has the aggregates that it is made of computed, each
    /// once, and says which column of the groups has one.
    pub fn value(
        &self,
        filter: Option<&Expr>,
        mut column_of: impl FnMut(Expr) -> String,
    ) -> Result<Expr> {
        let aggregates = self.aggregates.iter().map(|aggregate| {
            let mut aggregate = aggregate.clone();
            if let (Expr::AggregateFunction(call), Some(filter)) = (&mut aggregate, filter) {
                let both = match call.params.filter.take() {
                    Some(own) => own.and(filter.clone()),
                    None => filter.clone(),
                };
                call.params.filter = Some(Box::new(both));
            }
            column_of(aggregate)
        });
        let columns: Vec<String> = aggregates.collect();
        let value = self.value.clone().transform_up(|part| {
            let Expr::Column(column) = &part else { return Ok(Transformed::no(part)) };
            let at = column.name.strip_prefix(PART).and_then(|at| at.parse::<usize>().ok());
            Ok(match at.and_then(|at| columns.get(at)) {
                Some(column) => Transformed::yes(ident(column)),
                None => Transformed::no(part),
            })
        })?;
        Ok(value.data)
    }
}

impl Measure {
    /// How many aggregates it is made of.
    pub fn width(&self) -> usize {
        self.aggregates.len()
    }

    /// Whether it is a count or a sum and nothing else: of no rows it is 0, and of two parts the sum of both.
    pub fn is_total(&self) -> bool {
        let is_total = |aggregate: &Expr| match aggregate {
            Expr::AggregateFunction(call) => {
                matches!(call.func.name(), "count" | "sum") && !call.params.distinct
            }
            _ => false,
        };
        let value = match &self.value {
            Expr::Cast(cast) => cast.expr.as_ref(),
            value => value,
        };
        matches!((self.aggregates.as_slice(), value), ([one], Expr::Column(_)) if is_total(one))
    }
}

impl std::fmt::Debug for Measure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Measure").field("spec", &self.spec).field("kind", &self.kind).finish()
    }
}

/// Plans what is written out.
fn planned(ast: Ast, schema: &DFSchema) -> Result<Expr> {
    let read = ExprWithAlias { expr: ast, alias: None };
    let planned = planner()?.create_logical_expr_from_sql_expr(read, schema)?;
    let planned = number_is_seconds(planned.unalias_nested().data, schema)?.data;
    let planned = met(planned, schema)?.data;
    let mut refused = None;
    planned.apply(|part| {
        refused = match part {
            Expr::WindowFunction(_) => Some("windows"),
            Expr::Exists(_) | Expr::InSubquery(_) | Expr::ScalarSubquery(_) => Some("queries"),
            Expr::Unnest(_) => Some("functions that make rows"),
            part if part.is_volatile_node() => Some("functions that say something else each time"),
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        Ok(TreeNodeRecursion::Stop)
    })?;
    match refused {
        Some(refused) => Err(bad(format!("{refused} are not taken here"))),
        None => Ok(planned),
    }
}

/// `aggregate` as a planner writes it in the end. Two that are the same only there are one name too many for it, which fails; so they
/// are made the same here, and computed once. What can not be simplified is refused when it is planned.
fn simplified(aggregate: Expr, schema: &Arc<DFSchema>) -> Result<Expr> {
    let context = SimplifyContext::builder().with_schema(Arc::clone(schema)).build();
    let simplifier = ExprSimplifier::new(context);
    Ok(simplifier.simplify(simplifier.coerce(aggregate, schema)?)?)
}

/// No rows of these columns.
fn nothing(schema: &Arc<DFSchema>) -> Arc<LogicalPlan> {
    let nothing = EmptyRelation { produce_one_row: false, schema: Arc::clone(schema) };
    Arc::new(LogicalPlan::EmptyRelation(nothing))
}

/// The type of the one column that a plan gives, as a query has it, and as a dataset has it.
fn type_of(plan: LogicalPlan) -> Result<(ColumnType, DataType)> {
    let state = planner()?;
    let plan = state
        .analyzer()
        .execute_and_check(plan, state.config_options(), |_, _| {})
        .map_err(|e| {
            let says = super::sql::mistaken(e).to_string();
            bad(says.trim_start_matches("SQL: ").to_owned())
        })?;
    let found = plan.schema().field(0).data_type().clone();
    let kind = match &found {
        DataType::Null => None,
        found => ColumnType::from_arrow(found),
    };
    let is_value = |kind: &ColumnType| {
        kind.is_scalar() && !matches!(kind, ColumnType::Bytes | ColumnType::Json)
    };
    match kind.filter(is_value) {
        Some(kind) => Ok((kind, found)),
        None => Err(bad(format!(
            "it gives values of type {found}; expected a number, text, truth value, time or day"
        ))),
    }
}

fn in_type(value: Expr, kind: &ColumnType, found: &DataType) -> Expr {
    let wanted = kind.arrow_type();
    if *found == wanted { value } else { cast(value, wanted) }
}

fn bad(problem: impl Into<String>) -> Error {
    Error::user(Code::BadInput, problem)
}

/// Fails where something that `spec` declares does not fit it, and says all that does not.
pub(crate) fn check(spec: &DatasetSpec) -> Result<()> {
    let names = spec.dimensions.iter().map(|it| (Which::Dimension, &it.name));
    let names = names.chain(spec.measures.iter().map(|it| (Which::Measure, &it.name)));
    for (which, name) in names {
        if !definition::is_word(name) {
            return Err(bad(format!(
                "{}: it is a word of SQL; choose another",
                doing(spec, which, name)
            )));
        }
    }
    refused(Semantics::of(spec).unfit.into_values())
}

/// Fails where something that fits `before` does not fit `after`.
pub(crate) fn require_kept(before: &DatasetSpec, after: &DatasetSpec) -> Result<()> {
    if after.dimensions.is_empty() && after.measures.is_empty() {
        return Ok(());
    }
    let was = Semantics::of(before).unfit;
    let is = Semantics::of(after).unfit;
    refused(is.into_iter().filter(|(name, _)| !was.contains_key(name)).map(|(_, error)| error))
}

fn refused(problems: impl Iterator<Item = Error>) -> Result<()> {
    let problems: Vec<String> = problems.map(|error| error.to_string()).collect();
    if problems.is_empty() {
        return Ok(());
    }
    let more = problems.len().saturating_sub(PROBLEMS_TOLD_MAX);
    let mut says = problems[..problems.len() - more].join("; ");
    if more > 0 {
        says.push_str(&format!("; {more} more problems"));
    }
    Err(bad(says))
}

/// What of `spec` is made of its column, if something is: which, and its name.
pub(crate) fn made_of(spec: &DatasetSpec, column: &str) -> Option<String> {
    let definitions = Definitions::of(spec);
    let is_of = |name: &str| {
        definitions.written_out(name).is_ok_and(|definition| definition.columns.contains(column))
    };
    let dimension = spec.dimensions.iter().find(|it| is_of(&it.name));
    let measure = || spec.measures.iter().find(|it| is_of(&it.name));
    let dimension = dimension.map(|it| format!("the dimension {:?}", it.name));
    dimension.or_else(|| measure().map(|it| format!("the measure {:?}", it.name)))
}

/// Calls a column otherwise in all that `spec` declares.
pub(crate) fn rename(spec: &mut DatasetSpec, from: &str, to: &str) {
    let dimensions = spec.dimensions.iter_mut().map(|it| &mut it.expression);
    for expression in dimensions.chain(spec.measures.iter_mut().map(|it| &mut it.expression)) {
        *expression = definition::renamed(expression, from, to);
    }
}

/// Takes from `spec` what is made of columns that it has not: what it says would tell of them.
pub(crate) fn keep_known(spec: &mut DatasetSpec) {
    if spec.dimensions.is_empty() && spec.measures.is_empty() {
        return;
    }
    let whole = spec.clone();
    let definitions = Definitions::of(&whole);
    let is_known = |name: &str| definitions.written_out(name).is_ok();
    spec.dimensions.retain(|it| is_known(&it.name));
    spec.measures.retain(|it| is_known(&it.name));
}

/// `then`, with what `now` declares.
pub(super) fn with_those_of(then: &DatasetSpec, now: &DatasetSpec) -> DatasetSpec {
    DatasetSpec {
        dimensions: now.dimensions.clone(),
        measures: now.measures.clone(),
        ..then.clone()
    }
}
