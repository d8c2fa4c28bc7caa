//! Limits the cost of planning. Three things can make it take minutes, or all memory:
//!
//! - To resolve a column of a SELECT, the planner searches all columns of its FROM. Wide tables in
//!   nested SELECTs cost their width squared for each level.
//! - The optimizer copies operands: `x BETWEEN y AND z` becomes `x >= y AND x <= z`. Copies of copies
//!   double with each level ([`expressions`]).
//! - The optimizer pushes filters below projections, and puts the computed expression in the place of
//!   each column.
//!
//! The estimate walks through the parsed query once.

mod expressions;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use datafusion::common::TableReference;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Cte, Expr, FunctionArguments, GroupByExpr, JoinConstraint, JoinOperator, ObjectName, Query,
    Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, SetOperator, SetQuantifier,
    Statement as Sql, TableAlias, TableFactor, TableWithJoins,
};
use datasets::DatasetName;

use super::breadth::grouping_sets;
use super::provider::PinnedSchema;
use super::walk::{Read, call_name, identifier_name, object_name, read};
use crate::error::{Code, Error, Result};
use expressions::{Expressions, Sizes};

/// Maximum column comparisons of one query. A SELECT of 2,000 columns out of 2,000 makes 4 million,
/// and takes about a second.
const COMPARISONS_MAX: u64 = 12_000_000;
/// A column that a wildcard stands for costs this part of a reference.
const WILDCARD_PART: u64 = 3;
/// Comparisons of one column of a join.
const COMPARISONS_OF_JOINED: u64 = 4;
/// Parts of the squared number of columns that a list of columns and a UNION cost.
const LIST_PART: u64 = 16;
const UNION_PART: u64 = 8;

/// Maximum parts of all expressions, with the copies that the optimizer makes.
const EXPRESSIONS_MAX: u64 = 500_000;
/// Maximum parts of all filters when they are pushed down to the tables.
const PUSHED_MAX: u64 = 200_000;

/// Columns of a table that the catalog does not list, such as those of the information schema.
const UNLISTED_COLUMNS: u64 = 16;

/// Fails if planning would take too long. `tables` are those that the statement references.
pub(super) async fn require_plannable(
    statement: &Statement,
    tables: &[TableReference],
    schema: &PinnedSchema,
) -> Result<()> {
    let catalog = schema.catalog();
    let mut columns: HashMap<DatasetName, u64> = HashMap::new();
    for table in tables {
        let Ok(name) = DatasetName::new(table.table()) else { continue };
        let current = catalog.datasets.get(&name);
        let pinned = schema.versions().get(&name);
        // An older version may have other columns.
        let is_older = current.zip(pinned).is_some_and(|(entry, pinned)| entry.version != *pinned);
        let count = match current.or_else(|| catalog.expected.get(&name)) {
            Some(_) if is_older => schema.entry(&name).await?.spec.columns.len(),
            Some(entry) => entry.spec.columns.len(),
            None => continue,
        };
        columns.insert(name, count as u64);
    }
    let columns_of = |name: &str| columns.get(&DatasetName::new(name).ok()?).copied();
    work_of(statement, &columns_of).check()
}

/// Fails if an expression outside a query would take too long.
pub(super) fn require_small(expr: &Expr) -> Result<()> {
    let mut estimator = CostEstimator::new(&|_| None, 0);
    let mut expressions = Expressions::new(&mut estimator, 0, &Sizes::default());
    let _ = read(expr, &mut expressions);
    expressions.work().check()
}

fn work_of(statement: &Statement, columns_of: &dyn Fn(&str) -> Option<u64>) -> Work {
    let mut widest = WidestCall(0);
    match statement {
        Statement::Statement(sql) => {
            let _ = read(sql.as_ref(), &mut widest);
            CostEstimator::new(columns_of, widest.0).sql(sql).work
        }
        Statement::Explain(explain) => work_of(&explain.statement, columns_of),
        _ => Work::default(),
    }
}

/// What planning takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Work {
    comparisons: u64,
    /// Parts of expressions, with the copies that the optimizer makes.
    expressions: u64,
    /// Parts of filters, with the expressions of the columns that they reference.
    pushed: u64,
}

impl Work {
    fn plus(self, other: Self) -> Self {
        Self {
            comparisons: self.comparisons.saturating_add(other.comparisons),
            expressions: self.expressions.saturating_add(other.expressions),
            pushed: self.pushed.saturating_add(other.pushed),
        }
    }

    fn of_comparisons(comparisons: u64) -> Self {
        Self { comparisons, ..Self::default() }
    }

