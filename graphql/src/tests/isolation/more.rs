//! Random requests of related rows, combinations, groups with totals, and rows by their ids.

use engine::Principal;
use rand::Rng;
use rand::seq::IndexedRandom;

use super::super::{document, who};
use super::{Asker, World, neighbour};
use crate::answer::Answers;
use crate::service::Accepts;

/// Ids of all rows, of those that are kept back, of what is not granted and of another tenant, and some that nobody gave.
pub(super) async fn nodes(worlds: &[World]) -> Vec<String> {
    let mut ids = vec!["AAAA".to_owned(), String::new()];
    for (world, vault) in worlds.iter().zip(["vault", "safe"]) {
        for (who, field) in
            [(who(), "notes"), (who(), "replies"), (who(), vault), (neighbour(), vault)]
        {
            let query = format!("{{ {field}(first: 1000) {{ nodes {{ nodeId }} }} }}");
            ids.extend(ids_of(world, &who, field, &query).await);
        }
    }
    ids
}

async fn ids_of(world: &World, who: &Principal, field: &str, query: &str) -> Vec<String> {
    let request = async_graphql::Request::new(query);
    let Answers::One(answer) = world.rig.service.answer(who, request, "id", Accepts::Single).await
    else {
        panic!("a stream for {query}");
    };
    let answer = document(&answer);
    let rows = answer["data"][field]["nodes"].as_array().unwrap_or_else(|| panic!("{answer}"));
    rows.iter().map(|row| row["nodeId"].as_str().unwrap().to_owned()).collect()
}

impl Asker {
    /// A request of what there is in more than one dataset, or of more than one row.
    pub(super) fn reading(&mut self, filter: &str, as_of: &str) -> String {
        match self.random.random_range(0..8) {
            0..=2 => {
                let (first, inner) =
                    (self.random.random_range(0..9), self.random.random_range(0..5));
                let of = self.one(&[
                    "replies",
                    "replies",
                    "replies",
                    "vault",
                    "safe",
                    "replies_sameAmount",
                ]);
                let back =
                    self.one(&["note", "note", "note", "kept", "sameAmount { nodes { id } } note"]);
                let (shown, asks) = (self.shown(), self.reply_arguments());
                format!(
                    "{{ notes(first: {first}, where: {filter}{as_of}) {{ nodes {{ nodeId related {{ {of}(first: {inner}{asks}) {{ totalCount hasMore \
                     nodes {{ id text related {{ {back} {{ nodeId {shown} }} }} }} }} }} }} }} \
                     replies {{ nodes {{ id related {{ note {{ {shown} }} }} }} }} }}"
                )
            }
            3 => {
                let (field, key) =
                    (self.field(), self.one(&["team", "body", "phone", "amount", "secret"]));
                let by = key.to_uppercase();
                let page = self.one(&["first: 3", "last: 2", "first: 500"]);
                format!(
                    "{{ {field}Distinct(columns: [{by}], {page}, where: {filter}, orderBy: [{{{key}: DESC}}]{as_of}) {{ version totalCount nodes {{ {key} }} pageInfo {{ endCursor hasNextPage }} }} }}"
                )
            }
            4..=5 => {
                let (key, field) = (self.one(&["team", "body", "phone", "id"]), self.field());
                let by = key.to_uppercase();
                let asked = self.one(&[
                    "top: 2",
                    "top: 1, orderBy: [{max: {amount: DESC}}]",
                    "totals: ROLLUP",
                    "totals: CUBE",
                    "every: {width: \"1d\", fill: LINEAR}",
                    "every: {width: \"1mo\", fill: ZERO}, top: 1",
                    "every: {column: SEEN_AT, width: \"1w\", fill: PREVIOUS}",
                ]);
                let time = if asked.contains("every") {
                    "previous { count sum { amount } } changePercent { count }"
                } else {
                    ""
                };
                format!(
                    "{{ {field}Groups(groupBy: [{by}], {asked}, where: {filter}{as_of}) {{ totalCount nodes {{ {key} isOther isTotal grouping count sum {{ amount price }} corr {{ amount(with: PRICE) }} {time} }} }} }}"
                )
            }
            _ => {
                let count = self.random.random_range(1..6);
                let ids: Vec<String> = (0..count)
                    .map(|_| format!("\"{}\"", self.nodes.choose(&mut self.random).unwrap()))
                    .collect();
                let shown = self.shown();
                let on = self.one(&["NotesRow", "NotesRow", "RepliesRow", "VaultRow"]);
                format!(
                    "{{ node(id: {}) {{ nodeId __typename }} nodes(ids: [{}]) {{ __typename nodeId ... on {on} {{ {shown} }} \
                     ... on NotesRow {{ related {{ replies {{ totalCount nodes {{ nodeId }} }} }} }} }} }}",
                    ids[0],
                    ids.join(", ")
                )
            }
        }
    }

    fn reply_arguments(&mut self) -> String {
        match self.random.random_range(0..3) {
            0 => ", where: {text: {contains: \"world\"}}".to_owned(),
            1 => ", orderBy: [{amount: DESC}]".to_owned(),
            _ => String::new(),
        }
    }
}
