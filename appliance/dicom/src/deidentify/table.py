"""Writes table_e_1_1.txt: the attributes of PS3.15 table E.1-1 with what the Basic Profile does to each, and which options
keep it.

    pip download --no-deps dicom-anonymizer==2.1.0 && unzip it into ANONYMIZER
    git clone the repository innolitics/dicom-standard into STANDARD (read at its commit of 2025-01-28)
    python table.py ANONYMIZER STANDARD/standard/confidentiality_profile_attributes.json > table_e_1_1.txt

The first (BSD-3-Clause, Kitware) has the newest edition's actions, 2026c, and no options. The second (MIT, Innolitics) has
both, of January 2025. So the actions are those of 2026c, and the options those of 2025: an attribute that was added since
has none, and is treated as without options. Only the standard's own facts are taken from either.
"""

import importlib.util
import json
import sys

ACTIONS = {
    "D_TAGS": "D",
    "Z_TAGS": "Z",
    "X_TAGS": "X",
    "U_TAGS": "U",
    "Z_D_TAGS": "Z/D",
    "X_Z_TAGS": "X/Z",
    "X_D_TAGS": "X/D",
    "X_Z_D_TAGS": "X/Z/D",
    "X_Z_U_STAR_TAGS": "X/Z/U*",
}
# A letter for each option that keeps an attribute as it is (K), or as a later date (C of modified dates).
OPTIONS = {
    "rtnLongFullDatesOpt": ("K", "F"),
    "rtnLongModifDatesOpt": ("C", "M"),
    "rtnUIDsOpt": ("K", "U"),
    "rtnDevIdOpt": ("K", "V"),
    "rtnPatCharsOpt": ("K", "P"),
    "rtnInstIdOpt": ("K", "I"),
}


def main(anonymizer, standard):
    path = f"{anonymizer}/dicomanonymizer/dicom_anonymization_databases/dicomfields_2026c.py"
    spec = importlib.util.spec_from_file_location("fields", path)
    fields = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fields)
    actions = {}
    for name, action in ACTIONS.items():
        for tag in getattr(fields, name):
            if len(tag) == 2:  # curves and overlays repeat over groups: the code removes them whole
                actions["%04X%04X" % tag] = action
    options = {}
    for entry in json.load(open(standard)):
        letters = [letter for key, (is_, letter) in OPTIONS.items() if entry.get(key) == is_]
        options[entry["id"].upper()] = "".join(letters)
    print("# PS3.15 table E.1-1, edition 2026c; options of January 2025. Written by table.py.")
    for tag in sorted(actions):
        print(f"{tag} {actions[tag]} {options.get(tag, '')}".rstrip())


if __name__ == "__main__":
    main(*sys.argv[1:])
