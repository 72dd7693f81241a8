"""The process that code of a model runs in: what the kernel is asked to refuse, and programs that try to get out."""

import ctypes
import os
import struct
from pathlib import Path

import pytest
from attacked import ALL_MISSING, AT_ONCE, name_of, require_held
from campaigns.attacks.snippets import ATTACKS
from campaigns.attacks.witnesses import Stage
from hypothesis import given
from hypothesis import strategies as st

from trainer.errors import UsageError
from trainer.evaluation import code, sandbox
from trainer.evaluation.code import runs_right

MACHINES = pytest.mark.parametrize("machine", sandbox.ARCHITECTURES)


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    with Stage(tmp_path_factory.mktemp("attacks") / "stage") as made:
        yield made


@ALL_MISSING
@pytest.mark.parametrize("attack", AT_ONCE, ids=name_of)
def test_an_attack_gets_out_of_a_process_without_guards_and_not_out_of_a_guarded_one(stage, attack):
    require_held(stage, attack)


def test_there_are_attacks_of_all_kinds():
    assert len(ATTACKS) == 141 and len({attack.group for attack in ATTACKS}) == 11


# ---- the filter


def verdict(machine: str, number: int, *arguments: int, architecture: int | None = None) -> int:
    """What the kernel would make of a system call: the filter, run here step by step."""
    known = sandbox.ARCHITECTURES[machine] if architecture is None else architecture
    data = struct.pack("=iIQ6Q", number, known, 0, *arguments, *[0] * (6 - len(arguments)))
    steps, place, word = sandbox._steps(machine), 0, 0
    while True:
        operation, yes, no, value = steps[place]
        place += 1
        if operation == sandbox.RETURN:
            return value
        if operation == sandbox.LOAD:
            (word,) = struct.unpack_from("=I", data, value)
        else:
            true = word == value if operation == sandbox.EQUAL else bool(word & value)
            place += yes if true else no


@MACHINES
@given(number=st.integers(0, 500) | st.integers(-(2**31), 2**31 - 1))
def test_only_listed_system_calls_are_allowed(machine, number):
    listed = {numbers[machine] for numbers in sandbox.SYSTEM_CALLS.values()}
    assert verdict(machine, number) == (sandbox.ALLOW if number in listed else sandbox.REFUSE)


@MACHINES
@given(number=st.sampled_from([numbers for numbers in sandbox.SYSTEM_CALLS.values()]))
def test_calls_by_the_numbers_of_another_machine_end_the_process(machine, number):
    i386, arm = 0x40000003, 0x40000028
    for architecture in (i386, arm):
        assert verdict(machine, number[machine] or 0, architecture=architecture) == sandbox.KILL
    x32 = 0x40000000
    assert verdict(machine, x32 | (number[machine] or 0)) == sandbox.REFUSE


@MACHINES
def test_files_are_opened_to_read_and_handles_are_not_given_away(machine):
    opening, handles = (sandbox.SYSTEM_CALLS[name][machine] for name in ("openat", "fcntl"))
    for flags in (os.O_RDONLY, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY):
        assert verdict(machine, opening, 0, 0, flags) == sandbox.ALLOW
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC, os.O_APPEND, os.O_TMPFILE | os.O_RDWR):
        assert verdict(machine, opening, 0, 0, flags) == sandbox.REFUSE
        assert verdict(machine, opening, 0, 0, flags | 1 << 32) == sandbox.REFUSE  # the kernel sees the lower half
    assert verdict(machine, handles, 3, 3) == sandbox.ALLOW  # F_GETFL
    for command in (4, 8, 10, 15, 1024, 1033):  # F_SETFL, F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETLEASE, F_ADD_SEALS
        assert verdict(machine, handles, 3, command) == sandbox.REFUSE


@pytest.mark.parametrize("name", sandbox.SYSTEM_CALLS)
def test_the_numbers_are_those_that_libseccomp_knows(name):
    try:
        resolve = ctypes.CDLL("libseccomp.so.2").seccomp_syscall_resolve_name_arch
    except OSError:
        pytest.skip("there is no libseccomp.so.2")
    for machine, architecture in sandbox.ARCHITECTURES.items():
        told = resolve(ctypes.c_uint32(architecture), name.encode())
        assert sandbox.SYSTEM_CALLS[name][machine] == (told if told >= 0 else None)


# ---- what a machine can't do


def test_a_guard_that_can_not_be_put_up_is_told_and_no_code_is_run(monkeypatch, tmp_path):
    program = tmp_path / "program.py"
    source = Path(sandbox.__file__).read_text()
    program.write_text(source.replace("RESTRICT_SELF = 444, 445, 446", "RESTRICT_SELF = 444, 445, 10**6"))
    monkeypatch.setattr(code, "PROGRAM", program)
    monkeypatch.setattr(sandbox, "missing", lambda: [])
    if not sandbox._landlock_version():
        pytest.skip("this machine has no Landlock")
    with pytest.raises(UsageError, match=r"can't be guarded here: \[Errno 38\] syscall 1000000"):
        runs_right("def f(): return 1", "f", [[[], 1]])


def test_code_can_not_claim_that_it_is_not_guarded():
    source = (
        "import os\nfor fd in range(3, 9):\n    try: os.write(fd, b'no guard\\n')\n    except OSError: pass\ndef f(): 1"
    )
    assert runs_right(source, "f", [[[], 1]]) is False


def test_a_machine_without_guards_is_told_once(monkeypatch, capsys):
    monkeypatch.setattr(sandbox, "missing", lambda: ["a filter (said by a test)"])
    for _ in range(2):
        assert runs_right("def f(): return 1", "f", [[[], 1]])
    told = capsys.readouterr().err
    assert told.count("code of answers runs without a filter (said by a test)") == 1


@ALL_MISSING
def test_modules_of_the_library_can_be_imported_all():
    names = (
        "asyncio bz2 calendar csv ctypes decimal email fractions hashlib hmac lzma numpy queue secrets socket sqlite3"
    )
    source = f"""
def f():
    failed = []
    for name in {names.split()!r}:
        try: __import__(name)
        except ModuleNotFoundError: failed.append(name)
    import datetime, hashlib, random, uuid, zoneinfo
    datetime.datetime.now(), random.random(), zoneinfo.ZoneInfo("Europe/Berlin")
    return failed + [hashlib.sha256(b"").hexdigest()[:8]]
"""
    assert code._call_guarded(source, "f", [[]], 5.0) == [["numpy", "e3b0c442"]]
