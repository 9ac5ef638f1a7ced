"""The pure half of AgentOS: manifest text in, immutable artifacts out.

Nothing here knows of databases, sockets, git or the clock; `runtime` is the one package that may do I/O, because it
runs what the others compile. The layers, top to bottom, stand in `docs/architecture.md`; import contracts hold them.
"""
