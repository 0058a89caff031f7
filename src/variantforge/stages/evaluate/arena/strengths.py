"""Strengths of many contestants from games between two at a time: the Bradley-Terry model, with intervals.

The chance that ``a`` beats ``b`` is ``1 / (1 + 10 ** ((R_b - R_a) / 400))``; the strengths ``R`` are those that make
the games most likely (R. A. Bradley and M. E. Terry, Biometrika 39, 1952). A tie counts half a win for each. So it is
done, and on this scale, in Chatbot Arena (Chiang et al., arXiv:2403.04132, section 4; Zheng et al., arXiv:2306.05685).

One drawn game is added between each two that have met. Without it, who has won every game would be infinitely strong;
with 100 games it moves a win rate of 0.60 to 0.599. Intervals come from a bootstrap over *prompts*: all games on a
prompt are drawn together, whoever played them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from math import log
from typing import TYPE_CHECKING, Any, NamedTuple

from variantforge.stages.evaluate.bootstrap import resampled_sums, widened_tail

if TYPE_CHECKING:
    import numpy as np

    Floats = np.ndarray[Any, np.dtype[np.float64]]

RESAMPLES, LEVEL = 1000, 0.95
POINTS_PER_NAT = 400 / log(10)  # of log odds
_ROUNDS = 100
_LONGEST_STEP = 2.0  # nats, of Newton's method: beyond it the parabola is no likeness of the curve
_EXACT = 1e-10
_DIGITS = 4


class Game(NamedTuple):
    """``points`` of ``a`` against ``b``: 1 a win, 0.5 a tie, 0 a loss. ``prompt``: what both answered."""

    a: str
    b: str
    points: float
    prompt: str


class Strength(NamedTuple):
    """``value`` in Elo points: 0 is the anchor's (or, without one, the mean). Bounds are two-sided 95 %, None where
    there was but one prompt. ``games``: how many it played."""

    name: str
    value: float
    low: float | None
    high: float | None
    games: int


def games_of(rows: Iterable[Mapping[str, Any]], subject: str, other: str) -> list[Game]:
    """The games in an arena's ``examples.jsonl``; pairs without a verdict are none."""
    return [Game(subject, other, float(row["points"]), str(row["id"])) for row in rows if row.get("games")]


def strengths(games: Sequence[Game], anchor: str | None = None, *, resamples: int = RESAMPLES) -> list[Strength]:
    """All contestants, the strongest first; [] without games. The order of ``games`` means nothing.

    Raises ValueError when some have not met the others, not even through third ones, or the anchor has not played.
    """
    if not games:
        return []
    import numpy as np

    names = sorted({name for game in games for name in game[:2]})
    if anchor is not None and anchor not in names:
        raise ValueError(f"'{anchor}' has not played; there are: {', '.join(names)}")
    pairs = sorted({_pair(game) for game in games})
    _refuse_islands(names, pairs)
    columns = _columns(games, pairs)
    places = np.array([[names.index(a), names.index(b)] for a, b in pairs])
    value = _anchored(_fitted(columns.sum(axis=0)[None], places, len(names)), names, anchor)[0]
    low, high = [None] * len(names), [None] * len(names)
    if len(columns) > 1:
        spread = _anchored(_fitted(resampled_sums(columns, resamples), places, len(names)), names, anchor)
        tail = widened_tail((1 - LEVEL) / 2, len(columns))
        low, high = np.quantile(spread, [tail, 1 - tail], axis=0).tolist()
    played = [sum(name in game[:2] for game in games) for name in names]
    found = zip(names, value, low, high, played, strict=True)
    told = [Strength(name, _rounded(here), *_around(here, *bounds), count) for name, here, *bounds, count in found]
    return sorted(told, key=lambda one: (-one.value, one.name))


def _pair(game: Game) -> tuple[str, str]:
    if game.a == game.b:
        raise ValueError(f"'{game.a}' cannot play against itself")
    return (game.a, game.b) if game.a < game.b else (game.b, game.a)


