"""Generated text, ended at stop strings."""

from collections.abc import Iterable, Iterator, Sequence


def cut(text: str, stop: Sequence[str]) -> str:
    """Return `text` up to the stop string that is complete first; empty ones do not count.

    Where two are complete at the same character, the longer one ends the text.
    """
    found = [(text.find(end) + len(end), text.find(end)) for end in stop if end and end in text]
    return text[: min(found)[1]] if found else text


def stream_until(pieces: Iterable[str], stop: Sequence[str]) -> Iterator[str]:
    """Yield `cut("".join(pieces), stop)` in parts, each as soon as no stop string can begin in it.

    `pieces` is read no further than to the end of the stop string.
    """
    held = ""
    for piece in pieces:
        held += piece
        ended = cut(held, stop)
        if ended != held:
            if ended:
                yield ended
            return
        ready = len(held) - _begun(held, stop)
        if ready:
            yield held[:ready]
            held = held[ready:]
    if held:
        yield held


def _begun(text: str, stop: Sequence[str]) -> int:
    """Return the length of the longest end of `text` with which some stop string begins."""
    longest = max((len(end) for end in stop), default=0) - 1
    return next(
        (
            length
            for length in range(min(longest, len(text)), 0, -1)
            if any(end.startswith(text[-length:]) for end in stop)
        ),
        0,
    )
