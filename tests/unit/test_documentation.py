"""What README and docs/ say is what the code is: flags, commands, links, figures."""

import dataclasses
import importlib.util
import re
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
import yaml
from documentation import MARKS, ROOT, anchors, blocks, pages, shell_blocks
from trl.experimental.sdft import SDFTConfig

import trainer
from trainer.settings.options import SUBCOMMANDS
from trainer.settings.resolve import resolve

README = (ROOT / "README.md").read_text(encoding="utf-8")
FLAGS = ROOT / "docs" / "reference" / "flags.md"
LANGUAGES = {"sh", "python", "text", "json", "yaml", "ini", "{toctree}"}
# What a line of shell begins with; elsewhere than in a block of shell nobody would try it.
COMMAND = re.compile(
    r"^(\$ )?(sdft|docker|scripts/\w+|python|pip|hf|accelerate|curl|source)( (?!vllm)|$)", re.MULTILINE
)
TRL_FLAGS = {field.name for field in dataclasses.fields(SDFTConfig)}  # `train` passes them on
NAMED = pytest.mark.parametrize("block", shell_blocks(), ids=lambda block: block.name)


def flags_on_the_page(subcommand):
    section = FLAGS.read_text(encoding="utf-8").partition(f"\n## `{subcommand}`\n")[2].partition("\n#")[0]
    return re.findall(r"^\| `--(\w+)` \| (.*?) \| (.*) \|$", section, re.MULTILINE)


def shown(f):
    if f.name == "teacher_prompt_template":
        return "[published](#the-published-template)"
    return "" if f.default in (None, ()) else f"`{f.default}`"


@pytest.mark.parametrize("subcommand", SUBCOMMANDS)
def test_the_reference_lists_every_flag_with_its_default_and_help(subcommand):
    expected = [
        (f.name, shown(f), f.metadata["help"].replace("|", "\\|")) for f in dataclasses.fields(SUBCOMMANDS[subcommand])
    ]
    assert flags_on_the_page(subcommand) == expected, "type: python docs/flags.py"


def script_of(path):
    """A script of the documentation, as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_flags_is_what_its_script_writes():
    page = script_of(ROOT / "docs" / "flags.py").page()
    assert FLAGS.read_text(encoding="utf-8") == page, "type: python docs/flags.py"


def test_the_pictures_are_what_their_script_draws():
    folder = ROOT / "docs" / "pictures"
    pictures = script_of(folder / "draw.py").PICTURES
    assert {path.name for path in folder.glob("*.svg")} == pictures.keys()
    for name, draw in pictures.items():
        assert (folder / name).read_text(encoding="utf-8") == draw(), "type: python docs/pictures/draw.py"


def test_the_readme_has_at_most_150_lines():
    assert len(README.splitlines()) <= 150


def test_every_block_says_what_it_is_and_every_shell_block_whether_it_is_run():
    for block in blocks():
        assert block.language in LANGUAGES, f"{block.name}: found ```{block.language}, expected one of {LANGUAGES}"
        if block.language != "sh":
            assert not COMMAND.search(block.text), f"{block.name} has a command; begin it with ```sh"
        for mark in block.marks:
            assert mark in MARKS or mark.startswith("by="), f"{block.name}: unknown mark {mark}"


@NAMED
def test_a_block_that_another_file_runs_names_one_that_does(block):
    for mark in block.marks:
        if mark.startswith("by="):
            path = ROOT / mark.removeprefix("by=")
            subject = Path(block.commands[-1][0]).name
            assert path.is_file() and subject in path.read_text(encoding="utf-8"), f"{block.name}: {mark}"


@NAMED
def test_every_command_of_ours_has_flags_that_exist(block):
    for words in block.commands:
        arguments = arguments_of_sdft(words)
        if not arguments or "--help" in arguments:
            continue
        resolved = resolve(arguments[0], arguments[1:], {})
        unknown = resolved.extra.keys() - TRL_FLAGS if arguments[0] == "train" else resolved.extra.keys()
        assert not unknown, f"{block.name}: {' '.join(unknown)} is no flag of ours"


def arguments_of_sdft(words):
    """What is handed to our command line, None where a command is another one."""
    for start in (["sdft"], ["-m", "trainer"], ["trainer"] if words[:2] == ["docker", "compose"] else ["sdft"]):
        for place in range(len(words)):
            if words[place : place + len(start)] == start:
                return words[place + len(start) :]
    return None


@NAMED
def test_every_script_service_profile_and_compose_file_that_is_named_exists(block):
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    profiles = {profile for service in services.values() for profile in service.get("profiles", [])}
    for words in block.commands:
        if words[0].startswith("scripts/"):
            assert (ROOT / words[0]).is_file(), block.name
        if words[:2] == ["docker", "compose"]:
            options = [*pairwise(words)]
            assert {value for option, value in options if option == "--profile"} <= profiles, block.name
            assert all((ROOT / value).is_file() for option, value in options if option == "-f"), block.name
            verb = next(place for place, word in enumerate(words) if word in ("up", "run", "pull"))
            named = next((word for word in words[verb + 1 :] if not word.startswith("-")), None)
            assert named is None or named in services, block.name


def test_every_link_and_picture_of_the_readme_is_there():
    links = re.findall(r"\]\(([^)\s]+)\)|(?:src|srcset)=\"([^\"]+)\"", README)
    local = [link for pair in links for link in pair if link and "://" not in link]
    assert len(local) > 30
    for link in local:
        path, _, anchor = link.partition("#")
        assert (ROOT / path).is_file(), link
        assert not anchor or anchor in anchors(ROOT / path), link


def test_the_figures_of_peers_are_those_of_the_benchmarks():
    bench = (ROOT / "scripts" / "bench" / "README.md").read_text(encoding="utf-8")
    peers = README.partition("## Beside its peers")[2].partition("\n## ")[0]
    figures = re.findall(r"\d+\.\d\d\b", peers)
    assert len(figures) > 10
    assert not [figure for figure in figures if figure not in bench]


def test_every_page_stands_in_the_readme_or_in_the_table_of_contents():
    contents = README + (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for page in pages():
        name = page.relative_to(ROOT / "docs").with_suffix("").as_posix() if "docs" in page.parts else page.stem
        assert name in ("README", "index") or name in contents, page


def test_no_page_of_the_documentation_enters_an_image():
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert ignored[ignored.index("image.") + 1] == "*"
    assert not [line for line in ignored if line.startswith("!docs")]


def test_the_page_on_python_tells_of_every_function_and_every_field_of_what_it_returns():
    page = (ROOT / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
    told = set(re.findall(r"\w+", "".join(re.findall(r"`.*?`", page))))
    assert set(trainer.PUBLIC) - told == set()
    for name in trainer.PUBLIC:
        if name.endswith("Result") or name == "Finding":
            assert {f.name for f in dataclasses.fields(getattr(trainer, name))} <= told, name


def test_the_notebook_stands_as_it_was_executed_from_top_to_bottom():
    cells = [cell for cell in nbformat.read(ROOT / "docs" / "tour.ipynb", 4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == [*range(1, len(cells) + 1)]
    assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]
