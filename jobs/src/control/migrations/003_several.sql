-- Several processes on one root: what each takes, which root the database is of, and what was committed.
ALTER TABLE workers ADD COLUMN runs_max BIGINT;  -- of all runs so many at a time, 0 for none; NULL: what is kept for it alone

CREATE TABLE about (
  name          TEXT PRIMARY KEY,                -- root: the id of the root whose runs these are
  value         TEXT NOT NULL
);

-- The newest version of each dataset of which somebody said that it is there.
CREATE TABLE notices (
  tenant        TEXT NOT NULL,
  dataset       TEXT NOT NULL,
  version       BIGINT NOT NULL,
  notice        BIGINT NOT NULL,                 -- number of what was last said of it, among all notices
  PRIMARY KEY (tenant, dataset)
);
CREATE INDEX notices_said ON notices (notice);
INSERT INTO counters (name, value) VALUES ('notice', 0);
