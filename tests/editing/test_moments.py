"""Second moments: what they are, and that what is kept on disk is what it says."""

import pytest
import torch

from scr.editing import make_editor
from scr.editing.adapter import ModelAdapter
from scr.editing.moments import collect_moments
from scr.editing.weights import fingerprint
from scr.errors import InvalidInput
from tests.editing import plain, tiny

LAYERS = (0, 1, 2)


def collect(model, tokenizer, texts=tiny.CORPUS, layers=LAYERS, **options):
    hashed = fingerprint(model)
    return collect_moments(
        ModelAdapter(model), tokenizer, texts, layers, model_hash=hashed, **options
    )


def counting(model):
    """Count the runs of a model."""
    runs = []
    model.register_forward_pre_hook(lambda *_: runs.append(1))
    return runs


def assert_same(one, other):
    assert one.tokens == other.tokens
    assert one.means.keys() == other.means.keys()
    for layer, mean in one.means.items():
        torch.testing.assert_close(other[layer], mean, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("architecture", ["gpt2", "gptj", "gemma3"])
def test_they_are_means_over_every_token(architecture, tokenizer):
    model = tiny.make_model(architecture)
    adapter = ModelAdapter(model)
    texts = tiny.CORPUS[:3]
    found = collect(model, tokenizer, texts, (1, 2))
    rows = [tokenizer(text)["input_ids"] for text in texts]
    assert found.tokens == sum(map(len, rows))
    near = 1e-6 if architecture == "gptj" else 1e-11
    for layer in (1, 2):
        wanted = plain.second_moment(model, adapter.projections[layer], rows)
        torch.testing.assert_close(found[layer], wanted, rtol=near, atol=near)
        assert found[layer].dtype == torch.float64


def test_one_pass_gives_what_a_pass_for_each_layer_gives(llama, tokenizer):
    together = collect(llama, tokenizer)
    for layer in LAYERS:
        alone = collect(llama, tokenizer, layers=(layer,))
        torch.testing.assert_close(alone[layer], together[layer], rtol=1e-12, atol=1e-14)


def test_they_are_found_again_by_model_text_and_length(tmp_path, tokenizer):
    model = tiny.make_model("gpt2")
    wanted = collect(model, tokenizer, cache=tmp_path)
    kept = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(kept) == len(LAYERS)
    same = tiny.make_model("gpt2")
    adapter = ModelAdapter(same)
    runs = counting(same)
    found = collect_moments(
        adapter, tokenizer, tiny.CORPUS, LAYERS, model_hash=fingerprint(same), cache=tmp_path
    )
    assert_same(found, wanted)
    assert not runs
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == kept
    other = tiny.make_model("gpt2", seed=1)
    for different in (
        collect(other, tokenizer, cache=tmp_path),
        collect(model, tokenizer, tiny.CORPUS[:4], cache=tmp_path),
        collect(model, tokenizer, cache=tmp_path, max_length=5),
    ):
        assert (different[1] - wanted[1]).norm() > 1e-3 * wanted[1].norm()
    assert len(list(tmp_path.iterdir())) == 4 * len(LAYERS)
    more = collect(model, tokenizer, layers=(1, 3), cache=tmp_path)
    assert torch.equal(more[1], wanted[1])


def test_after_an_interruption_it_goes_on(monkeypatch, tmp_path, tokenizer):
    monkeypatch.setattr("scr.editing.moments._BATCH_TOKENS", 20)
    monkeypatch.setattr("scr.editing.moments._SAVE_EVERY", 2)
    model = tiny.make_model("gpt2")
    wanted = collect(model, tokenizer)
    seen = []

    def interrupt(done, total):
        seen.append(done)
        if len(seen) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(model, tokenizer, cache=tmp_path, observe=interrupt)
    assert len(list(tmp_path.iterdir())) == 1
    told = []
    found = collect(model, tokenizer, cache=tmp_path, observe=lambda *what: told.append(what))
    assert_same(found, wanted)
    assert told[0][0] > seen[0]  # not from the start
    assert told[-1] == (len(tiny.CORPUS), len(tiny.CORPUS))
    assert len(list(tmp_path.iterdir())) == len(LAYERS)


@pytest.mark.parametrize("damage", [b"", b"not a tensor", None])
def test_a_damaged_file_is_told_by_its_name(damage, tmp_path, gpt2, tokenizer):
    collect(gpt2, tokenizer, layers=(1,), cache=tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-100] if damage is None else damage)
    with pytest.raises(InvalidInput, match=f"{path.name} is damaged: delete it"):
        collect(gpt2, tokenizer, layers=(1,), cache=tmp_path)
    path.unlink()
    collect(gpt2, tokenizer, layers=(1,), cache=tmp_path)


@pytest.mark.parametrize("texts", [[], [""]])
def test_there_must_be_text(texts, gpt2, tokenizer):
    with pytest.raises(InvalidInput, match="need text"):
        collect(gpt2, tokenizer, texts)


def test_a_layer_that_was_not_collected_is_told(gpt2, tokenizer):
    with pytest.raises(InvalidInput, match=r"layer 3 was collected \(but of \[0, 1, 2\]\)"):
        collect(gpt2, tokenizer)[3]


def test_an_editor_collects_once_and_keeps_them_on_disk(tmp_path, tokenizer):
    def edit(model):
        editor = make_editor(
            "memit",
            corpus=tiny.CORPUS,
            cache=tmp_path,
            templates=tiny.BARE,
            layers=(1, 2),
            steps=2,
            ridge=1e-3,
        )
        first = editor.apply(model, tokenizer, tiny.REQUESTS[:1])
        moments = editor.moments
        editor.apply(model, tokenizer, tiny.REQUESTS[1:])
        assert editor.moments is moments
        return first.deltas

    one = edit(tiny.make_model("gpt2"))
    files = sorted(tmp_path.iterdir())
    other = edit(tiny.make_model("gpt2"))
    assert sorted(tmp_path.iterdir()) == files
    assert all(torch.equal(other[name], delta) for name, delta in one.items())
