"""GPTQ and AWQ by gptqmodel. Runs in the environment of ``gptq.txt``, without variantforge; see ``environment.py``.

Job: ``{"method", "model", "rows", "out", "bits", "group_size", "device"}``; ``rows`` is a file with a JSON list of
token ids a line. Done: ``{"rows", "tokens"}``.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from typing import Any

_FEWEST_IDS = 8  # of a row: a shorter one tells nothing, and gptqmodel may drop it


def main() -> None:
    events = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no event

    def tell(kind: str, **event: Any) -> None:
        events.write(json.dumps({"kind": kind, **event}) + "\n")

    job = json.loads(sys.stdin.readline())
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        tell("done", facts=quantize(job))
    except Exception as error:
        traceback.print_exc()
        tell("failed", why=f"{type(error).__name__}: {error}")
    events.flush()


def end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def quantize(job: dict[str, Any]) -> dict[str, Any]:
    os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")  # with one, its own pool waits for itself
    import torch
    from gptqmodel import GPTQModel, QuantizeConfig

    torch.manual_seed(0)
    with open(job["rows"], encoding="utf-8") as file:
        rows = [row for line in file if len(row := json.loads(line)) >= _FEWEST_IDS]
    settings = {"bits": job["bits"], "group_size": job["group_size"], "offload_to_disk": False, "pack_impl": "original"}
    if job["method"] == "awq":
        settings |= {"method": "awq", "format": "gemm", "zero_point": True, "sym": False}
    model = GPTQModel.load(job["model"], QuantizeConfig(**settings), device=job["device"])
    model.quantize([{"input_ids": row, "attention_mask": [1] * len(row)} for row in rows], batch_size=1)
    model.save(job["out"])
    return {"rows": len(rows), "tokens": sum(map(len, rows))}


if __name__ == "__main__":
    main()