def _columns(games: Sequence[Game], pairs: Sequence[tuple[str, str]]) -> Floats:
    """[prompts, 2 * pairs]: points of the first, and of the second of each pair, on each prompt."""
    import numpy as np

    prompts = {prompt: row for row, prompt in enumerate(sorted({game.prompt for game in games}))}
    places = {pair: 2 * at for at, pair in enumerate(pairs)}
    columns = np.zeros((len(prompts), 2 * len(pairs)))
    for game in sorted(games):
        pair = _pair(game)
        first = game.points if game.a == pair[0] else 1 - game.points
        columns[prompts[game.prompt], places[pair]] += first
        columns[prompts[game.prompt], places[pair] + 1] += 1 - first
    return columns


def _fitted(points: Floats, places: Any, count: int) -> Floats:
    """[samples, 2 * pairs] -> [samples, contestants], log odds with mean 0: Newton's method on all samples at once."""
    import numpy as np

    first, second = places[:, 0], places[:, 1]
    won, lost = points[:, 0::2] + 0.5, points[:, 1::2] + 0.5  # with the drawn game
    theta: Floats = np.zeros((len(points), count))
    for _ in range(_ROUNDS):
        chance = 1 / (1 + np.exp(theta[:, second] - theta[:, first]))
        surplus = won - (won + lost) * chance
        weight = (won + lost) * chance * (1 - chance)
        gradient, curve = np.zeros_like(theta), np.full((len(points), count, count), 1 / count)
        for at, (a, b) in enumerate(places):
            gradient[:, a] += surplus[:, at]
            gradient[:, b] -= surplus[:, at]
            curve[:, a, a] += weight[:, at]
            curve[:, b, b] += weight[:, at]
            curve[:, a, b] -= weight[:, at]
            curve[:, b, a] -= weight[:, at]
        step = np.linalg.solve(curve, gradient[..., None])[..., 0]
        theta += np.clip(step, -_LONGEST_STEP, _LONGEST_STEP)
        if np.abs(gradient).max() < _EXACT * max(1.0, float(won.max())):
            break
    theta -= theta.mean(axis=1, keepdims=True)
    return theta


def _anchored(theta: Floats, names: Sequence[str], anchor: str | None) -> Floats:
    import numpy as np

    if anchor is not None:
        theta = theta - theta[:, [names.index(anchor)]]
    scaled: Floats = np.multiply(theta, POINTS_PER_NAT)
    return scaled


def _around(value: float, low: float | None, high: float | None) -> tuple[float | None, float | None]:
    if low is None or high is None:
        return None, None
    return _rounded(min(low, value)), _rounded(max(high, value))


def _rounded(value: float) -> float:
    return round(float(value), _DIGITS) + 0.0  # no minus zero


def tables(games: Sequence[Game], anchors: Collection[str] = ()) -> list[list[Strength]]:
    """One table for each group of contestants that have met, also through others; the largest first. Each is anchored
    at the first of its names, in order, that is one of ``anchors``."""
    found = []
    for island in _islands({_pair(game) for game in games}):
        anchor = min(island & set(anchors), default=None)
        found.append(strengths([game for game in games if game.a in island], anchor))
    return sorted(found, key=lambda table: (-len(table), table[0].name))


def _refuse_islands(names: Sequence[str], pairs: Iterable[tuple[str, str]]) -> None:
    reached = next(island for island in _islands(pairs) if names[0] in island)
    if left := [name for name in names if name not in reached]:
        raise ValueError(f"{', '.join(left)} and {names[0]} have not met, not even through others: no common scale")


def _islands(pairs: Iterable[tuple[str, str]]) -> list[set[str]]:
    islands: list[set[str]] = []
    for pair in pairs:
        joined = [island for island in islands if island & set(pair)]
        islands = [island for island in islands if not island & set(pair)]
        islands.append(set(pair).union(*joined))
    return islands
