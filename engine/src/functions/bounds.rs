//! The longest result of each SQL function.
//!
//! A text that is doubled thirty times takes a gigabyte, and a process that runs out of memory ends for all tenants. So every
//! function of a session has a bound in this file. A test checks all functions of a session, so that no release of DataFusion
//! can add one without a bound.

/// The length of a scalar function's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Length {
    /// A constant number of bytes per row, for any arguments.
    Fixed,
    /// At most the bytes of the arguments: part of them, one of them, or their items in another order.
    Part,
    /// At most this many times the bytes of all arguments.
    Arguments(u64),
    /// The first argument, repeated as often as the second says.
    Times,
    /// The same, as the items of a list.
    Copies,
    /// As many characters as the second argument says.
    Characters,
    /// As many items as the second argument says.
    Items,
    /// The first argument, with each match of the second replaced by the third.
    Replaced,
    /// The same, with a regular expression as the second argument.
    ReplacedByPattern,
    /// Part of the first argument for each group of the pattern, which is the second argument.
    Groups,
    /// The items of the first argument as text, separated by the second. The third stands for null items.
    Separated,
    /// All arguments after the first, separated by the first.
    Joined,
    /// The first argument, with each item replaced by the third.
    ItemsReplaced,
    /// The items of all arguments side by side, with nulls after the end of the shorter ones.
    Zipped,
    /// The numbers or instants from the first argument to the second, in steps of the third.
    Steps,
}

