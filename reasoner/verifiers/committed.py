r"""Finds the answer that a completion commits to; `number` and `math` both start here.

In this order, and always the last of its kind:

1. `\boxed{…}` (`\fbox{…}`, `\boxed 5`), braces balanced. Neighbouring boxes with only separators between them are one
   list. A last box that is never closed is no answer, and nothing before it is one either.
2. A line that starts with `####` and holds an answer. A heading (`#### 1. Find x`, `#### Solution` before more text)
   or a placeholder (`#### <answer>`) holds none.
3. A clause `the answer is X`, `Answer: X` (X may stand on the next line), or an `<answer>X</answer>` tag, whichever
   begins later; failing these, a last line `A: X`. It commits to nothing where it is negated (`the answer is not 5`),
   taken back afterwards (`No, wait, …`), or only opens a worked solution. One that is supposed (`if the answer is 5`)
   or somebody else's (`the expected answer is 5`) is passed over.

So exactly one place is ever read, near the end, and text before or after it cannot buy a second guess. Thoughts count
for nothing: only what follows the last `</think>` is read, and nothing where a `<think>` stays open. Struck-out text
(`~~41~~`) and end tokens are taken off first.

What it does not do: judge the answer. A hedge (`5 or 6`) comes back as it stands, for the verifier to refuse.

Limits, so that a million characters of anything take a few milliseconds: a box is at most `MAX_BOX` long and its list
begins at most `LOOK_BACK` before the last one; of the `####` lines the last `MAX_LINES` are looked at, of the clauses
the last `MAX_CLAUSES`; a clause or tag must stand in the last `CLAUSE_WINDOW` characters; a line or clause holds at
most `MAX_SPAN`.
"""

import re
from dataclasses import dataclass

MAX_BOX = 20_000
LOOK_BACK = 4_000
MAX_LINES = 1_000
MAX_CLAUSES = 100
CLAUSE_WINDOW = 20_000
MAX_SPAN = 1_000


@dataclass(frozen=True)
class Committed:
    """Holds the raw text of the answer, and the rule that found it: `boxed`, `hashes`, `phrase` or `tag`.

    `spans` has several items only where neighbouring boxes, not all the same, form a list.
    """

    spans: tuple[str, ...]
    rule: str


def committed(completion: str) -> Committed | None:
    r"""Returns the answer that a completion commits to; None where it commits to nothing.

    >>> committed("2 + 3 = 5\n#### **5**")
    Committed(spans=('5',), rule='hashes')
    >>> committed(r"so $x$ is \boxed{5} or \boxed{\frac{1}{2}}.").spans
    ('5', '\\frac{1}{2}')
    >>> committed("The answer is 7, not 8. Have a nice day!").spans
    ('7',)
    """
    text = spoken(completion)
    spans, after = _boxes(text)
    if spans:
        return Committed(spans, "boxed")
    text = text[after:]
    line = _hashes(text)
    return Committed((line,), "hashes") if line else _clause(text)


# -- what counts as said ------------------------------------------------------------------------

_END_TOKEN = re.compile(
    r"<\|(?:im_end|endoftext|eot_id|eom_id|end|end_of_text|end_of_turn|eos|return)\|>|<end_of_turn>|</s>|<eos>"
    r"|<｜end▁of▁sentence｜>|<\|im_start\|>(?:user|assistant|system)?"
)
_STRUCK = re.compile(r"~~[^~\n]{1,200}~~")


def after_thought(completion: str) -> str:
    """Returns what follows the last thought; empty where one stays open.

    >>> after_thought("<think>Maybe 5?</think>It is 7."), after_thought("7 <think> or")
    ('It is 7.', '')
    """
    text = completion.rpartition("</think>")[2] if "</think>" in completion else completion
    return "" if "<think>" in text else text


def spoken(completion: str) -> str:
    """Returns what a completion says outside its thoughts, without struck-out text and end tokens.

    >>> spoken("<think>Maybe 5?</think>It is ~~6~~ 7.<|im_end|>").split()
    ['It', 'is', '7.']
    >>> spoken("7 <think> or")
    ''
    """
    text = after_thought(completion)
    if "~~" in text:
        text = _STRUCK.sub(" ", text)
    if "</s>" in text or "|>" in text or "<e" in text or "｜>" in text:
        text = _END_TOKEN.sub("\n", text)
    return text


# -- \boxed{…} ----------------------------------------------------------------------------------

