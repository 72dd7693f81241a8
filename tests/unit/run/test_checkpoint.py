"""A checkpoint is whole or not there, a damaged one is noticed, and nobody else works in the run directory."""

import errno
import hashlib
import json
import multiprocessing
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from transformers import TrainingArguments

from trainer.errors import TrainerError, UsageError
from trainer.run import checkpoint
from trainer.run.checkpoint import WholeCheckpoints, fault_in, newest_whole
from trainer.run.directory import RunDirectory
from trainer.settings.resolve import resolve

ROWS = [{"x": torch.randn(300, generator=torch.Generator().manual_seed(i))} for i in range(8)]


class Model(torch.nn.Module):
    """0.36 MB of weights, so 1.1 MB a checkpoint."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = torch.nn.Linear(300, 300)

    def forward(self, x):
        return {"loss": self.linear(x).square().mean()}


class Trainer(WholeCheckpoints):
    """As plain as can be, with one more file of each process in a subfolder of the checkpoint."""

    def _save_more(self, folder):
        (folder / "more").mkdir(exist_ok=True)
        (folder / "more" / f"step{self.args.process_index}").write_text(str(self.state.global_step))


def trainer(folder, **changes):
    values = {
        "output_dir": str(folder), "use_cpu": True, "per_device_train_batch_size": 2, "max_steps": 3, "save_steps": 1,
        "report_to": "none", "disable_tqdm": True, "dataloader_pin_memory": False,
    }  # fmt: skip
    return Trainer(model=Model(), args=TrainingArguments(**(values | changes)), train_dataset=ROWS)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    trainer(folder).train()
    return folder


@pytest.fixture
def run(trained, tmp_path):
    """A run directory with checkpoints 1, 2 and 3."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def checkpoints(folder):
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


def test_the_manifest_lists_every_other_file_with_its_size_and_sha256(run):
    folder = run / "checkpoint-2"
    listed = json.loads((folder / "manifest.json").read_text())["files"]
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert set(listed) == files - {"manifest.json"}
    assert {"model.safetensors", "optimizer.pt", "rng_state.pth", "trainer_state.json", "more/step0"} <= set(listed)
    for name, entry in listed.items():
        content = (folder / name).read_bytes()
        assert entry == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def test_the_newest_whole_checkpoint_is_the_newest_where_nothing_happened(run, capsys):
    (run / "checkpoint-3" / "notes.txt").write_text("a file that the manifest does not list is no damage")
    assert newest_whole(run) == checkpoint.newest(run) == run / "checkpoint-3"
    assert capsys.readouterr().out == ""


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def shorten(path):
    os.truncate(path, path.stat().st_size - 1)


@pytest.mark.parametrize(
    ("damage", "name", "said"),
    [
        (flip, "model.safetensors", r"model\.safetensors has SHA-256 \w{12}…, expected \w{12}…"),
        (shorten, "optimizer.pt", r"optimizer\.pt has \d+ bytes, expected \d+"),
        (Path.unlink, "more/step0", r"more/step0 is missing, expected 1 bytes"),
        (Path.unlink, "manifest.json", r"manifest\.json is missing"),
        (lambda path: path.write_text('{"files": {"a": 1}}'), "manifest.json", r"manifest\.json is not the list of"),
    ],
    ids=["flipped byte", "truncated", "missing", "no manifest", "strange manifest"],
)
def test_a_damaged_checkpoint_is_set_aside_and_the_older_one_taken(run, capsys, damage, name, said):
    damage(run / "checkpoint-3" / name)
    found, out = newest_whole(run), capsys.readouterr().out
    assert found == run / "checkpoint-2"
    onward = r"It is now called damaged-checkpoint-3; going on from checkpoint-2\.\n"
    assert re.fullmatch(rf".*/checkpoint-3 is damaged: {said}.*\. {onward}", out)
    assert checkpoints(run) == ["checkpoint-1", "checkpoint-2", "damaged-checkpoint-3"]
    assert newest_whole(run) == run / "checkpoint-2" and capsys.readouterr().out == ""


