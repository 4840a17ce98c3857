"""Execution of a plan: submit, poll, download, reconcile. Knows fal by protocol only."""
