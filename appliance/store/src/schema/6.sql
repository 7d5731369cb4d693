-- schema 6: what is urgent leaves first, and what a rule asks of a result is kept with the job that it planned

-- As urgent as the job that made it: 0 stat, 1 routine, 2 batch.
ALTER TABLE outbox ADD COLUMN priority INTEGER NOT NULL DEFAULT 1;
DROP INDEX outbox_waiting;
CREATE INDEX outbox_waiting ON outbox (destination, priority, due_at, id) WHERE state = 'waiting';

-- The messages of one study to one peer are equally urgent, so that none overtakes an earlier one.
ALTER TABLE messages ADD COLUMN priority INTEGER NOT NULL DEFAULT 1;
DROP INDEX messages_waiting;
CREATE INDEX messages_waiting ON messages (destination, priority, id) WHERE state IN ('waiting', 'leased');

-- What becomes of the results, as JSON. Null in jobs planned before: they ask the rules by name.
ALTER TABLE jobs ADD COLUMN terms TEXT;
