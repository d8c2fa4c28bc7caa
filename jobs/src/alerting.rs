//! Alerts that are defined once and looked after: rules are rows of the dataset `alert_rules`, one for each, and a schedule of the job
//! `alerts` for each dataset that some look at.
//!
//! ```toml
//! [[alert]]
//! name = "slow"
//! dataset = "model_calls"
//! condition = "latency_ms > 5000"
//! by = ["model"]
//! time = "at"
//! for = "5m"
//! ```

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use analysis::alerts::{Group, Rule, Silence};
use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use chrono::DateTime;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::{cast, ident, lit};
use datasets::{ColumnType, DatasetName, DatasetSpec, Evolution};
use engine::{
    Code, Coming, CommitLabel, Error, Going, Principal, Result, Revision, Role, Session,
    did_you_mean,
};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::alert_words;
use crate::definitions;
use crate::kinds::alerts;
use crate::parameters::{self, dataset_name};
use crate::pipelines::Applied;
use crate::run::ledger::RUNS;
use crate::run::logs::RUN_LOGS;
use crate::run::record::now;
use crate::run::runner::{RunHandle, RunRequest, Runner};
use crate::run::stages::RUN_STAGES;
use crate::schedules::{Schedule, Trigger, check_name};
use crate::tables::columns::{column, texts, timestamps};

/// What the name of a schedule of alerts begins with; the dataset is next.
const SCHEDULE: &str = "alerts-";

/// Datasets that each run adds rows to.
const OF_RUNS: [&str; 3] = [RUNS, RUN_STAGES, RUN_LOGS];

/// A rule that is to be looked after.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertDefinition {
    /// When to alert, and what to say.
    pub rule: Rule,
    dataset: DatasetName,
}

/// A rule that is looked after.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AlertState {
    /// When to alert, and what to say.
    #[serde(flatten)]
    pub rule: Rule,
    /// Its alerts that fire, whether somebody has them or not.
    pub firing: u64,
    /// Those that would fire if it goes on.
    pub pending: u64,
}

/// The spec of `alert_rules`.
pub fn spec() -> DatasetSpec {
    let text = |name, about| column(name, ColumnType::Text, false, about);
    DatasetSpec {
        name: dataset_name("alert_rules"),
        description: "Which rows are a reason to alert, a row for each rule".into(),
        owner: None,
        derived: true,
        key: vec!["rule".into()],
        time_column: Some("defined_at".into()),
        evolution: Evolution::AddNullable,
        load: datasets::LoadSettings::default(),
        partition_by: Vec::new(),
        columns: vec![
            text("rule", "Its name"),
            text("dataset", "The dataset that it looks at"),
            column("definition", ColumnType::Json, false, "When to alert, and what to say"),
            column("defined_at", ColumnType::Timestamp, false, "When it was defined"),
            text("defined_by", "Who defined it"),
        ],
        validations: Vec::new(),
        relations: Vec::new(),
        dimensions: Vec::new(),
        measures: Vec::new(),
    }
}

/// The rules that are defined, by name; of one dataset, or of all.
pub(crate) async fn defined(session: &Session, of: Option<&DatasetName>) -> Result<Vec<Rule>> {
    let spec = spec();
    if session.version(&spec.name).is_none() {
        return Ok(Vec::new());
    }
    let mut frame = session.table(&spec.name).await?;
    if let Some(dataset) = of {
        frame = frame.filter(ident("dataset").eq(lit(dataset.as_str())))?;
    }
    let mut rules = Vec::new();
    for batch in session.collect(frame.select(vec![ident("definition")])?).await? {
        for text in texts(&batch, 0)?.iter().flatten() {
            let rule: Rule = serde_json::from_str(text)
                .map_err(|e| Error::internal(format!("a rule in {}: {e}", spec.name)))?;
            rules.push(rule);
        }
    }
    rules.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(rules)
}

