"""Numbers as people and LaTeX write them: 1,234 and 1{,}234, $18, 3/4 and \\frac{3}{4}, 50 %, 1.2e3, forty-two."""

import re

SPACES = r"[   ]"  # narrow, thin and no-break: between groups of digits
DIGITS = rf"(?:\d{{1,3}}(?:(?:,|\{{,\}}|\\,|{SPACES})\d{{3}})+(?!\d)(?:\.\d+)?|\d+\.\d+|\.\d+|\d+)"
SIGN = r"[-−–+]?"
CURRENCY = r"(?:\\?[$€£¥₹]\s?|USD\s|EUR\s)?"
TIMES_TEN = r"\s?(?:\\times|\\cdot|[×x*·])\s?10\s?(?:\^|\*\*)\s?\{?(?P<exponent>[-−]?\d+)\}?"
POWER = rf"(?:(?:\^|\*\*)\{{?(?P<raised>\d{{1,3}})\}}?|[eE][-+]?\d+\b|{TIMES_TEN})?"
TOP, BOTTOM = r"\{\s*(?P<top>[-−]?[\d.,]+)\s*\}", r"\{\s*(?P<bottom>[\d.,]+)\s*\}"
FRACTION = rf"\\[dt]?frac\s*{TOP}\s*{BOTTOM}|\\[dt]?frac(?P<one>\d)(?P<other>\d)"
VULGAR = {"½": 1 / 2, "⅓": 1 / 3, "⅔": 2 / 3, "¼": 1 / 4, "¾": 3 / 4, "⅛": 1 / 8, "⅜": 3 / 8, "⅝": 5 / 8, "⅞": 7 / 8}
SCALES = {"thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}
QUANTITY = re.compile(
    rf"(?<![\w.^])(?P<sign>{SIGN})(?P<money>{CURRENCY})(?P<late>{SIGN})"
    rf"(?:(?:(?P<whole>\d+)\s?)?(?:{FRACTION})"
    rf"|(?:(?P<units>\d+)\s)?(?P<over>{DIGITS})\s?/\s?(?P<under>\d+(?:\.\d+)?)(?![\d/])"
    rf"|(?:(?P<before>\d+)\s?)?(?P<vulgar>[{''.join(VULGAR)}])"
    rf"|(?P<plain>{DIGITS}){POWER})"
    rf"(?:\s?(?P<scale>{'|'.join(SCALES)})\b)?(?P<percent>\s?(?:\\?%|percent\b|per cent\b))?",
    re.IGNORECASE,
)
BOX = re.compile(r"\\(?:boxed|fbox)\s*\{(?P<inner>(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}")
HASHES = re.compile(r"^####\s*(?P<inner>.+)$", re.MULTILINE)
TOLD = re.compile(
    r"\b(?:answer|result|total|solution)\b[^.:=\n]{0,40}?(?:\bis\b|:|=)\s*(?P<inner>[^\n]+)", re.IGNORECASE
)
BOLD = re.compile(r"\*\*(?P<inner>[^*\n]*\d[^*\n]*)\*\*")
LEADING = re.compile(r"[\s*_(\"]*(?P<inner>[^\s]+(?:\s[^\W\d]+)?)\s*(?:[,;:.—–]?\s+(?:because|since|as|for)\b|\n|$)")
SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z(])|(?<=\d)\s*\(|\bbecause\b|\bsince\b")

ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
WORD = rf"(?:{'|'.join((*sorted(ONES, key=len, reverse=True), *TENS))})"
IN_WORDS = re.compile(
    rf"\b(?P<minus>(?:minus|negative) )?(?P<number>{WORD}(?:[\s-]+(?:and )?(?:hundred|thousand|{WORD}))*)\b"
)


def settled_on(answer: str) -> list[float]:
    """The values that the answer may settle on: those of the surest place that has a number, else of the last number.

    The places are a box, what stands behind `####`, behind "the answer is", or in bold, and the beginning. A percentage
    has two values, 50 and 0.5, for questions ask for either.
    """
    for place in (BOX, HASHES, TOLD, BOLD):
        for found in reversed([*place.finditer(answer)]):
            told = SENTENCE.split(found["inner"].strip())[0] if place is TOLD else found["inner"]
            if values := _first(told.rpartition("=")[2]) or _in_words(told):
                return values
    leading = LEADING.match(answer)
    return (leading and _first(leading["inner"])) or _last(answer) or _in_words(answer)


def _first(text: str) -> list[float]:
    found = QUANTITY.search(_plain(text))
    return _values(found) if found else []


def _last(text: str) -> list[float]:
    found = [*QUANTITY.finditer(_plain(text))]
    return _values(found[-1]) if found else []


def _plain(text: str) -> str:
    """Without the marks of LaTeX around a number."""
    text = re.sub(r"\\(?:text|mathrm|mathbf|textbf)\s*\{([^{}]*)\}", r" \1 ", text)
    text = re.sub(r"\\left|\\right|\\[!;:]|\\\(|\\\)|\\\[|\\\]|\*\*", " ", text).replace("\\,\\", "\\")
    return re.sub(r"(?<!\\)\$(?!\s?[\d.])|(?<=\d)\s?\$", " ", text)


def _values(found: re.Match[str]) -> list[float]:
    value = _size(found) * SCALES.get((found["scale"] or "").lower(), 1)
    if any(sign and sign.strip() in ("-", "−", "–") for sign in (found["sign"], found["late"])):
        value = -value
    return [value, value / 100] if found["percent"] else [value]


def _size(found: re.Match[str]) -> float:
    if found["vulgar"]:
        return _number(found["before"] or "0") + VULGAR[found["vulgar"]]
    whole = _number(found["whole"] or found["units"] or "0")
    for top, bottom in (("top", "bottom"), ("one", "other"), ("over", "under")):
        if found[top]:
            below = _number(found[bottom])
            return whole + _number(found[top]) / below if below else float("nan")
    exponent = float((found["exponent"] or "0").replace("−", "-"))
    number = _number(_with_exponent(found)) * 10 ** min(max(exponent, -300.0), 300.0)
    try:
        return number ** int(found["raised"] or "1")
    except OverflowError:
        return float("inf")


def _with_exponent(found: re.Match[str]) -> str:
    raised = re.search(r"[eE][-+]?\d+\b", found[0][found.end("plain") - found.start() :])
    return found["plain"] + (raised[0] if raised and not found["exponent"] else "")


def _number(text: str) -> float:
    try:
        return float(re.sub(rf",|\{{,\}}|\\,|{SPACES}", "", text).replace("−", "-"))
    except ValueError:  # "1.2.3"
        return float("nan")


def _in_words(text: str) -> list[float]:
    """The last number in words, below a million."""
    runs = [*IN_WORDS.finditer(text.lower())]
    if not runs:
        return []
    total = part = 0
    for word in re.findall("[a-z]+", runs[-1]["number"]):
        part += ONES.index(word) if word in ONES else 20 + 10 * TENS.index(word) if word in TENS else 0
        part *= 100 if word == "hundred" else 1
        total, part = (total + part * 1000, 0) if word == "thousand" else (total, part)
    return [float(-total - part if runs[-1]["minus"] else total + part)]
