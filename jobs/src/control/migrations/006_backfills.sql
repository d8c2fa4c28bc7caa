-- Backfills are schedules whose ticks are their partitions.
ALTER TABLE ticks ADD COLUMN ended TEXT;         -- how its run ended, where that run is forgotten
CREATE INDEX ticks_of_run ON ticks (run);
