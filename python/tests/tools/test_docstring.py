"""Docstrings in three styles say what parameters are for."""

from __future__ import annotations

import pytest

from ambidex.tools.docstring import parse

GOOGLE = """Finds books.

    Looks into every shelf.

    Args:
        title: What is on
            the cover.
        author (str, optional): Who wrote it: first and last name.
        *rest: Others.
        limit (Optional[int]): At most so many.

    Returns:
        The books.

    Raises:
        OSError: where the library is closed.
    """

NUMPY = """Finds books.

    Looks into every shelf.

    Parameters
    ----------
    title : str
        What is on
        the cover.
    author, limit : str, optional
        Both of them.

    Returns
    -------
    list of Book
        The books.

    See Also
    --------
    other : thing
    """

REST = """Finds books.

    Looks into every shelf.

    :param title: What is on
        the cover.
    :param str author: Who wrote it: first and last name.
    :type title: str
    :keyword limit: At most so many.
    :returns: The books.
    :rtype: list
    :raises OSError: where the library is closed.
    """


def test_google() -> None:
    found = parse(GOOGLE)
    assert found.description == "Finds books.\n\nLooks into every shelf.\n\nReturns: The books."
    assert found.parameters == {
        "title": "What is on the cover.",
        "author": "Who wrote it: first and last name.",
        "rest": "Others.",
        "limit": "At most so many.",
    }


def test_numpy() -> None:
    found = parse(NUMPY)
    assert found.description == "Finds books.\n\nLooks into every shelf.\n\nReturns: The books."
    assert found.parameters == {
        "title": "What is on the cover.",
        "author": "Both of them.",
        "limit": "Both of them.",
    }


def test_rest() -> None:
    found = parse(REST)
    assert found.description == "Finds books.\n\nLooks into every shelf.\n\nReturns: The books."
    assert found.parameters == {
        "title": "What is on the cover.",
        "author": "Who wrote it: first and last name.",
        "limit": "At most so many.",
    }


@pytest.mark.parametrize("text", [None, "", "   ", "\n\n"])
def test_nothing_said_is_nothing(text: str | None) -> None:
    assert parse(text) == ("", {})


def test_one_line_is_the_description() -> None:
    assert parse("Counts: words.").description == "Counts: words."
    assert parse("  Counts words.  ").description == "Counts words."


def test_prose_that_looks_like_a_section_stays() -> None:
    text = "Reads files.\n\nArgs are taken as they come: first, last.\n\nExample:\n    read('a')\n"
    found = parse(text)
    assert found.parameters == {}
    assert "Args are taken as they come" in found.description
    assert "Example:\n    read('a')" in found.description


def test_a_description_may_have_several_paragraphs() -> None:
    found = parse(
        "Sends.\n\n    Args:\n        to: The address.\n\n            It may be a list.\n        body: Text.\n"
    )
    assert found.parameters == {"to": "The address. It may be a list.", "body": "Text."}


def test_sections_may_come_without_a_blank_line() -> None:
    found = parse("Sends.\n    Args:\n        to: The address.\n    Returns:\n        Whether it went.")
    assert found == ("Sends.\n\nReturns: Whether it went.", {"to": "The address."})
