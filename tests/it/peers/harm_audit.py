"""Harms an audit log in its database, as somebody with the disk in hand could: harm_audit.py DATABASE HOW."""
import sqlite3, sys

path, how = sys.argv[1:]
db = sqlite3.connect(path)
tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'audit%'")]
table = max(tables, key=lambda name: len(db.execute(f"PRAGMA table_info({name})").fetchall()))
columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
number = next(c for c in columns if c in ("idx", "index", "line", "number", "place", "id"))
record = next(c for c in columns if c == "record")
count = db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
assert count > 4, "a log that is worth harming"
middle = count // 2
first = db.execute(f'SELECT min("{number}") FROM {table}').fetchone()[0]
at = first + middle
if how == "flip":
    value = db.execute(f'SELECT {record} FROM {table} WHERE "{number}" = ?', (at,)).fetchone()[0]
    raw = bytearray(value if isinstance(value, bytes) else value.encode())
    raw[len(raw) // 2] ^= 1
    db.execute(f'UPDATE {table} SET {record} = ? WHERE "{number}" = ?', (bytes(raw) if isinstance(value, bytes) else raw.decode("latin-1"), at))
elif how == "drop":
    db.execute(f'DELETE FROM {table} WHERE "{number}" = ?', (at,))
elif how == "truncate":
    db.execute(f'DELETE FROM {table} WHERE "{number}" >= ?', (at,))
elif how == "swap":
    a, b = (db.execute(f'SELECT {record} FROM {table} WHERE "{number}" = ?', (n,)).fetchone()[0] for n in (at, at + 1))
    db.execute(f'UPDATE {table} SET {record} = ? WHERE "{number}" = ?', (b, at))
    db.execute(f'UPDATE {table} SET {record} = ? WHERE "{number}" = ?', (a, at + 1))
db.commit()
