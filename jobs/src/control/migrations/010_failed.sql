-- How many failed lately, in steps that do not grow with those that did not.
CREATE INDEX runs_failed ON runs (ended_at) WHERE state = 'failed';