    fn check(self) -> Result<()> {
        let message = if self.comparisons > COMPARISONS_MAX {
            format!(
                "planning needs {} column comparisons; the limit is {COMPARISONS_MAX}. Each column of a SELECT is compared with every column of its FROM. Select fewer columns or nest fewer SELECTs",
                self.comparisons
            )
        } else if self.expressions > EXPRESSIONS_MAX {
            format!(
                "the expressions have {} parts when BETWEEN, CASE, coalesce, short IN lists and grouping sets are written out; the limit is {EXPRESSIONS_MAX}. Nest them less deeply, or compute the inner ones in a common table expression",
                self.expressions
            )
        } else if self.pushed > PUSHED_MAX {
            format!(
                "the filters have {} parts when they are pushed down to the tables; the limit is {PUSHED_MAX}. Filter before the columns are computed, or nest fewer SELECTs",
                self.pushed
            )
        } else {
            return Ok(());
        };
        Err(Error::user(Code::LimitExceeded, format!("SQL: {message}")))
    }
}

/// What a relation is to its readers, and what planning it takes.
#[derive(Clone, Default)]
struct Relation {
    columns: u64,
    /// Columns among which its ORDER BY searches.
    ordered_by: u64,
    /// Sizes of the expressions of its columns.
    sizes: Sizes,
    work: Work,
}

impl Relation {
    fn of(columns: u64) -> Self {
        Self { columns, ordered_by: columns, ..Self::default() }
    }

    fn joined(self, other: &Self) -> Self {
        let columns = self.columns.saturating_add(other.columns);
        let of_join = Work::of_comparisons(columns.saturating_mul(COMPARISONS_OF_JOINED));
        Self {
            columns,
            ordered_by: columns,
            sizes: self.sizes.merged(&other.sizes),
            work: self.work.plus(other.work).plus(of_join),
        }
    }

    fn with(self, work: Work) -> Self {
        Self { work: self.work.plus(work), ..self }
    }

    fn named(self, alias: Option<&TableAlias>) -> Self {
        match alias {
            Some(alias) if !alias.columns.is_empty() => {
                let names = alias.columns.iter().map(|column| identifier_name(&column.name));
                Self { sizes: self.sizes.renamed(names), ..self }
            }
            _ => self,
        }
    }
}

/// A common table expression. Its work counts once per reference, because the optimizer rewrites each
/// copy.
struct NamedQuery {
    name: String,
    relation: Relation,
    is_used: bool,
}

struct CostEstimator<'a> {
    columns_of: &'a dyn Fn(&str) -> Option<u64>,
    /// Common table expressions in scope.
    ctes: Vec<NamedQuery>,
    /// Columns of the enclosing queries, which a subquery can reference.
    outer_columns: u64,
    /// Arguments of the widest call: as many fields a struct may have.
    widest_call: u64,
}

impl<'a> CostEstimator<'a> {
    fn new(columns_of: &'a dyn Fn(&str) -> Option<u64>, widest_call: u64) -> Self {
        Self { columns_of, ctes: Vec::new(), outer_columns: 0, widest_call }
    }

    fn sql(&mut self, sql: &Sql) -> Relation {
        match sql {
            Sql::Query(query) => self.query(query, None),
            Sql::Explain { statement, .. } => self.sql(statement),
            _ => Relation::default(),
        }
    }

    /// A query, which may be the recursive common table expression `recursive`.
    fn query(&mut self, query: &Query, recursive: Option<&Cte>) -> Relation {
        let outer = self.ctes.len();
        if let Some(with) = &query.with {
            for cte in &with.cte_tables {
                let relation = self.query(&cte.query, with.recursive.then_some(cte));
                let relation = relation.named(Some(&cte.alias));
                let name = identifier_name(&cte.alias.name);
                self.ctes.push(NamedQuery { name, relation, is_used: false });
            }
        }
        let relation = match (query.body.as_ref(), recursive) {
            (SetExpr::SetOperation { left, right, op: SetOperator::Union, .. }, Some(cte)) => {
                let first = self.body(left);
                let relation = Relation { work: Work::default(), ..first.clone() };
                let relation = relation.named(Some(&cte.alias));
                let name = identifier_name(&cte.alias.name);
                self.ctes.push(NamedQuery { name, relation, is_used: true });
                first.with(self.body(right).work)
            }
            (body, _) => self.body(body),
        };
        let mut expressions = Expressions::new(self, relation.ordered_by, &relation.sizes);
        let _ = read(&query.order_by, &mut expressions);
        let _ = read(&query.limit_clause, &mut expressions);
        let work = expressions.work();
        let unused = self.ctes.drain(outer..).filter(|cte| !cte.is_used);
        unused.fold(relation.with(work), |relation, cte| relation.with(cte.relation.work))
    }

