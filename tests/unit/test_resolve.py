"""References, duplicates, cycles, placement and order; over all manifests, and over only what a change affects."""

from __future__ import annotations

import pytest

from agentos_engine import kind, load, model, resolve, suggest
from agentos_engine.model import ResourceRef


def manifests(**files: str) -> list[model.Manifest]:
    """Manifests of files written as ``name=spec``; the kind follows from the spec's first key."""
    out = []
    for name, spec in files.items():
        of = {"model": "Agent", "steps": "Workflow", "http": "Connector", "provider": "Model", "run": "Trigger"}.get(
            spec.partition(":")[0], "Tenant"
        )
        called = name.rstrip("_").replace("_", "-")
        text = f"apiVersion: agentos/v1\nkind: {of}\nmetadata: {{name: {called}}}\nspec: {{{spec}}}\n"
        file = load.load(text.encode()).at(f"{name}.yaml")
        assert not file.diagnostics, file.diagnostics
        out += file.manifests
    return out


SHOP = 'http: {baseUrl: "https://shop.example.com"}, operations: {get_order: {request: GET /order}}'
FAST = "provider: scripted, script: [{text: hi}]"


def said(resolution: resolve.Resolution) -> list[tuple[str, str, int, str | None]]:
    return [(one.code, one.path, one.column, one.hint) for one in resolution.diagnostics]


def names(resolution: resolve.Resolution) -> list[str]:
    return [str(one.ref) for one in resolution.order]


def test_dependencies_come_first() -> None:
    given = manifests(
        top="steps: {a: {workflow: low}, b: {agent: one}}", low="steps: {a: {agent: one}}", one="model: fast", fast=FAST
    )
    found = resolve.resolve(given)
    assert names(found) == ["Model/fast", "Agent/one", "Workflow/low", "Workflow/top"]
    assert names(resolve.resolve(reversed(given))) == names(found)
    assert not found.diagnostics
    assert not found.blocked


def test_unknown_names_with_what_was_meant() -> None:
    found = resolve.resolve(
        manifests(
            flow="steps: {a: {agent: on}, b: {connector: shop.get_ordr}, c: {connector: shp.x}}",
            one="model: fsat",
            shop=SHOP,
            fast=FAST,
        )
    )
    assert said(found) == [
        ("UnknownReference", "flow.yaml", 27, "Did you mean `one`?"),
        ("UnknownOperation", "flow.yaml", 47, "Did you mean `get_order`?"),
        ("UnknownReference", "flow.yaml", 78, "Did you mean `shop`?"),
        ("UnknownReference", "one.yaml", 15, "Did you mean `fast`?"),
    ]
    assert names(found) == ["Connector/shop", "Model/fast"]


def test_who_needs_something_wrong_is_blocked_and_not_blamed() -> None:
    found = resolve.resolve(
        manifests(
            top="steps: {a: {workflow: low}}", low="steps: {a: {agent: one}}", one="model: nothing", on="model: sick"
        ),
        broken=[ResourceRef("Model", "sick")],
    )
    assert [code for code, *_ in said(found)] == ["UnknownReference"]
    assert {str(ref): str(cause) for ref, cause in found.blocked.items()} == {
        "Workflow/top": "Workflow/low",
        "Workflow/low": "Agent/one",
        "Agent/on": "Model/sick",
    }
    assert not found.order


def test_two_of_one_name_are_told_of_each_other() -> None:
    found = resolve.resolve([*manifests(one=FAST), *manifests(one_=FAST), *manifests(user="model: one")])
    assert [(one.code, one.path, one.message) for one in found.diagnostics] == [
        ("DuplicateResource", "one.yaml", "Model/one is also defined at one_.yaml:1"),
        ("DuplicateResource", "one_.yaml", "Model/one is also defined at one.yaml:1"),
    ]
    assert list(found.blocked) == [ResourceRef("Agent", "user")]


@pytest.mark.parametrize(
    ("files", "ways"),
    [
        ({"a": "steps: {x: {workflow: a}}"}, ["Workflow/a → Workflow/a"]),
        (
            {
                "a": "steps: {x: {workflow: b}}",
                "b": "steps: {x: {agent: c}}",
                "c": "model: m, tools: {t: {workflow: a}}",
                "m": FAST,
            },
            [
                "Workflow/a → Workflow/b → Agent/c → Workflow/a",
                "Workflow/b → Agent/c → Workflow/a → Workflow/b",
                "Agent/c → Workflow/a → Workflow/b → Agent/c",
            ],
        ),
        (
            {"a": f"{FAST}, fallbacks: [b]", "b": f"{FAST}, fallbacks: [c, a]", "c": FAST},
            ["Model/a → Model/b → Model/a", "Model/b → Model/a → Model/b"],
        ),
    ],
)
def test_circles_are_told_to_every_member(files: dict[str, str], ways: list[str]) -> None:
    found = resolve.resolve(manifests(**files))
    assert [one.message.removeprefix("circle of references: ") for one in found.diagnostics] == ways
    assert {one.code for one in found.diagnostics} == {"ReferenceCycle"}


