#!/usr/bin/python3
"""Verify an exported audit log without any part of the appliance.

    verify.py FOLDER KEY      KEY is the log's public key, NAME+ID+BASE64, as text or as a file that holds it

Needs Python 3.8 and openssl 3. Formats: C2SP tlog-tiles, tlog-checkpoint, signed-note; RFC 6962 hashing.
A record may have been erased after its retention: its line in records/ is then "erased", and the log still verifies.
"""
import base64, hashlib, os, subprocess, sys, tempfile


def fail(sentence):
    sys.exit(f"NOT VERIFIED: {sentence}")


def H(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def root(hashes):
    if not hashes:
        return H()
    while len(hashes) > 1:  # an odd one is carried up unchanged, which gives RFC 6962's tree
        pairs = [H(b"\1", *hashes[i:i + 2]) for i in range(0, len(hashes) - 1, 2)]
        hashes = pairs + hashes[len(pairs) * 2:]
    return hashes[0]


def read(kind, number, width):
    digits = f"{number:03d}" if number < 1000 else f"{number:0{-(-len(str(number)) // 3) * 3}d}"
    groups = [digits[i:i + 3] for i in range(0, len(digits), 3)]
    name = "/".join(["x" + g for g in groups[:-1]] + groups[-1:]) + ("" if width == 256 else f".p/{width}")
    try:
        return open(os.path.join(folder, kind, name), "rb").read()
    except OSError:
        fail(f"{kind}/{name} is missing: entries {number * 256} to {number * 256 + width - 1} or hashes above them")


def opened(note, key):
    """The signed text, when Ed25519 key NAME+ID+KEY signed it."""
    name, number, blob = key.strip().split("+", 2)
    blob = base64.b64decode(blob)
    if blob[0] != 1 or H(name.encode(), b"\n", blob)[:4].hex() != number:
        fail("the key is not NAME+ID+KEY of an Ed25519 key")
    text, signatures = note[:note.rindex("\n\n") + 1], note[note.rindex("\n\n") + 2:]
    lines = [s.split(" ") for s in signatures.splitlines()]
    lines = [base64.b64decode(s[2]) for s in lines if len(s) == 3 and s[:2] == ["\u2014", name]]
    signature = next((s[4:] for s in lines if s[:4].hex() == number), None) or fail("the checkpoint is not signed by this key")
    with tempfile.TemporaryDirectory() as tmp:
        paths = [os.path.join(tmp, p) for p in ("key", "text", "signature")]
        for path, data in zip(paths, (bytes.fromhex("302a300506032b6570032100") + blob[1:], text.encode(), signature)):
            with open(path, "wb") as file:
                file.write(data)
        command = ["openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", paths[0],
                   "-rawin", "-in", paths[1], "-sigfile", paths[2]]
        if subprocess.run(command, capture_output=True).returncode:
            fail("the checkpoint's signature is wrong")
    if text.split("\n")[0] != name:
        fail("the checkpoint is of another log")
    return text


folder, key = sys.argv[1:]
key = open(key).read() if os.path.exists(key) else key
with open(os.path.join(folder, "checkpoint"), encoding="utf-8", newline="") as file:
    lines = opened(file.read(), key).split("\n")
size, signed_root, leaves, erased = int(lines[1]), base64.b64decode(lines[2]), [], 0
for first in range(0, size, 256):
    width = min(256, size - first)
    entries = read("tile/entries", first // 256, width)
    records = read("records", first // 256, width).decode().split("\n")
    if len(entries) != 34 * width or len(records) != width + 1 or records[-1]:
        fail(f"entries {first} to {first + width - 1}: their files have a wrong length")
    for i in range(width):
        entry = entries[34 * i:34 * i + 34]
        if entry[:2] != b"\0\x20":
            fail(f"entry {first + i}: its length was changed")
        leaves.append(H(b"\0", entry[2:]))
        if records[i] == "erased":
            erased += 1
            continue
        salt, record = records[i].split(" ")
        if H(bytes.fromhex(salt), base64.b64decode(record, validate=True)) != entry[2:]:
            fail(f"entry {first + i}: its record or its salt was changed")
level, hashes = 0, leaves
while hashes:
    for first in range(0, len(hashes), 256):
        expected, found = hashes[first:first + 256], None
        found = read(f"tile/{level}", first // 256, len(expected))
        if found != b"".join(expected):
            fail(f"tile level {level}: a hash above entries from {first << 8 * level} on was changed")
    level, hashes = level + 1, [root(hashes[i:i + 256]) for i in range(0, len(hashes) // 256 * 256, 256)]
if root(leaves) != signed_root:
    fail("the entries together are not what was signed")
print(f"verified: {size} entries of {lines[0]}, {erased} of them erased, root {signed_root.hex()}")
