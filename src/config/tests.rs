//! Settings as they are layered, read and shown.
#![allow(clippy::unwrap_used)]

use super::*;

fn settings(flags: Global, environment: &[(&str, &str)], file: &str) -> Result<Settings> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("colonnade.toml");
    std::fs::write(&path, file).unwrap();
    let environment: Vec<_> =
        environment.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    Settings::layered(&flags, &environment, &path)
}

#[test]
fn a_flag_wins_over_the_environment_over_the_file_over_the_default() {
    let file = "data = \"of-file\"\ntenant = \"of-file\"\nlisten = \"127.0.0.1:1\"\n";
    let environment =
        [("COLONNADE_DATA", "of-environment"), ("COLONNADE_TENANT", "of-environment")];
    let flags = Global { data: Some("of-flag".into()), ..Global::default() };
    let settings = settings(flags, &environment, file).unwrap();
    let origin = |name| settings.values.get(name).map(|(v, o)| (v.clone(), o.to_string())).unwrap();
    assert_eq!(origin("data"), ("of-flag".into(), "--data".into()));
    assert_eq!(origin("tenant"), ("of-environment".into(), "COLONNADE_TENANT".into()));
    assert_eq!(origin("listen"), ("127.0.0.1:1".into(), "colonnade.toml".into()));
    assert_eq!(origin("gpu"), ("preferred".into(), "default".into()));
}

#[test]
fn a_misspelt_variable_is_refused_and_others_are_left_alone() {
    let of = |variable: &str| settings(Global::default(), &[(variable, "x")], "").map(|_| ());
    let message = of("COLONNADE_LISTN").unwrap_err().to_string();
    assert!(message.contains("COLONNADE_LISTN (from the environment)"), "{message}");
    assert!(message.ends_with("did you mean COLONNADE_LISTEN?"), "{message}");
    for other in ["COLONNADE_SHARED_DATA", "COLONNADE_MINILM", "COLONNADE_HOME", "LISTN"] {
        of(other).unwrap();
    }
}

#[test]
fn an_address_may_be_a_name() {
    let of = |listen: &str| {
        let environment = [("COLONNADE_LISTEN", listen)];
        settings(Global::default(), &environment, "").unwrap().listen()
    };
    assert_eq!(of("localhost:8642").unwrap().to_string(), "127.0.0.1:8642");
    assert_eq!(of("[::1]:0").unwrap().to_string(), "[::1]:0");
    let message = of("8642").unwrap_err().to_string();
    assert!(message.contains("listen = \"8642\" (from COLONNADE_LISTEN)"), "{message}");
}

#[test]
fn a_bad_value_says_where_it_is_from() {
    let settings = settings(Global::default(), &[("COLONNADE_MEMORY", "lots")], "").unwrap();
    let message = settings.memory_bytes().unwrap_err().to_string();
    assert!(message.contains("memory = \"lots\" (from COLONNADE_MEMORY)"), "{message}");
}

#[test]
fn a_server_may_work_at_no_run_and_a_worker_at_one_at_least() {
    let of = |name: &str, value: &str| settings(Global::default(), &[(name, value)], "").unwrap();
    assert_eq!(of("COLONNADE_WORKERS", "0").workers().unwrap(), 0);
    assert_eq!(of("COLONNADE_CONCURRENT", "8").concurrent().unwrap(), 8);
    for bad in ["257", "-1", "many", "1.5", ""] {
        assert!(of("COLONNADE_WORKERS", bad).workers().is_err(), "{bad:?} passed");
    }
    let message = of("COLONNADE_CONCURRENT", "0").concurrent().unwrap_err().to_string();
    assert!(message.ends_with("(from COLONNADE_CONCURRENT): expected 1 to 256 runs"), "{message}");
}

