//! Queries from files, from standard input, and from who types them.

use std::path::Path;
use std::process::Stdio;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{ChildStdout, Command};

use crate::harness::{PATIENCE, binary, colonnade, without_settings};

const LETTERS: &str = "SELECT * FROM (VALUES (1, 'a;b'), (2, 'c')) AS t (n, letter) ORDER BY n";

#[tokio::test]
async fn files_and_standard_input_hold_several_queries() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("two.sql");
    std::fs::write(&file, format!("-- one; two\n{LETTERS};\n\nSELECT 3 AS three")).unwrap();
    let file = file.to_str().unwrap();
    let answer =
        colonnade(root.path(), &["sql", "-f", file, "--file", file, "--format", "csv"]).await;
    let once = "n,letter\n1,a;b\n2,c\nthree\n3\n";
    assert_eq!((answer.stdout.as_str(), answer.stderr.as_str()), (&*once.repeat(2), ""));

    let answer = piped(root.path(), &["sql", "--format", "csv"], LETTERS).await;
    assert_eq!(answer, (Some(0), "n,letter\n1,a;b\n2,c\n".to_owned(), String::new()));

    // The first that fails is the last, and which one it was is told.
    let text = "SELECT 1 AS one;\nSELECT nothing;\nSELECT 2";
    let (code, stdout, stderr) = piped(root.path(), &["sql", "--format", "csv"], text).await;
    assert_eq!((code, stdout.as_str()), (Some(1), "one\n1\n"));
    assert!(stderr.contains("query 2: there is no column \"nothing\""), "{stderr}");

    // Lines with a backslash say what they do in the shell.
    let (code, stdout, stderr) =
        piped(root.path(), &["sql", "--format", "csv"], "\\?\nSELECT 4 AS four;\n\\q\nSELECT 5")
            .await;
    assert_eq!((code, stdout.as_str()), (Some(0), "four\n4\n"), "{stderr}");
    assert!(stderr.contains("the datasets"), "{stderr}");
    let (code, _, stderr) = piped(root.path(), &["sql"], "\\nothing").await;
    assert!(code == Some(1) && stderr.contains("\\nothing: expected one of"), "{stderr}");

    let (code, _, stderr) = piped(root.path(), &["sql"], " -- nothing\n;").await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("error[BAD_INPUT]: SQL: there is no query"), "{stderr}");
    let both = colonnade(root.path(), &["sql", "SELECT 1", "-f", file]).await;
    assert_eq!(both.status.code(), Some(2), "{}", both.stderr);
    let answer = colonnade(root.path(), &["sql", "-f", "/no/such.sql"]).await;
    assert!(answer.fails_with("NOT_FOUND").contains("/no/such.sql"), "{}", answer.stderr);
}

#[tokio::test]
async fn a_table_is_cut_and_says_so() {
    let root = tempfile::tempdir().unwrap();
    let many = "SELECT value AS n FROM generate_series(1, 30000)";
    for (rows, shown) in [(&[][..], 100), (&["--rows", "7"], 7), (&["--rows", "0"], 30_000)] {
        let answer = colonnade(root.path(), &[&["sql", many], rows].concat()).await;
        let lines = answer.stdout.lines().filter(|line| line.starts_with("| ")).count();
        let heads = answer.stdout.lines().filter(|line| line.starts_with("| n")).count();
        assert_eq!(lines - heads, shown);
        let says = format!("the first {shown} of 30,000 rows");
        assert_eq!(answer.stderr.contains(&says), shown < 30_000, "{}", answer.stderr);
    }
    // Other formats are for programs, and have all.
    let answer = colonnade(root.path(), &["sql", many, "--format", "csv"]).await;
    assert_eq!(answer.stdout.lines().count(), 30_001);
}

/// As `| head` does.
#[tokio::test]
async fn who_reads_the_first_rows_alone_hears_no_complaint() {
    let root = tempfile::tempdir().unwrap();
    let many = "SELECT value AS n, repeat('x', 100) AS x FROM generate_series(1, 2000000)";
    for format in
        [&["--format", "csv"][..], &["--format", "json"], &["--format", "arrow"], &["--rows", "0"]]
    {
        let mut command = Command::new(binary());
        command.arg("--data").arg(root.path()).args(["sql", many]).args(format);
        without_settings(&mut command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut begin = [0; 64];
        stdout.read_exact(&mut begin).await.unwrap();
        drop(stdout);
        let output =
            tokio::time::timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap();
        let says = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && says.is_empty(), "{format:?}: {} {says}", output.status);
    }
}

