"""One module per noun, each with a `router`. The operation id of a route is the name of its function."""
