//! `colonnade keys`: makes, lists and revokes the keys that are kept in control state.

use std::collections::BTreeMap;
use std::path::Path;

use chrono::{DateTime, Utc};
use engine::{Claim, Code, Error, GrantSet, Result, RootMark};
use jobs::audit::{NewAct, Outcome};
use jobs::{ApiKeyState, KEYS_LISTED_MAX, KeyRequest, Runner};
use serde_json::{Value, json};

use super::schedules::{with_runner, with_runner_of};
use super::{close, open_to_run};
use crate::cli::{CreateKey, Keys, KeysCommand};
use crate::config::Settings;
use crate::output::{Output, columns, one_line};

/// Makes, lists or revokes.
pub async fn keys(arguments: Keys, settings: &Settings, output: &Output) -> Result<()> {
    const LABEL: &str = "colonnade keys";
    let arguments = match arguments.command {
        // A key may be the first thing that there is.
        KeysCommand::Create(asked) if !settings.data().starts_with("memory:") => {
            let engine = open_to_run(settings, LABEL).await?;
            let made = with_runner_of(&engine, settings, LABEL, async |runner| {
                create(runner, asked, settings, output).await
            });
            let made = made.await;
            return close(&engine, made).await;
        }
        command => command,
    };
    with_runner(settings, LABEL, async |runner| match arguments {
        KeysCommand::Create(asked) => create(runner, asked, settings, output).await,
        KeysCommand::List => list(runner, settings, output).await,
        KeysCommand::AcceptLoss => accept_loss(runner, settings, output).await,
        KeysCommand::Revoke(asked) => {
            let who = settings.principal()?;
            // Who gives the whole key leaves its secret nowhere.
            let prefix = jobs::prefix_of(&asked.prefix);
            let given = Given::from([("prefix", json!(prefix))]);
            let act = runner.begin_act(&who, act("revokeKey", Some(&prefix), &given)).await?;
            let revoked = runner.revoke_key(&who, &asked.prefix).await;
            act.end(Outcome::of(&revoked), None).await;
            let key = revoked?;
            if output.is_json() {
                return output.document(&key);
            }
            let revoked = key.revoked_at.as_ref().map(shown).unwrap_or_default();
            output
                .line(&format!("key {} of {} is revoked since {revoked}", key.prefix, key.subject))
        }
    })
    .await
}

async fn create(
    runner: &Runner,
    asked: CreateKey,
    settings: &Settings,
    output: &Output,
) -> Result<()> {
    let grants = match (&asked.grants, &asked.grants_file) {
        (Some(name), _) => Some(settings.grants(name)?),
        (None, Some(file)) => Some(grants_in(file)?),
        (None, None) => None,
    };
    let request = KeyRequest {
        subject: asked.subject,
        roles: asked.roles,
        grants,
        claims: claims(&asked.claims)?,
        expires_at: asked.expires.as_deref().map(ends).transpose()?,
    };
    let given = given(&request, asked.expires.as_deref());
    let is_first = !runner.has_had_keys().await?;
    let who = settings.principal()?;
    let act = runner.begin_act(&who, act("createKey", None, &given)).await?;
    let made = runner.create_key(&who, request).await;
    act.end(Outcome::of(&made), made.as_ref().ok().map(|made| made.key.prefix.as_str())).await;
    let made = made?;
    if output.is_json() {
        return output.document(&json!({"secret": made.text, "key": made.key}));
    }
    output.line(&made.text)?;
    let key = &made.key;
    let end = key
        .expires_at
        .as_ref()
        .map_or("does not end by itself".to_owned(), |at| format!("ends at {} UTC", shown(at)));
    output.note(&format!(
        "key {} of {} in {} ({}) {end}; it is shown this once: only its SHA-256 is kept",
        key.prefix,
        one_line(&key.subject),
        key.tenant,
        roles(key)
    ));
    for name in &made.absent {
        output.note(&format!("its grants name {name}, and there is no such dataset yet"));
    }
    if is_first {
        output.note("from now on servers of this root let nobody in without a key");
    }
    Ok(())
}

