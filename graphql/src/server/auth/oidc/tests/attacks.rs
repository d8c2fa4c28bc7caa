//! What somebody tries who is not the one, or has another's browser do it.

use super::*;

#[tokio::test]
async fn a_login_counts_in_its_browser_once_and_with_its_state() {
    let site = Site::new().await;
    let mut victim = site.browser();
    let back = victim.begin(&site.provider, "/auth/login").await;
    // Nobody is logged in by an address that somebody else made.
    let mut other = site.browser();
    let of_other = other.begin(&site.provider, "/auth/login").await;
    let (code, _) = back.split_once("&state=").unwrap();
    for path in [
        of_other.as_str(),
        &format!("{code}&state="),
        &format!("{code}&state=wrong"),
        code,
        "/auth/callback",
        "/auth/callback?error=access_denied",
        &format!("{back}&state=twice"),
    ] {
        let seen = victim.get(path).await;
        assert_eq!((seen.status, seen.sets_session), (400, false), "{path}: {}", seen.text);
        // What was begun goes on.
        assert!(victim.cookies.contains_key(LOGIN));
    }
    let seen = Browser::at(&site.address).get(&back).await;
    assert_eq!((seen.status, seen.sets_session), (400, false), "{}", seen.text);
    let before = victim.clone();
    assert_eq!(victim.get(&back).await.status, 303);
    // The code again, without the cookie of the login and with it.
    for mut again in [victim, before] {
        let seen = again.get(&back).await;
        assert_eq!((seen.status, seen.sets_session), (400, false), "{}", seen.text);
    }
    // The code of one login in another.
    let mut browser = site.browser();
    let stolen = browser.begin(&site.provider, "/auth/login").await;
    let (code, _) = stolen.split_once("&state=").unwrap();
    let mut thief = site.browser();
    let begun = thief.begin(&site.provider, "/auth/login").await;
    let (_, state) = begun.split_once("&state=").unwrap();
    let seen = thief.get(&format!("{code}&state={state}")).await;
    assert_eq!((seen.status, seen.sets_session), (400, false), "{}", seen.text);
}

#[tokio::test]
async fn only_a_token_of_this_login_of_this_client_by_this_provider_is_believed() {
    let site = Site::new().await;
    let now = Utc::now().timestamp();
    let header = |header: Value| Some(header);
    let own = || None;
    let claims = [
        (json!({"nonce": "of another login"}), own(), "nonce"),
        (json!({"nonce": null}), own(), "nonce"),
        (json!({"iss": "https://id.example.org"}), own(), "iss"),
        (json!({"iss": format!("{}/", site.provider.issuer)}), own(), "iss"),
        (json!({"aud": "other"}), own(), "aud"),
        (json!({"aud": [CLIENT, "other"]}), own(), "azp"),
        (json!({"aud": [CLIENT, "other"], "azp": "other"}), own(), "azp"),
        (json!({"azp": "other"}), own(), "azp"),
        (json!({"azp": [CLIENT]}), own(), "azp"),
        (json!({"exp": now - 60}), own(), "exp"),
        (json!({"exp": null}), own(), "exp"),
        (json!({"iat": now + 600}), own(), "iat"),
        (json!({"sub": null}), own(), "sub"),
        (json!({}), header(json!({"alg": "HS256", "kid": "one"})), "not one that"),
        (json!({}), header(json!({"alg": "ES256", "kid": "one", "typ": "at+jwt"})), "for access"),
        (
            json!({}),
            header(json!({"alg": "ES256", "kid": "one", "typ": "logout+jwt"})),
            "not one that",
        ),
    ];
    let refused = async |says: &str| {
        let mut browser = site.browser();
        let back = browser.begin(&site.provider, "/auth/login").await;
        let seen = browser.get(&back).await;
        assert_eq!((seen.status, seen.sets_session), (403, false), "{says}: {}", seen.text);
        assert!(seen.text.contains(says), "{says}: {}", seen.text);
    };
    for (claims, header, says) in claims {
        site.provider.says.lock().claims = claims;
        site.provider.says.lock().header = header;
        refused(says).await;
    }
    site.provider.says.lock().claims = json!({});
    for algorithm in ["none", "None", "ES256"] {
        site.provider.says.lock().header = Some(json!({"alg": algorithm, "kid": "one"}));
        site.provider.says.lock().is_unsigned = true;
        refused("not one that").await;
    }
    site.provider.says.lock().header = None;
    site.provider.says.lock().is_unsigned = false;
    site.provider.says.lock().claims = json!({"aud": [CLIENT, "other"], "azp": CLIENT});
    assert_eq!(site.logged_in().await.ask(CALLS).await.status, 200);
}

