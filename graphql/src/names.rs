//! How a dataset or column is called in GraphQL, and back.
//!
//! GraphQL clients expect `camelCase`, storage and SQL have `snake_case`. A mapping that two names
//! could share would make one of them unreachable, so this one is injective by construction:
//! `_` before a letter becomes a capital, `_` before a digit stays (`a_1` and `a1` are two fields).
//! Where a name meets a word that the schema itself uses, it gets an ending that no name can have.

/// Fields of the roots that belong to the control plane, or are to, so that none that comes renames a dataset's; a dataset of that
/// name gives way.
pub(crate) const CONTROL_FIELDS: [&str; 60] = [
    "alert",
    "alertDefinitions",
    "alertSilences",
    "apiKeys",
    "backfill",
    "backfills",
    "budgets",
    "catalog",
    "catalogChanged",
    "dataset",
    "datasets",
    "device",
    "devices",
    "droppedDatasets",
    "explain",
    "export",
    "exports",
    "featureSkew",
    "featureViews",
    "grants",
    "insight",
    "insightUpdates",
    "job",
    "jobs",
    "key",
    "keys",
    "lineage",
    "me",
    "measures",
    "metricDefinitions",
    "model",
    "models",
    "node",
    "nodes",
    "onlineFeatures",
    "pipeline",
    "pipelines",
    "queue",
    "quotas",
    "relations",
    "reportTemplates",
    "role",
    "roles",
    "run",
    "runUpdates",
    "runs",
    "schedule",
    "schedules",
    "search",
    "settings",
    "sql",
    "tenant",
    "tenants",
    "trustedDocuments",
    "unreadableDatasets",
    "usage",
    "version",
    "viewer",
    "webhooks",
    "workers",
];

/// Words of a row beside its columns, or that are to be.
pub(crate) const ROW_WORDS: [&str; 2] = ["nodeId", "related"];

/// Words of a `where` object beside the columns.
pub(crate) const WHERE_WORDS: [&str; 3] = ["and", "not", "or"];

/// Words of a group beside its key columns, or that are to be.
pub(crate) const GROUP_WORDS: [&str; 47] = [
    "approxDistinct",
    "approxMedian",
    "argMax",
    "argMin",
    "avg",
    "bucket",
    "change",
    "changePercent",
    "corr",
    "count",
    "countDistinct",
    "covar",
    "cumulative",
    "delta",
    "every",
    "first",
    "geomean",
    "grouping",
    "histogram",
    "isFilled",
    "isOther",
    "isTotal",
    "kurtosis",
    "last",
    "level",
    "max",
    "measures",
    "median",
    "min",
    "mode",
    "movingAvg",
    "other",
    "p50",
    "p90",
    "p95",
    "p99",
    "percentile",
    "previous",
    "rank",
    "rate",
    "rollup",
    "share",
    "skewness",
    "stddev",
    "sum",
    "total",
    "variance",
];

/// `model_calls` → `modelCalls`.
pub(crate) fn camel(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut characters = name.chars().peekable();
    while let Some(c) = characters.next() {
        match (c, characters.peek()) {
            ('_', Some(next)) if next.is_ascii_lowercase() => {
                out.push(next.to_ascii_uppercase());
                characters.next();
            }
            _ => out.push(c),
        }
    }
    out
}

/// `model_calls` → `ModelCalls`.
pub(crate) fn pascal(name: &str) -> String {
    let camel = camel(name);
    let mut characters = camel.chars();
    match characters.next() {
        Some(first) => first.to_ascii_uppercase().to_string() + characters.as_str(),
        None => camel,
    }
}

/// `model` → `MODEL`, as an enum's value.
pub(crate) fn screaming(name: &str) -> String {
    name.to_ascii_uppercase()
}

/// `camel(name)`, with a `_` behind it when it is one of `words`; no name ends with `_`.
pub(crate) fn camel_beside(name: &str, words: &[&str]) -> String {
    let mut field = camel(name);
    if words.contains(&field.as_str()) {
        field.push('_');
    }
    field
}

/// What fields beside that of a dataset have behind its name.
const FIELDS_BESIDE: [&str; 4] = ["Groups", "Changed", "Similar", "Distinct"];

