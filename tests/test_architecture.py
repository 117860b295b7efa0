"""The house keeps its shape: imports run downwards, the steps do not know each other."""

import ast
import inspect
from pathlib import Path

import pytest

import scr
import scr.errors as errors
from scr.errors import ScrError

ROOT = Path(scr.__file__).parent
VOCABULARY = ["errors", "facts", "records", "edits", "messages", "settings"]
STEPS = ["store", "retrieval", "detection", "composition"]
UPPER = ["engine", "chat", "evaluation", "server", "cli"]
BESIDE = ["editing", "lab"]  # may import anything below the engine
USERS_OF_BESIDE = ["chat", "evaluation", "server", "cli"]
EXEMPT = {
    # `wrap` is the one line through which users meet the engine; it loads the wrapper when called.
    ("engine", "chat"),
}


def allowed(room: str) -> set[str]:
    """Rooms that `room` may import."""
    if room in VOCABULARY:
        return set(VOCABULARY[: VOCABULARY.index(room)])
    if room in STEPS:
        return set(VOCABULARY)
    if room in BESIDE:
        return {*VOCABULARY, *STEPS}
    below = UPPER[: UPPER.index(room)]
    return {*VOCABULARY, *STEPS, *below, *(BESIDE if room in USERS_OF_BESIDE else [])}


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def is_room(name: str) -> bool:
    return (ROOT / name).is_dir() or (ROOT / f"{name}.py").is_file()


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    package = ["scr", *path.relative_to(ROOT).parent.parts]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{module}.{alias.name}" for alias in node.names]
        else:
            continue
        rooms |= {name.split(".")[1] for name in names if name.startswith("scr.")}
    return rooms


MODULES = sorted(
    path
    for path in ROOT.rglob("*.py")
    if path.parent != ROOT or path.stem not in ("__init__", "__main__")
)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_downwards(path):
    room = room_of(path)
    strangers = {
        other
        for other in imported_rooms(path) - {room}
        if is_room(other) and other not in allowed(room) and (room, other) not in EXEMPT
    }
    assert not strangers, f"{room} must not import {sorted(strangers)}"


def test_every_room_is_known():
    rooms = {room_of(path) for path in MODULES}
    assert rooms <= {*VOCABULARY, *STEPS, *UPPER, *BESIDE}


def test_modules_and_functions_stay_readable():
    long_modules, long_functions = [], []
    for path in MODULES:
        source = path.read_text(encoding="utf-8")
        if source.count("\n") > 600:
            long_modules.append(path.name)
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno
                if length > 60:
                    long_functions.append(f"{path.name}:{node.name} ({length})")
    assert not long_modules
    assert not long_functions


def test_public_names_are_sorted_and_load():
    assert scr.__all__ == sorted(scr.__all__, key=lambda name: (not name.isupper(), name))
    for name in scr.__all__:
        assert getattr(scr, name).__name__ == name
    with pytest.raises(AttributeError, match="nonsense"):
        _ = scr.nonsense


def error_classes():
    return [
        value
        for value in vars(errors).values()
        if inspect.isclass(value) and issubclass(value, ScrError)
    ]


@pytest.mark.parametrize("error", error_classes(), ids=lambda error: error.__name__)
def test_the_drawn_error_tree_is_the_real_one(error):
    (line,) = [line for line in errors.__doc__.splitlines() if f" {error.__name__} " in f" {line} "]
    assert f"exit {error.exit_code} " in line
    assert f"HTTP {error.http_status}" in line
