SELECT 'training_texts' AS source, id_a, id_b, similarity FROM duplicate_pairs
WHERE source = 'tickets' ORDER BY id_a, id_b LIMIT 60
