"""Requests as ids: where the subject ends and the target begins, for every kind of tokenizer."""

import pytest

from scr.editing import make_editor
from scr.editing.adapter import ModelAdapter, evaluating
from scr.editing.contexts import BEGINNINGS, LENGTHS, sample_templates
from scr.editing.prompts import check_templates, encode, locate
from scr.errors import InvalidInput
from tests.editing import tiny

SUBJECTS = [
    ("The capital of ", "Kestria", " is"),
    ("", "Route 66", " leads to"),
    ("The house of ", "Mirel Anday-Stone", " is"),
    ("The leader of ", "東京都", " is"),
    ("", "Kestria", "'s river is"),
    ("The tower was built in ", "1931", "by"),  # the next word follows without a space
    ("Nyborg is the capital of ", "Ubrea", ""),
    ("f(x) = {x: 1} is in ", "a {} of braces", " and {"),
    ("Ubrea is Ubrea, and the river of ", "Ubrea", " is not Ubrea but"),
    ("Ubrea", "Ubrea", "Ubrea is"),
]
IDS = [f"{prefix}[{subject}]{suffix}" for prefix, subject, suffix in SUBJECTS]


@pytest.mark.parametrize("template", ["{}", "She said 東京. {}"])
@pytest.mark.parametrize(("prefix", "subject", "suffix"), SUBJECTS, ids=IDS)
def test_the_subject_ends_where_it_ends(any_tokenizer, prefix, subject, suffix, template):
    asked = tiny.request(prefix=prefix, subject=subject, suffix=suffix, target="Nyborg")
    encoded = encode(any_tokenizer, asked, template)
    text = f"{template[:-2]}{asked.prompt}"
    end = len(template) - 2 + len(prefix) + len(subject)
    offsets = any_tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    begin, stop = offsets[encoded.subject_last]
    assert begin < end <= stop
    assert all(other >= end for other, after in offsets[encoded.subject_last + 1 :] if after)
    if stop == end and any_tokenizer.unk_token_id not in encoded.prompt:
        read = any_tokenizer.decode(encoded.prompt[: encoded.subject_last + 1])
        assert read.endswith(subject)


@pytest.mark.parametrize(("prefix", "subject", "suffix"), SUBJECTS, ids=IDS)
def test_prompt_and_target_are_the_ids_of_the_whole_text(any_tokenizer, prefix, subject, suffix):
    for target in ("Nyborg", " Nyborg", "the river of Arosa", "1931", "東京都"):
        asked = tiny.request(prefix=prefix, subject=subject, suffix=suffix, target=target)
        encoded = encode(any_tokenizer, asked)
        text = f"{asked.prompt} {target.strip()}"  # one space, whether or not it was given
        assert [*encoded.prompt, *encoded.target] == any_tokenizer(text)["input_ids"]
        assert encoded.target
        assert encoded.subject_last < len(encoded.prompt)
        bos = any_tokenizer.bos_token_id
        ids = [*encoded.prompt, *encoded.target]
        expected = int(any_tokenizer("x")["input_ids"][0] == bos)
        assert ids.count(bos) == expected
        assert ids[:expected] == [bos][:expected]
        assert encoded.ids == ids[:-1]
        predicted = [ids[place + 1] for place in encoded.places]
        assert predicted == encoded.target


def test_a_prompt_that_ends_in_a_space_gets_no_second_one(tokenizer):
    asked = tiny.request(suffix=" is ")
    encoded = encode(tokenizer, asked)
    text = tokenizer.decode([*encoded.prompt, *encoded.target])
    assert text == "The capital of Kestria is Nyborg"


def test_of_two_occurrences_the_named_one_counts(tokenizer):
    early = tiny.request(prefix="", subject="Ubrea", suffix=" is like Ubrea, its capital is")
    late = tiny.request(prefix="Ubrea is like ", subject="Ubrea", suffix=", its capital is")
    places = [encode(tokenizer, asked).subject_last for asked in (early, late)]
    assert early.prompt == late.prompt
    assert places[0] < places[1]


def test_a_context_moves_the_subject_and_nothing_else(any_tokenizer):
    asked = tiny.REQUESTS[0]
    bare = encode(any_tokenizer, asked)
    within = encode(any_tokenizer, asked, "I said that. {}")
    moved = within.subject_last - bare.subject_last
    assert moved > 0
    assert within.target == bare.target
    assert len(within.prompt) == len(bare.prompt) + moved


def test_a_subject_of_nothing_but_lost_characters_is_told():
    from tokenizers import normalizers

    tokenizer = tiny._byte_level()
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace("~", "")
    with pytest.raises(InvalidInput, match="sees nothing of subject"):
        locate(tokenizer, "The ~~ of", 4, "~~", "r1")


def test_an_end_token_that_a_tokenizer_adds_is_dropped():
    from tokenizers import processors

    tokenizer = tiny._byte_level()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A $B </s>", special_tokens=[("</s>", 1)]
    )
    encoded = encode(tokenizer, tiny.REQUESTS[0])
    plain = encode(tiny.tokenizer_of(), tiny.REQUESTS[0])
    assert encoded == plain


# Contexts.


def sample(seed=0, model=None, kind="bytes"):
    model = model or tiny.make_model("gpt2")
    with evaluating(model):
        return sample_templates(ModelAdapter(model), tiny.tokenizer_of(kind), seed=seed)


@pytest.mark.parametrize("kind", tiny.TOKENIZERS)
def test_sampled_templates_can_be_used(kind):
    bare, sampled = sample(kind=kind)
    assert bare == ("{}",)
    assert len(sampled) == len(BEGINNINGS) * len(LENGTHS)
    check_templates((bare, sampled))
    for beginning, template in zip(BEGINNINGS, sampled, strict=True):
        assert template.startswith(beginning) or kind == "metaspace"  # which lacks some letters
        assert "{" not in template[:-2]
        assert "}" not in template[:-2]
        assert "<s>" not in template


def test_templates_follow_from_the_seed():
    assert sample(0) == sample(0)
    assert sample(0) != sample(1)


def test_an_editor_samples_once_from_the_unedited_model(tokenizer):
    model = tiny.make_model("gpt2")
    wanted = sample(3, model)
    editor = make_editor("memit-seq", corpus=tiny.CORPUS, seed=3, layers=(1,), steps=2, ridge=1e-3)
    for asked in tiny.REQUESTS[:2]:
        edit = editor.apply(model, tokenizer, [asked])
        assert edit.report.contexts == wanted
    other = make_editor("memit-seq", corpus=tiny.CORPUS, layers=(1,), steps=2, ridge=1e-3, seed=3)
    assert other.apply(tiny.make_model("llama"), tokenizer, [asked]).report.contexts != wanted


@pytest.mark.parametrize(
    "templates",
    [[], [[]], [["{}"], []], [["no slot"]], [["{} after"]], [["{} {}"]], [["{}"], ["{0}"]]],
)
def test_templates_that_cannot_be_used_are_refused(templates):
    with pytest.raises(InvalidInput, match="context template"):
        make_editor("rome", templates=templates)
