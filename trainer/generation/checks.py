"""The named rules by which answers of the teacher are rejected.

Each rule looks at one answer and says whether it is broken. A rule that can't be sure lets the answer pass: a bad
answer that gets through is one row, good ones that are lost bend the data.
"""

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from ..data.actions.answers import Action, parse_actions, parse_seed_format
from ..data.actions.thinking import leaks_thinking
from ..data.rows.row import Message
from ..data.rows.row import Tool as SentTool
from ..data.rows.values import unfit_value
from ..errors import UsageError
from ..teachers.served.chat_messages import ChatAnswer
from .language import slips_into_another
from .tools import BAD_ARGUMENTS, NO_ACTION, UNKNOWN_TOOL, Tool, broken_rule

OPENING_CHARACTERS = 400
CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)


@dataclass(frozen=True)
class Answered:
    """A prompt and the teacher's answer to it.

    Attributes:
        prompt: As the student will see it.
        shown: What the teacher was shown: the prompt within the recipe's instruction.
        language: ISO 639-1 code of the language that the answer should have, see `require_known_language`; None: that
            of the prompt.
        tools: Those that the prompt offers.
        sent: Those that went with the request, for the teacher's own template to show; None: the prompt documents them.
    """

    prompt: list[Message]
    shown: list[Message]
    answer: ChatAnswer
    language: str | None = None
    tools: Sequence[Tool] = ()
    sent: Sequence[SentTool] | None = None

    @cached_property
    def asked(self) -> str:
        """All that the prompt says."""
        return "\n".join(map(content_of, self.prompt))

    @cached_property
    def opening(self) -> str:
        """The first words of the answer on one line, without marks before them, with typewriter apostrophes."""
        text = self.answer.text[:OPENING_CHARACTERS].replace("’", "'").replace("‘", "'")
        return " ".join(text.split()).lstrip("*_#>\"'“ ")

    @cached_property
    def without_code(self) -> str:
        """The answer without code blocks and inline code."""
        return CODE.sub(" ", self.answer.text) if "`" in self.answer.text else self.answer.text

    @cached_property
    def actions(self) -> list[Action]:
        """The calls that the server has read; else those in the text, which keeps to the format that it was shown.

        A model that was sent tools writes calls in a way of its own, where the server reads none.
        """
        if self.answer.tool_calls:
            return [Action(call["name"], call["arguments"]) for call in self.answer.tool_calls]
        return parse_actions(self.answer.text, self.sent) if self.sent else parse_seed_format(self.answer.text)

    @cached_property
    def broken_tool_rule(self) -> str | None:
        return broken_rule(self.actions, self.tools) if self.tools else None


def content_of(message: Message) -> str:
    """What a message says; nothing where it only calls tools."""
    return message.get("content") or ""


# ---- whole and something at all

NOTHING = re.compile(r"\s*```\w*\s*```\s*|\s*(?:\.{3,}|…)\s*")


def truncated(found: Answered) -> bool:
    """The server cut the answer: at `max_tokens`, or at its own end."""
    return found.answer.is_cut


def empty(found: Answered) -> bool:
    """There is nothing to read: no call, and no visible character, an ellipsis, or an empty code block."""
    if found.answer.tool_calls:
        return False
    text = found.answer.text
    return not any(mark.isprintable() and not mark.isspace() for mark in text) or NOTHING.fullmatch(text) is not None


# ---- refusals