def test_of_a_long_circle_a_part_is_shown() -> None:
    size = 2 * resolve.MAX_WAYS
    found = resolve.resolve(
        manifests(**{f"f{n:03}": f"steps: {{x: {{workflow: f{(n + 1) % size:03}}}}}" for n in range(size)})
    )
    way = " → ".join([*(f"Workflow/f{n:03}" for n in range(6)), f"{size - 6} more", "Workflow/f000"])
    assert {one.message for one in found.diagnostics} == {f"circle of references: {way}"}
    assert {one.path for one in found.diagnostics} == {f"f{n:03}.yaml" for n in range(size)}


def test_among_very_many_names_a_near_one_is_found() -> None:
    models = {f"some_model_{n:04}": FAST for n in range(3 * suggest.COMPARED)}
    found = resolve.resolve(manifests(one="model: some-modell-0301", **models))
    (hint,) = [hint for _code, _path, _column, hint in said(found)]
    assert hint is not None
    assert hint.startswith("Did you mean `some-model-")


def test_a_tenant_stands_in_the_platform_repository_only() -> None:
    given = manifests(acme="sources: [{path: tenants/acme}]")
    assert names(resolve.resolve(given, platform=True)) == ["Tenant/acme"]
    (found,) = resolve.resolve(given).diagnostics
    assert (found.code, found.line, found.column) == ("KindNotAllowed", 2, 7)


def test_only_what_is_affected_needs_to_be_given() -> None:
    linked = {
        ResourceRef("Model", "fast"): kind.Linked(ResourceRef("Model", "fast"), {}, None),
        ResourceRef("Connector", "shop"): kind.Linked(
            ResourceRef("Connector", "shop"), {"operations": {"get": {}}}, "d"
        ),
    }
    given = manifests(one="model: fast", flow="steps: {a: {agent: one}, b: {connector: shop.got}, c: {agent: tw}}")
    found = resolve.resolve(given, linked=linked, names=lambda of: ["two"] if of == "Agent" else [])
    assert names(found) == ["Agent/one"]
    assert [(code, hint) for code, _, _, hint in said(found)] == [
        ("UnknownOperation", "Did you mean `get`?"),
        ("UnknownReference", "Did you mean `two`?"),
    ]


def test_suspects_are_looked_at_and_never_used() -> None:
    suspect = manifests(one="model: fsat")[0]
    given = manifests(fast=FAST, flow="steps: {a: {agent: one}}")
    found = resolve.resolve(given, suspects=[suspect])
    assert [code for code, *_ in said(found)] == ["UnknownReference"]
    assert names(found) == ["Model/fast"]
    assert list(found.blocked) == [ResourceRef("Workflow", "flow")]


def test_a_thousand_in_a_row_is_no_recursion() -> None:
    files = {f"w{i}": f"steps: {{a: {{workflow: w{i + 1}}}}}" for i in range(1_500)}
    found = resolve.resolve(manifests(**files, w1500="steps: {a: {set: {}}}"))
    assert len(found.order) == 1_501


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("prompts/a.md", None),
        ("../shared/b.md", None),
        ("/shared/b.md", None),
        ("../../etc/passwd", "FileOutsideSource"),
        ("/../x", "FileOutsideSource"),
        ("..", "FileOutsideSource"),
        ("a\\b", "FileOutsideSource"),
        ("prompts/missing.md", "FileNotFound"),
        ("/etc/passwd", "FileNotFound"),
        ("prompts/latin.md", "InvalidUtf8"),
        ("prompts/huge.md", "FileTooLarge"),
        ("prompts/pointer.md", "FileForbidden"),
    ],
)
@pytest.mark.parametrize("root", ["", "tenants/acme"])
def test_included_files(written: str, code: str | None, root: str) -> None:
    files = {
        "agents/prompts/a.md": b"a", "shared/b.md": b"b", "agents/prompts/latin.md": b"\xe4",
        "agents/prompts/huge.md": b"x" * (resolve.MAX_FILE + 1),
        "agents/prompts/pointer.md": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    }  # fmt: skip
    prefix = f"{root}/" if root else ""
    (manifest,) = manifests(one=f"model: fast, instructions: {{file: '{written}'}}")
    texts, found = resolve.read_files(
        manifest.at(f"{prefix}agents/one.yaml"), {prefix + path: data for path, data in files.items()}.get, root
    )
    assert [one.code for one in found] == ([code] if code else [])
    assert list(texts) == ([] if code else [written])
    assert all((one.line, one.column) == (4, 42) for one in found)
