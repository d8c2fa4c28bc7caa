-- What was done: acts that have begun, and those that ended as a chain of rows for each tenant.
CREATE TABLE acts_begun (
  id            TEXT PRIMARY KEY,
  tenant        TEXT NOT NULL,
  worker        TEXT NOT NULL,               -- whose process it is in
  document      TEXT NOT NULL                -- what is known of it
);
CREATE INDEX acts_begun_by_worker ON acts_begun (worker);

CREATE TABLE acts (
  tenant        TEXT NOT NULL,
  number        BIGINT NOT NULL,             -- from 1, without gaps
  previous_hash TEXT NOT NULL,
  hash          TEXT NOT NULL,
  content       TEXT NOT NULL,
  PRIMARY KEY (tenant, number)
);

CREATE TABLE act_chains (
  tenant        TEXT PRIMARY KEY,
  number        BIGINT NOT NULL,             -- of its last row
  hash          TEXT NOT NULL,
  projected     BIGINT NOT NULL              -- up to here they are rows of the dataset
);