/// Lets servers start again on a root whose control database was lost.
async fn accept_loss(runner: &Runner, settings: &Settings, output: &Output) -> Result<()> {
    let lost = runner.accept_control_loss(&settings.principal()?).await?;
    let names = lost.iter().map(|mark| match mark {
        RootMark::Keys => "keys",
        RootMark::Audit => "audit chain",
    });
    let names: Vec<&str> = names.collect();
    if output.is_json() {
        return output.document(&json!({ "lost": names }));
    }
    match names.is_empty() {
        true => output.line("nothing was lost: control state has all that this root had"),
        false => {
            output.line(&format!("loss accepted: {}; servers can start again", names.join(", ")))
        }
    }
}

/// The arguments of a command, by name.
type Given = BTreeMap<&'static str, Value>;

/// Those that a key is made of: none that is absent, and of grants not the salt, which is a secret.
fn given(request: &KeyRequest, expires: Option<&str>) -> Given {
    let mut given =
        Given::from([("subject", json!(request.subject)), ("roles", json!(request.roles))]);
    if let Some(grants) = &request.grants {
        given.insert("grants", json!({"datasets": grants.datasets}));
    }
    if !request.claims.is_empty() {
        given.insert("claims", json!(request.claims));
    }
    if let Some(expires) = expires {
        given.insert("expires", json!(expires));
    }
    given
}

/// What is recorded of a command.
fn act(field: &str, target: Option<&str>, given: &Given) -> NewAct {
    let text = serde_json::to_string(given).unwrap_or_default();
    NewAct {
        via: "command line".to_owned(),
        field: field.to_owned(),
        target: target.map(str::to_owned),
        arguments_sha256: NewAct::digest(&text),
        ..NewAct::default()
    }
}

async fn list(runner: &Runner, settings: &Settings, output: &Output) -> Result<()> {
    let keys = runner.keys(&settings.principal()?).await?;
    if output.is_json() {
        return output.document(&keys);
    }
    if keys.is_empty() {
        return output.line("no keys yet; `colonnade keys create` makes one");
    }
    let optional = |at: &Option<DateTime<Utc>>| at.as_ref().map_or("-".to_owned(), shown);
    let row = |key: &ApiKeyState| {
        vec![
            key.prefix.clone(),
            one_line(&key.subject),
            roles(key),
            key.grants.as_ref().map_or("all".to_owned(), |grants| {
                grants.keys().cloned().collect::<Vec<_>>().join(", ")
            }),
            key.state.as_str().to_owned(),
            shown(&key.created_at),
            one_line(&key.created_by),
            optional(&key.expires_at),
            optional(&key.last_used_at),
        ]
    };
    let rows: Vec<Vec<String>> = keys.iter().map(row).collect();
    let head = ["key", "of", "roles", "sees", "state", "made (UTC)", "by", "ends", "last used"];
    output.line(&columns(&head, &rows))?;
    match i64::try_from(keys.len()).unwrap_or_default() < KEYS_LISTED_MAX {
        true => Ok(()),
        false => output.line(&format!("and older ones: {KEYS_LISTED_MAX} are shown at most")),
    }
}

fn roles(key: &ApiKeyState) -> String {
    let roles: Vec<String> = key.roles.iter().map(|role| role.to_string()).collect();
    roles.join(", ")
}

fn shown(at: &DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M").to_string()
}

fn grants_in(file: &Path) -> Result<GrantSet> {
    let name = file.display();
    let bad = |error: &dyn std::fmt::Display| {
        Error::user(Code::BadInput, format!("--grants-file {name}: {error}"))
    };
    let text = std::fs::read_to_string(file).map_err(|error| bad(&error))?;
    serde_json::from_str(&text).map_err(|error| bad(&error))
}