def test_the_damaged_step_is_done_again_and_saved_under_its_free_name(run, capsys):
    weights = (run / "checkpoint-3" / "model.safetensors").read_bytes()
    for _ in range(2):
        flip(run / "checkpoint-3" / "optimizer.pt")
        again = trainer(run)
        again.train(resume_from_checkpoint=str(again.newest_whole()))
    assert (run / "checkpoint-3" / "model.safetensors").read_bytes() == weights
    assert newest_whole(run) == run / "checkpoint-3"
    assert [name for name in checkpoints(run) if "damaged" in name] == [
        "damaged-checkpoint-3",
        "damaged-checkpoint-3.1",
    ]


def test_where_no_checkpoint_is_whole_training_starts_over_and_says_so(run, capsys):
    for step in (1, 2, 3):
        flip(run / f"checkpoint-{step}" / "model.safetensors")
    assert newest_whole(run) is None and checkpoint.newest(run) is None
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and all(line.endswith("no older one is whole: training starts over.") for line in lines)


def test_a_folder_without_checkpoints_has_no_newest_one(tmp_path):
    assert newest_whole(tmp_path) is None and newest_whole(tmp_path / "missing") is None


def test_of_the_checkpoints_as_many_as_asked_for_are_kept(tmp_path):
    trainer(tmp_path, max_steps=5, save_total_limit=2).train()
    assert checkpoints(tmp_path) == ["checkpoint-4", "checkpoint-5"]


def test_a_failure_that_is_not_for_want_of_room_stays_what_it_is(tmp_path, monkeypatch):
    broken = trainer(tmp_path)
    monkeypatch.setattr(broken, "_save_more", lambda folder: torch.load(folder / "nothing"))
    with pytest.raises(FileNotFoundError):
        broken.train()
    assert checkpoints(tmp_path) == []


