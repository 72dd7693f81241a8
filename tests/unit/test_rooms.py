"""The house: a room of `trainer/` imports from rooms below it, and no two files import each other."""

import ast
import tomllib
from importlib.util import resolve_name
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = [  # from top to bottom
    "commands",
    "reporting",
    "evaluation",
    "generation",
    "training",
    "losses",
    "teachers",
    "teachers.served",
    "teachers.tokens",
    "models",
    "data",
    "data.actions",
    "data.rows",
    "run",
    "settings",
]
FOUNDATION = "trainer.errors"  # below all rooms
DOORS = {"trainer", "trainer.__main__"}  # above all rooms: for Python programs, and for the command line


def module_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(file): file for file in sorted((ROOT / "trainer").rglob("*.py"))}


def level_of(module: str) -> int:
    """How far down the module lies; 0 is the top."""
    if module == FOUNDATION:
        return len(ROOMS) + 1
    if module in DOORS:
        return 0
    within = [room for room in ROOMS if f"{module}.".startswith(f"trainer.{room}.")]
    return 1 + ROOMS.index(max(within, key=len))


def imports_of(module: str, source: str) -> set[str]:
    """Our own modules that a module imports, wherever in it; a module's name in a text counts too."""
    package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]

    def absolute(name: str) -> str:
        try:
            return resolve_name(name, package)
        except ImportError:  # more dots than there are rooms
            return name

    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            origin = absolute("." * node.level + (node.module or ""))
            found |= {f"{origin}.{alias.name}" for alias in node.names} | {origin}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(absolute(node.value))
    return found & MODULES.keys() - {"trainer"}


def wrong_imports(sources: dict[str, str]) -> list[str]:
    """What breaks the order of the rooms in modules of these source texts."""
    arrows = {(module, other) for module, source in sources.items() for other in imports_of(module, source) - {module}}
    upwards = [f"{a} imports {b}, a room above it" for a, b in arrows if level_of(a) > level_of(b)]
    circles = [f"{a} and {b} import each other" for a, b in arrows if (b, a) in arrows and a < b]
    return sorted(upwards + circles)


def test_every_file_lies_in_a_room_that_imports_only_from_rooms_below_it():
    sources = {module: file.read_text(encoding="utf-8") for module, file in MODULES.items()}
    assert sum(len(imports_of(*each)) for each in sources.items()) > 200  # they are found
    assert wrong_imports(sources) == []


@pytest.mark.parametrize(
    ("module", "line", "complaint"),
    [
        ("trainer.data.dataset", "from ..models.loading import load_student", "a room above it"),
        ("trainer.data.dataset", "from trainer.models.loading import load_student", "a room above it"),
        ("trainer.teachers.tokens.alignment", "from ..served import client", "a room above it"),
        ("trainer.errors", "import trainer.run.atomic", "a room above it"),
        ("trainer.run.atomic", "from . import journal", "import each other"),
        ("trainer.losses.divergence", "name = 'trainer.commands.train'", "a room above it"),
        ("trainer.losses.divergence", "name = '..commands.train'", "a room above it"),
    ],
)
def test_a_line_in_the_wrong_room_is_found(module, line, complaint):
    sources = {module: file.read_text(encoding="utf-8") for module, file in MODULES.items()}
    sources[module] += f"\ndef late():\n    {line}\n"
    assert any(complaint in found for found in wrong_imports(sources))


def test_a_room_says_in_one_sentence_what_lives_there_and_defines_nothing():
    for room in ROOMS:
        (only,) = ast.parse(MODULES[f"trainer.{room}"].read_text(encoding="utf-8")).body
        text = ast.literal_eval(only.value)
        assert text.endswith(".") and "\n" not in text


def test_the_listing_shows_the_rooms_and_three_files():
    top = [path for path in (ROOT / "trainer").iterdir() if not path.name.startswith("__pycache__")]
    assert {path.name for path in top if path.is_dir()} == {room for room in ROOMS if "." not in room}
    assert {path.name for path in top if path.is_file()} == {"__init__.py", "__main__.py", "errors.py"}


def test_the_project_is_independent_of_what_stands_around_it():
    for module, file in MODULES.items():
        tree = ast.parse(file.read_text(encoding="utf-8"))
        names = {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        names |= {alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names}
        assert not {name.split(".")[0] for name in names} & {"scripts", "tests", "teacher"}, module


def test_contributing_shows_the_rooms_in_this_order():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    picture = text.split("## The house", 1)[1].split("```")[1]
    shown = [line.split()[0].rstrip("/") for line in picture.splitlines() if line.startswith("  ") and "/ " in line]
    assert shown == [room.split(".")[-1] for room in ROOMS]


def test_the_wheel_has_every_room():
    built = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    assert built["packages"] == ["self_distillation", *(f"self_distillation.{room}" for room in ROOMS)]