#[test]
fn an_unknown_setting_is_refused_and_the_known_are_named() {
    let message =
        settings(Global::default(), &[], "dat = \"x\"").map(|_| ()).unwrap_err().to_string();
    assert!(message.contains("\"dat\"") && message.contains("data, tenant"), "{message}");
}

#[test]
fn secrets_are_masked() {
    let environment = [
        ("AWS_SECRET_ACCESS_KEY", "hush"),
        ("AWS_REGION", "eu"),
        ("COLONNADE_API_KEY", "a-long-enough-key"),
    ];
    let settings = settings(Global::default(), &environment, "").unwrap();
    let shown = format!("{:?}", settings.in_force());
    assert!(!shown.contains("hush") && !shown.contains("a-long-enough-key"), "{shown}");
    assert!(shown.contains("eu"), "{shown}");
}

#[test]
fn limits_are_typed_and_say_where_they_are_from() {
    let of =
        |environment: &[(&str, &str)], file: &str| settings(Global::default(), environment, file);
    let file = "[limits]\npage_rows_max = 5000\noperation_time_max = \"90s\"\nanswer_bytes_max = \"1MiB\"\nintrospection = false\n";
    let set = of(&[("COLONNADE_LIMITS_PAGE_ROWS_MAX", "7000")], file).unwrap();
    let limits = set.limits().unwrap();
    assert_eq!((limits.page_rows_max, limits.answer_bytes_max), (7_000, 1 << 20));
    assert_eq!(limits.operation_time_max.as_secs(), 90);
    assert!(!limits.introspection && limits.suggestions);
    let shown = |name: &str| {
        let line = set.in_force().into_iter().find(|line| line.name == name).unwrap();
        (line.value, line.origin)
    };
    let page = ("7000".to_owned(), "COLONNADE_LIMITS_PAGE_ROWS_MAX".to_owned());
    assert_eq!(shown("limits.page_rows_max"), page);
    assert_eq!(shown("limits.introspection"), ("false".to_owned(), "colonnade.toml".to_owned()));
    assert_eq!(shown("limits.depth_max"), ("16".to_owned(), "default".to_owned()));
    assert_eq!(shown("limits.ingest_bytes_max").1, "default");
    for variable in ["COLONNADE_LIMIT_PAGE_ROWS_MAX", "COLONNADE_LIMITS"] {
        let error = of(&[(variable, "1")], "").map(drop).unwrap_err().to_string();
        assert!(error.contains("expected COLONNADE_LIMITS_ and the name"), "{error}");
    }
    let large = of(&[], "body_limit = \"512MiB\"\n").unwrap().limits().unwrap();
    assert_eq!((large.ingest_bytes_max, large.ingest_in_flight_bytes_max), (512 << 20, 512 << 20));
    for (line, says) in [
        (
            "page_rows_maxx = 1",
            "page_rows_maxx (from colonnade.toml): there is no such limit; did you mean page_rows_max",
        ),
        ("page_rows_max = 0", "expected a whole number from 1 to"),
        ("page_rows_max = \"many\"", "found \"many\""),
        (
            "page_rows_max = 10",
            "page_rows_default: expected at most page_rows_max, which is 10; found 100",
        ),
        ("where_nesting_max = 17", "where_nesting_max: expected at most 16, found 17"),
        ("operation_time_max = \"soon\"", "expected a time such as 90s or 15m"),
        ("suggestions = \"maybe\"", "expected true or false"),
        ("ingest_bytes_max = 1", "expected the setting body_limit"),
    ] {
        let error = of(&[], &format!("[limits]\n{line}\n")).unwrap().check().unwrap_err();
        assert!(error.to_string().contains(says), "{line}: {error}");
    }
}

