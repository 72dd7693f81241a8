"""What a run will take of memory and disk is told before it takes it."""

import shutil
from collections import namedtuple

import pytest
import torch

from trainer.settings.options import Train
from trainer.training import needs
from trainer.training.needs import disk_complaint, memory_complaint, warn_of_needs

CPU, BILLION = torch.device("cpu"), 10**9
Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(("settings", "billions", "complains", "advice"), [
    ({}, 1, False, ""), ({}, 2, True, "Pass --use_peft"), ({"use_peft": True}, 2, False, ""),
    ({"use_peft": True}, 8, True, "Pass --load_in_4bit"), ({"use_peft": True, "load_in_4bit": True}, 8, False, ""),
    ({"use_peft": True, "load_in_4bit": True}, 70, True, "Pass a smaller --model_name_or_path"),
])  # fmt: skip
def test_a_student_that_is_too_large_is_told_with_the_next_smaller_way(
    monkeypatch, settings, billions, complains, advice
):
    monkeypatch.setattr(needs, "device_memory", lambda device: 40 * 2**30)
    said = memory_complaint(Train(**settings), billions * BILLION, CPU)
    assert (said is not None) is complains and advice in (said or "")


def test_the_numbers_are_told(monkeypatch):
    monkeypatch.setattr(needs, "device_memory", lambda device: 40 * 2**30)
    said = memory_complaint(Train(model_name_or_path="big"), 8 * BILLION, CPU)
    assert said.startswith(
        "weights, gradients, optimizer and teacher of big take about 179 GiB, and this machine has 40."
    )


@pytest.mark.parametrize(("settings", "free", "complains"), [
    ({}, 40, True), ({}, 50, False), ({"objective": "sft"}, 40, False), ({"save_total_limit": 1}, 40, False),
    ({"use_peft": True}, 1, False),
])  # fmt: skip
def test_a_disk_without_room_for_the_checkpoints_is_told(tmp_path, monkeypatch, settings, free, complains):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(0, 0, free * 2**30))
    said = disk_complaint(Train(output_dir=str(tmp_path / "a" / "run"), **settings), BILLION)
    assert (said is not None) is complains
    assert said is None or f"{tmp_path} has 40 GiB free" in said


def test_checkpoints_that_are_there_need_no_room_again(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(0, 0, 20 * 2**30))
    for step in (50, 100):
        (tmp_path / f"checkpoint-{step}").mkdir()
    assert disk_complaint(Train(output_dir=str(tmp_path)), BILLION) is None


def test_a_shipped_student_is_told_of_where_it_does_not_fit_and_else_nothing_is(
    tmp_path, monkeypatch, capsys, student_path
):
    settings = Train(model_name_or_path=student_path, output_dir=str(tmp_path))
    warn_of_needs(settings, CPU)
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(needs, "device_memory", lambda device: 10_000_000)
    warn_of_needs(settings, CPU)
    assert capsys.readouterr().out.startswith("warning: weights, gradients, optimizer and teacher of ")
    warn_of_needs(settings, CPU, shares=2)
    assert capsys.readouterr().out == ""


def test_another_model_that_teaches_takes_memory_too(monkeypatch):
    monkeypatch.setattr(needs, "device_memory", lambda device: 40 * 2**30)
    monkeypatch.setattr(needs, "parameters_of", lambda name: {"large": 8 * BILLION}[name])
    taught = Train(teacher_model_name_or_path="large", teacher_kind="base")
    assert memory_complaint(Train(), BILLION, CPU) is None
    assert "take about 52.2 GiB" in (memory_complaint(taught, BILLION, CPU) or "")
