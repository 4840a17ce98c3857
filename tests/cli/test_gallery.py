"""`gallery` writes a page beside the outputs."""

from __future__ import annotations

from support.cli import Workspace


def test_gallery_is_written_beside_the_outputs(workspace: Workspace) -> None:
    workspace.run()

    workspace.invoke("gallery")

    page = (workspace.folder / "outputs/gallery.html").read_text()
    assert "the first" in page


def test_a_folder_that_cannot_be_written_is_a_message(workspace: Workspace) -> None:
    workspace.run()
    (workspace.folder / "page").write_text("a file, where a folder should be")

    ledger = "outputs/ledger.db"
    told = workspace.invoke("gallery", "--ledger", ledger, "--output", "page", code=2)

    assert "the page cannot be written into page: " in told
    assert "--output FOLDER" in told
