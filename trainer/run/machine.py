"""What of this machine would hurt a run: file system, locale, proxies, certificates, memory, clock.

Needs nothing but Python, any one, since `scripts/check_env.py` looks before anything is installed. No network is asked.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import ssl
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from typing import Any

WRITTEN_IN, LAST_YEAR = 1_790_000_000, 2045  # seconds since 1970, and a year: a clock before or after is wrong
CERTIFICATES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # whoever reaches a server reads them all
ROOM = 20 * 2**30  # bytes: two checkpoints of a student of 0.6 billion parameters with its optimizer and teacher
BYTES_PER_PARAMETER = 24  # in float32 weights, gradient, two moments and the teacher; bfloat16 copies for autocast
DEFAULT_STUDENT = 0.6e9  # parameters
# What bounds a container, by version 2 and version 1 of control groups.
CONTAINER_LIMITS = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]


@dataclass
class Report:
    """What was found.

    Attributes:
        lines: A subject and what it is.
        problems: What has to be mended first, and the command that mends it.
        notes: What is no problem, and worth knowing before a run.
    """

    lines: list[tuple[str, str]] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, subject: str, text: str) -> None:
        """A line."""
        self.lines.append((subject, text))

    def problem(self, text: str, mend: str) -> None:
        """Something to mend."""
        self.problems.append((text, mend))

    def note(self, text: str) -> None:
        """Something to know."""
        self.notes.append(text)

    def code(self) -> int:
        """The exit code: 2 where something has to be mended."""
        return 2 if self.problems else 0


def describe_machine(report: Report, folder: str) -> None:
    """Everything but GPU and ports.

    Args:
        folder: Where runs will be written; it need not be there.
    """
    describe_place(report, folder)
    describe_proxies(report)
    describe_certificates(report)
    describe_memory(report)
    describe_terminal(report)
    describe_clock(report)


def describe_place(report: Report, name: str) -> None:
    """Can runs be written there, with locks and flushing, and is there room?"""
    folder = existing(name)
    try:
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            locks, flushing = has_locks(file), has_flushing(folder)
    except OSError as error:
        report.problem(f"{folder} can't be written to: {error.strerror}.", mend_of(error, folder, "--output_dir"))
        return
    free = shutil.disk_usage(folder).free
    report.add("runs in", f"{folder}, {free / 2**30:.0f} GiB free")
    if not locks:
        report.note(f"the file system of {folder} has no locks: start one `train` at a time in a folder.")
    if not flushing:
        report.note(f"the file system of {folder} can't flush folders: a power cut may lose the last moment of a run.")
    if free < ROOM:
        report.note(f"{free / 2**30:.1f} GiB are free; two checkpoints of the default student take {ROOM / 2**30:.0f}.")


def mend_of(error: OSError, folder: object, flag: str) -> str:
    """What to type where a folder can't be written to; in a container it is typed outside."""
    another = f"pass {flag} FOLDER, one that can be written to"
    if error.errno == errno.EROFS:
        return f"{another}: this file system is read-only"
    if error.errno not in (errno.EACCES, errno.EPERM):
        return another
    owner, is_rootless = user_outside(os.getuid(), own_users())
    text = f"{another}, or mend its owner: `sudo chown -R {owner} {folder}`"
    if owner != os.getuid():
        text += f" outside of this container, whose user {os.getuid()} is {owner} there"
    if is_rootless and os.getuid():
        text += ". In a rootless container you are its root: TRAINER_UID=0 and TRAINER_GID=0 in .env"
    return text


