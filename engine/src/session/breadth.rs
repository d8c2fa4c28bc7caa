//! Limits the breadth of a query: its columns, relations and grouping sets. Planning time grows with their square, and nothing
//! else bounds it. A common table expression counts each time it is named: a few lines that name each other twice expand to
//! billions of relations.

use std::collections::HashMap;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Cte, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Query, Select,
    SetExpr, TableFactor,
};

use super::walk::{Read, call_name, identifier_name, object_name, read};
use crate::error::{Code, Error, Result};
use crate::functions::CASTS;

/// Relations of one query, where some are not written out.
const RELATIONS_MAX: u64 = 500;

/// Most relations in one FROM. Planning a join visits all joins below it.
const JOINED_MAX: usize = 100;

/// Most columns that one SELECT lists.
const COLUMNS_MAX: usize = 2_000;

/// Most columns that one GROUP BY names, counted for each grouping set.
const GROUPED_MAX: usize = 2_000;

/// Grouping sets of all GROUP BY of a query, times each other: each is a plan, and groups of its own.
const GROUPING_SETS_MAX: u64 = 1_024;

/// Most rows of one VALUES.
const VALUES_MAX: usize = 50_000;

/// Most arguments of one call.
const ARGUMENTS_MAX: usize = 2_000;

/// Most types within each other that a text names.
const TYPES_MAX: usize = 32;

/// Fails where there are too many.
pub(super) fn require_narrow(statement: &Statement) -> Result<()> {
    let sql = match statement {
        Statement::Statement(sql) => sql,
        Statement::Explain(explain) => return require_narrow(&explain.statement),
        _ => return Ok(()),
    };
    let mut named = Named::default();
    read(sql.as_ref(), &mut named).map_err(|says| Error::user(Code::BadInput, says))?;
    let mut relations = Relations { named: &named.expressions, counted: HashMap::new(), sum: 0 };
    // Counting has no errors.
    let _ = read(sql.as_ref(), &mut relations);
    let mut selects = Selects(None);
    let _ = read(sql.as_ref(), &mut selects);
    if let Some((most, found, what)) = selects.0 {
        let says = format!("SQL: expected at most {most} {what}, found {found}");
        return Err(Error::user(Code::LimitExceeded, says));
    }
    let mut sets = GroupingSets(1);
    let _ = read(sql.as_ref(), &mut sets);
    if sets.0 > GROUPING_SETS_MAX {
        let found = match sets.0 {
            u64::MAX => "more than can be counted".to_owned(),
            found => found.to_string(),
        };
        return Err(Error::user(
            Code::LimitExceeded,
            format!(
                "SQL: expected at most {GROUPING_SETS_MAX} grouping sets, found {found}: CUBE has two for each column, times each other"
            ),
        ));
    }
    match relations.sum {
        // As many as are written out have a bound by the length of a query.
        sum if sum > RELATIONS_MAX && sum > named.written => Err(Error::user(
            Code::LimitExceeded,
            format!(
                "SQL: expected at most {RELATIONS_MAX} relations, found {sum}{}: each name of a WITH counts for all that it reads, wherever it stands",
                if sum == u64::MAX { " or more" } else { "" }
            ),
        )),
        _ => Ok(()),
    }
}

