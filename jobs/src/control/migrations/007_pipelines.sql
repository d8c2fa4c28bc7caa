-- A run of a pipeline is a tick of its schedule whose id is that of no run; a step of it is a tick of `pipeline/step` with that id as
-- its logical time. `ended` says of the former how it ended.
CREATE INDEX ticks_of_pipeline_run ON ticks (tenant, logical);
