//! `->` and `->>` as Postgres has them: they hold their operands closer than any other operator. The parser lets them bind weaker
//! than `=` and `||`, so that `a ->> 'k' = 'v'` would look for the member `'k' = 'v'`; what it made is put right here.
//!
//! They become calls of `json_get` and `json_as_text`, a chain of them one call with a path: to plan a chain of operators takes
//! twice as long for each that it has.

use datafusion::sql::parser::{CopyToSource, Statement};
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, ObjectName, Query, SelectItem, SetExpr, UnaryOperator, Value,
    VisitMut,
};

use super::instants::bind_zone;
use super::walk::{self, Write};

/// What is called for `->`, and for `->>`.
const GET: &str = "json_get";
const GET_TEXT: &str = "json_as_text";

/// Puts all arrows of a statement right.
pub(super) fn bind_arrows(statement: &mut Statement) {
    match statement {
        Statement::Statement(statement) => bind_arrows_in(statement.as_mut()),
        Statement::CopyTo(copy) => {
            if let CopyToSource::Query(query) = &mut copy.source {
                bind_arrows_in(query.as_mut());
            }
        }
        Statement::Explain(explain) => bind_arrows(&mut explain.statement),
        _ => {}
    }
}

/// Puts all arrows of a part of a statement right.
pub(super) fn bind_arrows_in(part: &mut impl VisitMut) {
    walk::write(part, &mut Arrows);
}

struct Arrows;

impl Write for Arrows {
    fn query(&mut self, query: &mut Query) {
        name_columns(&mut query.body);
    }

    fn expr(&mut self, expr: &mut Expr) {
        bind_zone(expr);
        if !matches!(expr, Expr::BinaryOp { op, .. } if is_arrow(op)) {
            return;
        }
        if let Expr::BinaryOp { left, op, right } = taken(expr) {
            *expr = bound(*left, op, *right);
        }
    }
}

/// Calls columns that an arrow makes as they are written.
fn name_columns(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => {
            for item in &mut select.projection {
                if let SelectItem::UnnamedExpr(expr @ Expr::BinaryOp { .. }) = item
                    && matches!(&expr, Expr::BinaryOp { op, .. } if is_arrow(op))
                {
                    let alias = Ident::with_quote('"', expr.to_string());
                    *item = SelectItem::ExprWithAlias { expr: taken(expr), alias };
                }
            }
        }
        SetExpr::SetOperation { left, right, .. } => {
            name_columns(left);
            name_columns(right);
        }
        _ => {}
    }
}

/// What an arrow is called as.
fn called(mut left: Expr, op: &BinaryOperator, right: Expr) -> Expr {
    let name = if *op == BinaryOperator::LongArrow { GET_TEXT } else { GET };
    let key = FunctionArg::Unnamed(FunctionArgExpr::Expr(right));
    // What leads to a part that is looked into leads there at once, where it is said beforehand.
    if let Some((of_left, arguments)) = as_call(&mut left)
        && is_said(&key)
        && arguments.args.iter().skip(1).all(is_said)
    {
        arguments.args.push(key);
        *of_left = ObjectName::from(vec![Ident::new(name)]);
        return left;
    }
    let args = vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(left)), key];
    let list = FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() };
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(list),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// The name and the arguments of a call of `json_get`.
fn as_call(expr: &mut Expr) -> Option<(&mut ObjectName, &mut FunctionArgumentList)> {
    match expr {
        Expr::Function(Function { name, args: FunctionArguments::List(arguments), .. }) => {
            (name.to_string() == GET).then_some((name, arguments))
        }
        _ => None,
    }
}

/// Whether an argument is a value, and no question of its own.
fn is_said(argument: &FunctionArg) -> bool {
    matches!(argument, FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(_))))
}

fn is_arrow(op: &BinaryOperator) -> bool {
    matches!(op, BinaryOperator::Arrow | BinaryOperator::LongArrow)
}

fn taken(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, Expr::Value(Value::Null.into()))
}

/// The arrow between the last operand of `left` and the first of `right`, and around it what they are operands of.
fn bound(mut left: Expr, op: BinaryOperator, mut right: Expr) -> Expr {
    let (of_left, of_right) = (looseness(&left), looseness(&right));
    // What binds weakest is outermost; of two alike the one behind.
    if of_right.is_some_and(|right| of_left.is_none_or(|left| left >= right))
        && let Some(first) = first_operand(&mut right)
    {
        let operand = taken(first);
        *first = bound(left, op, operand);
        return right;
    }
    if of_left.is_some()
        && let Some(last) = last_operand(&mut left)
    {
        let operand = taken(last);
        *last = bound(operand, op, right);
        return left;
    }
    called(left, &op, right)
}

