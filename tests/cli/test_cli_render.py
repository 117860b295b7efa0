"""Texts that could steer a terminal come out spelled, whole and readable."""

import json
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scr.cli.render import make_console, to_json, visible

TEXTS = st.text(st.characters(), max_size=60)  # every code point, lone surrogates too


def steers(character):
    """Whether a terminal might obey a character."""
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or (
        unicodedata.bidirectional(character) in ("LRE", "RLE", "LRO", "RLO", "PDF")
        or unicodedata.bidirectional(character) in ("LRI", "RLI", "FSI", "PDI")
    )


@given(TEXTS)
def test_visible_text_is_one_line_that_steers_nothing(text):
    shown = visible(text)
    assert not any(map(steers, shown))
    assert [c for c in shown if not c.isascii()] == [
        c for c in text if not (c.isascii() or steers(c) or c == "\ufeff")
    ]


@given(TEXTS)
def test_visible_text_may_keep_its_lines(text):
    shown = visible(text, lines=True)
    assert not any(steers(c) for c in shown if c not in "\n\t")
    assert shown.count("\n") == text.count("\n")


@pytest.mark.parametrize(
    "text",
    ["plain", "שלום", "مرحبا", "漢字", "👩‍👩‍👧", "e\u0301", "[red]x[/red]", ":smile:", "a\\b"],
)
def test_harmless_text_stays_as_it_is(text):
    assert visible(text) == text


@settings(max_examples=30)
@given(st.recursive(TEXTS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner)))
def test_json_means_the_same_and_steers_nothing(value):
    text = to_json(value)
    assert json.loads(text) == value
    assert not any(map(steers, text))


def test_json_has_no_word_for_what_is_no_number():
    assert to_json({"rate": float("nan"), "most": float("inf"), "one": 1.0}) == (
        '{"rate": null, "most": null, "one": 1.0}'
    )


@pytest.mark.parametrize(
    ("environment", "colored"),
    [({}, False), ({"FORCE_COLOR": "1"}, True), ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False)],
    ids=["no terminal", "forced", "NO_COLOR"],
)
def test_colors_are_for_terminals_and_can_be_turned_off(environment, colored, monkeypatch, capsys):
    for name in ("FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    make_console().print("word", style="red")
    assert ("\x1b[31m" in capsys.readouterr().out) is colored
