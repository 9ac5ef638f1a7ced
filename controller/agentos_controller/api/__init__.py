"""The HTTP surface: `/v1`, in camelCase, with RFC 9457 problems.

It reads through `views`, starts runs through `runs.records`, and writes what is to be done as rows (commands, plans):
it never calls the reconciler, and never imports the graph runtime.
"""
