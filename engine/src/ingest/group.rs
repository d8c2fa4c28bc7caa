//! One group: which of its requests are new, their rows as one commit, an answer to each.
//!
//! Rejected rows are committed to the quarantine first and the accepted ones after, both with the
//! producers' sequences. A crash between the two leaves requests that were not acknowledged; sent again,
//! their rejected rows are known by the quarantine's own record, so that neither table gets them twice. A commit that is overtaken
//! is proposed anew without them: of rows that nobody numbered the quarantine's record says nothing.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use datasets::{Causes, DatasetName};
use std::sync::Arc;

use super::group_commit::Member;
use super::quarantine::{Rejected, quarantine, require_same_body};
use super::sequence::Standing;
use super::{IngestReceipt, ProducerSequence, duplicate};
use crate::bus::CommitKind;
use crate::error::{Error, Result};
use crate::identity::{Principal, TenantId};
use crate::lake::{
    Author, CommitLabel, DataFiles, FileWriter, Head, Lake, Proposal, REGAINED, Table, Taken,
    columns_were_changed, first_of, lost_of,
};

/// Requests that are committed together.
pub(super) struct Group {
    who: Principal,
    members: Vec<Member>,
    standings: Vec<Result<Standing>>,
    /// Where the log keeps the first sequences of producers that are new, and these.
    firsts: Vec<(String, i64)>,
    /// The rows of those members that were new when they were written.
    written: Option<(Vec<usize>, DataFiles)>,
    /// The members whose rejected rows are in the quarantine.
    quarantined: HashSet<usize>,
}

impl Group {
    pub(super) fn new(tenant: &TenantId, mut members: Vec<Member>) -> Self {
        // Requests of one producer that overtook each other on the way here are put right.
        members.sort_by(|a, b| match (&a.producer, &b.producer) {
            (Some(a), Some(b)) => {
                a.producer.cmp(&b.producer).then_with(|| a.sequence.cmp(&b.sequence))
            }
            (a, b) => a.is_some().cmp(&b.is_some()),
        });
        let subject = members.first().map(|m| m.subject.clone()).unwrap_or_default();
        let who = Principal::new(tenant.clone(), subject, &[]);
        Self {
            who,
            members,
            standings: Vec::new(),
            firsts: Vec::new(),
            written: None,
            quarantined: HashSet::new(),
        }
    }

    /// Commits the group and answers its members.
    pub(super) async fn commit(mut self, lake: &Arc<Lake>, table: &Arc<Table>) {
        let label = CommitLabel { operation: "ingest".to_owned(), ..CommitLabel::default() };
        let subject = self.who.subject.clone();
        let mut author = GroupAuthor { group: &mut self, lake };
        let landed = lake.commit(table, &subject, &label, &mut author).await;
        let files = self.written.take().map(|(_, files)| files);
        match landed {
            Ok(landed) => {
                if let Some(files) = files.filter(|_| !landed.committed) {
                    files.discard(table).await;
                }
                self.answer(lake, table.name(), landed.version);
            }
            Err(e) => {
                if let Some(files) = files {
                    files.discard(table).await;
                }
                for member in self.members {
                    let _ = member.answer.send(Err(e.clone()));
                }
            }
        }
    }

    fn answer(self, lake: &Lake, dataset: &DatasetName, version: crate::Version) {
        let metrics = lake.metrics();
        let (mut taken, mut rejected, requests) = (0, 0, self.members.len());
        for (member, standing) in self.members.into_iter().zip(self.standings) {
            let answer = standing.map(|standing| match standing {
                Standing::Next | Standing::Lost => {
                    let accepted = member.rows.accepted_rows() as u64;
                    let quarantined = member.rows.rejected.len() as u64;
                    metrics.rows_ingested.add(accepted);
                    metrics.rows_quarantined.add(quarantined);
                    (taken, rejected) = (taken + accepted, rejected + quarantined);
                    let causes = Causes::of(&member.rows.rejected).into_sorted();
                    IngestReceipt {
                        accepted,
                        quarantined,
                        version,
                        causes,
                        added_columns: member.rows.added_columns.clone(),
                        ..IngestReceipt::default()
                    }
                }
                Standing::Past | Standing::Duplicate => duplicate(lake, version),
            });
            // Who hung up is not told; the rows are committed all the same.
            let _ = member.answer.send(answer);
        }
        let Principal { tenant, subject, .. } = &self.who;
        tracing::info!(%tenant, %dataset, %version, subject, requests, rows = taken, rejected, "rows taken");
    }

