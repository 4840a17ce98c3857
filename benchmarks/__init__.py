"""Benchmarks of kling-batch: the program and its references in turn, on a stand-in for fal.

`python -m benchmarks` runs every row; README.md in this folder describes them. Not part of the
installed program, and must not be imported by it.
"""
