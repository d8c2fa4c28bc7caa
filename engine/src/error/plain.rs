//! Rewrites the planner's messages in terms of SQL.
//!
//! DataFusion's messages contain Rust's debug format: `Utf8`, `Int64(5)`, `Column { relation: … }`, whole syntax trees. This
//! module replaces them: types as `colonnade datasets` shows them, literals as in SQL, columns by name. A syntax tree without
//! such a form is cut off, and the message starts with its position in the query.

use arrow::datatypes::DataType;

/// Parts of known messages, and the message that replaces each: the problem, and what to write
/// instead.
const KNOWN: &[(&str, &str)] = &[
    ("Unsupported JOIN operator AsOf", ASOF),
    (
        "Unsupported JOIN operator CrossApply",
        "CROSS APPLY is not supported; write JOIN, or CROSS JOIN LATERAL",
    ),
    (
        "Unsupported JOIN operator OuterApply",
        "OUTER APPLY is not supported; write LEFT JOIN, or LEFT JOIN LATERAL … ON true",
    ),
    (
        "Unsupported ast node Pivot",
        "PIVOT is not supported; write an aggregate for each value, as sum(v) FILTER (WHERE team = 'a') AS a",
    ),
    (
        "Unsupported ast node Unpivot",
        "UNPIVOT is not supported; write a SELECT for each column, with UNION ALL between them",
    ),
    (
        "Unsupported ast node MatchRecognize",
        "MATCH_RECOGNIZE is not supported; compare rows with lag() or lead() OVER (PARTITION BY … ORDER BY …)",
    ),
    (
        "Unsupported ast node in sqltorel: Collate",
        "COLLATE is not supported; texts are compared by their bytes: write lower(x) to compare without case",
    ),
    ("Physical plan does not support logical expression", SUBQUERY),
    // Syntax after AT TIME ZONE; elsewhere these nodes are supported.
    ("Unsupported ast node in sqltorel: Value(", ZONE),
    ("Unsupported ast node in sqltorel: Identifier(", ZONE),
    ("Unsupported ast node in sqltorel: CompoundIdentifier(", ZONE),
    ("Unsupported ast node in sqltorel: Function(", ZONE),
    ("Correlated scalar subquery must be aggregated to return at most one row", ONE_ROW),
    (
        "Correlated scalar subquery can only be used in",
        "a subquery that refers to the query around it may be in SELECT, WHERE or HAVING; compute it there, and use its name here",
    ),
    (
        "Unnest should be rewritten to LogicalPlan::Unnest",
        "unnest() may be in SELECT or FROM only; put it into a subquery, and use the name of its column",
    ),
    ("FETCH clause is not supported", "FETCH FIRST is not supported; write LIMIT"),
    (
        "Empty tuple not supported",
        "an empty list () is not supported here; leave GROUP BY out to have one group of all rows",
    ),
    (
        "UNNEST with ordinality is not supported",
        "WITH ORDINALITY is not supported; number the rows with row_number() OVER ()",
    ),
    (
        "Argument to grouping function is not in grouping",
        "grouping() takes columns of GROUP BY only",
    ),
    (
        "Scalar subquery returned more than one row",
        "a subquery that stands for one value returned several rows; write max(…), or add LIMIT 1",
    ),
    ("Divide by zero", "division by zero; write nullif(divisor, 0), or safe_divide(a, b)"),
    (
        "Cannot cast timezone to different timezone",
        "a clock change of the zone skips or repeats a local time; expected a time with its offset, such as TIMESTAMP '2026-01-31T02:30:00+01:00'",
    ),
    (
        "Unable to cast to Date32 for converting from i64 to i32 failed",
        "a text is not a date; expected a date such as 2026-01-31",
    ),
];

/// The message for every spelling of ASOF JOIN.
pub(crate) const ASOF: &str = "ASOF JOIN is not supported; join all earlier rows, and keep the newest of each: \
    SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY a.id ORDER BY b.at DESC) AS newest \
    FROM a LEFT JOIN b ON b.key = a.key AND b.at <= a.at) WHERE newest = 1";

const ZONE: &str = "AT TIME ZONE takes the name of a zone as a text, such as 'Europe/Berlin', the same for all rows";

/// The message for a subquery that cannot be planned.
pub(crate) const SUBQUERY: &str = "a subquery that refers to the query around it is not supported here. \
    For one value, write an aggregate whose condition is an equality: \
    (SELECT first_value(b.x ORDER BY b.at DESC) FROM b WHERE b.key = a.key). \
    For EXISTS in SELECT, write (SELECT count(*) > 0 FROM b WHERE b.key = a.key). \
    For other conditions, JOIN both and GROUP BY the key of the outer rows";

