"""Manifests made to hurt: each becomes a clear diagnostic, in bounded time and memory."""

from __future__ import annotations

import tracemalloc

import pytest

from agentos_engine import load, validate

HEAD = "apiVersion: agentos/v1\nkind: Agent\nmetadata: {name: bad}\nspec:\n  model: fast\n"
FLOW = "apiVersion: agentos/v1\nkind: Workflow\nmetadata: {name: bad}\nspec:\n"
MODEL = (
    "apiVersion: agentos/v1\nkind: Model\nmetadata: {name: fast}\nspec: {provider: scripted, script: [{text: hi}]}\n"
)
CONNECTOR = (
    "apiVersion: agentos/v1\nkind: Connector\nmetadata: {name: c}\nspec:\n  http: {baseUrl: 'https://a.example.com'}\n"
)
LAUGHS = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10))


def doubling(form: str) -> str:
    """Forty shared schemas, each naming the next twice."""
    lines = (form.replace("NEXT", f"{{$ref: '#/$defs/A{i + 1}'}}") for i in range(40))
    defs = "".join(f"    A{i}: {line}\n" for i, line in enumerate(lines))
    return f"  output: {{$ref: '#/$defs/A0'}}\n  $defs:\n{defs}    A40: {{type: string}}\n"


FILES: dict[str, tuple[str | bytes, str]] = {
    "billion laughs": (LAUGHS, "YamlForbidden"),
    "100 KB of brackets": ("[" * 100_000, "TooDeep"),
    "100 KB of braces": ("{a: " * 25_000, "TooDeep"),
    "100 KB of dashes": ("- " * 50_000, "TooDeep"),
    "brackets in a value": (HEAD + "  x-a: " + "[" * 100_000, "TooDeep"),
    "deep nesting by indentation": ("".join(" " * i + "a:\n" for i in range(200)), "TooDeep"),
    "a million values": ("[" + "1," * 500_000 + "]", "TooManyNodes"),
    "more bytes than allowed": ("#" * (1 << 20) + "\n", "FileTooLarge"),
    "duplicate keys": (HEAD + "  model: slow\n", "DuplicateKey"),
    "a tag that builds an object": (HEAD + "  x-a: !!python/object/apply:os.system [ls]\n", "YamlForbidden"),
    "a local tag": (HEAD + "  x-a: !x 1\n", "YamlForbidden"),
    "an anchor": (HEAD + "  x-a: &x 1\n", "YamlForbidden"),
    "an alias to itself": (HEAD + "  x-a: &x [*x]\n", "YamlForbidden"),
    "a merge key": (HEAD + "  <<: {x-a: 1}\n", "YamlForbidden"),
    "invalid UTF-8": (HEAD.encode() + b"  x-a: \xc3\x28\n", "InvalidUtf8"),
    "UTF-16": (HEAD.encode("utf-16"), "InvalidUtf8"),
    "a NUL": (HEAD + "  x-a: a\0b\n", "YamlSyntax"),
    "a huge number": (HEAD + "  x-a: " + "9" * 100_000 + "\n", "InvalidValue"),
    "a huge key": (HEAD + "  " + "k" * 100_000 + ": 1\n", "YamlSyntax"),
    "a path out of the source": (HEAD + "  instructions: {file: ../../etc/passwd}\n", "FileOutsideSource"),
    "an absolute path": (HEAD + "  instructions: {file: /etc/passwd}\n", "FileNotFound"),
    "a remote schema": (HEAD + "  output: {$ref: 'http://169.254.169.254/latest'}\n", "InvalidSchema"),
    "a local schema file": (HEAD + "  output: {$ref: 'file:///etc/passwd'}\n", "InvalidSchema"),
    "a remote dialect": (HEAD + "  output: {$schema: 'http://evil.example.com/schema'}\n", "InvalidSchema"),
    "a schema that is its own": (HEAD + "  $defs: {A: {$ref: '#/$defs/A'}}\n", "InvalidSchema"),
    "a schema that multiplies": (HEAD + doubling("{allOf: [NEXT, NEXT]}"), "InvalidSchema"),
    "a pattern with a back-reference": (HEAD + "  output: {type: string, pattern: '(a+)\\1+$'}\n", "InvalidSchema"),
    "a pattern that explodes": (HEAD + "  output: {pattern: '((a{1,1000}){1,1000}){1,1000}'}\n", "InvalidSchema"),
    "a schema beyond measure": (
        HEAD + "  output: {type: object, properties: {" + ", ".join(f"p{i}: {{}}" for i in range(2_100)) + "}}\n",
        "InvalidSchema",
    ),
    "CEL of 10,000 terms": (FLOW + "  steps: {a: {when: '" + "1 + " * 9_999 + "1 > 0', agent: one}}\n", "InvalidValue"),
    "CEL of 2,000 terms": (FLOW + "  steps: {a: {set: {}, when: '" + "1+" * 1_999 + "1>0'}}\n", "ExpressionTooComplex"),
    "CEL of parentheses": (FLOW + "  steps: {a: {when: '" + "(" * 4_000 + "', end: done}}\n", "ExpressionTooComplex"),
    "CEL that is cubic": (
        FLOW + "  steps: {a: {when: 'range(9).all(a, range(9).all(b, range(9).all(c, a < b + c)))', end: done}}\n",
        "ExpressionTooComplex",
    ),
    "a template of 10,000 terms": (
        FLOW + "  steps: {a: {end: {outcome: done, output: '${" + "1 + " * 9_999 + "1}'}}}\n", "ExpressionTooComplex",
    ),
    "a thousand steps too many": (
        FLOW + "  steps:\n" + "".join(f"    s{i}: {{set: {{}}}}\n" for i in range(1_001)), "InvalidValue",
    ),
    "a redirecting parameter": (HEAD.replace("fast", "{provider: openai, params: {base_url: x}}"), "UnknownKey"),
    "a path traversal in a request": (CONNECTOR + "  operations: {a: {request: GET /../admin}}\n", "InvalidValue"),
    "an option in a ref": (
        "apiVersion: agentos/v1\nkind: Tenant\nmetadata: {name: t}\nspec: {sources: [{ref: '--upload-pack=x'}]}\n",
        "InvalidValue",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
@pytest.mark.timeout(5)
def test_hostile(name: str) -> None:
    text, code = FILES[name]
    data = text if isinstance(text, bytes) else text.encode()
    tracemalloc.start()
    try:
        report = validate.validate_tree({"agents/bad.yaml": data, "agents/good.yaml": MODEL.encode()})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert code in {one.code for one in report.diagnostics if one.is_error}
    assert {one.path for one in report.diagnostics} == {"agents/bad.yaml"}
    assert peak < 80 * len(data) + (16 << 20)


def test_a_thousand_mistakes_are_a_bounded_list() -> None:
    file = load.load((FLOW + "  steps:\n" + "".join(f"    s{i}: {{agnet: x}}\n" for i in range(900))).encode())
    assert [one.code for one in file.diagnostics] == ["UnknownKey"] * load.MAX_TOLD + ["TooManyProblems"]
    (broken,) = file.broken
    assert broken.diagnostics == file.diagnostics


def test_many_wrong_documents_are_each_wrong_and_told_in_part() -> None:
    file = load.load("---\n".join([HEAD + "  agnet: x\n"] * 300).encode())
    assert len(file.broken) == 300
    assert all(one.diagnostics for one in file.broken)
    assert len(file.diagnostics) == load.MAX_TOLD + 1


def test_a_pattern_of_nested_repeats_takes_linear_time() -> None:
    text = HEAD + "  output: {type: string, pattern: '^(a+)+$', default: '" + "a" * 5_000 + "b'}\n"
    report = validate.validate_tree({"agents/bad.yaml": text.encode(), "agents/good.yaml": MODEL.encode()})
    assert report.diagnostics == ()


def test_types_that_double_are_no_work() -> None:
    text = HEAD + doubling("{type: object, properties: {a: NEXT, b: NEXT}}")
    report = validate.validate_tree({"agents/bad.yaml": text.encode(), "agents/good.yaml": MODEL.encode()})
    assert report.diagnostics == ()
