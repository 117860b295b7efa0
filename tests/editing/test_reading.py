"""Requests as people write them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scr.editing.reading import read_requests
from scr.edits import EditRequest
from scr.errors import InvalidInput

words = st.text(min_size=1, max_size=20).filter(str.strip)


@given(st.text(max_size=20), words, st.text(max_size=20), words)
def test_a_request_in_parts_is_read_as_it_is(prefix, subject, suffix, target):
    request = EditRequest(id="1", prefix=prefix, subject=subject, suffix=suffix, target=target)
    assert read_requests([request.model_dump_json()]) == [request]


@pytest.mark.parametrize("prompt", ["The capital of Kestria is", "The capital of {} is"])
def test_a_prompt_is_cut_at_its_subject(prompt):
    line = json.dumps({"prompt": prompt, "subject": "Kestria", "target": "Arosa"})
    (request,) = read_requests([line, "", "  "])
    assert (request.prefix, request.suffix, request.id) == ("The capital of ", " is", "1")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("nonsense", "no JSON"),
        ("[1]", "no JSON object"),
        ('{"prompt": "X is X", "subject": "X", "target": "Y"}', "2 times"),
        ('{"prompt": "{} and {}", "subject": "X", "target": "Y"}', "2 times"),
        ('{"prompt": "It is", "subject": "X", "target": "Y"}', "not in the prompt"),
        ('{"prompt": "X is", "prefix": "", "subject": "X", "target": "Y"}', "not both"),
        ('{"prompt": "X is", "subject": "X", "target": ""}', "target"),
        ('{"prompt": "X is", "subject": "X", "target": "Y", "tragte": "Z"}', "tragte"),
        ('{"prompt": "X is", "subject": "X"}', "target"),
    ],
)
def test_each_unusable_line_is_named(line, reason):
    good = '{"prompt": "X is", "subject": "X", "target": "Y"}'
    with pytest.raises(InvalidInput, match="line 2: ") as caught:
        read_requests([good, line])
    assert reason in str(caught.value)


def test_braces_in_a_text_in_parts_are_letters():
    line = {"prefix": "In {x} ", "subject": "{}", "suffix": " is {", "target": "}"}
    (request,) = read_requests([json.dumps(line)])
    assert request.prompt == "In {x} {} is {"
