-- API keys that are made while servers run. Times are microseconds since 1970 in UTC. `keys` counts what was made and revoked: 0, as
-- long as there never was one.
CREATE TABLE api_keys (
  prefix        TEXT PRIMARY KEY,            -- what of the key may be seen
  secret_sha256 TEXT NOT NULL,               -- of the whole key, in hexadecimal digits
  tenant        TEXT NOT NULL,
  subject       TEXT NOT NULL,               -- who has it
  roles         TEXT NOT NULL,               -- with commas between them
  grants        TEXT,                        -- what its holder sees; all of the tenant where it is NULL
  created_at    BIGINT NOT NULL,
  created_by    TEXT NOT NULL,
  expires_at    BIGINT,
  used_at       BIGINT,                      -- about when it was used last
  revoked_at    BIGINT,
  revoked_by    TEXT
);
CREATE INDEX api_keys_of_tenant ON api_keys (tenant, created_at);
INSERT INTO counters (name, value) VALUES ('keys', 0);
