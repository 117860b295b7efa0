"""Edited models as folders, and back."""

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from scr.editing import SavedEdit
from scr.editing.export import KEPT, export_edited, restore_exported
from scr.editing.weights import fingerprint
from scr.errors import EditOrder, InvalidInput, ModelUnavailable
from tests.editing import making, tiny


def exported(folder, model, tokenizer, **options):
    """Edit, save and export; the model is as before."""
    with making.make("memit", steps=3).apply(model, tokenizer, tiny.REQUESTS) as edit:
        edit.save(folder / "edit")
        edited = fingerprint(model)
    note = export_edited(
        SavedEdit(folder / "edit"), model, tokenizer, folder / "model", name="tiny", **options
    )
    assert note.edited_hash == edited
    return folder / "model"


def loaded(folder, dtype="auto"):
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_an_exported_model_comes_back_to_the_bit(architecture, dtype, tokenizer, tmp_path):
    model = tiny.make_model(architecture, dtype)
    before = fingerprint(model)
    folder = exported(tmp_path, model, tokenizer)
    assert fingerprint(model) == before
    (folder / "NOTES.txt").write_text("mine")
    assert fingerprint(loaded(folder)) != before
    note = restore_exported(folder)
    assert (note.model, note.report.method) == ("tiny", "memit")
    assert fingerprint(loaded(folder)) == before
    assert (folder / "NOTES.txt").read_text() == "mine"
    assert not (folder / KEPT).exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["edit", "model"]
    with pytest.raises(InvalidInput, match="holds no model written by"):
        restore_exported(folder)


@pytest.mark.parametrize("exact", [True, False])
def test_the_type_on_disk_comes_back_only_where_no_bit_is_lost(exact, tokenizer, tmp_path):
    model = tiny.make_model("llama", torch.bfloat16 if exact else torch.float32).float()
    before = fingerprint(model)
    folder = exported(tmp_path, model, tokenizer, checkpoint_dtype="bfloat16")
    restore_exported(folder)
    assert loaded(folder).dtype == (torch.bfloat16 if exact else torch.float32)
    assert fingerprint(loaded(folder, torch.float32)) == before


def test_what_does_not_belong_together_is_left_alone(llama, tokenizer, tmp_path):
    folder = exported(tmp_path, llama, tokenizer)
    kept = folder / KEPT / "originals.safetensors"
    originals = load_file(kept)
    save_file({name: tensor + 1 for name, tensor in originals.items()}, kept)
    weights = (folder / "model.safetensors").read_bytes()
    with pytest.raises(EditOrder, match="is not what the edit was made for"):
        restore_exported(folder)
    save_file(originals, kept)
    changed = loaded(folder)
    with torch.no_grad():
        next(changed.parameters()).add_(1)
    changed.save_pretrained(tmp_path / "changed")
    (folder / "model.safetensors").write_bytes(
        (tmp_path / "changed/model.safetensors").read_bytes()
    )
    with pytest.raises(EditOrder, match="changed since"):
        restore_exported(folder)
    (folder / "model.safetensors").write_bytes(weights[:50])
    with pytest.raises(ModelUnavailable, match="missing or damaged"):
        restore_exported(folder)
    (folder / "model.safetensors").write_bytes(weights)
    restore_exported(folder)


def test_an_edit_of_other_weights_is_not_exported(tokenizer, tmp_path):
    exported(tmp_path, tiny.make_model("llama"), tokenizer)
    other = tiny.make_model("llama", seed=1)
    with pytest.raises(EditOrder, match="made for other weights"):
        export_edited(SavedEdit(tmp_path / "edit"), other, tokenizer, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_the_note_tells_people_what_was_done(llama, tokenizer, tmp_path):
    folder = exported(tmp_path, llama, tokenizer)
    text = (folder / KEPT / "README.md").read_text()
    for said in ("3 edits by `memit`", "scr edit restore", "`Nyborg`", "down_proj"):
        assert said in text


def test_a_place_that_cannot_be_written_is_named(llama, tokenizer, tmp_path):
    exported(tmp_path, llama, tokenizer)
    (tmp_path / "taken").write_text("")
    before = fingerprint(llama)
    with pytest.raises(InvalidInput, match="cannot be written"):
        export_edited(SavedEdit(tmp_path / "edit"), llama, tokenizer, tmp_path / "taken/model")
    assert fingerprint(llama) == before
