"""Editors with settings that make tests quick, whatever their method."""

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
        "memit-seq": {"moment_weight": 10.0},
    }.get(name, {})
    chosen = {key: value for key, value in quick.items() if key in fields} | own
    return chosen | {key: value for key, value in options.items() if key in fields}


def make(name, *, moments=None, templates=tiny.TEMPLATES, architecture="gpt2", **options):
    """An editor with quick settings; a single layer where a norm follows the MLP."""
    fields = EDITORS[name].Params.model_fields
    given = {key: value for key, value in options.items() if key not in fields}
    single = {"layers": (2,)} if architecture in tiny.SANDWICHED else {}
    chosen = settings_of(name, **(single | options))
    source = {"moments": moments} if moments is not None else {"corpus": tiny.CORPUS}
    if not hasattr(EDITORS[name], "needs_templates"):
        templates = None
    return make_editor(name, templates=templates, **source, **given, **chosen)


def make_idle(name, **options):
    """An editor that has no steps to take."""
    options = {"templates": tiny.BARE} | options
    try:
        return make(name, steps=0, **options)
    except InvalidInput:  # where a pass is counted, not a step
        return make(name, steps=1, **options)