    /// Where each member stands on the head as it is, those before it in the group counted in. Answers whether one is ahead of what
    /// was taken.
    async fn judge(&mut self, lake: &Lake, table: &Table, head: &mut Head) -> Result<bool> {
        let mut has_gap = false;
        let mut last: HashMap<&str, Option<i64>> = HashMap::new();
        let mut here: HashMap<(&str, i64), Option<&str>> = HashMap::new();
        self.standings.clear();
        self.firsts.clear();
        for member in &self.members {
            let is_stale = member.rows.reshaped != head.column_ids.reshaped;
            let Some(request) = &member.producer else {
                self.standings.push(match is_stale {
                    true => Err(columns_were_changed()),
                    false => Ok(Standing::Next),
                });
                continue;
            };
            let ProducerSequence { producer, sequence } = request;
            let digest = member.rows.digest.as_deref();
            let known = match last.get(producer.as_str()) {
                Some(known) => *known,
                None => head.last_sequence(table, producer).await?,
            };
            let mut standing = request.standing(known);
            has_gap |= standing.is_err();
            if matches!(standing, Ok(Standing::Next)) {
                let same = require_same_body(lake, table, request, digest).await;
                standing = same.map(|()| Standing::Next);
                if is_stale {
                    standing = Err(columns_were_changed());
                }
            }
            match standing {
                Ok(Standing::Next) => {
                    if known.is_none() {
                        self.firsts.push((first_of(producer), *sequence));
                    }
                    here.insert((producer, *sequence), digest);
                }
                Ok(Standing::Past) => {
                    let taken = match here.get(&(producer.as_str(), *sequence)) {
                        Some(Some(digest)) => Taken::With((*digest).to_owned()),
                        Some(None) => Taken::Before,
                        None => {
                            match self.firsts.iter().find(|(of, _)| *of == first_of(producer)) {
                                Some((_, first)) => Taken::Never { first: *first },
                                None => head.taken(table, producer, *sequence).await?,
                            }
                        }
                    };
                    standing = request.standing_in_past(&taken, digest);
                    if matches!(standing, Ok(Standing::Lost)) {
                        let same = require_same_body(lake, table, request, digest).await;
                        standing = same.map(|()| Standing::Lost);
                        if is_stale {
                            standing = Err(columns_were_changed());
                        }
                        here.insert((producer, *sequence), digest);
                    }
                }
                _ => {}
            }
            let is_next = matches!(standing, Ok(Standing::Next));
            last.insert(producer, if is_next { Some(*sequence) } else { known });
            self.standings.push(standing);
        }
        Ok(has_gap)
    }

    fn new_members(&self) -> Vec<usize> {
        let new = |(i, s): (usize, &Result<Standing>)| {
            matches!(s, Ok(Standing::Next | Standing::Lost)).then_some(i)
        };
        self.standings.iter().enumerate().filter_map(new).collect()
    }

    /// Whether a member has rejected rows that are not in the quarantine.
    fn has_rejects(&self, member: usize) -> bool {
        !self.members[member].rows.rejected.is_empty() && !self.quarantined.contains(&member)
    }
}

/// The author of a group's commit.
struct GroupAuthor<'a> {
    group: &'a mut Group,
    lake: &'a Arc<Lake>,
}

#[async_trait]
impl Author for GroupAuthor<'_> {
    fn commits_elsewhere(&self) -> bool {
        (0..self.group.members.len()).any(|member| self.group.has_rejects(member))
    }

    async fn propose(&mut self, table: &Table, head: &mut Head) -> Result<Option<Proposal>> {
        // Rejected rows are not to be kept of what others let nothing come of.
        let follows = self.commits_elsewhere();
        if follows {
            self.lake.follow_others(table, head).await?;
        }
        let group = &mut *self.group;
        head.require_writable()?;
        let has_gap = group.judge(self.lake, table, head).await?;
        // What is missing may have come by way of another server.
        if has_gap && !follows && self.lake.follow_others(table, head).await? {
            head.require_writable()?;
            group.judge(self.lake, table, head).await?;
        }
        let new = group.new_members();
        let members = || new.iter().map(|i| &group.members[*i]);
        let sequences: Vec<(String, i64)> = new
            .iter()
            .filter_map(|i| Some((group.members[*i].producer.as_ref()?, &group.standings[*i])))
            .map(|(p, standing)| match standing {
                Ok(Standing::Lost) => (lost_of(&p.producer, p.sequence), REGAINED),
                _ => (p.producer.clone(), p.sequence),
            })
            // Sorted by producer and sequence: the last one of each producer wins.
            .collect::<HashMap<_, _>>()
            .into_iter()
            .chain(group.firsts.iter().cloned())
            .collect();
        let requests = members().filter_map(|member| {
            Some(member.producer.as_ref()?.taken(member.rows.digest.as_deref()))
        });
        let requests = requests.collect();
        let left: Vec<usize> = new.iter().copied().filter(|i| group.has_rejects(*i)).collect();
        let rejected: Vec<Rejected> = left
            .iter()
            .map(|i| &group.members[*i])
            .map(|m| Rejected {
                rows: &m.rows.rejected,
                producer: m.producer.as_ref(),
                digest: m.rows.digest.as_deref(),
            })
            .collect();
        if !rejected.is_empty() {
            quarantine(self.lake, &group.who, &head.spec.name, &rejected).await?;
        }
        group.quarantined.extend(left);
        // On a second attempt the files of the first are right if the same members are new.
        let written = match group.written.take() {
            Some((of, files)) if of == new => files,
            stale => {
                if let Some((_, files)) = stale {
                    files.discard(table).await;
                }
                let batches = new.iter().flat_map(|i| &group.members[*i].rows.accepted);
                write(table, head, batches).await?
            }
        };
        let proposal = Proposal::adding([&written]);
        group.written = Some((new, written));
        if proposal.adds.is_empty() && sequences.is_empty() {
            return Ok(None);
        }
        Ok(Some(Proposal { kind: Some(CommitKind::Append), sequences, requests, ..proposal }))
    }
}

