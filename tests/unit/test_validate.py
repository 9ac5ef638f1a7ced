"""The whole front over a tree: all problems of all files at once, tenants apart, in pieces or in one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from agentos_engine import validate

HEAD = "apiVersion: agentos/v1\nkind: {}\nmetadata: {{name: {}}}\nspec:\n  {}\n"
MODEL = HEAD.format("Model", "fast", "{provider: scripted, script: [{text: hi}]}")


def agent(name: str, spec: str = "model: fast") -> str:
    return HEAD.format("Agent", name, spec)


def tree(**files: str) -> dict[str, bytes]:
    return {name.replace("__", "/") + ".yaml": text.encode() for name, text in files.items()}


def said(report: validate.Report) -> list[tuple[str, str, int]]:
    return [(one.path, one.code, one.line) for one in report.diagnostics]


BAD = tree(
    agents__a=agent("a", "model: fsat\n  modle: x"),
    agents__b=agent("b", "model: fast\n  instructions: {file: missing.md}"),
    agents__c=agent("c", "model: fast\n  tools: {x: {}}\n  instructions: '${inptu.x}'"),
    agents__d=agent("d", "model: fsat\n  instructions: '${input.x +}'"),
    agents__e="a: [\n",
    agents__f=agent("f", "model: fast") + "---\n" + agent("b", "model: fast"),
    agents__fast=MODEL,
    workflows__w=HEAD.format("Workflow", "w", "steps: {s: {agent: f}, t: {agent: c}, u: {agent: f, with: {q: 1}}}"),
)
FOUND = [
    ("agents/a.yaml", "UnknownKey", 6),
    ("agents/b.yaml", "DuplicateResource", 3),
    ("agents/b.yaml", "FileNotFound", 6),
    ("agents/c.yaml", "InvalidValue", 6),
    ("agents/c.yaml", "UnknownName", 7),
    ("agents/d.yaml", "UnknownReference", 5),
    ("agents/d.yaml", "ExpressionSyntax", 6),
    ("agents/e.yaml", "YamlSyntax", 2),
    ("agents/f.yaml", "DuplicateResource", 9),
]


def test_all_problems_at_once() -> None:
    report = validate.validate_tree(BAD)
    assert said(report) == FOUND
    assert (report.files, report.manifests) == (8, 8)
    assert not report.ok


def test_pieces_change_nothing() -> None:
    whole = validate.validate_tree(BAD)
    with ThreadPoolExecutor(2) as pool:
        for pieces in (2, 3, 20):
            assert validate.validate(BAD, BAD.get, run=pool.map, pieces=pieces) == whole


def test_tenants_in_one_repository_are_apart() -> None:
    files = tree(
        agents__tenants=HEAD.format(
            "Tenant", "acme", "sources: [{path: tenants/acme}, {name: more, path: tenants/more}]"
        )
        + "---\n"
        + HEAD.format("Tenant", "umbra", "sources: [{path: tenants/umbra, include: [all]}]"),
        tenants__acme__agents__a=agent("a", "model: fast\n  instructions: {file: /a.md}"),
        tenants__more__agents__fast=MODEL,
        tenants__umbra__all__a=agent("a", "model: fast\n  instructions: {file: ../../acme/a.md}"),
        tenants__umbra__all__role=HEAD.format("Role", "r", "members: []"),
        tenants__umbra__agents__ignored="a: 1\n",
    )
    files["tenants/acme/a.md"] = b"Hello."
    assert said(validate.validate_tree(files)) == [
        ("tenants/umbra/all/a.yaml", "UnknownReference", 5),
        ("tenants/umbra/all/a.yaml", "FileOutsideSource", 6),
        ("tenants/umbra/all/role.yaml", "KindNotAllowed", 2),
    ]


def test_what_is_ignored_is_not_read() -> None:
    files = tree(agents__a="a: 1\n", agents___b="a: 1\n", docs__c="a: 1\n", agents__old__d="a: 1\n")
    files[".agentosignore"] = b"agents/old/\n"
    assert said(validate.validate_tree(files)) == [("agents/a.yaml", "NotAManifest", 1)]
