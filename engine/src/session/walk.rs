//! Walks through parsed SQL. The parser's visitors are generic over who looks, and each kind of looker is compiled anew for all of SQL's
//! syntax: a fifth of this crate. So there is one that reads and one that writes, and whoever looks does so through them.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Query, TableFactor, Visit, VisitMut, Visitor, VisitorMut,
};

/// Looks at the parts of a query, each before the parts that it has. The first error ends the walk.
pub(super) trait Read {
    fn query(&mut self, _: &Query) -> Result<(), String> {
        Ok(())
    }

    fn table(&mut self, _: &TableFactor) -> Result<(), String> {
        Ok(())
    }

    fn expr(&mut self, _: &Expr) -> Result<(), String> {
        Ok(())
    }
}

/// Shows all parts to `reader`.
pub(super) fn read(part: &impl Visit, reader: &mut dyn Read) -> Result<(), String> {
    match part.visit(&mut Reading(reader)) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(problem) => Err(problem),
    }
}

struct Reading<'a>(&'a mut dyn Read);

impl Visitor for Reading<'_> {
    type Break = String;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<String> {
        flow(self.0.query(query))
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<String> {
        flow(self.0.table(factor))
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<String> {
        flow(self.0.expr(expr))
    }
}

fn flow(result: Result<(), String>) -> ControlFlow<String> {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(problem) => ControlFlow::Break(problem),
    }
}

/// Changes parts of a query.
pub(super) trait Write {
    /// A query, before its parts.
    fn query(&mut self, _: &mut Query) {}

    /// A query, after its parts.
    fn query_after(&mut self, _: &mut Query) {}

    /// An expression, after its parts.
    fn expr(&mut self, expr: &mut Expr);
}

/// Shows all parts to `writer`.
pub(super) fn write(part: &mut impl VisitMut, writer: &mut dyn Write) {
    let _ = part.visit(&mut Writing(writer));
}

struct Writing<'a>(&'a mut dyn Write);

impl VisitorMut for Writing<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.0.query(query);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.0.query_after(query);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        self.0.expr(expr);
        ControlFlow::Continue(())
    }
}