async fn write(
    table: &Table,
    head: &Head,
    batches: impl Iterator<Item = &arrow::array::RecordBatch>,
) -> Result<DataFiles> {
    let batches: Vec<_> = batches.cloned().collect();
    if batches.is_empty() {
        return Ok(DataFiles::none());
    }
    let mut writer = FileWriter::new(table, head)?;
    let written = writer.write_all(batches).await;
    let written = written
        .map_err(|e: Error| e.while_doing(format_args!("writing to dataset {}", head.spec.name)));
    writer.finish_after(written).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::sync::oneshot;

    use super::*;
    use crate::error::Code;
    use crate::ingest::IngestRows;
    use crate::ingest::body::prepare;
    use crate::places::Places;
    use crate::storage::Root;
    use crate::storage::faulty::Faulty;
    use crate::tests::{calls, engine, label, name, ndjson, number, options, rows, who};
    use crate::{Engine, Reshape};

    /// A request that was read before `meanwhile`, and is committed after it.
    async fn committed_after(
        engine: &Engine,
        sent: IngestRows,
        producer: Option<ProducerSequence>,
        meanwhile: impl Future<Output = ()>,
    ) -> Result<IngestReceipt> {
        let lake = engine.lake();
        let table = lake.table(&who().tenant, &calls().name).await.unwrap();
        let read = prepare(lake, &who(), &table, &sent, producer.is_some()).await.unwrap();
        meanwhile.await;
        let (answer, answered) = oneshot::channel();
        let room = Places::new(2).take(&who().tenant, 1).await.unwrap();
        let subject = who().subject;
        let member = Member { rows: read, producer, subject, answer, _room: room };
        Group::new(&who().tenant, vec![member]).commit(lake, &table).await;
        answered.await.unwrap()
    }

    /// Two columns change their names with each other: to whoever looks at names alone nothing happened.
    async fn swap(engine: &Engine) {
        for (column, to) in [("model", "other"), ("other", "model")] {
            let change = Reshape::Rename { column: column.to_owned(), to: to.to_owned() };
            engine.reshape(&who(), &name("calls"), change, label("a test")).await.unwrap();
        }
    }

    #[tokio::test]
    async fn rows_that_were_read_for_other_columns_are_refused_whoever_numbers_them() {
        let of = |sequence| Some(ProducerSequence { producer: "p".to_owned(), sequence });
        let sent = || IngestRows::Batches(vec![rows(50..53)]);
        for producer in [None, of(0)] {
            let engine = engine().await;
            let error =
                committed_after(&engine, sent(), producer, swap(&engine)).await.unwrap_err();
            assert_eq!(error.code(), Code::Conflict);
            assert!(error.to_string().contains("columns were changed"), "{error}");
            assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 0);
        }
        // What is refused is not taken: its number is still to come, and its rows are read anew.
        let engine = engine().await;
        committed_after(&engine, sent(), of(3), swap(&engine)).await.unwrap_err();
        let receipt = committed_after(&engine, sent(), of(3), async {}).await.unwrap();
        assert_eq!((receipt.accepted, receipt.duplicate), (3, false));
        assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 3);
    }

    /// Another server changes the columns, of which this one has not heard.
    #[tokio::test]
    async fn of_what_a_change_of_columns_elsewhere_refuses_nothing_is_quarantined() {
        let store = Faulty::new();
        let open = async || Engine::open_root(Root::over(store.clone()), options("memory:")).await;
        let (here, elsewhere) = (open().await.unwrap(), open().await.unwrap());
        here.create_dataset(&who(), calls()).await.unwrap();
        let text = "{\"id\": 1, \"at\": \"2026-01-01\"}\n{\"id\": \"x\"}\n";
        let sent = committed_after(&here, ndjson(text), None, swap(&elsewhere)).await;
        let refused = sent.unwrap_err();
        assert_eq!(refused.code(), Code::Conflict);
        assert!(refused.to_string().contains("columns were changed"), "{refused}");
        assert_eq!(store.count("calls_quarantine").await, 0);
        // Sent again, they are read for the columns as they are.
        let receipt = committed_after(&here, ndjson(text), None, async {}).await.unwrap();
        assert_eq!((receipt.accepted, receipt.quarantined), (1, 1));
        assert_eq!(number(&here, "SELECT count(*) FROM calls_quarantine").await, 1);
    }
}
