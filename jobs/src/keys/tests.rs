//! Who may make which keys, and who sees them.
#![allow(clippy::unwrap_used)]

use chrono::TimeDelta;
use engine::Mask;

use super::*;
use crate::run::runner::RunnerOptions;
use crate::testing::{engine, engine_at};

async fn runner() -> Runner {
    let options = RunnerOptions { threads: 1, ..RunnerOptions::default() };
    Runner::start(engine().await, options).await.unwrap()
}

fn asks(roles: &[Role]) -> KeyRequest {
    KeyRequest { subject: "a test".to_owned(), roles: roles.to_vec(), ..KeyRequest::default() }
}

fn grants(text: &str) -> GrantSet {
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn a_key_is_shown_once_and_kept_by_its_digest() {
    let (runner, who) = (runner().await, Principal::local());
    assert!(!runner.has_had_keys().await.unwrap());
    let made = runner.create_key(&who, asks(&[Role::Reader])).await.unwrap();
    assert!(runner.has_had_keys().await.unwrap());
    let rest = made.text.strip_prefix("col_").unwrap();
    let (prefix, secret) = rest.split_once('_').unwrap();
    assert_eq!((prefix, secret.len()), (made.key.prefix.as_str(), 43));
    assert!(secret.chars().all(|letter| letter.is_ascii_alphanumeric()));
    let kept = runner.store().live_keys(0, 10).await.unwrap();
    assert_eq!(kept[0].secret_sha256, in_digits(&Sha256::digest(made.text.as_bytes())));
    for text in [format!("{kept:?}"), format!("{made:?}"), format!("{:?}", runner.keys(&who).await)]
    {
        assert!(!text.contains(secret), "{text}");
    }
    let other = runner.create_key(&who, asks(&[Role::Reader])).await.unwrap();
    assert_ne!(other.text, made.text);
}

#[tokio::test]
async fn nobody_makes_a_key_that_has_more_than_the_maker() {
    let (runner, local) = (runner().await, Principal::local());
    let refused = async |who: &Principal, request: KeyRequest| {
        runner.create_key(who, request).await.unwrap_err().code()
    };
    for role in [Role::Reader, Role::Writer, Role::Operator] {
        let who = Principal::new(TenantId::default(), "x", &[role]);
        assert_eq!(refused(&who, asks(&[Role::Reader])).await, Code::Forbidden);
        assert_eq!(runner.keys(&who).await.unwrap_err().code(), Code::Forbidden);
        assert_eq!(runner.revoke_key(&who, "x").await.unwrap_err().code(), Code::Forbidden);
    }
    // An admin who sees a part of the tenant.
    let part = Grants::limited(grants(r#"{"datasets": {"a": {}}}"#), BTreeMap::new()).unwrap();
    let who = Principal { grants: part, ..Principal::local() };
    assert_eq!(refused(&who, asks(&[Role::Reader])).await, Code::Forbidden);
    // One whose own key ends.
    let end = runner.now() + TimeDelta::hours(1);
    let credential = Credential::Key { prefix: "x".into(), expires_at: Some(end) };
    let who = Principal { credential, ..Principal::local() };
    let until = |at| KeyRequest { expires_at: at, ..asks(&[Role::Reader]) };
    assert_eq!(refused(&who, until(None)).await, Code::Forbidden);
    assert_eq!(refused(&who, until(Some(end + TimeDelta::seconds(1)))).await, Code::Forbidden);
    assert!(runner.create_key(&who, until(Some(end))).await.is_ok());
    // Or whose token or session does.
    for credential in [Credential::Token { expires_at: end }, Credential::Session { ends_at: end }]
    {
        let who = Principal { credential, ..who.clone() };
        assert_eq!(refused(&who, until(None)).await, Code::Forbidden);
        assert!(runner.create_key(&who, until(Some(end))).await.is_ok());
    }
    // A key of another tenant than one's own can not be asked for.
    let acme = Principal { tenant: "acme".parse().unwrap(), ..local };
    assert_eq!(runner.create_key(&acme, asks(&[Role::Admin])).await.unwrap().key.tenant, "acme");
}

#[tokio::test]
async fn keys_of_other_tenants_are_as_if_they_were_not_there() {
    let (runner, local) = (runner().await, Principal::local());
    let acme = Principal { tenant: "acme".parse().unwrap(), ..Principal::local() };
    let made = runner.create_key(&local, asks(&[Role::Admin])).await.unwrap();
    let prefix = &made.key.prefix;
    let change = runner.store().keys_change().await.unwrap();
    let foreign = runner.revoke_key(&acme, prefix).await.unwrap_err();
    let other = runner.revoke_key(&acme, "zzzzzzzz").await.unwrap_err();
    assert_eq!((foreign.code(), other.code()), (Code::NotFound, Code::NotFound));
    assert_eq!(foreign.to_string().replace(prefix, "zzzzzzzz"), other.to_string());
    assert_eq!(runner.store().keys_change().await.unwrap(), change);
    assert!(runner.keys(&acme).await.unwrap().is_empty());
    // Who has the whole key in hand may give it.
    let revoked = runner.revoke_key(&local, &made.text).await.unwrap();
    assert_eq!((revoked.state, revoked.revoked_by.as_deref()), (KeyState::Revoked, Some("local")));
    let again = runner.revoke_key(&local, prefix).await.unwrap();
    assert_eq!(again.revoked_at, revoked.revoked_at);
}

#[tokio::test]
async fn what_can_not_be_is_refused_by_what_was_wrong() {
    let (runner, who) = (runner().await, Principal::local());
    let bad = [
        (KeyRequest { subject: " ".to_owned(), ..asks(&[Role::Reader]) }, "subject"),
        (KeyRequest { subject: "a\nb".to_owned(), ..asks(&[Role::Reader]) }, "subject"),
        (KeyRequest { subject: "a".repeat(201), ..asks(&[Role::Reader]) }, "subject"),
        (asks(&[]), "roles"),
        (KeyRequest { expires_at: Some(runner.now()), ..asks(&[Role::Reader]) }, "expires"),
        (
            KeyRequest {
                claims: [("a".to_owned(), Claim::Number(1))].into(),
                ..asks(&[Role::Reader])
            },
            "claims",
        ),
        (
            KeyRequest {
                grants: Some(grants(r#"{"datasets": {"No Name": {}}}"#)),
                ..asks(&[Role::Reader])
            },
            "No Name",
        ),
    ];
    for (request, says) in bad {
        let error = runner.create_key(&who, request).await.unwrap_err();
        assert_eq!(error.code(), Code::BadInput, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
    let wide = format!(r#"{{"datasets": {{"a": {{"rows": "{}"}}}}}}"#, "x".repeat(4_000));
    let claims = (0..100).map(|i| (format!("c{i}"), Claim::Text("x".repeat(1_000)))).collect();
    let request = KeyRequest { grants: Some(grants(&wide)), claims, ..asks(&[Role::Reader]) };
    let error = runner.create_key(&who, request).await.unwrap_err();
    assert_eq!(error.code(), Code::LimitExceeded, "{error}");
    assert!(!runner.has_had_keys().await.unwrap());
}

#[tokio::test]
async fn grants_of_a_key_have_a_salt_that_nobody_sees() {
    let (runner, who) = (runner().await, Principal::local());
    let set = grants(
        r#"{"datasets": {"tickets": {"rows": "team = claim.team", "masks": {"email": "hash"}}}}"#,
    );
    let claims: BTreeMap<_, _> = [("team".to_owned(), Claim::Text("eu".to_owned()))].into();
    let request = KeyRequest { grants: Some(set), claims: claims.clone(), ..asks(&[Role::Reader]) };
    let made = runner.create_key(&who, request).await.unwrap();
    let shown = serde_json::to_value(runner.keys(&who).await.unwrap()).unwrap();
    assert_eq!(shown[0]["grants"]["tickets"]["masks"]["email"], "hash");
    assert_eq!(shown[0]["claims"]["team"], "eu");
    assert!(!shown.to_string().contains("salt"), "{shown}");
    let ring = runner.key_ring().await.unwrap();
    let found = ring.find(&made.text).unwrap().unwrap();
    assert!(!found.principal.grants.is_all());
    let grants = found.principal.grants;
    assert!(grants.has_masks(&datasets::DatasetName::new("tickets").unwrap()));
    let masks = &made.key.grants.unwrap()["tickets"].masks;
    assert_eq!(masks["email"], Mask::Hash);
}

#[tokio::test]
async fn grants_that_do_not_fit_their_dataset_are_refused_when_they_are_given() {
    let (runner, who) = (runner().await, Principal::local());
    let spec = r#"{"name": "orders", "columns": [{"name": "amount", "type": "decimal(18,2)"}, {"name": "team", "type": "text"}]}"#;
    let spec = datasets::DatasetSpec::from_json(spec).unwrap();
    runner.engine().create_dataset(&who, spec).await.unwrap();
    let make = async |of: &str| {
        let set = grants(&format!(r#"{{"datasets": {{{of}}}}}"#));
        let request = KeyRequest { grants: Some(set), ..asks(&[Role::Reader]) };
        runner.create_key(&who, request).await
    };
    for (of, says) in [
        (
            r#""orders": {"masks": {"email": "hide"}}"#,
            "masks the column \"email\", and there is none",
        ),
        (r#""orders": {"masks": {"team": "bucket 100"}}"#, "\"bucket 100\" does not fit"),
        (r#""orders": {"rows": "teem = 'eu'"}"#, "teem"),
    ] {
        let error = make(of).await.unwrap_err();
        assert_eq!(error.code(), Code::BadInput, "{error}");
        let error = error.to_string();
        assert!(error.starts_with("grants: of orders: ") && error.contains(says), "{error}");
    }
    let fits = r#""orders": {"rows": "team = 'eu'", "masks": {"amount": "bucket 100"}}, "ordres": {}, "*": {}"#;
    assert_eq!(make(fits).await.unwrap().absent, ["ordres"]);
}

#[tokio::test]
async fn when_a_key_was_used_is_noted_and_not_for_each_request() {
    let (runner, who) = (runner().await, Principal::local());
    let made = runner.create_key(&who, asks(&[Role::Reader])).await.unwrap();
    let ring = runner.key_ring().await.unwrap();
    let used = async || runner.keys(&who).await.unwrap()[0].last_used_at;
    for _ in 0..3 {
        assert!(ring.find(&made.text).unwrap().is_some());
    }
    assert_eq!(used().await, None);
    let ending = tokio_util::sync::CancellationToken::new();
    ending.cancel();
    ring.keep(ending).await;
    let first = used().await.unwrap();
    assert!(first >= made.key.created_at);
}

#[tokio::test]
async fn who_has_no_runner_sees_what_keys_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine_at(folder.path()).await;
    assert!(!has_had_keys(&engine, None).await.unwrap());
    let options = RunnerOptions { threads: 1, ..RunnerOptions::default() };
    let runner = Runner::start(engine.clone(), options).await.unwrap();
    let who = Principal::local();
    let set = grants(r#"{"datasets": {"tickets": {"rows": "team = 'eu'"}, "*": {}}}"#);
    let request = KeyRequest { grants: Some(set), ..asks(&[Role::Reader]) };
    let made = runner.create_key(&who, request).await.unwrap();
    assert!(has_had_keys(&engine, None).await.unwrap());
    // What is called otherwise would be seen otherwise, while the key is of use.
    let renamed =
        async |from| require_keys_for(&engine, None, &who.tenant, from, "cases").await.map(drop);
    assert_eq!(renamed("tickets").await.unwrap_err().code(), Code::Conflict);
    assert!(renamed("others").await.is_ok());
    runner.revoke_key(&who, &made.key.prefix).await.unwrap();
    assert!(renamed("tickets").await.is_ok());
    runner.shutdown().await;
}
