"""Where manifests come from: git repositories read by object id, and working copies for development.

Nothing here writes a work tree, parses a manifest or knows a tenant. A source answers which blob stands at which path
at which revision, and hands out blobs; `reconcile` decides what that means.
"""
