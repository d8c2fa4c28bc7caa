//! What is told of users and of cases, counted against what a query says of their calls and steps.

use engine::{Result, Session};

use super::check::{Findings, numbers};
use super::steps::{CUT_STEPS, FAILED_CALLS, LooksFor, USER_LOAD};

/// Counts what a run told.
pub(super) async fn counted(session: &Session, looks_for: LooksFor) -> Result<Findings> {
    let read = async |sql: String| session.collect(session.sql(&sql).await?).await;
    match looks_for {
        // Cases, and those that are told to take the way that a query finds.
        LooksFor::WaysTaken => {
            let sql = r#"WITH ways AS (SELECT case_id, '["' || string_agg(activity, '","' ORDER BY ended_at) || '"]' AS way FROM workflow_steps
                       GROUP BY case_id),
                       told AS (SELECT c.case_id, v.activities AS way FROM process_cases c JOIN process_variants v ON v.source = c.source AND
                       v.variant = c.variant WHERE c.source = 'workflow_steps')
                       SELECT (SELECT count(*) FROM ways) AS cases, (SELECT count(*) FROM told) AS told, (SELECT count(*) FROM ways JOIN told ON
                       told.case_id = ways.case_id AND told.way = ways.way) AS same, (SELECT count(*) FROM process_variants WHERE
                       source = 'workflow_steps') AS ways"#;
            let [cases, told, same, ways] = numbers(&read(sql.to_owned()).await?)?;
            let note = format!("{ways} ways through the process");
            Ok(Findings::new(cases, same, told.saturating_sub(same), vec![note]))
        }
        LooksFor::SureNextSteps => {
            // What follows each step: where it is always the same, that is what comes.
            let sql = format!(
                "WITH pairs AS (SELECT case_id, activity, ended_at, lead(activity) OVER (PARTITION BY case_id ORDER BY ended_at, started_at) AS next FROM workflow_steps), \
                 sure AS (SELECT activity, min(next) AS next FROM pairs GROUP BY activity HAVING min(next) = max(next) AND 20 * count(next) > 19 * count(*)) \
                 SELECT count(*), count(*) FILTER (WHERE next_activity = sure.next), count(*) FILTER (WHERE next_activity <> sure.next) \
                 FROM case_predictions JOIN sure ON last_activity = sure.activity WHERE source = '{}'",
                CUT_STEPS.0
            );
            let [planted, found, wrong] = numbers(&read(sql).await?)?;
            Ok(Findings::new(planted, found, wrong, Vec::new()))
        }
        LooksFor::UsersLoads => {
            let sql = format!(
                "SELECT count(*), count(*) FILTER (WHERE calls_1h = calls AND failed_1d = failed), \
                 (SELECT count(*) FROM {USER_LOAD}) - count(*) FILTER (WHERE calls_1h = calls AND failed_1d = failed) \
                 FROM (SELECT DISTINCT user_id, at, \
                   count(*) OVER (PARTITION BY user_id ORDER BY at RANGE BETWEEN INTERVAL '3599.999999 seconds' PRECEDING AND CURRENT ROW) AS calls, \
                   count(CASE WHEN status <> 'ok' THEN 1 END) OVER (PARTITION BY user_id ORDER BY at RANGE BETWEEN INTERVAL '86399.999999 seconds' PRECEDING AND CURRENT ROW) AS failed \
                   FROM model_calls WHERE user_id IS NOT NULL) AS calls \
                 LEFT JOIN {USER_LOAD} AS load ON load.user_id = calls.user_id AND load.at = calls.at"
            );
            let [planted, found, wrong] = numbers(&read(sql).await?)?;
            Ok(Findings::new(planted, found, wrong, Vec::new()))
        }
        _ => {
            let is_right = "user_load_at IS NOT DISTINCT FROM before";
            let sql = format!(
                "SELECT count(before), count(*) FILTER (WHERE before IS NOT NULL AND {is_right}), count(*) FILTER (WHERE NOT ({is_right})) \
                 FROM {FAILED_CALLS} AS failed JOIN (SELECT id, \
                   max(at) OVER (PARTITION BY user_id ORDER BY at RANGE BETWEEN UNBOUNDED PRECEDING AND INTERVAL '0.000001 seconds' PRECEDING) AS before \
                   FROM model_calls WHERE user_id IS NOT NULL) AS calls ON calls.id = failed.id"
            );
            let [planted, found, wrong] = numbers(&read(sql).await?)?;
            Ok(Findings::new(planted, found, wrong, Vec::new()))
        }
    }
}
