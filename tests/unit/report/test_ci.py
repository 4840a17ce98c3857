"""JUnit, Markdown and annotations: valid for every text, and never worth the run's exit code."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from support.reports import CENT, line, report

from kling_batch.core.quantities import MicroUSD
from kling_batch.errors import ExitCode, Place, Problem
from kling_batch.report.ci import write_ci
from kling_batch.report.display.stream import SafeStream
from kling_batch.report.github import (
    from_workspace,
    problem_annotations,
    run_annotations,
)
from kling_batch.report.junit import junit
from kling_batch.report.markdown import code, markdown_summary
from kling_batch.report.run_report import JobOutcome, RunReport

HOSTILE = (
    "\x1b[31m<b>&\"'</b> ]]> a|b `c` ``d`` [e](http://f) $1$ \ufffe\udc80\x00\r\n::error::x 雪"
)


def mixed(**more: Any) -> RunReport:
    return report(
        line(
            "still", JobOutcome.SUCCEEDED, seconds=94.25, files=("outputs/still.png",), mode="image"
        ),
        line("old", JobOutcome.UNCHANGED),
        line(
            "bad",
            JobOutcome.FAILED,
            message="refused",
            place=Place("m.yaml", 14, 3),
            prompt="a cat",
        ),
        line(
            "lost", JobOutcome.IN_DOUBT, message="no trace", place=Place("p.csv", 7, cell="title")
        ),
        line("late", JobOutcome.UNDELIVERED, message="502", request_id="r-1"),
        line("child", JobOutcome.BLOCKED, message="needs bad"),
        line("slow", JobOutcome.RUNNING),
        line("never", JobOutcome.NOT_STARTED),
        **{"exit_code": ExitCode.IN_DOUBT, **more},
    )


# -- JUnit -------------------------------------------------------------------------------------


def test_junit_has_a_case_for_every_job_at_its_place() -> None:
    root = ET.fromstring(junit(mixed()))
    (suite,) = root

    assert root.attrib == {
        "name": "kling-batch",
        "time": "252.000",
        "tests": "8",
        "failures": "1",
        "errors": "2",
        "skipped": "3",
    }
    assert suite.get("name") == "spring"
    assert suite.get("timestamp") == "2026-11-23T06:00:00"
    verdicts = {
        case.get("name"): [c.tag for c in case if c.tag in ("failure", "error", "skipped")]
        for case in suite
    }
    assert verdicts == {
        "still": [],
        "old": [],
        "bad": ["failure"],
        "lost": ["error"],
        "late": ["error"],
        "child": ["skipped"],
        "slow": ["skipped"],
        "never": ["skipped"],
    }
    assert suite[0].attrib == {"classname": "spring", "name": "still", "time": "94.250"}
    assert suite[0].findtext("system-out") == "outputs/still.png"
    assert (suite[2].get("file"), suite[2].get("line")) == ("m.yaml", "14")
    failure = suite[2].find("failure")
    assert failure is not None
    assert failure.attrib == {"message": "refused", "type": "failed"}
    assert failure.text == "failed: refused\nat m.yaml:14:3\nprompt: a cat"


def test_junit_carries_the_cost() -> None:
    (found,) = ET.fromstring(junit(report(line("a", JobOutcome.SUCCEEDED)))).iterfind(
        ".//property[@name='cost_usd']"
    )

    assert found.get("value") == "0.700"


def test_junit_of_a_stopped_run_is_not_green() -> None:
    stopped = report(
        line("never", JobOutcome.NOT_STARTED),
        exit_code=ExitCode.BUDGET,
        reasons=("it would pass the cap",),
    )
    root = ET.fromstring(junit(stopped))

    assert (root.get("errors"), root.get("tests")) == ("1", "2")
    assert root.findtext("testsuite[@name='kling-batch']/testcase/error") == "it would pass the cap"


def test_junit_has_a_suite_for_each_batch() -> None:
    two = report(
        line("a", JobOutcome.SUCCEEDED),
        line("a", JobOutcome.FAILED, batch="summer"),
        batches=("spring", "summer"),
    )
    suites = ET.fromstring(junit(two))

    assert [(s.get("name"), s.get("tests"), s.get("failures")) for s in suites] == [
        ("spring", "1", "0"),
        ("summer", "1", "1"),
    ]


def test_junit_is_xml_whatever_the_jobs_say() -> None:
    hostile = line(
        HOSTILE,
        JobOutcome.FAILED,
        message=HOSTILE,
        prompt=HOSTILE,
        request_id=HOSTILE,
        files=(HOSTILE,),
    )
    text = junit(report(hostile, batches=("spring",), reasons=(HOSTILE,)))

    (case,) = ET.fromstring(text.encode("utf-8")).iterfind("testsuite/testcase")
    failure = case.find("failure")
    assert failure is not None
    assert (failure.get("message") or "").startswith("<b>&\"'</b> ]]> a|b `c`")


# -- Markdown ----------------------------------------------------------------------------------


def test_the_summary_as_a_page() -> None:
    page = markdown_summary(
        report(
            line("still", JobOutcome.SUCCEEDED, files=("outputs/still.png", "outputs/still-2.png")),
            line("bad_one", JobOutcome.FAILED, message="a|b <i>", place=Place("m.yaml", 14, 3)),
            exit_code=ExitCode.SOME_FAILED,
            reasons=("interrupted",),
            exposed=MicroUSD(70 * CENT),
            cap=MicroUSD(2_000 * CENT),
            next_steps=("kling-batch run m.yaml --retry-failed",),
        )
    )

    assert page == (
        "### spring: 1 of 2 jobs done in 4 min 12 s\n"
        "\n"
        "**Stopped:** interrupted\n"
        "\n"
        "- Jobs: 1 done, 1 failed\n"
        "- Cost: USD 1.40 this run, USD 6.30 in all, USD 0.70 of it not certain yet,"
        " cap USD 20.00\n"
        "- Files: 2 in `outputs`\n"
        "- Exit code 1: finished, some jobs failed\n"
        "\n"
        "| job | ended | why | where |\n"
        "| --- | --- | --- | --- |\n"
        "| bad\\_one | failed | a\\|b &lt;i&gt; | m.yaml:14:3 |\n"
        "\n"
        "<details><summary>1 job with files</summary>\n"
        "\n"
        "| job | cost | files |\n"
        "| --- | --: | --- |\n"
        "| still | USD 0.70 | `outputs/still.png`<br>`outputs/still-2.png` |\n"
        "\n"
        "</details>\n"
        "\n"
        "Next:\n"
        "\n"
        "````sh\n"
        "kling-batch run m.yaml --retry-failed\n"
        "````\n"
    )


def test_nothing_foreign_becomes_markdown() -> None:
    page = markdown_summary(report(line("a", JobOutcome.FAILED, message=HOSTILE)))
    (row,) = [row for row in page.splitlines() if row.startswith("| a |")]

    assert row == (
        "| a | failed | &lt;b&gt;&amp;\"'&lt;/b&gt; \\]\\]&gt; a\\|b \\`c\\` \\`\\`d\\`\\`"
        " \\[e\\](http://f) <span>$</span>1<span>$</span> \ufffd\ufffd ::error::x 雪 |  |"
    )


@pytest.mark.parametrize(
    ("text", "span"),
    [("a.png", "`a.png`"), ("a`b", "`` a`b ``"), ("a``|b", "``` a``\\|b ```")],
)
def test_code_spans_hold_every_name(text: str, span: str) -> None:
    assert code(text) == span


def test_a_huge_run_keeps_a_page_that_github_takes() -> None:
    lines = [line(f"j{n}", JobOutcome.FAILED, message="x" * 5000) for n in range(5000)]
    page = markdown_summary(report(*lines))

    assert "… and 4,900 more." in page
    assert len(page) < 100_000


def test_the_emulators_page_says_that_nothing_was_charged() -> None:
    assert (
        "- Cost: would have cost USD 1.40 on fal (USD 5.60 over all runs);"
        " the emulator charges nothing\n"
    ) in markdown_summary(report(emulated=True))


# -- annotations -------------------------------------------------------------------------------


def test_annotations_point_at_what_needs_a_person() -> None:
    assert run_annotations(mixed(reasons=("interrupted",))) == [
        "::error title=kling-batch stopped::interrupted",
        "::error file=p.csv,line=7,title=lost%3A in doubt::no trace",
        "::error file=m.yaml,line=14,col=3,title=bad%3A failed::refused",
        "::error title=late%3A downloading::502",
    ]


def test_annotations_are_escaped_as_github_reads_them() -> None:
    hostile = line("a,b:c%", JobOutcome.FAILED, message="50%\r\n::x", place=Place("d,e.yaml", 1, 1))

    assert run_annotations(report(hostile)) == [
        "::error file=d%2Ce.yaml,line=1,col=1,title=a%2Cb%3Ac%25%3A failed::50%25 ::x"
    ]


def test_only_as_many_annotations_as_github_shows() -> None:
    lines = [line(f"j{n}", JobOutcome.FAILED, message="x") for n in range(25)]
    found = run_annotations(report(*lines))

    assert len(found) == 10
    assert found[-1] == "::error title=kling-batch::and 16 more; see the summary"


def test_problems_of_a_manifest_are_annotated() -> None:
    problems = (
        Problem(Place("m.yaml", 3, 5), "unknown `durration`", "unknown-parameter", "duration?"),
        Problem(Place("m.yaml"), "empty"),
    )

    assert problem_annotations(problems, level="warning") == [
        (
            "::warning file=m.yaml,line=3,col=5,title=kling-batch%3A unknown-parameter"
            "::unknown `durration` (duration?)"
        ),
        "::warning file=m.yaml,title=kling-batch%3A invalid::empty",
    ]


def test_places_are_named_from_the_root_of_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "assets").mkdir()
    monkeypatch.chdir(tmp_path / "assets")
    locate = from_workspace({"GITHUB_WORKSPACE": str(tmp_path)})

    assert locate("m.yaml") == "assets/m.yaml"
    assert locate(str(tmp_path / "x.yaml")) == "x.yaml"
    assert locate("/elsewhere/m.yaml") == "/elsewhere/m.yaml"
    assert from_workspace({})("m.yaml") == "m.yaml"


# -- writing -----------------------------------------------------------------------------------


def write(report: RunReport, *paths: Path | None, **environ: str) -> str:
    err = io.StringIO()
    write_ci(report, *paths, environ, err=SafeStream(err))
    return err.getvalue()


def test_what_was_asked_for_is_written(tmp_path: Path) -> None:
    said = write(mixed(), tmp_path / "out" / "junit.xml", tmp_path / "summary.md")

    assert said == ""
    assert ET.parse(tmp_path / "out" / "junit.xml").getroot().get("tests") == "8"
    assert (tmp_path / "summary.md").read_text(encoding="utf-8").startswith("### spring: 2 of 8")
    assert sorted(p.name for p in tmp_path.rglob("*.part")) == []


def test_actions_get_annotations_and_an_appended_summary(tmp_path: Path) -> None:
    step = tmp_path / "step.md"
    step.write_text("from another step")
    said = write(mixed(), None, None, GITHUB_ACTIONS="true", GITHUB_STEP_SUMMARY=str(step))

    assert said.startswith("::error file=p.csv,line=7")
    assert step.read_text(encoding="utf-8").startswith("from another step\n### spring")


@pytest.mark.parametrize(
    ("named", "there"),
    [(name, there) for name in ("step.md", "../here/step.md", "link.md") for there in (True, False)]
    + [("hard.md", True)],
)
def test_a_summary_into_the_steps_own_file_is_written_once(
    tmp_path: Path, named: str, there: bool
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    step = folder / "step.md"
    if there:
        step.write_text("from another step")
        (folder / "hard.md").hardlink_to(step)
    (folder / "link.md").symlink_to(step)

    write(mixed(), None, folder / named, GITHUB_ACTIONS="true", GITHUB_STEP_SUMMARY=str(step))

    text = step.read_text(encoding="utf-8")
    assert text.count("### spring") == 1
    assert text.startswith("from another step") == there


def test_outside_of_actions_nothing_is_said() -> None:
    assert write(mixed(), None, None, GITHUB_STEP_SUMMARY="/nowhere") == ""


def test_a_place_that_cannot_be_written_costs_a_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = write(
        mixed(),
        tmp_path / "file" / "junit.xml",
        tmp_path,
        GITHUB_ACTIONS="true",
        GITHUB_STEP_SUMMARY=str(tmp_path / "missing" / "step.md"),
    )

    warnings = [text for text in said.splitlines() if text.startswith("warning: ")]
    assert [Path(text.split(" cannot")[0]).name for text in warnings] == [
        "junit.xml",
        tmp_path.name,
        "step.md",
    ]
    assert all("cannot be written: " in text for text in warnings)


def test_a_name_that_no_file_can_have_costs_a_message_too() -> None:
    assert "cannot be written" in write(mixed(), Path("a\0b"), None)
