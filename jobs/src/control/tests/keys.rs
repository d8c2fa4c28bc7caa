//! Keys in both databases.
#![allow(clippy::unwrap_used)]

use crate::control::{KeyAdded, KeyEntry, KeyRoom, KeyStore, SqlStore};

const ROOM: KeyRoom = KeyRoom { of_tenant_max: 3, all_max: 5, ended_max: 1 };

fn key(prefix: &str, tenant: &str, created_us: i64) -> KeyEntry {
    KeyEntry {
        prefix: prefix.into(),
        secret_sha256: format!("digest of {prefix}"),
        tenant: tenant.into(),
        subject: "somebody".into(),
        roles: "reader,writer".into(),
        grants: None,
        created_us,
        created_by: "an admin".into(),
        expires_us: None,
        used_us: None,
        revoked_us: None,
        revoked_by: None,
    }
}

pub(super) async fn keys_are_made_used_and_revoked(store: SqlStore) {
    assert_eq!(store.keys_change().await.unwrap(), 0);
    let first = KeyEntry { grants: Some("{}".into()), ..key("a", "t", 1) };
    assert_eq!(store.add_key(&first, ROOM).await.unwrap(), KeyAdded::Added);
    assert_eq!(store.keys_change().await.unwrap(), 1);
    assert_eq!(store.keys("t", 9).await.unwrap(), std::slice::from_ref(&first));
    // The prefix is of all tenants.
    assert_eq!(store.add_key(&key("a", "u", 2), ROOM).await.unwrap(), KeyAdded::Taken);
    assert_eq!(store.keys_change().await.unwrap(), 1);
    let ends = KeyEntry { expires_us: Some(10), ..key("b", "t", 2) };
    assert_eq!(store.add_key(&ends, ROOM).await.unwrap(), KeyAdded::Added);
    let live = async |now| {
        let live = store.live_keys(now, 9).await.unwrap();
        live.into_iter().map(|key| key.prefix).collect::<Vec<_>>()
    };
    assert_eq!((live(9).await, live(10).await), (vec!["a".into(), "b".into()], vec!["a".into()]));

    store.keys_used(&[("a".into(), 7), ("none".into(), 7)]).await.unwrap();
    store.keys_used(&[("a".into(), 5)]).await.unwrap();
    assert_eq!(store.keys("t", 9).await.unwrap()[1].used_us, Some(7));
    assert_eq!(store.keys_change().await.unwrap(), 2);

    // That of another tenant is none, and changes nothing.
    assert_eq!(store.revoke_key("u", "a", 8, "x").await.unwrap(), None);
    assert_eq!(store.keys_change().await.unwrap(), 2);
    let revoked = store.revoke_key("t", "a", 8, "x").await.unwrap().unwrap();
    assert_eq!((revoked.revoked_us, revoked.revoked_by.as_deref()), (Some(8), Some("x")));
    let again = store.revoke_key("t", "a", 9, "y").await.unwrap().unwrap();
    assert_eq!(again, revoked);
    assert_eq!(live(9).await, ["b"]);
    assert!(store.keys_change().await.unwrap() > 2);
}

pub(super) async fn there_are_not_more_keys_than_may_be(store: SqlStore) {
    for prefix in ["a", "b", "c"] {
        assert_eq!(store.add_key(&key(prefix, "t", 1), ROOM).await.unwrap(), KeyAdded::Added);
    }
    let full = KeyAdded::Full { live: 3, of_tenant: true };
    assert_eq!(store.add_key(&key("d", "t", 2), ROOM).await.unwrap(), full);
    for prefix in ["e", "f"] {
        assert_eq!(store.add_key(&key(prefix, "u", 2), ROOM).await.unwrap(), KeyAdded::Added);
    }
    let full = KeyAdded::Full { live: 5, of_tenant: false };
    assert_eq!(store.add_key(&key("g", "v", 2), ROOM).await.unwrap(), full);
    // What is of no use any more takes no room, and is let go of in time.
    for (prefix, at) in [("a", 3), ("b", 4)] {
        assert!(store.revoke_key("t", prefix, at, "x").await.unwrap().is_some());
    }
    let newer = KeyEntry { expires_us: Some(6), ..key("h", "t", 5) };
    assert_eq!(store.add_key(&newer, ROOM).await.unwrap(), KeyAdded::Added);
    let prefixes = async || {
        let keys = store.keys("t", 9).await.unwrap();
        keys.into_iter().map(|key| key.prefix).collect::<Vec<_>>()
    };
    assert_eq!(prefixes().await, ["h", "a", "c"]);
    assert_eq!(store.add_key(&key("i", "t", 7), ROOM).await.unwrap(), KeyAdded::Added);
    assert_eq!(prefixes().await, ["i", "h", "c"]);
}
