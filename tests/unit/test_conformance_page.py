"""docs/conformance.md says what the conformance tests say."""

from __future__ import annotations

from pathlib import Path

from support.conformance import DOCUMENT, SEEN_ON_BMV2, chapters, render

FOLDER = Path(__file__).parents[1] / "conformance"


def test_the_page_is_what_the_tests_give() -> None:
    assert DOCUMENT.read_text() == render(), "write it anew: PYTHONPATH=.:tests python -m support.conformance"


def test_every_file_of_conformance_tests_is_on_the_page() -> None:
    # test_program is about the program that the others run.
    assert {path.stem for path in FOLDER.glob("test_*.py")} - {"test_program"} == set(SEEN_ON_BMV2)


def test_what_was_seen_on_bmv2_agrees_with_the_marks() -> None:
    for chapter in chapters():
        certain = chapter.cases - chapter.departing
        assert certain - chapter.doubtful <= SEEN_ON_BMV2[chapter.file] <= certain, chapter.file
