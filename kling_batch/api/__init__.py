"""The public functions and values of `kling_batch`, as `docs/python.md` describes them.

Turns friendly types into the program's own and back. Must not decide anything about a run.
"""