    fn body(&mut self, body: &SetExpr) -> Relation {
        match body {
            SetExpr::Select(select) => self.select(select),
            SetExpr::Query(query) => self.query(query, None),
            SetExpr::SetOperation { left, right, op, set_quantifier } => {
                let (left, right) = (self.body(left), self.body(right));
                let by_name = matches!(
                    set_quantifier,
                    SetQuantifier::ByName
                        | SetQuantifier::AllByName
                        | SetQuantifier::DistinctByName
                );
                let columns = if by_name { right.columns } else { 0 };
                let columns = left.columns.saturating_add(columns);
                let squared = columns.saturating_mul(columns);
                let comparisons = match op {
                    SetOperator::Union => squared / UNION_PART,
                    // They are joins by all columns.
                    _ => squared,
                };
                Relation {
                    columns,
                    ordered_by: columns,
                    sizes: left.sizes.with_positions_of(&right.sizes),
                    work: left.work.plus(right.work).plus(Work::of_comparisons(comparisons)),
                }
            }
            SetExpr::Values(values) => {
                let columns = values.rows.first().map_or(0, |row| row.content.len() as u64);
                let mut expressions = Expressions::new(self, 0, &Sizes::default());
                let _ = read(values, &mut expressions);
                Relation::of(columns).with(expressions.work()).with(of_list(columns))
            }
            // The planner refuses them.
            SetExpr::Table(_)
            | SetExpr::Insert(_)
            | SetExpr::Update(_)
            | SetExpr::Delete(_)
            | SetExpr::Merge(_) => Relation::default(),
        }
    }

    fn select(&mut self, select: &Select) -> Relation {
        let mut tables = Vec::new();
        let from = select.from.iter().fold(Relation::default(), |from, table| match from.columns {
            0 => self.table(table, &from, &mut tables).with(from.work),
            _ => {
                let table = self.table(table, &from, &mut tables);
                from.joined(&table)
            }
        });
        let (mut columns, mut wildcard_columns) = (0_u64, 0_u64);
        let (mut sizes, mut work) = (Sizes::default(), Work::default());
        for item in &select.projection {
            let expanded = match item {
                SelectItem::Wildcard(_) => from.columns,
                SelectItem::QualifiedWildcard(
                    SelectItemQualifiedWildcardKind::ObjectName(name),
                    _,
                ) => {
                    let name = name.0.last().and_then(|part| part.as_ident()).map(identifier_name);
                    let of_table = tables.iter().find(|(table, _)| *table == name);
                    of_table.map_or(from.columns, |(_, columns)| *columns)
                }
                item => {
                    let mut expressions = Expressions::new(self, from.columns, &from.sizes);
                    let _ = read(item, &mut expressions);
                    sizes.add(item, expressions.substituted);
                    let is_unnested = expressions.is_unnested;
                    work = work.plus(expressions.work());
                    columns += if is_unnested { self.widest_call.max(1) } else { 1 };
                    continue;
                }
            };
            sizes = sizes.merged(&from.sizes);
            columns = columns.saturating_add(expanded);
            wildcard_columns = wildcard_columns.saturating_add(expanded);
        }
        // The planner copies a named window for each call that uses it.
        let mut windows = Expressions::new(self, from.columns, &from.sizes);
        let _ = read(&select.named_window, &mut windows);
        work = work.plus(windows.times(select.projection.len() as u64));
        let mut groups = Expressions::new(self, from.columns, &from.sizes);
        let _ = read(&select.group_by, &mut groups);
        if let GroupByExpr::Expressions(keys, _) = &select.group_by {
            groups.references = groups.references.saturating_add(keys.len() as u64);
            let sets = keys.iter().map(grouping_sets).fold(1, u64::saturating_mul);
            groups.plain = groups.plain.saturating_mul(sets);
        }
        work = work.plus(groups.work());
        let mut others = Expressions::new(self, from.columns, &from.sizes);
        others.references = wildcard_columns / WILDCARD_PART;
        let _ = read(&select.distinct, &mut others);
        let _ = read(&select.sort_by, &mut others);
        let _ = read(&select.cluster_by, &mut others);
        let _ = read(&select.distribute_by, &mut others);
        work = work.plus(others.work());
        let mut filters = Expressions::new(self, from.columns, &from.sizes);
        let _ = read(&select.selection, &mut filters);
        let _ = read(&select.having, &mut filters);
        let _ = read(&select.qualify, &mut filters);
        work = work.plus(filters.work_of_filter());
        let ordered_by = columns.saturating_add(from.columns);
        Relation { columns, ordered_by, sizes, work: from.work.plus(work).plus(of_list(columns)) }
    }

