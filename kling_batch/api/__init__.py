"""The public functions and values of `kling_batch`, as `docs/python.md` describes them.

Converts between public types and the program's own. Must not decide anything about a run.
"""
