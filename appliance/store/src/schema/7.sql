-- schema 7: an order on the worklist may give rise to several inferences, one for each model of its rule

-- The further ones, beside `job_id`: a list of numbers of jobs, as JSON. A study's workitems go with its jobs.
ALTER TABLE workitems ADD COLUMN more_jobs TEXT NOT NULL DEFAULT '[]';
