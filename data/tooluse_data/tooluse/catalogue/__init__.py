"""The catalogue: every tool, and which tools may stand next to each other in a prompt."""

from ..tool import Tool
from . import (
    documents,
    food,
    health,
    home,
    laboratory,
    media,
    messages,
    money,
    office,
    outdoors,
    shopping,
    software,
    travel,
    warehouse,
)

MODULES = (
    travel,
    food,
    office,
    messages,
    money,
    home,
    health,
    shopping,
    outdoors,
    media,
    documents,
    software,
    warehouse,
    laboratory,
)
TOOLS: dict[str, Tool] = {tool.name: tool for module in MODULES for tool in module.TOOLS}
SEEN = tuple(tool for tool in TOOLS.values() if not tool.unseen)
UNSEEN = tuple(tool for tool in TOOLS.values() if tool.unseen)

# Distractors come from the tool's own domain and from these.
NEIGHBOURS = {
    "travel": ("outdoors", "food"),
    "food": ("shopping", "health"),
    "office": ("messages", "documents"),
    "messages": ("office", "media"),
    "money": ("shopping", "travel"),
    "home": ("media", "food"),
    "health": ("food", "office"),
    "shopping": ("money", "home"),
    "outdoors": ("travel", "health"),
    "media": ("home", "messages"),
    "documents": ("software", "office"),
    "software": ("documents", "messages"),
    "warehouse": ("shopping", "money"),
    "laboratory": ("health", "office"),
}

# Two tools that could both be a fair answer to one request are never offered together.
RIVALS = (
    {"create_event", "schedule_call"},
    {"create_event", "schedule_interview"},
    {"schedule_call", "schedule_interview"},
    {"create_event", "book_meeting_room"},
    {"create_event", "set_reminder"},
    {"create_event", "book_doctor_appointment"},
    {"return_item", "report_damage"},
    {"place_order", "order_reagent"},
    {"book_train", "book_freight"},
)


def are_rivals(first: Tool, second: Tool) -> bool:
    return {first.name, second.name} in RIVALS
