"""The shape of the program beyond its import contracts: one home per library, purity, money."""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import kling_batch

ROOT = Path(kling_batch.__file__).parent
PACKAGE = "kling_batch"


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def name_of(path: Path) -> str:
    """`kling_batch/engine/gate.py` → `engine.gate`; the package itself is ``."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts).removesuffix("__init__").removesuffix(".")


MODULES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}
CLIENT = {name: path for name, path in MODULES.items() if name.partition(".")[0] != "emulator"}
EMULATOR = {name: path for name, path in MODULES.items() if name.partition(".")[0] == "emulator"}


def imports(path: Path, *, late: bool) -> Iterator[str]:
    """Absolute names of what a module imports; `late`: inside functions too."""
    nodes = ast.walk(tree(path)) if late else top_level(tree(path))
    package = [PACKAGE, *path.relative_to(ROOT).parent.parts]
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            whole = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{whole}.{alias.name}".removeprefix(f"{PACKAGE}.")
                yield f"{PACKAGE}.{inner}" if inner in MODULES else whole


def top_level(module: ast.Module) -> Iterator[ast.AST]:
    for node in module.body:
        yield node
        if isinstance(node, ast.Try | ast.With):
            yield from ast.walk(node)


def house(path: Path, *, late: bool) -> set[str]:
    """What of the house a module imports."""
    found = {name for name in imports(path, late=late) if name.split(".")[0] == PACKAGE}
    return {name.removeprefix(PACKAGE).removeprefix(".") for name in found} - {""}


@cache
def libraries(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path, late=True)} - {PACKAGE}


def homes(library: str) -> set[str]:
    return {name for name, path in CLIENT.items() if library in libraries(path)}


# -- one home per library ----------------------------------------------------------------------

#: Each outside library, and the packages or modules that may know it.
HOMES: dict[str, set[str]] = {
    "httpx": {"fal", "wire"},
    "aiohttp": {"wire.sockets", "wire.long_body"},
    "yarl": {"wire.sockets"},
    "fal_client": {"fal"},
    "sqlite_utils": {"ledger"},
    "filelock": {"ledger.database"},
    "yaml": {"manifest.yaml_source"},
    "pydantic": {"manifest.schema"},
    "pydantic_core": {"manifest.schema"},
    "jinja2": {"manifest.templating", "report.gallery"},
    "rich": {"report.display"},
    "dotenv": {"fal.key_file"},
    "PIL": {"manifest.probe", "report.posters", "renditions.pictures", "renditions.frames"},
    "av": {"manifest.probe", "report.posters", "renditions.frames", "renditions.video"},
    "click": {"cli"},
    "mcp": {"mcp.server"},
    "anyio": {
        *("core.wakeup", "engine", "fal.client", "wire", "output.download", "output.worker"),
        *("operations", "mcp", "review.app", "renditions.pool", "workers"),
    },
    "starlette": {"review.app"},
    "uvicorn": {"review.server"},
    "trio": set(),
    "fsspec": {"output.drivers"},
    "paramiko": {"output.drivers"},
    "distributed": {"workers.dask"},
    "dask": {"workers.dask"},
    # Of the standard library: what only one place may do.
    "asyncio": {"wire.sockets", "wire.long_body", "output.worker", "workers.dask"},
    "threading": {
        "core.program_output",  # reads beside a program, which would wait for it
        "operations.notify",
        "output.drivers",
        "output.worker",
        "renditions.worker",
        "workers.rendering",
    },
    "subprocess": {"mcp.program", "operations.hooks", "renditions.pool", "renditions.command"},
    "apprise": {"operations.notify"},
    "time": {"report.display.watch", "renditions.worker", "workers.tasks"},
    "random": {"operations.connections", "engine.account", "engine.context", "engine.pacing"},
    "sqlite3": {"ledger"},
}


def at_home(name: str, homes: set[str]) -> bool:
    return any(name == home or name.startswith(f"{home}.") for home in homes)


def test_each_library_has_its_home() -> None:
    strangers = {
        library: {name for name in homes(library) if not at_home(name, allowed)}
        for library, allowed in HOMES.items()
    }

    assert {library: names for library, names in strangers.items() if names} == {}


def test_every_outside_library_is_known_here() -> None:
    outside = {library for path in CLIENT.values() for library in libraries(path)}

    assert outside - set(sys.stdlib_module_names) - {PACKAGE} <= set(HOMES)


# -- pure ---------------------------------------------------------------------------------------

#: Values in, values out. Who may import whom is in the contracts of pyproject.toml.
PURE = sorted(
    {
        name
        for name in CLIENT
        if name.partition(".")[0] in ("core", "catalog", "errors", "exit_codes")
    }
    | {
        *("fal.addresses", "wire.addresses", "wire.headers", "wire.protocol"),
        *(
            "fal.classify",
            "fal.responses",
            "ledger.first_schema",
            "ledger.migrations",
            "ledger.rows",
        ),
        *("planning.plan", "planning.retry", "engine.matching", "engine.pacing"),
        *("output.filetype", "settings", "report.run_report"),
    }
)

WORLD = {"os", "io", "socket", "shutil", "tempfile", "urllib.request", "http", "signal"}


def test_what_is_pure_touches_nothing() -> None:
    pure = [name for name in PURE if name != "output.filetype"]
    touched = {name: touches(name) for name in pure}

    assert {name: found for name, found in touched.items() if found} == {}


def touches(name: str) -> set[str]:
    """What a module imports or calls of the world outside."""
    calls = {
        node.func.id
        for node in ast.walk(tree(CLIENT[name]))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    return libraries(CLIENT[name]) & WORLD | calls & {"open", "print", "input", "exec", "eval"}


def test_what_touches_the_world_would_be_found() -> None:
    assert touches("cli.main") == {"os", "open"}


def test_the_emulator_knows_no_client_library() -> None:
    theirs = {library for path in EMULATOR.values() for library in libraries(path)}

    assert theirs & {"fal_client", "sqlite_utils", "click", "rich", "pydantic", "jinja2"} == set()


# -- money -------------------------------------------------------------------------------------


def callers(method: str) -> set[str]:
    """Modules that call a method of this name."""
    return {
        name
        for name, path in CLIENT.items()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == method
    }


@pytest.mark.parametrize("method", ["submit", "intend"])
def test_money_is_spent_in_one_place(method: str) -> None:
    assert callers(method) == {"engine.submission"}


def test_nothing_waits_inside_the_ledger() -> None:
    """A method without `async` is a promise that nothing else runs until it returns."""
    assert {name for name in CLIENT if name.startswith("ledger") and waits(name)} == set()
    assert waits("engine.submission")


def waits(name: str) -> bool:
    waiting = ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith
    return any(isinstance(node, waiting) for node in ast.walk(tree(CLIENT[name])))


def test_nothing_waits_between_the_intent_and_the_post() -> None:
    (attempt,) = (
        node
        for node in ast.walk(tree(CLIENT["engine.submission"]))
        if isinstance(node, ast.AsyncFunctionDef) and node.name == "_attempt"
    )
    lines = ast.unparse(attempt).splitlines()
    begin = next(n for n, line in enumerate(lines) if ".intend(" in line)
    end = next(n for n, line in enumerate(lines) if ".submit(" in line)

    assert begin < end
    assert not [line for line in lines[begin:end] if "await" in line]


# -- SQL ---------------------------------------------------------------------------------------

#: How an SQL statement begins, also as part of an f-string.
STATEMENT = re.compile(
    r"\s*(select\s.+\sfrom\s|insert\s+into\s|update\s.+\sset\s|delete\s+from\s|pragma\s)",
    re.IGNORECASE | re.DOTALL,
)


def strings(module: ast.Module) -> Iterator[str]:
    """Every string of a module; of an f-string its text, with `…` for each value."""
    for node in ast.walk(module):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
            yield "".join(map(str, parts))


def test_sql_is_in_the_ledger_only() -> None:
    outside = {name for name in CLIENT if not at_home(name, {"ledger"})}

    assert {name for name in outside if sql_of(tree(CLIENT[name]))} == set()


def sql_of(module: ast.Module) -> list[str]:
    """Statements, and names of methods that take one."""
    methods = {"execute", "executemany", "executescript", "query"}
    calls = [
        node.func.attr
        for node in ast.walk(module)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in methods
    ]
    return calls + [text for text in strings(module) if STATEMENT.match(text)]


def test_sql_would_be_found() -> None:
    text = 'f"select {columns} from {table}"; "update x set y = 1"; database.query(words)'

    assert len(sql_of(ast.parse(text))) == 3


# -- habits ------------------------------------------------------------------------------------


def test_no_module_is_too_long() -> None:
    lines = {name: len(path.read_text("utf-8").splitlines()) for name, path in MODULES.items()}

    assert {name: count for name, count in lines.items() if count > 400} == {}


def test_every_module_says_what_it_is() -> None:
    assert [name for name, path in MODULES.items() if not ast.get_docstring(tree(path))] == []


#: Who may catch everything, how often, and why that is right.
CATCH_ALL = {
    "ledger.database": 3,  # close what was opened, roll back what was begun; all raise again
    "ledger.ledger": 2,  # give the lock back; raises again
    "engine.name_locks": 2,  # give names back; raise again
    "engine.reads": 1,  # leaves the line; raises again
    "engine.job_flow": 1,  # frees the window place; raises again
    "operations.hooks": 1,  # ends the process that it has started; raises again
    "operations.renditions": 1,  # a rendition must not end a run that has paid; told, exit 1
    "operations.drive": 1,  # an error out of its task group, raised again
    "operations.run": 1,  # the run's exit code; raises again
    "operations.services": 1,  # the same of a change by hand
    "api.events": 1,  # a caller's function may raise anything; raised again
    "output.worker": 1,  # what work in a thread raised is raised where it was asked for
    "output.files": 1,  # the half file; raises again
    "output.objects": 2,  # a driver raises anything; raised again, in words
    "manifest.templating": 2,  # a user's template may raise anything
    "manifest.probe": 2,  # decoders raise anything over a strange file
    "report.posters": 1,  # the same
    "renditions.worker": 1,  # the same; an answer to the pool
    "fal.client": 2,  # whatever breaks a request, it left or it did not; both are outcomes
    "wire.sockets": 2,  # as `fal.client`: whatever breaks is told in the words of the protocol
    "wire.over_httpx": 2,  # the same
    "fal.upload": 1,  # fal-client over an answer that it does not expect
    "cli.commands.run": 1,  # what CI reads says so; raises again
    "cli.main": 1,  # every error in words; what is a defect is raised again
    "emulator.app": 1,  # a server answers
    "workers.dask": 3,  # Dask has errors of its own for each place; the run goes on
    "workers.rendering": 1,  # the half file; raises again
    "workers.tasks": 1,  # what a task raised, a worker would log with its address
}


def test_nobody_catches_everything_unasked() -> None:
    wide = {"Exception", "BaseException", "BaseExceptionGroup", "ExceptionGroup"}
    caught: Counter[str] = Counter()
    for name, path in MODULES.items():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None, f"{name}: bare except in line {node.lineno}"
                names = {n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)}
                caught[name] += bool(names & wide)

    assert {name: n for name, n in caught.items() if n > CATCH_ALL.get(name, 0)} == {}


RERAISING = (
    "cli.commands.run",
    "ledger.database",
    "ledger.ledger",
    "engine.name_locks",
    "engine.reads",
    "engine.job_flow",
    "operations.drive",
    "operations.run",
    "operations.services",
    "output.files",
)


def test_what_catches_everything_to_clean_up_raises_it_again() -> None:
    for name in RERAISING:
        for node in ast.walk(tree(CLIENT[name])):
            if isinstance(node, ast.ExceptHandler) and ast.unparse(node.type or node) in (
                "Exception",
                "BaseException",
            ):
                assert any(isinstance(inner, ast.Raise) for inner in ast.walk(node)), name


def test_the_wall_clock_is_read_at_the_edge_only() -> None:
    readers = {
        name
        for name, path in CLIENT.items()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and node.attr in ("now", "today", "utcnow")
        if isinstance(node.value, ast.Name) and node.value.id in ("datetime", "date")
    }

    assert readers <= {
        "cli.displays",
        "cli.failures",
        "operations.services",
        "report.display.choose",
        "report.display.page",
        "report.gallery",
    }


def test_only_the_lazy_packages_import_for_types_alone() -> None:
    """import-linter does not see such imports; there they name the same modules as the table."""
    conditional = {
        name
        for name, path in CLIENT.items()
        if any(isinstance(n, ast.Name) and n.id == "TYPE_CHECKING" for n in ast.walk(tree(path)))
    }

    assert conditional == {"", "operations"}
