"""Programs that try to get out of the process that code of a model runs in."""

import os
from pathlib import Path

import pytest
from campaigns.attacks.snippets import ATTACKS, Attack
from campaigns.attacks.witnesses import Stage

from trainer.evaluation import sandbox

ALL_MISSING = pytest.mark.skipif(bool(sandbox.missing()), reason=f"this machine has no {sandbox.missing()}")
SYS_ADMIN = 1 << 21
ON_TIME = [attack for attack in ATTACKS if attack.group == "time"]  # seconds pass until they count as ended, or not
AT_ONCE = [attack for attack in ATTACKS if attack.group != "time"]


def name_of(attack: Attack) -> str:
    return f"{attack.group}: {attack.name}"


def require_held(stage: Stage, attack: Attack) -> None:
    """The attack works, and not behind the kernel's guards alone; the campaign also tries it behind all guards."""
    if attack.native and os.uname().machine != "x86_64":
        pytest.skip("its system calls are those of x86-64")
    assert not stage.got_out(attack, "kernel")
    works = any(stage.got_out(attack, "none") for _ in range(3))  # a busy machine may be too slow for it once
    if not works and not _may_do_everything():
        pytest.skip("it gets nowhere here without a guard either")
    assert works


def _may_do_everything() -> bool:
    """Whether nothing but the guard would refuse an attack."""
    status = dict(line.split(":\t") for line in Path("/proc/self/status").read_text().splitlines())
    return bool(int(status["CapEff"], 16) & SYS_ADMIN) and status["Seccomp"] == "0" and os.uname().machine == "x86_64"
