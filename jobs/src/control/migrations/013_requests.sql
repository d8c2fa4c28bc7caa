-- Requests that came with a key of their client: each is done once, and who asks again is told what came of it.
CREATE TABLE requests (
  tenant        TEXT NOT NULL,
  subject       TEXT NOT NULL,               -- who asked
  key           TEXT NOT NULL,               -- what they call the request
  question      TEXT NOT NULL,               -- the digest of what was asked
  worker        TEXT NOT NULL,               -- in whose process it is done
  begun_at      BIGINT NOT NULL,
  answer        TEXT,                        -- none, while it is done
  PRIMARY KEY (tenant, subject, key)
);
CREATE INDEX requests_by_begun ON requests (begun_at);
