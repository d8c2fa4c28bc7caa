//! A query that is kept, and runs again and again: what it reads is known from its text alone, values come beside it, and the same rows
//! give the same answer.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result as PlanResult, TableReference};
use datafusion::dataframe::DataFrame;
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use datafusion::sql::parser::Statement;
use datafusion::sql::planner::object_name_to_table_reference;
use datafusion::sql::resolve::resolve_table_references;
use datafusion::sql::sqlparser::ast::{
    Expr as Ast, Function, FunctionArgumentList, FunctionArguments, Ident, ObjectName,
    ObjectNamePart, SelectItem, SetExpr, Statement as Sql, TableFactor, Value,
};
use datasets::{DatasetName, did_you_mean};

use super::arrows::bind_arrows;
use super::breadth::require_narrow;
use super::parsing;
use super::provider::PinnedSchema;
use super::sql::{check_text, plan_with, refused};
use super::walk::{self, Read, Write, call_name};
use super::{CATALOG, SCHEMA};
use crate::error::{Code, Error, Result};

const EXPRESSION: &str = "SQL: expected one expression, such as count(*) AS n";

/// One query, and what it needs.
#[derive(Clone, Debug)]
pub struct SqlQuery {
    statement: Statement,
    datasets: BTreeSet<DatasetName>,
    values: BTreeSet<String>,
}

fn one_query(text: &str) -> Result<Statement> {
    check_text(text)?;
    let mut statements = parsing::statements(text)?;
    let count = statements.len();
    let (Some(statement), 1) = (statements.pop_front(), count) else {
        return Err(bad(format!("SQL: expected one query, found {count}")));
    };
    if !matches!(&statement, Statement::Statement(sql) if matches!(**sql, Sql::Query(_))) {
        let what = refused(&statement).unwrap_or_else(|| {
            let text = statement.to_string();
            text.split_whitespace().next().unwrap_or("this").to_ascii_uppercase()
        });
        return Err(bad(format!("SQL: expected a query (SELECT, WITH), found {what}")));
    }
    Ok(statement)
}

impl SqlQuery {
    /// Reads a query: one SELECT, WITH or VALUES over datasets, in which `$name` stands for a value. BAD_INPUT for anything else, and
    /// for what gives other rows each time, as `now()`.
    pub fn parse(text: &str) -> Result<Self> {
        let mut statement = one_query(text)?;
        require_narrow(&statement)?;
        bind_arrows(&mut statement);
        let mut found = Found::default();
        if let Statement::Statement(sql) = &statement {
            walk::read(sql.as_ref(), &mut found).map_err(bad)?;
        }
        let (tables, _) = resolve_table_references(&statement, true)?;
        // A function that makes rows is no table.
        let tables = tables.iter().filter(|table| found.tables.contains(*table));
        let datasets = tables.map(dataset_of).collect::<Result<_>>()?;
        Ok(Self { statement, datasets, values: found.values })
    }

    /// Fails unless `text` is one query over datasets: what says how it is planned, and what is set, tells of more than rows.
    pub fn require_rows(text: &str) -> Result<()> {
        let statement = one_query(text)?;
        let (tables, _) = resolve_table_references(&statement, true)?;
        match tables.iter().find(|table| table.schema().is_some_and(|schema| schema != SCHEMA)) {
            None => Ok(()),
            Some(table) => Err(bad(format!("SQL: expected datasets, found {table}"))),
        }
    }

