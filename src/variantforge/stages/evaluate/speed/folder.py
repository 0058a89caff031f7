"""The speed of a transformers folder."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variantforge.stages.evaluate.speed.runs import Run, forget_peak, resident_peak, words

if TYPE_CHECKING:
    import torch


class Folder:
    """A folder, loaded."""

    def __init__(self, folder: Path, dtype: str) -> None:
        import transformers

        from variantforge.stages.models import device, load_model, quiet
        from variantforge.stages.tokens import load_tokenizer

        self.version = f"transformers {transformers.__version__}"
        self._tokenizer, where = load_tokenizer(folder), device()
        self._counted = forget_peak()
        began = time.perf_counter()
        with quiet():
            self._model = load_model(folder, dtype=dtype, device=str(where))
        self.load_s = time.perf_counter() - began

    def run(self, prompt_tokens: int, tokens: int) -> Run:
        import torch
        from transformers import GenerationConfig, StoppingCriteriaList

        from variantforge.stages.models import quiet

        ids = torch.tensor([self._tokenizer(words(prompt_tokens)).input_ids[:prompt_tokens]]).to(self._model.device)
        ticks: list[float] = []
        # no stop token: exactly so many tokens are wanted
        self._model.generation_config = GenerationConfig()
        settings = GenerationConfig(max_new_tokens=tokens, do_sample=False, pad_token_id=0)
        with quiet(), torch.inference_mode():
            began = self._now()
            self._model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                generation_config=settings,
                stopping_criteria=StoppingCriteriaList([_ticking(ticks, self._now)]),
            )
        return Run(prompt_tokens, len(ticks), ticks[0] - began, ticks[-1] - ticks[0])

    def peak_bytes(self) -> int | None:
        import torch

        if self._model.device.type == "cpu":
            return resident_peak() if self._counted else None
        return int(torch.accelerator.max_memory_allocated())

    def _now(self) -> float:
        """After all that was asked of the accelerator is done."""
        import torch

        if self._model.device.type != "cpu":
            torch.accelerator.synchronize()
        return time.perf_counter()


def _ticking(ticks: list[float], now: Any) -> Any:
    """Is asked after each token, and notes when."""
    import torch
    from transformers import StoppingCriteria

    class Ticking(StoppingCriteria):  # type: ignore[misc]
        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
            ticks.append(now())
            return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)

    return Ticking()
