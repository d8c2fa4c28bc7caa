//! `colonnade alert` and `colonnade alerts`: which rows are a reason to tell somebody, what fires, and what people say of it.

use std::collections::BTreeMap;

use chrono::Utc;
use engine::{Code, Error, Principal, Result};
use jobs::{
    AlertDefinition, AlertRule, AlertState, Applied, OneOf, RunHandle, RunRecord, RunState,
    Silence, alert_instant,
};
use serde_json::{Value, json};

use super::insights::rows;
use super::kept::definitions;
use super::schedules::with_runner;
use super::{close, open_to_read};
use crate::cli::{Alert, AlertCommand, Alerts};
use crate::config::Settings;
use crate::output::{Output, columns, count, plain};

/// What this process is to others.
const LABEL: &str = "colonnade alert";

/// Makes or removes some, or says something of them.
pub async fn alert(arguments: Alert, settings: &Settings, output: &Output) -> Result<()> {
    let who = settings.principal()?;
    match arguments.command {
        AlertCommand::Apply { files, check } => {
            let asked = definitions(&files, AlertDefinition::from_toml)?;
            match check {
                true => {
                    let checked =
                        async |runner: &jobs::Runner| runner.check_alerts(&who, &asked).await;
                    with_runner(settings, LABEL, checked).await?;
                    let names: Vec<&str> = asked.iter().map(AlertDefinition::name).collect();
                    match output.is_json() {
                        true => output.document(&json!({ "right": names })),
                        false => output.line(&format!("{}: nothing is wrong", names.join(", "))),
                    }
                }
                false => apply(&asked, &who, settings, output).await,
            }
        }
        AlertCommand::Remove { name } => {
            let removed = with_runner(settings, LABEL, async |runner| {
                let (last, runs) = runner.remove_alert(&who, &name).await?;
                ended(runs).await.map(|_| last)
            });
            let last = removed.await?;
            match output.is_json() {
                true => output.document(&last),
                false => output
                    .line(&format!("alert {name}: it is no more, and what fired of it is over")),
            }
        }
        AlertCommand::Acknowledge { rule, group, comment } => {
            let done = with_runner(settings, LABEL, async |runner| {
                let of = (rule.as_str(), group.as_str());
                ended(runner.acknowledge_alert(&who, of, &comment).await?).await
            });
            succeeded(&done.await?)?;
            match output.is_json() {
                true => {
                    output.document(&json!({ "rule": rule, "group": group, "by": who.subject }))
                }
                false => output.line(&format!("alert {rule}: it is {}'s now", who.subject)),
            }
        }
        AlertCommand::Silence { name, rules, group, from, until, reason } => {
            let now = Utc::now();
            let at = |option: &str, text: &str| {
                alert_instant(text, now).map_err(|e| e.while_doing(format_args!("--{option}")))
            };
            let asked = Silence {
                name,
                rules,
                group: groups(&group)?,
                from: from.map_or(Ok(now), |from| at("from", &from))?,
                until: at("until", &until)?,
                reason,
                by: String::new(),
                created_at: now,
            };
            let made = async |runner: &jobs::Runner| runner.silence_alerts(&who, asked).await;
            tell(&with_runner(settings, LABEL, made).await?, output)
        }
        AlertCommand::EndSilence { name } => {
            let ended = async |runner: &jobs::Runner| runner.end_silence(&who, &name).await;
            tell(&with_runner(settings, LABEL, ended).await?, output)
        }
    }
}

/// By column the value, or those of which one.
fn groups(given: &[String]) -> Result<BTreeMap<String, OneOf>> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for one in given {
        let Some((column, value)) = one.split_once('=') else {
            let says = format!("--group {one:?}: expected COLUMN=VALUE");
            return Err(Error::user(Code::BadInput, says));
        };
        groups.entry(column.to_owned()).or_default().push(value.to_owned());
    }
    Ok(groups.into_iter().map(|(column, values)| (column, OneOf::Of(values))).collect())
}

fn tell(silence: &Silence, output: &Output) -> Result<()> {
    match output.is_json() {
        true => output.document(silence),
        false => output.line(&format!(
            "silence {}: nobody is told of {} from {} until {}",
            silence.name,
            of(silence),
            silence.from.format("%F %T"),
            silence.until.format("%F %T")
        )),
    }
}

/// What it keeps quiet.
fn of(silence: &Silence) -> String {
    let mut parts = Vec::new();
    if !silence.rules.is_empty() {
        parts.push(silence.rules.join(", "));
    }
    parts.extend(silence.group.iter().map(|(column, values)| match values {
        OneOf::Equal(value) => format!("{column} {value}"),
        OneOf::Of(values) => format!("{column} {}", values.join(" or ")),
    }));
    plain(&parts.join(" with "))
}

/// Waits for runs.
async fn ended(runs: Vec<RunHandle>) -> Result<Vec<RunRecord>> {
    let mut records = Vec::new();
    for run in runs {
        records.push(run.wait().await?);
    }
    Ok(records)
}