impl AlertDefinition {
    /// Reads a definition. BAD_INPUT names the alert and the field.
    pub fn new(name: &str, mut fields: Map<String, Value>) -> Result<Self> {
        check_name("alert", name)?;
        if !fields.contains_key("dataset") {
            let says =
                format!("alert {name}: dataset: expected the dataset whose rows it looks at");
            return Err(Error::user(Code::BadInput, says));
        }
        fields.insert("name".to_owned(), name.into());
        let rule: Rule = parameters::read(&format!("alert {name}"), &Value::Object(fields))?;
        rule.check().map_err(alerts::refused)?;
        let dataset = DatasetName::new(&*rule.dataset)?;
        check_name("alert", &format!("{SCHEDULE}{dataset}")).map_err(|_| {
            let says = format!(
                "alert {name}: dataset: expected a name of at most 56 bytes, found {dataset}"
            );
            Error::user(Code::BadInput, says)
        })?;
        Ok(Self { rule, dataset })
    }

    /// Reads the definitions of a text in TOML, each a table `[[alert]]`. `source` is where it is from, for what is said of it.
    pub fn from_toml(text: &str, source: &str) -> Result<Vec<Self>> {
        let read = definitions::tables(text, source, "alert")?.into_iter();
        let one = |(name, fields): (String, _)| Self::new(&name, fields);
        read.map(one).collect::<Result<_>>().map_err(|e| e.while_doing(source))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.rule.name
    }
}

/// What looks after the rules of a dataset.
fn schedule(dataset: &DatasetName) -> Result<Schedule> {
    let params = alerts::Params { dataset: dataset.clone(), ..alerts::Params::default() };
    // A look at these is one of their rows itself, and would bring on the next.
    let trigger = match OF_RUNS.contains(&dataset.as_str()) {
        true => Trigger::Clock {
            cron: "* * * * *".into(),
            zone: "UTC".into(),
            catch_up: "none".into(),
            jitter_seconds: 0,
        },
        false => Trigger::Change { on_change: dataset.clone(), rows_min: 1, every_seconds: 0 },
    };
    Ok(Schedule {
        name: format!("{SCHEDULE}{dataset}"),
        job: alerts::NAME.to_owned(),
        params: parameters::canonical(&params)?,
        gpu: None,
        steps: Vec::new(),
        trigger,
        priority: 0,
        created_by: String::new(),
        created_at: DateTime::UNIX_EPOCH,
    })
}

/// What became of definitions, and the runs that look at once, one for each dataset.
pub struct AlertsDefined {
    /// Of each alert, in the order in which they were asked for.
    pub applied: Vec<(String, Applied)>,
    /// The runs.
    pub runs: Vec<RunHandle>,
}

impl Runner {
    /// Makes alerts what `asked` says, whether there were some of their names or not: all of them, or where something is wrong with one,
    /// none. What is new or changed is looked at at once.
    pub async fn define_alerts(
        &self,
        who: &Principal,
        asked: &[AlertDefinition],
    ) -> Result<AlertsDefined> {
        let there = self.checked_alerts(who, asked).await?;
        let of_one = |one: &AlertDefinition| match there.get(one.name()) {
            None => Applied::Added,
            Some(there) if *there == one.rule => Applied::Same,
            Some(_) => Applied::Changed,
        };
        let applied: Vec<(String, Applied)> =
            asked.iter().map(|one| (one.name().to_owned(), of_one(one))).collect();
        let new: Vec<&AlertDefinition> =
            asked.iter().filter(|one| of_one(one) != Applied::Same).collect();
        let mut looked_at: BTreeSet<DatasetName> =
            new.iter().map(|one| one.dataset.clone()).collect();
        // Where a rule looked before, what fired of it is over.
        for one in &new {
            let before = there.get(one.name()).map(|rule| DatasetName::new(&*rule.dataset));
            looked_at.extend(before.transpose()?);
        }
        if !new.is_empty() {
            let coming = Coming::Rows(vec![rows(who, &new)?]);
            self.revise_rules(who, Revision { going: Going::SameKey, coming }, "define alert")
                .await?;
        }
        let schedules = asked.iter().map(|one| &one.dataset).collect::<BTreeSet<_>>();
        for dataset in schedules {
            self.upsert_schedule(who, schedule(dataset)?, &[]).await?;
        }
        let runs = self.look_at(who, looked_at.clone()).await?;
        for left in looked_at.iter().filter(|left| asked.iter().all(|one| one.dataset != **left)) {
            self.remove_idle_schedule(who, left).await?;
        }
        Ok(AlertsDefined { applied, runs })
    }

    /// Fails with what is wrong with one of them, and makes nothing.
    pub async fn check_alerts(&self, who: &Principal, asked: &[AlertDefinition]) -> Result<()> {
        self.checked_alerts(who, asked).await.map(drop)
    }

