"""Small manifests for tests, as text."""

from __future__ import annotations

HEAD = "apiVersion: agentos/v1\n"


def model(name: str = "fast", text: str = "hello") -> str:
    return f"""{HEAD}kind: Model
metadata: {{name: {name}}}
spec:
  provider: scripted
  script: [{{text: "{text}"}}]
"""


def agent(name: str, model: str = "fast", instructions: str = "Be kind.") -> str:
    return f"""{HEAD}kind: Agent
metadata: {{name: {name}}}
spec:
  description: Greets.
  model: {model}
  instructions: {instructions}
  input: {{type: object, required: [who], properties: {{who: {{type: string}}}}}}
"""


def workflow(name: str, agent: str = "greeter", greeting: str = "Hi", labels: str = "{}") -> str:
    return f"""{HEAD}kind: Workflow
metadata: {{name: {name}, labels: {labels}}}
spec:
  input: {{type: object, required: [who], properties: {{who: {{type: string}}}}}}
  steps:
    greet:
      agent: {agent}
      with: {{who: "${{input.who}}"}}
  output: {{text: "{greeting} ${{steps.greet.output}}"}}
"""


def policy(name: str, deny: str, message: str = "Not allowed.", kinds: str = "[Agent]") -> str:
    return f"""{HEAD}kind: Policy
metadata: {{name: {name}}}
spec:
  applies: {{kinds: {kinds}}}
  rules:
    rule: {{deny: "{deny}", message: {message}}}
"""


def tenant(name: str, path: str) -> str:
    return f"""{HEAD}kind: Tenant
metadata: {{name: {name}}}
spec:
  sources: [{{path: {path}}}]
"""


def small() -> dict[str, str]:
    """A model, an agent that uses it, a workflow that calls the agent."""
    return {
        "agents/model.yaml": model(),
        "agents/greeter.yaml": agent("greeter"),
        "workflows/hello.yaml": workflow("hello"),
    }


def models(*numbers: int, text: str = "hello") -> dict[str, str]:
    """Resources that need nothing: the files of the models `m<number>`."""
    return {f"agents/m{number}.yaml": model(f"m{number}", text) for number in numbers}


def gone(*numbers: int) -> dict[str, None]:
    """The same files, removed."""
    return dict.fromkeys(models(*numbers))


def annotated(text: str, **annotations: str) -> str:
    """A manifest with annotations under `agentos/`; `_` in a key stands for `-`."""
    given = ", ".join(f'agentos/{key.replace("_", "-")}: "{value}"' for key, value in annotations.items())
    return text.replace("metadata: {", f"metadata: {{annotations: {{{given}}}, ")
