-- Calls as they would be had one model begun to answer at length on the 23rd, and another one been sent longer requests from the 25th on.
SELECT id, at, model, status,
  CASE WHEN model = 'aurora-small' AND at >= TIMESTAMP '2026-01-25T00:00:00Z' THEN input_tokens * 2 ELSE input_tokens END AS input_tokens,
  CASE WHEN model = 'summit-2' AND at >= TIMESTAMP '2026-01-23T00:00:00Z' THEN output_tokens * 2 ELSE output_tokens END AS output_tokens
FROM model_calls
