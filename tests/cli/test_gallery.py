"""`gallery` writes a page beside the outputs."""

from __future__ import annotations

from support.cli import Desk


def test_gallery_is_written_beside_the_outputs(desk: Desk) -> None:
    desk.run()

    desk.say("gallery")

    page = (desk.folder / "outputs/gallery.html").read_text()
    assert "the first" in page


def test_a_folder_that_cannot_be_written_is_a_sentence(desk: Desk) -> None:
    desk.run()
    (desk.folder / "page").write_text("a file, where a folder should be")

    ledger = "outputs/ledger.db"
    told = desk.say("gallery", "--ledger", ledger, "--output", "page", code=2)

    assert "the page cannot be written into page: " in told
    assert "--output FOLDER" in told