    /// What there is, where nothing is wrong with what is asked for.
    async fn checked_alerts(
        &self,
        who: &Principal,
        asked: &[AlertDefinition],
    ) -> Result<BTreeMap<String, Rule>> {
        who.require(Role::Operator)?;
        definitions::require_different("alert", asked.iter().map(AlertDefinition::name))?;
        let session = self.engine().session(who, &[]).await?;
        let there = defined(&session, None).await?.into_iter();
        let there: BTreeMap<String, Rule> = there.map(|rule| (rule.name.clone(), rule)).collect();
        let mut by_dataset: BTreeMap<&DatasetName, BTreeMap<&str, &Rule>> = BTreeMap::new();
        for one in asked {
            by_dataset.entry(&one.dataset).or_default().insert(one.name(), &one.rule);
        }
        for (dataset, rules) in &mut by_dataset {
            let own = schedule(dataset)?;
            let entry = self.entry_of(who, &own.name).await?;
            let entry = entry.as_ref().map(Schedule::of).transpose()?;
            if entry.is_some_and(|entry| entry.job != alerts::NAME) {
                let says = format!(
                    "alerts of {dataset}: there is a schedule {}, which is of another job; remove it first",
                    own.name
                );
                return Err(Error::user(Code::Conflict, says));
            }
            let asked_for: Vec<Rule> = rules.values().map(|rule| Rule::clone(rule)).collect();
            for rule in there.values().filter(|rule| rule.dataset == dataset.as_str()) {
                if asked.iter().all(|one| one.name() != rule.name) {
                    rules.insert(&rule.name, rule);
                }
            }
            if rules.len() > alerts::RULES_MAX {
                let (found, most) = (rules.len(), alerts::RULES_MAX);
                let says = format!("alerts of {dataset}: expected at most {most}, found {found}");
                return Err(Error::user(Code::LimitExceeded, says));
            }
            // As if the run were asked for: a column that is not there is told.
            let params = alerts::Params {
                dataset: (*dataset).clone(),
                rules: Some(asked_for),
                ..alerts::Params::default()
            };
            let trial = Schedule { params: parameters::canonical(&params)?, ..own };
            self.checked(who, trial, &[]).await?;
        }
        Ok(there)
    }

    /// The tenant's rules, by name, and how many of their alerts fire.
    pub async fn alerts(&self, who: &Principal) -> Result<Vec<AlertState>> {
        who.require(Role::Reader)?;
        let session = self.engine().session(who, &[]).await?;
        let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
        let alerts = dataset_name("alerts");
        if session.version(&alerts).is_some() {
            let by = vec![cast(ident("rule"), arrow::datatypes::DataType::Utf8), ident("state")];
            let frame = session.table(&alerts).await?;
            let frame = frame.aggregate(by, vec![count(lit(1_i64)).alias("alerts")])?;
            for batch in session.collect(frame).await? {
                let (rules, states) = (texts(&batch, 0)?, texts(&batch, 1)?);
                let found = batch.column(2).as_primitive::<Int64Type>();
                for row in 0..batch.num_rows() {
                    let key = (rules.value(row).to_owned(), states.value(row).to_owned());
                    *counts.entry(key).or_default() += u64::try_from(found.value(row)).unwrap_or(0);
                }
            }
        }
        let count = |rule: &Rule, state: &str| {
            counts.get(&(rule.name.clone(), state.to_owned())).copied().unwrap_or(0)
        };
        let rules = defined(&session, None).await?.into_iter();
        Ok(rules
            .map(|rule| AlertState {
                firing: count(&rule, "firing") + count(&rule, "acknowledged"),
                pending: count(&rule, "pending"),
                rule,
            })
            .collect())
    }

    /// One of them; NOT_FOUND where there is none.
    pub async fn alert(&self, who: &Principal, name: &str) -> Result<AlertState> {
        let all = self.alerts(who).await?;
        if let Some(found) = all.iter().find(|alert| alert.rule.name == name) {
            return Ok(found.clone());
        }
        let names = all.iter().map(|alert| alert.rule.name.as_str());
        Err(definitions::unknown("alert", name, names, "colonnade alerts"))
    }

