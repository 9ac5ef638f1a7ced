"""The read model: rows in, the JSON everyone sees out.

The API answers it, the CLI prints it, a console shows it: nobody else turns rows into words. One module per noun;
`shapes` names every form. Nothing here writes, and every query on tenant data starts with the tenant's id.
"""