APOLOGY = r"(?:i(?:'m| am) (?:\w+ )?sorry|sorry|i apologi[sz]e|(?:my )?apologies)\b(?: for [\w ]{1,40})?"
REGRET = rf"(?:{APOLOGY}|unfortunately|regrettably|i (?:understand|appreciate)\b[^.!?]{{0,150}}?)"
BUT = r"[,.!:;]*(?: ?[-–—]+)? ?(?:(?:but|however|that)\b,? )?"
UNABLE = (
    r"(?:i(?:'m afraid (?:that )?i)? (?:\w+ly |just )?(?:can't|can ?not|won't|will not)(?: be able to)?"
    r"|i(?:'m| am) (?:\w+ )?(?:unable|not able|not allowed|not permitted|not going) to)"
)
# What only an assistant says of a request; a person who declines an invitation speaks otherwise.
UNMISTAKABLE = (
    r"(?:(?:help|assist)(?: you)?(?: with (?:that|this|it|such|your (?:request|question)|requests?|anything)\b|[.!]|$)"
    r"|comply\b|fulfil+ (?:that|this|your|the|such)\b|(?:engage|participate) in\b"
    r"|(?:provide|create|generate|write|produce|share|give|offer|discuss)(?: you)?(?: with)?(?: [\w-]+){0,3}?"
    r" (?:instructions|guidance|advice|assistance|information|content|material|support)\b"
    r"|do (?:that|this)[.,!]|in good conscience)"
)
SERVICE = (
    r"(?:help\b(?! but\b)|assist|provide|create|generate|produce|write|discuss|support|answer|complete|continue|proceed"
    r"|do (?:that|this|so|it)\b|access|browse|open|process\b)"
)
REFUSED = re.compile(
    rf"(?:{REGRET}{BUT})?{UNABLE} {UNMISTAKABLE}"
    rf"|{APOLOGY}{BUT}i (?:can't|cannot|won't)[.!]"
    r"|as an? (?:\w+ ){0,3}(?:ai|artificial intelligence|language model|llm)\b[^.!?]{0,60}?"
    r"\bi(?: (?:can't|can ?not|don't|do not|am not|am unable|won't|will not|have no|lack)|'m (?:not|unable))\b"
    r"|i(?:'m| am) (?:just |only )?an? (?:ai|language model)\b[^.!?]{0,60}?\b(?:can't|cannot|don't|do not|unable)\b"
    r"|(?:this|that|your|the) (?:request|question|prompt) (?:violates|goes against|is against)\b"
    r"|(?:that's|that is|this is) (?:not something i can|something i (?:can't|cannot|won't)) (?:help|assist|do|provide)"
    r"|(?:很|非常)?(?:抱歉|对不起)[，,。！ ]*(?:但是?)?我?(?:暂时|目前)?(?:无法|不能)"
    r"(?:回答|提供|满足|协助|帮|完成|处理|继续|生成|讨论|执行)"
    r"|作为(?:一个|一名|一款)?(?:人工智能|ai|大?语言模型)[^。！？]{0,30}(?:无法|不能|没有)"
    r"|(?:es )?tut mir (?:\w+ )?leid, (?:aber )?[^.!?]{0,80}\bnicht (?:weiter)?(?:helfen|beantworten|erfüllen)"
    r"|(?:je suis )?(?:\w+ )?désolée?, (?:mais )?je ne (?:peux|puis) pas (?:vous |t')?(?:aider|répondre|fournir)"
    r"|lo siento, (?:pero )?no puedo (?:ayudar|asistir|responder|proporcionar|cumplir)",
    re.IGNORECASE,
)
DECLINED = re.compile(
    rf"{APOLOGY}{BUT}{UNABLE} {SERVICE}|(?:{REGRET}{BUT})?{UNABLE} (?:help|assist)(?: you)? (?:with|in|to)\b"
    r"|i (?:must|have to|need to) (?:\w+ly )?decline\b|i refuse to\b"
    r"|i(?:'m| am) not comfortable\b|i (?:don't|do not) feel comfortable\b",
    re.IGNORECASE,
)
WANTS_WORDS_OF_SOMEONE = re.compile(
    r"\b(?:messages?|e-?mails?|letters?|repl(?:y|ies)|notes?|dialog(?:ue)?s?|conversations?|chats?|scripts?|stor(?:y|ies)"
    r"|role-?play\w*|scenes?|characters?|speech|customers?|apolog\w+|declin\w+|refus\w+|reject\w+|sorry)\b",
    re.IGNORECASE,
)


def refusal(found: Answered) -> bool:
    """The answer begins by declining the request, rather than by saying what can't be found, done or known.

    Where the prompt asks for words of someone's, a message that declines something may be the right answer. What a
    filter of the server's took declines for the teacher.
    """
    if found.answer.is_withheld or REFUSED.match(found.opening):
        return True
    return DECLINED.match(found.opening) is not None and not WANTS_WORDS_OF_SOMEONE.search(found.asked)


# ---- thinking