/// The scalar functions, by name. Aliases are not listed.
pub(super) const SCALAR: &[(&str, Length)] = &[
    // Numbers, booleans, instants, and text of constant length.
    ("abs", Length::Fixed),
    ("acos", Length::Fixed),
    ("acosh", Length::Fixed),
    ("array_avg", Length::Fixed),
    ("array_distance", Length::Fixed),
    ("array_has", Length::Fixed),
    ("array_has_all", Length::Fixed),
    ("array_has_any", Length::Fixed),
    ("array_length", Length::Fixed),
    ("array_ndims", Length::Fixed),
    ("array_position", Length::Fixed),
    ("array_product", Length::Fixed),
    ("array_sum", Length::Fixed),
    ("ascii", Length::Fixed),
    ("asin", Length::Fixed),
    ("asinh", Length::Fixed),
    ("atan", Length::Fixed),
    ("atan2", Length::Fixed),
    ("atanh", Length::Fixed),
    ("bit_length", Length::Fixed),
    ("cardinality", Length::Fixed),
    ("cbrt", Length::Fixed),
    ("ceil", Length::Fixed),
    ("character_length", Length::Fixed),
    ("chr", Length::Fixed),
    ("contains", Length::Fixed),
    ("cos", Length::Fixed),
    ("cosh", Length::Fixed),
    ("cosine_distance", Length::Fixed),
    ("cot", Length::Fixed),
    ("current_date", Length::Fixed),
    ("current_time", Length::Fixed),
    ("date_bin", Length::Fixed),
    ("date_part", Length::Fixed),
    ("date_trunc", Length::Fixed),
    ("degrees", Length::Fixed),
    ("digest", Length::Fixed),
    ("empty", Length::Fixed),
    ("ends_with", Length::Fixed),
    ("exp", Length::Fixed),
    ("factorial", Length::Fixed),
    ("file_row_index", Length::Fixed),
    ("find_in_set", Length::Fixed),
    ("floor", Length::Fixed),
    ("from_unixtime", Length::Fixed),
    ("gcd", Length::Fixed),
    ("inner_product", Length::Fixed),
    ("isnan", Length::Fixed),
    ("iszero", Length::Fixed),
    ("json_contains", Length::Fixed),
    ("json_from_scalar", Length::Fixed),
    ("json_get_bool", Length::Fixed),
    ("json_get_float", Length::Fixed),
    ("json_get_int", Length::Fixed),
    ("json_length", Length::Fixed),
    ("lcm", Length::Fixed),
    ("levenshtein", Length::Fixed),
    ("ln", Length::Fixed),
    ("log", Length::Fixed),
    ("log10", Length::Fixed),
    ("log2", Length::Fixed),
    ("make_date", Length::Fixed),
    ("make_time", Length::Fixed),
    ("md5", Length::Fixed),
    ("nanvl", Length::Fixed),
    ("now", Length::Fixed),
    ("octet_length", Length::Fixed),
    ("pi", Length::Fixed),
    ("power", Length::Fixed),
    ("radians", Length::Fixed),
    ("random", Length::Fixed),
    ("regexp_count", Length::Fixed),
    ("regexp_instr", Length::Fixed),
    ("regexp_like", Length::Fixed),
    ("round", Length::Fixed),
    ("safe_divide", Length::Fixed),
    ("sha224", Length::Fixed),
    ("sha256", Length::Fixed),
    ("sha384", Length::Fixed),
    ("sha512", Length::Fixed),
    ("signum", Length::Fixed),
    ("sin", Length::Fixed),
    ("sinh", Length::Fixed),
    ("sqrt", Length::Fixed),
    ("starts_with", Length::Fixed),
    ("strpos", Length::Fixed),
    ("tan", Length::Fixed),
    ("tanh", Length::Fixed),
    ("to_date", Length::Fixed),
    ("to_hex", Length::Fixed),
    ("to_local_time", Length::Fixed),
    ("to_time", Length::Fixed),
    ("to_timestamp", Length::Fixed),
    ("to_timestamp_micros", Length::Fixed),
    ("to_timestamp_millis", Length::Fixed),
    ("to_timestamp_nanos", Length::Fixed),
    ("to_timestamp_seconds", Length::Fixed),
    ("to_unixtime", Length::Fixed),
    ("trunc", Length::Fixed),
    ("uuid", Length::Fixed),
    ("version", Length::Fixed),
    // Parts of the arguments.
    ("array_any_value", Length::Part),
    ("array_compact", Length::Part),
    ("array_distinct", Length::Part),
    ("array_element", Length::Part),
    ("array_except", Length::Part),
    ("array_intersect", Length::Part),
    ("array_max", Length::Part),
    ("array_min", Length::Part),
    ("array_pop_back", Length::Part),
    ("array_pop_front", Length::Part),
    ("array_remove", Length::Part),
    ("array_remove_all", Length::Part),
    ("array_remove_n", Length::Part),
    ("array_reverse", Length::Part),
    ("array_slice", Length::Part),
    ("array_sort", Length::Part),
    ("arrow_field", Length::Part),
    ("arrow_metadata", Length::Part),
    ("arrow_typeof", Length::Part),
    ("btrim", Length::Part),
    ("coalesce", Length::Part),
    ("flatten", Length::Part),
    ("get_field", Length::Part),
    ("greatest", Length::Part),
    ("input_file_name", Length::Part),
    ("json_as_text", Length::Part),
    ("json_get", Length::Part),
    ("json_get_json", Length::Part),
    ("json_get_str", Length::Part),
    ("json_union_to_text", Length::Part),
    ("least", Length::Part),
    ("left", Length::Part),
    ("list_part", Length::Part),
    ("ltrim", Length::Part),
    ("map_entries", Length::Part),
    ("map_extract", Length::Part),
    ("map_keys", Length::Part),
    ("map_values", Length::Part),
    ("nullif", Length::Part),
    ("nvl", Length::Part),
    ("nvl2", Length::Part),
    ("right", Length::Part),
    ("rtrim", Length::Part),
    ("split_part", Length::Part),
    ("substr", Length::Part),
    ("substr_index", Length::Part),
    ("union_extract", Length::Part),
    ("union_tag", Length::Part),
    ("with_metadata", Length::Part),
    // Casts, including those of nested values to text. The plan check limits their target types.
    ("arrow_cast", Length::Part),
    ("arrow_try_cast", Length::Part),
    ("cast_to_type", Length::Part),
    ("try_cast_to_type", Length::Part),
    // All arguments, concatenated or item by item.
    ("array_add", Length::Arguments(8)),
    ("array_append", Length::Arguments(1)),
    ("array_concat", Length::Arguments(1)),
    ("array_normalize", Length::Arguments(8)),
    ("array_prepend", Length::Arguments(1)),
    ("array_scale", Length::Arguments(8)),
    ("array_subtract", Length::Arguments(8)),
    ("array_union", Length::Arguments(1)),
    ("arrays_zip", Length::Zipped),
    ("concat", Length::Arguments(1)),
    ("make_array", Length::Arguments(1)),
    ("map", Length::Arguments(1)),
    ("named_struct", Length::Arguments(1)),
    ("overlay", Length::Arguments(1)),
    ("struct", Length::Arguments(1)),
    // Letters can become longer: "ΐ" in upper case is three letters.
    ("initcap", Length::Arguments(3)),
    ("lower", Length::Arguments(3)),
    ("reverse", Length::Arguments(1)),
    ("translate", Length::Arguments(4)),
    ("upper", Length::Arguments(3)),
    // Two hexadecimal digits per byte.
    ("decode", Length::Arguments(1)),
    ("encode", Length::Arguments(2)),
    // The place of an item, of each letter where the separator is empty or of each comma.
    ("array_dims", Length::Arguments(8)),
    ("array_positions", Length::Arguments(8)),
    ("json_get_array", Length::Arguments(8)),
    ("json_object_keys", Length::Arguments(8)),
    ("string_to_array", Length::Arguments(8)),
    // The longest text of a format specifier is "September".
    ("to_char", Length::Arguments(16)),
    // An argument determines the length.
    ("array_repeat", Length::Copies),
    ("array_replace", Length::ItemsReplaced),
    ("array_replace_all", Length::ItemsReplaced),
    ("array_replace_n", Length::ItemsReplaced),
    ("array_resize", Length::Items),
    ("array_to_string", Length::Separated),
    ("concat_ws", Length::Joined),
    ("generate_series", Length::Steps),
    ("lpad", Length::Characters),
    ("range", Length::Steps),
    ("regexp_match", Length::Groups),
    ("regexp_replace", Length::ReplacedByPattern),
    ("repeat", Length::Times),
    ("replace", Length::Replaced),
    ("rpad", Length::Characters),
];

