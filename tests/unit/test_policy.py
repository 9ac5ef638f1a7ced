"""Admission: which rules are asked about what, what they see, and what a broken rule does."""

from __future__ import annotations

from typing import Any

import pytest

from agentos_engine import policy
from agentos_engine.model import ResourceRef

SUBJECT = policy.Subject(
    ResourceRef("Agent", "triage"), "agents/triage.yaml", {"team": "support"}, {"owner": "ada"}, {"name": "acme"}
)
AGENT: dict[str, Any] = {
    "form": "agent",
    "name": "triage",
    "model": "fast",
    "models": {
        "fast": {
            "name": "fast",
            "provider": "openai",
            "model": "gpt",
            "fallbacks": [
                {"name": "slow", "provider": "scripted", "model": None, "baseUrl": "https://b.example:8443/v1"}
            ],
            "hosts": ["a.example"],
        }
    },
    "tools": [{"name": "crm_get", "type": "connector", "target": "crm", "operation": "get", "effect": "read"}],
    "effect": "read",
    "limits": {"costUsd": 0.5},
}


def bound(deny: str, *, mode: str = "deny", origin: Any = "platform", name: str = "p", **applies: Any) -> policy.Bound:
    rule = {"id": "r", "deny": deny, "message": "Not ${resource.name}.", "mode": mode}
    return policy.Bound(name, origin, {"applies": applies, "on": "plan", "rules": [rule]})


def step(id_: str, type_: str, **fields: Any) -> dict[str, Any]:
    return {"id": id_, "type": type_, "next": {}, "onError": {}, **fields}


def test_a_rule_that_holds_denies_with_its_message() -> None:
    verdict = policy.admit([bound("resource.kind == 'Agent'")], SUBJECT, AGENT, None)
    assert [str(found) for found in verdict.denials] == ["Not triage. (rule r of platform Policy/p)"]
    assert verdict.stop is not None
    assert (verdict.stop.condition, verdict.stop.reason) == ("Admitted", "PolicyDenied")


def test_a_rule_that_does_not_hold_admits() -> None:
    verdict = policy.admit([bound("artifact.effect == 'destructive'")], SUBJECT, AGENT, None)
    assert verdict == policy.Admission()
    assert verdict.stop is None


@pytest.mark.parametrize(
    ("applies", "denied"),
    [
        ({}, True),
        ({"kinds": ["Workflow"]}, False),
        ({"kinds": ["Agent", "Workflow"]}, True),
        ({"selector": {"team": "support"}}, True),
        ({"selector": {"team": "support", "tier": "gold"}}, False),
    ],
)
def test_policies_choose_by_kind_and_labels(applies: dict[str, Any], denied: bool) -> None:
    assert bool(policy.admit([bound("true", **applies)], SUBJECT, AGENT, None).denials) is denied


def test_modes_warn_and_audit_do_not_deny() -> None:
    verdict = policy.admit([bound("true", mode="warn"), bound("true", mode="audit")], SUBJECT, AGENT, None)
    assert (len(verdict.denials), len(verdict.warnings), len(verdict.audits)) == (0, 1, 1)


@pytest.mark.parametrize("mode", ["deny", "warn", "audit"])
def test_a_rule_that_errors_denies_whatever_its_mode(mode: str) -> None:
    verdict = policy.admit([bound("artifact.nothing.here == 1", mode=mode)], SUBJECT, AGENT, None)
    assert "cannot be evaluated" in verdict.denials[0].message


def test_a_rule_that_gives_no_decision_denies() -> None:
    assert policy.admit([bound("artifact.name")], SUBJECT, AGENT, None).denials


def test_a_tenants_policies_add_to_the_platforms_in_any_order() -> None:
    policies = [bound("true", origin="tenant", name="a"), bound("true", name="z")]
    forwards = policy.admit(policies, SUBJECT, AGENT, None)
    assert [found.origin for found in forwards.denials] == ["platform", "tenant"]
    assert policy.admit(reversed(policies), SUBJECT, AGENT, None) == forwards


@pytest.mark.parametrize(
    "rule",
    [
        "old == null",
        "resource.labels.team == 'support' && resource.annotations.owner == 'ada'",
        "tenant.name == 'acme' && source.signed == null",
        "artifact.models.exists(m, m.provider == 'scripted')",
        "artifact.hosts == ['a.example', 'b.example:8443']",
        "artifact.limits.costUsd < 1.0 && artifact.tools[0].operation == 'get'",
        "artifact.tools.all(t, t.approval == null)",
    ],
)
def test_what_a_rule_sees(rule: str) -> None:
    (found,) = policy.admit([bound(rule)], SUBJECT, AGENT, None).denials
    assert found.message == "Not triage."


def test_a_rule_compares_with_what_serves_now() -> None:
    grows = bound("old != null && artifact.limits.costUsd > old.limits.costUsd")
    assert policy.admit([grows], SUBJECT, AGENT, {**AGENT, "limits": {"costUsd": 0.1}}).denials
    assert not policy.admit([grows], SUBJECT, AGENT, AGENT).denials


def workflow(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"form": "workflow", "name": "w", "entry": steps[0]["id"], "steps": list(steps), "models": {}}


CONSENT = step("consent", "approve", by=["role/lead"], quorum=1, next={"approved": "pay", "rejected": "end"})
PAY = step("pay", "connector", connector="bank", operation="pay", effect="destructive", next={"done": "end"})


def approval_of(body: dict[str, Any], name: str) -> Any:
    return next(tool["approval"] for tool in policy.view(body)["tools"] if tool["name"] == name)


def test_a_step_behind_an_approval_is_approved() -> None:
    body = workflow(CONSENT, PAY)
    assert approval_of(body, "pay") == {"by": ["role/lead"]}
    assert policy.view(body)["approvals"] == [{"step": "consent", "by": ["role/lead"], "quorum": 1}]


@pytest.mark.parametrize(
    "consent",
    [
        {**CONSENT, "when": "input.amount > 5"},
        {**CONSENT, "onError": {"Error": "continue"}},
        {**CONSENT, "onError": {"Expired": "pay"}},
        {**CONSENT, "next": {"approved": "pay", "rejected": "pay"}},
    ],
)
def test_an_approval_that_can_be_passed_unasked_approves_nothing(consent: dict[str, Any]) -> None:
    assert approval_of(workflow(consent, PAY), "pay") is None


def test_a_way_round_the_approval_is_found() -> None:
    first = step("decide", "branch", cases=[{"when": "true", "next": "pay"}], next={"done": "consent"})
    assert approval_of(workflow(first, CONSENT, PAY), "pay") is None


def test_two_approvals_on_two_ways_both_count() -> None:
    first = step("decide", "branch", cases=[{"when": "true", "next": "boss"}], next={"done": "consent"})
    boss = step("boss", "approve", by=["user/ada"], next={"approved": "pay"})
    assert approval_of(workflow(first, CONSENT, boss, PAY), "pay") == {"by": ["role/lead", "user/ada"]}


def test_tools_of_an_agent_in_place_are_seen() -> None:
    tool = {"name": "pay", "type": "connector", "target": "bank", "operation": "pay", "effect": "destructive"}
    body = workflow(step("ask", "agent", inline={"models": {}, "tools": [tool]}, effect="destructive"))
    assert policy.view(body)["tools"] == [{**tool, "approval": None}]


def test_a_connectors_operations_are_its_tools() -> None:
    body = {"name": "bank", "hosts": ["bank.example"], "operations": {"pay": {"effect": "destructive"}}}
    seen = policy.view(body)
    assert (seen["tools"][0]["operation"], seen["hosts"]) == ("pay", ["bank.example"])
