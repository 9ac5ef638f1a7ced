"""What the compiler writes, the runtime runs: manifests in, outputs out."""

from __future__ import annotations

from typing import Any

from agentos_engine.runtime import graphs
from tests.support import tree, world

MODEL = tree.manifest(
    "Model",
    "fast",
    """
  provider: scripted
  script:
    - {when: input.contains('12'), output: {score: 4}}
    - {when: input.contains('word'), text: "heard ${input}"}
    - {output: {score: 1}}
""",
)
JUDGE = tree.manifest(
    "Agent",
    "judge",
    """
  model: fast
  instructions: Judge ${input.n}.
  input: {type: object, required: [n], properties: {n: {type: integer}}}
  output: {type: object, required: [score], properties: {score: {type: number}}}
""",
)
WORKFLOW = tree.manifest(
    "Workflow",
    "review",
    """
  input:
    type: object
    required: [numbers]
    properties: {numbers: {type: array, items: {type: integer}}, factor: {type: number, default: 2}}
  state:
    total: {type: number, reduce: sum}
    seen: {type: array, items: {type: number}, reduce: append}
  steps:
    judge:
      map: {over: "${input.numbers}", as: n, at: place}
      agent: judge
      with: {n: "${n}"}
      set: {total: "${output.score * input.factor}", seen: "${output.score + place}"}
    word:
      when: size(input.numbers) > 1
      agent: {model: fast, instructions: "Say ${input.word}"}
      with: {word: "word ${state.total}"}
    decide:
      branch: [{when: state.total / 2 > 3, next: big}]
    small: {end: small}
    big: {end: {outcome: big, output: {total: "${state.total}", half: "${state.total / 2}"}}}
  output: {total: "${state.total}", word: "${steps.word.output == null ? 'none' : steps.word.output}", first: "${first(state.seen)}"}
""",  # noqa: E501
)


async def run(given: Any) -> dict[str, Any]:
    compiled = tree.compile_text(MODEL, JUDGE, WORKFLOW)
    assert compiled.diagnostics == []
    here = world.World(
        {one.digest: one.artifact.body for one in compiled.compiled.values() if one.artifact is not None}
    )
    graph: Any = await graphs.build(compiled.compiled["Workflow/review"].digest, here, graphs=graphs.Graphs())
    answer: dict[str, Any] = await graph.ainvoke({"input": given}, world.config(here))
    return answer


async def test_a_map_an_agent_in_place_and_a_named_end() -> None:
    answer = await run({"numbers": [12, 12]})
    assert answer == {"output": {"total": 16.0, "half": 8.0}, "outcome": "big"}


async def test_a_skipped_step_and_the_workflows_own_output() -> None:
    answer = await run({"numbers": [1], "factor": 1})
    assert answer == {"output": {"total": 1.0, "word": "none", "first": 1.0}, "outcome": "small"}


async def test_an_agent_in_place_answers() -> None:
    answer = await run({"numbers": [1, 2], "factor": 0.5})
    assert answer["output"]["word"].startswith("heard ")
