//! Correlated subqueries: those that cannot be planned are refused with their position.
//!
//! DataFusion's optimizer turns correlated subqueries into joins where it can. The others fail during execution, with a message
//! in Rust's debug format and without a position. So a query with subqueries is optimized once in advance.

use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{Expr as Ast, Spanned as _, TableFactor};
use datafusion::sql::sqlparser::tokenizer::Location;

use super::walk::{self, Read};
use crate::error::{Code, Error, OF_SUBQUERY, Result, SUBQUERY};

/// The positions of a statement's subqueries.
pub(super) struct Subqueries(Vec<Location>);

impl Subqueries {
    pub(super) fn of(statement: &Statement) -> Self {
        let mut found = Self(Vec::new());
        if let Statement::Statement(statement) = statement {
            // This visitor never stops the walk.
            let _ = walk::read(statement.as_ref(), &mut found);
        }
        found
    }

    /// Fails if one of them cannot be planned.
    pub(super) fn require_planned(&self, state: &SessionState, plan: &LogicalPlan) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        // Other errors are reported during execution.
        let Ok(optimized) = state.optimize(plan) else { return Ok(()) };
        let mut is_left = false;
        optimized.apply_with_subqueries(|plan| {
            plan.apply_expressions(|expression| {
                expression.apply(|part| {
                    is_left |= match part {
                        Expr::Exists(_) | Expr::InSubquery(_) | Expr::OuterReferenceColumn(..) => {
                            true
                        }
                        Expr::ScalarSubquery(subquery) => !subquery.outer_ref_columns.is_empty(),
                        _ => false,
                    };
                    Ok(if is_left { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
                })
            })
        })?;
        if !is_left {
            return Ok(());
        }
        Err(Error::user(Code::BadInput, format!("SQL: {}{SUBQUERY}", self.place())))
    }

    /// Adds the position of the subquery to an `error` about it.
    pub(super) fn placed(&self, error: Error) -> Error {
        match error.to_string() {
            says if says.starts_with(OF_SUBQUERY) => {
                Error::user(error.code(), format!("SQL: {}{says}", self.place()))
            }
            _ => error,
        }
    }

    /// The position of the first subquery: `line 1, column 8: `.
    fn place(&self) -> String {
        match self.0.iter().min_by_key(|at| (at.line, at.column)) {
            Some(Location { line: 0, .. }) | None => String::new(),
            Some(Location { line, column }) => format!("line {line}, column {column}: "),
        }
    }
}

impl Read for Subqueries {
    fn table(&mut self, factor: &TableFactor) -> Result<(), String> {
        if let TableFactor::Derived { lateral: true, subquery, .. } = factor {
            self.0.push(subquery.span().start);
        }
        Ok(())
    }

    fn expr(&mut self, expr: &Ast) -> Result<(), String> {
        if let Ast::Subquery(query)
        | Ast::Exists { subquery: query, .. }
        | Ast::InSubquery { subquery: query, .. } = expr
        {
            self.0.push(query.span().start);
        }
        Ok(())
    }
}