SIGH = r"(?:okay|ok|alright|all right|hmm+|wait|got it)\b[,.!…]* (?:so,? )?"
WANTS = (
    r"(?:the|this) user(?:'s (?:question|request|query|message|prompt)\b"
    r"| (?:is asking|asks|asked|wants|wanted|is requesting|needs|has asked|said|provided|gave|would like)\b)"
)
TALKS_TO_ITSELF = re.compile(
    rf"{SIGH}(?:[^.!?]{{0,60}}?{WANTS}|let me (?:see|think)\b|let's see[.,]"
    r"|i (?:(?:need|have) to|should|must) (?:figure|think|understand|determine|come up|respond|reply|answer)\b)"
    r"|let me (?:think|reason) (?:\w+ ){0,3}(?:through|step by step)\b"
    r"|we (?:need|have) to (?:respond|reply|produce (?:an|the) (?:answer|response))\b"
    r"|(?:here(?:'s| is) (?:a |my )?)?(?:thinking|thought|reasoning) process:|thinking\.\.\.|thought\n"
    r"|(?:好的|嗯|首先)[，,。]+[^。！？]{0,20}(?:用户|我需要)",
    re.IGNORECASE,
)
REPORTS_ON_USER = re.compile(
    rf"(?:(?:so|well|now|first)\b,? )?"
    rf"(?:{WANTS}|(?:let me|let's|i need to|i should|i must) (?:[\w']+ ){{0,10}}?the user\b)",
    re.IGNORECASE,
)


def thinking_leak(found: Answered) -> bool:
    """What the teacher thought stands in the answer: marks of a reasoning block, or talk to itself at the start."""
    if leaks_thinking(found.without_code, found.asked) or TALKS_TO_ITSELF.match(found.opening):
        return True
    return REPORTS_ON_USER.match(found.opening) is not None and "user" not in found.asked.casefold()


# ---- chat templates and instructions

SPECIAL_TOKEN = re.compile(
    r"<\|\w+\|>|<｜[^｜\s]+｜>|\[/?INST\]|<</?SYS>>|</?(?:start|end)_of_turn>|\[gMASK\]|<sop>|<[be]os>|</s>(?=\s*\Z)|<unused\d+>"
    r"|### ?(?:Instruction|Response|Human|Assistant|User):"
)
ROLE_LINE = re.compile(r"^[*# \t]*(User|Human|Assistant|AI|Bot)[* \t]*:[*\s]*", re.MULTILINE)
# What a header of special tokens leaves behind, at the start of a line or right after a sentence.
BARE_ROLE = re.compile(r"assistant(?<![^\n.!?]assistant)\n|user(?<![^\n.!?]user)\n")
WANTS_ROLES = re.compile(
    r"\b(?:dialog|conversation|chat|script|transcript|interview|role|scene|user|human|assistant|bot)", re.IGNORECASE
)
REQUEST = re.compile(
    r"(?:please|kindly|can you|could you|would you|your task|you (?:are|have|will)|i (?:want|need|would like) you to|"
    r"add|analy[sz]e|answer|calculate|classify|compare|compute|convert|correct|create|define|describe|design|draft|"
    r"explain|extract|find|fix|generate|give|help|identify|imagine|list|make|name|outline|plan|propose|provide|read|"
    r"recommend|rewrite|solve|suggest|summari[sz]e|tell|translate|turn|use|write)\b",
    re.IGNORECASE,
)
WORD = re.compile(r"\w+")
SENTENCE_END = re.compile(r"(?<=[.!?:])\s+|\n+")
WHOLE_WORDS, SENTENCE_WORDS, RUN_WORDS = 5, 8, 12


def template_echo(found: Answered) -> bool:
    """The answer has tokens of a chat template, goes on with the dialogue, or begins with what was asked."""
    tokens = SPECIAL_TOKEN.findall(found.without_code)
    return any(token not in found.asked for token in tokens) or _plays_both_parts(found) or _repeats(found)


def _plays_both_parts(found: Answered) -> bool:
    """The answer names its speaker, or the other side speaks in it, though no dialogue was asked for."""
    text = found.without_code
    roles = list(ROLE_LINE.finditer(text))
    names_itself = bool(roles) and roles[0][1] == "Assistant" and not text[: roles[0].start()].strip()
    asking = [role for role in roles if role[1] in ("User", "Human")]
    goes_on = bool(asking) and (len(asking) < len(roles) or asking[-1].end() == len(text))
    speaks = names_itself or goes_on or BARE_ROLE.search(text) is not None
    return speaks and not WANTS_ROLES.search(found.asked)


