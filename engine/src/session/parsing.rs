//! Parses SQL with bounded work. The parser tries several readings of a word, and each reading parses
//! what follows again. A query of 500 bytes with nested NOT or CAST would take years.

use std::any::TypeId;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::common::Result as PlanResult;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::sqlparser::ast::ExprWithAlias;
use datafusion::sql::parser::{DFParser, DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::Expr;
use datafusion::sql::sqlparser::dialect::{Dialect, GenericDialect};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};

use crate::error::{Code, Error};

/// Expressions that the parser may try: a number, and more for each byte of the text.
const TRIED_MAX: u64 = 50_000;
const TRIED_PER_BYTE_MAX: u64 = 2;

/// The statements of a text.
pub(super) fn statements(text: &str) -> PlanResult<VecDeque<Statement>> {
    parsed(text, |parser| parser.parse_statements())
}

/// The one statement of a text.
pub(super) fn statement(text: &str) -> PlanResult<Statement> {
    let mut statements = statements(text)?;
    match (statements.pop_front(), statements.len()) {
        (Some(statement), 0) => Ok(statement),
        (None, _) => Err(DataFusionError::Plan("SQL: expected a statement, found none".to_owned())),
        (_, more) => {
            let message = format!("SQL: expected one statement, found {}", more + 1);
            Err(DataFusionError::Plan(message))
        }
    }
}

/// The one expression of a text, which may have an alias.
pub(super) fn expression(text: &str) -> PlanResult<ExprWithAlias> {
    parsed(text, |parser| parser.parse_into_expr())
}

