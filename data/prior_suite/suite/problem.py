"""A function to write: what it does, an example worked by hand, a right body, and arguments to test it on."""

import json
from dataclasses import dataclass
from random import Random

from .item import Item, rule

PROMPTS = (
    "Write a Python function `{signature}` that {does}. For example, `{call}` returns `{result}`.",
    "Write the Python function `{signature}`. It {does}. Example: `{call}` gives `{result}`.",
    "In Python, define `{signature}`, a function that {does}. So `{call}` should return `{result}`.",
)
OPENINGS = ("", "", "Here is the function:\n\n", "This function does it:\n\n")


@dataclass(frozen=True)
class Problem:
    """`arguments` and `result` are the example of the prompt, `more` the arguments of further tests."""

    signature: str
    does: str
    arguments: list
    result: object
    more: list[list]
    body: str

    @property
    def name(self) -> str:
        return self.signature.partition("(")[0]

    @property
    def source(self) -> str:
        lines = "\n".join(f"    {line}" if line else "" for line in self.body.strip("\n").split("\n"))
        return f"def {self.signature}:\n{lines}\n"

    def item(self, rng: Random) -> Item:
        call = f"{self.name}({', '.join(map(repr, self.arguments))})"
        prompt = rng.choice(PROMPTS).format(
            signature=self.signature, does=self.does, call=call, result=repr(self.result)
        )
        golden = f"{rng.choice(OPENINGS)}```python\n{self.source}```"
        return Item(prompt, golden, rule("code", name=self.name, tests=self.tests()))

    def tests(self) -> list[list]:
        """The example and what the right body returns for the other arguments."""
        defined: dict = {}
        exec(self.source, defined)
        tests = [[given, defined[self.name](*copied(given))] for given in (self.arguments, *self.more)]
        if tests[0][1] != self.result:
            raise ValueError(f"{self.name} returns {tests[0][1]!r} for its example, which says {self.result!r}")
        return tests


def copied(arguments: list) -> list:
    """The arguments as a test will give them, none of them shared."""
    return json.loads(json.dumps(arguments))
