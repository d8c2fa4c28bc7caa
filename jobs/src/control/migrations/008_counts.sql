-- What is asked for each run that comes or begins, in steps that do not grow with the runs that wait or are over.
CREATE INDEX runs_counted ON runs (tenant, job, state, is_open) WHERE is_open = 1;
CREATE INDEX runs_at_work ON runs (job, state) WHERE is_open = 1 AND state = 'running';
CREATE INDEX runs_on_device ON runs (device, device_bytes) WHERE is_open = 1 AND state = 'running' AND device IS NOT NULL;
CREATE INDEX runs_kept ON runs (kept_for, tenant, state, rank, id) WHERE is_open = 1 AND kept_for IS NOT NULL;
CREATE INDEX runs_deadline ON runs (deadline_at) WHERE is_open = 1 AND state = 'queued' AND deadline_at IS NOT NULL;