#[tokio::test]
async fn files_are_read_where_they_lie_and_rows_go_to_files() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    // In Latin-1, as spreadsheets write it.
    std::fs::write(path("a.csv"), b"id;Gr\xF6\xDFe\n1;1,5\n2;2,5\n").unwrap();
    std::fs::write(path("b.json"), "[{\"id\": 3, \"tags\": [1, 2]}, {\"id\": 4, \"tags\": null}]")
        .unwrap();
    let ask = async |query: &str| colonnade(&root, &["sql", query, "--format", "json"]).await;
    let from = |name: &str| format!("SELECT * FROM '{}' ORDER BY id", path(name));

    assert_eq!(
        ask(&from("a.csv")).await.json(),
        json!([{"id": 1, "groesse": "1,5"}, {"id": 2, "groesse": "2,5"}])
    );
    assert_eq!(ask(&from("b.json")).await.json()[0], json!({"id": 3, "tags": [1, 2]}));
    // To each format and back.
    for name in ["c.parquet", "c.csv", "c.ndjson", "c.arrow"] {
        let copy = format!(
            "COPY (SELECT id, id * 2 AS twice FROM '{}') TO '{}'",
            path("b.json"),
            path(name)
        );
        let copied = ask(&copy).await;
        assert!(
            copied.stderr.contains(&format!("2 rows were written to {}", path(name))),
            "{}",
            copied.stderr
        );
        assert_eq!(
            ask(&from(name)).await.json(),
            json!([{"id": 3, "twice": 6}, {"id": 4, "twice": 8}]),
            "{name}"
        );
        let again = ask(&copy).await;
        assert!(
            again.fails_with("CONFLICT").contains("there is a file already"),
            "{}",
            again.stderr
        );
    }
    let said =
        format!("COPY (SELECT 5 AS id, 10 AS twice) TO '{}' STORED AS PARQUET", path("d.parquet"));
    ask(&said).await;
    let both = format!("SELECT count(*) AS n, sum(twice) AS s FROM '{}'", path("[cd].parquet"));
    assert_eq!(ask(&both).await.json(), json!([{"n": 3, "s": 24}]));
    // Beside datasets.
    let loaded = colonnade(&root, &["ingest", "things", &path("c.parquet"), "--create", "--json"])
        .await
        .json();
    assert_eq!(loaded["accepted"], 2);
    let joined =
        format!("SELECT count(*) AS n FROM things JOIN '{}' AS f USING (id)", path("c.csv"));
    assert_eq!(ask(&joined).await.json(), json!([{"n": 2}]));
    ask(&format!("COPY things TO '{}'", path("e.ndjson"))).await;
    assert_eq!(std::fs::read_to_string(path("e.ndjson")).unwrap().lines().count(), 2);

    for (query, code, says) in [
        (
            format!("SELECT * FROM '{}'", path("none.csv")),
            "NOT_FOUND",
            "none.csv': there is no such file",
        ),
        (format!("SELECT * FROM '{}'", path("*.nothing")), "NOT_FOUND", "there is no such file"),
        (
            format!("COPY (SELECT 1) TO '{}'", path("x.doc")),
            "BAD_INPUT",
            "expected a name that ends in .parquet",
        ),
        (
            format!("COPY (SELECT 1) TO '{}'", path("none/x.csv")),
            "NOT_FOUND",
            "there is no such folder",
        ),
        (
            format!("COPY (SELECT 1) TO '{}' PARTITIONED BY (a)", path("x.csv")),
            "BAD_INPUT",
            "nothing behind it but STORED AS",
        ),
        (format!("COPY (DELETE FROM things) TO '{}'", path("x.csv")), "BAD_INPUT", ""),
        (
            format!("COPY nothing TO '{}'", path("x.csv")),
            "NOT_FOUND",
            "dataset nothing does not exist",
        ),
    ] {
        let answer = ask(&query).await;
        assert!(answer.fails_with(code).contains(says), "{query}: {}", answer.stderr);
    }
    assert!(!folder.path().join("x.csv").exists(), "what failed leaves nothing");
    // One that does not fit its columns is told with its place.
    std::fs::write(path("f.csv"), "id,v\n1,1\n").unwrap();
    std::fs::write(path("g.csv"), "id,v\n2,2\n3,three\n").unwrap();
    let answer = ask(&format!("SELECT sum(v) FROM '{}'", path("[fg].csv"))).await;
    let says = answer.fails_with("BAD_INPUT");
    for part in ["g.csv:3 (row 2)", "expected int64, found \"three\"", "`colonnade ingest`"] {
        assert!(says.contains(part), "{part}: {says}");
    }
    let unlike = ask(&format!("SELECT * FROM '{}'", path("[ag].csv"))).await;
    let says = unlike.fails_with("BAD_INPUT");
    assert!(says.contains("of several files the first says which columns they have"), "{says}");
    let sum = ask(&format!("SELECT sum(\"groesse\") FROM '{}'", path("a.csv"))).await;
    let says = sum.fails_with("BAD_INPUT");
    assert!(
        says.contains("SQL: sum takes no such arguments: found sum(text); expected sum("),
        "{says}"
    );
    assert!(!says.contains("bug") && !says.contains("Internal"), "{says}");
}