async fn apply(
    asked: &[AlertDefinition],
    who: &Principal,
    settings: &Settings,
    output: &Output,
) -> Result<()> {
    let applied = with_runner(settings, LABEL, async |runner| {
        let made = runner.define_alerts(who, asked).await?;
        let runs = ended(made.runs).await?;
        Ok((made.applied, runs, runner.alerts(who).await?))
    });
    let (applied, runs, all) = applied.await?;
    let state = |name: &str| all.iter().find(|alert| alert.rule.name == name);
    let mut made = Vec::new();
    for (name, applied) in &applied {
        let what = match applied {
            Applied::Added => "is new",
            Applied::Changed => "is changed",
            Applied::Same => "is as it was",
        };
        if output.is_json() {
            made.push(json!({ "applied": applied, "alert": state(name) }));
            continue;
        }
        let (firing, dataset) = state(name).map_or((0, ""), |of| (of.firing, &*of.rule.dataset));
        let fires = match firing {
            0 => "nothing fires".to_owned(),
            firing => format!("{} of it fire", count(firing)),
        };
        output.line(&format!("alert {name}: {what}; {fires}, on {dataset}"))?;
    }
    if output.is_json() {
        output.document(&made)?;
    }
    for run in &runs {
        let unfit = run.summary["rules_that_do_not_fit"].as_array();
        for says in unfit.into_iter().flatten().filter_map(Value::as_str) {
            output.note(&format!("left out, or in part: {says}"));
        }
    }
    succeeded(&runs)
}

/// Fails where one of the runs did.
fn succeeded(runs: &[RunRecord]) -> Result<()> {
    let Some(run) = runs.iter().find(|run| run.state != RunState::Succeeded) else { return Ok(()) };
    let error = run.error.as_ref().map(|error| error.message.clone());
    let says = error.unwrap_or_else(|| run.state.to_string());
    Err(Error::user(Code::BadInput, format!("the rules could not be looked at: {says}")))
}

/// Lists the rules, what fires, or what is silent.
pub async fn alerts(arguments: Alerts, settings: &Settings, output: &Output) -> Result<()> {
    let who = settings.principal()?;
    if arguments.firing {
        return firing(&who, settings, output).await;
    }
    if arguments.silences {
        let all = with_runner(settings, LABEL, async |runner| runner.silences(&who).await).await?;
        if output.is_json() {
            return output.document(&all);
        }
        if all.is_empty() {
            return output.line("nothing is silenced");
        }
        let row = |one: &Silence| {
            let until = one.until.format("%F %T").to_string();
            vec![one.name.clone(), of(one), until, one.by.clone(), plain(&one.reason)]
        };
        let rows: Vec<Vec<String>> = all.iter().map(row).collect();
        return output.line(&columns(&["silence", "of", "until", "by", "why"], &rows));
    }
    let all = with_runner(settings, LABEL, async |runner| runner.alerts(&who).await).await?;
    if output.is_json() {
        return output.document(&all);
    }
    if all.is_empty() {
        return output.line("no alerts yet; `colonnade alert apply FILE` makes some");
    }
    let row = |alert: &AlertState| {
        let rule = &alert.rule;
        vec![
            rule.name.clone(),
            rule.dataset.clone(),
            plain(&when(rule)),
            rule.severity.to_string(),
            count(alert.firing),
            count(alert.pending),
        ]
    };
    let rows: Vec<Vec<String>> = all.iter().map(row).collect();
    output.line(&columns(&["alert", "dataset", "when", "severity", "firing", "pending"], &rows))
}

/// What it alerts of.
fn when(rule: &AlertRule) -> String {
    match (&rule.freshness, &rule.condition) {
        (Some(span), _) => format!("nothing newer than {span}"),
        (None, condition) => condition.clone().unwrap_or_default(),
    }
}

async fn firing(who: &Principal, settings: &Settings, output: &Output) -> Result<()> {
    const SQL: &str = "SELECT rule, \"group\", state, severity, since, firing_since, value, summary, silenced_by, acknowledged_by \
                       FROM alerts WHERE state IN ('firing', 'acknowledged') ORDER BY firing_since, rule, \"group\"";
    let engine = open_to_read(settings).await?;
    let read = async {
        let session = engine.session(who, &[]).await?;
        match session.catalog().has(&datasets::DatasetName::new("alerts")?)? {
            true => rows(&session, SQL).await,
            false => Ok(Vec::new()),
        }
    };
    let read = read.await;
    let all = close(&engine, read).await?;
    if output.is_json() {
        return output.document(&all);
    }
    if all.is_empty() {
        return output.line("nothing fires");
    }
    let text = |one: &Value, name: &str| plain(one[name].as_str().unwrap_or_default());
    let row = |one: &Value| {
        let quiet = match (&one["acknowledged_by"], &one["silenced_by"]) {
            (Value::String(by), _) => format!("{by} has it"),
            (_, Value::String(silence)) => format!("silenced by {silence}"),
            _ => String::new(),
        };
        let since = text(one, "firing_since");
        vec![
            text(one, "rule"),
            text(one, "group"),
            text(one, "severity"),
            since,
            text(one, "summary"),
            plain(&quiet),
        ]
    };
    let rows: Vec<Vec<String>> = all.iter().map(row).collect();
    output.line(&columns(&["alert", "of", "severity", "since", "says", ""], &rows))
}
