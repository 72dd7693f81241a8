#!/usr/bin/env python3
"""Is this machine ready to train? Runs with any Python, before anything is installed, also where torch is broken.

    python scripts/check_env.py [FOLDER]      FOLDER is where runs will be written [outputs]

Exit code 0 when training can start (also on the CPU), 2 when something has to be mended first; each problem is
followed by the command that mends it. A note is no problem, and worth knowing before a run.
"""

import errno
import os
import re
import socket
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from trainer.run.machine import BYTES_PER_PARAMETER, DEFAULT_STUDENT, Report, describe_machine  # noqa: E402

OLDEST_PYTHON = (3, 11)
NIGHTLY = (
    "docker compose build trainer   (its default torch, PyTorch's nightly for CUDA 13, has them), or without Docker: "
    "uv pip install torch --torch-backend cu130"
)


def main():
    report = Report()
    report.add("python", sys.version.split()[0])
    if sys.version_info < OLDEST_PYTHON:
        report.problem("Python 3.11 or newer is needed.", "install python3.11, or use the container.")
    driver = driver_version()
    report.add("nvidia driver", driver or "none found (nvidia-smi does not answer)")
    torch = import_torch(report)
    if torch is not None:
        describe_torch(report, torch, driver)
    describe_machine(report, sys.argv[1] if sys.argv[1:] else "outputs")
    describe_ports(report)
    show(report)
    return report.code()


def show(report):
    """Print it, each problem with its mend."""
    sys.stdout.reconfigure(errors="replace")
    for subject, text in report.lines:
        print(f"{subject:<20}{text}")
    for text, mend in report.problems:
        print(f"PROBLEM  {text}\n   mend  {mend}")
    for text in report.notes:
        print(f"note     {text}")


def describe_ports(report, folder=ROOT):
    """Are the ports free that the stack publishes on this machine, as docker-compose.yml, .env and the shell say?"""
    try:
        with open(os.path.join(folder, "docker-compose.yml"), encoding="utf-8") as file:
            published = re.findall(r"\$\{(\w+_PORT):-(\d+)\}:\d+", file.read())
    except OSError:
        return  # a container, or an installed package
    chosen = dotenv(os.path.join(folder, ".env"))
    ports = {}
    for variable, default in published:
        port = os.environ.get(variable) or chosen.get(variable) or default
        if not port.isdecimal() or int(port) > 65535:
            report.problem(f"{variable} is {port!r}, expected a port from 0 to 65535.", f"mend {variable} in .env.")
        elif int(port):  # of 0 Docker takes a free one
            ports.setdefault(int(port), []).append(variable)
    for port, variables in ports.items():
        describe_port(report, port, variables)
    report.add("ports", ", ".join(f"{port} ({', '.join(variables)})" for port, variables in ports.items()) or "any")


def describe_port(report, port, variables):
    mend = f"set {variables[-1]} to another port in .env (0: Docker picks a free one)."
    if len(variables) > 1:
        report.problem(f"{' and '.join(variables)} are both {port}.", mend)
    if is_taken(port):
        holder = holder_of(port)
        ours = "; perhaps this stack runs already (`docker compose ps`)" if holder.startswith("docker") else ""
        report.note(f"port {port} is taken by {holder}{ours}: `docker compose up` can't have it. Stop that, or {mend}")


def dotenv(path):
    """The settings in a .env file, as Compose reads plain ones; none where there is no such file."""
    try:
        with open(path, encoding="utf-8") as file:
            pairs = re.findall(r"^\s*(?:export\s+)?(\w+)\s*=\s*(.*?)(?:\s+#.*)?$", file.read(), re.MULTILINE)
    except OSError:
        return {}
    return {name: value.strip().strip("\"'") for name, value in pairs}


def is_taken(port):
    """Whether a program listens there, on the loopback interface or on all."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # else connections that have ended count too
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def holder_of(port):
    """The program that listens at a port, as Linux tells it."""
    sockets = {f"socket:[{inode}]" for inode in listening(port)}
    for process in filter(str.isdecimal, os.listdir("/proc") if os.path.isdir("/proc") else []):
        try:
            folder = f"/proc/{process}/fd"
            if any(os.readlink(f"{folder}/{name}") in sockets for name in os.listdir(folder)):
                with open(f"/proc/{process}/comm") as file:
                    return f"{file.read().strip()} (process {process})"
        except OSError:  # it is another user's, or has ended
            continue
    return f"a program of another user (`sudo ss -ltnp 'sport = :{port}'` names it)"


def listening(port):
    """The inodes of sockets that listen at a port."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if os.path.exists(table):
            with open(table) as file:
                rows = [line.split() for line in file.readlines()[1:]]
            yield from (row[9] for row in rows if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port)


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
    needed = BYTES_PER_PARAMETER * DEFAULT_STUDENT / 2**30
    if memory < needed:
        report.note(
            f"training all weights of the default student takes {needed:.0f} GiB. Pass --use_peft, or a smaller "
            "--model_name_or_path."
        )
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
