-- Schedules, and which of their times had a run.
CREATE TABLE schedules (
  tenant        TEXT NOT NULL,
  name          TEXT NOT NULL,
  is_paused     BIGINT NOT NULL,
  up_to         BIGINT NOT NULL,             -- ticks up to here are handled
  missed        BIGINT NOT NULL,             -- ticks that came too late to run
  document      TEXT NOT NULL,               -- what runs, and when
  PRIMARY KEY (tenant, name)
);

CREATE TABLE ticks (
  tenant        TEXT NOT NULL,
  schedule      TEXT NOT NULL,
  logical       TEXT NOT NULL,               -- the local time that it stands for: one run each
  due_at        BIGINT NOT NULL,
  run           TEXT NOT NULL,
  PRIMARY KEY (tenant, schedule, logical)
);
CREATE INDEX ticks_due ON ticks (due_at);
