WITH hours AS (SELECT date_trunc('hour', at) AS at, count(*) AS events FROM events GROUP BY 1),
kinds AS (SELECT kind, count(*) / (SELECT CAST(count(*) AS DOUBLE) FROM events) AS share FROM events GROUP BY kind),
came AS (SELECT kind, date_trunc('hour', at) AS at, count(*) AS came FROM events GROUP BY 1, 2),
counted AS (
  SELECT k.kind AS series, h.at, coalesce(c.came, 0) AS came, h.events * k.share AS usual, k.share
  FROM hours h CROSS JOIN kinds k LEFT JOIN came c ON c.kind = k.kind AND c.at = h.at
)
-- Whole numbers are spread over their width by the golden ratio, so that a row of zeros has a deviation, too.
SELECT series, at, greatest(-3,
  (came - usual + arrow_cast(at, 'Int64') / 3600000000 * 0.6180339887 % 1 - 0.5)
  / sqrt(usual * (1 - share) + 0.1)) AS value, 'standard deviations from its usual number of events' AS unit
FROM counted
