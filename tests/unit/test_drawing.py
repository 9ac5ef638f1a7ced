"""Graphs as nodes and edges, and as Mermaid that nobody can write into."""

from __future__ import annotations

import re
from pathlib import Path

import orjson
import pytest

from agentos_engine import drawing
from tests.unit.test_runtime_actions import workflow

KINDS = Path(drawing.__file__).parent / "kinds"
FLOW = """  input: {type: object, required: [rows], properties: {rows: {type: array, items: {type: string}}}}
  state: {seen: {type: array, items: {type: string}, default: [], reduce: extend}}
  steps:
    sort:
      classify: {text: "${input.rows[0]}", labels: {good: Good., bad: Bad.}, model: MODEL}
      onError: {Timeout: continue, Error: broken}
      next: {bad: broken}
    each:
      when: "size(input.rows) > 1"
      map: {over: "${input.rows}", as: row}
      llm: {model: MODEL, prompt: "${row}"}
    keep: {set: {seen: "${input.rows}"}}
    choose: {branch: [{when: "input.rows[0] == '<b>#1</b>\\"'", next: ask}], next: end}
    ask:
      approve: {by: [role/lead, user], show: "${state.seen}", expires: 1h}
      next: {approved: end, rejected: no, expired: no}
    no: {end: {outcome: refused}}
    broken: {fail: {error: Broken, message: sorry}}
"""


def test_a_workflow() -> None:
    drawn = drawing.graph(workflow(FLOW))
    assert [(node["id"], node["type"]) for node in drawn["nodes"]] == [
        (drawing.START, "start"), ("sort", "classify"), ("each", "llm"), ("keep", "set"), ("choose", "branch"),
        ("ask", "approve"), ("no", "end"), ("broken", "fail"), (drawing.END, "end"),
    ]  # fmt: skip
    ways = [
        (edge["from"], edge["to"], edge.get("outcome") or edge.get("when") or edge.get("error"))
        for edge in drawn["edges"]
        if edge["from"] in ("sort", "choose", "ask")
    ]
    assert ways == [
        ("sort", "each", "good, done"), ("sort", "broken", "bad"), ("sort", "each", "Timeout"),
        ("sort", "broken", "Error"), ("choose", "ask", "input.rows[0] == '<b>#1</b>\"'"),
        ("choose", drawing.END, "else"), ("ask", drawing.END, "approved"), ("ask", "no", "rejected, expired"),
    ]  # fmt: skip


def test_its_flowchart() -> None:
    lines = drawing.mermaid(drawing.graph(workflow(FLOW))).splitlines()
    assert lines[:5] == [
        "flowchart TD",
        '  n0(("start"))',
        '  n1("sort<br/>classify sort.inline")',
        '  n2("each<br/>llm each.inline<br/>for each row of ${input.rows}<br/>if size(input.rows) #62; 1")',
        '  n3["keep<br/>set seen"]',
    ]
    assert '  n1 -.->|"Error"| n7' in lines
    assert """  n4 -->|"input.rows[0] == '#60;b#62;#35;1#60;/b#62;#34;'"| n5""" in lines


@pytest.mark.parametrize("name", ["workflow", "agent"])
def test_whatever_compiles_can_be_drawn(name: str) -> None:
    golden = orjson.loads((KINDS / name / f"testdata/golden-{name}.json").read_bytes())
    bodies = [one["artifact"]["body"] for one in golden.values() if (one["artifact"] or {}).get("type") == "graph"]
    assert bodies
    for body in bodies:
        text = drawing.mermaid(drawing.graph(body))
        ids = set(re.findall(r"^  (n\d+)[^ ]", text, re.MULTILINE))
        arrows = re.findall(r"^  (n\d+) -\.?->.* (n\d+)$", text, re.MULTILINE)
        assert {end for arrow in arrows for end in arrow} <= ids
