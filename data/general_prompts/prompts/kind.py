"""One kind of prompt, and how its prompts are drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class Kind:
    """Templates with one place `{}`, and what may stand there; each filling is used once, each template as often."""

    templates: Sequence[str]
    fillings: Sequence[str]

    def prompts(self, rng: Random) -> list[str]:
        templates = rng.sample(self.templates, len(self.templates))
        fillings = rng.sample(self.fillings, len(self.fillings))
        return [templates[place % len(templates)].format(filling) for place, filling in enumerate(fillings)]
