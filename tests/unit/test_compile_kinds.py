"""Compiling the other kinds: what their artifacts hold, and what they refuse."""

from __future__ import annotations

import pytest

from agentos_engine import artifacts
from tests.support.tree import compile_text, compile_tree, manifest

MODEL = manifest(
    "Model",
    "fast",
    """
  provider: openai
  name: gpt-5-mini
  params: {temperature: 0.2, maxTokens: 500}
  baseUrl: https://proxy.example/v1
  hosts: [b.example, a.example]
  auth: {secret: openai-key}
  price: {input: 0.25, output: 2, cachedInput: 0.03}
  fallbacks: [slow]
""",
)
SLOW = manifest(
    "Model",
    "slow",
    """
  provider: scripted
  script:
    - {when: turn == 0, toolCalls: [{name: look, args: {q: "${input}"}}], delay: 10ms}
    - {text: "You said ${input}, ${size(messages)} messages", usage: {input: 1, output: 2}}
    - {output: {n: "${turn + 1}"}}
""",
)
CRM = manifest(
    "Connector",
    "crm",
    """
  description: Customers.
  http: {baseUrl: "https://crm.example:8443/api/", headers: {accept: application/json}, timeout: 5s}
  auth: {apiKey: {secret: crm-key, header: x-api-key}}
  egress: [files.crm.example]
  operations:
    find:
      effect: read
      description: Finds a customer.
      request: GET /customers/{id}
      query: {limit: "${input.limit}"}
      input: {type: object, required: [id], properties: {id: {type: string}, limit: {type: integer, default: 5}}}
      output: {type: object, required: [name], properties: {name: {type: string}}}
      result: {name: "${body.title}"}
      errors: {NotFound: 404, Busy: "status == 503 && body.code == 'busy'"}
    erase:
      request: DELETE /customers/{id}
      input: {type: object, required: [id], properties: {id: {type: string}}}
      retry: {attempts: 2, on: [Timeout]}
    note:
      effect: write
      request: POST /notes
      idempotency: Idempotency-Key
      body: {text: "${input.text}"}
      input: {type: object, required: [text, to], properties: {text: {type: string}, to: {type: string}}}
""",
)
WORKFLOW = manifest(
    "Workflow",
    "report",
    """
  description: Writes the report.
  input: {type: object, required: [day], properties: {day: {type: string, format: date}, deep: {type: boolean}}}
  steps: {write: {connector: crm.note, with: {text: "${input.day}", to: ada}}}
""",
)


def agent(rest: str, instructions: str = "Help.") -> str:
    return manifest("Agent", "helper", f"  model: fast\n  instructions: {instructions}\n" + rest.strip("\n"))


def test_a_model_is_folded_with_its_fallbacks() -> None:
    tree = compile_text(MODEL, SLOW)
    assert tree.errors == []
    compiled = tree.compiled["Model/fast"]
    assert compiled.artifact is None
    folded = dict(compiled.interface["model"])
    (fallback,) = folded.pop("fallbacks")
    assert folded == {
        "name": "fast",
        "provider": "openai",
        "model": "gpt-5-mini",
        "params": {"temperature": 0.2, "max_tokens": 500},
        "baseUrl": "https://proxy.example/v1",
        "hosts": ["a.example", "b.example"],
        "auth": {"secret": "openai-key"},
        "price": {"input": 0.25, "output": 2.0, "cachedInput": 0.03, "reasoning": 2.0},
    }
    assert fallback["script"][0] == {
        "when": "turn == 0",
        "toolCalls": [{"name": "look", "args": {"q": "${input}"}}],
        "delayMs": 10,
    }
    assert fallback["script"][2] == {"output": {"n": "${turn + 1}"}}


def test_a_model_without_artifact_still_has_a_digest_that_follows_its_meaning() -> None:
    before = compile_text(MODEL, SLOW).compiled["Model/fast"].digest
    assert compile_text(MODEL + "# a comment\n", SLOW).compiled["Model/fast"].digest == before
    assert compile_text(MODEL, SLOW.replace("turn == 0", "turn == 1")).compiled["Model/fast"].digest != before


def test_a_script_sees_only_the_conversation() -> None:
    tree = compile_text(manifest("Model", "m", "  {provider: scripted, script: [{when: steps.a, text: '${run.id}'}]}"))
    assert [code for code, _, _ in tree.errors] == ["UnknownName", "UnknownName"]


