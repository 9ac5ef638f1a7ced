"""A compiled graph as nodes and edges, and as a Mermaid flowchart. Reads artifact bodies, never specs.

What an author wrote stands in labels only, cut short and escaped: a name cannot become markup.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

Body = Mapping[str, Any]
START: Final = " start"
END: Final = " end"
LONGEST: Final = 60
"""Characters of one line of a label."""
_SHAPES: Final[Mapping[str, tuple[str, str]]] = {
    "start": ("((", "))"), "end": ("([", "])"), "fail": ("([", "])"), "branch": ("{", "}"), "approve": ("{{", "}}"),
    "llm": ("(", ")"), "classify": ("(", ")"), "extract": ("(", ")"), "agent": ("[[", "]]"), "workflow": ("[[", "]]"),
    "connector": ("[/", "/]"),
}  # fmt: skip
_ESCAPED: Final = {ord(sign): f"#{ord(sign)};" for sign in '"#<>&`'}


def graph(body: Body) -> dict[str, Any]:
    """A graph's body as ``{name, form, nodes: [{id, type, label}], edges: [{from, to, outcome|when|error|tool}]}``.

    A step's id is its node's. `START`, `END` and an agent itself are nodes too, under ids that no step can have. The
    edge to an agent's tool tells the tool's effect.
    """
    nodes, edges = _workflow(body) if body["form"] == "workflow" else _agent(body)
    return {"name": body["name"], "form": body["form"], "nodes": nodes, "edges": edges}


def mermaid(drawn: Mapping[str, Any]) -> str:
    """A Mermaid flowchart of what `graph` gives."""
    ids = {node["id"]: f"n{number}" for number, node in enumerate(drawn["nodes"])}
    lines = ["flowchart TD"]
    for node in drawn["nodes"]:
        left, right = _SHAPES.get(node["type"], ("[", "]"))
        text = "<br/>".join(_escaped(line) for line in node["label"].splitlines())
        lines.append(f'  {ids[node["id"]]}{left}"{text}"{right}')
    for edge in drawn["edges"]:
        said = edge.get("when") or edge.get("error") or edge.get("outcome") or edge.get("tool")
        arrow = "-.->" if "error" in edge else "-->"
        label = f'|"{_escaped(said)}"|' if said else ""
        lines.append(f"  {ids[edge['from']]} {arrow}{label} {ids[edge['to']]}")
    return "\n".join(lines) + "\n"


def _workflow(body: Body) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    nodes = [{"id": START, "type": "start", "label": "start"}]
    edges = [{"from": START, "to": body["entry"]}]
    for step in body["steps"]:
        nodes.append({"id": step["id"], "type": step["type"], "label": "\n".join(_label(step))})
        for edge in _ways(step):
            edges.append({"from": step["id"], **edge, "to": END if edge["to"] == "end" else edge["to"]})
    if any(edge["to"] == END for edge in edges):
        nodes.append({"id": END, "type": "end", "label": "done"})
    return nodes, edges


def _label(step: Body) -> Iterator[str]:
    """The lines of a step: its id, what it does, and what makes it do so."""
    yield step["id"]
    if (what := _what(step)) is not None:
        yield what
    if "map" in step:
        over = step["map"]["over"]
        yield f"for each {step['map']['as']} of {over if isinstance(over, str) else 'a list'}"
    if "when" in step:
        yield f"if {step['when']}"


def _what(step: Body) -> str | None:
    match step["type"]:
        case "connector":
            return f"{step['connector']}.{step['operation']} ({step['effect']})"
        case "agent" | "workflow" as kind:
            return f"{kind} {step[kind] or 'in place'}"
        case "llm" | "classify" | "extract" as asking:
            return f"{asking} {step['model']}"
        case "approve":
            return f"approved by {', '.join(step['by'])}"
        case "end":
            return str(step["outcome"])
        case "fail":
            return str(step["error"])
        case "set" if step.get("set"):
            return f"set {', '.join(step['set'])}"
    return None


def _ways(step: Body) -> Iterator[dict[str, str]]:
    for case in step.get("cases") or ():
        yield {"to": case["next"], "when": case["when"]}
    targets: dict[str, list[str]] = {}
    for outcome, target in step["next"].items():
        targets.setdefault(target, []).append(outcome)
    for target, outcomes in targets.items():
        if "cases" in step:
            yield {"to": target, "outcome": "else"}
        elif len(targets) == 1 or outcomes == ["done"]:
            yield {"to": target}
        else:
            yield {"to": target, "outcome": ", ".join(outcomes)}
    for class_, target in step["onError"].items():
        if target == "continue":
            target = next(iter(step["next"].values()), "end")
        if target != "fail":
            yield {"to": target, "error": class_}


def _agent(body: Body) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    me = f" {body['name']}"
    nodes = [{"id": me, "type": "agent", "label": f"{body['name']}\nagent {body['model']}"}]
    edges = []
    for tool in body["tools"]:
        what = f"{tool['target']}.{tool['operation']}" if "operation" in tool else f"{tool['type']} {tool['target']}"
        nodes.append({"id": tool["name"], "type": tool["type"], "label": f"{tool['name']}\n{what}"})
        edges.append({"from": me, "to": tool["name"], "tool": tool["effect"]})
    return nodes, edges


def _escaped(text: str) -> str:
    line = " ".join(text.split())
    cut = line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"
    return cut.translate(_ESCAPED)
