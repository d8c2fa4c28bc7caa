-- A copy of some calls as somebody else booked them: of every twenty one is dearer, of every twenty another one is not there.
SELECT id, at, model, input_tokens, CASE WHEN id LIKE '%0' AND right(id, 2) < '50' THEN cost + CAST('0.000000001' AS DECIMAL(18, 9)) ELSE cost END AS cost
FROM model_calls WHERE operation = 'embedding' AND NOT (id LIKE '%5' AND right(id, 2) < '50')
