"""Model generations: each is a data module, found by lying there, and named nowhere else."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.manifests import jobs

import kling_batch
from kling_batch.catalog.registry import default_model, generations, models

PACKAGE = Path(kling_batch.__file__).parent
DATA = PACKAGE / "catalog" / "generations"

# -- names ---------------------------------------------------------------------------------------


def texts(path: Path) -> list[str]:
    """Every text and name of a module, docstrings left out."""
    tree = ast.parse(path.read_text())
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docs = {id(n.body[0].value) for n in ast.walk(tree) if isinstance(n, holders) and doc(n)}
    found = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs
    ]
    found += [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
    return found + [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)]


def doc(node: ast.AST) -> bool:
    return ast.get_docstring(node) is not None  # type: ignore[arg-type]


def test_no_generation_is_named_outside_its_data_module() -> None:
    word = re.compile("|".join(rf"(?<![\w.]){re.escape(name)}(?![\w.])" for name in models()))
    named = {
        str(path.relative_to(PACKAGE)): hits
        for path in sorted(PACKAGE.rglob("*.py"))
        if DATA not in path.parents and "emulator" not in path.parts
        if (hits := [text for text in texts(path) if word.search(text.lower())])
    }

    assert named == {}


def test_a_data_module_names_no_other_generation() -> None:
    for path in DATA.glob("*.py"):
        modules = {
            alias.name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }

        assert modules.isdisjoint(each.stem for each in DATA.glob("*.py")), path.name


def test_one_generation_is_the_default() -> None:
    assert [each.name for each in generations() if each.default] == [default_model()] == ["o3"]


# -- keys ----------------------------------------------------------------------------------------

BEFORE = """\
jobs:
- {id: t2v, mode: text-to-video, prompt: A kite}
- {id: sound, mode: text-to-video, tier: standard, prompt: A kite, duration: 7, generate_audio: yes}
- {id: uhd, mode: text-to-video, tier: 4k, prompt: A kite, aspect_ratio: portrait}
- {id: shots, mode: text-to-video, multi_prompt: [{prompt: a, duration: 3}, {prompt: b}]}
- {id: i2v, mode: image-to-video, prompt: It flies, image_url: "https://a.example/1.png"}
- {id: child, mode: image-to-video, prompt: It flies, image_url: {job: t2i, output: 2}}
- id: r2v
  mode: reference-to-video
  prompt: "@Image1 and @Element1"
  image_urls: ["https://a.example/1.png"]
  elements: [{video_url: "https://a.example/1.mp4", voice_id: v}]
