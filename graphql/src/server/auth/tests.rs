//! Doors as those meet them who come.
#![allow(clippy::unwrap_used)]
use engine::{Access, Engine, EngineOptions, TenantId};
use jobs::{KeyRequest, Runner, RunnerOptions};

use super::*;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

async fn runner() -> Runner {
    let options = EngineOptions {
        root: "memory:".to_owned(),
        access: Access::Writer { holder: "a test".to_owned() },
        threads: 1,
        ..EngineOptions::default()
    };
    let engine = Engine::open(options).await.unwrap();
    let options = RunnerOptions { threads: 1, ..RunnerOptions::default() };
    Runner::start(engine, options).await.unwrap()
}

async fn door(keys: Vec<ApiKey>) -> Door {
    Door::new(keys, runner().await.key_ring().await.unwrap(), None, None)
}

#[tokio::test]
async fn without_keys_the_local_user_is_let_in_and_foreign_pages_are_not() {
    let door = door(vec![]).await;
    for host in ["127.0.0.1:8642", "localhost:8642", "[::1]:8642", "LOCALHOST:9000"] {
        assert!(door.enter(&headers(&[("host", host)]), Purpose::Change).await.is_ok(), "{host}");
    }
    for host in ["evil.example:8642", "127.0.0.1.evil.example:8642", "", "10.0.0.1:8642"] {
        let error = door.enter(&headers(&[("host", host)]), Purpose::Change).await.unwrap_err();
        assert_eq!(error.code(), Code::Forbidden, "{host}");
    }
    let from = |origin| headers(&[("host", "localhost:8642"), ("origin", origin)]);
    assert!(door.enter(&from("http://localhost:8642"), Purpose::Change).await.is_ok());
    for origin in ["http://evil.example", "null", "http://localhost:3000", "http://127.0.0.1:8642"]
    {
        assert_eq!(
            door.enter(&from(origin), Purpose::Change).await.unwrap_err().code(),
            Code::Forbidden,
            "{origin}"
        );
    }
}

#[tokio::test]
async fn without_keys_an_image_of_a_foreign_page_asks_nothing() {
    let door = door(vec![]).await;
    let from = |site| headers(&[("host", "localhost:8642"), ("sec-fetch-site", site)]);
    for site in ["same-origin", "none"] {
        assert!(door.enter(&from(site), Purpose::Change).await.is_ok(), "{site}");
    }
    for site in ["cross-site", "same-site", ""] {
        let error = door.enter(&from(site), Purpose::Change).await.unwrap_err();
        assert_eq!(error.code(), Code::Forbidden, "{site}");
    }
}

#[tokio::test]
async fn a_key_tells_tenant_and_roles() {
    let tenant: TenantId = "acme".parse().unwrap();
    let door = door(vec![
        ApiKey::new("one", TenantId::default(), "a", vec![Role::Admin]),
        ApiKey::new("two", tenant.clone(), "b", vec![Role::Reader]),
    ])
    .await;
    let who = door
        .enter(&headers(&[("authorization", "Bearer two")]), Purpose::Change)
        .await
        .unwrap()
        .who;
    assert_eq!((who.tenant, who.subject.as_str()), (tenant, "b"));
    assert!(door.enter(&headers(&[("x-api-key", "one")]), Purpose::Change).await.is_ok());
    for wrong in [&[][..], &[("authorization", "Bearer three")], &[("authorization", "Basic two")]]
    {
        let error = door.enter(&headers(wrong), Purpose::Change).await.unwrap_err();
        assert_eq!(error.code(), Code::Unauthenticated);
    }
    assert!(!format!("{door:?}").contains("secret"));
}

