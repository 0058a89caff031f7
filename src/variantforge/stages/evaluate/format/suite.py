"""Our own prompts for the form of answers: JSON of a schema, tool calls, and plain questions that end by themselves.

Small, fixed and made of tables, so that every version of variantforge asks the same. A suite of your own says more
about your model.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from variantforge.stages.evaluate.prompts import Item, of_text

_TEXT, _WHOLE, _TRUTH = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
_TEXTS = {"type": "array", "items": {"type": "string"}, "minItems": 1}
_WORDS = {str(_TEXT): "text", str(_WHOLE): "whole number", str(_TRUTH): "true or false", str(_TEXTS): "list of texts"}

_RECORDS: dict[str, tuple[str, dict[str, Any]]] = {
    "city": ("the city of Lisbon", {"name": _TEXT, "country": _TEXT, "on_the_sea": _TRUTH}),
    "book": ("the novel Moby-Dick", {"title": _TEXT, "author": _TEXT, "year": _WHOLE}),
    "recipe": ("a plain omelette", {"dish": _TEXT, "ingredients": _TEXTS, "minutes": _WHOLE}),
    "planet": ("the planet Mars", {"name": _TEXT, "moons": _WHOLE}),
    "animal": ("the barn owl", {"name": _TEXT, "class": _TEXT, "flies": _TRUTH}),
    "language": (
        "the programming language Python",
        {"name": _TEXT, "first_release": _WHOLE, "typed_statically": _TRUTH},
    ),
    "river": ("the river Danube", {"name": _TEXT, "length_km": _WHOLE, "countries": _TEXTS}),
    "tool": ("a hammer", {"name": _TEXT, "used_for": _TEXTS}),
    "instrument": ("the violin", {"name": _TEXT, "strings": _WHOLE}),
    "tree": ("the oak", {"name": _TEXT, "evergreen": _TRUTH}),
    "person": ("the mathematician Emmy Noether", {"name": _TEXT, "born": _WHOLE, "fields": _TEXTS}),
    "game": ("the game of chess", {"name": _TEXT, "players": _WHOLE, "board": _TRUTH}),
}
_LISTS = {
    "colours": ("three colours", {"type": "array", "items": _TEXT, "minItems": 3, "maxItems": 3}),
    "primes": ("the first four prime numbers", {"type": "array", "items": _WHOLE, "minItems": 4, "maxItems": 4}),
    "days": ("the days of the week", {"type": "array", "items": _TEXT, "minItems": 7, "maxItems": 7}),
    "seasons": ("the four seasons", {"type": "array", "items": _TEXT, "minItems": 4, "maxItems": 4}),
}
_TOOLS: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "get_weather": ("Current weather of a city", {"city": _TEXT}, ("city",)),
    "convert_currency": (
        "Converts an amount of money",
        {"amount": {"type": "number"}, "source": _TEXT, "target": _TEXT},
        ("amount", "source", "target"),
    ),
    "set_timer": ("Starts a timer", {"minutes": _WHOLE}, ("minutes",)),
    "search_books": ("Looks a book up in the catalogue", {"query": _TEXT}, ("query",)),
}
_CALLS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("What is the weather in Oslo right now?", "get_weather", {"city": "Oslo"}),
    ("Tell me the current weather in Nairobi.", "get_weather", {"city": "Nairobi"}),
    ("Is it raining in Lima at the moment?", "get_weather", {"city": "Lima"}),
    ("How much are 50 EUR in USD?", "convert_currency", {"amount": 50, "source": "EUR", "target": "USD"}),
    ("Convert 200 JPY to CHF, please.", "convert_currency", {"amount": 200, "source": "JPY", "target": "CHF"}),
    ("Set a timer for 12 minutes.", "set_timer", {"minutes": 12}),
    ("Wake me in 45 minutes.", "set_timer", {"minutes": 45}),
    ("I need a timer of five minutes for my tea.", "set_timer", {"minutes": 5}),
    ("Do you have books about beekeeping?", "search_books", {}),
    ("Look up books on the history of Iceland.", "search_books", {}),
)
_PLAIN = {
    "greeting": "Hello! How are you today?",
    "capital": "What is the capital of Japan? Answer in one sentence.",
    "rainbow": "Explain in two or three sentences how a rainbow comes about.",
    "bread": "List the steps of baking a simple loaf of bread, five at most.",
    "email": "Write a short, polite e-mail that moves a meeting from Monday to Tuesday.",
    "python": "Write a Python function that returns the sum of a list of numbers.",
    "poem": "Write a poem of four lines about the sea.",
    "compare": "What is the difference between a list and a tuple in Python?",
    "translate": "Translate into German: The library opens at nine o'clock.",
    "chinese": "用一句话解释为什么天空是蓝色的。",
    "table": "Make a Markdown table with three fruits and their colours.",
    "no": "Is 17 an even number? Answer yes or no.",
}


def items() -> list[Item]:
    return [*_json(), *_tool_calls(), *_others()]


def _json() -> Iterator[Item]:
    for name, (subject, fields) in _RECORDS.items():
        keys = ", ".join(f"{key} ({_WORDS[str(kind)]})" for key, kind in fields.items())
        schema = {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
        asked = f"Describe {subject} as one JSON object with exactly these keys: {keys}."
        yield of_text(f"json/{name}", f"{asked} {_ONLY_JSON}", schema=schema)
    for name, (subject, schema) in _LISTS.items():
        yield of_text(f"json/{name}", f"Give {subject} as one JSON array. {_ONLY_JSON}", schema=schema)


_ONLY_JSON = "Answer with the JSON alone: no explanation and no code fence."


def _tool_calls() -> Iterator[Item]:
    for number, (text, tool, arguments) in enumerate(_CALLS, 1):
        yield of_text(f"tool/{number}", text, tools=tools(), tool=tool, arguments=arguments)


def tools() -> list[dict[str, Any]]:
    return [
        {
            "type": "function",
            "function": {
                "name": name,
                "description": told,
                "parameters": {"type": "object", "properties": fields, "required": list(required)},
            },
        }
        for name, (told, fields, required) in _TOOLS.items()
    ]


def _others() -> Iterator[Item]:
    for name, text in _PLAIN.items():
        yield of_text(f"plain/{name}", text)
    first = {"role": "user", "content": "My name is Ada and I like maps."}
    second = {"role": "assistant", "content": "Nice to meet you, Ada. Maps are wonderful."}
    yield Item("plain/turns", (first, second, {"role": "user", "content": "What did I say I like?"}))
