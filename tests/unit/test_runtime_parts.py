"""The parts a run is made of: values, errors, retries, meters, redaction, the scripted model."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from agentos_engine import artifacts
from agentos_engine.runtime import errors, limits, models, retry, scripted, scrub, structured, values

NODE = {
    "Node": {
        "type": "object",
        "properties": {"v": {"type": "number"}, "next": {"$ref": "#/$defs/Node"}},
        "additionalProperties": {"type": "integer"},
    }
}


@pytest.mark.parametrize(
    ("schema", "value", "shaped"),
    [
        ({"type": "number"}, 1, 1.0),
        ({"type": ["number", "null"]}, None, None),
        ({"type": "integer"}, 2.0, 2),
        ({"anyOf": [{"type": "number"}, {"type": "null"}]}, 3, 3.0),
        ({"type": "array", "items": {"type": "number"}}, [1, 2.5], [1.0, 2.5]),
        ({"type": "object", "properties": {"a": {"default": []}, "b": {}}}, {}, {"a": [], "b": None}),
        ({"type": "object", "properties": {"a": {"type": "string"}}}, {"a": None, "x": 1}, {"x": 1, "a": None}),
        ({"$ref": "#/$defs/Node"}, {"v": 1, "next": {"v": 2, "k": 1.0}},
         {"v": 1.0, "next": {"v": 2.0, "next": None, "k": 1}}),
        ({"allOf": [{"properties": {"a": {"type": "number"}}}, {"properties": {"b": {"default": 1}}}]}, {"a": 1},
         {"a": 1.0, "b": 1}),
        (True, {"a": 1}, {"a": 1}),
    ],
)  # fmt: skip
def test_values_take_the_shape_of_their_schema(schema: Any, value: Any, shaped: Any) -> None:
    before = repr(value)
    found = values.schema_of(schema, NODE).accept(value, "x", "InvalidInput")
    assert artifacts.canonical(found) == artifacts.canonical(shaped)  # tells 1.0 from 1
    assert repr(value) == before


def test_defaults_are_not_shared() -> None:
    schema = values.Schema({"type": "object", "properties": {"a": {"type": "array", "default": []}}})
    schema.accept({}, "x", "InvalidInput")["a"].append(1)
    assert schema.accept({}, "x", "InvalidInput") == {"a": []}


def test_a_value_that_does_not_fit_says_where() -> None:
    schema = values.Schema({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string"}}}})
    with pytest.raises(errors.RunError, match=r"with\.a\[1\]: 2 is not of type"):
        schema.accept({"a": ["x", 2]}, "with", "InvalidInput")


def test_null_is_no_value_of_a_required_property() -> None:
    schema = values.Schema({"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}})
    with pytest.raises(errors.RunError):
        schema.accept({"a": None}, "x", "InvalidInput")


def test_schemas_never_fetch() -> None:
    with pytest.raises(ValueError):
        values.Schema({"$ref": "http://127.0.0.1:1/schema.json"})


def test_every_class_descends_from_error() -> None:
    for name in (*errors.CLASSES, "MyOwn"):
        assert errors.lineage(name)[-1] == "Error"
    assert errors.lineage("BudgetExceeded") == ("BudgetExceeded", "LimitExceeded", "Error")
    assert errors.route({"Error": "a", "LimitExceeded": "b"}, "BudgetExceeded") == "b"
    assert errors.route({"Timeout": "a"}, "MyOwn") == "fail"


def test_an_error_survives_json() -> None:
    error = errors.RunError("Timeout", "late", "a[1]", {"x": 1})
    assert errors.RunError.of_json(error.as_json()).as_json() == error.as_json()


async def attempted(policy: retry.Policy, *failures: errors.RunError) -> tuple[Any, list[float]]:
    left, waits = list(failures), []

    async def attempt(number: int) -> int:
        if left:
            raise left.pop(0)
        return number

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    try:
        result: Any = await retry.run(
            policy, attempt, sleep=sleep, chance=lambda: 0.5, failed=lambda number, error, wait: None
        )
    except errors.RunError as error:
        result = error.class_
    return result, waits


async def test_retries_wait_longer_each_time_up_to_a_bound() -> None:
    policy = retry.Policy.of({"attempts": 5, "backoff": "exponential", "delayMs": 1000, "maxDelayMs": 3000})
    late = errors.RunError("Timeout", "late")
    assert await attempted(policy, late, late, late) == (4, [0.75, 1.5, 2.25])
    assert await attempted(policy, *[late] * 5) == ("Timeout", [0.75, 1.5, 2.25, 2.25])
    fixed = retry.Policy.of({"attempts": 3, "backoff": "fixed", "delayMs": 1000})
    assert await attempted(fixed, late, late) == (3, [0.75, 0.75])


async def test_only_named_classes_are_retried_and_never_limits() -> None:
    policy = retry.Policy.of({"attempts": 3, "on": ["Error"]})
    assert await attempted(policy, errors.RunError("MyOwn", "x")) == (2, [0.75])
    assert await attempted(retry.MODEL, errors.RunError("BadRequest", "x")) == ("BadRequest", [])
    assert await attempted(retry.ONCE, errors.RunError("Timeout", "x")) == ("Timeout", [])
    meter = limits.Meter(limits.caps({"tokens": 1}))
    meter.charge(limits.TOKENS, 1)
    with pytest.raises(errors.RunError) as used_up:
        meter.check()
    assert await attempted(policy, used_up.value) == ("BudgetExceeded", [])


async def test_servers_are_waited_for_within_reason() -> None:
    assert await attempted(retry.MODEL, errors.RunError("RateLimited", "x", retry_after=42)) == (2, [42])
    assert await attempted(retry.MODEL, errors.RunError("RateLimited", "x", retry_after=1e6)) == ("RateLimited", [])


def test_a_meter_charges_everything_it_runs_in() -> None:
    run = limits.Meter(limits.caps({"tokens": 100}), [1, 0, 40, 0, 0])
    sub = limits.Meter(limits.caps({"tokens": 50}), [0, 0, 20, 0, 0], run, "sub/")
    assert run.spent[limits.TOKENS] == 60
    sub.charge(limits.TOKENS, 25)
    sub.check()
    assert (run.spent[limits.TOKENS], run.delta[limits.TOKENS], sub.delta[limits.TOKENS]) == (85, 45, 25)
    # The next node of the same called graph begins with what its channel holds, which is counted already.
    again = limits.Meter(limits.caps({"tokens": 50}), [0, 0, 45, 0, 0], run, "sub/")
    assert run.spent[limits.TOKENS] == 85
    again.charge(limits.TOKENS, 5)
    with pytest.raises(errors.RunError) as raised:
        again.check()
    assert raised.value.limit is again
    again.charge(limits.TOKENS, 10)
    again = limits.Meter(limits.UNLIMITED, [0, 0, 60, 0, 0], run, "sub/")
    with pytest.raises(errors.RunError) as raised:
        again.check()
    assert raised.value.limit is run


@pytest.mark.parametrize("before", ["", "a", "ab", "abc"])
def test_a_secret_is_found_inside_base64_of_more(before: str) -> None:
    import base64

    secret = "canary-0123456789"
    shown = base64.b64encode(f"{before}{secret}zz".encode()).decode()
    assert scrub.MASK in scrub.scrubber([secret])(shown)


def test_ordinary_text_is_left_alone() -> None:
    clean = scrub.scrubber(["canary-0123456789", "ab", ""])
    assert clean("about cabs and canaries") == "about cabs and canaries"


def test_prices_are_per_million_tokens() -> None:
    body = {
        "name": "m",
        "provider": "scripted",
        "price": {"input": 3.0, "output": 15.0, "cachedInput": 0.3, "reasoning": 10},
    }
    usage: Any = {
        "input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100,
        "input_token_details": {"cache_read": 900}, "output_token_details": {"reasoning": 40},
    }  # fmt: skip
    assert models.Model(body).cost_micros(usage) == 100 * 3 + 900 * 0.3 + 60 * 15 + 40 * 10
    assert models.Model({**body, "price": None}).cost_micros(usage) == 0


def test_objects_are_found_in_what_models_write() -> None:
    schema = values.Schema({"type": "object", "required": ["a"]})
    for text in ('{"a": 1}', 'Sure:\n```json\n{"a": 1}\n```\nDone.', 'The answer is {"a": 1}.'):
        assert structured.parse(text, schema) == {"a": 1}
    for text in ("a is 1", '{"b": 1}', ""):
        with pytest.raises(errors.RunError) as raised:
            structured.parse(text, schema)
        assert raised.value.class_ == "InvalidOutput"
    assert structured.parse("plain", values.Schema({"type": "string"})) == "plain"


RULES = [
    {"when": "input == 'tools'", "text": "using", "toolCalls": [{"name": "${tools[0]}", "args": {"n": "${turn}"}}]},
    {"when": "size(results) > 0", "text": "got ${results[0].x}"},
    {"when": "input == 'object'", "output": {"system": "${system}"}},
    {"text": "${size(messages)} ${input}", "usage": {"input": 3, "output": 4}},
]
SEARCH = {"type": "function", "function": {"name": "search", "description": "", "parameters": {"type": "object"}}}


async def test_a_scripted_model_is_a_chat_model() -> None:
    model = scripted.ScriptedModel(script=scripted.Script("s", RULES))
    first = await model.ainvoke([HumanMessage("a"), AIMessage("b"), HumanMessage("c d")])
    assert (first.content, first.usage_metadata) == (
        "3 c d", {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7},
    )  # fmt: skip
    assert (await model.ainvoke([SystemMessage("S"), HumanMessage("object")])).content == '{"system":"S"}'
    bound = model.bind_tools([SEARCH])
    called = await bound.ainvoke([HumanMessage("tools")])
    assert called.tool_calls == [{"name": "search", "args": {"n": 0}, "id": "call_1", "type": "tool_call"}]
    streamed: Any = None
    pieces = []
    async for chunk in bound.astream([HumanMessage("tools")]):
        pieces.append(chunk.content)
        streamed = chunk if streamed is None else streamed + chunk
    assert streamed.tool_calls == called.tool_calls
    async for chunk in model.astream([HumanMessage("c d")]):
        pieces.append(chunk.content)
    assert [piece for piece in pieces if piece] == ["using", "1", " c", " d"]
    answered = await model.ainvoke([HumanMessage("x"), called, ToolMessage('{"x": 5}', tool_call_id="call_1")])
    assert answered.content == "got 5"


async def test_a_scripted_model_serves_many_at_once() -> None:
    script = scripted.Script("s", [{"text": "${input}", "delayMs": 1}])
    answers = await asyncio.gather(*[script.answer([HumanMessage(str(n))], []) for n in range(100)])
    assert [answer.content for answer in answers] == [str(n) for n in range(100)]


async def test_a_script_without_an_answer_says_so() -> None:
    with pytest.raises(errors.RunError, match="no rule of the scripted model s holds for 'x'"):
        await scripted.Script("s", [{"when": "input == 'y'", "text": ""}]).answer([HumanMessage("x")], [])
    with pytest.raises(errors.RunError, match="script of model s"):
        await scripted.Script("s", [{"text": "${results[3]}"}]).answer([HumanMessage("x")], [])


def test_recordings_and_errors_do_not_bring_langgraph() -> None:
    names = ("cassette", "errors", "retry", "scrub", "services", "values")
    code = "import sys, os\n" + "".join(f"import agentos_engine.runtime.{name}\n" for name in names)
    code += "print([m for m in sys.modules if m.startswith('lang')], os.environ['LANGGRAPH_STRICT_MSGPACK'])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_here())
    assert shown.stdout.strip() == "[] true"


def _here() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
