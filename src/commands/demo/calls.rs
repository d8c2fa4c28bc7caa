//! What is said of model calls and of answers, their costs and who is better, counted against what was planted.

use engine::{Result, Session};
use jobs::RunRecord;

use super::check::{Findings, numbers};
use super::steps::LooksFor;

/// The generated models, each of which takes longer than the one before it.
const FASTER_FIRST: [&str; 6] =
    ["embed-3", "summit-mini", "aurora-small", "summit-2", "aurora-large", "reason-1"];

/// Calls below which nobody could be sure that what is planted is so.
pub(super) const JUDGED_MIN: u64 = 80_000;
pub(super) const DRIFTED_MIN: u64 = 50_000;
/// Labelled tickets below which nobody could be sure of it.
pub(super) const ANSWERED_MIN: u64 = 5_000;
/// Calls below which a day has too few.
pub(super) const SOILED_MIN: u64 = 10_000;

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
        LooksFor::CheaperModels => {
            // Of each length what is looked up goes to the cheapest model, and nothing else to another one.
            let sql = "SELECT count(DISTINCT length), \
                       count(*) FILTER (WHERE recommended AND saving_lower >= 0.3 AND loss_upper <= 0.01 AND kind = 'lookup' AND rules.model = 'summit-mini'), \
                       count(*) FILTER (WHERE recommended AND (kind <> 'lookup' OR rules.model <> 'summit-mini')) \
                       FROM routing_rules AS rules JOIN routing_policies AS policies ON rules.source = policies.source AND rules.policy = policies.policy \
                       WHERE rules.source = 'judged_calls'";
            let [lengths, found, wrong] = numbers(&read(sql).await?)?;
            let [asked] = numbers(&read("SELECT count(*) FROM judged_calls").await?)?;
            let planted = if asked >= JUDGED_MIN { lengths } else { 0 };
            let end = |of: &str, at: usize| {
                let value = record.summary[of][at].as_f64();
                value.map_or("-".to_owned(), |value| format!("{:.1}", 100.0 * value))
            };
            let note = format!(
                "saves {} % ({} to {}), answers worse by {} % ({} at most)",
                end("saving", 1),
                end("saving", 0),
                end("saving", 2),
                end("loss", 1),
                end("loss", 2)
            );
            Ok(Findings::new(planted, found.min(planted), wrong, vec![note]))
        }
        LooksFor::Drifts => {
            let planted = "(subject = 'summit-2' AND column_name = 'output_tokens' AND CAST(started_at AS DATE) = DATE '2026-01-23') \
                           OR (subject = 'aurora-small' AND column_name = 'input_tokens' AND CAST(started_at AS DATE) = DATE '2026-01-25')";
            let sql = format!(
                "SELECT CASE WHEN (SELECT count(*) FROM drifted_calls) >= {DRIFTED_MIN} THEN 2 ELSE 0 END, count(*) FILTER (WHERE {planted}), count(*) FILTER (WHERE NOT ({planted})) FROM drifts WHERE source = 'drifted_calls'"
            );
            let [planted, found, wrong] = numbers(&read(&sql).await?)?;
            Ok(Findings::new(planted, found.min(planted), wrong, Vec::new()))
        }
        LooksFor::BetterModels => {
            let sql = "SELECT (SELECT count(DISTINCT id) FROM answered_tickets) AS known, \
                       (SELECT count(*) FROM model_comparisons WHERE source = 'tickets' AND better = 'steady@2') AS better, \
                       (SELECT count(*) FROM model_comparisons WHERE source = 'tickets' AND better <> 'steady@2') AS other, \
                       count(DISTINCT model) FILTER (WHERE model <> 'steady@2' AND at >= TIMESTAMP '2026-01-19T00:00:00Z'), \
                       count(*) FILTER (WHERE model = 'steady@2' OR at < TIMESTAMP '2026-01-19T00:00:00Z') \
                       FROM model_accuracy WHERE source = 'tickets' AND is_worse";
            let [known, better, false_better, worse, false_worse] = numbers(&read(sql).await?)?;
            let planted = if known >= ANSWERED_MIN { 3 } else { 0 };
            let found = (better + worse).min(planted);
            Ok(Findings::new(planted, found, false_better + false_worse, Vec::new()))
        }
        LooksFor::BadDays => {
            let day = "CAST(at AS DATE)";
            let planted = format!(
                "({day} = DATE '2026-01-20' AND check_name = 'nulls' AND column_name = 'user_id') OR ({day} = DATE '2026-01-23' AND check_name = 'rows') \
                 OR ({day} = DATE '2026-01-27' AND check_name = 'mean')"
            );
            // Of a fault more than one check may tell.
            let days = "DATE '2026-01-20', DATE '2026-01-23', DATE '2026-01-27'";
            let sql = format!(
                "SELECT count(*) FILTER (WHERE {planted}), count(*) FILTER (WHERE {day} NOT IN ({days})) FROM quality_checks WHERE source = 'soiled_calls' AND NOT is_fine"
            );
            let [found, wrong] = numbers(&read(&sql).await?)?;
            let [rows] = numbers(&read("SELECT count(*) FROM soiled_calls").await?)?;
            let planted = if rows >= SOILED_MIN { 3 } else { 0 };
            let score = record.summary["score"].as_f64().unwrap_or_default();
            let note = format!("the last day has a score of {score}");
            Ok(Findings::new(planted, found.min(planted), wrong, vec![note]))
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
