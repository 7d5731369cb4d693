-- schema 8: what answers an earlier question about an object counts as well

-- The transactions in which a peer was asked about the copy that it was sent last. Each question has one of its own (PS3.4
-- section J.3.3), and an archive that commits at night may answer any of those of the day.
CREATE TABLE commitment_questions (
  id              INTEGER PRIMARY KEY,           -- a later question has a higher one
  outbox_id       INTEGER NOT NULL REFERENCES commitments (outbox_id) ON DELETE CASCADE,
  transaction_uid TEXT NOT NULL,
  put_off         INTEGER NOT NULL DEFAULT 0     -- whether the peer is not known to have heard it
) STRICT;
CREATE INDEX questions_of_delivery ON commitment_questions (outbox_id);
CREATE INDEX questions_of_transaction ON commitment_questions (transaction_uid);
INSERT INTO commitment_questions (outbox_id, transaction_uid, put_off)
  SELECT outbox_id, transaction_uid, state = 'due' FROM commitments
  WHERE transaction_uid IS NOT NULL AND state <> 'committed';
