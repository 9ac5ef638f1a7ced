"""From specs to artifact bodies: what the kinds' compilers share.

`report` checks expressions and gathers diagnostics, `scopes` says which names expressions see, `shapes` converts
between types and JSON Schema, `calls` fits arguments to callees, `models` and `agents` compile the two blocks that
stand in manifests of their own or inline. Kinds import these, never each other.
"""
