//! Walks through parsed SQL. The parser's visitors are generic over who looks, and each kind of looker is compiled anew for all of SQL's
//! syntax: a fifth of this crate. So there is one that reads and one that writes, and whoever looks does so through them.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, Ident, ObjectName, Query, TableFactor, Visit, VisitMut, Visitor, VisitorMut,
};

/// The name of an identifier as the planner reads it: in lower case unless it is quoted.
pub(super) fn identifier_name(ident: &Ident) -> String {
    match ident.quote_style {
        None => ident.value.to_lowercase(),
        Some(_) => ident.value.clone(),
    }
}

/// The name of an object as the planner reads it, its parts joined by dots.
pub(super) fn object_name(name: &ObjectName) -> String {
    let parts: Vec<String> =
        name.0.iter().filter_map(|part| part.as_ident().map(identifier_name)).collect();
    parts.join(".")
}

/// The last part of the name of a called function.
pub(super) fn call_name(call: &Function) -> String {
    let last = call.name.0.last().and_then(|part| part.as_ident());
    last.map(identifier_name).unwrap_or_default()
}

/// Looks at the parts of a query, each before the parts that it has. The first error ends the walk.
pub(super) trait Read {
    fn query(&mut self, _: &Query) -> Result<(), String> {
        Ok(())
    }

    /// The end of a query, after its parts.
    fn query_after(&mut self) {}

    fn table(&mut self, _: &TableFactor) -> Result<(), String> {
        Ok(())
    }

    fn expr(&mut self, _: &Expr) -> Result<(), String> {
        Ok(())
    }

    /// An expression, after its parts.
    fn expr_after(&mut self, _: &Expr) {}
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

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<String> {
        self.0.query_after();
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<String> {
        flow(self.0.table(factor))
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<String> {
        flow(self.0.expr(expr))
    }

    fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<String> {
        self.0.expr_after(expr);
        ControlFlow::Continue(())
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
