//! What a root may be, and what is said of one that can't be used.

use super::*;
use crate::Code;

#[tokio::test]
async fn a_folder_is_a_root_under_each_of_its_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a root with spaces");
    let path = path.to_str().unwrap();
    let engine = engine_at(path).await;
    send(&engine, 0..40, None).await.unwrap();
    engine.shutdown().await.unwrap();
    let url = url::Url::from_directory_path(path).unwrap();
    for root in [path.to_owned(), format!("file:{path}"), url.to_string()] {
        let engine = Engine::open(options(&root)).await.unwrap();
        engine.ready().await.unwrap();
        assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 40, "{root}");
        engine.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn who_must_be_alone_is_told_who_writes_and_a_reader_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    let mut first = options(root);
    first.access = Access::Writer { holder: "serve on http://127.0.0.1:8642".to_owned() };
    let writer = Engine::open(first).await.unwrap();
    let alone = Access::Alone { holder: "doctor".to_owned() };
    let alone = EngineOptions { access: alone, ..options(root) };
    let refused = Engine::open(alone.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Conflict);
    assert!(refused.to_string().contains("serve on http://127.0.0.1:8642"), "{refused}");

    writer.create_dataset(&who(), calls()).await.unwrap();
    let reader = EngineOptions { access: Access::ReadOnly, ..options(root) };
    let reader = Engine::open(reader).await.unwrap();
    assert_eq!(number(&reader, "SELECT count(*) FROM calls").await, 0);
    let refused = reader.create_dataset(&who(), calls()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Forbidden);

    // The reader sees what the writer commits when it looks again.
    send(&writer, 0..5, None).await.unwrap();
    reader.refresh_catalog(&who()).await.unwrap();
    assert_eq!(number(&reader, "SELECT count(*) FROM calls").await, 5);
    writer.shutdown().await.unwrap();
    assert!(Engine::open(alone).await.is_ok());
}

#[tokio::test]
async fn a_root_that_can_not_be_used_says_why_and_not_where() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    for (root, code) in [
        (file.to_str().unwrap(), Code::StorageUnavailable),
        ("", Code::BadInput),
        ("ftp://host/x", Code::BadInput),
        ("file://host/x", Code::BadInput),
        ("file:", Code::BadInput),
    ] {
        let error = Engine::open(options(root)).await.unwrap_err();
        assert_eq!(error.code(), code, "{root}: {error}");
        assert!(!error.to_string().contains(folder.path().to_str().unwrap()), "{error}");
    }
    let none = folder.path().join("none");
    let read = EngineOptions { access: Access::ReadOnly, ..options(none.to_str().unwrap()) };
    assert_eq!(Engine::open(read).await.unwrap_err().code(), Code::StorageUnavailable);
    assert!(!none.exists(), "a reader made the folder");
}

#[tokio::test]
async fn named_memory_is_shared_while_an_engine_lives_and_unnamed_is_not() {
    let root = "memory:shared-while-it-lives";
    let first = Engine::open(options(root)).await.unwrap();
    first.create_dataset(&who(), calls()).await.unwrap();
    let second = Engine::open(options(root)).await.unwrap();
    assert_eq!(number(&second, "SELECT count(*) FROM calls").await, 0);
    drop((first, second));
    let third = Engine::open(options(root)).await.unwrap();
    assert!(third.catalog(&who()).await.unwrap().datasets.is_empty());
    let (a, b) = (engine().await, Engine::open(options("memory:")).await.unwrap());
    assert_eq!(a.catalog(&who()).await.unwrap().datasets.len(), 1);
    assert!(b.catalog(&who()).await.unwrap().datasets.is_empty());
}

#[cfg(feature = "cloud")]
#[tokio::test]
async fn an_object_store_that_does_not_answer_is_told_with_what_was_tried() {
    let mut options = options("s3://bucket/prefix");
    // Nothing listens on port 9 of this machine.
    for (key, value) in [
        ("aws_endpoint", "http://127.0.0.1:9"),
        ("aws_access_key_id", "secret-id"),
        ("aws_secret_access_key", "secret-key"),
        ("aws_region", "nowhere-1"),
        ("aws_allow_http", "true"),
    ] {
        options.storage_options.insert(key.to_owned(), value.to_owned());
    }
    let mut mistyped = options.clone();
    mistyped.storage_options.insert("aws_regoin".to_owned(), "secret".to_owned());
    let error = Engine::open(mistyped).await.unwrap_err();
    assert_eq!(error.to_string(), "storage option \"aws_regoin\" is not one that a s3: root knows");
    for (key, value, says) in [
        ("aws_endpoint", "secret", "aws_endpoint: expected a URL such as https://host:9000"),
        ("aws_endpoint", "s3://secret", "aws_endpoint: expected a URL"),
        ("aws_allow_http", "false", "aws_endpoint: expected https, or aws_allow_http = true"),
    ] {
        let mut wrong = options.clone();
        wrong.storage_options.insert(key.to_owned(), value.to_owned());
        let error = Engine::open(wrong).await.unwrap_err();
        assert_eq!(error.code(), Code::BadInput);
        assert!(
            error.to_string().contains(says) && !error.to_string().contains("secret"),
            "{error}"
        );
    }
    let error = Engine::open(options).await.unwrap_err();
    assert_eq!(error.code(), Code::StorageUnavailable);
    let detail = error.detail();
    assert_eq!(detail.matches("error sending request").count(), 1, "{detail}");
    assert!(detail.ends_with("Connection refused (os error 111)"), "{detail}");
    let message = error.to_string();
    assert!(message.contains("listing the root failed"), "{message}");
    assert!(!message.contains("secret") && !message.contains("127.0.0.1"), "{message}");
}
