"""The form of answers: JSON where JSON was asked for, the right tool call, no template in the text, no loop, an end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from variantforge.errors import EvaluateError
from variantforge.spec.family import Section
from variantforge.stages.evaluate.answers import Answer, Prompt, Sampling, answers
from variantforge.stages.evaluate.evaluation import Measured
from variantforge.stages.evaluate.format import checks
from variantforge.stages.evaluate.format.suite import items as own_items
from variantforge.stages.evaluate.format.template import form_tokens, takes_tools
from variantforge.stages.evaluate.metric import Metric
from variantforge.stages.evaluate.prompts import Item, digest_of, pin_items, read_items, suite_texts_of
from variantforge.stages.evaluate.suites import SuiteText
from variantforge.stages.stage import Desk
from variantforge.step import Pin, Step, StepContext

PROMPTS = "prompts"


class FormatParams(Section):
    """What a user may write beside ``evaluator: format``."""

    path: str | None = Field(None, description="your prompts: ./prompts.jsonl, with schema, json, tools or tool")
    builtin: bool = Field(True, description="ask our own prompts (docs/evaluators.md), beside yours")
    tools: Literal["auto", "always", "never"] = Field(
        "auto", description="prompts that want a tool call: where the chat template takes tools; always; or never"
    )
    fenced: bool = Field(False, description="JSON may stand in a ```json block, with words around it")
    gram: int = Field(checks.GRAM, ge=3, le=50, description="words in a run that is looked for again")
    repeats: int = Field(checks.TIMES, ge=2, le=100, description="an answer loops when one run stands in it so often")
    max_tokens: int = Field(256, ge=1, description="an answer that is longer is cut off there, and does not stop")
    # As in perplexity: bfloat16 is faster where the machine has it, and rounds more.
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="precision in which torch computes")

    @model_validator(mode="after")
    def _asks_something(self) -> FormatParams:
        if not self.builtin and not self.path:
            raise ValueError("nothing to ask: builtin: true, or path: ./prompts.jsonl")
        return self


class Format:
    """Each prompt is answered once, greedily."""

    Params = FormatParams
    heavy = True
    pinned_as: ClassVar = {"path": PROMPTS}
    METRICS = (
        Metric("json_valid", "json_valid", "json_items", "higher"),
        Metric("tool_call", "tool_call", "tool_items", "higher"),
        Metric("clean", "clean", "answers", "higher"),
        Metric("no_loop", "no_loop", "answers", "higher"),
        Metric("stops", "stopped", "answers", "higher"),
    )

    def metrics(self, params: FormatParams, subject: str) -> tuple[Metric, ...]:
        return tuple(one for one in self.METRICS if params.tools != "never" or one.name != "tool_call")

    def needs(self, params: FormatParams, subject: str) -> tuple[str, ...]:
        return ()

    def identity(self, params: FormatParams, subject: str) -> dict[str, Any]:
        own = {name: value for name, value in params.identity().items() if name != "path"}  # the pin says which
        suite = {"suite": digest_of(own_items())} if params.builtin else {}
        return {**own, **suite, "rules": checks.VERSION}

    def pins(self, desk: Desk, params: FormatParams, key: str) -> Mapping[str, Pin] | None:
        if find_spec("jsonschema") is None:
            desk.problem(f"{key}.evaluator", "format needs jsonschema: pip install 'variantforge[evaluate]'")
            return None
        if not params.path:
            return {}
        pin = pin_items(desk, params.path, f"{key}.path", why_wrong)
        return {PROMPTS: pin} if pin else None

    def suite_texts(self, params: FormatParams) -> Iterable[SuiteText]:
        return suite_texts_of(own_items() if params.builtin else [])

    def suite_files(self, params: FormatParams) -> Mapping[str, str]:
        return {"path": params.path} if params.path else {}

    def size(self, step: Step, metric: str) -> tuple[int, bool]:
        """Fewer where the chat template takes no tools, which is known once there is one."""
        params, pin = _params(step)
        of = {"json_valid": _wants_json, "tool_call": _wants_a_call}
        items = [item for item in _items(params, pin) if metric not in of or of[metric](item)]
        counted = [bool(item.more.get("tools")) for item in items]
        without = len(counted) - sum(counted)
        return (without if params.tools == "never" else len(counted)), params.tools == "auto" and any(counted)

    def evaluate(self, context: StepContext) -> Measured:
        params, pin = _params(context.step)
        asked, left_out = askable(context, params, _items(params, pin))
        prompts = [Prompt(item.id, item.messages, item.more.get("tools", ())) for item in asked]
        said = answers(context, prompts, Sampling(max_new_tokens=params.max_tokens), dtype=params.dtype)
        control = form_tokens(context.inputs["model"])
        rows = [row(item, one, params, control) for item, (one,) in zip(asked, said, strict=True)]
        why = Counter(reason for row in rows for reason in row["wrong"])
        return Measured(rows, {"left_out": left_out, "wrong": dict(sorted(why.items()))})


def _params(step: Step) -> tuple[FormatParams, Pin | None]:
    """The parameters of a step, and the file of the user's."""
    pin = step.pins.get(PROMPTS)
    told = {name: value for name, value in step.params.items() if name not in ("suite", "rules")}
    return FormatParams.model_validate({**told, **({"path": pin.at} if pin else {})}), pin


