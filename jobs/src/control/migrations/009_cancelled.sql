-- Runs that are to end while they wait: who was at one ended before it heard so.
CREATE INDEX runs_cancelled ON runs (id) WHERE is_open = 1 AND state = 'queued' AND cancel_asked = 1;
