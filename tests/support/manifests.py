"""Manifests as a test writes them: text in, jobs or problems out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

from kling_batch.core.jobs import Batch, Job
from kling_batch.errors import ManifestError, Problem
from kling_batch.manifest.loader import load


def write(folder: Path, text: str, name: str = "batch.yaml") -> Path:
    path = folder / name
    path.write_bytes(dedent(text).encode())
    return path


def batch(
    folder: Path,
    text: str,
    name: str = "batch.yaml",
    variables: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Batch:
    return load(write(folder, text, name), variables=variables, environ=environ or {})


def jobs(folder: Path, text: str, **more: str) -> dict[str, Job]:
    return {job.label: job for job in batch(folder, text, **more).jobs}


def problems(
    folder: Path,
    text: str,
    name: str = "batch.yaml",
    variables: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
) -> list[Problem]:
    """Everything that is wrong, with places relative to the folder."""
    try:
        batch(folder, text, name, variables, environ)
    except ManifestError as error:
        return list(error.problems)
    return []


def messages(folder: Path, text: str, **more: str) -> list[str]:
    """The same as lines, without the folder."""
    return [str(each).replace(f"{folder}/", "") for each in problems(folder, text, **more)]
