//! `measure(name)` in SQL: the measure of the one dataset that a SELECT is from, written out where it is named.
//!
//! It is put there before the query is planned, so that groups, HAVING, ORDER BY and whatever else takes aggregates take measures.
//! A join may give a row several times, of which no sum is right: then it is refused, and a subquery is the way.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr as Ast, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident,
    ObjectNamePart, Query, Select, SelectItem, SetExpr, Statement as Sql, TableFactor,
};

use super::{MEASURE, Semantics, bad, planner};
use crate::error::{Code, Error, Result};
use crate::session::provider::PinnedSchema;
use crate::session::walk::{self, Read, Write, call_name, identifier_name};

/// Parts that measures of one query are written out with.
const WRITTEN_MAX: usize = 50_000;

/// Puts measures in the places of their names.
pub(in crate::session) async fn write_out(
    statement: &mut Statement,
    schema: &PinnedSchema,
) -> Result<()> {
    let Some(sql) = sql_of(statement) else { return Ok(()) };
    let mut found = Found::default();
    // Looking has no errors.
    let _ = walk::read(sql, &mut found);
    if !found.has_calls {
        return Ok(());
    }
    let mut datasets = HashMap::new();
    for name in found.tables.difference(&found.ctes) {
        let semantics = schema.semantics(name).await?;
        datasets.insert(name.clone(), semantics);
    }
    let mut writing = Writing { datasets, ctes: found.ctes, written: 0, problem: None };
    walk::write(sql, &mut writing);
    match writing.problem {
        Some(problem) => Err(problem),
        None => Ok(()),
    }
}

fn sql_of(statement: &mut Statement) -> Option<&mut Sql> {
    match statement {
        Statement::Statement(sql) => Some(sql.as_mut()),
        Statement::Explain(explain) => sql_of(&mut explain.statement),
        _ => None,
    }
}

fn as_call(expr: &Ast) -> Option<&Function> {
    match expr {
        Ast::Function(call) if call.name.0.len() == 1 && call_name(call) == MEASURE => Some(call),
        _ => None,
    }
}

/// What is called, and what is read.
#[derive(Default)]
struct Found {
    has_calls: bool,
    tables: BTreeSet<String>,
    ctes: BTreeSet<String>,
}

impl Read for Found {
    fn query(&mut self, query: &Query) -> Result<(), String> {
        let named = query.with.iter().flat_map(|with| &with.cte_tables);
        self.ctes.extend(named.map(|cte| identifier_name(&cte.alias.name)));
        Ok(())
    }

    fn table(&mut self, factor: &TableFactor) -> Result<(), String> {
        self.tables.extend(table_of(factor).map(identifier_name));
        Ok(())
    }

    fn expr(&mut self, expr: &Ast) -> Result<(), String> {
        self.has_calls |= as_call(expr).is_some();
        Ok(())
    }
}

/// The last name of a table.
fn table_of(factor: &TableFactor) -> Option<&Ident> {
    match factor {
        TableFactor::Table { name, args: None, .. } => match name.0.last() {
            Some(ObjectNamePart::Identifier(ident)) => Some(ident),
            _ => None,
        },
        _ => None,
    }
}

/// A query whose measures are being written out, those of its subqueries before its own.
struct Writing {
    /// What the datasets that it reads declare; none for what is no dataset.
    datasets: HashMap<String, Option<Arc<Semantics>>>,
    ctes: BTreeSet<String>,
    written: usize,
    problem: Option<Error>,
}

impl Write for Writing {
    fn expr(&mut self, _: &mut Ast) {}

    fn query_after(&mut self, query: &mut Query) {
        let Query { body, order_by, .. } = query;
        if let SetExpr::Select(select) = body.as_mut() {
            let source = self.source(select);
            self.select(select, source.clone());
            walk::write(order_by, &mut Put { writing: self, source });
            return;
        }
        self.body(body);
    }
}

/// The dataset that a SELECT is from, and what it is called there; or why there is none.
type Source = Result<(Ident, Arc<Semantics>), String>;

impl Writing {
    fn body(&mut self, body: &mut SetExpr) {
        match body {
            SetExpr::Select(select) => {
                let source = self.source(select);
                self.select(select, source);
            }
            SetExpr::SetOperation { left, right, .. } => {
                self.body(left);
                self.body(right);
            }
            _ => {}
        }
    }

    fn select(&mut self, select: &mut Select, source: Source) {
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) = item
                && let Some(alias) = as_call(expr).and_then(|call| named(call).ok())
            {
                let (expr, alias) = (expr.clone(), Ident::with_quote('"', alias.1));
                *item = SelectItem::ExprWithAlias { expr, alias };
            }
        }
        walk::write(select, &mut Put { writing: self, source });
    }

    fn source(&self, select: &Select) -> Source {
        let [from] = select.from.as_slice() else {
            return Err(match select.from.len() {
                0 => "there is no FROM".to_owned(),
                found => format!(
                    "found {found} relations behind FROM, which give rows several times; compute it in a subquery, and join that"
                ),
            });
        };
        if !from.joins.is_empty() {
            return Err(
                "found a JOIN, which may give rows several times; compute it in a subquery, and join that".to_owned(),
            );
        }
        let TableFactor::Table { alias, .. } = &from.relation else {
            return Err("found a query behind FROM; compute it in there".to_owned());
        };
        let Some(ident) = table_of(&from.relation) else {
            return Err(format!("found {} behind FROM", from.relation));
        };
        let name = identifier_name(ident);
        if self.ctes.contains(&name) {
            return Err(format!("{name} is a query of WITH; compute it in there"));
        }
        match self.datasets.get(&name) {
            Some(Some(semantics)) => {
                let called = alias.as_ref().map_or(ident, |alias| &alias.name);
                Ok((called.clone(), Arc::clone(semantics)))
            }
            _ => Err(format!("{name} is no dataset")),
        }
    }
}

