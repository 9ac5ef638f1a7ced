"""What the compiler makes of manifests runs: the repository's own, offline, and the forms they do not use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agentos_engine import compile as compiler
from agentos_engine import kind, load, model, resolve
from agentos_engine.runtime import cassette, errors, graphs, lg
from tests.support import world as worlds

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver  # isort: skip

ROOT = Path(__file__).parents[2]


def compiled(files: dict[str, bytes]) -> tuple[worlds.World, dict[str, str]]:
    """A world with the artifacts of `files`, and their digests by ``Kind/name``."""
    manifests: list[model.Manifest] = []
    for path, data in files.items():
        if path.endswith(".yaml") and b"apiVersion" in data:
            file = load.load(data)
            assert not file.diagnostics, file.diagnostics
            manifests += [manifest.at(path) for manifest in file.manifests]
    resolution = resolve.resolve(manifests, platform=True)
    assert not resolution.diagnostics, resolution.diagnostics
    world = worlds.World()
    digests: dict[str, str] = {}
    linked: dict[model.ResourceRef, kind.Linked] = {}
    for manifest in resolution.order:
        texts, wrong = resolve.read_files(manifest, lambda path: files.get(path))
        assert not wrong, wrong
        done = compiler.compile(manifest, linked, texts)
        assert done.ok, done.diagnostics
        linked[manifest.ref] = done.linked
        if done.artifact is not None:
            world.bodies[done.artifact.digest] = done.artifact.body
            digests[str(manifest.ref)] = done.artifact.digest
    return world, digests


@pytest.fixture(scope="module")
def showcase() -> tuple[worlds.World, dict[str, str]]:
    files = {
        str(path.relative_to(ROOT)): path.read_bytes()
        for folder in ("agents", "connectors", "workflows")
        for path in sorted((ROOT / folder).rglob("*"))
        if path.is_file()
    }
    world, digests = compiled(files)
    tapes = [cassette.parse(path.read_bytes(), path.name) for path in sorted((ROOT / "cassettes").glob("*.yaml"))]
    world.cassette = cassette.Cassette([exchange for tape in tapes for exchange in tape])
    return world, digests


async def test_the_budget_review_asks_and_applies(showcase: Any, tmp_path: Path) -> None:
    world, digests = showcase
    record = worlds.Record()
    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "run.db")) as saver:
        graph = await graphs.build(digests["Workflow/budget-review"], world, saver)
        paused = await graph.ainvoke({"input": {"account": "100200300"}}, worlds.config(world, record))
        (question,) = paused["__interrupt__"]
        assert question.value["by"] == ["role/marketing-lead"]
        answer = {"decision": "approved", "value": None, "by": "ada", "at": "2026-11-22T10:00:00Z", "comment": None}
        done = await graph.ainvoke(lg.Command(resume={question.id: answer}), worlds.config(world, record))
    assert done["outcome"] == "done"
    assert done["output"]["reviewed"] == 3
    assert len(done["output"]["raised"]) == len(question.value["show"]) > 0
    assert record.total("cost_micros") > 0
    assert world.hosts == []


async def test_support_triage_opens_a_ticket_for_what_is_urgent(showcase: Any) -> None:
    world, digests = showcase
    record = worlds.Record()
    graph = await graphs.build(digests["Workflow/support-triage"], world)
    given = {"email": "grace@example.com", "message": "My invoice is wrong"}
    done = await graph.ainvoke({"input": given}, worlds.config(world, record))
    assert done["output"]["urgency"] == "HIGH"
    assert done["output"]["ticket"] == "7701"
    assert record.states("ticket") == ["running", "succeeded"]


IN_PLACE = """
apiVersion: agentos/v1
kind: Workflow
metadata: {name: in-place}
spec:
  input: {type: object, properties: {topic: {type: string}, price: {type: number}}}
  state: {total: {type: number, default: 1, reduce: sum}}
  steps:
    think:
      agent:
        model: {provider: scripted, script: [{text: "${system} ${input}"}]}
        instructions: "On ${input.topic}:"
      with: {topic: "${input.topic}"}
    add: {set: {total: "${input.price * 2}"}}
    say:
      llm:
        model: {provider: scripted, script: [{output: {n: 3}}]}
        prompt: "${steps.think.output}"
        output: {$ref: "#/$defs/N"}
    ended:
      end:
        outcome: told
        output: {text: "${steps.think.output}", n: "${steps.say.output.n}", total: "${state.total}"}
  $defs: {N: {type: object, properties: {n: {type: number}, m: {type: string}}}}
"""


async def test_what_is_written_in_place_runs() -> None:
    world, digests = compiled({"workflows/a.yaml": IN_PLACE.encode()})
    graph = await graphs.build(digests["Workflow/in-place"], world)
    done = await graph.ainvoke({"input": {"topic": "tea", "price": 3}}, worlds.config(world))
    assert done == {"output": {"text": "On tea: tea", "n": 3.0, "total": 7.0}, "outcome": "told"}


REPLAYED = """
apiVersion: agentos/v1
kind: Agent
metadata: {name: clerk}
spec:
  model: {provider: replay, name: some-model, cassette: {file: tape.yaml}}
  instructions: Help.
"""
TAPE = """
version: 1
exchanges:
- kind: model
  target: inline
  request: {system: Help., messages: [{role: human, text: hi}], tools: []}
  response: {text: hello}
"""


async def test_a_model_that_replays_answers_from_its_own_recording() -> None:
    world, digests = compiled({"agents/a.yaml": REPLAYED.encode(), "agents/tape.yaml": TAPE.encode()})
    graph = await graphs.build(digests["Agent/clerk"], world)
    assert (await graph.ainvoke({"input": {"message": "hi"}}, worlds.config(world)))["output"] == "hello"
    with pytest.raises(errors.RunError, match="nearest recorded request is"):
        await graph.ainvoke({"input": {"message": "hm"}}, worlds.config(world))