fn parsed<T>(text: &str, parse: impl FnOnce(&mut DFParser<'_>) -> PlanResult<T>) -> PlanResult<T> {
    let tried_max = TRIED_MAX + TRIED_PER_BYTE_MAX * text.len() as u64;
    let dialect = BoundedDialect { left: AtomicU64::new(tried_max) };
    let mut parser = DFParserBuilder::new(text).with_dialect(&dialect).build()?;
    parse(&mut parser).map_err(|error| match dialect.left.load(Ordering::Relaxed) {
        0 => {
            let message = "SQL: the query takes too long to parse; nest NOT, CAST, CASE, ARRAY and parentheses less deeply";
            DataFusionError::External(Box::new(Error::user(Code::LimitExceeded, message)))
        }
        _ => error,
    })
}

/// The generic dialect. It fails when too many expressions were tried.
#[derive(Debug)]
struct BoundedDialect {
    left: AtomicU64,
}

macro_rules! supports_what_the_generic_dialect_does {
    ($($feature:ident,)*) => {
        $(fn $feature(&self) -> bool {
            GenericDialect.$feature()
        })*
    };
}

impl Dialect for BoundedDialect {
    fn dialect(&self) -> TypeId {
        TypeId::of::<GenericDialect>()
    }

    fn parse_prefix(&self, _: &mut Parser<'_>) -> Option<Result<Expr, ParserError>> {
        let left = self.left.load(Ordering::Relaxed).saturating_sub(1);
        self.left.store(left, Ordering::Relaxed);
        (left == 0).then(|| Err(ParserError::ParserError("too many readings".to_owned())))
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        GenericDialect.is_delimited_identifier_start(ch)
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        GenericDialect.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        GenericDialect.is_identifier_part(ch)
    }

    supports_what_the_generic_dialect_does! {
        supports_unicode_string_literal,
        supports_partition_by_after_order_by,
        supports_array_join_syntax,
        supports_group_by_expr,
        supports_group_by_with_modifier,
        supports_left_associative_joins_without_parens,
        supports_connect_by,
        supports_match_recognize,
        supports_pipe_operator,
        supports_start_transaction_modifier,
        supports_window_function_null_treatment_arg,
        supports_dictionary_syntax,
        supports_window_clause_named_window_reference,
        supports_parenthesized_set_variables,
        supports_select_wildcard_except,
        support_map_literal_syntax,
        allow_extract_custom,
        allow_extract_single_quotes,
        supports_extract_comma_syntax,
        supports_create_view_comment_syntax,
        supports_parens_around_table_factor,
        supports_values_as_table_factor,
        supports_create_index_with_clause,
        supports_explain_with_utility_options,
        supports_limit_comma,
        supports_update_order_by,
        supports_from_first_select,
        supports_projection_trailing_commas,
        supports_asc_desc_in_column_definition,
        supports_try_convert,
        supports_bitwise_shift_operators,
        supports_comment_on,
        supports_load_extension,
        supports_named_fn_args_with_assignment_operator,
        supports_struct_literal,
        supports_empty_projections,
        supports_nested_comments,
        supports_multiline_comment_hints,
        supports_user_host_grantee,
        supports_string_escape_constant,
        supports_array_typedef_with_brackets,
        supports_match_against,
        supports_set_names,
        supports_comma_separated_set_assignments,
        supports_filter_during_aggregation,
        supports_select_wildcard_exclude,
        supports_data_type_signed_suffix,
        supports_interval_options,
        supports_quote_delimited_string,
        supports_select_wildcard_replace,
        supports_select_wildcard_ilike,
        supports_select_wildcard_rename,
        supports_optimize_table,
        supports_install,
        supports_detach,
        supports_prewhere,
        supports_with_fill,
        supports_limit_by,
        supports_interpolate,
        supports_settings,
        supports_select_format,
        supports_comment_optimizer_hint,
        supports_constraint_keyword_without_name,
        supports_key_column_option,
        supports_comma_separated_trim,
        supports_cte_without_as,
        supports_select_item_multi_column_alias,
        supports_xml_expressions,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn texts_are_read_as_in_the_generic_dialect() {
        for text in [
            "SELECT * EXCLUDE (a), b AS c FROM t WHERE NOT (a IS NULL) LIMIT 1, 2",
            "SELECT * REPLACE (a + 1 AS a) FROM `t` x LEFT JOIN u USING (id)",
            "SELECT CAST(a AS INT), TRY_CAST(b AS DATE), a::text, INTERVAL '1' DAY, DATE '2026-01-01'",
            "SELECT {'a': 1}, [1, 2], MAP {'k': 2}, STRUCT(1 AS a), a[1], E'x\\n', U&'\\00e4'",
            "SELECT count(*) FILTER (WHERE a > 1), sum(a) OVER w FROM t WINDOW w AS (PARTITION BY b)",
            "SELECT a FROM t GROUP BY ROLLUP (a, b), CUBE (c) ORDER BY ALL",
            "FROM t SELECT a, b,",
            "WITH a AS (SELECT 1) SELECT EXTRACT(YEAR FROM x), f(k => 1), a << 2 FROM a /* a /* b */ */",
            "SELECT a FROM t QUALIFY row_number() OVER (ORDER BY b) = 1",
            "SELECT first_value(a IGNORE NULLS) OVER () FROM t",
            "EXPLAIN ANALYZE VALUES (1, 'x'), (2, NULL)",
            "SELECT FROM t",
            "SELECT (",
            "SELECT NOT",
        ] {
            let generic = DFParserBuilder::new(text).build().unwrap().parse_statements();
            let bounded = statements(text);
            assert_eq!(format!("{bounded:?}"), format!("{generic:?}"), "{text}");
        }
    }

    #[test]
    fn one_statement_or_expression_is_expected() {
        assert!(statement("SELECT 1").is_ok() && expression("a + 1 AS b").is_ok());
        for (text, message) in [("", "found none"), ("SELECT 1; SELECT 2", "found 2")] {
            let error = statement(text).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
        assert!(expression("a b c").is_err());
    }

    #[test]
    fn nested_readings_end() {
        let nested = |open: &str, close: &str, depth: usize| {
            format!("SELECT {}x{}", open.repeat(depth), close.repeat(depth))
        };
        let start = std::time::Instant::now();
        for (open, close) in [
            ("NOT (", ")"),
            ("CAST((", ") AS INT)"),
            ("ARRAY[(", ")]"),
            ("(NOT (", "))"),
            ("CASE WHEN (", ") THEN 1 END"),
            ("(NOT (x AND ", "))"),
        ] {
            for depth in [30, 49] {
                // Some depths fail at the parser's recursion limit.
                let _ = statements(&nested(open, close, depth));
            }
            let broken = nested(open, close, 20).replace('x', "x x x");
            assert!(statements(&broken).is_err());
            assert!(statements(&nested(open, close, 4)).is_ok(), "{open}");
        }
        assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
        let error = statements(&nested("NOT (", ")", 49)).unwrap_err().to_string();
        assert!(error.contains("takes too long to parse"), "{error}");
        // A long list is no nesting.
        let list = vec!["1"; 200_000].join(", ");
        assert!(statements(&format!("SELECT 1 WHERE a IN ({list})")).is_ok());
    }
}
