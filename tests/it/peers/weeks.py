"""The hub's export in pyarrow: the Parquet file has the rows of the CSV, and types that are said instead of guessed.

Usage: weeks.py PARQUET CSV
"""

import csv
import sys

import pyarrow.parquet

table = pyarrow.parquet.read_table(sys.argv[1])
with open(sys.argv[2], newline="") as file:
    lines = list(csv.DictReader(file))
kinds = {"carried": "bool", "name": "string", "version": "string"}
for field in table.schema:
    assert str(field.type) == kinds.get(field.name, "int64"), field
rows = table.to_pylist()
assert len(rows) == len(lines) > 1000, (len(rows), len(lines))
for row, line in zip(rows, lines, strict=True):
    said = {name: "" if value is None else str(value).lower() if name == "carried" else str(value)
            for name, value in row.items()}
    assert said == line, (said, line)
print("ok")
