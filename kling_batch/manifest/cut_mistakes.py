"""A document without its mistakes: what is right in it is read, so that one mistake is one problem.

Must not report anything.
"""

from __future__ import annotations

from kling_batch.core.jobs import JSON
from kling_batch.errors import ArgumentPath

#: Placeholder of an entry that is no mapping: this object, since an author may write an equal one.
CUT: dict[str, JSON] = {"id": None, "mode": None}


def cut(frame: dict[str, JSON], place: ArgumentPath) -> None:
    """Remove what lies at the place of a mistake; a job that is no mapping becomes an empty one."""
    match place:
        case ("jobs", int(index)):
            frame["jobs"][index] = CUT
        case ("jobs", int(index), "matrix", str(name)):
            _cut_name(frame["jobs"][index], "matrix", name)
        case ("jobs", int(index), str(name), *_):
            frame["jobs"][index].pop(name, None)
        case ("limits" | "defaults" | "vars" | "env" | "renditions" as part, str(name), *_):
            _cut_name(frame, part, name)
        case ("jobs",) | ():
            frame["jobs"] = [CUT]
        case _:
            frame.pop(str(place[0]), None)


def _cut_name(parent: dict[str, JSON], part: str, name: str) -> None:
    """Remove one name of a part, or all of it where nothing else is left."""
    # Where two mistakes are at one name, it was removed with the first one.
    kept = {each: value for each, value in parent.get(part, {}).items() if each != name}
    if kept:
        parent[part] = kept
    else:
        parent.pop(part, None)
