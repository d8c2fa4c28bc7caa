//! Answers to queries that are kept for who asks the same of the same versions.
//!
//! An answer is called by everything that it follows from: the tenant, what is seen of it, the role, the schema's generation, the
//! document with its variables, and the versions of all datasets that its root fields read or lead to. A commit gives it another name,
//! so that none is ever older than the catalogue that its request was admitted with. What follows from more than that (the control
//! plane, vectors, a sample, a version of the past (also that of a cursor) that may be cleaned away, conditions that ask for the time) is not kept.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_graphql::Request;
use async_graphql::parser::types::OperationType;
use datasets::DatasetName;
use engine::{Catalog, Principal};
use sha2::{Digest, Sha256};

use crate::answer::{Answer, Message};
use crate::guard::RootField;
use crate::limits::Limits;
use crate::links::Links;
use crate::meter::Meter;
use crate::schema::TenantSchema;
use crate::service::question_of;
use crate::subscribe::shared::SharedResults;

/// Answers that are kept, however short they are.
const ANSWERS_MAX: usize = 65_536;
/// One part in so many of what may be kept is the most that one answer takes.
const ANSWERS_MIN: usize = 8;
/// Arguments by which an answer follows from more than versions.
const NOT_OF_NOW: [&str; 4] = ["asOf", "sample", "after", "before"];

/// The answers.
pub(crate) struct KeptAnswers {
    answers: SharedResults,
    is_on: bool,
    bytes_max: usize,
}

/// The datasets that each root field reads whose answers may be kept.
pub(crate) type Readings = HashMap<String, Arc<[DatasetName]>>;

/// The datasets that rows of `of` lead to by `links`, over any number of them, and itself.
pub(crate) fn reached(of: &DatasetName, links: &Links) -> Arc<[DatasetName]> {
    let mut reached: Vec<DatasetName> = vec![of.clone()];
    let mut known: HashSet<DatasetName> = reached.iter().cloned().collect();
    let mut next = 0;
    while let Some(from) = reached.get(next).cloned() {
        next += 1;
        for link in links.of(&from) {
            if known.insert(link.to.name.clone()) {
                reached.push(link.to.name.clone());
            }
        }
    }
    reached.into()
}

impl KeptAnswers {
    pub(crate) fn new(limits: &Limits) -> Self {
        let bytes_max = limits.kept_answers_bytes_max;
        let answers = SharedResults::with_bytes(ANSWERS_MAX, bytes_max);
        Self { answers, is_on: limits.keep_answers, bytes_max }
    }

    /// What the answer is called, where it may be kept.
    pub(crate) fn name(
        &self,
        who: &Principal,
        request: &Request,
        schema: &TenantSchema,
        catalog: &Catalog,
        (kind, roots): (OperationType, &[RootField]),
    ) -> Option<String> {
        let is_of_now = NOT_OF_NOW.iter().all(|name| !request.query.contains(name));
        let sees = who.sees();
        if !self.is_on || kind != OperationType::Query || !is_of_now || sees.asks_for_time() {
            return None;
        }
        let mut digest = Sha256::new();
        let mut put = |part: &str| {
            digest.update(part.len().to_le_bytes());
            digest.update(part);
        };
        put(who.tenant.as_str());
        put(sees.digest());
        put(&format!("{:?} {}", who.roles, schema.generation));
        put(&question_of(request, None));
        let mut read = HashSet::new();
        for root in roots {
            for dataset in schema.readings.get(root.name.as_str())?.iter() {
                if read.insert(dataset) {
                    put(dataset.as_str());
                    put(&catalog.with_expected(dataset)?.version.to_string());
                }
            }
        }
        Some(format!("{:x}", digest.finalize()))
    }

    /// The answer called `name`, counted as found or not.
    pub(crate) fn find(&self, name: &str, meter: &Meter) -> Option<Arc<Message>> {
        let found = self.answers.find(name);
        match found {
            Some(_) => meter.answers_found.add(1),
            None => meter.answers_missed.add(1),
        }
        found
    }

    /// Keeps `answer`, unless it is one of the few that would take the room of many.
    pub(crate) fn keep(&self, name: &str, answer: &mut Answer) {
        if answer.json.len() <= self.bytes_max / ANSWERS_MIN
            && let Some(message) = answer.message()
        {
            self.answers.keep(name, message);
        }
    }
}
