"""Writes botocore's HealthOmics model with the parameter names that aws-healthomics-mcp-server 0.1.5 uses.

The server calls `cancel_run_batch(id=…)`; botocore's model names that member `batchId`, so as published the call
fails validation inside the server and no request leaves. botocore looks into AWS_DATA_PATH first: the corrected
model there renames the member for callers only, and `locationName` keeps what goes over the wire as it was.
"""

import gzip
import json
from pathlib import Path

import botocore

MODEL = Path("omics/2022-11-28/service-2.json")
PAGE = {"maxItems": "maxResults"}
BATCH = {"batchId": "id"}
RENAMED = {
    "CancelRunBatch": BATCH, "DeleteRunBatch": BATCH, "DeleteBatch": BATCH, "GetBatch": BATCH,
    "ListRunsInBatch": BATCH | PAGE, "ListBatch": PAGE,
}


def write(folder):
    """Writes the corrected model below `folder`, which AWS_DATA_PATH then names."""
    published = Path(botocore.__file__).parent / "data" / MODEL.with_suffix(".json.gz")
    model = json.loads(gzip.decompress(published.read_bytes()))
    for operation, names in RENAMED.items():
        _rename(model["shapes"][model["operations"][operation]["input"]["shape"]], names)
    target = Path(folder) / MODEL
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(model))


def _rename(shape, names):
    shape["members"] = {
        names.get(name, name): {"locationName": name} | member if name in names else member
        for name, member in shape["members"].items()
    }
    if "required" in shape:
        shape["required"] = [names.get(name, name) for name in shape["required"]]
