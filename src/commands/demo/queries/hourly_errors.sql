WITH hours AS (SELECT DISTINCT date_trunc('hour', at) AS at FROM model_calls),
usual AS (
  SELECT provider, avg(CASE WHEN status = 'ok' THEN 0.0 ELSE 1.0 END) AS rate FROM model_calls GROUP BY provider
), made AS (
  SELECT provider, date_trunc('hour', at) AS at, count(*) AS calls, count(*) FILTER (WHERE status <> 'ok') AS failed
  FROM model_calls GROUP BY 1, 2
), counted AS (
  SELECT u.provider AS series, h.at, u.rate, sum(coalesce(m.failed, 0)) OVER two AS failed, sum(coalesce(m.calls, 0)) OVER two AS calls
  FROM hours h CROSS JOIN usual u LEFT JOIN made m ON m.provider = u.provider AND m.at = h.at
  WINDOW two AS (PARTITION BY u.provider ORDER BY h.at ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
)
-- Whole numbers are spread over their width by the golden ratio, so that a row of zeros has a deviation, too.
SELECT series, at, greatest(-3,
  (failed - calls * rate + arrow_cast(at, 'Int64') / 3600000000 * 0.6180339887 % 1 - 0.5)
  / sqrt(calls * rate * (1 - rate) + 0.1)) AS value, 'standard deviations from its usual error rate' AS unit
FROM counted
