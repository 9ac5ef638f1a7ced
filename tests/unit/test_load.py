"""Loading files: what a manifest is, how documents are told apart, digests, packing."""

from __future__ import annotations

import pytest

from agentos_engine import load, model
from agentos_engine.model import ResourceRef

AGENT = """\
apiVersion: agentos/v1
kind: Agent
metadata: {name: one}
spec:
  model: fast
  instructions: {file: prompts/one.md}
  tools:
    shop: {connector: shop, operations: [get]}
"""
STEPS = """\
apiVersion: agentos/v1
kind: Workflow
metadata: {name: flow}
spec:
  steps:
"""


def loaded(text: str) -> load.File:
    return load.load(text.encode())


def said(file: load.File) -> list[tuple[str, int, int]]:
    return [(one.code, one.line, one.column) for one in file.diagnostics]


def test_a_manifest() -> None:
    (manifest,) = loaded(AGENT).at("agents/one.yaml").manifests
    assert manifest.ref == ResourceRef("Agent", "one")
    assert manifest.path == "agents/one.yaml"
    assert manifest.line == 1
    assert manifest.files == ("prompts/one.md",)
    assert [(str(one.to), one.part) for one in manifest.references] == [("Model/fast", None), ("Connector/shop", "get")]
    assert manifest.positions.of(manifest.references[1].at) == model.Position(8, 42)


def test_the_digest_forgets_form_and_keeps_meaning() -> None:
    digest = loaded(AGENT).manifests[0].digest
    other = "# a comment\n" + AGENT.replace("metadata: {name: one}", 'metadata:\n  "name": one')
    assert loaded(other).manifests[0].digest == digest
    assert loaded("---\n" + AGENT + "---\n" + AGENT.replace("one", "two")).manifests[0].digest == digest
    assert loaded(AGENT.replace("fast", "slow")).manifests[0].digest != digest
    assert loaded(AGENT.replace("{name: one}", "{name: one, labels: {a: b}}")).manifests[0].digest != digest


def test_the_order_of_steps_is_meaning_and_of_other_keys_is_not() -> None:
    one = loaded(STEPS + "    a: {agent: x}\n    b: {agent: x, when: 'true'}\n").manifests[0].digest
    other = loaded(STEPS + "    b: {when: 'true', agent: x}\n    a: {agent: x}\n").manifests[0].digest
    same = loaded(STEPS + "    a: {agent: x}\n    b: {when: 'true', agent: x}\n").manifests[0].digest
    assert one == same != other


def test_included_files_are_part_of_the_digest() -> None:
    (manifest,) = loaded(AGENT).manifests
    digests = {load.with_files(manifest, {"prompts/one.md": text}).digest for text in ("a", "b", "a")}
    assert len(digests | {manifest.digest}) == 3


def test_a_broken_document_says_which_resource_it_is() -> None:
    file = loaded(
        AGENT + "---\n" + AGENT.replace("one", "two").replace("model", "modle") + "---\n" + STEPS + "    a: {}\n"
    )
    assert [str(one.ref) for one in file.manifests] == ["Agent/one"]
    assert [(str(one.ref), one.document, one.line) for one in file.broken] == [
        ("Agent/two", 1, 10),
        ("Workflow/flow", 2, 19),
    ]
    assert [one.manifest is not None for one in file.broken] == [False, True]
    assert not file.lost
    assert sorted(said(file)) == [("InvalidStep", 24, 8), ("MissingKey", 13, 1), ("UnknownKey", 14, 3)]


@pytest.mark.parametrize(
    ("text", "expected", "lost"),
    [
        ("a: 1\n", [("NotAManifest", 1, 1)], True),
        ("- a\n", [("NotAManifest", 1, 1)], True),
        ("just text\n", [("NotAManifest", 1, 1)], True),
        (AGENT.replace("kind: Agent", "kind: Agnet"), [("NotAManifest", 2, 7)], True),
        (AGENT.replace("agentos/v1", "agentos/v2"), [("NotAManifest", 1, 13)], True),
        (AGENT.replace("kind: Agent\n", ""), [("NotAManifest", 1, 1)], True),
        (AGENT.replace("kind: Agent", "kind: [Agent]"), [("NotAManifest", 2, 7)], True),
        (AGENT.replace("{name: one}", "{}"), [("MissingKey", 3, 1)], True),
        (AGENT + "  x-own: [\n", [("YamlSyntax", 10, 1)], True),
        (AGENT + "  model: again\n", [("DuplicateKey", 9, 3)], False),
        (AGENT + "status: {}\n", [("UnknownKey", 9, 1)], False),
        (AGENT + "x-own: {any: thing}\n", [], False),
        ("---\n" + AGENT + "---\n# nothing\n", [], False),
    ],
)
def test_what_is_no_manifest(text: str, expected: list[tuple[str, int, int]], lost: bool) -> None:
    file = loaded(text)
    assert (said(file), file.lost) == (expected, lost)


