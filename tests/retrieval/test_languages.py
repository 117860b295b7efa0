import pytest

from scr.retrieval import foreign_language, load_embedder
from scr.retrieval.embedders import OFFLINE_PACKAGE

ENGLISH = frozenset({"en"})


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Wie lange ist die Garantie auf it?", "de"),
        ("Qui est le directeur général de it aujourd'hui ?", "fr"),
        ("it の社長は誰ですか", "ja"),
        ("Кто руководит компанией it сегодня?", "ru"),
        ("kim it şirketini yönetiyor?", "tr"),
    ],
)
def test_a_language_that_is_not_known_is_named(text, language):
    assert foreign_language(text, ENGLISH) == language
    assert foreign_language(text, frozenset({"en", language})) == ""


@pytest.mark.parametrize(
    "text",
    [
        "Who runs it these days?",
        "it warranty length",
        "it, in",
        "Helmina von Chézy passed away at",
        "",
        "?!",
        "🙂",
        "What does Schadenfreude und Weltschmerz mean?",
    ],
)
def test_english_and_what_is_too_short_to_tell_is_not_foreign(text):
    assert foreign_language(text, ENGLISH) == ""


def test_the_offline_model_says_what_it_knows():
    pytest.importorskip(OFFLINE_PACKAGE, reason="needs the offline extra")
    assert load_embedder("offline").languages == ENGLISH
