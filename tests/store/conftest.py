import shutil
from datetime import UTC, datetime, timedelta

import pytest

from scr.facts import Fact, make_fact
from scr.store import Store


class SetClock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_days(self, days: float) -> None:
        self.now += timedelta(days=days)


@pytest.fixture
def clock():
    return SetClock()


@pytest.fixture(scope="session")
def templates(tmp_path_factory):
    """Empty stores, made once and copied: one as usual, one for review, one closed."""
    folder = tmp_path_factory.mktemp("templates")
    Store.create(folder / "plain.db").close()
    Store.create(folder / "review.db", review=True).close()
    Store.create(folder / "closed.db", relations=["capital", "Chief Executive"]).close()
    return folder


@pytest.fixture
def opened(templates, tmp_path, clock):
    """Opens a copy of the template of this name."""
    stores = []

    def open_copy(name: str) -> Store:
        path = tmp_path / f"{len(stores)}-{name}.db"
        shutil.copy(templates / f"{name}.db", path)
        stores.append(Store.open(path, clock=clock))
        return stores[-1]

    yield open_copy
    for each in stores:
        each.close()


@pytest.fixture
def store(opened):
    return opened("plain")


@pytest.fixture
def review(opened):
    return opened("review")


@pytest.fixture
def closed(opened):
    return opened("closed")


@pytest.fixture
def ceo():
    """Makes facts about who runs Company X."""

    def make(target: str = "Ada", **fields: object) -> Fact:
        given = {"subject": "Company X", "relation": "chief executive", "target": target}
        return make_fact(**{**given, **fields})

    return make