/// How strongly the outermost operator of an expression binds, by the parser's own table; none for what stands in brackets or is an
/// operand. Arrows within it are calls by then.
fn looseness(expr: &Expr) -> Option<u8> {
    Some(match expr {
        Expr::BinaryOp { op, .. } => match op {
            BinaryOperator::Or => 5,
            BinaryOperator::And => 10,
            BinaryOperator::Multiply
            | BinaryOperator::Divide
            | BinaryOperator::Modulo
            | BinaryOperator::DuckIntegerDivide
            | BinaryOperator::StringConcat => 40,
            BinaryOperator::Plus | BinaryOperator::Minus => 30,
            BinaryOperator::Eq
            | BinaryOperator::NotEq
            | BinaryOperator::Lt
            | BinaryOperator::LtEq
            | BinaryOperator::Gt
            | BinaryOperator::GtEq
            | BinaryOperator::Spaceship => 20,
            _ => 22,
        },
        Expr::InList { .. }
        | Expr::InSubquery { .. }
        | Expr::InUnnest { .. }
        | Expr::Between { .. }
        | Expr::AnyOp { .. }
        | Expr::AllOp { .. } => 20,
        Expr::Like { .. } | Expr::ILike { .. } | Expr::SimilarTo { .. } | Expr::RLike { .. } => 19,
        Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::IsTrue(_)
        | Expr::IsNotTrue(_)
        | Expr::IsFalse(_)
        | Expr::IsNotFalse(_)
        | Expr::IsUnknown(_)
        | Expr::IsNotUnknown(_)
        | Expr::IsDistinctFrom(..)
        | Expr::IsNotDistinctFrom(..) => 17,
        Expr::UnaryOp { op: UnaryOperator::Minus | UnaryOperator::Plus, .. } => 45,
        _ => return None,
    })
}

/// What an expression begins with.
fn first_operand(expr: &mut Expr) -> Option<&mut Expr> {
    match expr {
        Expr::BinaryOp { left: first, .. }
        | Expr::AnyOp { left: first, .. }
        | Expr::AllOp { left: first, .. }
        | Expr::InList { expr: first, .. }
        | Expr::InSubquery { expr: first, .. }
        | Expr::InUnnest { expr: first, .. }
        | Expr::Between { expr: first, .. }
        | Expr::Like { expr: first, .. }
        | Expr::ILike { expr: first, .. }
        | Expr::SimilarTo { expr: first, .. }
        | Expr::RLike { expr: first, .. }
        | Expr::IsNull(first)
        | Expr::IsNotNull(first)
        | Expr::IsTrue(first)
        | Expr::IsNotTrue(first)
        | Expr::IsFalse(first)
        | Expr::IsNotFalse(first)
        | Expr::IsUnknown(first)
        | Expr::IsNotUnknown(first)
        | Expr::IsDistinctFrom(first, _)
        | Expr::IsNotDistinctFrom(first, _) => Some(first.as_mut()),
        _ => None,
    }
}

