"""Names of files: no two jobs share one, in one manifest or in several of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from kling_batch.errors import ManifestError
from kling_batch.manifest.loader import load_all

RAW = "- {id: a, endpoint: fal-ai/any/image, price: 0.03, input: {prompt: x, num_images: 2}}\n"
TWO = "- {id: a, mode: text-to-image, prompt: x, num_images: 2}\n"
POSTER = "renditions: {poster: {format: jpg}}\n"


def written(folder: Path, *manifests: tuple[str, str]) -> list[Path]:
    """Manifests whose files all lie in one folder, each by its top and its jobs."""
    paths = []
    for number, (top, jobs) in enumerate(manifests):
        paths.append(folder / f"m{number}.yaml")
        paths[-1].write_text(f'path: "all/{{job}}{{suffix}}{{ext}}"\n{top}jobs:\n{jobs}')
    return paths


def job(name: str) -> str:
    return f"- {{id: {name}, mode: text-to-image, prompt: y}}\n"


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (("", job("a")), ("", job("a")), "`a` would land in the same file as `a` of m0.yaml:3:3"),
        (("", TWO), ("", job("a-2")), "`a-2` would land in the same file as `a` of m0.yaml:3:3"),
        (("", job("A-2")), ("", TWO), "`a` would land in the same file as `A-2` of m0.yaml:3:3"),
        (("", RAW), ("", job("a-2")), "`a-2` would land in the same file as `a` of"),
        ((POSTER, job("a")), ("", job("a.poster")), "of `a` would have the name of the file of"),
        (("", job("a.poster")), (POSTER, job("a")), "of `a` would have the name of the file of"),
        ((POSTER, TWO), ("", job("a-2.poster")), "of `a` would have the name of the file of"),
    ],
)
def test_the_files_of_several_manifests_have_different_names(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    first: tuple[str, str],
    second: tuple[str, str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = [path.relative_to(tmp_path) for path in written(tmp_path, first, second)]

    with pytest.raises(ManifestError) as caught:
        load_all(paths)

    (problem,) = caught.value.problems
    assert problem.code == "path-collision"
    assert said in problem.message
    for path in paths:
        load_all([path])


def test_the_file_that_two_jobs_share_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"as `a`: all/a-2 \("):
        load_all(written(tmp_path, ("", TWO + job("a-2"))))


def test_renditions_of_a_job_that_names_none_of_another_manifest_take_no_name(
    tmp_path: Path,
) -> None:
    none = "- {id: a, mode: text-to-image, prompt: x, renditions: []}\n"

    assert len(load_all(written(tmp_path, (POSTER, none), ("", job("a.poster"))))) == 2


def test_a_further_output_of_an_unknown_endpoint_is_one_where_it_asks_for_several(
    tmp_path: Path,
) -> None:
    use = "- {id: b, mode: image-to-image, prompt: y, image_urls: [{job: a, output: %d}]}\n"
    (batch,) = load_all(written(tmp_path, ("", RAW + use % 2)))
    assert [each.id for each in batch.jobs] == ["a", "b"]

    with pytest.raises(ManifestError, match="`a` makes 2 files; there is no output 3"):
        load_all(written(tmp_path, ("", RAW + use % 3)))
    many = RAW.replace("num_images: 2", "num_images: 150")
    with pytest.raises(ManifestError, match="`a` makes 150 files; there is no output 151"):
        load_all(written(tmp_path, ("", many + use % 151)))


@pytest.mark.parametrize(
    ("table", "rows"),
    [
        ("t.csv", "id,country,prompt\na,de,x\nb,,y\n"),
        ("t.jsonl", '{"id": "a", "country": "de", "prompt": "x"}\n{"id": "b", "prompt": "y"}\n'),
        ("t.jsonl", '{"id": "b", "country": null, "prompt": "y"}\n'),
    ],
)
def test_a_name_in_path_that_no_row_has_is_an_error(tmp_path: Path, table: str, rows: str) -> None:
    (tmp_path / table).write_text(rows)
    text = f"defaults: {{mode: text-to-image}}\njobs: [{{from: {table}}}]\n"
    manifest = tmp_path / "m.yaml"
    manifest.write_text('path: "x{country}/{job}{ext}"\n' + text)
    (batch,) = load_all([manifest])
    assert {each.output_path(0, ".png") for each in batch.jobs} <= {"xde/a.png", "x/b.png"}

    manifest.write_text('path: "x{contry}/{job}{ext}"\n' + text)
    with pytest.raises(ManifestError, match=r"m.yaml:1:7: `path`: `{contry}` is not known"):
        load_all([manifest])


A, B = '{"id": "a", "country": "de", "prompt": "x"%s}\n', '{"id": "b", "prompt": "y"}\n'
ROWS = "jobs: [{from: t.jsonl, when: '{{ id != \"a\" }}'}, {id: z, prompt: z}]\n"


@pytest.mark.parametrize(
    ("rows", "jobs", "said"),
    [
        (A % "" + B, ROWS, ""),
        ("", ROWS, ""),
        (A % ', "num_images": 99' + B, "jobs: [{from: t.jsonl}]\n", "`num_images` is 99"),
        (A % "", "jobs: [{from: nope.csv}, {id: z, prompt: z}]\n", "no table `nope.csv`"),
    ],
)
def test_a_name_in_path_that_a_row_may_have_is_no_error(
    tmp_path: Path, rows: str, jobs: str, said: str
) -> None:
    (tmp_path / "t.jsonl").write_text(rows)
    manifest = tmp_path / "m.yaml"
    top = 'path: "x{country}/{job}{ext}"\ndefaults: {mode: text-to-image}\n'
    manifest.write_text(top + jobs)

    try:
        load_all([manifest])
        found = []
    except ManifestError as error:
        found = [problem.message for problem in error.problems]
    assert len(found) == bool(said)
    assert said in "".join(found)


def test_an_accent_in_path_is_the_same_letter_however_it_is_composed(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,pay\u015b,prompt\na,de,x\n", "utf-8")
    manifest = tmp_path / "m.yaml"
    text = 'path: "x{pays\u0301}/{job}{ext}"\njobs: [{from: t.csv, mode: text-to-image}]\n'
    manifest.write_text(text, "utf-8")

    ((job,),) = [batch.jobs for batch in load_all([manifest])]
    assert job.output_path(0, ".png") == "xde/a.png"