/// What its mutations have there.
const MUTATIONS: [&str; 2] = ["Delete", "Update"];

/// The query field of a dataset. `<field>Groups`, `<field>Changed`, `<field>Similar` and `<field>Distinct` stand beside it, so a dataset
/// whose own name ends like that, or is a word of the control plane, gets `Rows` behind its name.
/// The rule looks at one name only: a new dataset never renames another.
pub(crate) fn dataset_field(name: &str) -> String {
    let mut field = camel(name);
    let is_taken = |end: &&str| field.ends_with(*end);
    if CONTROL_FIELDS.contains(&field.as_str())
        || FIELDS_BESIDE.iter().chain(&["Rows"]).any(is_taken)
    {
        field.push_str("Rows");
    }
    field
}

/// Whether `field` is the one of `dataset`, or stands beside it.
pub(crate) fn is_field_of(field: &str, dataset: &str) -> bool {
    let rest = field.strip_prefix(dataset_field(dataset).as_str());
    rest.is_some_and(|rest| {
        rest.is_empty() || FIELDS_BESIDE.iter().chain(&MUTATIONS).any(|beside| *beside == rest)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use super::*;
    use std::collections::BTreeMap;

    /// Every name of up to five characters over a small alphabet that the name rule allows.
    fn small_names() -> Vec<String> {
        let mut names = vec![String::new()];
        let mut all = Vec::new();
        for _ in 0..5 {
            names = names
                .iter()
                .flat_map(|n| ["a", "b", "_", "1"].map(|c| format!("{n}{c}")))
                .collect();
            all.extend(
                names.iter().filter(|n| datasets::DatasetName::new(n.as_str()).is_ok()).cloned(),
            );
        }
        all
    }

    #[test]
    fn no_two_names_meet_in_one_field() {
        let mut seen: BTreeMap<String, String> = BTreeMap::new();
        for name in small_names() {
            if let Some(other) = seen.insert(camel(&name), name.clone()) {
                panic!("{other} and {name} are both {}", camel(&name));
            }
        }
        assert!(seen.len() > 200);
    }

    #[test]
    fn the_fields_of_datasets_never_meet_whatever_they_are_called() {
        let ends = [
            "",
            "_groups",
            "_changed",
            "_similar",
            "_distinct",
            "_rows",
            "_rows_groups",
            "_similar_rows",
        ];
        let mut names: Vec<String> = CONTROL_FIELDS.iter().map(|w| (*w).to_owned()).collect();
        names.push("run_updates".to_owned());
        for base in ["a", "runs", "groups", "rows", "changed", "similar", "distinct"] {
            names.extend(ends.map(|end| format!("{base}{end}")));
        }
        names.retain(|n| datasets::DatasetName::new(n.as_str()).is_ok());
        names.sort();
        names.dedup();
        let mut seen: BTreeMap<String, String> =
            CONTROL_FIELDS.iter().map(|w| ((*w).to_owned(), "control".to_owned())).collect();
        for name in names {
            let field = dataset_field(&name);
            let beside =
                ["", "Groups", "Changed", "Similar", "Distinct"].map(|end| format!("{field}{end}"));
            for field in beside {
                if let Some(other) = seen.insert(field.clone(), name.clone()) {
                    panic!("{other} and {name} both have the field {field}");
                }
            }
        }
    }

    #[test]
    fn no_measure_is_declared_that_groups_have_a_word_for() {
        let reserved: Vec<String> = datasets::RESERVED_WORDS.iter().map(|it| camel(it)).collect();
        assert_eq!(reserved, GROUP_WORDS.map(str::to_owned));
    }

    #[test]
    fn names_read_as_people_expect() {
        assert_eq!(camel("time_to_first_token_ms"), "timeToFirstTokenMs");
        assert_eq!(camel("tokens_1k"), "tokens_1k");
        assert_eq!(pascal("model_calls"), "ModelCalls");
        assert_eq!(dataset_field("model_calls"), "modelCalls");
        assert_eq!(dataset_field("runs"), "runsRows");
        assert_eq!(camel_beside("and", &WHERE_WORDS), "and_");
        assert_eq!(camel_beside("at", &WHERE_WORDS), "at");
    }
}
