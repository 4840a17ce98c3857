"""The GitHub Action, the CI examples, the units and the image, held against their own schemas and
linters; the Action's commands run here as they stand in it.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "docs/examples"
TOOLS = Path(sys.executable).parent

MANIFEST = """\
version: 1
name: assets
defaults: {mode: text-to-image}
jobs:
  - {id: hero, prompt: a red shoe}
  - {id: back, prompt: a blue shoe}
"""


def captured(
    *command: str | Path, cwd: Path = ROOT, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    words = [*map(str, command)]
    return subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, check=False)


def check(*command: str | Path, cwd: Path = ROOT) -> None:
    done = captured(*command, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr


# -- schemas and linters -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("github-actions", ["action.yml"]),
        (
            "github-workflows",
            [
                *(str(p.relative_to(ROOT)) for p in sorted(ROOT.glob(".github/workflows/*.yml"))),
                "docs/examples/github-workflow.yml",
            ],
        ),
        ("gitlab-ci", ["docs/examples/gitlab-ci.yml"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_pipelines_fit_their_schemas(schema: str, files: list[str]) -> None:
    check(TOOLS / "check-jsonschema", "--builtin-schema", f"vendor.{schema}", *files)


def steps() -> list[dict[str, Any]]:
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    found: list[dict[str, Any]] = action["runs"]["steps"]
    return found


SCRIPTS = {step["name"]: step["run"] for step in steps() if "run" in step}


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_actions_scripts_pass_shellcheck(name: str, tmp_path: Path) -> None:
    script = tmp_path / "step.sh"
    script.write_text("#!/usr/bin/env bash\nset -eo pipefail\n" + SCRIPTS[name])

    check(TOOLS / "shellcheck", script)


def test_what_callers_pass_to_the_action_is_never_part_of_a_script() -> None:
    assert [name for name, script in SCRIPTS.items() if "${{" in script] == []


def test_the_examples_use_inputs_that_the_action_has() -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    workflow = yaml.safe_load((EXAMPLES / "github-workflow.yml").read_text())
    used = [
        set(step["with"])
        for job in workflow["jobs"].values()
        for step in job["steps"]
        if step["uses"].startswith("kling-batch/")
    ]

    assert used
    assert all(names <= set(action["inputs"]) for names in used)
    text = (ROOT / "action.yml").read_text()
    assert [name for name in action["inputs"] if f"inputs.{name}" not in text] == []


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
def test_the_units_are_accepted_by_systemd(tmp_path: Path) -> None:
    for name in ("kling-batch.service", "kling-batch.timer"):
        shutil.copy(EXAMPLES / name, tmp_path)

    done = captured("systemd-analyze", "verify", *sorted(tmp_path.iterdir()))

    assert done.returncode == 0, done.stderr
    assert str(tmp_path) not in done.stderr, done.stderr


def test_the_image_passes_its_linter_and_copies_what_exists() -> None:
    check(TOOLS / "hadolint", ROOT / "Dockerfile")
    copied = re.findall(
        r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE
    )
    names = [name for line in copied for name in line.split()]
    sent = (ROOT / ".dockerignore").read_text().splitlines()

    assert names
    assert [name for name in names if not (ROOT / name).exists()] == []
    assert [name for name in names if f"!{name}" not in sent] == []


def dask_commands() -> list[str]:
    """What the page on workers and the compose file let Dask do, without the program's name."""
    page = (ROOT / "docs/workers.md").read_text()
    services = yaml.safe_load((EXAMPLES / "workers-compose.yml").read_text())["services"]
    lines = [shlex.join([*each["entrypoint"], *each["command"]]) for each in services.values()]
    return re.findall(r"dask ((?:scheduler|worker) .+)$", "\n".join([page, *lines]), re.MULTILINE)


def test_schedulers_and_workers_of_the_documents_are_accepted_by_dask() -> None:
    from distributed.cli import dask_scheduler, dask_worker

    programs = {"scheduler": dask_scheduler.main, "worker": dask_worker.main}
    parsed = []
    for line in dask_commands():
        name, *words = shlex.split(line)
        parsed.append((name, programs[name].make_context(name, words).params))

    assert [name for name, _ in parsed] == ["scheduler", "worker"] * 2
    for name, params in parsed:
        assert params["dashboard"] is False
        if name == "worker":
            assert params["scheduler"].startswith("tcp://")
            assert params["nthreads"] == 64


def test_no_service_of_the_workers_has_the_key() -> None:
    services = yaml.safe_load((EXAMPLES / "workers-compose.yml").read_text())["services"]

    assert services.keys() == {"scheduler", "worker"}
    for service in services.values():
        assert not [name for name in service.get("environment", []) if name.startswith("FAL")]
    assert services["worker"]["deploy"]["replicas"] == 2
    (volume,) = services["worker"]["volumes"]
    here, there = volume.split(":")
    assert here == there  # the path that the run has


def commands_of(text: str) -> list[str]:
    """Each `kling-batch …` line of an example, without redirections."""
    found = re.findall(r"kling-batch ((?:run|plan) .+)$", text, re.MULTILINE)
    return [re.sub(r" >>? .*", "", line) for line in found]


