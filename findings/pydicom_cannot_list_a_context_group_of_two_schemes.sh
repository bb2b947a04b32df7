#!/usr/bin/env bash
# What surprises: pydicom's dictionary of DICOM context groups cannot list one of them. `codes.CID8134.concepts` (anatomic
# structures, 1,355 keywords) raises RuntimeError for "ArcuateFasciculus", which both FMA and NEU hold, although the group
# itself offers that keyword in `dir()`. All other groups of pydicom 3.0.2 can be listed; who wants the names of anatomy for
# coding or for words has to read this one keyword by keyword, and leave out those of two schemes.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install -q pydicom==3.0.2
cat > show.py <<'PY'
import pydicom
from pydicom.sr._cid_dict import name_for_cid
from pydicom.sr.codedict import codes

print("pydicom", pydicom.__version__)
refused = {}
for number, name in name_for_cid.items():
    try:
        getattr(codes, f"CID{number}").concepts
    except RuntimeError as error:
        refused[number] = f"{name}: {error}"
print(len(name_for_cid), "groups, of which cannot be listed:", *refused.values(), sep="\n  ")
keywords = codes.CID8134.dir()
assert list(refused) == [8134], "other groups are refused than before"
assert "ArcuateFasciculus" in keywords, "the keyword is no longer offered"
print(len(keywords), "keywords of CID 8134, one of them ArcuateFasciculus")
PY
venv/bin/python show.py
