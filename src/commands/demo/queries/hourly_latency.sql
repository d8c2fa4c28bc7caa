WITH called AS (
  SELECT model, date_trunc('hour', at) AS at, ln(time_to_first_token_ms) AS wait
  FROM model_calls WHERE time_to_first_token_ms > 0
), usual AS (SELECT model, avg(wait) AS mean, stddev(wait) AS deviation FROM called GROUP BY model)
SELECT c.model AS series, c.at, (avg(c.wait) - min(u.mean)) / min(u.deviation) * sqrt(count(*)) AS value,
  'standard errors from its usual time to first token' AS unit
FROM called c JOIN usual u ON u.model = c.model GROUP BY 1, 2