    /// A table and its joins, to the right of `left`. Adds the name and the columns of each table to
    /// `tables`.
    fn table(
        &mut self,
        table: &TableWithJoins,
        left: &Relation,
        tables: &mut Vec<(Option<String>, u64)>,
    ) -> Relation {
        let first = self.factor(&table.relation, left.columns, tables);
        table.joins.iter().fold(first, |relation, join| {
            let left_columns = left.columns.saturating_add(relation.columns);
            let relation = relation.joined(&self.factor(&join.relation, left_columns, tables));
            let mut condition = Expressions::new(self, relation.columns, &relation.sizes);
            let _ = read(&join.join_operator, &mut condition);
            condition.references += match constraint(&join.join_operator) {
                Some(JoinConstraint::Using(columns)) => columns.len() as u64,
                Some(JoinConstraint::Natural) => relation.columns,
                _ => 0,
            };
            let work = condition.work_of_filter();
            relation.with(work)
        })
    }

    fn factor(
        &mut self,
        factor: &TableFactor,
        left_columns: u64,
        tables: &mut Vec<(Option<String>, u64)>,
    ) -> Relation {
        let (alias, relation) = match factor {
            TableFactor::Table { name, alias, args: None, .. } => {
                let last = ObjectName(name.0.last().cloned().into_iter().collect());
                let relation = self.table_named(name, &last).named(alias.as_ref());
                let alias = alias.as_ref().map(|alias| identifier_name(&alias.name));
                (alias.or_else(|| Some(object_name(&last))), relation)
            }
            TableFactor::Derived { subquery, alias, lateral, .. } => {
                let outer = self.outer_columns;
                if *lateral {
                    self.outer_columns = outer.saturating_add(left_columns);
                }
                let relation = self.query(subquery, None).named(alias.as_ref());
                self.outer_columns = outer;
                (alias.as_ref().map(|alias| identifier_name(&alias.name)), relation)
            }
            TableFactor::NestedJoin { table_with_joins, alias: None } => {
                return self.table(table_with_joins, &Relation::of(left_columns), tables);
            }
            TableFactor::NestedJoin { table_with_joins, alias: Some(alias) } => {
                let left = Relation::of(left_columns);
                let relation = self.table(table_with_joins, &left, &mut Vec::new());
                (Some(identifier_name(&alias.name)), relation)
            }
            // A table function, or a table of items.
            other => {
                let mut expressions = Expressions::new(self, left_columns, &Sizes::default());
                let _ = read(other, &mut expressions);
                let columns = expressions.plain.max(UNLISTED_COLUMNS);
                let work = expressions.work();
                (None, Relation::of(columns.max(self.widest_call)).with(work))
            }
        };
        tables.push((alias, relation.columns));
        relation
    }

    fn table_named(&mut self, name: &ObjectName, last: &ObjectName) -> Relation {
        let name = object_name(name);
        match self.ctes.iter_mut().rev().find(|cte| cte.name == name) {
            Some(cte) => {
                cte.is_used = true;
                cte.relation.clone()
            }
            None => Relation::of((self.columns_of)(&object_name(last)).unwrap_or(UNLISTED_COLUMNS)),
        }
    }
}

/// The work for a list of columns, whose names must differ.
fn of_list(columns: u64) -> Work {
    Work::of_comparisons(columns.saturating_mul(columns) / LIST_PART)
}

/// Arguments of the widest call.
struct WidestCall(u64);

impl Read for WidestCall {
    fn expr(&mut self, expr: &Expr) -> std::result::Result<(), String> {
        let arguments = match expr {
            Expr::Function(call) => match &call.args {
                FunctionArguments::List(list) => list.args.len(),
                _ => 0,
            },
            Expr::Struct { values, .. } => values.len(),
            Expr::Dictionary(fields) => fields.len(),
            _ => 0,
        };
        self.0 = self.0.max(arguments as u64);
        Ok(())
    }
}

fn constraint(operator: &JoinOperator) -> Option<&JoinConstraint> {
    match operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint)
        | JoinOperator::CrossJoin(constraint)
        | JoinOperator::Semi(constraint)
        | JoinOperator::LeftSemi(constraint)
        | JoinOperator::RightSemi(constraint)
        | JoinOperator::Anti(constraint)
        | JoinOperator::LeftAnti(constraint)
        | JoinOperator::RightAnti(constraint)
        | JoinOperator::StraightJoin(constraint)
        | JoinOperator::AsOf { constraint, .. } => Some(constraint),
        _ => None,
    }
}
