"""Files that somebody who means harm might commit, each with the codes that answer it."""

from __future__ import annotations

from tests.support.manifests import HEAD


def _agent(name: str, more: str = "", instructions: str = "Be kind.") -> str:
    return (
        f"{HEAD}kind: Agent\nmetadata: {{name: {name}}}\nspec:\n  model: fast\n  instructions: {instructions}\n{more}"
    )


def _workflow(name: str, when: str, items: str = "{type: array, items: {type: integer}}") -> str:
    return (
        f"{HEAD}kind: Workflow\nmetadata: {{name: {name}}}\nspec:\n"
        f"  input: {{type: object, required: [items], properties: {{items: {items}}}}}\n"
        f'  steps:\n    go:\n      when: "{when}"\n      set: {{n: 1}}\n  state: {{n: {{type: integer}}}}\n'
    )


def _laughs() -> str:
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    return (
        HEAD
        + "kind: Agent\nmetadata: {name: laughs}\nspec:\n  model: fast\nx-own:\n"
        + "".join(f"  {line}\n" for line in lines)
    )


def _quadratic(depth: int) -> str:
    inner = "1"
    for level in range(depth):
        inner = f"input.items.map(v{level}, {inner})"
    return f"size({inner}) > 0"


FILES: dict[str, tuple[str | bytes, frozenset[str]]] = {
    path: (content, frozenset(codes.split()))
    for path, content, codes in (
        ("agents/laughs.yaml", _laughs(), "YamlForbidden"),
        ("agents/brackets.yaml", "[" * 100_000, "TooDeep NotAManifest"),
        ("agents/braces.yaml", "{a: " * 25_000, "TooDeep NotAManifest"),
        ("agents/dashes.yaml", "- " * 50_000, "TooDeep NotAManifest"),
        ("agents/indent.yaml", "".join(f"{' ' * n}k:\n" for n in range(1_000)), "TooDeep NotAManifest"),
        ("agents/nodes.yaml", HEAD + "x: [" + "1," * 400_000 + "]", "TooManyNodes FileTooLarge"),
        ("agents/large.yaml", "# " + "x" * 3 * 2**20, "FileTooLarge"),
        ("agents/duplicate.yaml", _agent("duplicate", "  model: slow\n"), "DuplicateKey"),
        ("agents/tag.yaml", _agent("tag", instructions="!!python/object/apply:os.system [id]"), "YamlForbidden"),
        ("agents/anchor.yaml", _agent("anchor", instructions="&x Be kind."), "YamlForbidden"),
        ("agents/merge.yaml", _agent("merge", "  <<: {model: slow}\n"), "YamlForbidden"),
        ("agents/latin.yaml", _agent("latin").encode() + b"# \xff\xfe\xe9\n", "InvalidUtf8"),
        ("agents/utf16.yaml", _agent("utf16").encode("utf-16"), "InvalidUtf8 YamlSyntax"),
        ("agents/nul.yaml", _agent("nul").encode() + b"x-own: \0\n", "YamlSyntax"),
        ("agents/outside.yaml", _agent("outside", instructions="{file: ../../../../etc/passwd}"), "FileOutsideSource"),
        ("agents/beside.yaml", _agent("beside", instructions="{file: ../../tame/secret.md}"), "FileOutsideSource"),
        ("agents/absolute.yaml", _agent("absolute", instructions="{file: /etc/passwd}"), "FileNotFound"),
        ("agents/huge-text.yaml", _agent("huge-text", instructions="{file: huge.md}"), "FileTooLarge"),
        ("agents/link-text.yaml", _agent("link-text", instructions="{file: link.md}"), "FileNotFound"),
        ("agents/link.yaml", "/etc/passwd", "FileForbidden"),
        (
            "agents/fetch.yaml",
            _agent("fetch", '  input: {$ref: "http://127.0.0.1:9/schema.json"}\n'),
            "InvalidSchema",
        ),
        ("agents/read.yaml", _agent("read", '  input: {$ref: "file:///etc/passwd"}\n'), "InvalidSchema"),
        (
            "agents/loop.yaml",
            _agent("loop", '  input: {$ref: "#/$defs/A"}\n  $defs: {A: {$ref: "#/$defs/A"}}\n'),
            "InvalidSchema",
        ),
        (
            "agents/redos.yaml",
            _agent("redos", "  input: {type: object, properties: {a: {type: string, pattern: '^(a|aa)+\\1$'}}}\n"),
            "InvalidSchema",
        ),
        ("workflows/terms.yaml", _workflow("terms", " + ".join(["1"] * 10_000) + " > 0"), "InvalidValue"),
        ("workflows/fewer.yaml", _workflow("fewer", "+".join(["1"] * 4_000) + " > 0"), "ExpressionTooComplex"),
        ("workflows/nested.yaml", _workflow("nested", "(" * 2_000 + "true" + ")" * 2_000), "ExpressionTooComplex"),
        ("workflows/quadratic.yaml", _workflow("quadratic", _quadratic(6)), "ExpressionTooComplex"),
        (
            "workflows/itself.yaml",
            f"{HEAD}kind: Workflow\nmetadata: {{name: itself}}\nspec: {{steps: {{a: {{workflow: itself}}}}}}\n",
            "ReferenceCycle",
        ),
        (
            "workflows/tenant.yaml",
            f"{HEAD}kind: Tenant\nmetadata: {{name: mine}}\nspec: {{sources: [{{path: .}}]}}\n",
            "KindNotAllowed",
        ),
        ("connectors/key.yaml", _agent("key", instructions="Say sk-proj-abcdefghijklmnopqrstuvwx."), "SecretLiteral"),
    )
}
"""Content and the codes one of which has to be among its diagnostics, by path in a source."""
TEXTS: dict[str, str | bytes] = {"agents/huge.md": "x" * (2 * 2**20), "agents/link.md": "/etc/passwd"}
"""What some of them include."""
LINKS = ("agents/link.yaml", "agents/link.md")
"""Which of them are symlinks, the content being where they lead."""
