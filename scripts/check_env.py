#!/usr/bin/env python3
"""Is this machine ready to train? Runs on its own, with any Python, also where torch is missing or broken.

    python scripts/check_env.py [FOLDER]      FOLDER is where runs will be written [outputs]

Exit code 0 when training can start (also on the CPU), 2 when something has to be mended first; each problem is
followed by the command that mends it. A note is no problem, and worth knowing before a run.
"""

import errno
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass

OLDEST_PYTHON = (3, 11)
NIGHTLY = (
    "docker compose build trainer   (its default torch, PyTorch's nightly for CUDA 13, has them), or without Docker: "
    "uv pip install torch --torch-backend cu130"
)


WRITTEN_IN = 1_790_000_000  # seconds since 1970; a clock before that is wrong
CERTIFICATES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
ROOM = 20 * 2**30  # bytes: two checkpoints of a student of 0.6 billion parameters with its optimizer and teacher


@dataclass
class Report:
    """Lines to print, and what has to be mended."""

    lines: list
    problems: list

    def add(self, subject, text):
        self.lines.append(f"{subject:<20}{text}")

    def problem(self, text, mend):
        self.problems.append(f"PROBLEM  {text}\n   mend  {mend}")

    def note(self, text):
        self.problems.append(f"note     {text}")

    def code(self):
        return 2 if any(problem.startswith("PROBLEM") for problem in self.problems) else 0


def main():
    report = Report([], [])
    report.add("python", sys.version.split()[0])
    if sys.version_info < OLDEST_PYTHON:
        report.problem("Python 3.11 or newer is needed.", "install python3.11, or use the container.")
    driver = driver_version()
    report.add("nvidia driver", driver or "none found (nvidia-smi does not answer)")
    torch = import_torch(report)
    if torch is not None:
        describe_torch(report, torch, driver)
    describe_place(report, sys.argv[1] if sys.argv[1:] else "outputs")
    describe_network(report)
    describe_memory(report)
    if time.time() < WRITTEN_IN:
        report.problem(f"the clock says {time.strftime('%Y-%m-%d')}; certificates will be refused.", "set the clock.")
    sys.stdout.reconfigure(errors="replace")
    print("\n".join(report.lines + report.problems))
    return report.code()


def describe_place(report, name):
    """Can runs be written there, with locks and flushing, and is there room?"""
    folder = os.path.abspath(name)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    try:
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            locks, flushing = has_locks(file), has_flushing(folder)
    except OSError as error:
        report.problem(f"{folder} can't be written to: {error.strerror}.", f"sudo chown -R $(id -u) {folder}")
        return
    free = shutil.disk_usage(folder).free
    report.add("runs in", f"{folder}, {free / 2**30:.0f} GiB free")
    if not locks:
        report.note(f"the file system of {folder} has no locks: start one `train` at a time in a folder.")
    if not flushing:
        report.note(f"the file system of {folder} can't flush folders: a power cut may lose the last moment of a run.")
    if free < ROOM:
        report.note(f"{free / 2**30:.1f} GiB are free; two checkpoints of the default student take {ROOM / 2**30:.0f}.")


def has_locks(file):
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EWOULDBLOCK, errno.EACCES)
    return True


def has_flushing(folder):
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError:
        return False
    return True


def describe_network(report):
    """What the environment says of proxies and certificates; nothing is asked of a network."""
    proxies = {kind: without_login(url) for kind, url in urllib.request.getproxies().items() if kind != "no"}
    report.add("proxies", ", ".join(f"{kind}: {url}" for kind, url in proxies.items()) or "none")
    if any(kind in proxies for kind in ("http", "all")) and not urllib.request.proxy_bypass("127.0.0.1"):
        report.note("a teacher on this machine would be asked by the proxy. Set NO_PROXY=localhost,127.0.0.1,teacher.")
    for variable in CERTIFICATES:
        name = os.environ.get(variable)
        if name and not os.path.exists(name):
            report.problem(f"{variable} names {name}, which is not there.", f"mend {variable}, or unset it.")


