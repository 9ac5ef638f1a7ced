"""The tree the scale benchmarks work on: N manifests in T tenants of one repository, every blob distinct.

Of each tenant's share a third each are Workflows, Agents and Triggers; every one of these names at least two other
resources and holds at least four distinct CEL expressions, and is about 60 lines long. Beside them, and not counted
among the N, each tenant has the four things that lie at the bottom and can refer to nothing: two Models, two
Connectors. Fan-out: an Agent is used by one Workflow, a Workflow by one Trigger and by every tenth also a later
Workflow, a Model by half a tenant's Agents, a Connector by half of everything.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

HEAD = """\
apiVersion: agentos/v1
kind: {kind}
metadata:
  name: {name}
  labels: {{team: t{team}, tier: '{tier}'}}
spec:
"""


def write(root: Path, manifests: int, tenants: int) -> Path:
    """A git repository at `root` with the tree committed; `manifests` counts those with references."""
    for path, text in files(manifests, tenants):
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    git(root, "init", "-q", "-b", "main")
    commit(root, "the tree")
    return root


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=bench", "-c", "user.email=bench@example.com", "-c", "gc.auto=0"]
    done = subprocess.run(["git", *identity, "-C", str(root), *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(root: Path, message: str) -> str:
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", message)
    return git(root, "rev-parse", "HEAD")


def files(manifests: int, tenants: int) -> Iterator[tuple[str, str]]:
    """(path, text) of the whole tree: the Tenant manifests, then tenant after tenant."""
    for tenant in range(tenants):
        name = f"t{tenant:03d}"
        yield (
            f"agents/tenants/{name}.yaml",
            HEAD.format(kind="Tenant", name=name, team=tenant, tier="x")
            + (f"  description: Tenant {tenant} of the benchmark.\n  sources: [{{path: tenants/{name}}}]\n"),
        )
        share = manifests // tenants + (tenant < manifests % tenants)
        yield from _tenant(name, tenant, share)


def _tenant(folder: str, tenant: int, share: int) -> Iterator[tuple[str, str]]:
    base = f"tenants/{folder}"
    for index in range(2):
        yield f"{base}/agents/model-{index}.yaml", _model(tenant, index)
        yield f"{base}/connectors/shop-{index}.yaml", _connector(tenant, index)
    for number in range(share):
        index, kind = divmod(number, 3)
        if kind == 0:
            yield f"{base}/agents/agent-{index}.yaml", _agent(tenant, index)
        elif kind == 1:
            yield f"{base}/workflows/flow-{index}.yaml", _workflow(tenant, index)
        else:
            yield f"{base}/workflows/on-{index}.yaml", _trigger(tenant, index)


def _model(tenant: int, index: int) -> str:
    return HEAD.format(kind="Model", name=f"model-{index}", team=tenant, tier=index) + (
        "  provider: scripted\n  price: {input: 1.0, output: 2.0}\n"
        f"  script:\n    - text: Tenant {tenant} model {index} answers.\n      usage: {{input: 10, output: 5}}\n"
    )


def _connector(tenant: int, index: int) -> str:
    return (
        HEAD.format(kind="Connector", name=f"shop-{index}", team=tenant, tier=index)
        + f"""\
  description: Orders of tenant {tenant}, shop {index}.
  http: {{baseUrl: "https://shop-{index}.example.com/t{tenant}"}}
  auth: {{bearer: {{secret: shop-{index}-token}}}}
  operations:
    get_order:
      effect: read
      request: GET /orders/{{order}}
      query: {{expand: "${{input.expand}}"}}
      input:
        type: object
        required: [order]
        properties: {{order: {{type: string}}, expand: {{type: string, default: lines}}}}
      output:
        type: object
        required: [total]
        properties:
          total: {{type: number}}
          state: {{type: string}}
          lines:
            type: array
            items: {{type: object, properties: {{sku: {{type: string}}, price: {{type: number}}}}}}
    refund:
      effect: write
      request: POST /orders/{{order}}/refunds
      body: {{amount: "${{input.amount}}"}}
      input:
        type: object
        required: [order, amount]
        properties: {{order: {{type: string}}, amount: {{type: number}}}}
