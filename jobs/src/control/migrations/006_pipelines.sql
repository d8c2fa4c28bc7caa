-- Backfills and pipelines. Both are schedules: the ticks of a backfill are its partitions, those of a pipeline its runs. A step of a
-- pipeline run is a tick of its own, of the schedule `pipeline/step` and with the id of the pipeline run for its logical time, so that
-- it has one run whoever looks.
ALTER TABLE ticks ADD COLUMN ended TEXT;         -- how a pipeline run ended; of other ticks, how their run did, where that is forgotten
CREATE INDEX ticks_of_run ON ticks (run);
CREATE INDEX ticks_of_logical ON ticks (tenant, logical);

CREATE TABLE pipelines (
  tenant        TEXT NOT NULL,
  name          TEXT NOT NULL,
  document      TEXT NOT NULL,                   -- its steps
  PRIMARY KEY (tenant, name)
);