@pytest.mark.parametrize("path", sorted(EXAMPLES.iterdir()), ids=lambda path: path.name)
def test_commands_of_the_examples_are_accepted(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from support.cli import run_command

    monkeypatch.chdir(tmp_path)
    (tmp_path / "campaign.yaml").write_text(MANIFEST)
    commands = commands_of(path.read_text())

    without = ("kling-batch.timer", "github-workflow.yml", "workers-compose.yml")
    assert commands or path.name in without
    for command in commands:
        words = command.split()
        done = run_command(*words, "--emulator", cwd=tmp_path)
        assert done.returncode == 0, done.stderr


# -- the Action, step by step ------------------------------------------------------------------

#: GitHub's API of comments, as far as `gh api` is asked for it: a list in a file.
FAKE_GH = """\
#!{python}
import json, os, pathlib, sys
words = sys.argv[1:]
assert words.pop(0) == "api" and os.environ["GH_TOKEN"]
store = pathlib.Path(os.environ["COMMENTS"])
comments = json.loads(store.read_text()) if store.exists() else []
method = words[words.index("--method") + 1] if "--method" in words else "GET"
path = next(word for word in words if word.startswith("repos/"))
if method == "GET":
    assert words[words.index("--jq") + 1] == (
        ".[] | select(.body | startswith(env.marker)) | .id"
    )
    for each in comments:
        if each["body"].startswith(os.environ["marker"]):
            print(each["id"])
    sys.exit()
field, _, value = words[words.index("--field") + 1].partition("=@")
body = pathlib.Path(value).read_text()
if method == "POST":
    assert path == "repos/acme/site/issues/7/comments"
    comments.append({{"id": len(comments) + 1, field: body}})
else:
    number = int(path.removeprefix("repos/acme/site/issues/comments/"))
    comments[number - 1][field] = body
store.write_text(json.dumps(comments))
"""


class Runner:
    """A runner of GitHub Actions, as far as the scripts of this Action see it."""

    def __init__(self, folder: Path) -> None:
        self.workspace, self.temp = folder / "workspace", folder / "temp"
        for each in (self.workspace, self.temp, folder / "bin"):
            each.mkdir()
        gh = folder / "bin/gh"
        gh.write_text(FAKE_GH.format(python=sys.executable))
        gh.chmod(0o755)
        self.outputs = self.temp / "github-output"
        self.summary = self.temp / "github-summary"
        self.comments = self.temp / "comments.json"
        self.env = {
            "PATH": f"{folder / 'bin'}:{TOOLS}:{os.environ['PATH']}",
            "HOME": str(folder),
            "RUNNER_TEMP": str(self.temp),
            "GITHUB_ACTION_PATH": str(ROOT),
            "GITHUB_ACTIONS": "true",
            "GITHUB_WORKSPACE": str(self.workspace),
            "GITHUB_REPOSITORY": "acme/site",
            "GITHUB_OUTPUT": str(self.outputs),
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "COMMENTS": str(self.comments),
            "GH_TOKEN": "token",
            "PULL_REQUEST": "7",
            "FAL_KEY": "",
            "MANIFEST": "assets.yaml",
            "MAX_COST": "5",
            "OUTPUT": "outputs",
            "TIMEOUT": "5h",
            "MORE_OPTIONS": "",
        }
        (self.workspace / "assets.yaml").write_text(MANIFEST)

    def step(self, name: str, code: int = 0, **env: str) -> str:
        # GitHub's own way to call bash for `shell: bash`.
        command = ("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", SCRIPTS[name])
        done = captured(*command, cwd=self.workspace, env=self.env | env)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def output(self, name: str) -> str:
        lines = [line.partition("=") for line in self.outputs.read_text().splitlines()]
        return [value for key, _, value in lines if key == name][-1]

    def link_program(self) -> None:
        """The program of this environment in place of an installation."""
        (self.temp / "kling-batch").mkdir()
        (self.temp / "kling-batch/bin").symlink_to(TOOLS)


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


def test_the_plan_is_one_comment_that_is_replaced(runner: Runner) -> None:
    runner.link_program()
    runner.comments.write_text(json.dumps([{"id": 1, "body": "Looks good to me"}]))

    runner.step("Plan")
    runner.step("Comment on the pull request", PLAN=runner.output("plan"))
    (runner.workspace / "assets.yaml").write_text(MANIFEST.replace("shoe}", "shoe, takes: 2}"))
    runner.step("Plan", MANIFEST="assets.yaml\n", MORE_OPTIONS="--show prompts")
    runner.step("Comment on the pull request", PLAN=runner.output("plan"))

    first, second = json.loads(runner.comments.read_text())
    assert first["body"] == "Looks good to me"
    assert second["body"].startswith("<!-- kling-batch plan: assets -->\n")
    assert "4 to pay" in second["body"]
    assert "2 to pay" in runner.summary.read_text()
    assert runner.output("exit-code") == "0"


def test_a_manifest_that_is_wrong_fails_the_step_with_its_code(runner: Runner) -> None:
    runner.link_program()
    (runner.workspace / "assets.yaml").write_text(MANIFEST.replace("a red shoe", ""))

    told = runner.step("Plan", code=2)

    assert "::error file=assets.yaml,line=5" in told
    assert runner.output("exit-code") == "2"


def test_the_run_renders_and_a_second_one_finds_nothing_to_do(runner: Runner) -> None:
    runner.link_program()

    runner.step("Run", MORE_OPTIONS="--emulator")
    again = runner.step("Run", MORE_OPTIONS="--emulator")

    assert len(list(runner.workspace.glob("outputs/assets/text-to-image/*.png"))) == 2
    assert "2 of 2 jobs done" in Path(runner.output("summary")).read_text()
    assert "2 unchanged" in again or "nothing to do" in again
    assert runner.output("exit-code") == "0"


@pytest.mark.acceptance
def test_the_action_installs_and_renders_from_a_clean_clone(runner: Runner, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    check("git", "clone", "--quiet", ROOT, clone, cwd=tmp_path)
    registry = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    runner.env |= registry | {"GITHUB_ACTION_PATH": str(clone), "HOME": os.environ["HOME"]}

    runner.step("Install kling-batch")
    runner.step("Run", MORE_OPTIONS="--emulator")

    assert len(list(runner.workspace.glob("outputs/assets/text-to-image/*.png"))) == 2
