-- What runs need and may wait for, and what runs of their kind took before.
ALTER TABLE runs ADD COLUMN device_need BIGINT NOT NULL DEFAULT 0;   -- 0 no GPU, 1 one where there is one, 2 one at any rate
ALTER TABLE runs ADD COLUMN device_bytes BIGINT NOT NULL DEFAULT 0;  -- of its memory
ALTER TABLE runs ADD COLUMN device TEXT;                             -- the GPU that it has its part of while it is at work
ALTER TABLE runs ADD COLUMN passed_over BIGINT NOT NULL DEFAULT 0;   -- how often a later one began because it did not fit
ALTER TABLE runs ADD COLUMN deadline_at BIGINT;                      -- it is to have ended by then

ALTER TABLE workers ADD COLUMN device TEXT;                          -- the GPU that it uses
ALTER TABLE workers ADD COLUMN device_bytes BIGINT NOT NULL DEFAULT 0;

CREATE TABLE costs (
  tenant        TEXT NOT NULL,
  job           TEXT NOT NULL,
  row_count     BIGINT NOT NULL,            -- of its last runs, a mean in which the newest counts for a quarter
  wall_us       BIGINT NOT NULL,            -- the same of the time that they worked
  memory_rows   BIGINT NOT NULL,            -- rows of the last run that was alone with its worker
  memory_bytes  BIGINT NOT NULL,            -- memory that it took
  PRIMARY KEY (tenant, job)
);
