"""Expressions: CEL wherever a manifest computes something, typed from JSON Schema.

`types` derives types from schemas, `check` finds mistakes and inserts number conversions, `template` does the same for
text with ``${…}`` and whole values, `evaluate` runs what was checked, `functions` is the registry of what can be
called. Pure: no I/O, no clock, no randomness. Import the modules and qualify: ``check.check``, ``evaluate.render``.
"""