/// What it ends with.
fn last_operand(expr: &mut Expr) -> Option<&mut Expr> {
    match expr {
        Expr::BinaryOp { right: last, .. }
        | Expr::Between { high: last, .. }
        | Expr::Like { pattern: last, escape_char: None, .. }
        | Expr::ILike { pattern: last, escape_char: None, .. }
        | Expr::SimilarTo { pattern: last, escape_char: None, .. }
        | Expr::RLike { pattern: last, .. }
        | Expr::IsDistinctFrom(_, last)
        | Expr::IsNotDistinctFrom(_, last)
        | Expr::UnaryOp { op: UnaryOperator::Minus | UnaryOperator::Plus, expr: last } => {
            Some(last.as_mut())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::ops::ControlFlow;

    use datafusion::sql::sqlparser::ast::visit_expressions_mut;
    use datafusion::sql::sqlparser::dialect::{GenericDialect, PostgreSqlDialect};
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    /// With brackets around every operation.
    fn shown(expr: &Expr) -> String {
        match expr {
            Expr::BinaryOp { left, op, right } => {
                format!("({} {op} {})", shown(left), shown(right))
            }
            Expr::Nested(expr) => shown(expr),
            Expr::IsNull(expr) => format!("({} IS NULL)", shown(expr)),
            Expr::Like { expr, pattern, .. } => {
                format!("({} LIKE {})", shown(expr), shown(pattern))
            }
            Expr::InList { expr, list, .. } => format!("({} IN {list:?})", shown(expr)),
            Expr::Between { expr, low, high, .. } => {
                format!("({} BETWEEN {} AND {})", shown(expr), shown(low), shown(high))
            }
            Expr::UnaryOp { op, expr } => format!("({op} {})", shown(expr)),
            other => other.to_string(),
        }
    }

    /// As [`shown`], with arrows.
    fn of_postgres(expr: &Expr) -> String {
        let mut expr = expr.clone();
        let _ = visit_expressions_mut(&mut expr, |part| {
            if matches!(part, Expr::BinaryOp { op, .. } if is_arrow(op))
                && let Expr::BinaryOp { left, op, right } = taken(part)
            {
                *part = called(*left, &op, *right);
            }
            ControlFlow::<()>::Continue(())
        });
        shown(&expr)
    }

    fn read(text: &str) -> String {
        let mut expr = Parser::new(&GenericDialect {}).try_with_sql(text).unwrap().parse_expr();
        bind_arrows_in(expr.as_mut().unwrap());
        shown(&expr.unwrap())
    }

    #[test]
    fn arrows_hold_closer_than_what_stands_around_them() {
        for (text, expected) in [
            ("a ->> 'k' = 'v'", "(json_as_text(a, 'k') = 'v')"),
            ("'v' = a ->> 'k'", "('v' = json_as_text(a, 'k'))"),
            ("a -> 'x' ->> 'y' || 'z'", "(json_as_text(a, 'x', 'y') || 'z')"),
            ("'z' || a ->> 'k' || 'y'", "(('z' || json_as_text(a, 'k')) || 'y')"),
            ("1 + a -> 'k' * 2", "(1 + (json_get(a, 'k') * 2))"),
            ("1 * a -> 'k' + 2 = 3", "(((1 * json_get(a, 'k')) + 2) = 3)"),
            ("a ->> 'k' IS NULL", "(json_as_text(a, 'k') IS NULL)"),
            ("a ->> 'k' LIKE 'v%' AND b", "((json_as_text(a, 'k') LIKE 'v%') AND b)"),
            ("b LIKE 'v' || a ->> 'k'", "(b LIKE ('v' || json_as_text(a, 'k')))"),
            (
                "a ->> 'k' BETWEEN 'a' AND b ->> 'l'",
                "(json_as_text(a, 'k') BETWEEN 'a' AND json_as_text(b, 'l'))",
            ),
            ("NOT a ->> 'k' = 'v' OR b", "((NOT (json_as_text(a, 'k') = 'v')) OR b)"),
            ("a -> 'k' = b -> 'k'", "(json_get(a, 'k') = json_get(b, 'k'))"),
            ("- a -> 'k'", "(- json_get(a, 'k'))"),
            ("a -> 0 -> 'k' -> 1", "json_get(a, 0, 'k', 1)"),
            ("a -> b -> 'k' -> 0", "json_get(json_get(a, b), 'k', 0)"),
            // What is a text is read anew.
            ("a ->> 'k' -> 'l'", "json_get(json_as_text(a, 'k'), 'l')"),
            ("(a = b) -> 'k'", "json_get((a = b), 'k')"),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
        let list = read("a ->> 'k' IN ('v', 'w')");
        assert!(list.starts_with("(json_as_text(a, 'k') IN ["), "{list}");
    }

    #[test]
    fn where_nothing_is_added_to_it_postgres_reads_the_same() {
        for text in [
            "a ->> 'k' = 'v' AND b -> 'l' ->> 'm' <> 'n' OR NOT c ->> 'o' LIKE 'p'",
            "'x' = a ->> 'k' AND a ->> 'l' IS NULL",
            "a -> 'k' ->> 'l' > b ->> 'm'",
        ] {
            let mut dialect = Parser::new(&PostgreSqlDialect {}).try_with_sql(text).unwrap();
            assert_eq!(read(text), of_postgres(&dialect.parse_expr().unwrap()), "{text}");
        }
    }
}
