"""Compiling workflows: routes, scopes, types, arguments, and where mistakes are shown."""

from __future__ import annotations

import pytest

from tests.support.tree import Tree, compile_text, manifest

ADS = manifest(
    "Connector",
    "ads",
    """
  http: {baseUrl: "https://ads.example/v1"}
  operations:
    pull:
      effect: read
      request: GET /{account}
      input: {type: object, required: [account], properties: {account: {type: string}, level: {enum: [ad, campaign]}}}
      output: {type: object, required: [rows], properties: {rows: {type: array, items: {$ref: "#/$defs/Row"}}}}
    push:
      effect: write
      request: POST /budget
      body: {budget: "${input.budget}"}
      input: {type: object, required: [budget], properties: {budget: {type: number}}}
    pay:
      effect: destructive
      request: POST /pay
      idempotency: Idempotency-Key
      input: {type: object, properties: {}}
  $defs:
    Row:
      type: object
      required: [id, spend]
      properties: {id: {type: string}, spend: {type: number}, n: {type: integer}}
""",
)
FAST = manifest("Model", "fast", "  {provider: scripted, script: [{text: hi}], price: {input: 1, output: 2}}")
JUDGE = manifest(
    "Agent",
    "judge",
    """
  model: fast
  instructions: Judge ${input.row}.
  input: {type: object, required: [row], properties: {row: {type: object}}}
  output: {type: object, required: [raise], properties: {raise: {type: number}, why: {type: string}}}
""",
)
CHILD = manifest(
    "Workflow",
    "child",
    """
  input: {type: object, required: [n], properties: {n: {type: integer}}}
  steps:
    decide: {branch: [{when: input.n > 3, next: many}], next: end}
    many: {end: {outcome: tooMany, output: {n: "${input.n}"}}}
  output: {n: 0}
""",
)
INPUT = """
  input:
    type: object
    required: [account, n]
    properties: {account: {type: string}, n: {type: integer}, ratio: {type: number, default: 0.5}, note: {type: string}}
"""
FIRST_STEP_LINE = 11


def workflow(steps: str, rest: str = "") -> Tree:
    """A workflow named w whose steps begin in line 11 of b.yaml."""
    text = manifest("Workflow", "w", INPUT + f"  {rest or 'state: {}'}\n  steps:\n" + steps.strip("\n"))
    return compile_text(ADS, text, JUDGE, FAST, CHILD)


def test_routes_are_made_explicit() -> None:
    tree = workflow("""
    pull: {connector: ads.pull, with: {account: a}}
    check: {branch: [{when: input.n > 1, next: ask}]}
    ask: {approve: {by: role/lead, show: 1}, next: {rejected: no}, onError: {Timeout: continue}}
    call: {workflow: child, with: {n: 1}, next: {tooMany: no}, onError: no}
    last: {connector: ads.pull, with: {account: a}}
    no: {end: refused}
""")
    assert tree.errors == []
    body = tree.body("Workflow/w")
    assert {step["id"]: step["next"] for step in body["steps"]} == {
        "pull": {"done": "check"},
        "check": {"done": "ask"},
        "ask": {"approved": "call", "rejected": "no"},
        "call": {"done": "last", "tooMany": "no"},
        "last": {"done": "no"},
        "no": {},
    }
    assert tree.step("Workflow/w", "ask")["onError"] == {"Timeout": "continue"}
    assert tree.step("Workflow/w", "call")["onError"] == {"Error": "no"}
    assert (body["entry"], body["outcomes"], body["effect"]) == ("pull", ["done", "refused"], "read")


def test_the_last_step_falls_through_to_the_end() -> None:
    tree = workflow("    pull: {connector: ads.pull, with: {account: a}}")
    assert tree.step("Workflow/w", "pull")["next"] == {"done": "end"}


def test_callees_are_pinned_and_models_folded() -> None:
    tree = workflow("""
    pull: {connector: ads.pull, with: {account: a}}
    think: {llm: {model: fast, prompt: "Say ${steps.pull.output.rows}"}}
    own: {llm: {model: {provider: scripted, script: [{text: x}]}, prompt: Hello}}
    call: {workflow: child, with: {n: 1}}
""")
    body = tree.body("Workflow/w")
    assert body["uses"] == {name: tree.compiled[name].digest for name in ("Connector/ads", "Workflow/child")}
    assert list(body["models"]) == ["fast", "own.inline"]
    assert body["models"]["fast"]["price"] == {"input": 1.0, "output": 2.0, "cachedInput": 1.0, "reasoning": 2.0}