#[test]
fn a_key_has_the_grants_that_it_names() {
    let key = |more: &str| {
        let digest = "ab".repeat(32);
        format!(
            "[[keys]]\nsecret_sha256 = \"{digest}\"\nsubject = \"s\"\nroles = [\"reader\"]\n{more}\n"
        )
    };
    let grants = "[grants.support]\nsalt = \"0123456789abcdef\"\n[grants.support.datasets.tickets]\n\
                  rows = \"team = claim.team\"\nmasks = {email = \"hash\", at = \"bucket 1d\"}\n";
    let of = |text: &str| settings(Global::default(), &[], text);
    let whole = of(&key("")).unwrap().api_keys().unwrap();
    assert!(whole[0].grants.is_all());
    let text = key("grants = \"support\"\nclaims = {team = \"eu\"}") + grants;
    let set = of(&text).unwrap();
    let keys = set.api_keys().unwrap();
    assert!(!keys[0].grants.is_all() && !keys[0].grants.digest().is_empty());
    let lines: Vec<String> = set.in_force().into_iter().map(|l| l.name + &l.value).collect();
    assert!(lines.contains(&"grants.supporttickets".to_owned()), "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains("0123456789abcdef")));
    let error = set.require_grants_for("tickets", "cases").unwrap_err().to_string();
    assert!(error.contains("grants.support (from colonnade.toml)") && error.contains("cases"));
    for (from, to) in [("tickets", "tickets"), ("events", "happenings")] {
        set.require_grants_for(from, to).unwrap();
    }
    for (text, says) in [
        (key("grants = \"suport\"") + grants, "grants \"suport\" are not there; expected support"),
        (key("claims = {team = \"eu\"}"), "claims: expected grants"),
        (
            key("grants = \"support\"") + &grants.replace("0123456789abcdef", "short"),
            "grants.support (from colonnade.toml): salt",
        ),
    ] {
        let error = of(&text).unwrap().check().unwrap_err();
        assert!(error.to_string().contains(says), "{text}: {error}");
    }
    let text = grants.replace("\"hash\"", "\"mash\"");
    let error = of(&text).map(drop).unwrap_err().to_string();
    assert!(error.contains("mask \"mash\": expected hide, hash"), "{error}");
}

#[test]
fn a_login_is_read_and_its_secrets_are_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "of a file, of at least 32 characters\n").unwrap();
    let lines = |more: &str| {
        let own = [
            "issuer = \"https://id.example.org\"",
            "client_id = \"colonnade\"",
            "public_url = \"https://colonnade.example.org\"",
        ];
        let name = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
        let left = own.iter().filter(|line| !more.lines().any(|it| name(it) == name(line)));
        let left: Vec<&str> = left.copied().collect();
        format!(
            "[auth.oidc]\n{}\n{more}\n[[auth.oidc.roles]]\nvalue = \"staff\"\nrole = \"viewer\"\n",
            left.join("\n")
        )
    };
    let of = |more: &str| settings(Global::default(), &[], &lines(more));
    let plain = of("").unwrap();
    let options = plain.oidc().unwrap().unwrap();
    assert_eq!(options.scopes, ["openid"]);
    assert_eq!(options.session_max.as_secs(), 12 * 3_600);
    assert!(options.sealed_with.is_empty() && options.client_secret.is_none());
    plain.check().unwrap();
    plain.require_keys().unwrap();

    let file = format!("{:?}", file.to_str().unwrap());
    let full = format!(
        "client_secret = \"of the client\"\nsecret_file = {file}\nsecret_before = \"{}\"\nsession = \"1d\"",
        "hidden".repeat(6)
    );
    let full = of(&full).unwrap();
    let options = full.oidc().unwrap().unwrap();
    assert_eq!((options.sealed_with.len(), options.session_max.as_secs()), (2, 86_400));
    let lines_shown: Vec<String> =
        full.in_force().into_iter().map(|line| line.name + " " + &line.value).collect();
    let own = "auth.oidc https://id.example.org (as colonnade, for https://colonnade.example.org)";
    assert!(lines_shown.iter().any(|line| line == own), "{lines_shown:?}");
    let debug = format!("{lines_shown:?} {options:?} {:?}", full.auth);
    for secret in ["of the client", "of a file", "hidden"] {
        assert!(!debug.contains(secret), "{debug}");
    }

    for (more, says) in [
        (
            "issuer = \"http://id.example.org\"",
            "issuer: \"http://id.example.org\": whoever is in between",
        ),
        (
            "issuer = \"https://id.example.org?a=b\"",
            "issuer: \"https://id.example.org?a=b\": it has a query",
        ),
        ("public_url = \"https://colonnade.example.org/app\"", "more than scheme, host and port"),
        ("public_url = \"http://colonnade.example.org\"", "public_url: "),
        ("client_id = \" \"", "client_id: expected a text"),
        ("secret = \"short\"", "secret: expected a secret of at least 32 characters"),
        (
            "secret_before = \"01234567890123456789012345678901\"",
            "secret_before: expected `secret`, too",
        ),
        ("secret = \"a\"\nsecret_file = \"b\"", "secret, secret_file: expected one of both"),
        ("client_secret_file = \"not-there\"", "client_secret_file: not-there: "),
        ("scopes = [\"profile\"]", "scopes: expected words, openid among them"),
        ("scopes = [\"openid email\"]", "scopes: expected words"),
        ("parameters = {state = \"x\"}", "parameters: state is not for the settings to say"),
        ("session = \"59s\"", "session: expected at least 60 s"),
        ("session = \"31d\"", "session = \"31d\": expected a time of up to"),
        ("algorithms = [\"none\"]", "algorithms: algorithm \"none\""),
        ("tenant = \"a\"\ntenant_claim = \"b\"", "tenant, tenant_claim: expected one of both"),
    ] {
        let error = of(more).unwrap().check().unwrap_err().to_string();
        let begins = "auth.oidc (from colonnade.toml): ";
        assert!(error.starts_with(begins) && error.contains(says), "{more}: {error}");
    }
    let error = of("redirect = \"x\"").map(drop).unwrap_err().to_string();
    assert!(error.contains("auth: ") && error.contains("redirect"), "{error}");
}

