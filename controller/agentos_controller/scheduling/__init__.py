"""Schedules: which ticks are due (`ticks`), and what one tick does in the database (`firing`), driven by `loop`.

Exactly-once comes from the rows, never from the loop: a tick advances its schedule, is logged and creates its run in
one transaction under keys that exist once.
"""
