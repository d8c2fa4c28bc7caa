//! SQL that only reads.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::common::{Column as PlanColumn, TableReference};
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::session_state::SessionState;
use datafusion::functions::expr_fn::nullif;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, cast, lit};
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::{CopyToSource, CopyToStatement, Statement};
use datafusion::sql::sqlparser::ast::Statement as Sql;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};
use datafusion_functions_json::JSON_UNION_DATA_TYPE;
use datafusion_functions_json::udfs::{json_get_json_udf, json_get_udf, json_union_to_text_udf};

use super::arrows::bind_arrows;
use super::batches::{for_columns_of, for_rows_of};
use super::breadth::require_narrow;
use super::constants::for_constants_of;
use super::instants::{instants_meet, numbers_are_seconds};
use super::interrupt::with_interrupted_planner;
use super::parsing;
use super::planning_cost::require_plannable;
use super::provider::PinnedSchema;
use super::semantics;
use super::subqueries::Subqueries;
use crate::error::{ASOF, Code, Error, Result, plain, scrub};
use crate::functions;

/// Longest query text, in bytes: parsing is recursive, and a query is written by someone.
const TEXT_MAX_BYTES: usize = 1 << 20;
/// Most SELECTs in a query, including those of common table expressions. Planning time grows with
/// their square.
const SELECTS_MAX: usize = 500;
/// Most operators and joins that follow each other without a comma.
const CHAIN_MAX: usize = 2_000;
/// Most of them that compute a value. Each becomes a name that contains all names before it.
const COMPUTING_MAX: usize = 300;
/// Words that make a plan deeper.
const CHAINING: &[Keyword] = &[
    Keyword::AND,
    Keyword::OR,
    Keyword::NOT,
    Keyword::IS,
    Keyword::IN,
    Keyword::LIKE,
    Keyword::ILIKE,
    Keyword::BETWEEN,
    Keyword::COLLATE,
    Keyword::JOIN,
    Keyword::UNION,
    Keyword::EXPLAIN,
    Keyword::ANALYZE,
    Keyword::VERBOSE,
    Keyword::EXCEPT,
    Keyword::INTERSECT,
];

/// A statement that was planned.
#[derive(Debug)]
pub enum Planned {
    /// A query.
    Query(DataFrame),
    /// A query whose rows go to a file.
    Copy {
        /// The rows.
        rows: DataFrame,
        /// The file.
        to: String,
        /// Its format, where that was said.
        format: Option<String>,
    },
}

/// Plans a query.
pub(super) async fn plan(
    context: &SessionContext,
    schema: &PinnedSchema,
    text: &str,
) -> Result<DataFrame> {
    check_text(text)?;
    let statement = parsed(schema, text)?;
    plan_statement(context, schema, statement).await
}

/// Parts of JSON documents are of a type of their own, which no file and no client knows: what comes out of a query is their text.
fn with_documents(frame: DataFrame) -> Result<DataFrame> {
    let is_part = |field: &Field| *field.data_type() == *JSON_UNION_DATA_TYPE;
    let has_parts = |frame: &DataFrame| frame.schema().fields().iter().any(|field| is_part(field));
    if !has_parts(&frame) {
        return Ok(frame);
    }
    let (state, plan) = frame.into_parts();
    let frame = DataFrame::new(state, with_digits(plan)?);
    if !has_parts(&frame) {
        return Ok(frame);
    }
    let columns = frame.schema().iter().map(|(table, field)| {
        let column = Expr::Column(PlanColumn::new(table.cloned(), field.name()));
        match is_part(field) {
            true => {
                let text = json_union_to_text_udf().call(vec![column]);
                cast(text, DataType::Utf8).alias(field.name())
            }
            false => column,
        }
    });
    let columns: Vec<Expr> = columns.collect();
    Ok(frame.select(columns)?)
}