#[test]
fn the_server_is_set_by_a_table_and_what_is_wrong_in_it_is_named() {
    use graphql::ClientCertificates;
    let of = |text: &str| settings(Global::default(), &[], text);
    let none = of("").unwrap();
    assert!(none.tls().unwrap().is_none() && none.cors().unwrap().is_none());
    assert!(none.compression() && none.certificates().unwrap().is_empty());
    let tls = "[server.tls]\ncertificate = \"a.pem\"\nkey = \"a.key\"\n";
    let ca = "client_ca = \"ca.pem\"\n";
    let rule =
        "[[auth.certificates]]\nfield = \"dns\"\nvalue = \"*.example.org\"\nrole = \"viewer\"\n";
    let set =
        of(&format!("[server]\ncompression = false\n{tls}{ca}refresh = \"2s\"\n{rule}")).unwrap();
    set.check().unwrap();
    let options = set.tls().unwrap().unwrap();
    assert!(matches!(options.clients, ClientCertificates::Required(_)), "{options:?}");
    assert_eq!(options.refresh.as_secs(), 2);
    assert!(!set.compression());
    assert_eq!(set.certificates().unwrap()[0].role, engine::Role::Reader);
    let lines = set.in_force();
    let value =
        |name: &str| lines.iter().find(|line| line.name == name).map(|line| &line.value).unwrap();
    assert_eq!(value("server.tls"), "a.pem, certificates of clients required");
    assert_eq!(value("auth.certificates[0]"), "dns *.example.org: viewer");
    let optional = of(&format!("{tls}{ca}client_certificates = \"optional\"\n")).unwrap();
    let options = optional.tls().unwrap().unwrap();
    assert!(matches!(options.clients, ClientCertificates::Optional(_)), "{options:?}");
    // A certificate lets somebody in as a key does, TLS by itself nobody.
    let listen = "listen = \"0.0.0.0:8642\"\n";
    of(&format!("{listen}{tls}{ca}{rule}")).unwrap().require_keys().unwrap();
    let error = of(&format!("{listen}{tls}{ca}")).unwrap().require_keys().unwrap_err();
    assert!(error.to_string().contains("also with TLS"), "{error}");
    for (text, says) in [
        (format!("{tls}client_certificates = \"required\"\n"), "client_ca: expected the file"),
        (format!("{tls}{ca}client_certificates = \"none\"\n"), "expected neither"),
        (
            format!("{tls}{ca}client_certificates = \"some\"\n"),
            "expected \"none\", \"optional\" or",
        ),
        (format!("{tls}client_revoked = \"x\"\n"), "client_ca, client_revoked"),
        (format!("{tls}refresh = \"100ms\"\n"), "refresh = \"100ms\": expected a time from 1s"),
        (tls.replace("a.pem", ""), "found an empty one"),
        (
            format!("{tls}{rule}"),
            "auth.certificates (from colonnade.toml): nobody is asked for one",
        ),
        (format!("{tls}{ca}{rule}grants = \"none\"\n"), "[0]: grants \"none\""),
        (
            format!("{tls}{ca}{}", rule.replace("dns", "san")),
            "field \"san\": expected one of cn, o",
        ),
        (format!("{tls}{ca}{}", rule.replace("*.ex", "*.*.ex")), "expected a name, with one *"),
        (
            "[server.cors]\norigins = [\"https://a.example/\"]\n".to_owned(),
            "server.cors (from colonnade.toml): origins",
        ),
        (
            "[server.cors]\norigins = [\"*\"]\ncredentials = true\n".to_owned(),
            "credentials: expected origins by name",
        ),
    ] {
        let error = of(&text).unwrap().check().unwrap_err().to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
    let error = of("[server]\ntsl = 1\n").map(drop).unwrap_err().to_string();
    assert!(error.contains("server: unknown field `tsl`"), "{error}");
}

#[test]
fn a_broken_file_is_refused_in_one_line_with_place_and_reason() {
    for (file, says) in [
        ("data = \"x\"\nlisten = \n", "line 2"),
        ("data = \"x\"\n[limits\n", "line 2"),
        ("data = \"a\"\ndata = \"b\"\n", "duplicate key"),
    ] {
        let error = settings(Global::default(), &[], file).err().unwrap().to_string();
        assert!(error.starts_with("settings file colonnade.toml: "), "{error}");
        // The command line shows the first line of an error.
        assert!(!error.contains('\n') && error.contains(says), "{error}");
    }
}

#[test]
fn a_limit_out_of_range_is_refused_with_the_range() {
    for value in ["-5", "0", "1.5", "\"many\""] {
        let file = format!("[limits]\npage_rows_max = {value}\n");
        let error = settings(Global::default(), &[], &file).unwrap().limits().unwrap_err();
        let error = error.to_string();
        assert!(error.contains("page_rows_max"), "{error}");
        assert!(error.contains("a whole number from 1 to 18446744073709551615"), "{error}");
    }
}

#[test]
fn the_password_of_the_environment_reaches_the_control_database() {
    let of = |url: &str| {
        let variables = [("COLONNADE_CONTROL", url)];
        let mut settings = settings(Global::default(), &variables, "").unwrap();
        settings.add_password(&BTreeMap::from([("PGPASSWORD".to_owned(), "a&b".to_owned())]));
        settings.control().unwrap()
    };
    assert_eq!(of("postgres://u@db/x"), "postgres://u@db/x?password=%61%26%62");
    assert_eq!(
        of("postgres://u@db/x?sslmode=require"),
        "postgres://u@db/x?sslmode=require&password=%61%26%62"
    );
    assert_eq!(of("postgres://u:own@db/x"), "postgres://u:own@db/x");
    assert_eq!(of("sqlite:/a/b"), "sqlite:/a/b");
}
