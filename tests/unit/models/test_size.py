"""How large a model is, by its files."""

import json

import pytest
import torch
from safetensors.torch import save_file

from trainer.models.size import parameters_of


def test_the_parameters_of_a_folder_are_those_that_the_model_has(student, student_path):
    assert parameters_of(student_path) == student.num_parameters()


def test_of_a_model_in_pieces_those_count_that_its_index_names(tmp_path):
    for name, size in (("a", 3), ("b", 4), ("consolidated", 7)):
        save_file({name: torch.zeros(size, 2)}, tmp_path / f"{name}.safetensors")
    weights = {"a": "a.safetensors", "b": "b.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))
    assert parameters_of(str(tmp_path)) == 14


def test_the_cache_of_the_hub_is_looked_into(tmp_path, monkeypatch, student_path):
    cached = tmp_path / "models--some--one"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("abc")
    (cached / "snapshots").mkdir()
    (cached / "snapshots" / "abc").symlink_to(student_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert parameters_of("some/one") == parameters_of(student_path)
    assert parameters_of("some/other") is None


@pytest.mark.parametrize("content", [None, b"", b"version https://git-lfs.github.com/spec/v1", b"\x08" + bytes(20)])
def test_files_that_are_no_weights_are_not_counted(tmp_path, content):
    if content is not None:
        (tmp_path / "model.safetensors").write_bytes(content)
    assert parameters_of(str(tmp_path)) is None


@pytest.mark.parametrize("index", ["{", "[]", '{"weight_map": 1}', '{"weight_map": {"a": "gone.safetensors"}}'])
def test_an_index_that_says_nothing_is_not_counted(tmp_path, index):
    (tmp_path / "model.safetensors.index.json").write_text(index)
    assert parameters_of(str(tmp_path)) is None


@pytest.mark.parametrize("name", ["a b", "../x/y/z", "", "/nowhere/model"])
def test_a_name_of_nothing_has_no_size(name):
    assert parameters_of(name) is None
