"""Which language a text is in, as far as it can be told, and whether an answer slips into another.

py3langid names the language of prose; Unicode's names of letters tell the script.
"""

import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Set
from functools import cache, lru_cache
from operator import itemgetter

from ..errors import UsageError

NOT_PROSE = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]*`|https?://\S+|\$[^$\n]+\$|<[^<>\n]{1,200}>|Action(?:[_ ]Input)?[ \t]*:[^\n]*"
    r"|\"[^\"\n]{1,200}\"|“[^”\n]{1,200}”|«[^»\n]{1,200}»|「[^」\n]{1,200}」|『[^』\n]{1,200}』|《[^》\n]{1,200}》",
    re.DOTALL,
)
CLAUSE_END = re.compile(r"[,;:|•\n]+")
SAMPLE_CHARACTERS, ENOUGH_BYTES, CLAUSE_WORDS = 400, 48, 4
SURE, HALF_SURE, UNLIKELY = 0.8, 0.5, 0.01  # probabilities of a language
# Codes that count as another: the model can't tell them apart by a few sentences, and teachers write the other one.
SAME = {
    "an": "es", "arz": "ar", "ary": "ar", "bs": "sr", "crh": "tr", "da": "no", "ext": "es", "gcf": "fr", "gcr": "fr",
    "gl": "pt", "hr": "sr", "ms": "id", "nn": "no", "pcm": "en", "sk": "cs", "wa": "fr", "wuu": "zh", "yue": "zh",
}  # fmt: skip
# Languages that teachers write by mistake; the model finds rarer ones in lists of names.
USUAL_MISTAKES = frozenset({
    "ar", "cs", "de", "en", "es", "fa", "fi", "fr", "hi", "hu", "id", "it", "ja", "ko", "nl", "no", "pl", "pt", "ro",
    "ru", "sv", "th", "tr", "uk", "vi", "zh",
})  # fmt: skip
SCRIPTS_OF = {  # named as the names of their letters begin in Unicode; the other languages' is Latin
    code: frozenset(scripts.split())
    for scripts, codes in {
        "ARABIC": "ar ary arz fa ku ps sdh ug ur",
        "ARMENIAN": "hy",
        "BENGALI": "as bn",
        "CJK": "wuu yue zh",
        "CJK HANGUL": "ko",
        "CJK HIRAGANA KATAKANA": "ja",
        "CYRILLIC": "ba be bg kk ky mk mn ru sr tg tt uk",
        "DEVANAGARI": "gom hi mr ne sa",
        "ETHIOPIC": "am",
        "GEORGIAN": "ka",
        "GREEK": "el grc",
        "GUJARATI": "gu",
        "GURMUKHI": "pa",
        "HEBREW": "hbo he",
        "KANNADA": "kn",
        "KHMER": "km",
        "LAO": "lo",
        "MALAYALAM": "ml",
        "MYANMAR": "my",
        "ORIYA": "or",
        "SINHALA": "si",
        "TAMIL": "ta",
        "TELUGU": "te",
        "THAI": "th",
    }.items()
    for code in codes.split()
}
SCRIPTS = frozenset().union(*SCRIPTS_OF.values())
WITHOUT_SPACES = frozenset({"CJK", "HIRAGANA", "KATAKANA", "KHMER", "LAO", "MYANMAR", "THAI"})
BEYOND_LATIN = re.compile("[\u0370-\u1dff\u1f00-\u1fff\u2de0-\uffff\U00010000-\U0001cfff\U00020000-\U0003ffff]")
# Over a text's kinds, see `_kinds`: eight letters, four before a full stop, or four words make a sentence.
FOREIGN_SENTENCE = re.compile(r"(?:d[ .]{0,3}){8}|(?:d {0,3}){4,}\.|(?<!s)(?:s{2,} {1,3}){3,}s{2,}")
FOREIGN_WORD = re.compile(r"d{2,}|s{3,}")
ENGLISH = (
    "about after all and are because been before but by can could does for from has have how if into is its more must "
    "not of or our should some than that the their them then there these they this to was were what when where which "
    "who why will with without would you your"
)
FUNCTION_WORDS = frozenset(ENGLISH.split())
PLAIN = 0.12  # share of them among the words: English has about 0.3, its neighbours 0.04 at most
NAMES = {
    "arabic": "ar", "bengali": "bn", "cantonese": "zh", "catalan": "ca", "chinese": "zh", "czech": "cs",
    "danish": "no", "deutsch": "de", "dutch": "nl", "english": "en", "español": "es", "finnish": "fi",
    "français": "fr", "french": "fr", "german": "de", "greek": "el", "hebrew": "he", "hindi": "hi", "hungarian": "hu",
    "indonesian": "id", "italian": "it", "japanese": "ja", "kanji": "ja", "korean": "ko", "latin": "la",
    "mandarin": "zh", "norwegian": "no", "persian": "fa", "polish": "pl", "português": "pt", "portuguese": "pt",
    "romanian": "ro", "russian": "ru", "sanskrit": "sa", "spanish": "es", "swahili": "sw", "swedish": "sv",
    "thai": "th", "turkish": "tr", "ukrainian": "uk", "urdu": "ur", "vietnamese": "vi",
}  # fmt: skip
NAMES_IN_HAN = {"中文": "zh", "汉语": "zh", "英文": "en", "英语": "en", "英語": "en", "日本語": "ja"}
NAMED = re.compile(rf"\b(?:{'|'.join(NAMES)})\b|{'|'.join(NAMES_IN_HAN)}", re.IGNORECASE)
TRANSLATES = re.compile(
    r"\btranslat(?:e|ed|ing|ions?)\b|übersetz|\btradui|\btraduc|\btraduz|перев[её]д|翻译|翻譯|翻訳|번역", re.IGNORECASE
)


def slips_into_another(answer: str, asked: str, language: str | None) -> bool:
    """Whether an answer, or a sentence of it, is in a language that was neither expected nor asked for.

    Code, quotations, links and calls are left out. What is too short to tell passes, unless it is in a script that
    the expected language does not use.

    Args:
        asked: All that the prompt says.
        language: The expected one, see `require_known_language`; None: that of the prompt.
    """
    prose = prose_of(answer)
    foreign = _slips_into_another_script(prose, asked, language) or _is_in_another(prose, asked, language)
    return foreign and not _speaks_of_another(f"{asked}\n{prose}", asked, language)


def require_known_language(code: str) -> None:
    """Check a recipe's language.

    Raises:
        UsageError: not the code of a language that can be recognised; says the nearest.
    """
    if code in USUAL_MISTAKES:
        return
    known = _identifier().labels
    if code not in known:
        near = difflib.get_close_matches(code, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"found the language {code!r}; expected an ISO 639-1 code such as 'en' or 'de'.{hint}")


def prose_of(text: str) -> str:
    """The sentences of a text: without code, quotations, links, formulas and calls."""
    return NOT_PROSE.sub(" ", text)


def is_plainly_english(text: str) -> bool:
    """Whether so many of the first words are English function words that there is no need to ask the model."""
    words = text[:SAMPLE_CHARACTERS].casefold().split()
    return sum(word in FUNCTION_WORDS for word in words) > PLAIN * len(words)


def language_of(text: str, sure: float = SURE) -> str | None:
    """ISO 639-1 code of the language that a text begins in.

    Args:
        sure: Probability that it must have.

    Returns:
        None: too short or too mixed to tell.
    """
    code, probability = max(_likely(text).items(), key=itemgetter(1), default=(None, 0.0))
    return code if probability >= sure else None


def _likely(text: str) -> Counter[str]:
    """The likeliest languages and their probabilities; none where the text is too short."""
    clauses = [clause for clause in CLAUSE_END.split(text[: 2 * SAMPLE_CHARACTERS]) if _tells_its_language(clause)]
    return _likely_of_sample(" ".join(clauses)[:SAMPLE_CHARACTERS])


def _tells_its_language(clause: str) -> bool:
    """Whether a clause is more than an item of a list; foreign names and dishes stand in lists of any language."""
    return sum(word[0].isalpha() for word in clause.split()) >= CLAUSE_WORDS or BEYOND_LATIN.search(clause) is not None


@lru_cache(maxsize=4096)
def _likely_of_sample(sample: str) -> Counter[str]:
    likely: Counter[str] = Counter()
    if len(re.sub(r"[\W\d_]+", "", sample).encode("utf-8", "surrogatepass")) >= ENOUGH_BYTES:
        for code, probability in _identifier().rank(sample)[:8]:
            likely[SAME.get(str(code), str(code))] += probability
    return likely


@cache
def _identifier():
    from py3langid import langid  # half a second to load, for this rule alone

    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)


def _is_in_another(prose: str, asked: str, language: str | None) -> bool:
    """Whether the answer as a whole is in another language than the expected one, as far as both are sure."""
    if is_plainly_english(prose) and (language == "en" or (language is None and is_plainly_english(asked))):
        return False
    spoken = language_of(prose)
    if spoken not in USUAL_MISTAKES:
        return False
    if language is not None:
        return _likely(prose)[SAME.get(language, language)] < UNLIKELY
    parts = re.split(r'[\n":“”«»]+', asked)
    begun = _beginning(asked)
    unexpected = language_of(begun, HALF_SURE) is not None and _likely(begun)[spoken] < UNLIKELY
    return unexpected and all(language_of(part) != spoken for part in parts)


def _beginning(asked: str) -> str:
    return prose_of(asked[: 4 * SAMPLE_CHARACTERS])


def _speaks_of_another(text: str, asked: str, language: str | None) -> bool:
    """Whether a text speaks of translation or names a language other than the expected one."""
    expected = SAME.get(language or "", language) or language_of(_beginning(asked), HALF_SURE)
    named = {(NAMES | NAMES_IN_HAN)[name.casefold()] for name in NAMED.findall(text)}
    return bool(named - {expected}) or TRANSLATES.search(text) is not None


def _slips_into_another_script(prose: str, asked: str, language: str | None) -> bool:
    """Whether a sentence, or most of all letters, is in a script neither expected nor used by the prompt."""
    if not BEYOND_LATIN.search(prose) or not re.search(r"[^\W\d_]", asked):
        return False
    usual = SCRIPTS_OF.get(language or "", frozenset()) | set(map(_script, asked))
    kinds = _kinds(prose, usual)
    letters = sum(map(len, FOREIGN_WORD.findall(kinds)))
    return FOREIGN_SENTENCE.search(kinds) is not None or letters * 4 > 3 * sum(map(str.isalpha, prose))


def _kinds(text: str, usual: Set[str | None]) -> str:
    """A letter for each of the text's: `d` of a foreign script without spaces, `s` of one with spaces, ` ` what may
    stand between letters of a sentence, `.` what ends a part of it, `x` anything else."""
    kinds = {" ": " ", "\n": " "} | dict.fromkeys("0123456789,;:、：·–-", " ") | dict.fromkeys("，。！？；", ".")
    for mark in set(text) - kinds.keys():
        script = _script(mark)
        kinds[mark] = "x" if script is None or script in usual else "d" if script in WITHOUT_SPACES else "s"
    return "".join(map(kinds.__getitem__, text))


@lru_cache(maxsize=4096)
def _script(mark: str) -> str | None:
    """The script of a letter; None: Latin, or no letter of a language."""
    name = unicodedata.name(mark, "").partition(" ")[0]
    return name if name in SCRIPTS else None
