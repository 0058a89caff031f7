"""Log-likelihoods of continuations under a causal language model that reads each context once.

Trees of one run are laid side by side in one row: every token sees the run's stem (as cached keys and values), the
trunk of its own tree and what stands before it in its own branch; positions count along that way. The figures are those
of reading every request alone, but for the order of additions. Models for which that does not hold (a state that is
carried along, a window that is shorter than the requests, positions that are not handed in) read every request alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from variantforge.stages.evaluate.again import batch_limit
from variantforge.stages.evaluate.likelihood import only, vocab_size
from variantforge.stages.evaluate.lm_eval.prefixes import Request, Run, Tree, fitted, runs, trees
from variantforge.stages.evaluate.lm_eval.rows import as_row, laid_out, mask_of, of_trees, spots
from variantforge.stages.evaluate.lm_eval.scores import Found, Scored, check_finite

if TYPE_CHECKING:
    import torch

# Tokens of one pass. As in likelihood.py: a CPU is busy with few, and attention is worked out between all of them.
_CPU_PASS_TOKENS, _PASS_TOKENS = 512, 4096
_LOGITS_BYTES = 256 << 20  # logits of a pass, as float32
_CLOSE = {"float32": 1e-3}  # how near a token's log-probability must be to what reading alone gives; else _CLOSE_ENOUGH
_CLOSE_ENOUGH = 0.25


Answered = Callable[[dict[int, Scored]], None]


class Likelihoods:
    """Scores requests under ``model``, which reads at most ``max_length`` tokens.

    ``tell`` hears once when contexts cannot be shared. ``tokens_read`` counts what went through the model.
    """

    def __init__(self, model: Any, max_length: int, tell: Callable[[str], None] = lambda text: None) -> None:
        self.model, self.max_length, self._tell = model, max_length, tell
        self.tokens_read = 0
        self._device = next(model.parameters()).device
        self._pass_tokens = batch_limit(_CPU_PASS_TOKENS if self._device.type == "cpu" else _PASS_TOKENS)
        self._most_rows = max(1, _LOGITS_BYTES // (4 * vocab_size(model)))
        self._shares: bool | None = None
        self._told = False
        self._known: Mapping[int, Scored] = {}

    def score(
        self,
        requests: Sequence[Request],
        answered: Answered = lambda scored: None,
        known: Mapping[int, Scored] = MappingProxyType({}),
    ) -> list[Scored]:
        """In the order of the requests; ``answered`` hears place -> score after every pass.

        Passes are laid out from all requests, and those of which all scores are ``known`` left out: so what a kill left
        over is scored as it would have been. Raises EvaluateError when a log-likelihood is not finite.
        """
        import torch

        fit = [fitted(request, self.max_length) for request in requests]
        found, self._known = dict(known), known
        with torch.inference_mode():
            for scores in self._passes(fit):
                for place, scored in scores.items():
                    check_finite(scored, fit[place])
                found |= scores
                answered(scores)
        return [found[place] for place in range(len(requests))]

    def _passes(self, requests: Sequence[Request]) -> Iterator[dict[int, Scored]]:
        if not requests:
            return
        laid = runs(trees(requests))
        if not self._can_share(laid):
            yield from self._alone(dict(enumerate(requests)))
            return
        yield from self._alone(
            {
                tree.asked[0][0]: requests[tree.asked[0][0]]
                for run in laid
                for tree in run.trees
                if self._is_long(run, tree)
            }
        )
        for run in laid:
            yield from self._shared(Run(run.stem, [tree for tree in run.trees if not self._is_long(run, tree)]))

    def _is_long(self, run: Run, tree: Tree) -> bool:
        """Whether a tree is a text that fills a pass and shares nothing: without a mask, attention costs it less."""
        return not run.stem and len(tree.asked) == 1 and tree.size > self._pass_tokens

    # --- side by side -------------------------------------------------------------------------------------------

    def _shared(self, run: Run) -> Iterator[dict[int, Scored]]:
        from transformers import DynamicCache

        packs = [
            pack for pack in self._packs(run) if not self._is_known(at for tree in pack for at, _, _ in tree.asked)
        ]
        cache = DynamicCache() if run.stem and packs else None
        if cache is not None:
            self._read([list(run.stem)], past_key_values=cache, use_cache=True, keep=[])
        for pack in packs:
            row = laid_out(pack, len(run.stem))
            mask = mask_of(row, len(run.stem), self.model.dtype, self._device)
            positions = as_row(row.positions, self._device)
            told = {"past_key_values": cache, "use_cache": True} if cache is not None else {"use_cache": False}
            logits = self._read([row.ids], attention_mask=mask, position_ids=positions, keep=row.asked, **told)
            if cache is not None:
                cache.crop(-len(row.ids))
            yield of_trees(pack, row, Found(logits))

    def _is_known(self, places: Iterable[int]) -> bool:
        return all(place in self._known for place in places)

    def _packs(self, run: Run) -> Iterator[list[Tree]]:
        """Trees that one pass takes: as many as fit, but at least one."""
        pack: list[Tree] = []
        tokens = rows = 0
        for tree in run.trees:
            size, asked = tree.size - len(run.stem), 1 + sum(map(len, tree.branches))
            if pack and (tokens + size > self._pass_tokens or rows + asked > self._most_rows):
                yield pack
                pack, tokens, rows = [], 0, 0
            pack.append(tree)
            tokens, rows = tokens + size, rows + asked
        if pack:
            yield pack

    def _read(self, ids: list[list[int]], *, keep: Sequence[int], **how: Any) -> torch.Tensor:
        """Logits at the positions ``keep`` of the only row. [kept, vocabulary]"""
        import torch

        self.tokens_read += sum(map(len, ids))
        at = torch.tensor(keep or [len(ids[0]) - 1], device=self._device)
        with only(self.model.get_output_embeddings(), torch.zeros_like(at), at):
            logits: torch.Tensor = self.model(input_ids=torch.tensor(ids, device=self._device), **how).logits
        return logits[0]

    # --- one by one ---------------------------------------------------------------------------------------------

    def _alone(self, requests: Mapping[int, Request]) -> Iterator[dict[int, Scored]]:
        """Every context with every continuation, those of like length together; equal inputs once."""
        import torch

        inputs: dict[tuple[int, ...], list[int]] = {}
        for place, request in requests.items():
            inputs.setdefault((request.context + request.continuation)[:-1], []).append(place)
        for batch in self._batches(sorted(inputs, key=lambda ids: (-len(ids), ids)), inputs, requests):
            if self._is_known(place for ids in batch for place in inputs[ids]):
                continue
            longest = len(batch[0])
            ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in batch], device=self._device)
            mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in batch], device=self._device)
            asked = [(row, place) for row, ids_of in enumerate(batch) for place in inputs[ids_of]]
            rows, at = zip(
                *(spot for row, place in asked for spot in spots(row, batch[row], requests[place])), strict=True
            )
            self.tokens_read += ids.numel()
            where = torch.tensor(rows, device=self._device), torch.tensor(at, device=self._device)
            with only(self.model.get_output_embeddings(), *where):
                logits = self.model(input_ids=ids, attention_mask=mask, use_cache=False).logits[0]
            found, start = Found(logits), 0
            scores: dict[int, Scored] = {}
            for _, place in asked:
                continuation = requests[place].continuation
                lines = list(range(start, start + len(continuation)))
                scores[place], start = found.score(lines, continuation), start + len(continuation)
            yield scores

    def _batches(
        self,
        ordered: Sequence[tuple[int, ...]],
        inputs: Mapping[tuple[int, ...], list[int]],
        requests: Mapping[int, Request],
    ) -> Iterator[list[tuple[int, ...]]]:
        batch: list[tuple[int, ...]] = []
        rows = 0
        for ids in ordered:
            asked = sum(len(requests[place].continuation) for place in inputs[ids])
            if batch and ((len(batch) + 1) * len(batch[0]) > self._pass_tokens or rows + asked > self._most_rows):
                yield batch
                batch, rows = [], 0
            batch.append(ids)
            rows += asked
        if batch:
            yield batch

    # --- which of the two ---------------------------------------------------------------------------------------

    def _can_share(self, laid: Sequence[Run]) -> bool:
        """Whether this model reads trees as it reads requests alone: by its kind, and as tried on a few of them."""
        if not self._fits(laid):
            self._tell_once("some of its layers see less than the longest request, or carry a state along")
            return False
        if self._shares is None and any(run.stem or _is_shared(run.trees) for run in laid):
            refusal = self._tried(laid)
            self._shares = not refusal
            if refusal:
                self._tell_once(refusal)
        return bool(self._shares)

    def _tell_once(self, why: str) -> None:
        if not self._told:
            self._tell(f"contexts cannot be shared, each is read anew for every continuation: of this model, {why}")
        self._told = True

    def _fits(self, laid: Sequence[Run]) -> bool:
        window = narrowest_window(self.model.config)
        longest = max(len(tree.trunk) + max(map(len, tree.branches)) for run in laid for tree in run.trees)
        return window is not None and longest <= window

    def _tried(self, laid: Sequence[Run]) -> str:
        """Scores two trees both ways; why this model cannot share, in its own words where it raises, or ''."""
        import torch

        run = min(laid, key=lambda run: (not run.stem, not _is_shared(run.trees), run.trees[0].size))
        few = Run(run.stem, [_with_few(tree) for tree in sorted(run.trees, key=lambda tree: tree.size)[:2]])
        asked = {place: Request(tree.trunk, told) for tree in few.trees for place, _, told in tree.asked}
        known, self._known = self._known, {}
        try:
            together = {place: one for scores in self._shared(few) for place, one in scores.items()}
            alone = {place: one for scores in self._alone(asked) for place, one in scores.items()}
        except torch.OutOfMemoryError:
            raise
        except (ValueError, TypeError, RuntimeError, AttributeError, IndexError) as error:
            return f"it takes no such mask or cache ({type(error).__name__}: {error})"
        finally:
            self._known = known
        close = _CLOSE.get(str(self.model.dtype).removeprefix("torch."), _CLOSE_ENOUGH)
        same = all(
            abs(together[place].logprob - alone[place].logprob) <= close * len(told.continuation)
            for place, told in asked.items()
        )
        return "" if same else "it gives other figures when told where tokens stand"


def _is_shared(found: Sequence[Tree]) -> bool:
    """Whether trees of a row would have to be told apart."""
    return len(found) > 1 or any(len(tree.branches) > 1 for tree in found)


def narrowest_window(config: Any) -> float | None:
    """How many tokens every layer sees at least; None when some layer is no attention over keys and values."""
    config = config.get_text_config(decoder=True)
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if kinds - {"full_attention", "sliding_attention"}:
        return None
    window = getattr(config, "sliding_window", None)
    slides = "sliding_attention" in kinds or (getattr(config, "layer_types", None) is None and window)
    if slides and getattr(config, "use_sliding_window", True) is not False:
        return float(window) if window else None
    return float("inf")


def _with_few(tree: Tree) -> Tree:
    kept = tree.asked[:3]
    used = list(dict.fromkeys(branch for _, branch, _ in kept))
    return Tree(
        tree.trunk,
        [tree.branches[branch] for branch in used],
        [(place, used.index(branch), told) for place, branch, told in kept],
    )
