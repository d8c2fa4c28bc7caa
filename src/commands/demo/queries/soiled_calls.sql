-- Calls as a log would have them that lost users on the 20th of January, half of its rows on the 23rd, and counted tokens by the thousand on the 27th.
SELECT id, at, model,
  CASE WHEN at >= TIMESTAMP '2026-01-20T00:00:00Z' AND at < TIMESTAMP '2026-01-21T00:00:00Z' AND id LIKE '%3' THEN NULL ELSE user_id END AS user_id,
  CASE WHEN at >= TIMESTAMP '2026-01-27T00:00:00Z' AND at < TIMESTAMP '2026-01-28T00:00:00Z' THEN input_tokens / 1000.0 ELSE input_tokens END AS input_tokens
FROM model_calls WHERE NOT (at >= TIMESTAMP '2026-01-23T00:00:00Z' AND at < TIMESTAMP '2026-01-24T00:00:00Z' AND right(id, 1) < '5')
