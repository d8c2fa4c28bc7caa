//! `keys`, and the mutations that make and revoke one: for admins of the tenant.

use std::collections::BTreeMap;

use async_graphql::dynamic::{
    Enum, EnumItem, Field, FieldValue, InputValue, Object, ResolverContext, TypeRef,
};
use async_graphql::{Name, Value};
use chrono::DateTime;
use engine::{Claim, Credential, GrantSet, Result, Role};
use jobs::{ApiKeyState, CreatedKey, KeyRequest};
use serde::de::DeserializeOwned;

use super::super::resolve::{argument, nullable, object, part, state, text_argument};
use super::super::scalars;
use super::{instant, json, optional_instant};
use crate::error::bad_input;

const KEY: &str = "ApiKey";
const CREATED: &str = "CreatedKey";
const ROLE: &str = "Role";
const STATE: &str = "KeyState";

/// `Role`, `KeyState`.
pub(crate) fn enums() -> [Enum; 2] {
    let role = Enum::new(ROLE)
        .description("What somebody may do: each role includes those before it.")
        .item(EnumItem::new("READER").description("Queries and subscribes."))
        .item(EnumItem::new("VIEWER").description("Another word for READER."))
        .item(
            EnumItem::new("WRITER")
                .description("Sends rows; makes, changes and drops datasets; labels."),
        )
        .item(EnumItem::new("ANALYST").description("Another word for WRITER."))
        .item(
            EnumItem::new("OPERATOR").description("Runs and cancels jobs, and says when they run."),
        )
        .item(
            EnumItem::new("ADMIN")
                .description("Makes and revokes keys, and reads what was done by whom."),
        );
    let state = Enum::new(STATE)
        .description("Whether a key is of use.")
        .item(EnumItem::new("ACTIVE"))
        .item(EnumItem::new("EXPIRED"))
        .item(EnumItem::new("REVOKED"));
    [role, state]
}

/// `ApiKey`, `CreatedKey`.
pub(crate) fn types() -> [Object; 2] {
    let text =
        |name: &'static str, show: fn(&ApiKeyState) -> &str| {
            part(name, TypeRef::named_nn(TypeRef::STRING), move |key: &ApiKeyState| {
                Ok(show(key).into())
            })
        };
    let key = Object::new(KEY)
        .description(
            "A key that lets somebody in, without its secret, which nobody has but its holder.",
        )
        .field(
            text("prefix", |key| &key.prefix)
                .description("What of it may be seen: `col_PREFIX_…`."),
        )
        .field(text("subject", |key| &key.subject).description("Who has it."))
        .field(part("roles", TypeRef::named_nn_list_nn(ROLE), |key: &ApiKeyState| {
            let roles = key.roles.iter().map(|role| word(&role.to_string()));
            Ok(Value::List(roles.collect()))
        }))
        .field(
            part("grants", TypeRef::named(scalars::JSON), |key: &ApiKeyState| {
                key.grants.as_ref().map_or(Ok(Value::Null), json)
            })
            .description("What its holder sees, by dataset; all of the tenant where it is null."),
        )
        .field(
            part("claims", TypeRef::named(scalars::JSON), |key: &ApiKeyState| json(&key.claims))
                .description("What the grants may say `claim.NAME` of."),
        )
        .field(part("state", TypeRef::named_nn(STATE), |key: &ApiKeyState| {
            Ok(word(key.state.as_str()))
        }))
        .field(part("createdAt", TypeRef::named_nn(scalars::DATE_TIME), |key: &ApiKeyState| {
            Ok(instant(&key.created_at))
        }))
        .field(text("createdBy", |key| &key.created_by))
        .field(
            part("expiresAt", TypeRef::named(scalars::DATE_TIME), |key: &ApiKeyState| {
                Ok(optional_instant(key.expires_at.as_ref()))
            })
            .description("Never, where it is null."),
        )
        .field(
            part("lastUsedAt", TypeRef::named(scalars::DATE_TIME), |key: &ApiKeyState| {
                Ok(optional_instant(key.last_used_at.as_ref()))
            })
            .description("To a minute or so."),
        )
        .field(part("revokedAt", TypeRef::named(scalars::DATE_TIME), |key: &ApiKeyState| {
            Ok(optional_instant(key.revoked_at.as_ref()))
        }))
        .field(part("revokedBy", TypeRef::named(TypeRef::STRING), |key: &ApiKeyState| {
            Ok(key.revoked_by.as_deref().map_or(Value::Null, Value::from))
        }));
    let created = Object::new(CREATED)
        .description("A key that was made.")
        .field(
            part("secret", TypeRef::named_nn(TypeRef::STRING), |made: &CreatedKey| {
                Ok(made.text.as_str().into())
            })
            .description("The whole key, as clients send it. It is shown here and never again."),
        )
        .field(object("key", TypeRef::named_nn(KEY), |made: &CreatedKey| made.key.clone()));
    [key, created]
}

fn word(text: &str) -> Value {
    Value::Enum(Name::new(text.to_uppercase()))
}

