"""The controller: git, reconciling, runs, HTTP API and command line; everything with state or sockets."""
