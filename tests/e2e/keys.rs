//! Keys that are made on the command line while servers run, as those meet them who have or had one.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{
    Answer, Server, binary, colonnade, make, model_calls, ndjson, without_settings,
};

const QUERY: &str = "{ modelCalls(first: 1) { totalCount } }";

async fn ask(server: &Server, key: Option<&str>, query: &str) -> Answer {
    let request = server.client.post(server.url("/graphql"));
    let request = request.header("content-type", "application/json");
    let request = match key {
        Some(key) => request.bearer_auth(key),
        None => request,
    };
    let sent = request.body(json!({"query": query}).to_string()).send().await;
    Answer::of(sent.unwrap()).await
}

/// How long it takes until a server answers so.
async fn answers(server: &Server, key: Option<&str>, status: u16) -> Duration {
    let began = Instant::now();
    loop {
        let answer = ask(server, key, QUERY).await;
        if answer.status == status {
            return began.elapsed();
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{answer:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_key_of_the_command_line_opens_all_servers_and_its_end_shuts_them() {
    let root = tempfile::tempdir().unwrap();
    let servers =
        [Server::holding(root.path(), "model_calls").await, Server::start(root.path()).await];
    servers[0].accepts("model_calls", &model_calls(0, 3)).await;
    assert_eq!(ask(&servers[1], None, QUERY).await.status, 200);
    let run = async |arguments: &[&str]| {
        let outcome = colonnade(root.path(), arguments).await;
        assert!(outcome.status.success(), "{}{}", outcome.stdout, outcome.stderr);
        outcome
    };
    let admin = run(&["keys", "create", "an admin", "--role", "admin"]).await;
    assert!(admin.stderr.contains("without a key"), "{}", admin.stderr);
    let admin = admin.stdout.trim().to_owned();
    assert_eq!(admin.len(), "col_".len() + 8 + 1 + 43, "{admin}");
    let viewer =
        run(&["keys", "create", "a viewer", "--role", "viewer", "--expires", "1d", "--json"]);
    let viewer: Value = viewer.await.json();
    let (key, prefix) =
        (viewer["secret"].as_str().unwrap(), viewer["key"]["prefix"].as_str().unwrap());
    for server in &servers {
        for (key, status) in [(None, 401), (Some(admin.as_str()), 200), (Some(key), 200)] {
            let took = answers(server, key, status).await;
            assert!(took < Duration::from_secs(5), "{took:?}");
        }
    }
    // What a viewer may not.
    let rows = servers[0].client.post(servers[0].url("/v1/ingest/model_calls"));
    let rows = rows.header("content-type", "application/x-ndjson").bearer_auth(key);
    let sent = rows.body(ndjson(&model_calls(3, 1))).send().await.unwrap();
    Answer::of(sent).await.refused_with(403, "FORBIDDEN");

    run(&["keys", "revoke", prefix]).await;
    for server in &servers {
        let took = answers(server, Some(key), 401).await;
        assert!(took < Duration::from_secs(5), "{took:?}");
        assert_eq!(ask(server, Some(&admin), QUERY).await.status, 200);
    }
    let listed = run(&["keys", "list"]).await.stdout;
    assert!(listed.contains(prefix) && listed.contains("revoked"), "{listed}");
    let unknown = colonnade(root.path(), &["keys", "revoke", "zzzzzzzz"]).await;
    unknown.fails_with("NOT_FOUND");
    // What either was made of is told apart, without being told.
    let acts = "{ audit(where: {field: {eq: \"createKey\"}}) { nodes { argumentsSha256 } } }";
    let began = Instant::now();
    let made = loop {
        let answer = ask(&servers[0], Some(&admin), acts).await;
        let made = answer.body["data"]["audit"]["nodes"].as_array().cloned().unwrap_or_default();
        if made.len() == 2 {
            break made;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{answer:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_ne!(made[0], made[1]);
    for text in [servers[0].log(), servers[1].log(), listed] {
        assert!(!text.contains(&key[13..]) && !text.contains(&admin[13..]), "{text}");
    }
    // When it was used is there when the server is not.
    for server in servers {
        assert!(server.stop().await.success());
    }
    let listed = run(&["keys", "list", "--json"]).await.json();
    let used = listed.as_array().unwrap().iter().filter(|key| key["last_used_at"].is_string());
    assert_eq!(used.count(), 2, "{listed}");
}

#[tokio::test]
async fn a_server_binds_beyond_loopback_once_there_is_a_key() {
    let root = tempfile::tempdir().unwrap();
    make(root.path(), "model_calls").await;
    let everywhere = ["serve", "--listen", "0.0.0.0:0"];
    let says = colonnade(root.path(), &everywhere).await;
    assert!(says.fails_with("FORBIDDEN").contains("colonnade keys create"));
    let made = colonnade(root.path(), &["keys", "create", "x", "--role", "analyst"]).await;
    let key = made.stdout.trim().to_owned();
    let mut command = Command::new(binary());
    command.arg("--data").arg(root.path()).args(everywhere);
    without_settings(&mut command);
    let server = Server::of(command).await.unwrap();
    assert_eq!(ask(&server, None, QUERY).await.status, 401);
    assert_eq!(ask(&server, Some(&key), QUERY).await.status, 200);
    // Another tenant's folder is not opened by it, whatever is asked for.
    let answer = ask(&server, Some(&key), "{ keys { prefix } }").await;
    assert_eq!(answer.body["errors"][0]["extensions"]["code"], "FORBIDDEN", "{answer:?}");
}

#[tokio::test]
async fn what_a_key_can_not_be_is_refused() {
    let root = tempfile::tempdir().unwrap();
    make(root.path(), "model_calls").await;
    for (arguments, code, says) in [
        (&["--role", "viewer", "--grants", "none"][..], "BAD_INPUT", "none"),
        (&["--role", "viewer", "--claim", "team=eu"], "BAD_INPUT", "grants"),
        (&["--role", "viewer", "--expires", "yesterday"], "BAD_INPUT", "yesterday"),
        (&["--role", "viewer", "--expires", "2020-01-01T00:00:00Z"], "BAD_INPUT", "2020"),
    ] {
        let arguments: Vec<&str> =
            ["keys", "create", "x"].iter().chain(arguments).copied().collect();
        let outcome = colonnade(root.path(), &arguments).await;
        let line = outcome.fails_with(code);
        assert!(line.contains(says), "{line}");
    }
    let outcome = colonnade(root.path(), &["keys", "create", "x", "--role", "root"]).await;
    assert!(outcome.stderr.contains("viewer"), "{}", outcome.stderr);
    let none = colonnade(root.path(), &["keys", "list", "--json"]).await.json();
    assert_eq!(none, json!([]));
}

#[tokio::test]
async fn a_token_of_a_provider_opens_a_server_that_trusts_it() {
    let root = tempfile::tempdir().unwrap();
    make(root.path(), "model_calls").await;
    // Made by another library, with an end that is far away.
    let made: Value =
        serde_json::from_str(include_str!("../../graphql/src/server/auth/jwt/tokens.json"))
            .unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let (jwks, config) =
        (elsewhere.path().join("jwks.json"), elsewhere.path().join("colonnade.toml"));
    std::fs::write(&jwks, made["jwks"].to_string()).unwrap();
    let settings = format!(
        "[auth.jwt]\nissuer = \"https://id.example.org\"\naudience = \"colonnade\"\njwks = {:?}\n\n\
         [[auth.jwt.roles]]\nvalue = \"admins\"\nrole = \"admin\"\n",
        jwks.to_str().unwrap()
    );
    std::fs::write(&config, &settings).unwrap();
    let flags = ["--config", config.to_str().unwrap()];
    let server = Server::start_with(root.path(), &flags).await;
    let token = |name: &str| made["tokens"][name].as_str().unwrap().to_owned();
    assert_eq!(ask(&server, None, QUERY).await.status, 401);
    for (name, status) in [("RS256", 200), ("ES256", 200), ("EdDSA", 200), ("PS256", 401)] {
        let answer = ask(&server, Some(&token(name)), QUERY).await;
        assert_eq!(answer.status, status, "{name}: {answer:?}");
    }
    let keys = ask(&server, Some(&token("RS256")), "{ keys { prefix } }").await;
    assert_eq!(keys.body["data"]["keys"], json!([]), "{keys:?}");
    assert!(!server.log().contains(&token("RS256")));
    drop(server);
    for (from, to, says) in [
        ("\"colonnade\"", "[]", "audience"),
        ("jwks = ", "algorithms = [\"HS256\"]\njwks = ", "HS256"),
        ("jwks.json", "none.json", "none.json"),
        ("issuer", "isuer", "isuer"),
        ("\"admin\"\n", "\"admin\"\ngrants = \"none\"\n", "none"),
        ("jwks = ", "leeway = \"1h\"\njwks = ", "leeway"),
    ] {
        std::fs::write(&config, settings.replace(from, to)).unwrap();
        let arguments = [flags[0], flags[1], "config"];
        let line = colonnade(root.path(), &arguments).await;
        assert!(line.fails_with("BAD_INPUT").contains(says), "{says}: {}", line.stderr);
    }
}
