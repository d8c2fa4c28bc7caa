-- Runs, who works at them, and whose turn it is. Times are microseconds since 1970 in UTC.
--
--             enqueue            claim              finish
--   (request) ───────▶ queued ───────▶ running ─────────────▶ succeeded | failed | cancelled
--                        ▲   │           │ │
--                        │   │ cancel    │ │ put back: an error that can pass, or a worker that is gone
--                        │   └──────▶ cancelled
--                        └───────────────┘
CREATE TABLE runs (
  id            TEXT PRIMARY KEY,
  tenant        TEXT NOT NULL,
  job           TEXT NOT NULL,
  state         TEXT NOT NULL,
  is_open       BIGINT NOT NULL,             -- 1 while queued or running
  run_key       TEXT NOT NULL,
  priority      BIGINT NOT NULL,
  rank          BIGINT NOT NULL,             -- of a tenant's runs the least is next: when it came, less what its priority is worth
  due_at        BIGINT NOT NULL,             -- not before
  memory_bytes  BIGINT NOT NULL,             -- what it is thought to need
  attempt       BIGINT NOT NULL,             -- how often it was claimed
  attempts_max  BIGINT NOT NULL,
  losses        BIGINT NOT NULL,             -- how often whoever worked at it was gone
  kept_for      TEXT,                        -- the worker that alone may claim it
  worker        TEXT,                        -- who works at it, or at its projection
  charged_us    BIGINT NOT NULL,             -- what its tenant was charged when it was claimed
  cancel_asked  BIGINT NOT NULL,
  change        BIGINT NOT NULL,             -- number of its last change among those of all runs
  projection    BIGINT NOT NULL,             -- of its end to a row of the dataset: 0 to be made, 1 made, 2 perhaps made
  ended_at      BIGINT,
  document      TEXT NOT NULL                -- its record, and what a worker needs beside it
);
CREATE INDEX runs_open ON runs (tenant, state, rank, id) WHERE is_open = 1;
CREATE INDEX runs_of_worker ON runs (worker);
CREATE INDEX runs_listed ON runs (tenant, id);
CREATE INDEX runs_listed_by_state ON runs (tenant, state, id);
CREATE INDEX runs_listed_by_job ON runs (tenant, job, id);
CREATE INDEX runs_keyed ON runs (tenant, run_key, id);
CREATE INDEX runs_changed ON runs (change);
CREATE INDEX runs_to_project ON runs (tenant, id) WHERE is_open = 0 AND projection <> 1;
CREATE INDEX runs_ended ON runs (ended_at) WHERE is_open = 0;

CREATE TABLE tenants (
  tenant        TEXT PRIMARY KEY,
  weight        BIGINT NOT NULL,
  used_us       BIGINT NOT NULL,             -- time worked for it, divided by its weight: who has least is next
  is_read       BIGINT NOT NULL,             -- 1 when its runs of before were read from its dataset
  has_older     BIGINT NOT NULL              -- 1 when the dataset has runs that are not here
);

CREATE TABLE workers (
  id            TEXT PRIMARY KEY,
  label         TEXT NOT NULL,               -- for a person: what it is and where
  started_at    BIGINT NOT NULL,
  beat          BIGINT NOT NULL              -- goes on while it lives
);
