-- schema 2: care of what is kept

-- Files whose rows are gone: removed after the commit that took the rows. A crash between the two leaves the order here.
CREATE TABLE removals (
  file       TEXT PRIMARY KEY,                   -- within objects/: shelf and name, neither of which tells of a patient
  ordered_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Objects whose file is not what was received.
CREATE TABLE damage (
  instance_id INTEGER PRIMARY KEY REFERENCES instances (id),
  kind        TEXT NOT NULL CHECK (kind IN ('missing', 'altered', 'unreadable')),
  found_at    INTEGER NOT NULL
) STRICT;

-- How far the checksums have been read, in the order of the objects' numbers.
CREATE TABLE scrub (
  one      INTEGER PRIMARY KEY CHECK (one = 1),
  next_id  INTEGER NOT NULL,
  checked  INTEGER NOT NULL,                     -- in the pass at hand
  begun_at INTEGER,                              -- the pass at hand; null when there is none
  ended_at INTEGER                               -- the latest whole pass
) STRICT;
INSERT INTO scrub (one, next_id, checked) VALUES (1, 0, 0);

-- What a removed object or job is looked for in.
CREATE INDEX report_objects_of_instance ON report_objects (instance_id);
CREATE INDEX reports_of_job ON reports (job_id);
