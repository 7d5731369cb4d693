-- schema 1
-- Times are milliseconds since 1970 UTC. Priorities: 0 stat, 1 routine, 2 batch. Digests are the 32 bytes.

CREATE TABLE studies (
  id                INTEGER PRIMARY KEY,
  uid               TEXT NOT NULL UNIQUE,
  state             TEXT NOT NULL CHECK (state IN ('arriving', 'complete')),
  revision          INTEGER NOT NULL DEFAULT 0,
  instances         INTEGER NOT NULL DEFAULT 0,  -- received, latest revisions
  results           INTEGER NOT NULL DEFAULT 0,  -- our own, latest revisions
  priority          INTEGER NOT NULL,            -- the most urgent that any of its objects asked for
  first_received_at INTEGER NOT NULL,
  last_received_at  INTEGER NOT NULL,
  facts             TEXT NOT NULL
) STRICT;
CREATE INDEX studies_latest ON studies (last_received_at, id);

-- One row for every revision of every object. The file's name follows from received_at, digest and uid.
CREATE TABLE instances (
  id               INTEGER PRIMARY KEY AUTOINCREMENT,
  study_id         INTEGER NOT NULL REFERENCES studies (id),
  uid              TEXT NOT NULL,
  revision         INTEGER NOT NULL,
  series_uid       TEXT NOT NULL,
  sop_class        TEXT NOT NULL,
  transfer_syntax  TEXT NOT NULL,
  digest           BLOB NOT NULL,
  size_bytes       INTEGER NOT NULL,
  received_at      INTEGER NOT NULL,
  is_result        INTEGER NOT NULL,
  is_latest        INTEGER NOT NULL,             -- within its study
  joined_revision  INTEGER,                      -- the study's revisions from this one ...
  left_revision    INTEGER,                      -- ... up to before this one hold the object
  modality         TEXT,
  study_date       TEXT,
  accession_number TEXT,
  patient_id       TEXT,
  patient_name     TEXT,
  series_number    INTEGER,
  instance_number  INTEGER,
  facts            TEXT NOT NULL,
  UNIQUE (uid, revision),
  UNIQUE (uid, digest)
) STRICT;
CREATE INDEX instances_of_study ON instances (study_id, is_latest);
CREATE INDEX instances_not_joined ON instances (study_id)
  WHERE joined_revision IS NULL AND is_result = 0 AND is_latest = 1;
CREATE INDEX instances_received ON instances (received_at);
CREATE INDEX instances_of_series ON instances (series_uid);
CREATE INDEX instances_of_patient ON instances (patient_id);
CREATE INDEX instances_of_date ON instances (study_date);
CREATE INDEX instances_of_accession ON instances (accession_number);

CREATE TABLE jobs (
  id            INTEGER PRIMARY KEY AUTOINCREMENT,
  kind          TEXT NOT NULL CHECK (kind IN ('assemble', 'infer')),
  study_id      INTEGER NOT NULL REFERENCES studies (id),
  revision      INTEGER,
  model_name    TEXT,
  model_version TEXT,
  model_digest  BLOB,
  rule          TEXT,
  destinations  TEXT NOT NULL DEFAULT '[]',
  priority      INTEGER NOT NULL,
  state         TEXT NOT NULL CHECK (state IN ('waiting', 'leased', 'done', 'failed', 'cancelled')),
  due_at        INTEGER NOT NULL,
  lease_id      INTEGER,
  leased_until  INTEGER,
  attempts      INTEGER NOT NULL DEFAULT 0,
  attempts_max  INTEGER,                         -- as the latest lease said
  interruptions INTEGER NOT NULL DEFAULT 0,      -- times that the whole appliance ended while it was in hand
  more_at       INTEGER,                         -- an object came while it was leased: assemble again then
  failure_class TEXT,
  failure       TEXT,
  created_at    INTEGER NOT NULL,
  ended_at      INTEGER
) STRICT;
CREATE UNIQUE INDEX jobs_one_assembly ON jobs (study_id)
  WHERE kind = 'assemble' AND state IN ('waiting', 'leased');
CREATE UNIQUE INDEX jobs_one_inference ON jobs (study_id, revision, model_name, model_version, model_digest)
  WHERE kind = 'infer';
CREATE INDEX jobs_waiting ON jobs (priority, due_at, id) WHERE state = 'waiting';
CREATE INDEX jobs_due ON jobs (due_at) WHERE state = 'waiting';
CREATE INDEX jobs_leased ON jobs (leased_until) WHERE state = 'leased';
CREATE INDEX jobs_failed ON jobs (id) WHERE state = 'failed';
CREATE INDEX jobs_of_study ON jobs (study_id);

CREATE TABLE reports (
  id            INTEGER PRIMARY KEY AUTOINCREMENT,
  study_id      INTEGER NOT NULL REFERENCES studies (id),
  revision      INTEGER NOT NULL,
  model_name    TEXT NOT NULL,
  model_version TEXT NOT NULL,
  model_digest  BLOB NOT NULL,
  job_id        INTEGER NOT NULL REFERENCES jobs (id),
  kept_at       INTEGER NOT NULL,
  report        TEXT NOT NULL,
  UNIQUE (study_id, revision, model_name, model_version, model_digest)
) STRICT;

CREATE TABLE report_objects (
  report_id   INTEGER NOT NULL REFERENCES reports (id),
  instance_id INTEGER NOT NULL REFERENCES instances (id),
  PRIMARY KEY (report_id, instance_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE outbox (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  study_id     INTEGER NOT NULL REFERENCES studies (id),
  instance_id  INTEGER NOT NULL REFERENCES instances (id),
  destination  TEXT NOT NULL,
  state        TEXT NOT NULL CHECK (state IN ('waiting', 'leased', 'delivered', 'failed')),
  due_at       INTEGER NOT NULL,
  lease_id     INTEGER,
  leased_until INTEGER,
  attempts     INTEGER NOT NULL DEFAULT 0,
  last_trouble TEXT,
  created_at   INTEGER NOT NULL,
  delivered_at INTEGER,
  UNIQUE (instance_id, destination)
) STRICT;
CREATE INDEX outbox_waiting ON outbox (destination, due_at, id) WHERE state = 'waiting';
CREATE INDEX outbox_leased ON outbox (destination, leased_until) WHERE state = 'leased';
CREATE INDEX outbox_open ON outbox (state, id) WHERE state <> 'delivered';
CREATE INDEX outbox_of_study ON outbox (study_id);

CREATE TABLE tokens (
  id            TEXT PRIMARY KEY,
  label         TEXT NOT NULL,
  roles         TEXT NOT NULL,
  secret_sha256 BLOB NOT NULL UNIQUE,
  issued_at     INTEGER NOT NULL,
  expires_at    INTEGER,
  revoked_at    INTEGER
) STRICT;

-- The audit log. Leaves stand in a table of their own, so that the tree can be read without its records. A record and
-- its salt may be erased after their retention; their commitment then stands for them.
CREATE TABLE audit_leaves (
  idx  INTEGER PRIMARY KEY,
  leaf BLOB NOT NULL
) STRICT;

CREATE TABLE audit_entries (
  idx        INTEGER PRIMARY KEY REFERENCES audit_leaves (idx),
  salt       BLOB,
  record     TEXT,
  commitment BLOB
) STRICT;

CREATE TABLE audit_head (
  one        INTEGER PRIMARY KEY CHECK (one = 1),
  frontier   BLOB NOT NULL,
  checkpoint TEXT NOT NULL
) STRICT;