/// The common start of the messages about such subqueries.
pub(crate) const OF_SUBQUERY: &str = "a subquery that refers to the query around it ";

const ONE_ROW: &str = "a subquery that refers to the query around it must return one row for each of its rows: \
    write an aggregate in it, as (SELECT max(b.x) FROM b WHERE b.key = a.key)";

/// Prefixes by which DataFusion and Arrow name the failing component.
const PREFIXES: &[&str] = &[
    "Error during planning: ",
    "This feature is not implemented: ",
    "Execution error: ",
    "Internal error: ",
    "Schema error: ",
    "Arrow error: ",
    "Cast error: ",
    "Parser error: ",
    "Compute error: ",
    "Invalid argument error: ",
    "External error: ",
    "DataFusion error: ",
];

/// Text that starts advice or a backtrace, which does not concern the query.
const ENDS: &[&str] = &[
    "This issue was likely caused by a bug in DataFusion",
    "You might need to add explicit type casts",
    "\n\nbacktrace:",
];

/// Rewrites a message of the planner, of a function or of a cast.
pub(crate) fn plain(text: &str) -> String {
    let text = without_prefixes(text);
    if let Some((_, says)) = KNOWN.iter().find(|(form, _)| text.contains(form)) {
        return format!("{}{says}", place_in(text));
    }
    // For some syntax, such as `TOP` and `SORT BY`, the message is only its name.
    let is_word = |c: char| c.is_ascii_uppercase() || c == ' ';
    if !text.is_empty() && text.chars().all(is_word) {
        let instead = if text == "TOP" { "; write LIMIT" } else { "" };
        return format!("{text} is not supported{instead}");
    }
    if let Some(says) = no_such_call(text).or_else(|| grouped(text)).or_else(|| type_of_sql(text)) {
        return says;
    }
    let end = ENDS.iter().filter_map(|end| text.find(end)).min().unwrap_or(text.len());
    let (text, place) = (&text[..end], place_in(text));
    let words = in_words(text.trim_end_matches(['.', ' ', '\n']));
    format!("{place}{}", without_trees(&words))
}

fn without_prefixes(mut text: &str) -> &str {
    loop {
        let stripped = PREFIXES.iter().find_map(|prefix| text.trim_start().strip_prefix(prefix));
        match stripped {
            Some(rest) => text = rest,
            None => return text,
        }
    }
}

/// The first position in the query that a syntax tree states: `line 1, column 8: `.
fn place_in(text: &str) -> String {
    let places = text.match_indices("Location(").filter_map(|(at, form)| {
        let (place, _) = text[at + form.len()..].split_once(')')?;
        let (line, column) = place.split_once(',')?;
        Some((line.trim().parse::<u64>().ok()?, column.trim().parse::<u64>().ok()?))
    });
    let first = places.filter(|(line, _)| *line > 0).min();
    first.map_or_else(String::new, |(line, column)| format!("line {line}, column {column}: "))
}

/// The message for a call with wrong argument types: the given and the accepted ones.
fn no_such_call(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("No function matches the given name and argument types '")?;
    let (call, _) = rest.split_once("'.")?;
    let (name, arguments) = call.split_once('(')?;
    if let Some(says) = own_reason(text, name) {
        return Some(says);
    }
    let given = in_words(arguments.strip_suffix(')')?);
    let mut taken: Vec<String> = Vec::new();
    let candidates = text.split_once("Candidate functions:").map_or("", |(_, rest)| rest);
    for line in candidates.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let Some(kinds) = line.strip_prefix(name).and_then(|rest| rest.strip_prefix('(')) else {
            continue;
        };
        let kinds = in_words(kinds.strip_suffix(')').unwrap_or(kinds));
        let candidate = format!("{name}({kinds})");
        let is_clear = !kinds.contains(['{', '[']) && !UNCLEAR.iter().any(|it| kinds.contains(it));
        if is_clear && !taken.contains(&candidate) {
            taken.push(candidate);
        }
    }
    let more = taken.len().saturating_sub(CANDIDATES_MAX);
    taken.truncate(CANDIDATES_MAX);
    let expected = match (taken.is_empty(), more) {
        (true, _) => String::new(),
        (false, 0) => format!("; expected {}", taken.join(" or ")),
        (false, _) => format!("; expected {}, or others", taken.join(" or ")),
    };
    let found =
        if given.is_empty() { "no arguments".to_owned() } else { format!("{name}({given})") };
    Some(format!("{name} takes no such arguments: found {found}{expected}"))
}