_PIECE = re.compile(r"\\{1,4}(?:boxed|fbox)(?![A-Za-z])\s{0,20}(?P<brace>\{?)|\\.|[{}]", re.DOTALL)
_BARE = re.compile(
    r"[-+]?\.?[0-9][0-9.,/]{0,100}|[A-Za-z](?![A-Za-z])"
    r"|-?\\[dt]?frac\s?(?:\{[^{}]{0,100}\}|[0-9])\s?(?:\{[^{}]{0,100}\}|[0-9])"
)
"""What `\\boxed` takes where no brace follows: a number, a letter or a fraction."""
_PLACEHOLDER = re.compile(
    r"(?:\\text(?:bf|it)?\s?\{|[<\[{(])?\s*"
    r"(?:\.{2,}|…|\\[lc]?dots|_+|(?:(?:your|the|final|numerical|numeric|insert)[ _-]?){0,4}"
    r"(?:answer|number|result|value)(?:[ _-]here)?)\s*[>\]})]?",
    re.IGNORECASE,
)
_SEPARATORS = re.compile(
    r"(?:\\q?quad|\\(?:text|mathrm|textrm|mbox)\s?\{[\s,;]*(?:and|or)?[\s,;]*\}|\\[()\[\],;:!\\ ]|[\s,;:.!?$&|/*_~–-]"
    r"|\b(?:and|or)\b|\(?\b[0-9a-z]{1,2}[.)](?=\s)|\b[A-Za-z](?:_?\{?[0-9]\}?)?\s{0,3}=)*+"
)
_ALTERNATIVE = re.compile(r"\b(?:or(?! rather)|either|alternatively|maybe|perhaps|possibly)\b", re.IGNORECASE)
_THING_AND = re.compile(r"\s*(?:[A-Za-z]{1,12}|\\text\s?\{[^{}]{1,20}\})\$?[,\s]+(?:and|&)\s+\$?")
_SHORT_GAP = 60


def _boxes(text: str) -> tuple[tuple[str, ...], int]:
    """Returns what the last box and its neighbours hold, and from where on the text may still commit otherwise."""
    last = max(text.rfind("\\boxed"), text.rfind("\\fbox"))
    if last < 0:
        return (), 0
    start = max(0, last - LOOK_BACK)
    opened: list[tuple[int, int] | None] = []  # per open brace: where its box and the content begin; None: no box
    num_open = 0
    found: list[tuple[int, int, str]] = []
    is_last_closed = False
    for piece in _PIECE.finditer(text, start, last + MAX_BOX):
        token = piece.group()
        if token == "{":
            opened.append(None)
        elif token == "}":
            box = opened.pop() if opened else None
            if box is None:
                continue
            num_open -= 1
            while found and found[-1][0] > box[0]:  # what is inside is a part of this one
                found.pop()
            found.append((box[0], piece.end(), text[box[1] : piece.start()].strip()))
            is_last_closed = is_last_closed or piece.start() > last >= box[0] - 4
        elif piece["brace"]:
            opened.append((piece.start(), piece.end()))
            num_open += 1
        elif piece["brace"] is not None:
            bare = _BARE.match(text, piece.end())
            content = bare.group().rstrip(".,/") if bare else ""
            found.append((piece.start(), bare.end() if bare else piece.end(), content))
            is_last_closed = is_last_closed or piece.end() > last
        if is_last_closed and not num_open:
            break
    if not is_last_closed:
        return (), last + len("\\boxed")
    held = [box for box in found if box[2] and not _PLACEHOLDER.fullmatch(box[2])]
    if not held:
        return (), 0
    spans = [held[-1][2]]
    for (_, end, content), (begin, _, _) in zip(reversed(held[:-1]), reversed(held[1:]), strict=True):
        if not _joins(text[end:begin]):
            break
        spans.append(content)
    return tuple(dict.fromkeys(reversed(spans))), 0


def _joins(gap: str) -> bool:
    if _SEPARATORS.fullmatch(gap):
        return True
    return len(gap) <= _SHORT_GAP and bool(_ALTERNATIVE.search(gap) or _THING_AND.fullmatch(gap))


# -- #### ---------------------------------------------------------------------------------------

_LABEL = re.compile(
    r"(?:(?:so|thus|hence|therefore),? )?(?:(?:the|my) )?(?:final |correct )?answer(?: is\b|:| =|$)[ :]*", re.I
)
_HEADING = re.compile(
    r"\d{1,2}[.)]\s+[A-Za-z]|(?:step|part|case|problem|question|section|method|approach|example|solution)\b\s*[\d:.(]"
    r"|.*:$",
    re.IGNORECASE,
)
_PROSE = re.compile(r"[A-Za-z][A-Za-z'’-]+(?:\s+[A-Za-z'’-]+){1,}\s|[A-Za-z][A-Za-z'’ -]+[.!]?$")
"""Two words or more before anything else, or nothing but words."""