#[tokio::test]
async fn keys_come_and_go_and_the_local_user_does_not_come_back() {
    let runner = runner().await;
    let ring = runner.key_ring().await.unwrap();
    let keeping = tokio::spawn({
        let ring = ring.clone();
        async move { ring.keep(CancellationToken::new()).await }
    });
    let door = Door::new(vec![], ring, None, None);
    let local = headers(&[("host", "localhost")]);
    let local_pass = door.enter(&local, Purpose::Change).await.unwrap();
    let request = KeyRequest {
        subject: "dashboards".to_owned(),
        roles: vec![Role::Admin],
        ..KeyRequest::default()
    };
    let made = runner.create_key(&Principal::local(), request).await.unwrap();
    // Whoever was in without a key has to come again.
    assert_eq!(over(&local_pass).await.code(), Code::Unauthenticated);
    assert!(door.needs_key());
    assert_eq!(
        door.enter(&local, Purpose::Change).await.unwrap_err().code(),
        Code::Unauthenticated
    );
    let bearer = format!("Bearer {}", made.text);
    let with = headers(&[("host", "evil.example"), ("authorization", &bearer)]);
    let pass = door.enter(&with, Purpose::Change).await.unwrap();
    assert_eq!(pass.who.subject, "dashboards");
    assert_eq!(pass.who.credential.to_string(), format!("key {}", made.key.prefix));
    assert_eq!(door.enter_with(&bearer).await.unwrap().who, pass.who);
    assert!(!format!("{pass:?} {made:?} {door:?}").contains(&made.text[13..]));

    // A secret that is all but right, a prefix that is not there, and a key that is revoked get one answer.
    let refused = |text: String| {
        let with = headers(&[("x-api-key", &text)]);
        let door = &door;
        async move { door.enter(&with, Purpose::Change).await.unwrap_err().to_string() }
    };
    let mut wrong = made.text.clone();
    let last = wrong.pop().unwrap();
    wrong.push(if last == 'a' { 'b' } else { 'a' });
    let unknown = refused(wrong).await;
    assert_eq!(refused("col_aaaaaaaa_b".to_owned()).await, unknown);
    assert_eq!(refused("col_".to_owned()).await, unknown);
    runner.revoke_key(&Principal::local(), &made.key.prefix).await.unwrap();
    assert!(over(&pass).await.to_string().contains("revoked"));
    assert_eq!(refused(made.text.clone()).await, unknown);
    assert!(!unknown.contains(&made.key.prefix));
    // None is left, and none is let in without.
    assert_eq!(
        door.enter(&local, Purpose::Change).await.unwrap_err().code(),
        Code::Unauthenticated
    );
    keeping.abort();
}

#[tokio::test]
async fn a_key_that_has_expired_ends_what_goes_on_with_it() {
    let runner = runner().await;
    let request = KeyRequest {
        subject: "for a moment".to_owned(),
        roles: vec![Role::Reader],
        expires_at: Some(Utc::now() + chrono::TimeDelta::milliseconds(200)),
        ..KeyRequest::default()
    };
    let made = runner.create_key(&Principal::local(), request).await.unwrap();
    let door = Door::new(vec![], runner.key_ring().await.unwrap(), None, None);
    let with = headers(&[("x-api-key", &made.text)]);
    let pass = door.enter(&with, Purpose::Change).await.unwrap();
    assert!(over(&pass).await.to_string().contains("expired"));
    let refused = door.enter(&with, Purpose::Change).await.unwrap_err();
    assert_eq!(refused.to_string(), "the key is not known here");
}

#[tokio::test]
async fn what_is_no_key_is_refused_whatever_its_length() {
    let door = door(vec![ApiKey::new("one", TenantId::default(), "a", vec![Role::Admin])]).await;
    for secret in ["", "x", &"x".repeat(SECRET_BYTES_MAX), &"x".repeat(SECRET_BYTES_MAX + 1)] {
        let error =
            door.enter(&headers(&[("x-api-key", secret)]), Purpose::Change).await.unwrap_err();
        assert_eq!(error.code(), Code::Unauthenticated);
        assert!(error.to_string().len() < 100, "{error}");
        assert_eq!(door.enter_with(secret).await.unwrap_err().code(), Code::Unauthenticated);
    }
}

/// Why a pass is over, within the time that a test may take.
async fn over(pass: &Pass) -> Error {
    tokio::time::timeout(Duration::from_secs(10), pass.over()).await.unwrap().why()
}