def without_login(url):
    return re.sub(r"//[^/@]*@", "//***@", url)


def describe_memory(report):
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = "/sys/fs/cgroup/memory.max"
    text = open(limit).read().strip() if os.path.exists(limit) else "max"  # noqa: SIM115
    memory = min(pages, int(text)) if text.isdecimal() else pages
    report.add("memory", f"{memory / 2**30:.0f} GiB")
    encoding = sys.stdout.encoding or ""
    if encoding.lower().replace("-", "") != "utf8":
        report.note(f"the terminal shows {encoding}: arrows and bars appear as question marks. Set LC_ALL=C.UTF-8.")


def driver_version():
    """The NVIDIA driver's version as nvidia-smi tells it, None without one."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = answer.stdout.split()
    return lines[0] if answer.returncode == 0 and lines else None


def import_torch(report):
    try:
        import torch
    except Exception as error:
        report.add("torch", "can't be imported")
        report.problem(f"torch can't be imported: {error}", "scripts/setup, then .venv/bin/python scripts/check_env.py")
        return None
    return torch


def describe_torch(report, torch, driver):
    report.add("torch", torch.__version__)
    report.add("built for CUDA", torch.version.cuda or "none: a CPU build")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            describe_gpu(report, torch, index)
        return
    report.add("gpu", "none that torch can use; training runs on the CPU, in float32")
    if driver and torch.version.cuda is None:
        report.problem(f"there is a GPU (driver {driver}), and this torch is a CPU build.", NIGHTLY)
    elif driver:
        report.problem(
            f"there is a GPU (driver {driver}), and torch for CUDA {torch.version.cuda} can't use it.",
            "nvidia-smi shows the newest CUDA the driver knows; install a torch for that or an older one, "
            "or a newer driver. In a container: is the NVIDIA container toolkit installed?",
        )


def describe_gpu(report, torch, index):
    capability = torch.cuda.get_device_capability(index)
    name = torch.cuda.get_device_name(index)
    memory = torch.cuda.get_device_properties(index).total_memory / 2**30
    report.add(f"gpu {index}", f"{name}, {memory:.0f} GiB, compute capability {capability[0]}.{capability[1]}")
    report.add("bfloat16", "yes" if torch.cuda.is_bf16_supported() else "no: training runs in float32")
    wrong = missing_kernels(name, capability, torch.cuda.get_arch_list())
    if wrong:
        report.problem(wrong, NIGHTLY)
        return
    try:
        torch.ones(8, device=f"cuda:{index}").sum().item()
    except RuntimeError as error:
        report.problem(f"a first computation on {name} failed: {error}", NIGHTLY)


def missing_kernels(name, capability, built_for):
    """What is wrong with a torch build for a GPU, None if nothing is.

    A cubin `sm_XY` runs on devices of the same major version and the same or a newer minor one; PTX `compute_XY`
    is compiled by the driver for any newer device; a trailing letter binds it to one architecture (`a`) or family
    (`f`) (CUDA programming guide, binary and PTX compatibility).

    Args:
        name: The GPU's name, for the message.
        capability: Its compute capability, e.g. (12, 1) for GB10.
        built_for: What torch was built for, as `torch.cuda.get_arch_list()` tells it, e.g. ["sm_90", "sm_120"].
    """
    for entry in built_for:
        parsed = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", entry)
        if parsed is None:
            continue
        kind, version, suffix = parsed[1], (int(parsed[2]), int(parsed[3])), parsed[4]
        exact, family = version == capability, version[0] == capability[0] and version <= capability
        if exact or (suffix != "a" and family) or (kind == "compute" and not suffix and version <= capability):
            return None
    shown = f"{capability[0]}{capability[1]}"
    hint = " GB10 (DGX Spark) needs a torch built for CUDA 13." if capability == (12, 1) else ""
    return f"{name} is sm_{shown}, and this torch has kernels for {', '.join(built_for)} only.{hint}"


if __name__ == "__main__":
    sys.exit(main())
