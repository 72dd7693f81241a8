"""What a tool is: its documentation, and the ways in which people ask for it."""

from dataclasses import dataclass

from .facts import Parameter, object_schema
from .schema import render


@dataclass(frozen=True)
class Tool:
    """One tool of the catalogue.

    do: clauses that start with a bare verb and state every required parameter ("book {seats} ...").
    say: whole requests that state every required parameter.
    goal: noun phrases for the thought that explains the call.
    aside: something a user might mention that is no argument of any tool.
    answers: whether it returns information that a message could pass on.
    relay: clauses that pass on the result of the previous action, in place of the parameter `relays`.
    """

    domain: str
    name: str
    does: str
    parameters: tuple[Parameter, ...]
    do: tuple[str, ...]
    say: tuple[str, ...]
    goal: tuple[str, ...]
    aside: str
    answers: bool = False
    relays: str = ""
    relay: tuple[str, ...] = ()
    unseen: bool = False

    @property
    def schema(self) -> dict:
        return object_schema(self.parameters)

    def document(self) -> str:
        """The tool as the prompt shows it."""
        lines = [f"{self.name}: {self.does}"]
        for parameter in self.parameters:
            lines += render(parameter.name, parameter.schema, parameter.required)
        return "\n".join(lines)
