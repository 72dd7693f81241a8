"""Which engine samples faster here: each answers the first prompts of a run, and the faster one's answers are learnt.

From the same random state each engine samples what it samples where it is named. So a run that measured has the bits
of a run that names the engine which it chose, from its first step on. The choice is on disk before anything is learnt
from it, and a run that goes on keeps it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator

from ..run.checkpoint import RandomState
from ..run.directory import RunDirectory

MEASURED = "auto"  # an engine's name until it is known
ENGINES = ("generate", "continuous")
FILE = "rollout_engine.json"


@dataclass
class Trial:
    """One engine's answers, the seconds that they took, and the random generators behind them."""

    engine: str
    completions: list[list[int]]
    seconds: float
    after: RandomState


def try_each(ask: Callable[[str], list[list[int]]]) -> list[Trial]:
    """Let each engine answer from the same random state."""
    before, trials = RandomState(), []
    for engine in ENGINES:
        before.restore()
        started = time.monotonic()
        completions = ask(engine)
        trials.append(Trial(engine, completions, time.monotonic() - started, RandomState()))
    return trials


def tokens_per_second(trials: list[Trial], accelerator: Accelerator) -> dict[str, float]:
    """What each engine samples on all processes together, which wait for the slowest; the same on each of them."""
    mine = [[trial.seconds, float(sum(map(len, trial.completions)))] for trial in trials]
    gathered: Any = accelerator.gather(torch.tensor([mine], device=accelerator.device))  # processes, engines, 2
    seconds, tokens = gathered[..., 0].amax(0).tolist(), gathered[..., 1].sum(0).tolist()
    return {trials[i].engine: round(tokens[i] / max(seconds[i], 1e-6), 2) for i in range(len(trials))}


def keep(directory: RunDirectory, engine: str, rates: dict[str, float]) -> None:
    """Write the choice into the run directory, and tell it with the figures."""
    directory.write_json(FILE, {"rollout_engine": engine, "tokens_per_second": rates})
    print(f"rollout_engine: {engine} (auto: measured, {_shown(rates)} tokens/s)", flush=True)


def kept(directory: RunDirectory) -> str | None:
    """The engine that this run chose before, told with its figures; None where it has not measured yet."""
    found = directory.read_json(FILE) or {}
    engine = found.get("rollout_engine")
    if engine not in ENGINES:
        return None
    print(f"rollout_engine: {engine} (auto: measured before, {_shown(found['tokens_per_second'])} tokens/s)")
    return engine


def _shown(rates: dict[str, float]) -> str:
    return " and ".join(f"{engine} {rate:.3g}" for engine, rate in rates.items())