/// The query field `keys`.
pub(crate) fn keys_field() -> Field {
    Field::new("keys", TypeRef::named_nn_list(KEY), |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            let state = state(inner)?;
            let keys = state.service().runner.keys(state.who(Role::Admin)?).await?;
            Ok(Some(FieldValue::list(keys.into_iter().map(FieldValue::owned_any))))
        })
    })
    .description(
        "Keys of the tenant that were made by `createKey` or on the command line, newest first; those of the settings are not among \
         them. Needs the role admin.",
    )
}

/// The mutations.
pub(crate) fn mutations() -> [Field; 2] {
    let create = Field::new("createKey", TypeRef::named(CREATED), |context| {
        let inner = context.ctx;
        nullable(inner, async move { create(&context).await.map(|key| Some(FieldValue::owned_any(key))) })
    })
    .description(
        "Makes a key of the tenant, with no more than who makes it has. From the first key on this server lets nobody in without one. \
         Needs the role admin.",
    )
    .argument(
        InputValue::new("subject", TypeRef::named_nn(TypeRef::STRING))
            .description("Who is to have it, for logs, records and versions."),
    )
    .argument(InputValue::new("roles", TypeRef::named_nn_list_nn(ROLE)))
    .argument(InputValue::new("grants", TypeRef::named(scalars::JSON)).description(
        "What its holder sees, as a table `[grants.NAME]` of the settings has it: {\"datasets\": {\"tickets\": {\"rows\": \"team = \
         claim.team\", \"masks\": {\"email\": \"hash\"}}}}. All of the tenant when absent.",
    ))
    .argument(
        InputValue::new("claims", TypeRef::named(scalars::JSON))
            .description("What the grants may say `claim.NAME` of: {\"team\": \"eu\"}."),
    )
    .argument(
        InputValue::new("expiresAt", TypeRef::named(scalars::DATE_TIME))
            .description("When it ends; never, when absent."),
    );
    let revoke = Field::new("revokeKey", TypeRef::named(KEY), |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            let state = state(inner)?;
            let who = state.who(Role::Admin)?;
            let prefix = text_argument(&context, "prefix").unwrap_or_default();
            let key = state.service().runner.revoke_key(who, &prefix).await?;
            Ok(Some(FieldValue::owned_any(key)))
        })
    })
    .description(
        "Ends a key of the tenant, within a second and for good; what goes on with it is closed. Needs the role admin.",
    )
    .argument(InputValue::new("prefix", TypeRef::named_nn(TypeRef::STRING)));
    [create, revoke]
}

async fn create(context: &ResolverContext<'_>) -> Result<CreatedKey> {
    let state = state(context.ctx)?;
    let who = state.who(Role::Admin)?;
    let request = request_of(context)?;
    let runner = &state.service().runner;
    // Who has the files has another way; who comes through this door has none.
    let is_local = who.credential == Credential::Local;
    let makes_others = request.roles.contains(&Role::Admin)
        && request.grants.is_none()
        && request.expires_at.is_none();
    if is_local && !makes_others && !runner.has_had_keys().await? {
        return Err(bad_input(
            "createKey: expected the role ADMIN, no grants and no expiresAt for the first key: from then on nobody is let in here \
             without one, and somebody has to be able to make others",
        ));
    }
    let made = runner.create_key(who, request).await?;
    state.done_to("createKey", &made.key.prefix);
    Ok(made)
}

fn request_of(context: &ResolverContext<'_>) -> Result<KeyRequest> {
    let role = |value: &Value| match value {
        Value::Enum(word) => word.to_lowercase().parse(),
        Value::String(word) => word.to_lowercase().parse(),
        other => Err(bad_input(format!("createKey.roles: expected roles, found {other}"))),
    };
    let roles = match argument(context, "roles") {
        Some(Value::List(roles)) => roles.iter().map(role).collect::<Result<Vec<Role>>>()?,
        Some(one) => vec![role(&one)?],
        None => Vec::new(),
    };
    let expires_at = argument(context, "expiresAt").map(|value| {
        let Value::String(text) = &value else {
            return Err(bad_input(format!(
                "createKey.expiresAt: expected a time as 2027-01-01T00:00:00Z, found {value}"
            )));
        };
        let at = DateTime::parse_from_rfc3339(text);
        at.map(|at| at.to_utc()).map_err(|error| bad_input(format!("createKey.expiresAt: {error}")))
    });
    Ok(KeyRequest {
        subject: text_argument(context, "subject").unwrap_or_default(),
        roles,
        grants: document::<GrantSet>(context, "grants")?,
        claims: document::<BTreeMap<String, Claim>>(context, "claims")?.unwrap_or_default(),
        expires_at: expires_at.transpose()?,
    })
}

/// An argument that is a document of this kind.
fn document<T: DeserializeOwned>(context: &ResolverContext<'_>, name: &str) -> Result<Option<T>> {
    let Some(value) = argument(context, name) else { return Ok(None) };
    let bad = |error: &dyn std::fmt::Display| bad_input(format!("createKey.{name}: {error}"));
    let value = value.into_json().map_err(|error| bad(&error))?;
    serde_json::from_value(value).map(Some).map_err(|error| bad(&error))
}
