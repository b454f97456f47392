"""What the documentation site is made of: docstrings, method cards, claims and findings."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

import pytest

from coinfer.plugins import load_file
from methods.registry import BUILT_IN
from reports.papers import Verdicts, judged_by_nothing, method_pages
from reproduce.claims import papers

ROOT = Path(__file__).parents[1]


def restructured(text: str) -> str:
    module = load_file(ROOT / "docs" / "_ext" / "docstrings.py")
    lines: list[str] = module.restructured(dedent(text).strip("\n").split("\n"))
    return "\n".join(lines)


def test_blocks_and_tables_of_a_docstring_are_shown_as_they_stand() -> None:
    assert restructured(
        """
        A summary:

            tau = a * b

            and |more|

        | a | b |
        |---|---|

        The end.
        """
    ) == "\n".join(
        [
            "A summary:",
            "",
            "::",
            "",
            "        tau = a * b",
            "",
            "        and |more|",
            "",
            "    | a | b |",
            "    |---|---|",
            "",
            "The end.",
        ]
    )


def test_a_block_that_the_author_announces_is_left_alone() -> None:
    text = "With pytest::\n\n    class T(*args):\n        pass\n\nThe end."
    assert restructured(text) == text


def test_signs_are_signs_outside_of_code() -> None:
    assert restructured("(B, *shape) of |x| and name_, not `*these` or a_b.") == (
        r"(B, \*shape) of \|x\| and name\_, not `*these` or a_b."
    )


def test_code_may_end_within_a_word() -> None:
    assert restructured("`Plan`s and `Cut`, not `Row`-like.") == (
        r"`Plan`\ s and `Cut`, not `Row`-like."
    )


def test_sections_keep_their_form() -> None:
    text = dedent(
        """\
        Return it.

        Args:
            one: the first,
                and more of it.

            two: the second.

        Raises:
            CoinferError: always."""
    )
    assert restructured(text) == text


@pytest.fixture(scope="module")
def verdicts() -> Verdicts:
    return judged_by_nothing()


@pytest.fixture(scope="module")
def pages(verdicts: Verdicts) -> dict[str, str]:
    return method_pages(verdicts)


def test_every_paper_has_a_page_with_every_claim_and_finding(
    pages: dict[str, str], verdicts: Verdicts
) -> None:
    assert len(verdicts.judged) == sum(len(paper.claims) for paper in papers().values())
    for paper in papers().values():
        (page,) = [text for text in pages.values() if f"\n\n{paper.reference}.\n" in text]
        for claim in paper.claims:
            assert f"| {claim.id} |" in page
        for finding in paper.findings:
            assert f"**{finding.id}**" in page


def test_every_built_in_method_is_told_with_its_open_choices(pages: dict[str, str]) -> None:
    for cls in BUILT_IN:
        assert f"| `{cls.card.name}` |" in pages["methods.md"]
        if cls.card.fidelity == "ours":
            continue
        found = [text for text in pages.values() if f": `{cls.card.name}`\n" in text]
        assert found
        for choice in cls.card.open_choices:
            assert all(f"| {choice.id} |" in page for page in found)
    # A baseline stands with its paper, a method of another paper on a page of its own.
    assert ": `all_local`\n" in pages["papers/qho2024.md"]
    assert ": `qho`\n" in pages["papers/qho2024.md"]
    assert ": `bottlenet++`\n" in pages["papers/bottlenet.md"]


def test_links_between_the_pages_lead_somewhere(pages: dict[str, str]) -> None:
    listed = pages["papers/index.md"]
    for name in pages:
        if name not in ("methods.md", "papers/index.md"):
            assert f"({name.removeprefix('papers/')})" in listed
    for name, text in pages.items():
        for target in re.findall(r"\]\(([\w/.-]+\.md)\)", text):
            assert str(Path(name).parent / target) in pages, target


def test_pages_written_by_hand_link_to_what_is_there(pages: dict[str, str]) -> None:
    docs = ROOT / "docs"
    made = {*pages, "commands.md", "api/coinfer.md"}
    for path in [*docs.glob("*.md"), *docs.glob("howto/*.md")]:
        if str(path.relative_to(docs)) in made:
            continue
        for target in re.findall(r"\]\(([\w/.-]+\.md)", path.read_text(encoding="utf-8")):
            where = (path.parent / target).resolve().relative_to(docs)
            assert str(where) in made or (docs / where).exists(), f"{path.name}: {target}"
