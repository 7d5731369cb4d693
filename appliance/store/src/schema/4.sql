-- schema 4: what people said of results

-- One row for each reviewer and result: a later verdict takes the place of the earlier one, and the audit log has both.
CREATE TABLE reviews (
  report_id   INTEGER NOT NULL REFERENCES reports (id) ON DELETE CASCADE,
  reviewer    TEXT NOT NULL,                     -- 'token ' and its id, or 'peer ' and its AE title: nobody's name
  verdict     TEXT NOT NULL CHECK (verdict IN ('agreed', 'disagreed')),
  reviewed_at INTEGER NOT NULL,
  PRIMARY KEY (report_id, reviewer)
) STRICT, WITHOUT ROWID;

-- Weeks are counted by when results were kept.
CREATE INDEX reports_kept ON reports (kept_at);