    /// Removes a rule: what fires of it is over.
    pub async fn remove_alert(
        &self,
        who: &Principal,
        name: &str,
    ) -> Result<(AlertState, Vec<RunHandle>)> {
        who.require(Role::Operator)?;
        let last = self.alert(who, name).await?;
        let going = Going::Where(ident("rule").eq(lit(name.to_owned())));
        let revision = Revision { going, coming: Coming::Nothing };
        self.revise_rules(who, revision, "remove alert").await?;
        let dataset = DatasetName::new(&*last.rule.dataset)?;
        let runs = self.look_at(who, BTreeSet::from([dataset.clone()])).await?;
        self.remove_idle_schedule(who, &dataset).await?;
        Ok((last, runs))
    }

    /// Removes what looks after the rules of a dataset, if it has none any more.
    async fn remove_idle_schedule(&self, who: &Principal, dataset: &DatasetName) -> Result<()> {
        let is_idle = async || {
            let session = self.engine().session(who, &[]).await?;
            Ok::<_, Error>(defined(&session, Some(dataset)).await?.is_empty())
        };
        if !is_idle().await? {
            return Ok(());
        }
        match self.remove_schedule(who, &format!("{SCHEDULE}{dataset}")).await {
            Err(error) if error.code() == Code::NotFound => {}
            removed => drop(removed?),
        }
        // Another was defined meanwhile.
        if !is_idle().await? {
            self.upsert_schedule(who, schedule(dataset)?, &[]).await?;
        }
        Ok(())
    }

    /// Says that whoever asks has an alert that fires: it is neither told again nor does it escalate. NOT_FOUND where there is no such
    /// rule.
    pub async fn acknowledge_alert(
        &self,
        who: &Principal,
        (rule, group): (&str, &str),
        comment: &str,
    ) -> Result<Vec<RunHandle>> {
        who.require(Role::Operator)?;
        let of = self.alert(who, rule).await?;
        self.require_firing(who, rule, group).await?;
        alert_words::acknowledge(self.engine(), &writer(who), rule, group, comment).await?;
        self.look_at(who, BTreeSet::from([DatasetName::new(&*of.rule.dataset)?])).await
    }

    async fn require_firing(&self, who: &Principal, rule: &str, group: &str) -> Result<()> {
        let wrong = |says: String| Error::user(Code::BadInput, format!("alert {rule}: {says}"));
        let asked = group.parse::<Group>().map_err(|says| wrong(format!("group: {says}")))?;
        let session = self.engine().session(who, &[]).await?;
        let alerts = dataset_name("alerts");
        let mut firing = Vec::new();
        if session.version(&alerts).is_some() {
            let states = vec![lit("firing"), lit("acknowledged")];
            let fires = ident("rule").eq(lit(rule)).and(ident("state").in_list(states, false));
            let frame = session.table(&alerts).await?.filter(fires)?;
            for batch in session.collect(frame.select(vec![ident("group")])?).await? {
                firing.extend(texts(&batch, 0)?.iter().flatten().map(str::to_owned));
            }
        }
        let asked = asked.to_string();
        if firing.contains(&asked) {
            return Ok(());
        }
        let near = did_you_mean(&asked, firing.iter().map(String::as_str));
        let says = near.unwrap_or_else(|| format!("{} of its alerts fire", firing.len()));
        let shown: String = asked.chars().take(80).collect();
        let says = format!("alert {rule} of {shown:?}: it does not fire; {says}");
        Err(Error::user(Code::NotFound, says))
    }

    /// Has alerts be quiet for a while: they are what they are, and are not told. One of a name that was there takes the place of that.
    pub async fn silence_alerts(&self, who: &Principal, asked: Silence) -> Result<Silence> {
        who.require(Role::Operator)?;
        let session = self.engine().session(who, &[]).await?;
        let rules = defined(&session, None).await?;
        let known = |silence: &Silence| require_known(&rules, silence);
        let made = alert_words::silence(self.engine(), &writer(who), asked, known).await?;
        self.look_at_those(who, &made).await?;
        Ok(made)
    }

    /// Ends a silence now.
    pub async fn end_silence(&self, who: &Principal, name: &str) -> Result<Silence> {
        who.require(Role::Operator)?;
        let ended = alert_words::end_silence(self.engine(), &writer(who), name).await?;
        self.look_at_those(who, &ended).await?;
        Ok(ended)
    }

