//! Query cases: text files with a request and the expected answer, in `tests/cases/graphql`.
//!
//! ```text
//! # what the case shows
//! { calls(first: 1) { nodes { id } } }
//! ---- variables
//! {}
//! ----
//! {"data": …}
//! ```
//! A part `---- duckdb data.calls.nodes` has a query in SQL, of which `tests/peers/cases_peer.py` (`make test-cases`) checks that
//! DuckDB's rows over the same data are what stands there in the answer.
//!
//! `UPDATE_CASES=1` writes the answers as they are into the files; what changed is then for a reviewer
//! to read.

use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;

use super::{Rig, declared, related};

fn write(file: &Path, batch: &RecordBatch) {
    let file = std::fs::File::create(file).unwrap();
    let mut writer = arrow::ipc::writer::FileWriter::try_new(file, &batch.schema()).unwrap();
    writer.write(batch).unwrap();
    writer.finish().unwrap();
}

#[tokio::test]
async fn every_case_is_answered_as_its_file_says() {
    let folder = PathBuf::from("../tests/cases/graphql");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    assert!(files.len() >= 200, "{} cases in tests/cases/graphql", files.len());
    let is_update = std::env::var_os("UPDATE_CASES").is_some();
    let rig = Rig::with_calls().await;
    rig.append("calls", vec![super::calls().slice(0, 0)]).await;
    related::create(&rig).await;
    declared::create(&rig).await;
    if let Some(file) = std::env::var_os("COLONNADE_CASES_TO") {
        let file = PathBuf::from(file);
        write(&file, &super::calls());
        for name in related::NAMES.into_iter().chain([declared::NAME]) {
            write(&file.with_extension(format!("{name}.arrow")), &related::rows(&rig, name).await);
        }
    }
    let (mut wrong, mut checked) = (Vec::new(), 0);
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let (request, expected) = text
            .split_once("\n----\n")
            .unwrap_or_else(|| panic!("{}: no line `----`", file.display()));
        let mut parts = request.split("\n---- ");
        let query = parts.next().unwrap_or_default();
        let mut variables = serde_json::json!({});
        for part in parts {
            let (name, text) = part.split_once('\n').unwrap_or((part, ""));
            match name.split(' ').next() {
                Some("variables") => variables = serde_json::from_str(text).unwrap(),
                // For `tests/peers/cases_peer.py`.
                Some("duckdb") => checked += 1,
                _ => panic!("{}: a part called {name:?}", file.display()),
            }
        }
        let answer = rig.ask_with(query, variables).await;
        let answer = serde_json::to_string_pretty(&answer).unwrap();
        if answer.trim() != expected.trim() {
            match is_update {
                true => std::fs::write(&file, format!("{request}\n----\n{answer}\n")).unwrap(),
                false => wrong.push(format!(
                    "{}\nexpected\n{}\nfound\n{answer}",
                    file.display(),
                    expected.trim()
                )),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(checked >= 150, "{checked} cases have a query that DuckDB is to answer alike");
}