/// The reason by which one of our functions refuses its arguments, quoted by DataFusion.
fn own_reason(text: &str, name: &str) -> Option<String> {
    let (_, reason) = text.split_once("user-defined coercion failed with: ")?;
    let (reason, _) = reason.split_once(" No function matches")?;
    let reason = without_prefixes(reason).trim_end_matches('.');
    reason.strip_prefix(name)?.starts_with(':').then(|| in_words(reason))
}

/// A type in the words of SQL: `list of int64`.
pub(crate) fn type_in_words(kind: &DataType) -> String {
    in_words(&kind.to_string())
}

/// Most signatures of a function in one message.
const CANDIDATES_MAX: usize = 3;
/// Words in signatures that mean nothing to a caller.
const UNCLEAR: &[&str] = &[
    "Any",
    "UserDefined",
    "Variadic",
    "Uniform",
    "ArraySignature",
    "Comparable",
    "one_of",
    "recursive",
    "index",
    "element",
    "array",
];

/// The message for a column that is neither in GROUP BY nor in an aggregate.
fn grouped(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("must be in GROUP BY or an aggregate function: ")?;
    let (_, rest) = rest.split_once("column \"").or_else(|| rest.split_once("expression \""))?;
    let (column, _) = rest.split_once('"')?;
    let column = in_words(column);
    Some(format!("{column} must be in GROUP BY, or in an aggregate such as max({column})"))
}

/// The message for an SQL type that is not supported.
fn type_of_sql(text: &str) -> Option<String> {
    let (_, kind) = text.split_once("Unsupported SQL type ")?;
    let kind = kind.rsplit(") ").next().unwrap_or(kind);
    Some(format!(
        "the type {} is not supported; expected one such as BIGINT, DOUBLE, DECIMAL(10, 2), TEXT, BOOLEAN, DATE or TIMESTAMP",
        kind.trim()
    ))
}

/// Type names in Rust, and as `colonnade datasets` shows them.
const TYPES: &[(&str, &str)] = &[
    ("Utf8", "text"),
    ("LargeUtf8", "text"),
    ("Utf8View", "text"),
    ("Boolean", "bool"),
    ("Int8", "int8"),
    ("Int16", "int16"),
    ("Int32", "int32"),
    ("Int64", "int64"),
    ("UInt8", "uint8"),
    ("UInt16", "uint16"),
    ("UInt32", "uint32"),
    ("UInt64", "uint64"),
    ("Float16", "float16"),
    ("Float32", "float32"),
    ("Float64", "float64"),
    ("Date32", "date"),
    ("Date64", "date"),
    ("Time32", "time"),
    ("Time64", "time"),
    ("Timestamp", "timestamp"),
    ("TimestampSecond", "timestamp"),
    ("TimestampMillisecond", "timestamp"),
    ("TimestampMicrosecond", "timestamp"),
    ("TimestampNanosecond", "timestamp"),
    ("Interval", "interval"),
    ("IntervalMonthDayNano", "interval"),
    ("IntervalDayTime", "interval"),
    ("IntervalYearMonth", "interval"),
    ("Duration", "duration"),
    ("DurationSecond", "duration"),
    ("DurationMillisecond", "duration"),
    ("DurationMicrosecond", "duration"),
    ("DurationNanosecond", "duration"),
    ("Decimal32", "decimal"),
    ("Decimal64", "decimal"),
    ("Decimal128", "decimal"),
    ("Decimal256", "decimal"),
    ("Binary", "bytes"),
    ("LargeBinary", "bytes"),
    ("BinaryView", "bytes"),
    ("FixedSizeBinary", "bytes"),
    ("List", "list"),
    ("LargeList", "list"),
    ("ListView", "list"),
    ("LargeListView", "list"),
    ("FixedSizeList", "list"),
    ("Struct", "struct"),
    ("Map", "map"),
    ("Union", "json"),
    ("Dictionary", "dictionary"),
    ("Null", "null"),
    // In signatures.
    ("Numeric", "number"),
    ("String", "text"),
    ("Integer", "integer"),
    ("Float", "float"),
    ("Decimal", "decimal"),
    ("Date", "date"),
    ("Time", "time"),
];

/// Types whose arguments only describe storage.
const WITHOUT_ARGUMENTS: &[&str] = &[
    "date",
    "time",
    "timestamp",
    "interval",
    "duration",
    "bytes",
    "json",
    "number",
    "struct",
    "map",
    "text",
    "integer",
    "float",
];

fn type_named(word: &str) -> Option<&'static str> {
    TYPES.iter().find(|(name, _)| *name == word).map(|(_, name)| *name)
}

