"""Requests as people write them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scr.editing.reading import read_requests, read_texts
from scr.edits import EditRequest
from scr.errors import InvalidInput

words = st.text(min_size=1, max_size=20).filter(str.strip)


@given(st.text(max_size=20), words, st.text(max_size=20), words)
def test_a_request_in_parts_is_read_as_it_is(prefix, subject, suffix, target):
    request = EditRequest(id="1", prefix=prefix, subject=subject, suffix=suffix, target=target)
    assert read_requests([request.model_dump_json()]) == [request]


@given(st.text(max_size=20), words, st.text(max_size=20), words)
def test_a_request_in_a_prompt_is_cut_where_it_was_joined(prefix, subject, suffix, target):
    prompt = f"{prefix}{subject}{suffix}"
    line = json.dumps({"prompt": prompt, "subject": subject, "target": target}, ensure_ascii=False)
    once = sum(prompt.startswith(subject, n) for n in range(len(prompt))) == 1
    if once and "{}" not in prompt:
        (request,) = read_requests([line.encode()])
        assert (request.prefix, request.suffix) == (prefix, suffix)
    elif not once:
        with pytest.raises(InvalidInput, match="give prefix, subject and suffix"):
            read_requests([line.encode()])


def test_lines_keep_their_numbers_and_ids():
    good = {"prompt": "X is", "subject": "X", "target": "Gra\u2028nite\x85"}
    lines = ["", json.dumps(good, ensure_ascii=False), json.dumps({**good, "id": 7})]
    requests = read_requests(lines)
    assert [request.id for request in requests] == ["2", "7"]
    assert requests[0].target == good["target"]
    with pytest.raises(InvalidInput, match="pack: 2 unusable requests") as caught:
        read_requests(["", "x", b"\xff", json.dumps(good)], name="pack")
    assert "line 2: it is no JSON" in str(caught.value)
    assert "line 3: it is no UTF-8" in str(caught.value)


def test_two_requests_of_one_id_are_told_apart():
    line = json.dumps({"id": "a", "prompt": "X is", "subject": "X", "target": "Y"})
    with pytest.raises(InvalidInput, match="line 2: its id 'a' is that of line 1"):
        read_requests([line, line])


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
        ('{"prompt": "{} and X", "subject": "X", "target": "Y"}', "both"),
        ('{"prompt": "aaa", "subject": "aa", "target": "Y"}', "2 times"),
        ('{"prompt": "Is None", "subject": null, "target": "Y"}', "subject: "),
        ('{"prompt": 5, "subject": "5", "target": "Y"}', "prompt: "),
        ('{"prompt": "X is", "subject": "X", "target": "\\ud800"}', "target: "),
        ("[" * 100_000, "nested too deeply"),
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


def test_texts_are_read_a_line_each():
    lines = [b"A text.\r\n", b" \n", "Gra\u2028nite".encode()]
    assert read_texts(lines, name="f", as_json=False) == ["A text.", "Gra\u2028nite"]
    assert read_texts([b'"A"', b'{"text": "B", "title": 1}'], name="f", as_json=True) == ["A", "B"]


@pytest.mark.parametrize(
    ("line", "as_json", "reason"),
    [
        (b"\xff", False, "line 1: it is no UTF-8"),
        (b"{", True, "line 1: it is no JSON"),
        (b"\xff", True, "line 1: it is no JSON"),
        (b"[" * 100_000, True, "line 1: it is no JSON"),
        (b"5", True, "line 1: give a string"),
        (b'{"txt": "A"}', True, "line 1: give a string"),
        (b" ", False, "holds no text"),
    ],
)
def test_texts_that_cannot_be_read_are_named(line, as_json, reason):
    with pytest.raises(InvalidInput, match=reason):
        read_texts([line], name="f", as_json=as_json)
