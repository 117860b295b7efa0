"""The time a question is about."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scr.retrieval.times import time_asked

NOW = datetime(2026, 6, 15, tzinfo=UTC)


def day(text: str) -> str:
    when = time_asked(text, NOW)
    return "" if when is None else when.date().isoformat()


@pytest.mark.parametrize(
    ("question", "last_day"),
    [
        ("Who was the mayor of Haldby in 2015?", "2015-12-31"),
        ("In 2010, who was the CEO of Acme?", "2010-12-31"),
        ("who ran acme back in 1999", "1999-12-31"),
        ("Who led Acme during the year 2001?", "2001-12-31"),
        ("Who owned it in March 2019?", "2019-03-31"),
        ("Who owned it in Feb. 2020?", "2020-02-29"),
        ("We wed in Haldby in the summer of 2021. Which mayor signed the papers?", "2021-08-31"),
        ("Who owned it on 3 March 2019?", "2019-03-03"),
        ("Who owned it on the 3rd of March 2019?", "2019-03-03"),
        ("Who owned it on March 3, 2019?", "2019-03-03"),
        ("What was the fee as of 2019-03-03?", "2019-03-03"),
        ("In 2010, who ran Acme, and who owned it in 2010?", "2010-12-31"),
        ("What will the fee be in 2031?", "2031-12-31"),
    ],
)
def test_a_time_that_is_named_is_read(question, last_day):
    assert day(question) == last_day


@pytest.mark.parametrize(
    "question",
    [
        "Who is the mayor of Haldby?",
        "Who won the 2010 World Cup?",
        "Who has been mayor since 2019?",
        "Who was mayor until 2019?",
        "Who was mayor in 2010-2012?",
        "Who was mayor in 2010 to 2012?",
        "Who was mayor in 2010 and who in 2014?",
        "Does it run on 2019-rev boards?",
        "Is it in 20155 Milan?",
        "Who owned it on 31 April 2019?",
        "Who is the mayor in 2026?",
        "Who is the mayor in December 2026?",
        "Who is on call on 15 June 2026?",
        "",
    ],
)
def test_no_time_is_read_where_none_or_several_or_now_is_meant(question):
    assert day(question) == ""


@given(st.text())
def test_no_text_raises(text):
    for question in (text, f"in {text}", f"in 9999 {text}", f"on {text}-12-31"):
        time_asked(question, NOW)


@given(st.dates(min_value=NOW.date().replace(1000), max_value=NOW.date().replace(2025)))
def test_every_form_of_a_day_gives_that_day(date):
    for form in ("%Y-%m-%d", "%d %B %Y", "%B %d, %Y", "the %d of %B %Y"):
        assert day(f"Who led Acme on {date.strftime(form)}?") == date.isoformat()


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("Who ran Company X last year?", "2025-12-31"),
        ("Who ran it two years ago?", "2024-06-15"),
        ("who was on call yesterday", "2026-06-14"),
        ("Who will be the chair next year?", "2027-12-31"),
        ("Which price applied last month?", "2026-05-31"),
        ("Who owned it 3 months ago?", "2026-03-16"),
        ("Who led the team last spring?", "2026-05-31"),
        ("Who led the team last winter?", "2026-02-28"),
        ("Who led the team last autumn?", "2025-11-30"),
        ("Who takes over next summer?", "2026-08-31"),
        ("Who won a week ago?", "2026-06-08"),
        ("We met two years ago. Who was the mayor then?", "2024-06-15"),
        ("i look for the mayor of last year", "2025-12-31"),
    ],
)
def test_a_time_told_from_today(text, moment):
    now = datetime(2026, 6, 15, 12, tzinfo=UTC)
    assert time_asked(text, now).date().isoformat() == moment


@pytest.mark.parametrize(
    "text",
    [
        "What has changed since last year?",
        "Who was in charge before last year?",
        "Who sang Yesterday's hit?",
        "Was it cheaper last year or last month?",
        "What is the last year of the plan's term in 2019?",
        "Who won 999 years ago? And 998 years ago?",
        "I bought mine two years ago. Is it still covered?",
        'He came yesterday. "Which forms does he need?"',
    ],
)
def test_no_single_time_told_from_today(text):
    assert time_asked(text, datetime(2026, 6, 15, 12, tzinfo=UTC)) is None