@pytest.fixture
def disk(tmp_path):
    """Mounts a file system of its own with so many kB."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(size):
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "none", folder]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("mounting a tmpfs is not permitted here")
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", "--lazy", folder], check=True)  # pytest holds the error, it the file half written


def kilobytes(folder, names):
    """Room that files take in pages of 4 kB."""
    return sum(-(-(folder / name).stat().st_size // 4096) * 4 for name in names)


FIRST = ["model.safetensors", "training_args.bin"]
THEN = ["optimizer.pt", "scheduler.pt", "rng_state.pth"]


@pytest.mark.parametrize(
    ("fitting", "more", "cause"),
    [([], 100, SafetensorError), (FIRST, 100, RuntimeError), (FIRST + THEN, 0, OSError)],
    ids=["within safetensors", "within torch.save", "within a text file"],
)
def test_on_a_full_disk_the_older_checkpoint_stays_and_the_error_says_what_to_do(trained, disk, fitting, more, cause):
    earlier = trained / "checkpoint-1"
    everything = [path.relative_to(earlier) for path in earlier.rglob("*") if path.is_file()]
    folder = disk(kilobytes(earlier, everything) + kilobytes(earlier, fitting) + more)
    with pytest.raises(TrainerError) as caught:
        trainer(folder).train()
    said = re.fullmatch(
        rf"no space left for checkpoint-2 in {folder}: ([\d.]+) (kB|MB) free, about 1\.1\d? MB needed\. Free space "
        r"there, or copy the folder to a larger disk and pass --output_dir COPY; then the same command goes on from "
        r"checkpoint-1\.",
        str(caught.value),
    )
    free = float(said[1]) * {"kB": 1, "MB": 1000}[said[2]]
    assert free == pytest.approx(1.024 * (kilobytes(earlier, fitting) + more), abs=30)
    assert type(caught.value.__cause__) is cause
    assert checkpoints(folder) == ["checkpoint-1"] and newest_whole(folder) == folder / "checkpoint-1"


def test_on_a_disk_too_small_for_the_first_checkpoint_the_error_says_what_was_written_so_far(disk):
    with pytest.raises(TrainerError, match=r"checkpoint-1 in .* more than \d+ kB needed.* starts over: no checkpoint"):
        trainer(disk(900)).train()


def test_a_metrics_line_that_finds_no_room_ends_the_run_with_a_message(tmp_path):
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(TrainerError, match=r"can't write .*metrics\.jsonl: No space left on device\. .*goes on from"):
        RunDirectory(tmp_path).append_metrics({"step": 1})


def settings(*argv):
    return resolve("train", list(argv), {})


def test_a_second_train_in_the_same_folder_is_refused_until_the_first_ends(tmp_path):
    first = RunDirectory.open(str(tmp_path), settings())
    with pytest.raises(UsageError, match=rf"another `train` is at work in {tmp_path}\. .* another --output_dir"):
        RunDirectory.open(str(tmp_path), settings())
    del first
    RunDirectory.open(str(tmp_path), settings())


def test_a_killed_train_leaves_no_lock_behind(tmp_path):
    hold = "import sys, time, pathlib; from trainer.run.journal import open_locked\n"
    hold += "file = open_locked(pathlib.Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", hold, tmp_path / ".lock"], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(UsageError, match="another `train`"):
            RunDirectory.open(str(tmp_path), settings())
        other.kill()
    RunDirectory.open(str(tmp_path), settings())


def test_data_parallel_processes_hold_the_folder_together(tmp_path, monkeypatch):
    opened = []
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        opened.append(RunDirectory.open(str(tmp_path), settings()))
    monkeypatch.delenv("RANK")
    with pytest.raises(UsageError, match="another"):
        RunDirectory.open(str(tmp_path), settings())


def save_as_rank(rank: int, port: int, folder: str) -> None:
    """What one of two data-parallel processes does."""
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    torch.set_num_threads(1)
    one = trainer(folder, max_steps=2, per_device_train_batch_size=1, ddp_backend="gloo")
    assert one.args.world_size == 2
    one.train()
    if rank == 0:
        flip(Path(folder) / "checkpoint-2" / "model.safetensors")
    one.accelerator.wait_for_everyone()
    assert one.newest_whole() == Path(folder) / "checkpoint-1"
    one.accelerator.wait_for_everyone()
    torch.distributed.destroy_process_group()
    os._exit(0)  # gloo's threads now and then abort a process that is torn down in order


def test_two_processes_save_one_checkpoint_with_the_part_of_each_and_agree_on_the_newest_whole_one(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["trainer.run.checkpoint", "pytest"])
    ranks = [context.Process(target=save_as_rank, args=(rank, port, str(tmp_path))) for rank in range(2)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(120)
    assert [process.exitcode for process in ranks] == [0, 0]
    assert checkpoints(tmp_path) == ["checkpoint-1", "damaged-checkpoint-2"]
    listed = json.loads((tmp_path / "checkpoint-1" / "manifest.json").read_text())["files"]
    each = {"rng_state_0.pth", "rng_state_1.pth", "more/step0", "more/step1"}
    assert each | {"model.safetensors", "optimizer.pt"} <= set(listed)


@pytest.mark.parametrize("entry", ['{"bytes": "5", "sha256": "x"}', '{"bytes": 5, "sha256": null}', "[" * 100_000])
def test_a_manifest_with_values_of_another_kind_is_a_fault_of_its_checkpoint(tmp_path, entry):
    (tmp_path / "a").write_text("12345")
    (tmp_path / "manifest.json").write_text('{"files": {"a": ' + entry + "}}")
    assert fault_in(tmp_path) == "manifest.json is not the list of files that was written"


def test_a_file_that_is_larger_than_this_process_may_write_is_told_as_want_of_room(tmp_path, monkeypatch):
    assert checkpoint.is_of_full_disk(OSError(errno.EFBIG, "File too large"), tmp_path)
    assert checkpoint.is_of_full_disk(
        Exception("Error while serializing: I/O error: File too large (os error 27)"), tmp_path
    )
    assert checkpoint.largest_file() == ""
    monkeypatch.setattr(checkpoint.resource, "getrlimit", lambda kind: (2_500_000, 2_500_000))
    assert checkpoint.largest_file() == ", and files of at most 2.5 MB allowed (`ulimit -f`)"


def test_a_file_that_torch_could_not_finish_at_the_limit_is_told_as_want_of_room_too(tmp_path, monkeypatch):
    failed = RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 2503424 vs 2503316")
    (tmp_path / "optimizer.pt").write_bytes(bytes(2_503_316))
    assert not checkpoint.is_of_full_disk(failed, tmp_path)
    monkeypatch.setattr(checkpoint.resource, "getrlimit", lambda kind: (2_503_316, 2_503_316))
    assert checkpoint.is_of_full_disk(failed, tmp_path)
    (tmp_path / "optimizer.pt").write_bytes(b"whole")
    assert not checkpoint.is_of_full_disk(failed, tmp_path)
