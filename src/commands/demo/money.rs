//! What is said of calls' costs and of who is better, counted against what was planted.

use engine::{Result, Session};
use jobs::RunRecord;

use super::check::{Findings, numbers};
use super::steps::LooksFor;

/// The generated models, each of which takes longer than the one before it.
const FASTER_FIRST: [&str; 6] =
    ["embed-3", "summit-mini", "aurora-small", "summit-2", "aurora-large", "reason-1"];

/// Counts what a run found.
pub(super) async fn counted(
    session: &Session,
    looks_for: LooksFor,
    record: &RunRecord,
) -> Result<Findings> {
    let read = async |sql: &str| session.collect(session.sql(sql).await?).await;
    match looks_for {
        LooksFor::CallsPriced => {
            let sql = "SELECT (SELECT count(cost) FROM model_calls), \
                       count(*) FILTER (WHERE cost = recorded_cost), count(*) FILTER (WHERE cost <> recorded_cost) \
                       FROM call_costs WHERE source = 'model_calls'";
            let [planted, found, wrong] = numbers(&read(sql).await?)?;
            let cost = record.summary["cost"].as_str().unwrap_or_default();
            let note = format!("{cost} dollars by the list of prices");
            Ok(Findings::new(planted, found, wrong, vec![note]))
        }
        LooksFor::FasterModels => {
            let place = |column: &str| {
                let of = FASTER_FIRST.iter().enumerate();
                let of: String = of.map(|(at, name)| format!("WHEN '{name}' THEN {at} ")).collect();
                format!("CASE {column} {of}END")
            };
            let better = place("CASE better WHEN 'a' THEN agent_a WHEN 'b' THEN agent_b END");
            let faster = format!("least({}, {})", place("agent_a"), place("agent_b"));
            let sql = format!(
                "SELECT count(*), count(*) FILTER (WHERE {better} = {faster}), count(*) FILTER (WHERE {better} <> {faster}) \
                 FROM agent_comparisons WHERE source = 'model_calls' AND measure = 'latency_ms'"
            );
            let [planted, found, wrong] = numbers(&read(&sql).await?)?;
            Ok(Findings::new(planted, found, wrong, Vec::new()))
        }
        _ => {
            let sql = "SELECT count(*), count(kind), \
                       (SELECT count(*) FROM reconciliations WHERE source = 'model_calls, booked_calls') - count(kind) \
                       FROM model_calls LEFT JOIN reconciliations ON key = id AND source = 'model_calls, booked_calls' AND ( \
                         (kind = 'differs' AND column_name = 'cost' AND id LIKE '%0') OR (kind = 'missing_right' AND id LIKE '%5')) \
                       WHERE operation = 'embedding' AND (id LIKE '%0' OR id LIKE '%5') AND right(id, 2) < '50'";
            let [planted, found, wrong] = numbers(&read(sql).await?)?;
            Ok(Findings::new(planted, found, wrong, Vec::new()))
        }
    }
}
