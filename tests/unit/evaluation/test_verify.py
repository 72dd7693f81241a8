"""Checks of single answers, and the guarded process that runs code."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.rows.row import BadRow
from trainer.evaluation import code, sandbox
from trainer.evaluation.code import runs_right, source_of
from trainer.evaluation.verify import KINDS, passes, require_known

PARIS = {"kind": "text", "accept": ["Paris"], "reject": ["London", "Rome"]}
DOG = {"kind": "text", "accept": ["dog", "dogs"], "reject": ["apple", "pear", "plum"]}
ADDS = "def add(a, b):\n    return a + b\n"

# For each kind: a check, answers that pass, answers that don't.
CASES = [
    (
        {"kind": "number", "value": 1234.5},
        ["1234.5", "It is $1,234.50.", "First 3, then **1234.5**!", "10 - 3 = 1,234.5 euros"],
        ["1234", "1234.5 or 7", "-1234.5", "one", ""],
    ),
    (
        {"kind": "number", "value": 300, "given": [5, 60]},
        ["There are 300 minutes in 5 hours.", "5 x 60 = 300", "300 (5 x 60). Ask me again!"],
        ["There are 5 hours.", "5 x 60 = 360", "300 minutes.\nNo, the answer is 5."],
    ),
    (
        {"kind": "number", "value": -2, "tolerance": 0.5},
        ["-2", "−2.4", "10-12 = -2", "x^2 = 4, so -1.9"],
        ["2", "-2.6", "5-2", "0 - 2"],
    ),
    ({"kind": "number", "value": 7}, ["seven", "Seven days, of course."], ["seven of eight", "17", "m7"]),
    (
        {"kind": "number", "value": 36},
        [
            *(
                "36",
                "36.0",
                "36.",
                "$36",
                "\\$36",
                "$36$",
                "$36.00",
                "36 dollars",
                "36€",
                "**36**",
                "\\boxed{36}",
                "#### 36",
            ),
            *("The answer is 36.", "The answer is **36**. I tried it 3 times.", "thirty-six", "= 36", "72/2", "x = 36"),
            *(
                "\\frac{72}{2}",
                "$\\boxed{\\text{36}}$",
                "\\boxed{36 \\text{ cm}}",
                "3.6e1",
                "3.6 \\times 10^1",
                "6^2",
                "36%",
            ),
            *(
                "36 because 40 minus 4 were eaten.",
                "The answer is 36 (that is 40 - 4).",
                "#### 36\nDo you have 2 more?",
            ),
        ],
        ["37", "0.36", "360", "The answer is 37.", "3/6", "36/2", "\\boxed{35}", "thirty", "6^3"],
    ),
    (
        {"kind": "number", "value": 2500},
        ["2,500", "2{,}500", "2\\,500", "2 500", "two thousand five hundred", "2.5 \\times 10^3", "2.5 thousand"],
        ["2.5", "2,5", "2500000", "twenty-five hundred and one"],
    ),
    (
        {"kind": "number", "value": 0.25},
        ["1/4", "\\frac{1}{4}", "\\dfrac14", "0.25", ".25", "25%", "25\\%", "25 percent", "¼", "The answer is 1/4."],
        ["4", "1", "4/1", "25"],
    ),
    ({"kind": "number", "value": -5}, ["-5", "−5", "–5", "-$5", "\\boxed{-5}", "minus five"], ["5", "3 - 8 is not 5"]),
    ({"kind": "number", "value": 1.5}, ["1 1/2", "1½", "1\\frac{1}{2}", "3/2"], ["1/2", "1"]),
    (
        {"kind": "maths", "value": "\\frac{\\sqrt{2}}{2}"},
        ["$\\frac{1}{\\sqrt 2}$", "\\boxed{\\frac{\\sqrt2}{2}}", "The answer is $\\sqrt{2}/2$.", "√2/2"],
        ["\\sqrt{2}", "0.7", "2", "I can't say."],
    ),
    (
        {"kind": "maths", "value": "x^2+1"},
        ["$1+x^2$", "x^2 + 1", "\\boxed{x^2+1}", "The answer is x^2 + 1."],
        ["x^2", "x+1", "1", "9^9^9^9^9"],
    ),
    ({"kind": "maths", "value": "(1, 2)"}, ["(1,2)", "The point is $(1, 2)$."], ["(2, 1)", "1"]),
    (
        {"kind": "maths", "value": 36},
        ["$36$", "36 dollars", "\\boxed{36}", "thirty-six", "72/2", "36.0"],
        ["35", "36/2"],
    ),
    ({"kind": "maths", "value": "3/4"}, ["0.75", "\\frac34", "75%", "\\boxed{\\dfrac{3}{4}}"], ["4/3", "3", "75"]),
    (
        {"kind": "choice", "value": "B", "choices": ["Rome", "Paris", "Oslo"]},
        ["B", "(b)", "Paris", "B) Paris", "The answer is Paris.", "Rome is in Italy. So the answer is B."],
        ["Rome", "A", "The answer is A.", "D", "A. Rome\nB. Paris\nC. Oslo", "A, B or C", "Berlin"],
    ),
    (
        {"kind": "choice", "value": "Oslo", "choices": ["Rome", "Paris", "Oslo"]},
        ["C", "Oslo", "It is Oslo."],
        ["B", "Paris", "A city", "A or C"],
    ),
    (
        PARIS,
        ["paris", "**Paris**.", "The capital of France is Paris.", "Paris is the capital, as you know. Bye!"],
        ["Lyon", "London", "Paris, London, Rome", "It is not Paris.", "Parisian", "It isn't Paris, it is Rome."],
    ),
    (
        PARIS,
        ["London is in England.\nRome is in Italy.\nSo it must be Paris.", 'Not London and not Rome, but "Paris".'],
        ["- Rome\n- London\n- Paris", "It is Paris. It is London. It is Rome.", "1. Rome 2. London 3. Paris"],
    ),
    (
        DOG,
        [
            "The dog.",
            "A dog is no fruit. Apple, pear and plum are fruits.",
            "Out of apple and pear: `dog`",
            "the DOG's",
        ],
        ["apple", "An apple is no fruit. A dog is no fruit.", "apple, pear, dog or plum", "A. apple B. pear C. dog"],
    ),
    (
        {"kind": "order", "items": ["ant", "bee", "cow"]},
        ["ant, bee, cow", "1. Ant\n2. Bee\n3. Cow", "Sorted, cow, bee and ant are: ant bee cow."],
        ["bee, ant, cow", "ant, bee", "ant, bee, cow, ant", "ant bee cows"],
    ),
    (
        {"kind": "verbatim", "value": "NO-WAY"},
        ["NO-WAY", 'It is "NO-WAY".', "so: NO-WAY!"],
        ["no-way", "OH-NO-WAY", "NO-WAYS", "NO WAY"],
    ),
    (
        {"kind": "exact", "value": "Good morning!"},
        ["Good morning!", " Good morning!\n"],
        ["good morning!", '"Good morning!"'],
    ),
    (
        {"kind": "all", "checks": [{"kind": "lowercase"}, {"kind": "words", "at_most": 2}]},
        ["two words", "one"],
        ["Two words", "three small words"],
    ),
    (
        {"kind": "sentences", "count": 2},
        ["One. Two!", "At 3.5 degrees Mr. Fox sleeps. Why?", "No point here\nnor here", 'He said "go." She went.'],
        ["One.", "One. Two. Three.", "..."],
    ),
    ({"kind": "words", "at_least": 2, "at_most": 3}, ["two words", "a well-kept dog", "one - two"], ["one", "a b c d"]),
    ({"kind": "lines", "count": 2}, ["a\n\nb", "a\nb\n"], ["a", "a\nb\nc"]),
    ({"kind": "paragraphs", "count": 2}, ["a\nb\n\nc", "a\n \n\nb\n"], ["a\nb", "a\n\nb\n\nc"]),
    ({"kind": "bullets", "count": 2}, ["- a\n- b", "Here:\n* a\n• b"], ["- a", "a - b - c", "1. a\n2. b", "---\n- a"]),
    ({"kind": "numbered", "count": 2}, ["1. a\n2) b"], ["- a\n- b", "1. a", "In 2. place\n1. b"]),
    (
        {"kind": "highlights", "at_least": 1},
        ["a **bold** word", "a *slanted one* here"],
        ["a * b * c", "plain", "****"],
    ),
    ({"kind": "separated", "count": 2}, ["a\n***\nb", "a***b"], ["a", "a\n***\n", "a *** b *** c"]),
    ({"kind": "separated", "count": 2, "by": "---"}, ["a\n---\nb"], ["a\n***\nb"]),
    ({"kind": "includes", "words": ["sea", "blue sky"]}, ["The Sea, a BLUE sky."], ["the seas, blue sky", "sea"]),
    ({"kind": "includes", "words": ["no"], "count": 2}, ["no, no"], ["no", "no no no"]),
    ({"kind": "excludes", "words": ["the", "a b"]}, ["then", "ab"], ["The end", "x A b"]),
    ({"kind": "lowercase"}, ["all small, 5 of them."], ["Not all", "12"]),
    ({"kind": "uppercase"}, ["ALL 5!"], ["NOT all", "12"]),
    ({"kind": "no_commas"}, ["a b"], ["a, b"]),
    ({"kind": "quoted"}, ['"a."', "“a”\n"], ['"a', "a", '""', "'a'"]),
    ({"kind": "title"}, ["<<A title>>\n\ntext"], ["<A title>", "<< >> x", "<<a\nb>>"]),
    ({"kind": "starts", "text": "In short"}, ["In short, yes", '"in short: no"', "**In short** ok"], ["So, in short"]),
    (
        {"kind": "ends", "text": "That is all."},
        ["Yes. That is all.", '"that is all."\n'],
        ["That is all. Yes", "That is all"],
    ),
    (
        {"kind": "json_keys", "keys": ["a", "b"]},
        ['{"b": 1, "a": []}', '```json\n{"a": 1, "b": null}\n```'],
        ['{"a": 1}', '{"a": 1, "b": 2, "c": 3}', "{'a': 1, 'b': 2}", '["a", "b"]', "a b", '{"a": NaN, "b": 1}'],
    ),
    (
        {"kind": "code", "name": "add", "tests": [[[1, 2], 3], [["a", "b"], "ab"]]},
        [ADDS, f"Sure!\n```python\n{ADDS}```\nIt adds.", f"```python\n{ADDS}"],
        ["def add(a, b):\n    return a - b", "return a + b", "def plus(a, b): return a + b", "I can't."],
    ),
]
SHOWN = [case[0]["kind"] for case in CASES]


@pytest.mark.parametrize(("check", "right", "wrong"), CASES, ids=SHOWN)
def test_right_answers_pass_and_wrong_ones_do_not(check, right, wrong):
    require_known(check)
    assert [answer for answer in right if not passes(check, answer)] == []
    assert [answer for answer in wrong if passes(check, answer)] == []


SPELLINGS = [
    *("{L}", "{L}.", "({L})", "[{L}]", "{l}", "{l})", "**{L}**", "`{L}`", '"{L}"', "#### {L}", "\\boxed{{{L}}}"),
    *("The answer is {L}.", "Answer: {L}", "answer: {l}", "ANSWER: {L}", "Ans: {L}", "<answer>{L}</answer>"),
    *("{L}. some text", "{L}) some text", "{L}: some text", "{L} - some text", "**{L}. some text**", "{L}\n\nIt fits."),
    *(
        "The answer is **{L}**.",
        "The correct answer is ({L}) text.",
        "$\\boxed{{\\text{{{L}}}}}$",
        "The answer is:\n\n{L}",
    ),
    *("{L} because only there it fits.", "{L} is the correct answer.", "Option {L} is correct.", "I choose {L}."),
    *("I'd go with {L}", "It's {L}.", "It must be {L}.", "Not {O}. The answer is {L}.", "The answer is option {L}."),
    "Let me see. {O} can't be.\nSo the answer is {L}.",
]


@pytest.mark.parametrize("letter", "ABCDI")
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_letter_counts_whichever_it_is(spelling, letter):
    other = "B" if letter == "A" else "A"
    answer = spelling.format(L=letter, l=letter.lower(), O=other)
    assert passes({"kind": "choice", "value": letter}, answer)
    assert not passes({"kind": "choice", "value": other}, answer)
    by_text = {"kind": "text", "accept": [letter], "reject": [c for c in "ABCDI" if c != letter]}
    assert passes(by_text, answer)


@pytest.mark.parametrize(
    "answer",
    [
        "A cat sat there.",
        "I think so.",
        "The answer is a city.",
        "A or B",
        "The answer is a mammal because of its hair.",
    ],
)
def test_an_article_in_running_prose_is_no_letter(answer):
    assert not passes({"kind": "choice", "value": "A"}, answer) and not passes({"kind": "choice", "value": "I"}, answer)


def test_maths_is_also_read_where_no_signals_can_be_had():
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(passes, {"kind": "maths", "value": "x^2+1"}, "$1+x^2$").result()


def test_every_kind_is_tried():
    assert {check["kind"] for check, *_ in CASES} == set(KINDS)


PURE = [check for check, *_ in CASES if check["kind"] != "code"]
MARKS = [
    "**",
    "`",
    '"',
    "- ",
    "1. ",
    "\n",
    "\n\n",
    "***",
    "<<",
    ">>",
    "{",
    "}",
    "```",
    ", ",
    ".",
    "-",
    "=",
    "…",
    "’",
    "'s",
]
ODDITIES = [
    "Paris",
    "London",
    "not ",
    "dog",
    "$1,234",
    "e9",
    "\\boxed{",
    "İ",
    "ß",
    "\x85",
    "\u2028",
    "٣",
    "²",
    "\ud800",
]
PIECES = st.sampled_from([*MARKS, *ODDITIES])


@given(st.text() | st.lists(PIECES | st.text(max_size=2), max_size=30).map("".join))
def test_any_text_can_be_checked(answer):
    for check in PURE:
        assert passes(check, answer) in (True, False)


@given(st.text(alphabet=" \t\n.,;!?*-_<>{}[]()\"'`#"))
def test_a_text_without_letters_and_digits_never_passes(answer):
    assert not any(passes(check, answer) for check in PURE)


@given(
    st.integers(-(10**9), 10**9), st.sampled_from(["{}", "It is {}.", "= **{}**", "So 7 x 9 makes {} in all!", "${}"])
)
def test_a_number_is_found_however_it_is_written(value, sentence):
    for written in (f"{value}", f"{value:,}", f"{value}.0"):
        assert passes({"kind": "number", "value": value}, sentence.format(written))
        assert not passes({"kind": "number", "value": value + 1}, sentence.format(written))


@given(
    st.permutations(["Paris", "London", "Rome", "Madrid"]),
    st.sampled_from([", ", "\n", "\n- ", " or ", ". ", "; ", "\n\n", ". It is ", "? "]),
)
def test_naming_every_option_settles_on_none(names, between):
    check = {"kind": "text", "accept": ["Paris"], "reject": ["London", "Rome", "Madrid"]}
    assert not passes(check, between.join(names))
    numbered = "\n".join(f"{place}. {name}" for place, name in enumerate(names, start=1))
    assert not passes(check, numbered)


@given(
    st.sampled_from(["Paris", "London", "Rome", "Oslo"]),
    st.sampled_from(
        ["{}", "{}!", "It is {}.", "Sure. I think that **{}** is right.", "Answer: {}", "{} is the capital."]
    ),
)
def test_a_sentence_passes_exactly_when_it_names_an_accepted_phrase(name, sentence):
    assert passes(PARIS, sentence.format(name)) is (name == "Paris")


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (3, "field 'check' is 3, expected an object with 'kind'"),
        ({}, "field 'check' is {}"),
        ({"kind": "nmber", "value": 3}, "no check is of kind 'nmber'; did you mean 'number'?"),
        ({"kind": "number"}, "of kind 'number' has no 'value', expected a finite number"),
        ({"kind": "number", "value": True}, "'value' of the check of kind 'number' is True"),
        ({"kind": "number", "value": float("nan")}, "is nan, expected a finite number"),
        (
            {"kind": "number", "value": 1, "tolerence": 1},
            "has an unknown key 'tolerence', expected 'value', 'tolerance'",
        ),
        ({"kind": "text", "accept": []}, "'accept' of the check of kind 'text' is []"),
        ({"kind": "text", "accept": ["Paris"], "reject": ["PARIS!"]}, "accepts and rejects 'paris'"),
        ({"kind": "text", "accept": ["***"]}, "has a phrase without a word"),
        ({"kind": "order", "items": ["a", "A"]}, "has too few different 'items'"),
        ({"kind": "sentences"}, "has no bounds, expected 'count'"),
        ({"kind": "words", "at_least": 3, "at_most": 2}, "has bounds that contradict each other"),
        ({"kind": "words", "count": 3, "at_most": 5}, "has bounds that contradict each other"),
        ({"kind": "words", "count": -1}, "is -1, expected a whole number from 0 on"),
        ({"kind": "includes", "words": "sea"}, "'words' of the check of kind 'includes' is 'sea'"),
        (
            {"kind": "all", "checks": [{"kind": "lowercase"}, {"kind": "exact"}]},
            "is wrong in its part 2: the check of kind",
        ),
        ({"kind": "code", "name": "a b", "tests": [[[1], 1]]}, "is 'a b', expected the name of a function"),
        ({"kind": "code", "name": "f", "tests": []}, "'tests' of the check of kind 'code' is []"),
        ({"kind": "code", "name": "f", "tests": [[1, 1]]}, "expected a list of [arguments, expected]"),
        ({"kind": "code", "name": "f", "tests": [[[1], 1]], "seconds": 0}, "expected a number above 0"),
    ],
)
def test_a_check_that_makes_no_sense_is_refused_with_its_kind_and_fault(check, said):
    with pytest.raises(BadRow) as error:
        require_known(check)
    assert said in str(error.value)


def test_an_answer_can_not_be_checked_by_an_unknown_kind():
    with pytest.raises(BadRow, match="no check is of kind 'vibes'"):
        passes({"kind": "vibes"}, "yes")


# ---- code


@pytest.mark.parametrize(
    ("returned", "expected", "right"),
    [
        ("3", 3, True),
        ("3.0", 3, False),
        ("True", 1, False),
        ("1", True, False),
        ("0.1 + 0.2", 0.3, True),
        ("0.3001", 0.3, False),
        ("1e12 + 1", 1e12, True),
        ("float('nan')", 0.0, False),
        ("[1, [2.0]]", [1, [2.0]], True),
        ("(1, 2)", [1, 2], False),
        ("{1, 2}", [1, 2], False),
        ("{'a': [1]}", {"a": [1]}, True),
        ("{1: 2}", {"1": 2}, False),
        ("{'b': 1, 'a': 2}", {"a": 2, "b": 1}, True),
        ("None", None, True),
        ("None", False, False),
        ("'\\ud800'", "\ud800", True),
        ("iter([1])", [1], False),
        ("type('Text', (str,), {})('a')", "a", False),
    ],
)
def test_values_are_the_same_only_with_the_same_type(returned, expected, right):
    assert runs_right(f"def f():\n    return {returned}", "f", [[[], expected]]) is right


def test_all_tests_count_and_each_gets_arguments_of_its_own():
    source = "def f(numbers):\n    numbers.append(1)\n    return len(numbers)"
    assert runs_right(source, "f", [[[[]], 1], [[[]], 1], [[[5]], 2]])
    assert not runs_right(source, "f", [[[[]], 1], [[[]], 2]])


@pytest.mark.parametrize(
    ("answer", "source"),
    [
        ("x = 1", "x = 1"),
        ("```\nx\n```", "x\n"),
        ("First:\n```bash\npip\n```\nThen:\n~~~py\ndef f(): 1\n~~~\n", "def f(): 1\n"),
        ("```python\ndef f(): 1", "def f(): 1"),
        ("1. So:\n   ```python\n   def f():\n       return 1\n   ```", "def f():\n    return 1\n"),
        ("```py\ndef f(): 1\n```\n```py\ndef f(): 2\n```", "def f(): 1\n"),
        ("```py\ndef ff(): 1\n```\n```py\ndef f(): 2\n```", "def f(): 2\n"),
    ],
)
def test_the_code_of_an_answer_is_the_block_that_defines_the_function(answer, source):
    assert source_of(answer, "f") == source


@pytest.mark.parametrize(
    "source",
    [
        "while True: pass",
        "import time; time.sleep(60)",
        "import sys; sys.exit(0)",
        "import os; os._exit(0)",
        "raise ValueError",
        "raise KeyboardInterrupt",
        "input()",
        "x = [0] * 10**12",
        "x = bytearray(2**31)",
        "import sys; sys.setrecursionlimit(10**9)\ndef deep(n): return deep(n + 1) + 1\ndeep(0)",
        "def g(): g()\ng()",
        "x = '(' * 10**6; eval(x)",
        "while True: print('42' * 10**6)",
        "print('[42]', flush=True); import os; os._exit(0)",
        "import os\nfor stream in range(32):\n    try: os.write(stream, b'[41]\\n')\n    except OSError: pass",
        "import os; os.abort()",
        "import builtins; builtins.len = builtins.type = builtins.all = None; f = lambda: 41",
        "not python",
        "\0",
        "\ud800",
    ],
)
def test_code_that_fails_hangs_or_floods_is_wrong(source):
    assert not runs_right(f"f = lambda: 41\n{source}", "f", [[[], 42]], seconds=0.3)


def test_endless_loops_within_the_call_leave_no_process_behind():
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    before = children.read_text()
    assert not runs_right("def f():\n    while True: pass", "f", [[[], 1]], seconds=0.2)
    assert children.read_text() == before


def outcome(statement, expected="PermissionError"):
    """Whether the statement ends with an error of the expected name within the guarded process."""
    source = f"""
