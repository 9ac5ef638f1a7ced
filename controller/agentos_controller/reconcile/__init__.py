"""From what git says to what serves, tenant by tenant: level-based, incremental, one transaction per tenant.

`loop` looks at the sources and works through a queue of tenants; `gather` reads what one tenant's change touches;
`build` is pure and decides everything; `write` makes it so in one transaction. `bulk` runs many builds in worker
processes. A lost event costs a delay, never a state; whatever is wrong with one tenant or object stops no other.
"""