"""
    )


def _agent(tenant: int, index: int) -> str:
    return (
        HEAD.format(kind="Agent", name=f"agent-{index}", team=tenant, tier=index % 7)
        + f"""\
  description: Looks at order {index} of tenant {tenant} and says what should become of it.
  model: model-{index % 2}
  instructions: |
    You work for tenant {tenant}, desk {index}. The order is ${{input.order}} and its customer writes:
    ${{input.message.trim()}}
    Orders above ${{input.ceiling + {index}.5}} go to a person.
    Today's note is ${{truncate(input.note, {100 + index})}}.

    1. Look the order up before you say anything about it.
    2. Never promise what the tools did not confirm.
    3. Answer in the customer's language, in at most {3 + index % 5} sentences.
    4. When the order is late, say by how much and why.
    5. When you cannot help, hand over and say to whom.
  input:
    type: object
    required: [order, message]
    properties:
      order: {{type: string}}
      message: {{type: string}}
      ceiling: {{type: number, default: {100 + index}}}
      note: {{type: string, default: ""}}
  tools:
    orders:
      connector: shop-{index % 2}
      operations: [get_order]
      with: {{expand: "${{input.note == '' ? 'lines' : 'all-{index}'}}"}}
  output:
    type: object
    required: [verdict, amount]
    properties:
      verdict:
        type: string
        enum: [keep, refund, ask]
      amount:
        type: number
        minimum: 0
      reason:
        type: string
      tags:
        type: array
        items: {{type: string}}
  limits:
    steps: {4 + index % 6}
    tokens: {10_000 + index}
    costUsd: 0.25
    timeout: 90s
"""
    )


def _workflow(tenant: int, index: int) -> str:
    before = (
        ""
        if index % 10 or index == 0
        else f"""\
    before:
      workflow: flow-{index - 1}
      with: {{order: "${{input.order}}", message: "again {index}"}}
"""
    )
    return (
        HEAD.format(kind="Workflow", name=f"flow-{index}", team=tenant, tier=index % 7)
        + f"""\
  description: Order desk {index} of tenant {tenant}.
  input:
    type: object
    required: [order, message]
    properties:
      order: {{type: string}}
      message: {{type: string}}
      limit: {{type: number, default: {50 + index}}}
  state:
    spent: {{type: number, default: 0, reduce: sum}}
    notes: {{type: array, items: {{type: string}}, default: [], reduce: append}}
  steps:
{before}    fetch:
      connector: shop-{index % 2}.get_order
      with: {{order: "${{input.order}}"}}
      retry: {{attempts: 4, backoff: exponential, delay: 500ms}}
    judge:
      agent: agent-{index}
      with:
        order: "${{input.order}}"
        message: "${{input.message + ' #{index}'}}"
        ceiling: "${{steps.fetch.output.total * 2}}"
      set: {{notes: "desk {index}: ${{output.verdict}}"}}
    decide:
      branch:
        - when: "steps.judge.output.verdict == 'refund' && steps.judge.output.amount < input.limit + {index}"
          next: refund
        - when: "steps.fetch.output.total > {1000 + index}.0"
          next: ask
      next: done
    ask:
      approve: {{by: role/desk, show: "${{steps.judge.output}}", expires: 48h}}
      next: {{rejected: done, expired: done}}
    refund:
      connector: shop-{index % 2}.refund
      with: {{order: "${{input.order}}", amount: "${{steps.judge.output.amount}}"}}
      set: {{spent: "${{steps.judge.output.amount}}"}}
      onError: {{Unavailable: done}}
    done:
      set: {{notes: "closed {index}"}}
  output:
    spent: "${{state.spent}}"
    notes: "${{state.notes}}"
    verdict: "${{steps.judge.output.verdict}}"
  limits: {{costUsd: 1.00, steps: {100 + index}, timeout: 10m}}
"""
    )


def _trigger(tenant: int, index: int) -> str:
    amounts = "\n".join(f"  # accepted by the desk: kind {number} of {index}" for number in range(34))
    return (
        HEAD.format(kind="Trigger", name=f"on-{index}", team=tenant, tier=index % 7)
        + f"""\
  on:
    connector: shop-{index % 2}
    event: order.changed.{index}
  when: "event.data.total > {index}.0 && event.data.state in ['late', 'lost', 's{index}']"
  dedupe: "${{event.id}}-{index}"
  run:
    workflow: flow-{index}
    with:
      order: "${{event.data.order}}"
      message: "${{string(event.data.message) + ' ({index})'}}"
      limit: "${{double(event.data.limit) + {index}.0}}"
  concurrency: {{key: "${{event.data.order}}:{index}", max: 2}}
{amounts}
"""
    )
