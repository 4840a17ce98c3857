"""`gallery` writes a page beside the outputs."""

from __future__ import annotations

from support.cli import Desk


def test_gallery_is_written_beside_the_outputs(desk: Desk) -> None:
    desk.run()

    desk.say("gallery")

    page = (desk.folder / "outputs/gallery.html").read_text()
    assert "the first" in page
