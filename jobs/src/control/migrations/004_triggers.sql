-- Schedules that wait for a dataset or for other runs: when one of them ran last.
CREATE INDEX ticks_of_schedule ON ticks (tenant, schedule, due_at);