/// Takes parts of documents that a query shows as they stand there: as values their numbers would be rounded to floats.
fn with_digits(plan: LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
    let of_children = |plan: LogicalPlan| {
        let children = plan.map_children(|child| Ok(Transformed::yes(with_digits(child)?)))?;
        children.data.recompute_schema()
    };
    let shown = match plan {
        // Rows that are sorted by what is not shown.
        LogicalPlan::Projection(shown) if shown.expr.iter().all(is_column) => {
            return of_children(LogicalPlan::Projection(shown));
        }
        LogicalPlan::Projection(shown) => shown,
        LogicalPlan::Limit(_) | LogicalPlan::Sort(_) => return of_children(plan),
        other => return Ok(other),
    };
    let columns: Vec<_> =
        shown.schema.iter().map(|(table, field)| (table.cloned(), field)).collect();
    let expressions = shown.expr.iter().zip(columns).map(|(expression, (table, field))| {
        match expression.clone().unalias_nested().data {
            Expr::ScalarFunction(part) if part.func.name() == json_get_udf().name() => {
                // As elsewhere, `null` is none.
                let text = nullif(json_get_json_udf().call(part.args), lit("null"));
                text.alias_qualified(table, field.name())
            }
            _ => expression.clone(),
        }
    });
    Ok(LogicalPlan::Projection(Projection::try_new(expressions.collect(), shown.input)?))
}

fn is_column(expression: &Expr) -> bool {
    match expression {
        Expr::Alias(alias) => is_column(&alias.expr),
        expression => matches!(expression, Expr::Column(_)),
    }
}

/// Plans a query, or one whose rows go to a file.
pub(super) async fn plan_with_files(
    context: &SessionContext,
    schema: &PinnedSchema,
    text: &str,
) -> Result<Planned> {
    check_text(text)?;
    let statement = parsed(schema, text)?;
    let Statement::CopyTo(copy) = statement else {
        return plan_statement(context, schema, statement).await.map(Planned::Query);
    };
    let CopyToStatement { source, target, partitioned_by, stored_as, options } = copy;
    if !partitioned_by.is_empty() || !options.is_empty() {
        let says = "SQL: COPY: expected TO 'FILE' and nothing behind it but STORED AS a format";
        return Err(Error::user(Code::BadInput, says));
    }
    let rows = match source {
        CopyToSource::Query(query) => Statement::Statement(Box::new(Sql::Query(query))),
        CopyToSource::Relation(name) => parsed(schema, &format!("SELECT * FROM {name}"))?,
    };
    let rows = plan_statement(context, schema, rows).await?;
    Ok(Planned::Copy { rows, to: target, format: stored_as })
}

fn parsed(schema: &PinnedSchema, text: &str) -> Result<Statement> {
    let parse = |text: &str| {
        let mut statement = parsing::statement(text)?;
        bind_arrows(&mut statement);
        Ok::<_, DataFusionError>(statement)
    };
    parse(text).map_err(|error| {
        if let Some(Location { line, column }) = asof_join(text) {
            let message = format!("SQL: line {line}, column {column}: {ASOF}");
            return Error::user(Code::BadInput, message);
        }
        let error = Error::from(error);
        let is_taken = |word: &str| parse(&format!("SELECT {word}, 1 FROM t")).is_ok();
        let words = columns_that_are_words(schema, text).into_iter();
        let words: Vec<String> =
            words.filter(|word| !is_taken(word)).map(|word| format!("\"{word}\"")).collect();
        match words.is_empty() {
            true => error,
            false => {
                let words = words.join(", ");
                let says = format!(
                    "{error}; a column that is called like a word of SQL needs quotes: {words}"
                );
                Error::user(error.code(), says)
            }
        }
    })
}

/// The tokens of a query without white space. Returns none if the text cannot be tokenized, because
/// the parser reports that error.
fn tokens(text: &str) -> Vec<TokenWithSpan> {
    let tokens = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location();
    let mut tokens = tokens.unwrap_or_default();
    tokens.retain(|token| !matches!(token.token, Token::Whitespace(_)));
    tokens
}

