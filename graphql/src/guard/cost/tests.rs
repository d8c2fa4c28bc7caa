//! What documents cost, and those that are refused for it.
#![allow(clippy::unwrap_used)]
use super::super::admit;
use super::*;
use async_graphql::Variables;

fn cost(query: &str, variables: serde_json::Value) -> Result<u64, String> {
    let calls = [("calls".to_owned(), RowsOf::First), ("callsSimilar".to_owned(), RowsOf::K(10))];
    let related = ["parts".to_owned()].into();
    let paged =
        PagedFields { roots: calls.into(), related, related_rows: 10, ..Default::default() };
    let variables = Variables::from_json(variables);
    admit(query, None, &variables, &paged, &Limits::default(), Given::Values)
        .map(|admitted| admitted.cost)
        .map_err(|error| error.message)
}

#[test]
fn rows_multiply_what_is_inside_them() {
    let none = serde_json::json!({});
    assert_eq!(cost("{ a b }", none.clone()), Ok(2));
    assert_eq!(cost("{ calls(first: 7) { nodes { x y } } }", none.clone()), Ok(20 + 7 * 3));
    assert_eq!(cost("{ calls { nodes { x } } }", none.clone()), Ok(20 + 100 * 2));
    assert_eq!(cost("{ callsSimilar { matches { x } } }", none.clone()), Ok(20 + 10 * 2));
    assert_eq!(cost("{ callsSimilar(k: 3) { matches { x } } }", none.clone()), Ok(20 + 3 * 2));
    assert_eq!(cost("{ calls(last: 7) { nodes { x y } } }", none.clone()), Ok(20 + 7 * 3));
    let query =
        "query($first: Int, $last: Int) { calls(first: $first, last: $last) { nodes { x } } }";
    assert_eq!(cost(query, serde_json::json!({"first": 3, "last": null})), Ok(20 + 3 * 2));
    assert_eq!(cost(query, serde_json::json!({"last": 300})), Ok(20 + 300 * 2));
    let query = "query($n: Int = 5) { calls(first: $n) { nodes { x } } }";
    assert_eq!(cost(query, none), Ok(20 + 5 * 2));
    assert_eq!(cost(query, serde_json::json!({"n": 50})), Ok(20 + 50 * 2));
}

#[test]
fn a_thousand_rows_in_columns_cost_as_one() {
    let paged = PagedFields {
        roots: [("calls".to_owned(), RowsOf::First)].into(),
        ..PagedFields::default()
    };
    let cost = |first: usize| {
        let query = format!("{{ calls(first: {first}) {{ nodes {{ x y }} }} }}");
        let (none, limits) = (Variables::default(), Limits::default());
        admit(&query, None, &none, &paged, &limits, Given::Columns).map(|it| it.cost).unwrap()
    };
    assert_eq!([cost(1), cost(1_000), cost(1_001), cost(1_000_000)], [23, 23, 26, 3_020]);
}

#[test]
fn a_relation_is_read_once_and_its_rows_are_those_of_each() {
    let none = serde_json::json!({});
    let one = "{ calls(first: 7) { nodes { related { of { x y } } } } }";
    assert_eq!(cost(one, none.clone()), Ok(20 + 20 + 7 * (1 + 1 + 1 + 2)));
    let many = "{ calls(first: 7) { nodes { related { parts(first: 3) { nodes { x } } } } } }";
    assert_eq!(cost(many, none.clone()), Ok(20 + 20 + 7 * (1 + 1 + 1 + 3 * 2)));
    let some = "{ calls(first: 7) { nodes { related { parts { nodes { x } } } } } }";
    assert_eq!(cost(some, none.clone()), Ok(20 + 20 + 7 * (1 + 1 + 1 + 10 * 2)));
    let asked =
        "{ calls(first: 7) { nodes { related { parts(where: {a: {eq: 1}}) { nodes { x } } } } } }";
    assert_eq!(cost(asked, none.clone()), Ok(20 + 20 + 5 + 7 * (1 + 1 + 1 + 10 * 2)));
    let deep = "{ calls { nodes { related { parts { nodes { related { parts { nodes { related { parts(first: 20) \
                { nodes { x } } } } } } } } } } } }";
    assert!(cost(deep, none.clone()).unwrap_err().contains("cost"));
    let terms = "{a: ASC},".repeat(201);
    let long =
        format!("{{ calls {{ nodes {{ related {{ parts(orderBy: [{terms}]) {{ x }} }} }} }} }}");
    assert!(cost(&long, none).unwrap_err().contains("orderBy"));
}

#[test]
fn totals_and_tops_cost_by_how_often_rows_are_gone_through() {
    let groups = |arguments: &str, variables| {
        let query = format!("query($t: T) {{ calls(first: 1, {arguments}) {{ nodes {{ x }} }} }}");
        cost(&query, variables).map(|cost| cost - 2)
    };
    let none = || serde_json::json!({});
    assert_eq!(groups("groupBy: [A, B, C]", none()), Ok(20));
    assert_eq!(groups("groupBy: [A, B, C], totals: CUBE", none()), Ok(8 * 20));
    assert_eq!(groups("groupBy: [A, B, C], totals: ROLLUP", none()), Ok(4 * 20));
    let named = serde_json::json!({"t": "CUBE"});
    assert_eq!(groups("groupBy: [A], every: {width: \"1d\"}, totals: $t", named), Ok(4 * 20));
    assert_eq!(groups("groupBy: [A], totals: $t, top: 3", none()), Ok(2 * 20));
}

