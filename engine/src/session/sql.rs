//! SQL that only reads.

use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::Statement as Sql;

use super::provider::PinnedSchema;
use crate::error::{Code, Error, Result};
use crate::functions;

/// Longest query text, in bytes: parsing is recursive, and a query is written by someone.
const TEXT_MAX_BYTES: usize = 1 << 20;

/// Plans a query.
pub(super) async fn plan(
    context: &SessionContext,
    schema: &PinnedSchema,
    text: &str,
) -> Result<DataFrame> {
    if text.len() > TEXT_MAX_BYTES {
        return Err(Error::user(
            Code::LimitExceeded,
            format!("the query has {} bytes; at most {TEXT_MAX_BYTES} are taken", text.len()),
        ));
    }
    let state = context.state();
    let dialect = state.config().options().sql_parser.dialect;
    let statement = state.sql_to_statement(text, &dialect)?;
    if let Some(refused) = refused(&statement) {
        return Err(Error::user(
            Code::BadInput,
            format!(
                "SQL: {refused} is not taken here; queries only read: SELECT, WITH, EXPLAIN, SHOW TABLES, DESCRIBE"
            ),
        ));
    }
    let plan = state.statement_to_plan(statement).await.map_err(|e| named(schema, e))?;
    SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false)
        .verify_plan(&plan)
        .map_err(|e: DataFusionError| {
            Error::user(Code::BadInput, format!("SQL: queries only read: {}", Error::from(e)))
        })?;
    functions::check(&plan)?;
    Ok(DataFrame::new(state, plan))
}

/// The planner's error; one for a table that is not there with those that are spelt alike.
fn named(schema: &PinnedSchema, error: DataFusionError) -> Error {
    let text = match error.find_root() {
        DataFusionError::Plan(text) => text.as_str(),
        _ => "",
    };
    let name = text
        .strip_prefix("table '")
        .and_then(|rest| rest.strip_suffix("' not found"))
        .and_then(|full| full.strip_prefix(&format!("{}.{}.", super::CATALOG, super::SCHEMA)));
    match name {
        Some(name) => schema.catalog().unknown(name),
        None => error.into(),
    }
}

/// What a statement is called when it is not a query.
fn refused(statement: &Statement) -> Option<String> {
    match statement {
        Statement::Statement(sql) => refused_sql(sql),
        Statement::Explain(explain) => refused(&explain.statement),
        Statement::CreateExternalTable(_) => Some("CREATE EXTERNAL TABLE".to_owned()),
        Statement::CopyTo(_) => Some("COPY".to_owned()),
        Statement::Reset(_) => Some("RESET".to_owned()),
    }
}

fn refused_sql(sql: &Sql) -> Option<String> {
    match sql {
        Sql::Query(_)
        | Sql::ShowTables { .. }
        | Sql::ShowColumns { .. }
        | Sql::ShowVariable { .. }
        | Sql::ShowFunctions { .. }
        | Sql::ExplainTable { .. } => None,
        Sql::Explain { statement, .. } => refused_sql(statement),
        other => {
            let text = other.to_string();
            Some(text.split_whitespace().next().unwrap_or("this statement").to_ascii_uppercase())
        }
    }
}