/// Rewrites the types, literals and columns of `text` from Rust's format to SQL's.
fn in_words(text: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    let mut quoted = false;
    let mut before = ' ';
    while let Some(first) = rest.chars().next() {
        // An apostrophe inside a word is not a quote.
        if first == '\'' {
            quoted = !quoted && !before.is_alphanumeric();
        }
        let is_begin =
            first.is_ascii_uppercase() && !before.is_alphanumeric() && !"._\"".contains(before);
        if !is_begin {
            out.push(first);
            before = first;
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let (said, after) = read(word, after, quoted);
        before = said.chars().last().unwrap_or(before);
        out.push_str(&said);
        rest = after;
    }
    out
}

/// Rewrites a capitalized word; returns the new text and the rest after it. Inside quotes only values such as `Int64(5)` are
/// rewritten.
fn read<'a>(word: &str, after: &'a str, quoted: bool) -> (String, &'a str) {
    if let Some(group) = group_of(after, '(', ')') {
        let behind = &after[group.len() + 2..];
        if let Some(kind) = type_named(word) {
            if let Some(value) = literal(kind, group) {
                return (value, behind);
            }
            if !quoted {
                return (type_with(kind, group), behind);
            }
        }
        match word {
            "Some" => return (in_words(group), behind),
            "Literal" | "Column" | "Alias" => {
                let first = group.strip_suffix(", None").unwrap_or(group);
                return (in_words(first), behind);
            }
            _ => {}
        }
    }
    if let Some(group) = after.strip_prefix(' ').and_then(|after| group_of(after, '{', '}')) {
        let behind = &after[group.len() + 3..];
        if matches!(word, "Column" | "Field")
            && let Some(name) = field(group, "name: \"")
        {
            let table = field(group, "table: \"").map(|table| format!("{table}."));
            return (format!("{}{name}", table.unwrap_or_default()), behind);
        }
    }
    match type_named(word) {
        Some(kind) if !quoted && is_type_alone(word) => (kind.to_owned(), after),
        _ => (word.to_owned(), after),
    }
}

/// Whether a word without arguments is a type rather than an English word.
fn is_type_alone(word: &str) -> bool {
    let is_english = [
        "Date",
        "Time",
        "Map",
        "List",
        "Union",
        "Integer",
        "Float",
        "Interval",
        "Duration",
        "Struct",
        "Decimal",
        "Binary",
        "Dictionary",
    ];
    !is_english.contains(&word)
}

/// The text between a bracket at the start of `text` and its closing bracket.
fn group_of(text: &str, open: char, close: char) -> Option<&str> {
    let rest = text.strip_prefix(open)?;
    let (mut depth, mut is_text, mut escaped) = (1_usize, false, false);
    for (at, letter) in rest.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if is_text => escaped = true,
            '"' => is_text = !is_text,
            _ if is_text => {}
            _ if letter == open => depth += 1,
            _ if letter == close => {
                depth -= 1;
                if depth == 0 {
                    return Some(&rest[..at]);
                }
            }
            _ => {}
        }
    }
    None
}

/// A value in SQL syntax.
fn literal(kind: &str, group: &str) -> Option<String> {
    if group == "NULL" {
        return Some(group.to_owned());
    }
    if kind == "decimal" {
        return decimal(group);
    }
    if let Some(text) = group.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        let text = text.replace("\\\"", "\"");
        return match kind {
            "interval" => Some("an interval".to_owned()),
            "timestamp" | "date" | "time" | "text" => {
                Some(format!("'{}'", text.replace('\'', "''")))
            }
            _ => None,
        };
    }
    let is_number = group.parse::<f64>().is_ok() && !["text", "number"].contains(&kind);
    (is_number || group == "true" || group == "false").then(|| group.to_owned())
}

/// `Some(150),10,2` as `1.50`.
fn decimal(group: &str) -> Option<String> {
    let (digits, rest) = group.strip_prefix("Some(")?.split_once(')')?;
    let scale = rest.rsplit(',').next()?.trim().parse::<usize>().ok()?;
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, part) = padded.split_at(padded.len() - scale);
    Some(if part.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{part}") })
}

fn type_with(kind: &str, group: &str) -> String {
    match kind {
        kind if WITHOUT_ARGUMENTS.contains(&kind) => kind.to_owned(),
        "list" => {
            let item = group.split_once(" x ").map_or(group, |(_, item)| item);
            format!("list of {}", in_words(item.trim_start_matches("non-null ")))
        }
        "dictionary" => in_words(group.split_once(", ").map_or(group, |(_, value)| value)),
        kind => format!("{kind}({group})"),
    }
}