def test_numbers_are_converted_in_the_artifact() -> None:
    tree = workflow("    a: {connector: ads.push, when: input.n * input.ratio > 1, with: {budget: '${input.n / 2}'}}")
    assert tree.errors == []
    step = tree.step("Workflow/w", "a")
    assert step["when"] == "double(input.n) * double(input.ratio) > 1.0"


def test_conversions_are_inserted_beside_warnings() -> None:
    tree = workflow("    a: {set: {x: '${size(input.note) * input.ratio}'}}", "state: {x: {type: number}}")
    assert [code for code, _, _ in tree.warnings] == ["MayBeNull"]
    assert tree.step("Workflow/w", "a")["set"] == {"x": "${double(size(input.note)) * double(input.ratio)}"}


@pytest.mark.parametrize(
    ("expression", "code", "column"),
    [
        ("input.accont", "UnknownField", 6),
        ("inptu.account", "UnknownName", 0),
        ("steps.b.output.x", "UnknownField", 6),
        ("steps.nope.output", "UnknownField", 6),
        ("now + input.n", "TypeMismatch", 0),
        ("siez(input.account)", "UnknownFunction", 0),
        ("input.account +", "ExpressionSyntax", None),
    ],
)
def test_mistakes_in_expressions_are_shown_where_they_are(expression: str, code: str, column: int | None) -> None:
    tree = workflow(f"    a: {{set: {{x: '${{{expression}}}'}}}}\n    b: {{set: {{x: 1}}}}", "state: {x: {}}")
    (found,) = [found for found in tree.diagnostics if found.is_error]
    assert (found.code, found.path, found.line) == (code, "b.yaml", FIRST_STEP_LINE)
    if column is not None:
        assert found.column == len("    a: {set: {x: '${") + column + 1


def test_a_later_step_is_told_apart_from_an_unknown_one() -> None:
    tree = workflow("    a: {set: {x: '${steps.b.output}'}}\n    b: {set: {x: 1}}", "state: {x: {}}")
    assert tree.diagnostics[0].message == "step 'b' never runs before this one"


def test_mistakes_in_a_block_text_are_shown_in_their_line() -> None:
    tree = workflow("""
    a:
      llm:
        model: fast
        prompt: |
          Hello ${input.account},
            you have ${input.nn} ads.
""")
    assert tree.errors == [("UnknownField", FIRST_STEP_LINE + 5, len("            you have ${input.") + 1)]


def test_a_bare_condition_with_a_template_says_so() -> None:
    tree = workflow("    a: {when: '${input.n > 1}', set: {x: 1}}", "state: {x: {}}")
    (found,) = tree.diagnostics
    assert found.code == "ExpressionSyntax"
    assert found.hint is not None
    assert "${" in found.hint


def test_a_condition_must_decide() -> None:
    tree = workflow("    a: {when: input.n, set: {x: 1}}", "state: {x: {}}")
    assert tree.errors == [("NotBoolean", FIRST_STEP_LINE, len("    a: {when: ") + 1)]


def test_a_skipped_step_has_no_output_until_it_is_tested() -> None:
    steps = "    a: {{when: input.n > 1, connector: ads.pull, with: {{account: x}}}}\n    b: {{set: {{x: '{}'}}}}"
    bad = workflow(steps.format("${steps.a.output.rows}"), "state: {x: {}}")
    assert [code for code, _, _ in bad.errors] == ["MayBeNull"]
    tested = "${steps.a.output == null ? [] : steps.a.output.rows}"
    assert workflow(steps.format(tested), "state: {x: {}}").errors == []


def test_a_step_on_only_one_way_has_no_sure_output_after_the_ways_meet() -> None:
    tree = workflow("""
    decide: {branch: [{when: input.n > 1, next: last}]}
    pull: {connector: ads.pull, with: {account: x}}
    last: {connector: ads.push, with: {budget: "${steps.pull.output.rows[0].spend}"}}
""")
    assert [code for code, _, _ in tree.errors] == ["MayBeNull"]


