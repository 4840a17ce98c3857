"""Workers on other machines: they move files, make renditions, and nothing else.

What runs there is idempotent: a worker that is killed costs time. Nothing of this package reaches
fal's queue, its key or the ledger (a contract in pyproject.toml).
"""