#[tokio::test]
async fn an_answer_says_which_provider_it_is_of() {
    let site = Site::new().await;
    let with = async |iss: &str| {
        let mut browser = site.browser();
        let back = browser.begin(&site.provider, "/auth/login").await;
        let seen = browser.get(&format!("{back}{iss}")).await;
        (seen.status, seen.sets_session)
    };
    assert_eq!(with("&iss=https://id.example.org").await, (400, false));
    assert_eq!(with(&format!("&iss={}", site.provider.issuer)).await, (303, true));
    // One that says it always is not believed without.
    let provider = site.provider.clone();
    provider.says.lock().metadata = json!({"authorization_response_iss_parameter_supported": true});
    let strict = Site::with(provider.clone(), options(&provider)).await;
    let mut browser = strict.browser();
    let back = browser.begin(&provider, "/auth/login").await;
    let seen = browser.get(&back).await;
    assert_eq!((seen.status, seen.sets_session), (400, false), "{}", seen.text);
}

#[tokio::test]
async fn a_login_leads_to_pages_of_this_server_alone() {
    let site = Site::new().await;
    let mut browser = site.browser();
    for to in [
        "https://evil.example",
        "//evil.example",
        "/%5Cevil.example",
        "%5C%5Cevil.example",
        "/%09/evil.example",
        "%09//evil.example",
        "/%0D%0ALocation:%20https://evil.example",
        "javascript:alert(1)",
        "evil.example",
        "%20/",
        "",
        &format!("/{}", "a".repeat(1_024)),
        "/&to=/",
    ] {
        let seen = browser.get(&format!("/auth/login?to={to}")).await;
        assert_eq!(seen.status, 400, "{to}");
        assert!(!seen.headers.contains_key("location") && browser.cookies.is_empty(), "{to}");
    }
    // Wherever it leads, it says the server's own name.
    for (to, leads) in [
        ("/", "/"),
        ("/.//evil.example", "//evil.example"),
        ("/a/..//evil.example", "//evil.example"),
        ("/@evil.example", "/@evil.example"),
        ("/?a=%2F%2Fevil.example", "/?a=//evil.example"),
        ("/%C3%A4", "/%C3%A4"),
    ] {
        let back = browser.begin(&site.provider, &format!("/auth/login?to={to}")).await;
        assert_eq!(browser.get(&back).await.location(), format!("{PUBLIC}{leads}"), "{to}");
    }
}