/// The first exceeded limit of a SELECT: the limit, the number found, and what is counted.
struct Selects(Option<(usize, usize, &'static str)>);

impl Read for Selects {
    fn query(&mut self, query: &Query) -> Result<(), String> {
        let mut bodies = vec![query.body.as_ref()];
        while let Some(body) = bodies.pop() {
            match body {
                SetExpr::Select(select) => self.select(select),
                SetExpr::SetOperation { left, right, .. } => bodies.extend([&**left, &**right]),
                SetExpr::Values(values) => {
                    self.require(VALUES_MAX, values.rows.len(), "rows of one VALUES");
                }
                // The walk visits a parenthesized query separately.
                _ => {}
            }
        }
        Ok(())
    }

    fn expr(&mut self, expr: &Expr) -> Result<(), String> {
        let Expr::Function(call) = expr else { return Ok(()) };
        let FunctionArguments::List(list) = &call.args else { return Ok(()) };
        self.require(ARGUMENTS_MAX, list.args.len(), "arguments of one call");
        if CASTS.contains(&call_name(call).as_str()) {
            for argument in &list.args {
                self.require(TYPES_MAX, levels(argument), "types within each other");
            }
        }
        Ok(())
    }
}

/// Levels of brackets in an argument that is a constant text.
fn levels(argument: &FunctionArg) -> usize {
    let (FunctionArg::Unnamed(argument)
    | FunctionArg::Named { arg: argument, .. }
    | FunctionArg::ExprNamed { arg: argument, .. }) = argument;
    let FunctionArgExpr::Expr(argument) = argument else { return 0 };
    let mut argument = argument;
    while let Expr::Nested(inner) = argument {
        argument = inner;
    }
    let Expr::Value(value) = argument else { return 0 };
    let (mut open, mut most) = (0_usize, 0);
    for letter in value.to_string().chars() {
        match letter {
            '(' | '<' => open += 1,
            ')' | '>' => open = open.saturating_sub(1),
            _ => {}
        }
        most = most.max(open);
    }
    most
}

impl Selects {
    fn require(&mut self, most: usize, found: usize, what: &'static str) {
        if found > most {
            self.0.get_or_insert((most, found, what));
        }
    }

    fn select(&mut self, select: &Select) {
        let joined: usize = select.from.iter().map(|table| 1 + table.joins.len()).sum();
        let grouped = match &select.group_by {
            GroupByExpr::Expressions(columns, _) => columns.iter().map(grouped).sum(),
            GroupByExpr::All(_) => 0,
        };
        for (most, found, what) in [
            (COLUMNS_MAX, select.projection.len(), "columns of one SELECT"),
            (JOINED_MAX, joined, "tables in one FROM"),
            (GROUPED_MAX, grouped, "columns of one GROUP BY, counted for each grouping set"),
        ] {
            self.require(most, found, what);
        }
    }
}

/// Number of columns that a part of GROUP BY names.
fn grouped(part: &Expr) -> usize {
    match part {
        // The first column, the first two columns, and so on.
        Expr::Rollup(columns) => columns.len() * (columns.len() + 1) / 2,
        Expr::Cube(columns) | Expr::GroupingSets(columns) => {
            columns.iter().map(Vec::len).fold(0, usize::saturating_add)
        }
        _ => 1,
    }
}

/// How many grouping sets there are.
struct GroupingSets(u64);

impl Read for GroupingSets {
    fn expr(&mut self, expr: &Expr) -> Result<(), String> {
        self.0 = self.0.saturating_mul(grouping_sets(expr));
        Ok(())
    }
}

/// Grouping sets of one key of a GROUP BY.
pub(super) fn grouping_sets(key: &Expr) -> u64 {
    let sets = match key {
        Expr::Cube(columns) => {
            let columns = u32::try_from(columns.len()).unwrap_or(u32::MAX);
            2_u64.checked_pow(columns).unwrap_or(u64::MAX)
        }
        Expr::Rollup(columns) => columns.len() as u64 + 1,
        Expr::GroupingSets(sets) => sets.len() as u64,
        _ => 1,
    };
    sets.max(1)
}

/// Common table expressions by name.
#[derive(Default)]
struct Named {
    expressions: HashMap<String, Vec<Cte>>,
    /// Relations as they are written.
    written: u64,
}

impl Read for Named {
    fn query(&mut self, query: &Query) -> Result<(), String> {
        if !query.pipe_operators.is_empty() {
            return Err("SQL: |> is not supported; write a subquery in FROM instead".to_owned());
        }
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            let name = identifier_name(&cte.alias.name);
            self.expressions.entry(name).or_default().push(cte.clone());
        }
        Ok(())
    }

    // The planner passes over it in silence.
    fn table(&mut self, factor: &TableFactor) -> Result<(), String> {
        if let TableFactor::Table { sample, .. } = factor {
            if sample.is_some() {
                return Err(
                    "SQL: TABLESAMPLE is not known here; expected, for about one row in twenty, WHERE random() < 0.05"
                        .to_owned(),
                );
            }
            self.written += 1;
        }
        Ok(())
    }
}

/// Counts what is named.
struct Relations<'a> {
    named: &'a HashMap<String, Vec<Cte>>,
    /// None while it is being counted: it names itself.
    counted: HashMap<String, Option<u64>>,
    sum: u64,
}

impl Relations<'_> {
    /// What a name stands for: one relation, or all of its expression, of several the widest.
    fn count(&mut self, name: &str) -> u64 {
        let named = self.named;
        let Some(expressions) = named.get(name) else { return 1 };
        if let Some(counted) = self.counted.get(name) {
            return counted.unwrap_or(1);
        }
        self.counted.insert(name.to_owned(), None);
        let before = self.sum;
        let mut widest = 1;
        for cte in expressions {
            self.sum = 0;
            let _ = read(&cte.query, self);
            widest = widest.max(self.sum);
        }
        self.sum = before;
        self.counted.insert(name.to_owned(), Some(widest));
        widest
    }
}