/// The position of an ASOF JOIN. Its syntax differs between products, and the parser supports one
/// of them.
fn asof_join(text: &str) -> Option<Location> {
    let tokens = tokens(text);
    let joins = [Keyword::JOIN, Keyword::INNER, Keyword::LEFT, Keyword::RIGHT, Keyword::FULL];
    let is_asof = |at: &usize| {
        // `t AS asof JOIN u` names a table.
        !(*at > 0 && is_keyword(&tokens[at - 1].token, Keyword::AS))
            && is_keyword(&tokens[*at].token, Keyword::ASOF)
            && joins.iter().any(|join| is_keyword(&tokens[at + 1].token, *join))
    };
    let found = (0..tokens.len().saturating_sub(1)).find(is_asof);
    found.map(|at| tokens[at].span.start)
}

/// Words of a query without quotes that are words of SQL, and names of columns.
fn columns_that_are_words(schema: &PinnedSchema, text: &str) -> BTreeSet<String> {
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, text).tokenize() else {
        return BTreeSet::new();
    };
    let words = tokens.into_iter().filter_map(|token| match token {
        Token::Word(word) if word.quote_style.is_none() && word.keyword != Keyword::NoKeyword => {
            Some(word.value.to_lowercase())
        }
        _ => None,
    });
    let entries = || schema.catalog().datasets.values();
    words.filter(|word| entries().any(|entry| entry.spec.column(word).is_some())).collect()
}

async fn plan_statement(
    context: &SessionContext,
    schema: &PinnedSchema,
    statement: Statement,
) -> Result<DataFrame> {
    plan_with(context.state(), schema, statement).await
}

/// Plans a statement that only reads, with the functions of `state`.
pub(super) async fn plan_with(
    state: SessionState,
    schema: &PinnedSchema,
    mut statement: Statement,
) -> Result<DataFrame> {
    if let Some(refused) = refused(&statement) {
        return Err(Error::user(
            Code::BadInput,
            format!(
                "SQL: {refused} is not taken here; queries only read: SELECT, WITH, EXPLAIN, SHOW TABLES, DESCRIBE"
            ),
        ));
    }
    require_narrow(&statement)?;
    semantics::write_out(&mut statement, schema).await?;
    let tables = state.resolve_table_references(&statement)?;
    require_plannable(&statement, &tables, schema).await?;
    let row_bytes = schema.row_bytes(tables.iter().map(TableReference::table));
    let state = with_interrupted_planner(for_rows_of(row_bytes, state))?;
    let subqueries = Subqueries::of(&statement);
    let plan = state.statement_to_plan(statement).await;
    let plan = plan.and_then(numbers_are_seconds).and_then(instants_meet);
    let plan = plan.map_err(|e| named(schema, e))?;
    SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false)
        .verify_plan(&plan)
        .map_err(|e: DataFusionError| {
            Error::user(Code::BadInput, format!("SQL: queries only read: {}", Error::from(e)))
        })?;
    functions::check(&plan)?;
    if !matches!(plan, LogicalPlan::Explain(_)) {
        let analyzer = state.analyzer();
        let analyzed = analyzer.execute_and_check(plan.clone(), state.config_options(), |_, _| {});
        analyzed.map_err(|error| subqueries.placed(mistaken(error)))?;
        subqueries.require_planned(&state, &plan)?;
    }
    with_documents(for_columns_of(for_constants_of(DataFrame::new(state, plan))?)?)
}

/// What the planner calls a mistake of its own is one of the query's types, more often than not.
pub(super) fn mistaken(error: DataFusionError) -> Error {
    let DataFusionError::Internal(text) = error.find_root() else { return error.into() };
    Error::user(
        Code::BadInput,
        scrub(&format!("SQL: the query can not be planned: {}", plain(text))),
    )
}