def _hashes(text: str) -> str:
    """Returns the last `####` line that holds an answer, cleaned; empty where there is none."""
    end = len(text)
    for _ in range(MAX_LINES):
        mark = text.rfind("####", 0, end)
        if mark < 0:
            break
        end, stop = text.rfind("\n", 0, mark) + 1, _line_end(text, mark)
        if stop - end > MAX_SPAN:
            continue
        line = text[end:stop].strip()
        if not line.startswith("####") or line.startswith("#####"):
            continue
        span = _cleaned(_LABEL.sub("", _cleaned(line.strip("#").lstrip(" :")), count=1))
        is_title = _HEADING.match(span) or (_PROSE.match(span) and text[stop : stop + MAX_SPAN].strip())
        if span and not _PLACEHOLDER.fullmatch(span) and not is_title:
            return span
    return ""


def _line_end(text: str, at: int) -> int:
    stop = text.find("\n", at)
    return len(text) if stop < 0 else stop


# -- the answer is … ----------------------------------------------------------------------------

_PHRASE = re.compile(
    r"\b(?:final[ \t]{1,4})?answers?\b(?:[ \t]to[ \t](?:the|this|your)[ \t](?:question|problem))?[ \t*_`]{0,8}"
    r"(?:\([^()\n]{1,40}\)[ \t*_`]{0,8})?(?P<is>isn['’]t\b|is\b|:|=|$)"
    r"(?:,?[ \t](?:therefore|thus|then|hence|simply|indeed|clearly|also)\b,?)?[ \t*_`:]{0,8}",
    re.IGNORECASE | re.MULTILINE,
)
_MARKUP = re.compile(r"[ \t#*_>]*(?:the[ \t]+)?", re.IGNORECASE)
_SUPPOSED = re.compile(
    r"(?:\b(?:if|whether|unless|suppos\w{1,4}|assum\w{1,4}|imagine|pretend|doubt)"
    r"|\b(?:false|wrong|untrue|incorrect|impossible|unlikely|deny)\s+that|n['’]t\s+(?:think|believe|say))\s+"
    r"(?:that\s+)?(?:(?:the|my)\s+)?(?:correct\s+)?$"
    r"|\b(?:reference|expected|gold|wrong|incorrect|false|previous|students?['’]?s?|your|his|her|their|estimated|possible"
    r"|approximate|plausible|potential|candidate|tempting|sample|initial|first|another|other|alternative)[ \t]+$",
    re.IGNORECASE,
)
_NEGATED = re.compile(r"\W*(?:not|never|no longer|neither|nowhere|anything but)\b", re.IGNORECASE)
_NOT_BUT = re.compile(r"not\b[^.;\n]{1,60}?\bbut(?: rather)?\s+(?!not\b)", re.IGNORECASE)  # `not 5 but 7`
_STOP = re.compile(r"\.(?=\s|$|[\"'”’)*_`$]+(?:\s|$))|\?|!(?=\s+[A-Z]|[\"'”’)*_`$]*\s*$)|</?answer>")
_ASIDE = re.compile(
    r"\s?[,;]?\s\(?(?:not|because|since|rather than|instead of|which (?:is|means|makes))\b.*", re.IGNORECASE | re.DOTALL
)
_TAKEN_BACK = re.compile(
    r"(?:^|[.!?…\n])[\s*_]{0,9}+(?:(?:oh|hm{1,3}|but|and|no|so)\b[,.…]{0,3}\s){0,3}"
    r"(?:wait|actually|correction|sorry|oops|no,|scratch that|on second thought"
    r"|let me (?:correct|fix|try again|redo|recalculate|recompute|reconsider|rethink))",
    re.IGNORECASE,
)
_FENCE = re.compile(r"(?:\s|\\\[|\$\$|\\\(|```\w{0,10}\n|[*_`#>])*")