/// Writes out what stands in one SELECT.
struct Put<'a> {
    writing: &'a mut Writing,
    source: Source,
}

impl Write for Put<'_> {
    fn expr(&mut self, expr: &mut Ast) {
        if self.writing.problem.is_some() {
            return;
        }
        let Some(call) = as_call(expr) else { return };
        match self.written_out(call) {
            Ok(ast) => *expr = Ast::Nested(Box::new(ast)),
            Err(problem) => self.writing.problem = Some(problem),
        }
    }
}

impl Put<'_> {
    fn written_out(&mut self, call: &Function) -> Result<Ast> {
        let fail = |says: String| bad(format!("SQL: {MEASURE}(): {says}"));
        let (qualifier, name) = named(call).map_err(fail)?;
        let (table, semantics) = self.source.as_ref().map_err(|says| {
            fail(format!("expected SELECT … FROM a dataset that declares {name}: {says}"))
        })?;
        if let Some(qualifier) =
            qualifier.filter(|it| identifier_name(it) != identifier_name(table))
        {
            return Err(fail(format!("{qualifier} is not what {table} is called behind FROM")));
        }
        let measure = semantics.measure(&name).map_err(|error| error.while_doing("SQL"))?;
        let parts_of = |ast: &Ast| {
            let mut counted = Counted(0);
            // Counting has no errors.
            let _ = walk::read(ast, &mut counted);
            counted.0
        };
        // A filter is written behind each aggregate, of which there are not more than parts: so many, at most, before any is.
        let of_filter = call.filter.as_ref().map_or(0, |filter| parts_of(filter));
        self.writing.written += parts_of(&measure.ast).saturating_mul(1 + of_filter);
        if self.writing.written > WRITTEN_MAX {
            let says = format!(
                "SQL: the measures of the query have more than {WRITTEN_MAX} parts; expected fewer of them"
            );
            return Err(Error::user(Code::LimitExceeded, says));
        }
        let mut ast = Ast::clone(&measure.ast);
        walk::write(&mut ast, &mut Qualified(table));
        if let Some(filter) = &call.filter {
            walk::write(&mut ast, &mut Filtered(filter));
        }
        Ok(ast)
    }
}

/// The name that a call has, and what stands before it.
fn named(call: &Function) -> Result<(Option<&Ident>, String), String> {
    let expected =
        || format!("expected the name of a measure, as {MEASURE}(cost_per_call), found {call}");
    let takes_nothing = call.over.is_none()
        && call.null_treatment.is_none()
        && call.within_group.is_empty()
        && matches!(call.parameters, FunctionArguments::None);
    if call.over.is_some() {
        return Err(format!("a measure over a window is not taken, found {call}"));
    }
    let FunctionArguments::List(list) = &call.args else { return Err(expected()) };
    let is_plain = list.duplicate_treatment.is_none() && list.clauses.is_empty();
    let [FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))] = list.args.as_slice() else {
        return Err(expected());
    };
    match argument {
        _ if !takes_nothing || !is_plain => Err(expected()),
        Ast::Identifier(name) => Ok((None, identifier_name(name))),
        Ast::CompoundIdentifier(names) => match names.as_slice() {
            [table, name] => Ok((Some(table), identifier_name(name))),
            _ => Err(expected()),
        },
        _ => Err(expected()),
    }
}

/// Says of columns which table they are of.
struct Qualified<'a>(&'a Ident);

impl Write for Qualified<'_> {
    fn expr(&mut self, expr: &mut Ast) {
        match expr {
            Ast::Identifier(column) => {
                *expr = Ast::CompoundIdentifier(vec![self.0.clone(), column.clone()]);
            }
            Ast::CompoundIdentifier(parts) => parts.insert(0, self.0.clone()),
            _ => {}
        }
    }
}

/// Lets aggregates see the rows alone that a condition takes.
struct Filtered<'a>(&'a Ast);

impl Write for Filtered<'_> {
    fn expr(&mut self, expr: &mut Ast) {
        let Ast::Function(call) = expr else { return };
        let is_aggregate =
            planner().is_ok_and(|state| state.aggregate_functions().contains_key(&call_name(call)));
        if !is_aggregate {
            return;
        }
        let nested = |of: Ast| Box::new(Ast::Nested(Box::new(of)));
        let filter = nested(self.0.clone());
        call.filter = Some(match call.filter.take() {
            None => filter,
            Some(own) => Box::new(Ast::BinaryOp {
                left: nested(*own),
                op: BinaryOperator::And,
                right: filter,
            }),
        });
    }
}

/// How many parts there are.
struct Counted(usize);

impl Read for Counted {
    fn expr(&mut self, _: &Ast) -> Result<(), String> {
        self.0 += 1;
        Ok(())
    }
}