- {id: edit, mode: edit, prompt: Night, video_url: {job: t2v}}
- {id: remix, mode: remix, tier: standard, prompt: Ink, video_url: "https://a.example/1.mp4"}
- {id: t2i, mode: text-to-image, prompt: A kite, num_images: 2, resolution: 4K}
- {id: i2i, mode: image-to-image, prompt: A kite, image_urls: "https://a.example/1.png"}
"""
KEYS = {
    "t2v": "k1:846d9d5e1559d4ed651eed03dc8312b5",
    "sound": "k1:dca7202c2e08a039a602173bec058cc3",
    "uhd": "k1:890ba8363d9cd85d7f5ccf48b950bc08",
    "shots": "k1:cd1d0a07bbced871c1c24f0e2b8a5f99",
    "i2v": "k1:82b8a147de096b0909cb8bcfc944865e",
    "r2v": "k1:86b22f53f4fb3de64ff3c17cb3ccf16c",
    "edit": "k1:d8f9a8be74b2688ead709630825609d2",
    "remix": "k1:4ebc989c0cfd69a25dde1ac22a548be2",
    "t2i": "k1:daf41abce9b9fbb2ebf3b293db6d9820",
    "child": "k1:c601caf3f4a7e3ce7c3bad5239daacf4",
    "i2i": "k1:b915f85b3858433c060fce208ffed5f1",
}


@pytest.mark.parametrize("model", ["", "defaults: {model: o3}\n"])
def test_keys_of_jobs_from_before_there_were_generations(tmp_path: Path, model: str) -> None:
    made = jobs(tmp_path, model + BEFORE)

    assert {name: job.key for name, job in made.items()} == KEYS


# -- a new one -----------------------------------------------------------------------------------

NEW = '''
"""A generation that a test adds."""

from kling_batch.catalog import common, rules
from kling_batch.catalog.endpoint import Endpoint, Generation
from kling_batch.catalog.pricing import PerSecond, Rate

GENERATION = Generation(
    name="v99",
    doc="Of the future.",
    since="2099-01",
    endpoints=(
        Endpoint(
            id="acme/v99/text-to-video",
            mode="text-to-video",
            tier="pro",
            output="video",
            doc="A clip.",
            parameters=(common.PROMPT_NEEDED, common.DURATION),
            rules=(rules.mentions,),
            price=PerSecond((Rate(usd="0.5"),)),
            source="nowhere",
            dated="2099-01",
            price_source="nowhere",
            price_dated="2099-01",
        ),
        Endpoint(
            id="acme/v99/dance",
            mode="dance",
            tier="pro",
            output="video",
            doc="A dance.",
            parameters=(common.PROMPT_NEEDED,),
            rules=(),
            price=None,
            source="nowhere",
            dated="2099-01",
            price_source="nowhere",
            price_dated="2099-01",
        ),
    ),
)
'''
RUN = """\
import sys
import kling_batch.catalog.generations as generations
generations.__path__.append(sys.argv.pop(1))
from kling_batch.cli.main import main
sys.exit(main())
"""


def kling(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command, with another data module beside the others."""
    command = [sys.executable, "-c", RUN, str(folder / "more"), *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)


def test_a_new_generation_needs_one_data_module(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "v99.py").write_text(NEW)
    text = (
        "defaults: {model: MODEL}\njobs: [{id: a, mode: text-to-video, prompt: x, duration: 7}]\n"
    )
    (tmp_path / "m.yaml").write_text(text.replace("MODEL", "v99"))
    plan = kling(tmp_path, "plan", "m.yaml", "--json")
    catalog = kling(tmp_path, "catalog")
    schema = json.loads(kling(tmp_path, "schema").stdout)

    job = json.loads(plan.stdout)["jobs"][0]
    assert (job["endpoint"], job["estimate_usd"]) == ("acme/v99/text-to-video", 3.5)
    assert "acme/v99/text-to-video" in catalog.stdout
    assert "v99" in json.dumps(schema["$defs"]["Job"]["properties"]["model"])


def test_an_unpublished_price_stops_a_cap_until_the_job_gives_one(tmp_path: Path) -> None:
    """A mode that one model alone has needs no `model:`."""
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "v99.py").write_text(NEW)
    job = "jobs: [{id: a, mode: dance, prompt: x, PRICE}]\n"
    (tmp_path / "open.yaml").write_text(job.replace(", PRICE", ""))
    (tmp_path / "said.yaml").write_text(job.replace("PRICE", "price: 1.5"))
    refused = kling(tmp_path, "run", "open.yaml", "--emulator", "--max-cost", "5")
    plan = json.loads(kling(tmp_path, "plan", "said.yaml", "--json").stdout)

    assert refused.returncode == 2
    assert "a: its price is unknown, so" in refused.stderr
    assert "give the job a `price:`" in refused.stderr
    assert (plan["jobs"][0]["endpoint"], plan["cost_usd"]) == ("acme/v99/dance", 1.5)
    assert "not published" in kling(tmp_path, "catalog", "v99").stdout


def test_a_parameter_of_one_tier_is_listed_with_it() -> None:
    from kling_batch.cli.commands.catalog import details, select

    (line,) = [x for x in details(select(["v2.1", "image-to-video"])).splitlines() if "tail" in x]

    assert "[pro only; or end_image_url]" in line