def own_users() -> str:
    """The kernel's table of this process's users: first one here, first one outside, how many."""
    try:
        with open("/proc/self/uid_map", encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


def user_outside(user: int, table: str) -> tuple[int, bool]:
    """Who a user is outside of its container, and whether somebody who is not root started that."""
    spans = [tuple(map(int, line.split())) for line in table.splitlines()]
    outside = [there + user - here for here, there, count in spans if here <= user < here + count]
    is_rootless = any(here == 0 and there != 0 and count == 1 for here, there, count in spans)
    return (outside[0] if outside else user), is_rootless


def existing(name: str) -> str:
    """The folder itself, or the nearest around it that is there."""
    folder = os.path.abspath(name)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return folder


def has_locks(file: Any) -> bool:
    """Whether the file system of an open file has locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EWOULDBLOCK, errno.EACCES)
    return True


def has_flushing(folder: str) -> bool:
    """Whether a folder's list of entries can be flushed to disk."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError:
        return False
    return True


def describe_proxies(report: Report) -> None:
    """What the environment says of proxies."""
    proxies = {kind: without_login(url) for kind, url in urllib.request.getproxies().items() if kind != "no"}
    report.add("proxies", ", ".join(f"{kind}: {url}" for kind, url in proxies.items()) or "none")
    if any(kind in proxies for kind in ("http", "all")) and not urllib.request.proxy_bypass("127.0.0.1"):
        report.note("a teacher on this machine would be asked by the proxy. Set NO_PROXY=localhost,127.0.0.1,teacher.")


def without_login(url: str) -> str:
    """A URL as it may be shown."""
    return re.sub(r"//[^/@]*@", "//***@", url)


def describe_certificates(report: Report) -> None:
    """Whether the authorities that are to be trusted can be read, and are valid now."""
    for variable in CERTIFICATES:
        name = os.environ.get(variable)
        if name:
            describe_authorities(report, variable, name)
    paths = ssl.get_default_verify_paths()
    if not any(os.environ.get(variable) for variable in CERTIFICATES) and not (paths.cafile or paths.capath):
        report.note(
            "no certificates of authorities are installed: every https:// server is refused. Install ca-certificates."
        )


def describe_authorities(report: Report, variable: str, name: str) -> None:
    """Whether what a variable names holds certificates that are valid now."""
    mend = f"mend {variable}, or unset it."
    if not os.path.exists(name):
        report.problem(f"{variable} names {name}, which is not there.", mend)
        return
    if os.path.isdir(name):
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=name)
    except OSError as error:  # an SSLError is one, where the file holds no certificate
        report.problem(f"{variable} names {name}, which holds no certificates ({error.strerror or error}).", mend)
        return
    ends = [ssl.cert_time_to_seconds(str(each["notAfter"])) for each in context.get_ca_certs()]
    if ends and max(ends) < time.time():
        report.problem(f"every certificate of {variable}={name} has run out.", f"renew it; or {mend}")


def describe_memory(report: Report) -> None:
    """How much there is, and how large a student it can train."""
    memory = machine_memory()
    largest = memory / BYTES_PER_PARAMETER
    report.add(
        "memory", f"{memory / 2**30:.0f} GiB: without a GPU for all weights of {largest / 1e9:.1f} billion parameters"
    )
    if largest < DEFAULT_STUDENT:
        report.note(
            f"training all weights of the default student takes {BYTES_PER_PARAMETER * DEFAULT_STUDENT / 2**30:.0f} "
            "GiB. Without a GPU pass --use_peft, or a smaller --model_name_or_path."
        )


def machine_memory() -> int:
    """Bytes of the machine, or of the container where that is less."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *filter(None, map(_limit_in, CONTAINER_LIMITS))])


def _limit_in(name: str) -> int | None:
    try:
        with open(name) as file:
            text = file.read().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def describe_terminal(report: Report) -> None:
    """Whether it shows what commands print."""
    encoding = sys.stdout.encoding or ""
    if encoding.lower().replace("-", "") != "utf8":
        report.note(f"the terminal shows {encoding}: arrows and bars appear as question marks. Set LC_ALL=C.UTF-8.")
    names = sys.getfilesystemencoding()
    if names.lower().replace("-", "") != "utf8":
        report.note(
            f"names of files are read as {names}: those with other characters are not found. Set LC_ALL=C.UTF-8."
        )


def describe_clock(report: Report) -> None:
    """Whether the year can be."""
    if not is_plausible(time.time()):
        report.problem(f"the clock says {time.strftime('%Y-%m-%d')}; certificates will be refused.", "set the clock.")


def is_plausible(seconds: float) -> bool:
    """Whether a time (seconds since 1970) lies between the writing of this program and its last year."""
    return seconds >= WRITTEN_IN and time.gmtime(seconds).tm_year <= LAST_YEAR
