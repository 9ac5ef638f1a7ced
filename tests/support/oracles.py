"""The rules of the gate stated a second time, by the words of the documentation and with no thought of cost."""

from __future__ import annotations

from agentos_controller.source import gate, signatures
from tests.support import graphs


def line(graph: graphs.Graph, revision: str) -> list[str]:
    found = [revision]
    while parents := graph.parents(found[-1]):
        found.append(parents[0])
    return found


def acceptable(graph: graphs.Graph, policy: gate.Policy, revision: str) -> bool:
    touching = [one for one in line(graph, revision) if graph.touches(one, policy.paths)]
    return not policy.verify or not touching or isinstance(graph.verdict(touching[0]), signatures.Verified)


def _allowed(graph: graphs.Graph, policy: gate.Policy, candidate: str, serving: str | None) -> bool:
    """Whether history may move from `serving` to `candidate`."""
    if serving in (None, candidate) or policy.history == "any":
        return True
    if not graph.exists(str(serving)):
        return False
    reach = line(graph, candidate) if policy.history == "mainline" else graph.ancestors(candidate)
    return serving in reach


def oracle(
    graph: graphs.Graph, policy: gate.Policy, observed: str, serving: str | None, accepted: str | None
) -> str | None:
    """What is to serve, by the words of the documentation and with no thought of cost."""
    good = [one for one in line(graph, observed) if acceptable(graph, policy, one)]
    if not good:
        return serving
    candidate = good[0]
    if candidate != observed and serving is not None:
        known = graph.exists(serving) and serving in graph.ancestors(observed)
        if not known or candidate in graph.ancestors(serving):
            return serving
    if policy.merged_into is not None and candidate not in line(graph, policy.merged_into):
        return serving
    if not _allowed(graph, policy, candidate, serving) and accepted != observed:
        return serving
    return candidate