/// Plans are walked, compared and dropped by recursion, as deep as operators, joins and common tables follow each other;
/// [`STACK_BYTES`] is enough for so many, and the planner's time grows with their square.
///
/// [`STACK_BYTES`]: crate::STACK_BYTES
pub(super) fn check_text(text: &str) -> Result<()> {
    if text.len() > TEXT_MAX_BYTES {
        return Err(Error::user(
            Code::LimitExceeded,
            format!("the query has {} bytes; at most {TEXT_MAX_BYTES} are taken", text.len()),
        ));
    }
    // What can not be split into tokens is the parser's to refuse.
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, text).tokenize() else { return Ok(()) };
    let (mut selects, mut chain, mut longest) = (0, Chain::default(), Chain::default());
    let mut is_interval = false;
    // Of the brackets that are open: how long the chain was that each is a part of.
    let mut open = Vec::new();
    for token in tokens {
        if !matches!(token, Token::Whitespace(_)) {
            // The parser goes into each by recursion, and counts none.
            let was = std::mem::replace(&mut is_interval, is_keyword(&token, Keyword::INTERVAL));
            if was && is_interval {
                let says = "the query: expected a text behind INTERVAL, found another INTERVAL";
                return Err(Error::user(Code::BadInput, says));
            }
        }
        match token {
            Token::Whitespace(_) | Token::Number(..) | Token::SingleQuotedString(_) => {}
            Token::Period | Token::SemiColon => {}
            Token::Comma => chain = open.last().copied().unwrap_or_default(),
            Token::LParen | Token::LBrace => open.push(chain),
            // Of a value in a value in a value each is an operator.
            Token::LBracket => {
                chain.all += 1;
                open.push(chain);
            }
            Token::RParen | Token::RBracket | Token::RBrace => {
                chain = open.pop().unwrap_or_default();
            }
            Token::Word(word) if word.keyword == Keyword::SELECT => selects += 1,
            Token::Word(word) if !CHAINING.contains(&word.keyword) => {}
            Token::Plus
            | Token::Minus
            | Token::Mul
            | Token::Div
            | Token::Mod
            | Token::StringConcat => {
                chain = Chain { all: chain.all + 1, computing: chain.computing + 1 };
            }
            _ => chain.all += 1,
        }
        longest.all = longest.all.max(chain.all);
        longest.computing = longest.computing.max(chain.computing);
    }
    let bounds = [
        (SELECTS_MAX, selects, "SELECTs"),
        (CHAIN_MAX, longest.all, "operators and joins in a chain"),
        (COMPUTING_MAX, longest.computing, "of +, -, *, /, % and || in a chain"),
    ];
    match bounds.into_iter().find(|(most, found, _)| found > most) {
        None => Ok(()),
        Some((most, found, what)) => {
            let says = format!("the query: expected at most {most} {what}, found {found}");
            Err(Error::user(Code::LimitExceeded, says))
        }
    }
}

/// Numbers of consecutive operators.
#[derive(Clone, Copy, Default)]
struct Chain {
    all: usize,
    /// Operators that compute a value.
    computing: usize,
}

/// Whether a query stands in a text.
pub(super) fn has_query(text: &str) -> bool {
    // What can not be split into tokens is the parser's to refuse.
    let tokens = Tokenizer::new(&GenericDialect {}, text).tokenize().unwrap_or_default();
    tokens.iter().any(|token| is_keyword(token, Keyword::SELECT))
}

/// The text with each `first.word` as one name in quotes, `"first.word"`, and those words, as the planner would read them. All else
/// stays as it is written.
pub(crate) fn joined_behind(text: &str, first: &str) -> (String, BTreeSet<String>) {
    let (tokens, place) = (tokens(text), Places::of(text));
    let word = |at: usize| match &tokens.get(at)?.token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.value.to_ascii_lowercase()),
        Token::Word(word) => Some(word.value.clone()),
        _ => None,
    };
    let (mut joined, mut words, mut taken) = (String::new(), BTreeSet::new(), 0);
    for at in 0..tokens.len() {
        let is_dot = tokens.get(at + 1).is_some_and(|next| next.token == Token::Period);
        let (true, Some(name)) = (is_dot && word(at).as_deref() == Some(first), word(at + 2))
        else {
            continue;
        };
        joined.push_str(&text[taken..place.byte(tokens[at].span.start)]);
        let _ = write!(joined, "\"{first}.{}\" ", name.replace('"', "\"\""));
        taken = tokens.get(at + 3).map_or(text.len(), |next| place.byte(next.span.start));
        words.insert(name);
    }
    joined.push_str(&text[taken..]);
    (joined, words)
}