/// Needs a terminal, which `script` makes.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn who_types_queries_sees_what_they_answer() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let typed = format!("'{}' --data '{}' sql", binary().display(), root.display());
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &typed, "/dev/null"]);
    without_settings(&mut command);
    command.env("XDG_STATE_HOME", folder.path().join("state")).env("TERM", "xterm");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("util-linux's `script` is there");
    let mut keys = child.stdin.take().unwrap();
    let mut screen = child.stdout.take().unwrap();

    until(&mut screen, "colonnade> ").await;
    for (line, says, then) in [
        ("SELECT 40 + 2 AS it", "", "        -> "),
        (";", "| 42 |", "colonnade> "),
        ("SELECT 'a;b' AS x; SELECT 7 AS y;", "| a;b |", "colonnade> "),
        ("SELECT 1 FROM nowhere;", "error[NOT_FOUND]", "colonnade> "),
        ("\\d model_calls", "model_calls does not exist", "colonnade> "),
        ("\\timing", "timing is on", "colonnade> "),
        ("SELECT 1;", " ms", "colonnade> "),
        ("\\nonsense", "expected one of \\d,", "colonnade> "),
    ] {
        keys.write_all(format!("{line}\r").as_bytes()).await.unwrap();
        // The line itself comes back first, with the prompt where it is drawn anew.
        until(&mut screen, "\u{1b}[?2004l").await;
        let shown = until(&mut screen, then).await;
        assert!(shown.contains(says), "{line}: {shown}");
    }
    keys.write_all(b"\\q\r").await.unwrap();
    let status = tokio::time::timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
    assert!(status.success(), "{status}");
    let history = folder.path().join("state/colonnade/sql_history");
    let history = std::fs::read_to_string(history).unwrap();
    assert!(history.contains("SELECT 'a;b' AS x; SELECT 7 AS y;"), "{history}");
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0, "who only asks makes nothing");
}

/// What is shown until `what` is.
#[cfg(target_os = "linux")]
async fn until(screen: &mut ChildStdout, what: &str) -> String {
    let mut shown = Vec::new();
    let read = async {
        while !shown.ends_with(what.as_bytes()) {
            shown.push(screen.read_u8().await.expect("the shell is still there"));
        }
    };
    let ended = tokio::time::timeout(PATIENCE, read).await;
    let shown = String::from_utf8_lossy(&shown).into_owned();
    assert!(ended.is_ok(), "{what} never came: {shown}");
    shown
}

/// Exit status, stdout and stderr of a command that is sent `text`.
async fn piped(root: &Path, arguments: &[&str], text: &str) -> (Option<i32>, String, String) {
    let mut command = Command::new(binary());
    command.arg("--data").arg(root).args(arguments).kill_on_drop(true);
    without_settings(&mut command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (ended.status.code(), text(ended.stdout), text(ended.stderr))
}