impl Read for Relations<'_> {
    fn table(&mut self, factor: &TableFactor) -> Result<(), String> {
        if let TableFactor::Table { name, .. } = factor {
            let count = self.count(&object_name(name));
            self.sum = self.sum.saturating_add(count);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use datafusion::sql::parser::DFParserBuilder;

    use super::*;

    fn checked(text: &str) -> Result<()> {
        let mut statements =
            DFParserBuilder::new(text).build().unwrap().parse_statements().unwrap();
        require_narrow(&statements.pop_front().unwrap())
    }

    fn doubled(times: usize) -> String {
        let more: String = (1..=times)
            .map(|i| {
                format!(", a{i} AS (SELECT x.id FROM a{0} x JOIN a{0} y ON x.id = y.id)", i - 1)
            })
            .collect();
        format!("WITH a0 AS (SELECT id FROM events){more} SELECT count(*) FROM a{times}")
    }

    #[test]
    fn expressions_that_double_each_other_are_counted_as_what_becomes_of_them() {
        checked("SELECT * FROM a JOIN b USING (id) WHERE id IN (SELECT id FROM c)").unwrap();
        checked(&doubled(6)).unwrap();
        checked(&format!("SELECT 1 FROM a{}", " UNION ALL SELECT 1 FROM a".repeat(900))).unwrap();
        for quote in ["", "\"", "`"] {
            for times in [10, 30, 500] {
                let names = (0..=times).rev();
                let quoted = names.fold(doubled(times) + " ", |text, i| {
                    text.replace(&format!("FROM a{i} "), &format!("FROM {quote}a{i}{quote} "))
                        .replace(&format!("JOIN a{i} "), &format!("JOIN {quote}a{i}{quote} "))
                });
                let error = checked(&quoted).unwrap_err();
                assert_eq!(error.code(), Code::LimitExceeded);
                assert!(error.to_string().contains("at most 500 relations"), "{error}");
            }
        }
        let columns = |count: usize| vec!["1"; count].join(", ");
        checked(&format!("SELECT {} FROM a", columns(2_000))).unwrap();
        checked(&format!("SELECT 1 FROM a{}", ", a".repeat(99))).unwrap();
        for (text, says) in [
            (
                format!("SELECT {} FROM a", columns(2_001)),
                "at most 2000 columns of one SELECT, found 2001",
            ),
            (format!("SELECT 1 UNION (SELECT {})", columns(2_001)), "columns of one SELECT"),
            (format!("WITH w AS (SELECT {}) SELECT 1", columns(2_001)), "columns of one SELECT"),
            (
                format!("SELECT 1 FROM a{}", ", a".repeat(100)),
                "at most 100 tables in one FROM, found 101",
            ),
            (format!("SELECT 1 FROM a{}", " CROSS JOIN a".repeat(100)), "tables in one FROM"),
            (
                format!("SELECT 1 GROUP BY ROLLUP ({0}), ROLLUP ({0})", columns(60)),
                "columns of one GROUP BY",
            ),
            (format!("SELECT 1 GROUP BY {}", columns(2_001)), "columns of one GROUP BY"),
            (format!("SELECT concat({})", columns(2_001)), "at most 2000 arguments of one call"),
            (
                format!("SELECT * FROM (VALUES (1){}) v", ", (1)".repeat(50_000)),
                "at most 50000 rows of one VALUES, found 50001",
            ),
            (
                format!(
                    "SELECT ARROW_CAST(NULL, ('{}Int64{}'))",
                    "List(".repeat(40_000),
                    ")".repeat(40_000)
                ),
                "at most 32 types within each other, found 40000",
            ),
        ] {
            let error = checked(&text).unwrap_err();
            assert_eq!(error.code(), Code::LimitExceeded);
            assert!(error.to_string().contains(says), "{error}");
        }
        let piped = checked("SELECT * FROM events |> WHERE a > 1").unwrap_err();
        assert!(piped.to_string().contains("|> is not supported"), "{piped}");
        let explained = checked(&format!("EXPLAIN {}", doubled(30))).unwrap_err();
        assert_eq!(explained.code(), Code::LimitExceeded);
        let sampled = checked("SELECT * FROM events TABLESAMPLE (5)").unwrap_err();
        assert!(sampled.to_string().contains("TABLESAMPLE"), "{sampled}");
        // One that names itself has an end by its own.
        checked(
            "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n) SELECT * FROM n",
        )
        .unwrap();
    }
}