def _repeats(found: Answered) -> bool:
    """The answer begins with a request or an instruction, word for word.

    A text that the user wants worked on may come back as it is. What tells it from a request is its place: it
    follows the request, or stands before it and asks for nothing itself.
    """
    if any(_begins_with(found.answer.text, text, least) for text, least in _requests(found)):
        return True
    said = _words(found.answer.text[:OPENING_CHARACTERS])
    run = " ".join(said.split(" ", RUN_WORDS)[:RUN_WORDS]) + " "
    return run.count(" ") == RUN_WORDS and any(run in _words(text) for text in _instructions(found))


def _requests(found: Answered) -> Iterator[tuple[str, int]]:
    """Texts whose repetition is an echo, each with the words that it must have at least."""
    systems = [content_of(message) for message in found.prompt if message["role"] == "system"]
    last = content_of(found.prompt[-1]).lstrip()
    yield from ((text, WHOLE_WORDS) for text in (systems if systems else [last]))
    sentence = SENTENCE_END.split(last, maxsplit=1)[0]
    if REQUEST.match(sentence) or sentence.endswith("?"):
        yield sentence, SENTENCE_WORDS
    for text in _instructions(found):
        yield from ((sentence, WHOLE_WORDS) for sentence in SENTENCE_END.split(text))


def _instructions(found: Answered) -> list[str]:
    """What the teacher was shown around the prompt, without examples of answers."""
    known = list(map(content_of, found.prompt))
    spoken = [content_of(message) for message in found.shown if message["role"] in ("system", "user")]
    added = [text for text in spoken if text not in known]
    return [piece for text in added for piece in (text.split(known[-1]) if known[-1] else [text])]


def _begins_with(answer: str, text: str, least: int) -> bool:
    """Whether an answer begins with all words of a text that has at least so many."""
    if _first_word(answer) != _first_word(text):
        return False
    words = _words(text)
    return words.count(" ") >= least and _words(answer[: OPENING_CHARACTERS + 2 * len(text)]).startswith(words)


def _first_word(text: str) -> str:
    word = WORD.search(text)
    return word[0].casefold() if word else ""


def _words(text: str) -> str:
    """The words of a text in lower case, a space after each."""
    return " ".join([*WORD.findall(text.casefold()), ""])


# ---- languages


def wrong_language(found: Answered) -> bool:
    """The answer, or a sentence of it, is in a language that was neither expected nor asked for."""
    return slips_into_another(found.answer.text, found.asked, found.language)


# ---- calls of tools

CALL_RULES = frozenset((NO_ACTION, UNKNOWN_TOOL, BAD_ARGUMENTS))


def no_action(found: Answered) -> bool:
    """Tools are offered, and the answer calls none."""
    return found.broken_tool_rule == "no_action"


def unknown_tool(found: Answered) -> bool:
    """The answer calls a tool that is not offered."""
    return found.broken_tool_rule == "unknown_tool"


def bad_arguments(found: Answered) -> bool:
    """The answer calls a tool with arguments that its schema does not allow."""
    return found.broken_tool_rule == "bad_arguments"


def unwritable_call(found: Answered) -> bool:
    """The server has read a call that no row can hold: its arguments are no JSON object, or have half a character."""
    calls = found.answer.tool_calls
    return any(not isinstance(call["arguments"], dict) or unfit_value(call) is not None for call in calls)


# ---- all of them

Rule = Callable[[Answered], bool]  # whether the answer breaks it
RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        truncated,
        empty,
        thinking_leak,
        template_echo,
        refusal,
        wrong_language,
        no_action,
        unknown_tool,
        bad_arguments,
    )
}


def broken(found: Answered, names: Sequence[str]) -> str | None:
    """The first of the named rules that an answer breaks, in the order of `RULES`; None: it is good."""
    return next((name for name, rule in RULES.items() if name in names and rule(found)), None)


def require_known(names: Sequence[str]) -> None:
    """Check the names of rules.

    Raises:
        UsageError: there is no such rule; says the nearest.
    """
    for name in names:
        if name not in RULES:
            near = difflib.get_close_matches(str(name), RULES, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"found the check {name!r}; expected some of {', '.join(RULES)}.{hint}")