    /// Fails unless `text` is one expression, maybe with a name: it stands in a query that others are a part of, too.
    pub fn require_expression(text: &str) -> Result<()> {
        let statement = one_query(&format!("SELECT {text}\n"))?;
        let Statement::Statement(statement) = statement else { return Err(bad(EXPRESSION)) };
        let Sql::Query(query) = *statement else { return Err(bad(EXPRESSION)) };
        // It says again what it is, if it is nothing else.
        let is_alone = match query.body.as_ref() {
            SetExpr::Select(select) => match select.projection.as_slice() {
                [one @ (SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. })] => {
                    query.to_string() == format!("SELECT {one}")
                }
                _ => false,
            },
            _ => false,
        };
        is_alone.then_some(()).ok_or_else(|| bad(format!("{EXPRESSION}, found {text:?}")))
    }

    /// The datasets that it reads.
    pub fn datasets(&self) -> &BTreeSet<DatasetName> {
        &self.datasets
    }

    pub(super) fn statement(&self) -> &Statement {
        &self.statement
    }

    /// The names of the values that it needs.
    pub fn values(&self) -> &BTreeSet<String> {
        &self.values
    }

    /// Plans it with its values: each is a literal of its own type, whatever stands in it.
    pub(super) async fn plan(
        &self,
        context: &SessionContext,
        schema: &PinnedSchema,
        values: &BTreeMap<String, ScalarValue>,
    ) -> Result<DataFrame> {
        let mut state = context.state();
        let mut statement = self.statement.clone();
        for name in &self.values {
            let value = values.get(name).ok_or_else(|| {
                bad(format!("the query has ${name}, for which there is no value"))
            })?;
            let function = Bound::new(name, value.clone());
            state.register_udf(Arc::new(ScalarUDF::new_from_impl(function)))?;
        }
        if let Some(stray) = values.keys().find(|name| !self.values.contains(*name)) {
            return Err(self.stray(stray));
        }
        if let Statement::Statement(sql) = &mut statement {
            walk::write(sql.as_mut(), &mut Binding);
        }
        plan_with(state, schema, statement).await
    }

    /// The error for a value that it has no place for.
    pub fn stray(&self, name: &str) -> Error {
        let near = did_you_mean(name, self.values.iter().map(String::as_str));
        let says = near.unwrap_or_else(|| match self.values.is_empty() {
            true => "it has none".to_owned(),
            false => {
                let names: Vec<String> =
                    self.values.iter().map(|name| format!("${name}")).collect();
                format!("it has {}", names.join(", "))
            }
        });
        bad(format!("the query has no ${name}; {says}"))
    }
}

fn bad(says: impl Into<String>) -> Error {
    Error::user(Code::BadInput, says)
}

/// The dataset that stands behind FROM.
fn dataset_of(table: &TableReference) -> Result<DatasetName> {
    let is_ours = table.catalog().is_none_or(|catalog| catalog == CATALOG)
        && table.schema().is_none_or(|schema| schema == SCHEMA);
    match DatasetName::new(table.table()) {
        Ok(name) if is_ours => Ok(name),
        _ => {
            Err(bad(format!("SQL: expected the name of a dataset, found {:?}", table.to_string())))
        }
    }
}

/// Functions whose answer depends on more than what they are given.
pub(super) static UNSTEADY: LazyLock<HashSet<String>> = LazyLock::new(|| {
    let functions = datafusion::functions::all_default_functions();
    let unsteady = functions.iter().filter(|of| of.signature().volatility != Volatility::Immutable);
    unsteady
        .flat_map(|of| std::iter::once(of.name().to_owned()).chain(of.aliases().iter().cloned()))
        .collect()
});

/// Why a function is not taken.
pub(super) fn gives_another_value(name: &str) -> String {
    format!("{name}() gives another value each time, and the same rows are to give the same answer")
}

/// What is found in a query.
#[derive(Default)]
struct Found {
    tables: HashSet<TableReference>,
    values: BTreeSet<String>,
}

impl Read for Found {
    fn table(&mut self, factor: &TableFactor) -> Result<(), String> {
        if let TableFactor::Table { name, args: None, .. } = factor
            && let Ok(table) = object_name_to_table_reference(name.clone(), true)
        {
            self.tables.insert(table);
        }
        Ok(())
    }