#[test]
fn conditions_cost_by_their_number_and_length() {
    let rows = 20 + 2;
    let none = serde_json::json!({});
    let query =
        r#"{ calls(first: 1, where: {a: {in: [1, 2, 3]}, or: [{b: {eq: "x"}}]}) { nodes } }"#;
    assert_eq!(cost(query, none), Ok(rows - 1 + 4 * 5));
    let query = "query($w: W) { calls(first: 1, where: $w) { nodes } }";
    let given = serde_json::json!({"w": {"b": {"contains": "y".repeat(320)}}});
    assert_eq!(cost(query, given), Ok(rows - 1 + 5 + 10));
}

#[test]
fn conditions_of_measures_cost_for_each_and_not_for_each_group() {
    let none = serde_json::json!({});
    let plain = "{ calls(first: 10) { nodes { count sum { a b } } } }";
    let plain = cost(plain, none.clone()).unwrap();
    let one = "{ calls(first: 10) { nodes { count(where: {a: {eq: 1}}) sum { a b } } } }";
    assert_eq!(cost(one, none.clone()), Ok(plain + 5));
    let two = "{ calls(first: 10) { nodes { count sum(where: {a: {in: [1, 2]}}) { a b } } } }";
    assert_eq!(cost(two, none.clone()), Ok(plain + 2 * 5 * 2));
    let twice = "fragment F on N { x: sum(where: {a: {eq: 1}}) { a } } { calls(first: 1) { nodes { ...F } } \
                 again: calls(first: 1) { nodes { ...F } } }";
    assert_eq!(cost(twice, none), Ok(2 * (20 + 1 + 2 + 5)));
}

#[test]
fn keys_cost_by_their_length() {
    let query = format!(
        "{{ {}: calls(first: 2) {{ nodes {{ {}: x }} }} }}",
        "a".repeat(64),
        "b".repeat(320)
    );
    assert_eq!(cost(&query, serde_json::json!({})), Ok(20 + 2 + 2 * (1 + 11)));
}

#[test]
fn the_most_type_names_of_one_object_are_found() {
    let query = "{ __typename a { ...f b { __typename } } } \
                 fragment f on A { t: __typename ... on B { u: __typename } }";
    let (paged, limits) = (PagedFields::default(), Limits::default());
    let admitted =
        admit(query, None, &Variables::default(), &paged, &limits, Given::Values).unwrap();
    assert_eq!(admitted.typename_bytes, 2 * (1 + TYPE_NAME_BYTES));
}

#[test]
fn a_bomb_of_fragments_is_refused_at_once() {
    let mut query = "{ ...f0 }".to_owned();
    for i in 0..60 {
        query += &format!(" fragment f{i} on Query {{ a {{ ...f{} ...f{} }} }}", i + 1, i + 1);
    }
    query += " fragment f60 on Query { a }";
    assert!(cost(&query, serde_json::json!({})).unwrap_err().contains("limit"));
    let mut flat = "{ ...f0 }".to_owned();
    for i in 0..60 {
        flat += &format!(" fragment f{i} on Query {{ ...f{} ...f{} }}", i + 1, i + 1);
    }
    flat += " fragment f60 on Query { a }";
    assert!(cost(&flat, serde_json::json!({})).unwrap_err().contains("limit"));
}

#[test]
fn a_bomb_that_ends_in_nothing_is_refused_at_once() {
    let steps: String =
        (0..60).map(|i| format!(" fragment f{i} on Query {{ ...f{0} ...f{0} }}", i + 1)).collect();
    for end in ["...nope", "a @include(if: false)"] {
        for root in ["{ ...f0 }", "{ __schema { ...f0 } }"] {
            let query = format!("{root}{steps} fragment f60 on Query {{ {end} }}");
            let began = std::time::Instant::now();
            assert!(cost(&query, serde_json::json!({})).is_err(), "{query}");
            assert!(began.elapsed().as_secs() < 5);
        }
    }
}

#[test]
fn a_fragment_in_itself_is_refused() {
    let query = "{ ...a } fragment a on Query { x { ...b } } fragment b on Query { x { ...a } }";
    assert!(cost(query, serde_json::json!({})).unwrap_err().contains("contains itself"));
}

#[test]
fn depth_and_roots_are_bounded() {
    let deep = format!("{}a{}", "{ a ".repeat(30), "}".repeat(30));
    assert!(cost(&deep, serde_json::json!({})).unwrap_err().contains("depth"));
    let wide = format!("{{ {} }}", (0..21).map(|i| format!("x{i}: a ")).collect::<String>());
    assert!(cost(&wide, serde_json::json!({})).unwrap_err().contains("root"));
}

#[test]
fn a_subscription_has_one_field_even_in_a_fragment() {
    let none = serde_json::json!({});
    assert!(cost("subscription { ...f } fragment f on Subscription { a }", none.clone()).is_ok());
    assert!(cost("subscription { a b }", none).unwrap_err().contains("exactly one"));
}
