"""What a family file may never do, whoever wrote it: run something, take long, take much memory, end in a traceback."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.spec.family import SMALL
from variantforge import Resolver, build_plan
from variantforge.errors import SpecError, UsageError
from variantforge.plan.pin import RepoType
from variantforge.refs import Ref
from variantforge.spec.inherit import in_order, inherit
from variantforge.spec.load import load_family, read_family
from variantforge.step import Pin

SPECS = Path(__file__).parents[2] / "specs"
FULL = (SPECS / "broken" / "many.yaml").read_text()


def laughs(levels: int) -> str:
    rows = "".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]\n" for i in range(1, levels))
    return f"l0: &l0 [lol]\n{rows}"


CRAFTED: dict[str, str | bytes] = {
    "billion laughs": laughs(12) + SMALL,
    "alias of itself": "a: &a [*a]\n" + SMALL,
    "python object": SMALL.replace("./base", "!!python/object/apply:os.system ['touch pwned']"),
    "python name": SMALL + "description: !!python/name:os.system\n",
    "python tuple key": SMALL + "!!python/tuple [a, b]: c\n",
    "tagged family": "!family " + SMALL.replace("\n", "\n  "),
    "local tag": SMALL + "description: !env HOME\n",
    "verbatim tag": SMALL + "description: !<tag:yaml.org,2002:python/object:os.system> x\n",
    "merge key": SMALL + "<<: {family: other}\n",
    "merge of many": SMALL + "<<: [{a: 1}, {b: 2}]\n",
    "deep lists": SMALL + "gates: " + "[" * 50_000,
    "deep mappings": SMALL + "evaluate: " + "{a: " * 50_000,
    "deep dashes": SMALL + "gates:\n" + "- " * 60_000,
    "deep question marks": "? " * 60_000,
    "wide list": SMALL + "gates: [" + "0," * 100_000 + "]",
    "wide mapping": SMALL + "evaluate: {" + "".join(f"k{i}," for i in range(30_000)) + "}",
    "same key over and over": SMALL + "a: 1\n" * 40_000,
    "aliases over and over": SMALL + "gates: [" + "*a," * 49_000 + "]",
    "huge int": SMALL + "version: " + "9" * 200_000,
    "huge hex": SMALL + "version: 0x" + "f" * 200_000,
    "huge float": SMALL + "version: 1" + "0" * 100_000 + ".0",
    "huge exponent": SMALL + "version: 1e" + "9" * 100_000,
    "huge key": SMALL + "k" * 900 + ": 1\n",
    "huge quoted key": SMALL + '? "' + "k" * 200_000 + '"\n: 1\n',
    "huge text": SMALL + "version: " + "v" * 200_000,
    "huge anchor": SMALL + "version: &" + "v" * 200_000 + " 1\n",
    "huge tag": SMALL + "version: !" + "v" * 100_000 + " 1\n",
    "many quotes": SMALL + "version: " + "''" * 100_000,
    "many gaps": SMALL + "\n" * 200_000 + "x",
    "long comment": "#" * 200_000,
    "only a mark": b"\xef\xbb\xbf",
    "two marks": b"\xef\xbb\xbf\xef\xbb\xbf" + SMALL.encode(),
    "utf-16": SMALL.encode("utf-16"),
    "utf-32": SMALL.encode("utf-32"),
    "overlong utf-8": SMALL.encode() + b"description: \xc0\xaf\n",
    "surrogate in utf-8": SMALL.encode() + b"description: \xed\xa0\x80\n",
    "nul bytes": b"\0" * 100,
    "escape sequences": SMALL.encode() + b'description: "\x1b[2J"\n',
    "escaped nul in a path": SMALL.replace("./base", '"./base\\0"'),
    "right to left": SMALL + "de\u202escription: x\n",
    "line separators": SMALL + "x\u2028y: 1\u2029z: 2\u0085w: 3\n",
    "a key named like a method": SMALL + "model_validate: 1\n__class__: 2\nmodel_config: 3\n",
    "directives": "%YAML 1.2\n%TAG ! tag:evil,2000:\n%FOO bar\n---\n" + SMALL,
    "many documents": "---\n" * 50_000,
    "mistakes under keys that are none": SMALL.replace("  code:", "  1: {kind: !x y, 2: {a: *x}}\n  code:"),
    "format string in repo": SMALL + "publish: {repo: '{variant.__class__.__mro__}'}\n",
    "format index in repo": SMALL + "publish: {repo: '{variant[0]}{family!r:>999999999}'}\n",
    "wide format in repo": SMALL + "publish: {repo: '{variant:>2000000000}'}\n",
    "a circle of a thousand": SMALL.replace("  code:", "".join(
        f"  v{i}: {{kind: code, from: v{(i + 1) % 1000}, data: {{mix: {{pairs: 1}}}}}}\n" for i in range(1000)
    ) + "  code:"),
}  # fmt: skip


class Offline(Resolver):
    def pin(self, ref: Ref, repo_type: RepoType = "model") -> Pin:
        if ref.kind == "hub":
            raise UsageError(f"{ref} is on the Hub")
        return super().pin(ref, repo_type)


def write(folder: Path, data: str | bytes) -> Path:
    (folder / "family.yaml").write_bytes(data if isinstance(data, bytes) else data.encode())
    return folder / "family.yaml"


def plan(path: Path) -> None:
    file = read_family(path)
    assert sorted(in_order(inherit(file.spec))) == sorted(file.spec.variants)
    build_plan(file, Offline(cache=None))


@pytest.mark.timeout(60)  # what is not bounded takes many minutes
@pytest.mark.parametrize("name", CRAFTED)
def test_a_crafted_file_is_refused_quickly_and_in_printable_words(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError) as caught:
        plan(write(tmp_path, CRAFTED[name]))
    text = str(caught.value)
    assert all(line.isprintable() for line in text.splitlines())
    assert max(map(len, text.splitlines())) < 600
    assert [path.name for path in tmp_path.iterdir()] == ["family.yaml"]


def read(folder: Path, data: str | bytes) -> None:
    """Either a plan, or a SpecError, and one that tells all that reading alone does: anything else fails the test."""
    file = write(folder, data)
    own, every = refusal(load_family, file), refusal(plan, file)
    if own is not None:
        assert every is not None
        assert set(own.problems) <= set(every.problems)
    if every is not None:
        assert every.problems
        assert all(line.isprintable() for line in str(every).splitlines())


def refusal(step: Callable[[Path], object], file: Path) -> SpecError | None:
    try:
        step(file)
    except SpecError as error:
        return error
    return None


GATED = SMALL + "gates: [{metric: a.b, at_most: 1}]\nevaluate: {a: {evaluator: b}}\n"
SPLINTERS = [b"[", b"}", b": ", b"\n", b"*x ", b"&x ", b"!!int ", b"null", b"1e9", b"'", b"<<: "]
fuzz = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(st.binary(max_size=300))
@fuzz
def test_random_bytes_give_a_spec_or_a_spec_error(tmp_path: Path, data: bytes) -> None:
    read(tmp_path, data)


@given(st.text(alphabet="ab:-?&*!|>%@`'\"{}[],#\n\t ~<=\\\u00e9", max_size=120))
@fuzz
def test_random_yaml_gives_a_spec_or_a_spec_error(tmp_path: Path, text: str) -> None:
    read(tmp_path, text)
    read(tmp_path, SMALL + text)


@given(st.integers())
@fuzz
def test_a_mutated_file_gives_a_spec_or_a_spec_error(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    data = bytearray((FULL if seed % 2 else GATED).encode())
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(data))
        match chance.randrange(4):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                del data[at : at + chance.randint(1, 12)]
            case 2:
                data[at:at] = data[chance.randrange(len(data)) :][: chance.randint(1, 40)]
            case _:
                data[at:at] = chance.choice(SPLINTERS)
        data = data or bytearray(b" ")
    read(tmp_path, bytes(data))


WORDS = """family base model datasets path format variants kind code data mix from train method args seed adapter
target_modules quantize evaluate evaluator gates metric vs at_most publish repo"""
words = st.sampled_from(WORDS.split())
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | words


@given(
    st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=6), max_leaves=30
    )
)
@example({"base": "\x1b"})  # the proposed "./<escape>" was printed as it is
@fuzz
def test_any_shape_under_known_keys_gives_a_spec_or_a_spec_error(tmp_path: Path, value: object) -> None:
    read(tmp_path, json.dumps({"family": "f", "base": {"model": "./b"}, "x": value}))
    merged = {"family": "f", "base": {"model": "./b"}, **(value if isinstance(value, dict) else {"variants": value})}
    read(tmp_path, json.dumps(merged))
    read(tmp_path, json.dumps({**merged, "variants": {"code": value}, "datasets": {"pairs": value}, "gates": [value]}))