def test_hints_for_kinds_and_words_from_elsewhere() -> None:
    assert loaded(AGENT.replace("kind: Agent", "kind: Agnet")).diagnostics[0].hint == "Did you mean `Agent`?"
    assert loaded("apiVerson: agentos/v1\nkund: Agent\n").diagnostics[0].hint == (
        "Did you mean `apiVersion` instead of `apiVerson`?"
    )
    (found,) = loaded(STEPS + "    a: {agent: x, forEach: [1]}\n").diagnostics
    assert found.hint == "Write `map: {over: …}`."
    (found,) = loaded(STEPS + "    a: {agent: x, undo: {agent: y}}\n").diagnostics
    assert found.hint == "`undo` is not in this release."


def test_an_alias_makes_no_noise() -> None:
    file = loaded(AGENT.replace("model: fast", "model: &m fast").replace("{file: prompts/one.md}", "*m"))
    assert said(file) == [("YamlForbidden", 5, 10), ("YamlForbidden", 6, 17)]


SECRETS = [
    ("  x: 'sk-proj-abcdefghijklmnopqrstuvwx'", "an OpenAI or Anthropic key"),
    ("  x: AKIAABCDEFGHIJKLMNOP", "an AWS access key"),
    ("  x: 'https://user:pass@example.com'", "a password in an address"),
    ("  x: {dbPassword: hunter2}", "a literal under `dbPassword`"),
    ("  x: {api_key: 9fA3kLm0Qz81xT}", "a literal under `api_key`"),
    ("  x: {headers: {Authorization: Basic abc}}", "the header Authorization"),
    ("  x: '-----BEGIN RSA PRIVATE KEY-----'", "a private key"),
]


@pytest.mark.parametrize(("line", "what"), SECRETS)
def test_secrets_that_stand_as_text(line: str, what: str) -> None:
    (found,) = loaded(AGENT + line.replace("  x:", "  x-own:") + "\n").diagnostics
    assert (found.code, found.line) == ("SecretLiteral", 9)
    assert found.message == f"{what} stands here as text"


@pytest.mark.parametrize(
    "line",
    [
        "  x-own: {token: '${input.token}', maxTokens: '1000', next_token: page}",
        "  x-own: {auth: {secret: openai-key-9fA3kLm0Qz81xT}, password: ''}",
        "  x-own: {headers: {Accept: application/json, X-Request-Source: agentos-scheduled-run}}",
        "  x-own: {description: The password is asked for., task: desk-work-that-needs-more-attention}",
    ],
)
def test_what_only_looks_like_a_secret(line: str) -> None:
    assert loaded(AGENT + line + "\n").diagnostics == ()


def test_a_secret_is_never_repeated_in_a_message() -> None:
    canary = "sk-canary-abcdefghijklmnopqrstuvwx"
    text = AGENT.replace("model: fast", f"model: {canary}").replace("{name: one}", f"{{name: {canary}}}")
    assert canary not in str([one.as_json() for one in loaded(text).diagnostics])


def test_packing_keeps_everything() -> None:
    text = AGENT + "---\n" + STEPS + "    a: {}\n---\nkind: x\n"
    file = loaded(text)
    again = load.File.unpack(file.pack())
    assert again.pack() == file.pack()
    assert again.diagnostics == file.diagnostics
    assert again.lost == file.lost
    assert again.broken[0].diagnostics == file.broken[0].diagnostics
    for before, after in zip(file.manifests, again.manifests, strict=True):
        assert (before.ref, before.spec, before.digest, before.references, before.files, before.line) == (
            after.ref, after.spec, after.digest, after.references, after.files, after.line,
        )  # fmt: skip
        assert dict(before.positions.values) == dict(after.positions.values)


def test_a_pointer_of_git_lfs_is_no_manifest_and_deletes_nothing() -> None:
    file = load.load(b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 12345\n")
    (found,) = file.diagnostics
    assert (found.code, found.line, found.hint) == ("FileForbidden", 1, "Store the file in git itself.")
    assert file.lost


def test_annotations_of_ours_are_checked_and_others_are_free() -> None:
    text = """apiVersion: agentos/v1
kind: Model
metadata:
  name: fast
  annotations:
    agentos/deletion: orphn
    agentos/drain-deadline: "1 hour"
    agentos/deleton: drain
    example.com/owner: ada
spec: {provider: scripted, script: [{text: a}]}
"""
    found = load.load(text.encode()).diagnostics
    assert [(one.code, one.line) for one in found] == [("InvalidValue", 6), ("InvalidValue", 7), ("UnknownKey", 8)]
    assert [one.hint for one in found][::2] == ["Did you mean `orphan`?", "Did you mean `agentos/deletion`?"]
    good = text.replace("orphn", "drain").replace("1 hour", "90m").replace("    agentos/deleton: drain\n", "")
    (manifest,) = load.load(good.encode()).manifests
    assert manifest.annotations["agentos/drain-deadline"] == "90m"