/// Where lines of a text begin.
pub(super) struct Places<'a> {
    text: &'a str,
    lines: Vec<usize>,
}

impl<'a> Places<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        let ends = text.match_indices('\n').map(|(at, _)| at + 1);
        Self { text, lines: std::iter::once(0).chain(ends).collect() }
    }

    /// The byte that is at a line and column.
    pub(super) fn byte(&self, at: Location) -> usize {
        let begin = self.lines.get(at.line as usize - 1).copied().unwrap_or(self.text.len());
        let mut letters = self.text[begin..].char_indices().map(|(at, _)| at);
        begin + letters.nth(at.column as usize - 1).unwrap_or(self.text.len() - begin)
    }
}

fn is_keyword(token: &Token, keyword: Keyword) -> bool {
    matches!(token, Token::Word(word) if word.quote_style.is_none() && word.keyword == keyword)
}

/// The statements of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlStatements<'a> {
    /// Those that are not empty, without their semicolons.
    pub all: Vec<&'a str>,
    /// Whether the last one ends with a semicolon, and not in the middle of a text or a comment.
    pub is_complete: bool,
}

impl<'a> SqlStatements<'a> {
    /// Splits `text` where semicolons are that no text, name or comment has in it.
    pub fn of(text: &'a str) -> Self {
        let Ok(tokens) = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location() else {
            // What can not be read is one statement, for the parser to refuse.
            let all = Some(text.trim()).filter(|text| !text.is_empty()).into_iter().collect();
            return Self { all, is_complete: false };
        };
        let places = Places::of(text);
        let offset = |at: Location| places.byte(at);
        let (mut all, mut begin, mut is_empty) = (Vec::new(), 0, true);
        for token in tokens {
            match token.token {
                Token::SemiColon => {
                    let end = offset(token.span.start);
                    all.extend(Some(text[begin..end].trim()).filter(|_| !is_empty));
                    (begin, is_empty) = (end + 1, true);
                }
                Token::Whitespace(_) | Token::EOF => {}
                _ => is_empty = false,
            }
        }
        let is_complete = is_empty;
        all.extend(Some(text[begin..].trim()).filter(|_| !is_empty));
        Self { all, is_complete }
    }
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
    if let Some(name) = name {
        return schema.catalog().unknown(name);
    }
    error.into()
}

/// What a statement is called when it is not a query.
pub(super) fn refused(statement: &Statement) -> Option<String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_split_at_semicolons_of_its_own() {
        let of = |text| {
            let SqlStatements { all, is_complete } = SqlStatements::of(text);
            (all, is_complete)
        };
        assert_eq!(of("SELECT 1"), (vec!["SELECT 1"], false));
        assert_eq!(of("SELECT 1;"), (vec!["SELECT 1"], true));
        assert_eq!(of(" ;; SELECT 1;\n\nSELECT 'ä;b' ;"), (vec!["SELECT 1", "SELECT 'ä;b'"], true));
        assert_eq!(
            of("SELECT \"a;b\" -- no; end\n, 2; "),
            (vec!["SELECT \"a;b\" -- no; end\n, 2"], true)
        );
        assert_eq!(of("/* ; */ SELECT 1 /* ; */"), (vec!["/* ; */ SELECT 1 /* ; */"], false));
        assert_eq!(
            of("SELECT 'größe', 1; SELECT 2"),
            (vec!["SELECT 'größe', 1", "SELECT 2"], false)
        );
        assert_eq!(of("SELECT 'open;"), (vec!["SELECT 'open;"], false));
        assert_eq!(of(""), (vec![], true));
        assert_eq!(of(" -- nothing\n;"), (vec![], true));
    }
}