#[tokio::test]
async fn a_cookie_alone_changes_nothing() {
    let site = Site::new().await;
    let mut browser = site.logged_in().await;
    let csrf = browser.get("/auth/me").await.json()["csrfToken"].as_str().unwrap().to_owned();
    let of_other = site.logged_in().await.get("/auth/me").await.json()["csrfToken"].clone();
    let body = json!({"query": CALLS}).to_string();
    let (json_type, lines) =
        (("content-type", "application/json"), ("content-type", "application/x-ndjson"));
    for shown in [None, Some(""), Some("wrong"), of_other.as_str(), Some(&csrf[1..])] {
        let shown: Vec<_> = shown.iter().map(|shown| (CSRF_HEADER, *shown)).collect();
        for (path, kind) in
            [("/graphql", json_type), ("/v1/ingest/calls", lines), ("/auth/logout", json_type)]
        {
            let headers = [shown.clone(), vec![kind, ("origin", PUBLIC)]].concat();
            let seen = browser.post(path, &body, &headers).await;
            assert_eq!(seen.status, 403, "{path} {shown:?}: {}", seen.text);
            assert!(seen.text.contains(CSRF_HEADER), "{}", seen.text);
        }
    }
    let shown = (CSRF_HEADER, csrf.as_str());
    assert_eq!(browser.post("/graphql", &body, &[json_type, shown]).await.status, 200);
    let row = r#"{"id": "new", "at": "2026-02-01T00:00:00Z"}"#;
    let seen = browser.post("/v1/ingest/calls", row, &[lines, shown]).await;
    assert_eq!(seen.status, 200, "{}", seen.text);
    // To read it is enough, for pages of this server.
    let query = "/graphql?query=%7B%20calls(first:%201)%20%7B%20nodes%20%7B%20id%20%7D%20%7D%20%7D";
    for (headers, status) in [
        (vec![], 200),
        (vec![("sec-fetch-site", "same-origin"), ("origin", PUBLIC)], 200),
        (vec![("sec-fetch-site", "none")], 200),
        (vec![("sec-fetch-site", "cross-site")], 403),
        (vec![("sec-fetch-site", "same-site")], 403),
        (vec![("origin", "https://evil.example")], 403),
        (vec![("origin", "null")], 403),
    ] {
        for path in [query, "/auth/me", "/metrics"] {
            assert_eq!(browser.get_with(path, &headers).await.status, status, "{path} {headers:?}");
        }
    }
    // Who shows a key is who the key says, whatever cookie there is.
    let key = [json_type, ("authorization", "Bearer col_aaaaaaaa_b")];
    let seen = browser.post("/graphql", &body, &key).await;
    assert_eq!(seen.code(), "UNAUTHENTICATED");
    assert!(seen.text.contains("the key is not known"), "{}", seen.text);
}

#[tokio::test]
async fn a_cookie_that_was_touched_is_none() {
    let site = Site::new().await;
    let good = site.logged_in().await;
    let value = good.cookies[SESSION].clone();
    let (front, last) = value.split_at(value.len() - 1);
    let other = if last == "A" { "B" } else { "A" };
    // Of a login that was begun: sealed with the same key, for something else.
    let mut beginner = site.browser();
    beginner.begin(&site.provider, "/auth/login").await;
    for touched in [
        format!("A{}", &value[1..]),
        format!("{}{}", other, &value[1..]),
        front.to_owned(),
        format!("{value}{value}"),
        beginner.cookies[LOGIN].clone(),
        "x".to_owned(),
        String::new(),
    ] {
        if touched == value {
            continue;
        }
        let mut browser = good.clone();
        browser.cookies.insert(SESSION.to_owned(), touched.clone());
        let seen = browser.ask(CALLS).await;
        assert_eq!((seen.status, seen.code()), (401, json!("UNAUTHENTICATED")), "{touched}");
        assert!(browser.cookies.is_empty(), "{touched}");
    }
    // And a session is no login.
    let mut browser = good.clone();
    browser.cookies.insert(LOGIN.to_owned(), value);
    assert_eq!(browser.get("/auth/callback?code=a&state=b").await.status, 400);
}

#[tokio::test]
async fn what_the_provider_says_is_shown_and_is_no_page_of_its_own() {
    let site = Site::new().await;
    for (error, description, status, shown) in [
        ("access_denied", "", 403, "access_denied."),
        ("server_error", "", 503, "server_error."),
        ("temporarily_unavailable", "later", 503, "(later)"),
        (
            "invalid_scope",
            "%3Cscript%3Ealert(1)%3C/script%3E",
            400,
            "&lt;script&gt;alert(1)&lt;/script&gt;",
        ),
        ("%22%3E%3Cimg%20src=x%3E", "'%26", 400, "&quot;&gt;&lt;img src=x&gt; (&#39;&amp;)"),
    ] {
        let mut browser = site.browser();
        let back = browser.begin(&site.provider, "/auth/login").await;
        let (_, state) = back.split_once("&state=").unwrap();
        let path =
            format!("/auth/callback?error={error}&error_description={description}&state={state}");
        let seen = browser.get(&path).await;
        assert_eq!((seen.status, seen.sets_session), (status, false), "{error}");
        assert!(seen.text.contains(shown), "{error}: {}", seen.text);
        assert!(!seen.text.contains("<script") && !seen.text.contains("<img"), "{}", seen.text);
        assert_eq!(seen.headers["content-type"], "text/html; charset=utf-8");
        let policy = seen.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'"));
    }
}
