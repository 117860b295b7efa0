"""Is a question in a language that the embedding model does not know?

Its vectors would mean little then, so that nothing is the honest answer. Names are of any language
and say nothing: the text comes with them masked.
"""

import re
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

SURE: Final = 0.9  # probability from which a language counts as recognised
FEWEST: Final = 3  # words of a text without which its language is not asked for
READ: Final = 500  # characters of a text that are read
_WORD = re.compile(r"[^\W\d_]+")
_WORDS = """
the what which who whom whose when where why how can could should would were been did does have had
they their this that these those for from with and not you your our please about at by is
"""
_ENGLISH: Final = frozenset(_WORDS.split())
"""Words that settle it without a look at the rest; few other languages have any of them."""


def foreign_language(text: str, known: frozenset[str]) -> str:
    """Return the ISO 639-1 code of the text's language where it is surely none of `known`.

    Returns:
        The code; empty where the language is known, or the text too short to tell.
    """
    words = _WORD.findall(text[:READ].casefold())
    wide = any(ord(character) > 0x2E7F for character in text[:READ])  # scripts without blanks
    if len(words) < (1 if wide else FEWEST) or ("en" in known and not _ENGLISH.isdisjoint(words)):
        return ""
    language, probability = _identifier().classify(text[:READ])
    return "" if language in known or probability < SURE else str(language)


@cache
def _identifier() -> "LanguageIdentifier":
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_pickled_model(MODEL_FILE, norm_probs=True)
