"""Counts what a filter of datatrove keeps of a folder of Dolma documents: `datatrove_filter.py DOCUMENTS FILTER`."""

import gzip
import json
import sys
from pathlib import Path

from datatrove.data import Document
from datatrove.pipeline.filters import FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter

FILTERS = {
    "gopher_quality": GopherQualityFilter,
    "gopher_repetition": GopherRepetitionFilter,
    "fineweb_quality": FineWebQualityFilter,
}

chosen = FILTERS[sys.argv[2]]()
read, kept = 0, 0
for path in sorted(Path(sys.argv[1]).glob("*/*.jsonl.gz")):
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            read += 1
            kept += chosen.filter(Document(text=row["text"], id=row["id"])) is True
print(f"{sys.argv[2]}: {kept} of {read} documents kept")