    /// The silences that are not over, by name.
    pub async fn silences(&self, who: &Principal) -> Result<Vec<Silence>> {
        who.require(Role::Reader)?;
        let session = self.engine().session(who, &[]).await?;
        let mut all = alert_words::silences_of(&session).await?;
        let now = now();
        all.retain(|silence| silence.until > now);
        Ok(all)
    }

    /// Has the rules looked at now that a silence is of.
    async fn look_at_those(&self, who: &Principal, silence: &Silence) -> Result<Vec<RunHandle>> {
        let session = self.engine().session(who, &[]).await?;
        let rules = defined(&session, None).await?;
        let meant = rules.iter().filter(|rule| silence.is_of(&rule.name));
        let of = meant.map(|rule| DatasetName::new(&*rule.dataset));
        self.look_at(who, of.collect::<std::result::Result<_, _>>()?).await
    }

    /// Has the rules of datasets looked at now; of one that is yet to come nothing is seen.
    async fn look_at(&self, who: &Principal, of: BTreeSet<DatasetName>) -> Result<Vec<RunHandle>> {
        let catalog = self.engine().catalog(who).await?;
        let mut runs = Vec::new();
        for dataset in of.into_iter().filter(|dataset| catalog.datasets.contains_key(dataset)) {
            let Schedule { job, params, .. } = schedule(&dataset)?;
            match self.submit(who, RunRequest { job, params, ..RunRequest::default() }).await {
                Ok(run) => runs.push(run),
                // It is done, and the schedule looks at it in its turn.
                Err(error) if matches!(error.code(), Code::LimitExceeded | Code::TooMany) => {
                    tracing::info!(%dataset, %error, "alerts are looked at later");
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(runs)
    }

    async fn revise_rules(
        &self,
        who: &Principal,
        revision: Revision,
        operation: &str,
    ) -> Result<()> {
        let (who, spec) = (writer(who), spec());
        self.engine().ensure_derived(&who, &spec).await?;
        let label = CommitLabel { operation: operation.into(), ..CommitLabel::default() };
        self.engine().revise_derived(&who, &spec.name, revision, label).await.map(drop)
    }
}

/// Fails for a silence of rules that are not there, or of groups that none of them has: nothing would be silent.
fn require_known(rules: &[Rule], silence: &Silence) -> Result<()> {
    let names = rules.iter().map(|rule| rule.name.as_str());
    for name in &silence.rules {
        if names.clone().all(|known| known != name) {
            return Err(definitions::unknown("alert", name, names, "colonnade alerts"));
        }
    }
    let is_meant = |rule: &&Rule| silence.rules.is_empty() || silence.rules.contains(&rule.name);
    let columns: BTreeSet<&str> =
        rules.iter().filter(is_meant).flat_map(|rule| &rule.by).map(String::as_str).collect();
    for column in silence.group.keys() {
        if !columns.contains(column.as_str()) {
            let near = definitions::meant(column, columns.iter().copied());
            let whose = if silence.rules.is_empty() { "no alert" } else { "none of these alerts" };
            let says = format!(
                "silence {}: group: {whose} is told apart by {column:?}{near}",
                silence.name
            );
            return Err(Error::user(Code::BadInput, says));
        }
    }
    Ok(())
}

/// Who may run jobs may have what they say of alerts written, without the right to write anything else.
fn writer(who: &Principal) -> Principal {
    let mut writer =
        Principal::new(who.tenant.clone(), &*who.subject, &[Role::Reader, Role::Writer]);
    writer.grants.clone_from(&who.grants);
    writer
}

fn rows(who: &Principal, asked: &[&AlertDefinition]) -> Result<RecordBatch> {
    let texts = |get: &dyn Fn(&AlertDefinition) -> String| {
        Arc::new(StringArray::from_iter_values(asked.iter().map(|one| get(one)))) as ArrayRef
    };
    let now_us = now().timestamp_micros();
    let columns: Vec<ArrayRef> = vec![
        texts(&|one| one.rule.name.clone()),
        texts(&|one| one.rule.dataset.clone()),
        texts(&|one| json!(one.rule).to_string()),
        timestamps(asked.iter().map(|_| now_us)),
        texts(&|_| who.subject.clone()),
    ];
    Ok(RecordBatch::try_new(spec().arrow_schema(), columns)?)
}
