-- Seven hundred cases as they were on a Friday at noon, as far as they had come: what becomes of those that went on is known here, and is not told.
SELECT case_id, activity, started_at, ended_at, resource
FROM workflow_steps
WHERE ended_at < TIMESTAMP '2026-01-23 12:00:00'
  AND CAST(right(case_id, 8) AS BIGINT) % (SELECT greatest(1, count(DISTINCT case_id) / 700) FROM workflow_steps) = 0
