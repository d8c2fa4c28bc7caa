//! `explain`: answered at once, of what the one who asks may see.

use engine::{Grant, GrantSet, Grants, Mask, Principal, Role};
use serde_json::{Value, json};

use super::{Rig, calls_spec, who};

const ASK: &str = r#"{ explain(dataset: "calls", measure: "avg(latency_ms)", dimensions: ["model", "isOk"],
    from: "2026-01-02T00:00:00Z", to: "2026-01-03T00:00:00Z") {
    outcome before after change rows dimensions says
    findings { finding byColumn before after rowsBefore rowsAfter contribution share byRate byMix byBoth joint pValue says } } }"#;

fn ask() -> String {
    ASK.replace("isOk", "is_ok")
}

/// Two days of calls: on the second those of one model that fail are slow.
async fn rig() -> Rig {
    let rig = Rig::new().await;
    rig.create(calls_spec()).await;
    let mut lines = String::new();
    for call in 0..2_000 {
        let (day, model, is_ok) = (call % 2 + 1, ["a", "b", "c"][call / 2 % 3], call / 6 % 4 > 0);
        let slow = if day == 2 && model == "b" && !is_ok { 40.0 } else { 0.0 };
        let latency = 10.0 + (call * 7 % 5) as f64 + slow;
        let row = json!({
            "id": format!("c{call}"), "at": format!("2026-01-0{day}T12:00:00Z"), "model": model,
            "is_ok": is_ok, "latency_ms": latency,
        });
        lines.push_str(&format!("{row}\n"));
    }
    rig.ingest("calls", &lines).await;
    rig
}

#[tokio::test]
async fn the_group_that_carries_a_change_is_told_with_what_it_adds() {
    let rig = rig().await;
    let answer = rig.ask(&ask()).await;
    let found = &answer["data"]["explain"];
    assert_eq!((&found["outcome"], &found["rows"]), (&json!("found"), &json!("2000")), "{answer}");
    let findings = found["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 1, "{findings:?}");
    let finding = &findings[0];
    assert_eq!(finding["byColumn"], json!({"model": "b", "is_ok": "false"}));
    let number = |of: &Value| of.as_f64().unwrap();
    let parts: f64 = ["byRate", "byMix", "byBoth"].iter().map(|part| number(&finding[*part])).sum();
    assert!((parts - number(&finding["contribution"])).abs() < 1e-9, "{finding}");
    assert!((number(&finding["after"]) - number(&finding["before"]) - 40.0).abs() < 0.5);
    let change = number(&found["after"]) - number(&found["before"]);
    assert!((number(&found["change"]) - change).abs() < 1e-9, "{found}");
}

#[tokio::test]
async fn who_sees_a_part_is_told_of_that_part_and_of_no_hidden_column() {
    let rig = rig().await;
    let masks = [("model".to_owned(), Mask::Hide)].into();
    let grant = Grant { rows: Some("is_ok".to_owned()), masks };
    let set = GrantSet { salt: None, datasets: [("calls".to_owned(), grant)].into() };
    let part = Principal {
        subject: "narrow".to_owned(),
        grants: Grants::limited(set, [].into()).unwrap(),
        roles: vec![Role::Reader],
        ..who()
    };
    let hidden = rig.ask_as(&part, ask().as_str()).await;
    let says = hidden["errors"][0]["message"].as_str().unwrap();
    let (before, listed) = says.split_once("expected one of").unwrap();
    assert!(before.contains("no column \"model\"") && !listed.contains("model"), "{says}");
    let own = ask().replace(r#"["model", "is_ok"]"#, r#"["is_ok"]"#);
    let answer = rig.ask_as(&part, own.as_str()).await;
    let found = &answer["data"]["explain"];
    assert_eq!((&found["outcome"], &found["rows"]), (&json!("noise"), &json!("1496")), "{answer}");
}

#[tokio::test]
async fn what_can_not_be_answered_names_the_argument() {
    let rig = rig().await;
    for (from, to, says) in [
        ("avg(latency_ms)", "max(latency_ms)", "parameter \"measure\": expected a count"),
        ("2026-01-03T00", "2026-01-01T00", "parameter \"to\": expected an instant after"),
        ("\"calls\"", "\"cals\"", "cals"),
    ] {
        let answer = rig.ask(&ask().replace(from, to)).await;
        let found = answer["errors"][0]["message"].as_str().unwrap();
        assert!(found.contains(says), "{found}");
    }
}
