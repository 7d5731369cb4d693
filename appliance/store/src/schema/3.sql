-- schema 3: storage commitment

-- What peers are asked to promise of what was delivered to them: one row for a delivery that they answered with success.
CREATE TABLE commitments (
  outbox_id       INTEGER PRIMARY KEY REFERENCES outbox (id) ON DELETE CASCADE,
  destination     TEXT NOT NULL,
  state           TEXT NOT NULL CHECK (state IN ('due', 'asked', 'committed')),
  transaction_uid TEXT,
  due_at          INTEGER NOT NULL,              -- when to ask, or to ask again because no answer came
  committed_at    INTEGER
) STRICT;
CREATE INDEX commitments_due ON commitments (destination, due_at) WHERE state <> 'committed';
CREATE INDEX commitments_of_transaction ON commitments (transaction_uid) WHERE state = 'asked';

-- What peers asked us to promise, until they have heard.
CREATE TABLE promises (
  id              INTEGER PRIMARY KEY AUTOINCREMENT,
  ae_title        TEXT NOT NULL,
  transaction_uid TEXT NOT NULL,
  promise         TEXT NOT NULL,
  due_at          INTEGER NOT NULL,              -- when to tell
  attempts        INTEGER NOT NULL DEFAULT 0,
  told_at         INTEGER,
  UNIQUE (ae_title, transaction_uid)
) STRICT;
CREATE INDEX promises_due ON promises (ae_title, due_at) WHERE told_at IS NULL;
