-- Calls with what somebody judged of their answers. Of six in ten somebody looks something up, which every model does as well; the others are harder, and
-- of these the small models solve fewer.
SELECT id, at, model, input_tokens, cost, kind,
  number >= CASE WHEN kind = 'lookup' THEN 5 WHEN model = 'summit-mini' THEN 25 WHEN model = 'aurora-small' THEN 15 ELSE 5 END AS solved
FROM (
  SELECT id, at, model, input_tokens, cost,
    CASE WHEN right(id, 1) < '6' THEN 'lookup' ELSE 'reasoning' END AS kind,
    CAST(substr(id, length(id) - 2, 2) AS BIGINT) AS number
  FROM model_calls WHERE operation = 'chat' AND status = 'ok'
)