def _wants_json(item: Item) -> bool:
    return "schema" in item.more or bool(item.more.get("json"))


def _wants_a_call(item: Item) -> bool:
    return "tool" in item.more


def why_wrong(item: Item) -> str:
    """What a line of the user's file says that nothing can be measured by."""
    more, tools = item.more, item.more.get("tools", [])
    if unknown := sorted(set(more) - {"json", "schema", "tools", "tool", "arguments"}):
        return f"unknown field '{unknown[0]}': there are prompt, messages, id, json, schema, tools, tool, arguments"
    if not isinstance(tools, list) or not all(isinstance(one, dict) and _named(one) for one in tools):
        return "'tools' is a list of {type: function, function: {name, description, parameters}}"
    if "schema" in more and (why := checks.why_no_schema(more["schema"])):
        return f"'schema' is {why}"
    for tool in map(checks.function_of, tools):
        if "parameters" in tool and (why := checks.why_no_schema(tool["parameters"])):
            return f"'parameters' of the tool {tool['name']} are {why}"
    if not isinstance(more.get("json", False), bool):
        return "'json' is true or false"
    if not isinstance(more.get("arguments", {}), dict) or ("arguments" in more and "tool" not in more):
        return "'arguments' are those that 'tool' must be called with: {name: value}"
    if "tool" in more and more["tool"] not in [checks.function_of(one)["name"] for one in tools]:
        return f"'tool' names none of the tools that the prompt offers: {more['tool']!r}"
    return ""


def _named(tool: Mapping[str, Any]) -> bool:
    return isinstance(checks.function_of(tool).get("name"), str)


def _items(params: FormatParams, pin: Pin | None) -> list[Item]:
    """Ours, then the user's under ``own/``, so that no two have one id."""
    own = own_items() if params.builtin else []
    theirs = read_items(Path(pin.at), Path(pin.at).name, why_wrong) if pin else []
    return [*own, *(Item(f"own/{item.id}", item.messages, item.more) for item in theirs)]


def askable(context: StepContext, params: FormatParams, items: Sequence[Item]) -> tuple[list[Item], int]:
    """The items that this subject can be asked, and how many it cannot."""
    with_tools = [item for item in items if item.more.get("tools")]
    if not with_tools:
        return list(items), 0
    can = params.tools != "never" and takes_tools(context.inputs["model"])
    if params.tools == "always" and not can:
        raise EvaluateError(
            "the chat template takes no tools, and prompts with tools were to be asked in any case",
            why="A tool that is offered does not come into the prompt.",
            next="train with a chat template that takes tools, or write tools: auto",
        )
    if can:
        return list(items), 0
    if params.tools == "auto":
        context.note(f"the chat template takes no tools: {len(with_tools)} prompts with tools were not asked")
    asked = [item for item in items if not item.more.get("tools")]
    if not asked:
        raise EvaluateError(
            "every prompt offers tools, and the chat template takes none",
            next="add prompts without tools, or write builtin: true",
        )
    return asked, len(with_tools)


def row(item: Item, answer: Answer, params: FormatParams, control: Sequence[str]) -> dict[str, Any]:
    """One line of ``examples.jsonl``. ``wrong``: everything that is wrong with the answer, in a few words each."""
    message, more = answer.message, item.more
    said = str(message["content"])
    found = {
        "clean": "template" if checks.leaks(said, control) else "",
        "no_loop": "loop" if checks.loops(answer.text, gram=params.gram, times=params.repeats) else "",
        "stopped": "no end" if answer.finish != "stop" else "",
    }
    counted = {"answers": 1}
    if _wants_json(item):
        plain = said if not message.get("tool_calls") else answer.text
        found["json_valid"] = checks.why_not_json(plain, more.get("schema"), fenced=params.fenced)
        counted["json_items"] = 1
    if _wants_a_call(item):
        wanted = {"tool": more["tool"], "arguments": more.get("arguments", {})}
        found["tool_call"] = checks.why_wrong_call(message, wanted, more["tools"])
        counted["tool_items"] = 1
    outcome = {name: int(not why) for name, why in found.items()}
    wrong = [why for why in found.values() if why]
    told = {"id": item.id, "prompt": item.text, "answer": answer.text, "tokens": answer.tokens}
    return {**told, **counted, **outcome, "wrong": wrong}