def f():
    try:
        {statement}
    except Exception as error:
        return type(error).__name__
    return "nothing"
"""
    return runs_right(source, "f", [[[], expected]])


@pytest.mark.parametrize(
    "statement",
    [
        "import os; os.fork()",
        "import os; os.system('true')",
        "import os; os.execv('/bin/true', ['true'])",
        "import os; os.posix_spawn('/bin/true', ['true'], {})",
        "import subprocess; subprocess.run(['true'])",
        "import multiprocessing; multiprocessing.Process(target=print).start()",
        "import os; os.kill(os.getppid(), 0)",
        "import socket; socket.socket()",
        "import socket; socket.getaddrinfo('localhost', 80)",
        "import socket; socket.create_connection(('127.0.0.1', 9))",
        "import ctypes; ctypes.CDLL(None)",
        "import sqlite3; sqlite3.connect('base')",
        "open('new', 'w')",
        "open('/dev/null', 'w')",
        "import os; os.open('new', os.O_CREAT)",
    ],
)
def test_processes_sockets_and_writing_are_refused(statement):
    assert outcome(statement)


@pytest.mark.skipif(os.uname().machine not in sandbox.ARCHITECTURES, reason="no system call filter for this processor")
@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("import multiprocessing as m; m.get_context('spawn').Process(target=print).start()", "PermissionError"),
        ("import os; os.mkfifo('pipe')", "PermissionError"),
        ("import threading; threading.Thread(target=print).start()", "RuntimeError"),
    ],
)
def test_the_kernel_refuses_what_has_no_event_of_python(statement, expected):
    assert outcome(statement, expected)


def test_files_stay_as_they_are(tmp_path):
    kept = tmp_path / "kept.txt"
    kept.write_text("kept")
    for change in (
        f"open({str(kept)!r}, 'w')",
        f"import os; os.remove({str(kept)!r})",
        f"import os; os.rename({str(kept)!r}, {str(kept)!r} + 'x')",
        f"import os; os.truncate({str(kept)!r}, 0)",
        f"import os; os.chmod({str(kept)!r}, 0)",
        f"import shutil; shutil.rmtree({str(tmp_path)!r})",
        f"import pathlib; pathlib.Path({str(tmp_path / 'new')!r}).touch()",
        f"import os; os.mkdir({str(tmp_path / 'new')!r})",
        f"import os; os.symlink('x', {str(tmp_path / 'new')!r})",
    ):
        assert outcome(change), change
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]
    assert kept.read_text() == "kept"


def test_the_process_sees_no_environment_and_no_installed_packages(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert runs_right("import os\nf = lambda: os.environ.get('HF_TOKEN')", "f", [[[], None]])
    assert outcome("import torch", "ModuleNotFoundError")
    assert outcome("import trainer", "ModuleNotFoundError")
    assert runs_right("import os\nf = lambda: os.listdir()", "f", [[[], []]])


def test_ordinary_programs_run():
    source = """
import collections, dataclasses, datetime, functools, heapq, itertools, json, math, random, re, string, typing

@dataclasses.dataclass
class Point:
    x: int

def count(text: str) -> dict:
    print("debugging", text)
    list = sorted(set(text))
    return {letter: text.count(letter) * Point(1).x for letter in list}

if __name__ == "__main__":
    raise SystemExit(count(input()))
"""
    assert runs_right(source, "count", [[["abba"], {"a": 2, "b": 2}]])


def test_the_order_of_a_set_is_the_same_every_time():
    source = "def f():\n    return hash('some text')"
    seen = [code._call_guarded(source, "f", [[]], 5.0) for _ in range(3)]
    assert seen[0] is not None and seen.count(seen[0]) == 3


def test_a_long_list_comes_back_and_megabytes_do_not():
    assert runs_right("def f(): return [1] * 10_000", "f", [[[], [1] * 10_000]])
    assert not runs_right("def f(): return [1] * 1_000_000", "f", [[[], [1] * 1_000_000]])
