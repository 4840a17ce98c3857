"""Run batches of paid Kling O3 generations on fal.ai, and pay for nothing twice."""

__version__ = "0.1.0"