    fn expr(&mut self, expr: &Ast) -> Result<(), String> {
        match expr {
            Ast::Function(call) => {
                let name = call_name(call).to_lowercase();
                if UNSTEADY.contains(&name) {
                    return Err(format!(
                        "SQL: {}; take a time from the rows, as max(at), or give it as a value",
                        gives_another_value(&name)
                    ));
                }
            }
            Ast::Value(value) => {
                if let Value::Placeholder(text) = &value.value {
                    let Some(name) = name_of(text) else {
                        return Err(format!(
                            "SQL: expected `$name` for a value, letters, digits and `_` with a letter first, found {text:?}"
                        ));
                    };
                    self.values.insert(name.to_owned());
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// The name of a value, of what stands for it.
fn name_of(placeholder: &str) -> Option<&str> {
    let name = placeholder.strip_prefix('$')?;
    let letters = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.bytes().all(letters);
    is_name.then_some(name)
}

/// What the function is called that gives a value.
fn function_of(name: &str) -> String {
    format!("${name}")
}

/// Puts calls in the places of values.
struct Binding;

impl Write for Binding {
    fn expr(&mut self, expr: &mut Ast) {
        if let Ast::Value(value) = expr
            && let Value::Placeholder(text) = &value.value
            && let Some(name) = name_of(text)
        {
            let arguments =
                FunctionArgumentList { duplicate_treatment: None, args: vec![], clauses: vec![] };
            *expr = Ast::Function(Function {
                name: ObjectName(vec![ObjectNamePart::Identifier(Ident::with_quote(
                    '"',
                    function_of(name),
                ))]),
                uses_odbc_syntax: false,
                parameters: FunctionArguments::None,
                args: FunctionArguments::List(arguments),
                filter: None,
                null_treatment: None,
                over: None,
                within_group: vec![],
            });
        }
    }
}

/// A value as a function without arguments, which is a literal as soon as there is a plan. (Placeholders of DataFusion have no type
/// until they are bound, so that no function can be looked up for them.)
#[derive(Debug, PartialEq, Eq, Hash)]
struct Bound {
    name: String,
    value: ScalarValue,
    signature: Signature,
}

impl Bound {
    fn new(name: &str, value: ScalarValue) -> Self {
        let signature = Signature::nullary(Volatility::Immutable);
        Self { name: function_of(name), value, signature }
    }
}

impl ScalarUDFImpl for Bound {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> PlanResult<DataType> {
        Ok(self.value.data_type())
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs<'_>) -> PlanResult<FieldRef> {
        let (data_type, nullable) = (self.value.data_type(), self.value.is_null());
        Ok(Arc::new(Field::new(&self.name, data_type, nullable)))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> PlanResult<ColumnarValue> {
        Ok(ColumnarValue::Scalar(self.value.clone()))
    }

    fn simplify(&self, _: Vec<Expr>, _: &SimplifyContext) -> PlanResult<ExprSimplifyResult> {
        Ok(ExprSimplifyResult::Simplified(Expr::Literal(self.value.clone(), None)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(text: &str) -> Vec<String> {
        SqlQuery::parse(text).unwrap().datasets.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_a_query_reads_is_known_from_its_text() {
        assert_eq!(read("SELECT a FROM t"), ["t"]);
        assert_eq!(read("SELECT 1"), [""; 0]);
        assert_eq!(
            read("SELECT * FROM colonnade.datasets.t JOIN u USING (a), range(1, 2)"),
            ["t", "u"]
        );
        assert_eq!(
            read("WITH c AS (SELECT * FROM t) SELECT * FROM c WHERE a IN (SELECT a FROM U)"),
            ["t", "u"]
        );
        assert_eq!(
            read("WITH t AS (SELECT * FROM t) SELECT * FROM t UNION ALL SELECT * FROM v"),
            ["t", "v"]
        );
        assert_eq!(
            read("SELECT (SELECT max(a) FROM t) AS m FROM (SELECT * FROM u) AS x;"),
            ["t", "u"]
        );
    }

    #[test]
    fn only_one_query_over_datasets_that_gives_the_same_each_time_is_taken() {
        for (text, says) in [
            ("", "expected one query, found 0"),
            ("SELECT 1; SELECT 2", "expected one query, found 2"),
            ("DROP TABLE t", "found DROP"),
            ("INSERT INTO t SELECT 1", "found INSERT"),
            ("COPY t TO 'x.csv'", "found COPY"),
            ("EXPLAIN SELECT 1", "found EXPLAIN"),
            ("SHOW TABLES", "found SHOW"),
            ("CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'", "found CREATE"),
            ("SELECT a FROM", "SQL: "),
            ("SELECT * FROM 'calls.parquet'", "expected the name of a dataset, found"),
            ("SELECT * FROM information_schema.tables", "expected the name of a dataset"),
            ("SELECT random() AS a", "random() gives another value each time"),
            ("SELECT `random`() AS a", "random() gives another value each time"),
            ("SELECT * FROM t WHERE at > now() - INTERVAL '1 day'", "now() gives another value"),
            ("SELECT CURRENT_TIMESTAMP AS a", "current_timestamp() gives another value"),
            ("SELECT a FROM t ORDER BY uuid()", "uuid() gives another value"),
            ("SELECT current_date AS a", "current_date() gives another value"),
            ("SELECT ? AS a", "expected `$name` for a value"),
            ("SELECT $1 AS a", "found \"$1\""),
        ] {
            let error = SqlQuery::parse(text).unwrap_err();
            assert_eq!(error.code(), Code::BadInput, "{text}: {error}");
            assert!(error.to_string().contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn values_are_named_in_the_query() {
        let query = SqlQuery::parse("SELECT $a + 1 AS x FROM t WHERE b = $since LIMIT $a").unwrap();
        assert_eq!(query.values.iter().collect::<Vec<_>>(), ["a", "since"]);
        let error = query.stray("sinc").to_string();
        assert_eq!(error, "the query has no $sinc; did you mean since?");
    }
}
