"""Downloads against curl at equal parallelism, and memory against the size of a file."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.programs import StandIn, Usage, kling_batch, measure, stand_in, write_batch
from benchmarks.results import Figure
from benchmarks.rows.base import Load, Measured, Place, Row, empty, explained, run_on_stand_in

#: Exit code of a run that leaves its requests open.
STILL_OPEN = 6

#: Downloads at once, for curl as many as for a run (`engine.file_fetch.PARALLEL`).
PARALLEL = 8


def against_curl(place: Place) -> Measured:
    """200 files of 10 MB: a run that only collects, and curl before and after it.

    Twice, because whoever writes first may pay for memory that the system has yet to find: in a
    virtual machine, writing 500 MB took 0.47 s the first time and 0.09 s later. curl's figures are
    the mean of both.
    """
    count, size = place.pick(200, 60, 4), place.pick(10_000_000, 10_000_000, 300_000)
    with place.fresh() as folder:
        write_batch(folder, count)
        with stand_in(folder, slots=count, service=0.05, size=size) as service:
            window = str(count)
            common = ("run", "m.yaml", "--yes", "--quiet", "-j", window, "--rate", "2000/s")
            measure(
                kling_batch(*common, "--detach"),
                folder=folder,
                env=service.env,
                codes=(STILL_OPEN,),
            )
            references = [curl(folder, service, count, PARALLEL)]
            before = service.books()
            ours = measure(kling_batch(*common, "--collect"), folder=folder, env=service.env)
            after = service.books()
            got = sum(1 for _ in (folder / "outputs").rglob("*.mp4"))
            empty(folder / "outputs")
            parallel = after["peaks"]["files"]
            references.append(curl(folder, service, count, PARALLEL))
    wall = sum(each.wall for each in references) / len(references)
    cpu = sum(each.cpu for each in references) / len(references)
    serving = after["cpu"] - before["cpu"]
    details: dict[str, Any] = {
        "files": count,
        "bytes": size,
        "parallel": parallel,
        "ours": vars_of(ours),
        "curl": [vars_of(each) for each in references],
        "stand_in_cpu": serving,
    }
    figures = [
        Figure(
            name="wall time ÷ curl's",
            value=ours.wall / wall,
            bound=1.5,
            note=f"{ours.wall:.1f} s, curl {wall:.1f} s, {parallel} at once",
        ),
        Figure(
            name="processor time ÷ curl's",
            value=ours.cpu / cpu,
            bound=2,
            note=f"{ours.cpu:.1f} s, curl {cpu:.1f} s",
        ),
        Figure(name="files", value=got, bound=count, at_least=True),
        Figure(name="processor time of the stand-in", value=serving, unit="s"),
    ]
    return Measured(figures, details)


def vars_of(usage: Usage) -> dict[str, float | int | None]:
    """A process for the details."""
    return {
        "code": usage.code,
        "wall": usage.wall,
        "cpu": usage.cpu,
        "memory_mb": usage.memory,
    }


def curl(folder: Path, service: StandIn, count: int, parallel: int) -> Usage:
    """The same files by curl, over the same proxy and with the same certificates."""
    target = Path(tempfile.mkdtemp(prefix="curl-", dir=folder))
    lines = [
        f'url = "https://v3.fal.media/files/bench/{number}.mp4"\noutput = "{target}/{number}.mp4"\n'
        for number in range(count)
    ]
    config = folder / "curl.txt"
    config.write_text("".join(lines))
    words = [
        *(
            "curl",
            "--parallel",
            "--parallel-max",
            str(parallel),
            "--silent",
            "--show-error",
        ),
        *("--fail", "--http1.1", "--proxy", service.proxy, "--cacert", service.bundle),
        *("--config", str(config)),
    ]
    usage = measure(words, folder=folder, env=service.env)
    empty(target)
    return usage


def memory_by_size(place: Place) -> Measured:
    """Four files of 10 MB, then four of 500 MB."""
    sizes = place.pick((10_000_000, 500_000_000), (10_000_000, 200_000_000), (1_000_000, 5_000_000))
    runs = [run_on_stand_in(place, Load(jobs=4, slots=4, service=0.1, size=size)) for size in sizes]
    small, large = (each.usage.memory for each in runs)
    figures = [
        Figure(name="most memory, large files ÷ small ones", value=large / small, bound=1.1),
        *(
            Figure(name=f"most memory, files of {size // 1_000_000} MB", value=each, unit="MB")
            for size, each in zip(sizes, (small, large), strict=True)
        ),
    ]
    return Measured(
        figures, {str(size): explained(run) for size, run in zip(sizes, runs, strict=True)}
    )


ROWS = (
    Row("files-10mb", "200 files of 10 MB over TLS, beside curl", against_curl),
    Row("file-memory", "memory with files of 10 MB and of 500 MB", memory_by_size),
)