/// Reads `team=eu`, `level=3`, `is_lead=true` and `teams=["eu","us"]`.
fn claims(given: &[String]) -> Result<BTreeMap<String, Claim>> {
    let claim = |text: &String| {
        let (name, value) =
            text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(|| {
                let says = format!("--claim {text:?}: expected NAME=VALUE, such as team=eu");
                Error::user(Code::BadInput, says)
            })?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Claim::Text(value.to_owned()));
        Ok((name.to_owned(), value))
    };
    given.iter().map(claim).collect()
}

fn ends(text: &str) -> Result<DateTime<Utc>> {
    if let Ok(time) = crate::cli::time(text) {
        return Ok(Utc::now() + time);
    }
    DateTime::parse_from_rfc3339(text).map(|at| at.to_utc()).map_err(|_| {
        let says = format!(
            "--expires {text:?}: expected a time from now on of up to 1000 days, such as 12h or 90d, or an instant such as \
             2027-01-01T00:00:00Z"
        );
        Error::user(Code::BadInput, says)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use engine::Role;

    use super::*;

    #[test]
    fn what_a_key_is_made_of_is_in_the_digest_and_no_secret() {
        let digest = |request: &KeyRequest, expires: Option<&str>| {
            act("createKey", None, &given(request, expires)).arguments_sha256
        };
        let grants = |text: &str| Some(serde_json::from_str::<GrantSet>(text).unwrap());
        let plain = KeyRequest {
            subject: "x".to_owned(),
            roles: vec![Role::Reader],
            ..KeyRequest::default()
        };
        let text = r#"{"roles":["reader"],"subject":"x"}"#;
        assert_eq!(digest(&plain, None), NewAct::digest(text));
        let part = KeyRequest {
            grants: grants(r#"{"salt": "0123456789abcdef", "datasets": {"mail": {}}}"#),
            ..plain.clone()
        };
        let team = BTreeMap::from([("team".to_owned(), Claim::Text("red".to_owned()))]);
        let others = [
            digest(&plain, None),
            digest(&plain, Some("1d")),
            digest(&KeyRequest { subject: "y".to_owned(), ..plain.clone() }, None),
            digest(&KeyRequest { roles: vec![Role::Admin], ..plain.clone() }, None),
            digest(&part, None),
            digest(&KeyRequest { claims: team, ..part.clone() }, None),
        ];
        assert_eq!(BTreeSet::from(others.clone()).len(), others.len(), "{others:?}");
        let salted = KeyRequest {
            grants: grants(r#"{"salt": "fedcba9876543210", "datasets": {"mail": {}}}"#),
            ..plain
        };
        assert_eq!(digest(&salted, None), digest(&part, None));
    }

    #[test]
    fn claims_are_what_they_look_like() {
        let given =
            ["team=eu", "level=3", "lead=true", "teams=[\"eu\",\"us\"]", "note=a=b", "odd={}"];
        let claims = claims(&given.map(str::to_owned)).unwrap();
        assert_eq!(claims["team"], Claim::Text("eu".to_owned()));
        assert_eq!(claims["level"], Claim::Number(3));
        assert_eq!(claims["lead"], Claim::Flag(true));
        assert_eq!(claims["teams"], Claim::Texts(vec!["eu".to_owned(), "us".to_owned()]));
        assert_eq!(claims["note"], Claim::Text("a=b".to_owned()));
        assert_eq!(claims["odd"], Claim::Text("{}".to_owned()));
        for bad in ["team", "=eu"] {
            assert!(super::claims(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_end_is_a_time_from_now_or_an_instant() {
        assert!(ends("90d").unwrap() > Utc::now());
        assert_eq!(ends("2027-01-01T00:00:00Z").unwrap().timestamp(), 1_798_761_600);
        for bad in ["", "soon", "2027-01-01", "-1d"] {
            assert!(ends(bad).is_err(), "{bad}");
        }
    }
}
