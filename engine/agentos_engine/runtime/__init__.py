"""Runs artifacts: turns compiled bodies into LangGraph graphs and talks to models and connectors.

The only part of the engine with I/O. It reads artifact bodies, never a manifest, and holds no tenant's secrets:
whatever a run needs from outside reaches it through `services.Services` in the run's config. Durability, queues and
who may do what are the controller's. Importing this package is cheap; nobody imports its modules before the first run.
"""

import os

# Read when LangGraph is first imported: without it a checkpoint may name any Python callable, imported and run on load.
os.environ["LANGGRAPH_STRICT_MSGPACK"] = "true"
