"""Runs: their rows and transitions, their events, approvals, and the executor that works them off.

Only `executor` and what it imports know DBOS and LangGraph; everything else here serves an API process that never
imports either.
"""
