//! Every query in `docs/sql.md`, as a reader would type it.

use crate::harness::colonnade;

#[tokio::test]
async fn the_examples_of_the_sql_page_answer() {
    let root = tempfile::tempdir().unwrap();
    let demo = ["demo", "--rows", "100000", "--gpu", "off", "--no-serve", "--json"];
    assert!(colonnade(root.path(), &demo).await.status.success());
    let page = std::fs::read_to_string("../docs/sql.md").unwrap();
    let examples: Vec<&str> = page
        .split("```sql\n")
        .skip(1)
        .filter_map(|rest| rest.split_once("```").map(|(query, _)| query))
        .collect();
    assert!(!examples.is_empty());
    for query in examples {
        let answer = colonnade(root.path(), &["sql", query, "--format", "json"]).await.json();
        let rows = answer.as_array().unwrap();
        assert!(!rows.is_empty(), "no rows:\n{query}");
        println!("{query}{}\n", rows[0]);
    }
}