def test_a_connector_is_told_in_data() -> None:
    tree = compile_text(CRM)
    assert tree.errors == []
    body = tree.body("Connector/crm")
    assert body["baseUrl"] == "https://crm.example:8443/api"
    assert body["hosts"] == ["crm.example:8443", "files.crm.example"]
    assert body["auth"] == {"type": "apiKey", "secret": "crm-key", "header": "x-api-key"}
    assert body["timeoutMs"] == 5000
    find = body["operations"]["find"]
    assert (find["method"], find["path"], find["query"]) == ("GET", "/customers/{id}", {"limit": "${input.limit}"})
    assert find["errors"] == {"NotFound": "status == 404", "Busy": "status == 503 && body.code == 'busy'"}
    assert find["retry"]["attempts"] == 3
    assert body["operations"]["erase"]["effect"] == "destructive"
    assert body["operations"]["note"]["retry"] is None
    assert (body["effect"], body["operations"]["note"]["idempotency"]) == ("destructive", "Idempotency-Key")
    seen = tree.compiled["Connector/crm"].interface["operations"]["note"]
    assert (seen["effect"], seen["idempotent"], "body" in seen) == ("write", True, False)


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ('"${input.limit}"', '"${input.limt}"', "UnknownField"),
        ('"${body.title}"', '"${bdy.title}"', "UnknownName"),
        ('"${body.title}"', '"${status}"', "TypeMismatch"),
        ("status == 503 && body.code == 'busy'", "status", "NotBoolean"),
    ],
)
def test_an_operations_expressions_are_checked(old: str, new: str, code: str) -> None:
    tree = compile_text(CRM.replace(old, new))
    assert [found for found, _, _ in tree.errors] == [code]
    assert "Connector/crm" in tree.compiled
    assert tree.compiled["Connector/crm"].artifact is None


def test_an_agents_tools_are_expanded_one_by_one() -> None:
    tree = compile_text(
        MODEL,
        SLOW,
        CRM,
        WORKFLOW,
        agent("""
  input: {type: object, required: [who], properties: {who: {type: string}}}
  tools:
    crm: {connector: crm}
    write: {connector: crm, operations: [note], description: Writes it down., with: {to: "${input.who}"}}
    report: {workflow: report, with: {deep: true}}
    expert: {agent: expert}
"""),
        manifest("Agent", "expert", "  {model: fast, instructions: Answer., description: Knows everything.}"),
    )
    assert tree.errors == []
    body = tree.body("Agent/helper")
    shown = [(tool["name"], tool["type"], tool["effect"], tool["description"]) for tool in body["tools"]]
    assert shown == [
        ("crm_find", "connector", "read", "Finds a customer."),
        ("write_note", "connector", "write", "Writes it down."),
        ("report", "workflow", "write", "Writes the report."),
        ("expert", "agent", "read", "Knows everything."),
    ]
    by_name = {tool["name"]: tool for tool in body["tools"]}
    assert by_name["write_note"]["input"] == {
        "type": "object", "required": ["text"], "properties": {"text": {"type": "string"}},
    }  # fmt: skip
    assert by_name["write_note"]["with"] == {"to": "${input.who}"}
    assert list(by_name["report"]["input"]["properties"]) == ["day"]
    assert by_name["expert"]["input"]["required"] == ["message"]
    assert body["effect"] == "write"
    assert list(body["uses"]) == ["Agent/expert", "Connector/crm", "Workflow/report"]
    assert body["models"]["fast"]["fallbacks"][0]["name"] == "slow"


@pytest.mark.parametrize(
    ("tool", "code"),
    [
        ("{connector: crm, operations: [note], with: {too: x}}", "InvalidArgument"),
        ("{connector: crm, operations: [note], with: {to: 5}}", "InvalidArgument"),
        ("{connector: crm, operations: [note], with: {to: '${state.x}'}}", "UnknownName"),
        ("{connector: crm, operations: [notes]}", "UnknownOperation"),
        ("{agent: nobody}", "UnknownReference"),
    ],
)
def test_an_agents_tools_are_checked(tool: str, code: str) -> None:
    tree = compile_text(MODEL, SLOW, CRM, agent(f"  tools: {{t: {tool}}}"))
    assert [found for found, _, _ in tree.errors] == [code]


def test_instructions_in_a_file_are_checked_where_they_stand() -> None:
    files = {
        "agents/helper.yaml": agent(
            "  input: {type: object, properties: {who: {type: string}}}", "{file: prompts/p.md}"
        ),
        "agents/prompts/p.md": "# Task\n\nGreet ${input.who},\nthen ${input.whom}.\n",
        "m.yaml": MODEL,
        "s.yaml": SLOW,
    }
    tree = compile_tree(files)
    (found,) = tree.diagnostics
    assert (found.code, found.path, found.line, found.column) == ("UnknownField", "agents/prompts/p.md", 4, 14)
    files["agents/prompts/p.md"] = "Greet ${input.who}.\n"
    assert compile_tree(files).body("Agent/helper")["instructions"] == "Greet ${input.who}.\n"
    del files["agents/prompts/p.md"]
    assert [code for code, _, _ in compile_tree(files).errors] == ["FileNotFound"]


def test_a_schedule_pins_and_checks_what_it_runs() -> None:
    schedule = manifest(
        "Schedule",
        "daily",
        "  {cron: '0 7 * * MON-FRI', timezone: Europe/Berlin, catchUp: 6h, "
        "run: {workflow: report, with: {day: monday}}}",
    )
    tree = compile_text(CRM, WORKFLOW, schedule)
    assert tree.errors == []
    assert tree.body("Schedule/daily") == {
        "name": "daily",
        "cron": "0 7 * * MON-FRI",
        "timezone": "Europe/Berlin",
        "run": {"kind": "Workflow", "name": "report", "with": {"day": "monday"}},
        "overlap": "skip",
        "catchUpMs": 21_600_000,
        "jitterMs": 0,
        "suspend": False,
        "uses": {"Workflow/report": tree.compiled["Workflow/report"].digest},
    }
    wrong = compile_text(CRM, WORKFLOW, schedule.replace("day: monday", "date: monday"))
    assert [code for code, _, _ in wrong.errors] == ["InvalidArgument", "InvalidArgument"]
    nothing = compile_text(CRM, WORKFLOW, schedule.replace(", with: {day: monday}", ""))
    assert [code for code, _, _ in nothing.errors] == ["InvalidArgument"]


