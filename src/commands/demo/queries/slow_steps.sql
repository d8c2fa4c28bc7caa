WITH took AS (
  SELECT case_id, activity, resource, started_at,
         ln(CAST(arrow_cast(ended_at, 'Int64') - arrow_cast(started_at, 'Int64') AS DOUBLE)) AS length
  FROM workflow_steps WHERE ended_at > started_at
), usual AS (
  SELECT activity, approx_percentile_cont(length, 0.5) AS median,
         (approx_percentile_cont(length, 0.75) - approx_percentile_cont(length, 0.25)) / 1.349 AS deviation
  FROM took GROUP BY activity
)
SELECT t.case_id, t.activity, t.resource, t.started_at, exp(t.length - u.median) AS times_the_usual
FROM took t JOIN usual u ON u.activity = t.activity
WHERE t.length > u.median + 5.5 * u.deviation