def test_a_failed_step_that_is_continued_over_has_no_sure_output() -> None:
    tree = workflow("""
    pull: {connector: ads.pull, with: {account: x}, onError: continue}
    last: {connector: ads.push, with: {budget: "${steps.pull.output.rows[0].spend}"}}
""")
    assert [code for code, _, _ in tree.errors] == ["MayBeNull"]


def test_a_value_that_may_be_null_by_its_schema_is_a_warning() -> None:
    tree = workflow("""
    pull: {connector: ads.pull, with: {account: x}}
    last: {connector: ads.push, with: {budget: "${steps.pull.output.rows[0].n + 1}"}}
""")
    assert (tree.errors, [code for code, _, _ in tree.warnings]) == ([], ["MayBeNull"])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("with: {account: a, levl: ad}", ("InvalidArgument", "levl")),
        ("with: {account: a, level: ads}", ("InvalidArgument", "ads}")),
        ("with: {account: '${input.n}'}", ("InvalidArgument", "'${input.n}'")),
        ("with: {level: ad}", ("InvalidArgument", "{level")),
        ("limits: {timeout: 1s}", ("InvalidArgument", "ads.pull")),
    ],
)
def test_arguments_are_checked_against_the_callee(arguments: str, expected: tuple[str, str]) -> None:
    line = f"    a: {{connector: ads.pull, {arguments}}}"
    code, where = expected
    assert workflow(line).errors == [(code, FIRST_STEP_LINE, line.index(where) + 1)]


def test_an_unknown_argument_is_answered_with_the_right_one() -> None:
    tree = workflow("    a: {connector: ads.pull, with: {account: a, levl: ad}}")
    assert tree.diagnostics[0].hint == "Did you mean 'level'?"


def test_unknown_operations_and_outcomes() -> None:
    tree = workflow("""
    a: {connector: ads.pul, with: {account: a}}
    b: {workflow: child, with: {n: 1}, next: {tooMuch: end}}
""")
    assert [(found.code, found.hint) for found in tree.diagnostics] == [
        ("UnknownOperation", "Did you mean 'pull'?"),
        ("UnknownOutcome", "It has done, tooMany."),
    ]


def test_map_gives_each_item_its_type_and_collects_a_list() -> None:
    tree = workflow("""
    pull: {connector: ads.pull, with: {account: a}}
    judge:
      map: {over: "${steps.pull.output.rows}", as: row, at: place, concurrency: 3, errors: collect}
      agent: judge
      with: {row: "${row}"}
      set: {best: "${output.raise * place}"}
    last: {connector: ads.push, with: {budget: "${steps.judge.output[0].raise}"}}
    wrong: {connector: ads.push, with: {budget: "${row.spend}"}}
""", "state: {best: {type: number, reduce: max}}")  # fmt: skip
    assert [(code, line) for code, line, _ in tree.errors] == [("UnknownName", FIRST_STEP_LINE + 7)]
    assert [code for code, _, _ in tree.warnings] == ["MayBeNull"]


def test_map_wants_a_list() -> None:
    tree = workflow("    a: {map: {over: '${input.n}'}, agent: judge, with: {row: {}}}")
    assert [code for code, _, _ in tree.errors] == ["TypeMismatch"]


@pytest.mark.parametrize(
    ("field", "value", "fits"),
    [
        ("{type: array, items: {type: integer}, reduce: append}", "${input.n}", True),
        ("{type: array, items: {type: integer}, reduce: append}", "${input.account}", False),
        ("{type: array, items: {type: integer}, reduce: extend}", "${[input.n]}", True),
        ("{type: array, items: {type: integer}, reduce: extend}", "${input.n}", False),
        ("{type: number, reduce: sum}", "${input.n}", True),
        ("{type: integer, reduce: sum}", "${input.ratio}", False),
        ("{type: string}", "n is ${input.n}", True),
        ("{type: string}", "${input.n}", False),
        ("{type: object, required: [a], properties: {a: {type: integer}, b: {type: string}}, reduce: merge}",
         "${{'b': 'x'}}", True),
        ("{enum: [low, high]}", "high", True),
        ("{enum: [low, high]}", "height", False),
    ],
)  # fmt: skip
def test_writes_to_the_state_fit_its_types(field: str, value: str, fits: bool) -> None:
    tree = workflow(f'    a: {{set: {{x: "{value}"}}}}', f"state: {{x: {field}}}")
    assert [code for code, _, _ in tree.errors] == ([] if fits else ["TypeMismatch"])


