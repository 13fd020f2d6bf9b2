"""Tests that the help pages cover the whole command, and that their links work."""

import re
from pathlib import Path

import pytest

USER = Path(__file__).resolve().parents[2] / "src" / "docs" / "user"
PAGES = sorted(page.relative_to(USER).as_posix() for page in USER.rglob("*.html"))


def text(page):
    """Return the text of one of our pages."""
    return (USER / page).read_text(encoding="utf-8")


def test_there_are_three_pages():
    """They are for the command, the panel, and a tutorial."""
    assert PAGES == ["commands/superem.html", "tools/superem.html", "tutorials/superem.html"]


def test_every_keyword_is_documented(chimerax):
    """Each keyword has an anchor in the page, followed by all of its fixed values."""
    from chimerax.superem.cmd import COMMANDS

    page = text("commands/superem.html")
    description, _function = COMMANDS["superem"]
    for name, kind in description._keyword.items():
        words = name.split("_")
        spelt = words[0] + "".join(word.capitalize() for word in words[1:])
        assert f'<a name="{spelt}"></a>' in page, f"{spelt} is not documented"
        section = page.split(f'<a name="{spelt}"></a>')[1].split("<br>")[0]
        for value in getattr(kind, "values", ()):
            assert value in section, f"{spelt} {value} is not documented"
    for command in COMMANDS:
        assert f"<b>{command}</b>" in page


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    """Links among our pages, their anchors, pictures and the model card exist."""
    for link in re.findall(r'(?:href|src)="([^"]+)"', text(page)):
        address, _, place = link.partition("#")
        target = (USER / page).parent.joinpath(address).resolve() if address else USER / page
        if target.name == "superem.html" or "images/" in address or "weights/" in address:
            assert target.is_file(), link
            assert not place or f'name="{place}"' in target.read_text(encoding="utf-8"), link


@pytest.mark.parametrize("page", PAGES)
def test_pages_link_to_each_other(page):
    """Each page links to the two others."""
    others = [other for other in PAGES if other != page]
    assert all(f'href="../{other}' in text(page) for other in others)


def test_commands_of_the_tutorial_are_written_as_they_run():
    """A link runs the command that it shows."""
    for command, shown in re.findall(r'href="cxcmd:([^"]+)"><b>(.*?)</b>', text("tutorials/superem.html"), re.DOTALL):
        assert command == " ".join(shown.split())


def test_colors_of_reliability_are_those_of_the_program(chimerax):
    """The documented palette has the same values and colours."""
    from chimerax.superem.expected_q import COLORS

    shown, = re.findall(r"color sample .* palette (\S+)</b>", text("commands/superem.html"))
    assert shown == ":".join(f"{q},{color}" for q, color in COLORS)
