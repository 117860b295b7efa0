"""Editors with settings that make tests quick, whatever their method."""

from scr.editing.adapter import ModelAdapter
from scr.editing.mend import MendNetworks, card_for
from scr.editing.registry import EDITORS, make_editor
from scr.errors import InvalidInput
from tests.editing import tiny


def settings_of(name, **options):
    """Hyper-parameters by what a method has, so that future ones are covered too."""
    fields = EDITORS[name].Params.model_fields
    quick = {"steps": 4, "layers": (1, 2), "layer": 1, "ridge": 1e-3}
    own = {
        "alphaedit": {"energy": 0.5, "l2": 0.01},
        "emmet": {"inner_ridge": 0.0},
        "lyaplock": {"moment_weight": 10.0},
        "lora": {"rank": 2, "dropout": 0.0},
        "memit": {"moment_weight": 10.0},
        "merge": {"rate": 1e-3, "epochs": 2},
        "memit-seq": {"moment_weight": 10.0},
    }.get(name, {})
    chosen = {key: value for key, value in quick.items() if key in fields} | own
    return chosen | {key: value for key, value in options.items() if key in fields}


def make(name, *, moments=None, templates=tiny.TEMPLATES, architecture="gpt2", **options):
    """An editor with quick settings; a single layer where a norm follows the MLP."""
    fields = EDITORS[name].Params.model_fields
    given = {key: value for key, value in options.items() if key not in (*fields, "steps")}
    if name == "mend" and "networks" not in given:
        given["networks"] = networks_for(tiny.make_model(architecture))
    single = {"layers": (2,)} if architecture in tiny.SANDWICHED else {}
    chosen = settings_of(name, **(single | options))
    source = {"moments": moments} if moments is not None else {"corpus": tiny.CORPUS}
    if not hasattr(EDITORS[name], "needs_templates"):
        templates = None
    return make_editor(name, templates=templates, **source, **given, **chosen)


def networks_for(model, step=-5e-3, **options):
    """MEND's networks as they are at first, but with steps downhill, and said to be trained."""
    card = card_for(ModelAdapter(model), last=2, rank=4)
    return MendNetworks(card.model_copy(update={"trained": 1}), step=step, **options)


def make_idle(name, **options):
    """An editor that has no steps to take."""
    options = {"templates": tiny.BARE} | options
    if "scale" in EDITORS[name].Params.model_fields:  # how far it goes
        return make(name, scale=0.0, **options)
    try:
        return make(name, steps=0, **options)
    except InvalidInput:  # where a pass is counted, not a step
        return make(name, steps=1, **options)