def test_state_begins_at_its_default_or_at_the_reducers() -> None:
    tree = workflow(
        "    a: {set: {list: 1, total: 1, last: x}}",
        "state: {list: {reduce: append}, total: {type: number, default: 5, reduce: sum}, last: {type: string}}",
    )
    fields = tree.body("Workflow/w")["state"]
    assert {name: field["default"] for name, field in fields.items()} == {"list": [], "total": 5, "last": None}


def test_an_undeclared_field_of_the_state() -> None:
    tree = workflow("    a: {set: {y: 1}}", "state: {x: {}}")
    assert [code for code, _, _ in tree.errors] == ["UnknownField"]


def test_retries_are_the_defaults_of_what_is_called() -> None:
    tree = workflow("""
    pull: {connector: ads.pull, with: {account: a}}
    pay: {connector: ads.pay, retry: {attempts: 2, delay: 5s}}
    push: {connector: ads.push, with: {budget: 1}}
    named: {connector: ads.push, with: {budget: 1}, retry: {on: [Timeout]}}
    lost: {connector: ads.push, with: {budget: 1}, retry: {attempts: 2}}
    think: {llm: {model: fast, prompt: Hi}}
""")
    steps = {step["id"]: step.get("retry") for step in tree.body("Workflow/w")["steps"]}
    transient = ["RateLimited", "Timeout", "Unavailable"]
    default = {"attempts": 3, "backoff": "exponential", "delayMs": 1000, "maxDelayMs": 30000, "on": transient}
    assert steps == {
        "pull": default,
        "pay": {**default, "attempts": 2, "delayMs": 5000},
        "push": None,
        "named": {**default, "on": ["Timeout"]},
        "lost": None,
        "think": default,
    }
    assert [code for code, _, _ in tree.warnings] == ["InvalidStep"]


def test_the_interface_has_types_outcomes_and_the_highest_effect() -> None:
    tree = workflow(
        """
    ask: {approve: {by: [user, role/lead], show: {total: "${input.n}"}, expires: 2h}, next: {rejected: no, expired: no}}
    push: {connector: ads.push, with: {budget: "${steps.ask.output.value.total}"}}
    stop: {end: done}
    no: {end: {outcome: refused, output: {ok: false}}}
""",
        "output: {ok: true, count: '${input.n}'}",
    )
    assert tree.errors == []
    seen = tree.compiled["Workflow/w"].interface
    assert (seen["outcomes"], seen["effect"]) == (["done", "refused"], "write")
    assert seen["output"]["properties"]["ok"] == {"type": "boolean"}
    ask = tree.step("Workflow/w", "ask")
    assert (ask["by"], ask["expiresMs"], ask["quorum"]) == (["user", "role/lead"], 7_200_000, 1)


def test_an_agent_in_place_sees_its_arguments() -> None:
    tree = workflow("""
    a:
      agent: {model: fast, instructions: "At ${input.row.spend} and ${input.nothing}", tools: {ads: {connector: ads}}}
      with: {row: {spend: 1}}
""")
    assert [code for code, _, _ in tree.errors] == ["UnknownField"]
    good = workflow("""
    a: {agent: {model: fast, instructions: "Look at ${input.row}", tools: {ads: {connector: ads}}}, with: {row: 1}}
""")
    step = good.step("Workflow/w", "a")
    assert [tool["name"] for tool in step["inline"]["tools"]] == ["ads_pull"]
    assert good.body("Workflow/w")["uses"] == {"Connector/ads": good.compiled["Connector/ads"].digest}


def test_all_mistakes_show_at_once() -> None:
    tree = workflow("""
    a: {connector: ads.pull, when: input.x, with: {acount: "${inputs}"}}
    b: {agent: nobody, with: {x: "${steps.z.output}"}}
    c: {llm: {model: fast, prompt: "${nope}"}}
""")
    assert sorted(code for code, _, _ in tree.errors) == [
        "InvalidArgument", "InvalidArgument", "UnknownField", "UnknownField", "UnknownName", "UnknownName",
        "UnknownReference",
    ]  # fmt: skip


def test_annotations_are_kept_beside_the_body() -> None:
    tree = workflow("    a: {set: {x: 1}, x-place: [1, 2]}", "state: {x: {}}\n  x-owner: ada")
    assert tree.body("Workflow/w")["x"] == {"steps.a.x-place": [1, 2], "x-owner": "ada"}