/// Aggregates with state and result of constant size per group. The state of all groups counts against the query's memory.
#[cfg(test)]
const AGGREGATE_FIXED: &[&str] = &[
    "any_value",
    "approx_distinct",
    "approx_median",
    "approx_percentile_cont",
    "approx_percentile_cont_with_weight",
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "corr",
    "count",
    "covar_pop",
    "covar_samp",
    "first_value",
    "grouping",
    "last_value",
    "max",
    "min",
    "regr_avgx",
    "regr_avgy",
    "regr_count",
    "regr_intercept",
    "regr_r2",
    "regr_slope",
    "regr_sxx",
    "regr_sxy",
    "regr_syy",
    "stddev",
    "stddev_pop",
    "sum",
    "var_pop",
    "var",
];

/// Aggregates that collect the values of a group. Their state counts against the query's memory, by the `size` of their
/// accumulators. As window functions, their results have a bound (`cancellable`).
const AGGREGATE_GATHERING: &[&str] = &[
    "array_agg",
    "changepoints",
    "corr_matrix",
    "discords",
    "explain_change",
    "forecast",
    "isolation_score",
    "matrix_profile",
    "median",
    "nearest",
    "nth_value",
    "percentile_cont",
    "seasons",
    "string_agg",
];

/// Window functions that return a number or a value of the partition for each row. Their input counts against the query's
/// memory (`session/row_width`).
#[cfg(test)]
const WINDOW: &[&str] = &[
    "cume_dist",
    "dense_rank",
    "first_value",
    "lag",
    "last_value",
    "lead",
    "nth_value",
    "ntile",
    "percent_rank",
    "rank",
    "row_number",
];

/// Table functions, which produce some thousand rows per batch.
#[cfg(test)]
const TABLE: &[&str] = &["generate_series", "range"];

/// Higher-order functions of lists. The items that a lambda returns come from a call that has a bound, and the rest is part of
/// the arguments.
#[cfg(test)]
const HIGHER_ORDER: &[&str] =
    &["array_any_match", "array_filter", "array_first", "array_transform"];

/// Whether an aggregate gathers the values of a group.
pub(super) fn gathers(name: &str) -> bool {
    AGGREGATE_GATHERING.contains(&name)
}

/// Whether a function of this kind has a bound.
#[cfg(test)]
pub(crate) fn has_bound(kind: &str, name: &str) -> bool {
    match kind {
        "scalar" => SCALAR.iter().any(|(known, _)| *known == name),
        "aggregate" => AGGREGATE_FIXED.contains(&name) || AGGREGATE_GATHERING.contains(&name),
        "window" => {
            WINDOW.contains(&name) || super::rolling::Kind::ALL.iter().any(|of| of.name() == name)
        }
        "table" => TABLE.contains(&name),
        _ => HIGHER_ORDER.contains(&name),
    }
}
