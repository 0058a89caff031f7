"""Imported by a fork server: from the 8th step on, micro-batches of more than two rows take all memory there is.

Only of steps whose scratch folder has the file ``hungry``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.run.hungry import MARK, take
from variantforge.stages.train.trainer import Careful

_AT_MOST_MB = 4000  # where no limit holds
_FITS, _STEP, _TRAINING = 2, 7, Careful.training_step


def training_step(self: Careful, model: Any, inputs: dict[str, Any], *args: Any) -> Any:
    marked = (Path(self.args.output_dir).parent / MARK).exists()
    if marked and self.state.global_step >= _STEP and len(inputs["input_ids"]) > _FITS:
        take(_AT_MOST_MB)
    return _TRAINING(self, model, inputs, *args)


Careful.training_step = training_step  # type: ignore[method-assign,assignment]
