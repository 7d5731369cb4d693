-- schema 5: work that others order, what is expected, earlier studies, and what the hospital's information system is told

-- Unified procedure steps (PS3.4 annex CC). What is known of one stands in its dataset, as DICOM JSON.
CREATE TABLE workitems (
  id              INTEGER PRIMARY KEY AUTOINCREMENT,
  uid             TEXT NOT NULL UNIQUE,
  state           TEXT NOT NULL CHECK (state IN ('SCHEDULED', 'IN PROGRESS', 'COMPLETED', 'CANCELED')),
  version         INTEGER NOT NULL,              -- counts its changes, so that none is made on an old view
  transaction_uid TEXT,                          -- of whoever claimed it
  claimed_here    INTEGER NOT NULL DEFAULT 0,    -- whether that is this appliance
  study_uid       TEXT,                          -- whose analysis by this appliance it orders
  job_id          INTEGER REFERENCES jobs (id) ON DELETE SET NULL, -- what it gave rise to
  cancel_asked_at INTEGER,
  dataset         TEXT NOT NULL,
  created_at      INTEGER NOT NULL,
  changed_at      INTEGER NOT NULL
) STRICT;
CREATE INDEX workitems_ordered ON workitems (id) WHERE study_uid IS NOT NULL AND state IN ('SCHEDULED', 'IN PROGRESS');
CREATE INDEX workitems_ended ON workitems (changed_at) WHERE state IN ('COMPLETED', 'CANCELED');
CREATE INDEX workitems_of_study ON workitems (study_uid);
CREATE INDEX workitems_of_job ON workitems (job_id);

-- Who is told of a workitem, or, under the well-known UIDs, of every one.
CREATE TABLE workitem_subscriptions (
  ae_title      TEXT NOT NULL,
  workitem_uid  TEXT NOT NULL,
  deletion_lock INTEGER NOT NULL,
  filter        TEXT,                            -- a query; null without one
  PRIMARY KEY (ae_title, workitem_uid)
) STRICT, WITHOUT ROWID;
CREATE INDEX subscriptions_of_workitem ON workitem_subscriptions (workitem_uid);

-- What subscribers are told: the latest reports, one row for each of its readers.
CREATE TABLE workitem_reports (
  id       INTEGER PRIMARY KEY AUTOINCREMENT,
  ae_title TEXT NOT NULL,
  report   TEXT NOT NULL,
  made_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX reports_of_subscriber ON workitem_reports (ae_title, id);

-- Orders, as worklists and order messages give them. They may be about a study that is not here, or not yet.
CREATE TABLE expected (
  id               INTEGER PRIMARY KEY AUTOINCREMENT,
  source           TEXT NOT NULL,                -- 'worklist NAME', 'orders NAME'
  key              TEXT NOT NULL,                -- what tells it from the others of its source
  study_uid        TEXT,
  accession_number TEXT,
  priority         INTEGER,                      -- null: it does not say
  state            TEXT NOT NULL CHECK (state IN ('expected', 'arrived', 'gone')),
  seen_at          INTEGER NOT NULL,             -- when its source said so for the latest time
  said             TEXT NOT NULL,                -- the whole order
  UNIQUE (source, key)
) STRICT;
CREATE INDEX expected_study ON expected (study_uid) WHERE study_uid IS NOT NULL;
CREATE INDEX expected_accession ON expected (accession_number) WHERE study_uid IS NULL;
CREATE INDEX expected_seen ON expected (seen_at);

-- How many objects each series of a study has where it comes from.
CREATE TABLE source_counts (
  study_id INTEGER NOT NULL REFERENCES studies (id) ON DELETE CASCADE,
  source   TEXT NOT NULL,
  asked_at INTEGER NOT NULL,
  series   TEXT NOT NULL,                        -- counts by series UID
  PRIMARY KEY (study_id, source)
) STRICT, WITHOUT ROWID;

-- Earlier studies of a patient that an analysis waits for.
CREATE TABLE prior_orders (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  study_id     INTEGER NOT NULL REFERENCES studies (id) ON DELETE CASCADE,
  revision     INTEGER NOT NULL,
  source       TEXT NOT NULL,                    -- the peer that has them
  terms        TEXT NOT NULL,                    -- the rule's budget
  state        TEXT NOT NULL CHECK (state IN ('waiting', 'leased', 'ended', 'late')),
  deadline     INTEGER NOT NULL,                 -- the models do not wait longer
  due_at       INTEGER NOT NULL,
  lease_id     INTEGER,
  leased_until INTEGER,
  outcome      TEXT,
  created_at   INTEGER NOT NULL,
  ended_at     INTEGER,
  UNIQUE (study_id, revision, source)
) STRICT;
CREATE INDEX prior_orders_open ON prior_orders (source, due_at) WHERE state IN ('waiting', 'leased');

-- What is being fetched, or was: objects of these studies that come from that title set off no analysis.
CREATE TABLE priors (
  order_id  INTEGER NOT NULL REFERENCES prior_orders (id) ON DELETE CASCADE,
  study_uid TEXT NOT NULL,
  ae_title  TEXT NOT NULL,
  state     TEXT NOT NULL CHECK (state IN ('coming', 'here', 'failed')),
  PRIMARY KEY (order_id, study_uid)
) STRICT, WITHOUT ROWID;
CREATE INDEX priors_coming ON priors (study_uid) WHERE state = 'coming';

-- Which HL7 peers are told of a job's results.
ALTER TABLE jobs ADD COLUMN messages TEXT NOT NULL DEFAULT '[]';

-- Results as messages (ORU), until they are acknowledged.
CREATE TABLE messages (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  study_id     INTEGER NOT NULL REFERENCES studies (id) ON DELETE CASCADE,
  job_id       INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
  destination  TEXT NOT NULL,
  state        TEXT NOT NULL CHECK (state IN ('waiting', 'leased', 'delivered', 'failed')),
  due_at       INTEGER NOT NULL,
  lease_id     INTEGER,
  leased_until INTEGER,
  attempts     INTEGER NOT NULL DEFAULT 0,
  last_trouble TEXT,
  created_at   INTEGER NOT NULL,
  delivered_at INTEGER,
  UNIQUE (job_id, destination)
) STRICT;
CREATE INDEX messages_waiting ON messages (destination, due_at, id) WHERE state IN ('waiting', 'leased');

-- What the patient administration says of a patient. A number that was merged into another goes on as that one.
CREATE TABLE patients (
  patient_id  TEXT PRIMARY KEY,
  name        TEXT,
  birth_date  TEXT,
  sex         TEXT,
  merged_into TEXT,
  said_at     INTEGER NOT NULL
) STRICT;
CREATE INDEX patients_merged ON patients (merged_into) WHERE merged_into IS NOT NULL;