fn field<'a>(group: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = group.split_once(name)?;
    Some(rest.split_once('"')?.0)
}

/// `text` up to its first remaining syntax tree.
fn without_trees(text: &str) -> String {
    let begins = TREES.iter().filter_map(|form| text.find(form)).min();
    let Some(at) = begins else { return text.to_owned() };
    // The first word of the tree names the syntax.
    let head = text[..at].trim_end_matches(['(', '{', '[', ' ', '&']);
    let mut letters = head.char_indices().rev();
    let last = letters.find(|(_, letter)| !letter.is_ascii_alphanumeric());
    let (head, word) = head.split_at(last.map_or(0, |(at, letter)| at + letter.len_utf8()));
    let is_node = word.starts_with(|first: char| first.is_ascii_uppercase());
    match is_node {
        true if head.starts_with("Unsupported ast node") => {
            format!("{} is not supported here", spaced(word))
        }
        true => format!("{} {}", head.trim_end_matches([':', ' ', ',']), spaced(word)),
        false => text[..at].trim_end_matches([':', ' ', ',', '(', '&']).to_owned(),
    }
}

/// Text that follows the first word of a syntax tree.
const TREES: &[&str] = &[
    " { ",
    "Ident {",
    "(Ident",
    "([",
    "Expr::",
    "[Identifier",
    "span: Span",
    "::<",
    "LogicalPlan::",
];

/// `MatchRecognize` as `MATCH RECOGNIZE`.
fn spaced(word: &str) -> String {
    let mut out = String::new();
    for letter in word.chars() {
        if letter.is_ascii_uppercase() && !out.is_empty() {
            out.push(' ');
        }
        out.push(letter.to_ascii_uppercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_types_and_columns_are_written_as_in_sql() {
        for (text, expected) in [
            (
                "Error during planning: Cannot coerce arithmetic expression Utf8 + Int64 to valid types",
                "Cannot coerce arithmetic expression text + int64 to valid types",
            ),
            (
                "Cannot create filter with non-boolean predicate 'Int64(1)' returning Int64",
                "Cannot create filter with non-boolean predicate '1' returning int64",
            ),
            (
                "Cannot infer common argument type for comparison operation List(Int64) = Timestamp(µs, \"UTC\")",
                "Cannot infer common argument type for comparison operation list of int64 = timestamp",
            ),
            ("got Literal(Utf8(\"it's\"), None)", "got 'it''s'"),
            (
                "no such thing: Column { relation: Some(Bare { table: \"t\" }), name: \"id\" }",
                "no such thing: t.id",
            ),
            ("Field { name: \"id\", data_type: Int64, nullable: true }", "id"),
            (
                "Cannot cast string 'Null' to value of Int32 type",
                "Cannot cast string 'Null' to value of int32 type",
            ),
            ("column t.Date32 of Decimal128(10, 2)", "column t.Date32 of decimal(10, 2)"),
            ("List of names, Date and Time", "List of names, Date and Time"),
            ("of Decimal128(Some(-150),10,2)", "of -1.50"),
            ("of Decimal128(Some(5),10,3) and Float64(NULL)", "of 0.005 and NULL"),
            (
                "Dot access not supported for non-string expr: Identifier(Ident { value: \"b\", quote_style: None, span: Span(Location(1,16)..Location(1,17)) })",
                "line 1, column 16: Dot access not supported for non-string expr IDENTIFIER",
            ),
        ] {
            assert_eq!(plain(text), expected, "{text}");
        }
    }

    #[test]
    fn messages_state_the_position_and_the_alternative() {
        let asof = "This feature is not implemented: Unsupported JOIN operator AsOf { match_condition: \
            CompoundIdentifier([Ident { value: \"t\", span: Span(Location(0,0)..Location(0,0)) }, Ident { value: \"at\", \
            span: Span(Location(3,46)..Location(3,47)) }]) }";
        let says = plain(asof);
        assert!(says.starts_with("line 3, column 46: ASOF JOIN is not supported; join"), "{says}");
        let says = plain("Unsupported SQL type MONEY");
        assert!(says.starts_with("the type MONEY is not supported; expected"), "{says}");
    }

    #[test]
    fn a_function_states_the_arguments_it_takes() {
        let text = "Error during planning: Function 'repeat' requires Int64, but received String (DataType: Utf8).. \
            No function matches the given name and argument types 'repeat(Utf8, Utf8)'. You might need to add explicit type casts.\n\t\
            Candidate functions:\n\trepeat(String, Int64)";
        let expected = "repeat takes no such arguments: found repeat(text, text); expected repeat(text, int64)";
        assert_eq!(plain(text), expected);
    }
}
