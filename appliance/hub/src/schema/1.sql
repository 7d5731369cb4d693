-- The hub's data, in SQLite's words; PostgreSQL's are made from them. Numbers that are unsigned with us are kept as the signed number of the same bits.
CREATE TABLE IF NOT EXISTS hospitals (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    frame_key TEXT NOT NULL UNIQUE,
    certificate_sha256 BLOB NOT NULL UNIQUE,
    enrolled_at_s INTEGER NOT NULL,
    suspended INTEGER NOT NULL DEFAULT 0
) STRICT;
-- What hospitals asked for, until an admin grants it; what was refused is a line of the audit log only.
CREATE TABLE IF NOT EXISTS enrolment_requests (
    number INTEGER PRIMARY KEY,
    frame_key TEXT NOT NULL,
    csr BLOB NOT NULL,
    asked_at_s INTEGER NOT NULL,
    hospital INTEGER REFERENCES hospitals (number),
    granted_at_s INTEGER,
    granted_by INTEGER,
    certificate BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS frames (
    appliance INTEGER NOT NULL REFERENCES hospitals (number),
    sequence INTEGER NOT NULL,
    received_at_s INTEGER NOT NULL,
    carried INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (appliance, sequence)
) STRICT;
CREATE TABLE IF NOT EXISTS alarms (
    place INTEGER PRIMARY KEY,
    appliance INTEGER NOT NULL REFERENCES hospitals (number),
    at_s INTEGER NOT NULL,
    kind TEXT NOT NULL,
    sequence INTEGER
) STRICT;
-- A retry of what was refused is the same alarm.
CREATE UNIQUE INDEX IF NOT EXISTS one_alarm ON alarms (appliance, kind, coalesce(sequence, -1));
-- Alarms that somebody has looked into. An alarm that is raised once more is open again.
CREATE TABLE IF NOT EXISTS closed_alarms (
    place INTEGER PRIMARY KEY REFERENCES alarms (place),
    closed_at_s INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS witness (
    appliance INTEGER PRIMARY KEY REFERENCES hospitals (number),
    size INTEGER NOT NULL,
    root BLOB NOT NULL,
    cosigned_at_s INTEGER NOT NULL,
    signature BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS catalogue (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    digest BLOB NOT NULL UNIQUE
) STRICT;
CREATE TABLE IF NOT EXISTS advisories (
    number INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    model INTEGER NOT NULL REFERENCES catalogue (id),
    issued_at_s INTEGER NOT NULL,
    cause INTEGER NOT NULL,
    signature BLOB NOT NULL,
    text TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS plans (
    number INTEGER PRIMARY KEY,
    model INTEGER NOT NULL REFERENCES catalogue (id),
    metrics INTEGER NOT NULL,
    threshold_tenth INTEGER NOT NULL,
    cases_min INTEGER NOT NULL,
    issued_at_s INTEGER NOT NULL,
    until_s INTEGER NOT NULL,
    signature BLOB NOT NULL,
    text TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS tokens (
    number INTEGER PRIMARY KEY,
    label TEXT NOT NULL,
    sha256 BLOB NOT NULL UNIQUE,
    role TEXT NOT NULL,
    created_at_s INTEGER NOT NULL,
    expires_at_s INTEGER NOT NULL,
    revoked INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS audit (
    place INTEGER PRIMARY KEY,
    salt BLOB NOT NULL,
    record TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS audit_head (
    only_one INTEGER PRIMARY KEY CHECK (only_one = 0),
    frontier BLOB NOT NULL
) STRICT;
