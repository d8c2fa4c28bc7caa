SELECT id, subject, body FROM tickets
WHERE id IN (SELECT id_a FROM training_pairs) OR id IN (SELECT id_b FROM training_pairs)
   OR id IN (SELECT id FROM tickets ORDER BY id LIMIT 100)