def _clause(text: str) -> Committed | None:
    text = text[-CLAUSE_WINDOW:]
    close = text.rfind("</answer>")
    tag_start = text.rfind("<answer>", 0, close) if close >= 0 else -1
    tag = _cleaned(text[tag_start + len("<answer>") : close]) if tag_start >= 0 else ""
    if "nswer" in text or "NSWER" in text:
        for mark in reversed(list(_PHRASE.finditer(text))[-MAX_CLAUSES:]):
            if mark.start() < tag_start:
                break
            if _SUPPOSED.search(text, max(0, mark.start() - 60), mark.start()):
                continue
            if not mark["is"]:  # a heading: the answer is the line below
                start = text.rfind("\n", 0, mark.start()) + 1
                if not _MARKUP.fullmatch(text, start, mark.start()):
                    continue
            span, stop = _after(text, mark.end())
            if mark["is"] and (mark["is"].lower().startswith("isn") or _NEGATED.match(span)):
                return None
            if not span:
                continue
            is_final = not _TAKEN_BACK.search(text, stop) and not (mark["is"] == ":" and _works_on(text, span, stop))
            return Committed((span,), "phrase") if is_final else None
    if tag and len(tag) <= MAX_SPAN and not _PLACEHOLDER.fullmatch(tag):
        return Committed((tag,), "tag")
    last = text.rstrip().rpartition("\n")[2].lstrip()
    if last.startswith("A:") and len(last) <= MAX_SPAN:
        span = _cleaned(last[2:])
        if span and not _PLACEHOLDER.fullmatch(span):
            return Committed((span,), "phrase")
    return None


_WORKED_OUT = re.compile(
    r"(?:[^\n]{0,80}\b(?:of|plus|minus|times|divided by)\b[^\n]{0,80}?|[\d\s.,()$]+[-+*/×÷x][-+*/×÷x\d\s.,()$]+?)"
    r",?\s(?:which|that) (?:is|equals|makes|comes to)\s+"
    r"((?:\\?\$)?[-+]?\d[\d,.]*(?:\s?%|\s[A-Za-z]+)?\$?|\$[^$\n]{1,80}\$)\W*",
    re.IGNORECASE,
)
"""A clause that first says how, and then what: `the product of 3 and 5, which is 15`."""


def _works_on(text: str, span: str, stop: int) -> bool:
    """Says whether `Answer:` only begins a worked solution (`Answer: 3 + 4 = 7. Then 7 - 2 = 5.`)."""
    is_alone = not text[stop : _line_end(text, stop)].strip(" \t.*_`$")
    return "=" in text[stop:] and ("=" in span or not is_alone)


def _after(text: str, start: int) -> tuple[str, int]:
    """Returns the clause that begins here, or on the next line with text, cleaned; and where it ends."""
    stop = _line_end(text, start)
    if not text[start:stop].strip(" \t*_`$[\\("):
        fence = _FENCE.match(text, start)
        start = fence.end() if fence else stop
        stop = _line_end(text, start)
    if found := _STOP.search(text, start, stop):
        stop = found.end() if found.group() == "?" else found.start()
    if stop - start > MAX_SPAN:
        return "", stop
    clause = text[start:stop].lstrip("# ")
    if found := _WORKED_OUT.fullmatch(clause):
        clause = found[1]
    correction = _NOT_BUT.match(clause)
    span = _cleaned(_ASIDE.sub("", clause[correction.end() :] if correction else clause, count=1))
    return ("" if _PLACEHOLDER.fullmatch(span) else span), stop


# -- dress --------------------------------------------------------------------------------------

_EMPHASIS = re.compile(r"(?<![\w)])\*\*|\*\*(?![\w(])|`")  # not the `**` of a power: that stands between two words
_HTML = re.compile(r"</?(?:b|i|u|em|strong|code|span|mark)>")
_PAIRS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("*", "*"), ("_", "_"))


def _cleaned(span: str) -> str:
    r"""Takes off the Markdown and the math delimiters around a span, and a final full stop.

    >>> [_cleaned(text) for text in ("**5**.", "`5`", "$5$", r"\(5\).", "$18", "**18** pens", "2**9")]
    ['5', '5', '5', '5', '$18', '18  pens', '2**9']
    """
    if span.isalnum():
        return span
    if "</" in span:
        span = _HTML.sub(" ", span)
    if "*" in span or "`" in span:
        span = _EMPHASIS.sub(" ", span)
    for _ in range(4):
        before = span
        span = span.strip()
        if span.endswith(".") and not span.endswith(".."):
            span = span[:-1].rstrip()
        for left, right in _PAIRS:
            inner = span[len(left) : -len(right)]
            if span.startswith(left) and span.endswith(right) and inner.strip() and left not in inner:
                span = inner.strip()
                break
        if span == before:
            break
    return span
