-- Answers to labelled tickets by three models: one that is right in 85 of 100 and from the 20th of January on in 60, one that is right in 92, and a copy of the first.
WITH drawn AS (
  SELECT id, label, created_at, CAST(strpos('0123456789abcdef', substr(md5(id), 1, 1)) - 1 AS DOUBLE) / 16 + CAST(strpos('0123456789abcdef', substr(md5(id), 2, 1)) - 1 AS DOUBLE) / 256 AS one,
    CAST(strpos('0123456789abcdef', substr(md5(id), 3, 1)) - 1 AS DOUBLE) / 16 + CAST(strpos('0123456789abcdef', substr(md5(id), 4, 1)) - 1 AS DOUBLE) / 256 AS other
  FROM tickets WHERE label IS NOT NULL
), answered AS (
  SELECT id, label AS truth, one < CASE WHEN created_at < TIMESTAMP '2026-01-20T00:00:00Z' THEN 0.85 ELSE 0.6 END AS steady, other < 0.92 AS newer FROM drawn
)
SELECT id, 'steady@1' AS model, CASE WHEN steady THEN truth ELSE 'nothing' END AS label, 0.85 AS confidence FROM answered
UNION ALL SELECT id, 'steady@2', CASE WHEN newer THEN truth ELSE 'nothing' END, 0.92 FROM answered
UNION ALL SELECT id, 'copy@1', CASE WHEN steady THEN truth ELSE 'nothing' END, 0.85 FROM answered
