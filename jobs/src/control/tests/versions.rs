//! The version of a control database, and read-only databases.

use super::*;

#[tokio::test]
async fn a_file_has_its_version_in_its_header_and_a_later_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("control.db");
    let version = async |store: &SqlStore| {
        let row = sqlx::query("PRAGMA user_version").fetch_one(store.pool()).await.unwrap();
        sqlx::Row::get::<i64, _>(&row, 0)
    };
    let store = SqlStore::open_file(&file).await.unwrap();
    let known = version(&store).await;
    assert!(known >= 14, "{known}");
    // A file of a release that did not write the version.
    sqlx::query("PRAGMA user_version = 0").execute(store.pool()).await.unwrap();
    store.close().await;
    let store = SqlStore::open_file(&file).await.unwrap();
    assert_eq!(version(&store).await, known);
    sqlx::query("PRAGMA user_version = 99").execute(store.pool()).await.unwrap();
    store.close().await;
    let refused = SqlStore::open_file(&file).await.err().unwrap();
    assert!(matches!(refused, ControlError::TooNew { found: 99, .. }), "{refused}");
    let says = refused.to_string();
    assert!(says.contains("a later release wrote it"), "{says}");
}

#[tokio::test]
async fn a_read_only_database_can_be_listed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("control.db");
    let store = SqlStore::open_file(&file).await.unwrap();
    store.enqueue(&new_run("r1", "t"), ROOM).await.unwrap();
    store.close().await;
    let only = SqlStore::open_to_read(&file).await.unwrap();
    let asked = Asked { limit: 10, ..Asked::default() };
    let runs = only.list("t", &asked).await.unwrap();
    assert_eq!(runs.iter().map(|run| run.id.as_str()).collect::<Vec<_>>(), ["r1"]);
    let refused = only.enqueue(&new_run("r2", "t"), ROOM).await.unwrap_err();
    assert!(matches!(refused, ControlError::Unavailable(_)), "{refused}");
    only.close().await;
    let none = SqlStore::open_to_read(&folder.path().join("none.db")).await.err().unwrap();
    assert!(matches!(none, ControlError::Unavailable(_)), "{none}");
    assert!(!folder.path().join("none.db").exists());
}
