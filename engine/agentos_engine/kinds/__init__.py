"""The kinds of manifests, one folder each; `agentos_engine.kind.kinds` finds them."""
