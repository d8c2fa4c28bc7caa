SELECT model, provider, CAST(input AS DECIMAL(38, 9)) AS input_cost_per_token, CAST(cached AS DECIMAL(38, 9)) AS cache_read_input_token_cost,
  CAST(output AS DECIMAL(38, 9)) AS output_cost_per_token
FROM (VALUES
  ('aurora-large', 'northwind', '0.000003', '0.0000003', '0.000015'),
  ('aurora-small', 'northwind', '0.00000025', '0.000000025', '0.00000125'),
  ('summit-2', 'contoso', '0.0000025', '0.00000125', '0.00001'),
  ('summit-mini', 'contoso', '0.00000015', '0.000000075', '0.0000006'),
  ('reason-1', 'fabrikam', '0.000015', '0.0000075', '0.00006'),
  ('embed-3', 'fabrikam', '0.00000002', '0.00000002', '0')
) AS listed(model, provider, input, cached, output)