def test_a_trigger_sees_the_event_alone() -> None:
    trigger = manifest(
        "Trigger",
        "paid",
        """
  on: {connector: crm, event: invoice.paid}
  when: event.data.amount > 5 && event.time > timestamp('2026-01-01T00:00:00Z')
  dedupe: ${event.id}
  run: {workflow: report, with: {day: "${event.data.day}"}, thread: "${event.source}"}
  concurrency: {key: "${event.data.customer}", max: 2}
""",
    )
    tree = compile_text(CRM, WORKFLOW, trigger)
    assert tree.errors == []
    body = tree.body("Trigger/paid")
    assert list(body["uses"]) == ["Connector/crm", "Workflow/report"]
    assert body["concurrency"] == {"key": "${event.data.customer}", "max": 2, "overlap": "queue"}
    wrong = compile_text(CRM, WORKFLOW, trigger.replace("${event.id}", "${input.id}"))
    assert [code for code, _, _ in wrong.errors] == ["UnknownName"]


def test_a_policys_rules_are_checked() -> None:
    rules = "  {applies: {kinds: [Workflow, Agent]}, rules: {a: {deny: \"%s\", message: 'No ${resource.name}'}}}"
    tree = compile_text(manifest("Policy", "p", rules % "artifact.tools.exists(t, t.effect == 'destructive')"))
    assert tree.body("Policy/p")["applies"] == {"kinds": ["Agent", "Workflow"], "selector": {}}
    wrong = compile_text(manifest("Policy", "p", rules % "artefact.tools.size() > resource.label"))
    assert [code for code, _, _ in wrong.errors] == ["UnknownName", "UnknownField"]


def test_tenants_and_roles_become_access() -> None:
    tree = compile_text(
        manifest(
            "Tenant",
            "acme",
            """
  sources: [{git: "https://git.example/acme.git", ref: main, auth: {secret: token}, interval: 30s}]
  quota: {concurrentRuns: 5, costUsdPerMonth: 500}
  limits: {timeout: 1h, costUsd: 2}
  vars: {region: eu}
""",
        ),
        manifest("Role", "lead", "  {rules: {all: {permissions: [run, read]}}, members: [user/bob, user/ada]}"),
    )
    assert tree.errors == []
    tenant, role = tree.body("Tenant/acme"), tree.body("Role/lead")
    assert tenant["sources"] == [
        {"name": "main", "git": "https://git.example/acme.git", "ref": "main", "path": ".", "exclude": [],
         "auth": {"secret": "token"}, "intervalMs": 30000},
    ]  # fmt: skip
    assert (tenant["quota"], tenant["limits"]) == (
        {"concurrentRuns": 5, "costUsdPerMonth": 500.0},
        {"costUsd": 2.0, "timeoutMs": 3_600_000},
    )
    assert role["members"] == ["user/ada", "user/bob"]
    assert role["rules"] == {"all": {"permissions": ["read", "run"], "kinds": [], "names": []}}


def test_every_artifact_has_the_type_of_its_kind() -> None:
    tree = compile_text(CRM, WORKFLOW, MODEL, SLOW, agent("  tools: {}"))
    assert {name: one.artifact.type for name, one in tree.compiled.items() if one.artifact} == {
        "Connector/crm": "connector",
        "Workflow/report": "graph",
        "Agent/helper": "graph",
    }


def test_a_change_of_a_callee_changes_the_digest_of_its_users_and_a_comment_does_not() -> None:
    def digests(connector: str) -> dict[str, str]:
        return {name: one.digest for name, one in compile_text(connector, WORKFLOW).compiled.items()}

    before = digests(CRM)
    assert digests("# note\n" + CRM) == before
    after = digests(CRM.replace("timeout: 5s", "timeout: 6s"))
    assert {name for name in before if before[name] != after[name]} == {"Connector/crm", "Workflow/report"}


def test_bodies_are_json() -> None:
    tree = compile_text(CRM, WORKFLOW, MODEL, SLOW, agent("  tools: {crm: {connector: crm}}"))
    for compiled in tree.compiled.values():
        artifacts.canonical(dict(compiled.interface))


def test_what_does_not_compile_stops_with_its_first_place() -> None:
    compiled = compile_text(CRM.replace('"${input.limit}"', '"${input.limt} ${x}"')).compiled["Connector/crm"]
    assert compiled.stop is not None
    assert (compiled.stop.condition, compiled.stop.reason) == ("Compiled", "UnknownField")
    assert compiled.stop.message.startswith("a.yaml:14:")
    assert compiled.stop.message.endswith("(and 1 more)")
