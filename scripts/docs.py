"""Writes the generated pages of `docs/`: ``python -m scripts.docs`` (`make docs`).

    docs/manifests.md     every kind and key, out of the specs; steps, expressions and errors, out of the compiler
    docs/codes.md         every code, out of the registry
    docs/architecture.md  only the layers, out of the import contracts in pyproject.toml

What the code knows is taken from the code; the sentences around it stand in `scripts.prose`. A test fails when a page
is not what this gives.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import get_args

import agentos_engine
from agentos_controller.api import codes
from agentos_controller.source import snapshot
from agentos_engine import blocks, fields, kind, paths, userschema, yamltext
from agentos_engine.expressions import calls, functions, grammar, library, types
from agentos_engine.kinds.workflow import actions, steprules
from agentos_engine.kinds.workflow.spec import ACTIONS
from agentos_engine.lowering import scopes
from agentos_engine.runtime import errors, providers
from scripts import prose, shapes

ROOT = Path(__file__).resolve().parent.parent
KINDS = Path(agentos_engine.__file__).parent / "kinds"


def pages() -> dict[Path, str]:
    """Every generated page by its path."""
    folder = ROOT / "docs"
    return {
        folder / "manifests.md": manifests(),
        folder / "codes.md": codes.page(),
        folder / "architecture.md": layered((folder / "architecture.md").read_text()),
    }


def layered(page: str) -> str:
    """The page with the layers of each import contract that it names between ``<!-- layers: ID -->`` and ``end``."""
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    contracts = {contract["id"]: contract for contract in tools["importlinter"]["contracts"]}

    def fill(match: re.Match[str]) -> str:
        contract = contracts[match[1]]
        lines = [_present(layer, contract["containers"][0]) for layer in contract["layers"]]
        layers = "\n".join(line for line in lines if line)
        return f"<!-- layers: {match[1]} -->\n```\n{layers}\n```\n<!-- end -->"

    return re.sub(r"<!-- layers: ([a-z-]+) -->\n.*?<!-- end -->", fill, page, flags=re.DOTALL)


def _present(layer: str, package: str) -> str:
    """A layer without the names in brackets that are not there yet."""
    folder = next(ROOT.glob(f"*/{package}"))
    names = [name.strip() for name in layer.split("|")]
    there = [name for name in names if name[0] != "(" or any(folder.glob(f"{name[1:-1]}/*.py"))]
    there += [name for name in names if name[0] == "(" and (folder / f"{name[1:-1]}.py").exists()]
    return " | ".join(name.strip("()") for name in there)


def example(kind_name: str) -> str:
    """The example of a kind: the file `ok-example.yaml` among its test data."""
    return (KINDS / kind_name.lower() / "testdata" / "ok-example.yaml").read_text()


def manifests() -> str:
    """The page of the manifests, as Markdown."""
    lines = [prose.INTRODUCTION, *_contents(), prose.RULES, *_formats(), *_sizes()]
    for name in kind.kinds():
        lines += _kind(name)
    lines += ["## Shared shapes", "", "What several kinds use.", ""]
    for shape in shapes.shared():
        lines += _shape(shape)
    lines += [*_expressions(), *_errors(), prose.LATER]
    return "\n".join(lines).rstrip() + "\n"


def _contents() -> Iterator[str]:
    yield "| kind | |"
    yield "|---|---|"
    for name, one in kind.kinds().items():
        where = " Platform source only." if one.scope == "platform" else ""
        about = shapes.definitions()[shapes.spec_of(name)]["description"]
        yield f"| [{name}](#{name.lower()}) | {about}{where} |"
    yield ""


def _formats() -> Iterator[str]:
    yield "### Formats"
    yield ""
    yield "| word | |"
    yield "|---|---|"
    for word, pattern in shapes.FORMATS.items():
        yield f"| {word} | {shapes.cell(fields.PATTERN_HELP[pattern])} |"
    yield ""


def _sizes() -> Iterator[str]:
    yield "### Sizes"
    yield ""
    yield "| what | at most |"
    yield "|---|---|"
    for what, most in (
        ("bytes of a file", yamltext.MAX_BYTES),
        ("levels of nesting in a document", yamltext.MAX_DEPTH),
        ("values in a file", yamltext.MAX_NODES),
        ("files of a source", snapshot.MAX_FILES),
        ("characters of an expression", grammar.MAX_SOURCE),
        ("terms of an expression", grammar.MAX_NODES),
        ("loops inside each other in an expression", calls.MAX_LOOPS),
        ("elements an expression goes over or gives", library.MAX_ITEMS),
        ("characters of a text an expression gives", library.MAX_TEXT),
        ("levels of a JSON Schema", userschema.MAX_DEPTH),
        ("parts of a JSON Schema", userschema.MAX_NODES),
        ("characters of a pattern in a JSON Schema", userschema.MAX_PATTERN),
    ):
        yield f"| {what} | {most:,} |"
    yield ""
    yield f"A source's manifests stand in {_code_list(paths.DEFAULT_INCLUDE)} unless its `include` says otherwise."
    yield ""


def _kind(name: str) -> Iterator[str]:
    spec = shapes.spec_of(name)
    yield f"## {name}"
    yield ""
    yield f"{shapes.definitions()[spec]['description']} {prose.KINDS.get(name, '')}".rstrip()
    yield ""
    yield f"```yaml\n{example(name)}```"
    yield ""
    yield from shapes.table(spec)
    yield ""
    if name == "Workflow":
        yield from _steps()
    if name == "Model":
        yield from _providers()
    for shape in shapes.own(name):
        yield from _shape(shape)


def _shape(shape: str) -> Iterator[str]:
    yield f"### {shape}"
    yield ""
    yield f"{shapes.definitions()[shape]['description']} {prose.SHAPES.get(shape, '')}".rstrip()
    yield ""
    yield from shapes.table(shape)
    yield ""


def _providers() -> Iterator[str]:
    given = [name for name in get_args(blocks.Provider) if name not in prose.PROVIDERS]
    yield "### Providers"
    yield ""
    yield "| provider | |"
    yield "|---|---|"
    for name, about in prose.PROVIDERS.items():
        yield f"| `{name}` | {about} |"
    yield ""
    yield f"{prose.OTHER_PROVIDERS} {_code_list(given)}. {prose.NO_PROVIDER}"
    yield ""
    yield "| provider | `baseUrl` unless given |"
    yield "|---|---|"
    for name, url in providers.BASE_URLS.items():
        yield f"| `{name}` | `{url}` |"
    yield ""


def _steps() -> Iterator[str]:
    yield "### Steps"
    yield ""
    yield prose.STEPS
    yield ""
    yield "| action | outcomes | output | modifiers |"
    yield "|---|---|---|---|"
    for action in (*ACTIONS, "set"):
        outcomes = prose.OUTCOMES.get(action) or " ".join(
            f"`{outcome}`" for outcome in steprules.OUTCOMES.get(action, actions.DONE)
        )
        modifiers = [key for key, allowed, _ in steprules.APPLIES.values() if action in allowed and key != action]
        yield f"| `{action}` | {outcomes} | {prose.OUTPUTS[action]} | {_code_list(['when', *modifiers])} |"
    yield ""
    yield prose.ROUTES
    yield ""


def _expressions() -> Iterator[str]:
    yield prose.EXPRESSIONS
    yield "### Names in scope"
    yield ""
    yield "| where | names |"
    yield "|---|---|"
    for where, scope, further in (
        ("a step of a Workflow", scopes.STEP, prose.STEP_NAMES),
        ("instructions and fixed arguments of an Agent", scopes.RUN, ("`input`",)),
        ("`query`, `headers`, `body` of an operation", {}, ("`input`",)),
        ("`result` of an operation", scopes.RESPONSE, ("`input`",)),
        ("`errors` of an operation", scopes.RESPONSE, ()),
        ("a rule of a scripted Model", scopes.SCRIPT, ()),
        ("a Trigger", scopes.EVENT, ()),
        ("a Policy", scopes.POLICY, ()),
    ):
        names = [*further, *(f"`{name}` {_type(of)}" for name, of in scope.items())]
        yield f"| {where} | {'<br>'.join(shapes.cell(name) for name in names)} |"
    yield ""
    yield prose.NAMES
    yield "### Functions"
    yield ""
    yield "Ours:"
    yield ""
    yield from _functions(ours=True)
    words = ("sized", "time", "span", "convertible", "readable", "scalar", "comparable")
    told = ", ".join(f"`{word}` {_said(word)}" for word in words)
    yield f"Words for what is taken: {told}."
    yield ""
    yield "CEL's own, with its extensions for strings, math, optionals and bindings:"
    yield ""
    yield from _functions(ours=False)


def _functions(*, ours: bool) -> Iterator[str]:
    yield "| function | |"
    yield "|---|---|"
    for function in functions.REGISTRY:
        if function.ours is ours:
            call, arrow, result = function.signature.partition(" -> ")
            signature = f"{call}{arrow}{prose.RESULTS.get(result, result)}"
            yield f"| `{shapes.cell(signature)}` | {shapes.cell(function.doc)} |"
    yield ""


def _said(word: str) -> str:
    return "numbers, text, truth values and times" if word == "comparable" else functions.describe(word)


def _type(of: types.Type) -> str:
    """A type in a cell: ``{id: string, turns: int}``."""
    maybe = "?" if of.nullable else ""
    if of.kind == "object" and of.fields is not None:
        return "{" + ", ".join(f"{name}: {_type(field)}" for name, field in of.fields.items()) + "}" + maybe
    if of.kind in ("list", "map"):
        return f"{of.kind} of {_type(of.item or types.DYN)}{maybe}"
    return ("any" if of.kind == "any" else of.kind) + maybe


def _errors() -> Iterator[str]:
    yield prose.ERRORS
    yield "| class | below | when |"
    yield "|---|---|---|"
    for class_ in errors.CLASSES:
        above = errors.lineage(class_)[1:2]
        yield f"| `{class_}` | {_code_list(above)} | {prose.ERROR_CLASSES[class_]} |"
    yield ""


def _code_list(words: object) -> str:
    assert isinstance(words, (tuple, list))
    return ", ".join(f"`{word}`" for word in words)


def write(given: Mapping[Path, str]) -> None:
    """Write the pages that are not up to date, and say which."""
    for path, text in given.items():
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    write(pages())
