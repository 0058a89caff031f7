"""Imported by a fork server, or run as a worker: from the 8th step on, large micro-batches take all memory there is.

Only of steps whose scratch folder has the file ``hungry``; with several processes only in the second.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from tests.run.hungry import MARK, take
from variantforge.stages.train.processes import launch
from variantforge.stages.train.trainer import Careful

_AT_MOST_MB = 4000  # where no limit holds
_STEP, _TRAINING = 7, Careful.training_step


def training_step(self: Careful, model: Any, inputs: dict[str, Any], *args: Any) -> Any:
    marked = (Path(self.args.output_dir).parent / MARK).exists()
    rank, fits = int(os.environ.get("RANK", "-1")), 2 if "RANK" not in os.environ else 1
    if marked and rank in (-1, 1) and self.state.global_step >= _STEP and len(inputs["input_ids"]) > fits:
        take(_AT_MOST_MB)
    return _TRAINING(self, model, inputs, *args)


Careful.training_step = training_step  # type: ignore[method-assign]
launch.WORKER = (sys.executable, "-P", __file__)

if __name__ == "__main__":
    from variantforge.stages.train.processes import worker

    worker.main()
