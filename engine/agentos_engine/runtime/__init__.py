"""Runs artifacts: turns compiled bodies into LangGraph graphs and talks to models and connectors.

The only part of the engine with I/O. It reads artifact bodies, never a manifest, and holds no tenant's secrets:
whatever a run needs from outside reaches it through `services.Services` in the run's config. Durability, queues and
who may do what are the controller's. Importing this package is cheap; its modules that need LangGraph import it from
`lg`, and nobody imports those before the first run.
"""
