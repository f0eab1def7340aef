r"""Answer text -> tree: reads LaTeX and plain mathematics, and never evaluates anything.

Everything is bounded before it is built: characters, tokens, nesting, digits. Over a bound, `TooLarge` is raised;
for what is no mathematics, `Unreadable`. Commands that it does not know are refused, never skipped: a formula of which
a part was dropped is another formula.
"""

# ruff: noqa: SIM905  (lists of words are easier to read and to change as text)

import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import takewhile

from reasoner.verifiers.math import tree as t
from reasoner.verifiers.math import units
from reasoner.verifiers.math.spellings import recurring, respelled
from reasoner.verifiers.math.tokens import FUNCTIONS, MAX_CHARS, Token, ascii_math, tokens
from reasoner.verifiers.numerals import NUMBER_WORDS

MAX_DEPTH = 40

_RELATIONS = {"=": "=", "<": "<", ">": ">", "le": "<=", "ge": ">=", "ne": "!=", "approx": "~", "in": "in", "equiv": "="}
_EQUALS = {"=", "~", "in"}
_CLOSES = {"(": ")", "[": "]"}
_END = Token("end", "")
_GREEK = frozenset(
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon phi chi psi omega"
    " Gamma Delta Theta Lambda Xi Sigma Upsilon Phi Psi Omega ell hbar".split()
)
_MARKS = frozenset("overline bar vec hat widehat overrightarrow tilde dot underline".split())
_MATRICES = frozenset("pmatrix bmatrix vmatrix matrix Bmatrix array smallmatrix".split())
_ALIGNED = frozenset("aligned align gathered split".split())
_BLOCKS = _ALIGNED | {"cases"}
_IF = frozenset("if for when where".split())  # before the condition of a case
_NOT_A_FACTOR = frozenset(
    r"} rangle rfloor rceil cup cap setminus pm mp \\ over choose not mid to pmod % & # _ circ $".split()
) | set(_RELATIONS)
"""Commands that stand between values or after them."""
_BASED = re.compile(r"[0-9A-Z]+(?:\.[0-9A-Z]+)?")


_ORDINALS = ("th", "st", "nd", "rd")


def _is_ordinal(token: Token) -> bool:
    return token.kind in ("text", "word") and token.value.lower() in _ORDINALS


def _is_degrees(token: Token) -> bool:
    return token.kind in ("text", "word") and token.value.strip(" .").lower() in ("degrees", "degree", "deg")


class _Parser:
    """Reads tokens by recursive descent: a method for each level of binding, from lists down to single values."""

    def __init__(self, found: Sequence[Token]) -> None:
        self.tokens = [*found, _END]
        self.at = 0
        self.depth = 0
        self.bars = 0

    @property
    def now(self) -> Token:
        return self.tokens[self.at]

    def ahead(self, n: int = 1) -> Token:
        return self.tokens[min(self.at + n, len(self.tokens) - 1)]

    def take(self) -> Token:
        token = self.tokens[self.at]
        self.at += token is not _END
        return token

    def takes(self, kind: str, *values: str) -> bool:
        """Takes the token if it is one of these, and says so."""
        is_it = self.now.kind == kind and self.now.value in values
        self.at += is_it
        return is_it

    def is_op(self, *values: str) -> bool:
        return self.now.kind == "op" and self.now.value in values

    def is_cmd(self, *values: str) -> bool:
        return self.now.kind == "cmd" and self.now.value in values

    def is_word(self, *values: str) -> bool:
        return self.now.kind == "word" and self.now.value.lower() in values

    def expect(self, kind: str, value: str, error: str = "") -> None:
        if not self.takes(kind, value):
            raise t.Unreadable(error or f"{value!r} is missing")

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise t.TooLarge("an answer nested too deeply")

    def first_letter(self) -> str:
        """Takes the first letter of a word, or the first digit of a number, and leaves the others."""
        kind, value, _ = self.take()
        if value[1:]:
            self.tokens.insert(self.at, Token(kind, value[1:]))
        return value[0]

    def after_sign(self, parse: Callable[[], t.Node]) -> t.Node:
        return t.Neg(parse()) if self.take().value == "-" else parse()

    # lists, relations, sets

    def answer(self) -> t.Node:
        node = self.items()
        if self.now is not _END:
            raise t.Unreadable(f"{self.now.value!r} is left over")
        return node

    def items(self) -> t.Node:
        """Reads `a, b and c`; with semicolons, groups of those. Alternatives of different things are no list."""
        self.deeper()
        groups: list[list[t.Node]] = [[self.union()]]
        joints: set[str] = set()
        while self.is_op(",", ";") or self.is_word("and", "or"):
            is_new_group = self.is_op(";")
            last = self.take()
            joints.add(last.value)
            while self.is_op(",") or self.is_word("and", "or"):
                last = self.take()
                joints.add(last.value)
            if self.now is _END or self.closes():
                if last.kind == "word":
                    raise t.Unreadable(f"it breaks off after {last.value!r}")
                break  # a trailing comma
            if is_new_group:
                groups.append([])
            groups[-1].append(self.union())
        self.depth -= 1
        if len(groups) > 1 and any(len(group) > 1 for group in groups):
            return t.List(tuple(t.Seq(tuple(group)) if len(group) > 1 else group[0] for group in groups))
        nodes = [node for group in groups for node in group]
        if joints == {"and"} and all(isinstance(node, t.Rel) and not set(node.ops) <= _EQUALS for node in nodes):
            return t.All(tuple(nodes))
        return _one_or(t.Union if joints == {"or"} and _are_apart(nodes) else t.List, nodes)

    def closes(self) -> bool:
        return (
            self.is_op(")", "]", "}")
            or self.is_cmd("}", "rangle")
            or (self.now.kind == "end" and self.now is not _END)
            or self.is_op("&")
            or self.is_cmd("\\\\")
            or (self.is_op("|") and self.bars > 0)
        )

    def union(self) -> t.Node:
        parts = [self.relation()]
        while self.is_cmd("cup") or (
            self.is_word("u") and isinstance(parts[-1], (t.Seq, t.Union, t.Set)) and self.ahead().value in "([{"
        ):
            self.take()
            parts.append(self.relation())
        match parts:
            case [t.Rel((*sides, side), (*_, "in" | "=") as ops), _, *_]:  # `x \in A \cup B` is about the union
                return t.Rel((*sides, t.Union((side, *parts[1:]))), ops)
        return _one_or(t.Union, parts)

    def relation(self) -> t.Node:
        sides, ops = [self.ratio()], []
        while (self.now.kind in ("op", "cmd") and self.now.value in _RELATIONS) or self.is_cmd("not"):
            is_negated = self.takes("cmd", "not")
            if self.now.value not in _RELATIONS:
                raise t.Unreadable("a relation is missing")
            op = _RELATIONS[self.take().value]
            if op in ("<", ">") and self.takes("op", "="):
                op += "="
            if is_negated and op != "=":
                raise t.Unreadable("a negated relation")
            ops.append("!=" if is_negated else op)
            sides.append(self.ratio())
        return t.Rel(tuple(sides), tuple(ops)) if ops else sides[0]

    def ratio(self) -> t.Node:
        parts = [self.sum()]
        while self.takes("op", ":"):
            parts.append(self.sum())
        node = _one_or(t.Ratio, parts)
        if self.takes("cmd", "pmod"):
            return t.Class(node, self.argument())
        if self.is_modulus():
            self.at += 2
            node = t.Class(node, self.power())
            self.expect("op", ")", "a bracket is not closed")
        return node

    def is_modulus(self) -> bool:
        return self.is_op("(") and self.ahead().value in ("mod", "bmod")

    # arithmetic

    def sum(self) -> t.Node:
        node: t.Node | None = None
        while True:
            sign = None
            if self.is_op("+", "-"):
                sign = self.take().value
                while self.is_op("+", "-"):  # `+ -3`
                    sign = "-" if (self.take().value == "-") != (sign == "-") else "+"
            elif self.is_cmd("pm", "mp", "setminus"):
                sign = self.take().value
            elif node is not None:
                return node
            part = self.product()
            if sign in ("-", "setminus"):
                part = t.Neg(part)
            if sign in ("pm", "mp"):
                node = (t.Pm if sign == "pm" else t.Mp)(node or t.ZERO, part)
            elif node is None:
                if sign == "setminus":
                    raise t.Unreadable("a set is missing")
                node = part
            elif isinstance(node, t.Add) and sign != "setminus":
                node = t.Add((*node.parts, part))
            else:
                node = t.Add((node, part))

    def product(self) -> t.Node:
        node = self.power()
        while True:
            if self.takes("op", "*"):
                node = _times(node, self.signed())
            elif self.takes("op", "/"):
                if self.now.kind == "text" and isinstance(node, t.Unit):
                    node = t.Unit(node.inner, units.unit_name(f"{node.name}/{self.take().value}"))
                else:
                    node = t.Div(node, self.signed())
            elif self.takes("cmd", "bmod", "mod"):
                node = t.Fn((node, self.power()), "mod")
            elif self.is_unit(node):
                node = self.unit(node)
            elif self.takes_degree():
                node = t.Deg(node)
            elif not self.starts_atom() or self.is_modulus():
                return node
            elif self.now.kind == "num" and _ends_in_number(node):
                node = self.mixed(node)
            else:
                node = _times(node, self.power())

    def signed(self) -> t.Node:
        return self.after_sign(self.signed) if self.is_op("-", "+") else self.power()

    def mixed(self, node: t.Node) -> t.Node:
        """Reads `137 1/2`: a whole number, white space, a proper fraction of two numbers."""
        above, slash, below = self.now, self.ahead(1), self.ahead(2)
        match node:
            case t.Num(value) if (
                value.denominator == 1
                and above.is_spaced
                and slash[:2] == ("op", "/")
                and below.kind == "num"
                and above.value.isdecimal()
                and below.value.isdecimal()
                and 0 < int(above.value) < int(below.value)
            ):
                self.at += 3
                return t.Add((node, t.Num(Fraction(int(above.value), int(below.value)))))
        raise t.Unreadable("two numbers side by side")

    def starts_atom(self) -> bool:
        match self.now:
            case "num" | "begin", _, _:
                return True
            case "word", value, _:
                return value.lower() not in ("and", "or")
            case "cmd", value, _:
                return value not in _NOT_A_FACTOR
            case "op", value, _:
                return value in ("(", "[", "{") or (value == "|" and self.bars == 0)
        return False

    def power(self) -> t.Node:
        self.deeper()
        node = self.postfix(self.atom())
        self.depth -= 1
        return node

    def postfix(self, node: t.Node) -> t.Node:
        while True:
            if self.is_op("!") and self.ahead().value != "=":
                self.take()
                node = t.Fact(node)
            elif self.takes("op", "%") or self.takes("cmd", "%"):
                node = t.Pct(node)
            elif self.takes_degree():
                node = t.Deg(node)
            elif self.takes("op", "^"):
                exponent = self.script()
                if not isinstance(exponent, t.Ordinal):
                    node = t.Pow(node, exponent)
            elif isinstance(node, (t.Sym, t.App)) and self.takes("op", "'"):
                node = t.Sym(node.name + "'")
            else:
                return node

    def degree_length(self) -> int:
        """Returns of how many tokens the degree sign (with or without `^` and braces) or word here is; 0: none."""
        kind, value, _ = self.tokens[self.at]
        if kind == "op" and value == "^":
            after = [self.ahead(n)[:2] for n in (1, 2, 3)]
            if after[0] == ("cmd", "circ"):
                return 2
            return 4 if after == [("op", "{"), ("cmd", "circ"), ("op", "}")] else 0
        return int(_is_degrees(self.now) or self.is_cmd("circ"))

    def takes_degree(self) -> bool:
        length = self.degree_length()
        self.at += length
        return length > 0

    def script(self) -> t.Node:
        """Reads what stands after `^`: a group, or one value; of letters only the first."""
        if self.is_op("{"):
            if not _is_ordinal(self.ahead()):
                return self.group()
            self.at += 2
            self.expect("op", "}")
            return t.Ordinal()
        if self.is_op("-", "+"):
            return self.after_sign(self.script)
        if _is_ordinal(self.now):
            self.take()
            return t.Ordinal()
        node: t.Node
        if self.now.kind == "num":  # plain text writes 10^10 and means it; so do models in LaTeX
            node = _literal(self.take().value)
        elif self.now.kind == "word" and len(self.now.value) > 1:
            node = t.Sym(self.first_letter())
        else:
            node = self.atom()
        if self.takes("op", "^"):
            return t.Pow(node, self.script())
        while self.takes("op", "!"):
            node = t.Fact(node)
        return node

    def group(self) -> t.Node:
        """Reads `{…}`, which TeX does not show."""
        self.expect("op", "{")
        node = self.items()
        if self.takes("cmd", "over"):
            node = t.Div(node, self.items())
        elif self.takes("cmd", "choose"):
            node = t.Fn((node, self.items()), "binom")
        self.expect("op", "}")
        return node

    def argument(self) -> t.Node:
        r"""Reads an argument of a TeX command: a group, or one token; of a number, one digit (`\frac34`)."""
        kind, value, _ = self.now
        if kind == "num":
            return _literal(self.first_letter() if value.isdecimal() else self.take().value)
        return t.Sym(self.first_letter()) if kind == "word" and len(value) > 1 else self.atom()

    def atom(self) -> t.Node:
        kind, value, _ = self.now
        if kind == "op" and value in ("(", "[", "{"):
            return self.group() if value == "{" else self.brackets()
        self.take()
        match kind:
            case "num":
                if self.is_op("_"):
                    return self.in_base(value)
                return self.mixed_fraction(value) if self.is_cmd("frac") else _literal(value)
            case "word":
                return self.word(value)
            case "text":
                return self.text(value)
            case "begin":
                return self.block(value)
            case "cmd":
                return self.command(value)
            case "op":
                if value != "|":
                    raise t.Unreadable(f"{value!r} stands where a value should")
                self.bars += 1
                inner = self.items()
                self.bars -= 1
                self.expect("op", "|")
                return t.Abs(inner)
        raise t.Unreadable("a value is missing")

    def in_base(self, digits: str) -> t.Node:
        self.take()
        base = self.script()
        if not isinstance(base, t.Num) or base.value.denominator != 1 or not 2 <= base.value <= 36:
            raise t.Unreadable("a number with an index")
        return t.Based(digits.lstrip("0") or "0", int(base.value))

    def mixed_fraction(self, digits: str) -> t.Node:
        r"""Reads `1\frac{4}{5}`, a mixed number where both parts are plain and the fraction is proper."""
        at, number = self.at, _literal(digits)
        match self.atom():
            case t.Div(t.Num(above), t.Num(below)) as fraction if (
                digits.isdecimal() and above.denominator == below.denominator == 1 and 0 < above < below
            ):
                return t.Add((number, fraction))
        self.at = at
        return number

    def word(self, value: str) -> t.Node:
        if len(value) > 1 and (value.lower() in NUMBER_WORDS or len(value) > 3):
            return self.text(value)
        # letters side by side are a product
        self.tokens[self.at : self.at] = [Token("word", letter) for letter in value[1:]]
        name = value[0]
        if self.takes("op", "_"):
            name += "_" + self.index()
        while self.takes("op", "'"):
            name += "'"
        if self.is_op("(") and value[0] in "fghFGPQWTHRp" and not self.now.is_spaced:
            inner = self.brackets()
            return t.App(inner.parts if isinstance(inner, t.Seq) else (inner,), name)
        return t.Sym(name)

    def text(self, value: str) -> t.Node:
        return self.in_base(value) if self.is_op("_") and _BASED.fullmatch(value) else t.Text(value)

    def index(self) -> str:
        """Reads a subscript as text, spaces and braces left out."""
        if self.takes("op", "{"):
            depth, parts = 1, []
            while depth:
                token = self.take()
                if token is _END:
                    raise t.Unreadable("a brace is not closed")
                depth += (token[:2] == ("op", "{")) - (token[:2] == ("op", "}"))
                if token.value not in "{}":
                    parts.append(token.value)
            return "".join(parts).strip()
        if self.now is _END or self.now.value in ("(", ")"):
            raise t.Unreadable("an index is missing")
        return self.first_letter() if self.now.kind == "word" else self.take().value.strip()

    def brackets(self) -> t.Node:
        opening = self.take().value
        if self.is_op(")", "]"):
            raise t.Unreadable("empty brackets")
        bars, self.bars = self.bars, 0
        node = self.items()
        self.bars = bars
        if not self.is_op(")", "]"):
            raise t.Unreadable("a bracket is not closed")
        closing = self.take().value
        if isinstance(node, t.List):
            return t.Seq(node.parts, opening, closing)
        if closing != _CLOSES[opening]:
            raise t.Unreadable("brackets that do not belong together")
        return t.Paren(node) if isinstance(node, (t.Sym, t.Text)) else node

    def braces(self) -> t.Node:
        r"""Reads `\{…\}` after its first brace: a set, or where a bar stands in it, the condition of one."""
        if self.takes("cmd", "}"):
            return t.Set(())
        bar = self.bar()
        if bar is None:
            found = self.items()
            node: t.Node = t.Set(found.parts if isinstance(found, t.List) else (found,))
        else:
            head = _Parser(self.tokens[self.at : bar]).answer()
            self.at = bar + 1
            condition = self.items()
            match head:
                case t.Sym() | t.Rel((_, t.REALS), ("in",)):
                    node = t.Where(condition)
                case _:
                    node = t.Builder(head, condition)
        self.expect("cmd", "}", "a set is not closed")
        return node

    def bar(self) -> int | None:
        """Returns where the `|` of a set-builder stands: after a symbol, and before a relation."""
        for i in range(self.at, min(self.at + 8, len(self.tokens))):
            match self.tokens[i]:
                case ("op", "|" | ":", _) | ("cmd", "mid", _) if i > self.at:
                    rest = takewhile(lambda token: token[:2] != ("cmd", "}"), self.tokens[i + 1 :])
                    return i if any(token.value in _RELATIONS for token in rest) else None
                case ("op", ",", _):
                    return None
        return None

    def block(self, kind: str) -> t.Node:
        r"""Reads a matrix, a function by cases, or the lines of a system, after its `\begin`."""
        if kind not in _MATRICES | _BLOCKS:
            raise t.Unreadable(f"an unknown block {kind}")
        if kind in _ALIGNED:  # its `&` only sets lines below each other
            end = next(i for i, token in enumerate(self.tokens) if i >= self.at and token.kind == "end")
            self.tokens[self.at : end] = [token for token in self.tokens[self.at : end] if token[:2] != ("op", "&")]
        rows: list[list[t.Node]] = [[]]
        while self.now.kind != "end":
            if self.takes("cmd", "\\\\"):
                rows.append([])
            elif not (self.takes("op", "&", ".") or self.takes("cmd", "hline")):
                if kind == "cases" and self.now.kind in ("text", "word") and self.now.value.lower() in _IF:
                    self.take()
                rows[-1].append(self.items())
        self.take()
        rows = [row for row in rows if row]
        if not rows or len({len(row) for row in rows}) != 1:
            raise t.Unreadable("rows of different lengths")
        if kind in _BLOCKS:
            if len(rows[0]) > (2 if kind == "cases" else 1):
                raise t.Unreadable(f"a block of {kind} in columns")
            kinds = t.Cases if len(rows[0]) == 2 else t.List
            return _one_or(kinds, [cell for row in rows for cell in row])
        return t.Matrix(tuple(cell for row in rows for cell in row), len(rows[0]), kind == "vmatrix")

    # commands

    def command(self, name: str) -> t.Node:
        match name:
            case "frac":
                return t.Div(self.argument(), self.argument())
            case "binom":
                return t.Fn((self.argument(), self.argument()), "binom")
            case "sqrt" | "cbrt":
                index = t.number(3 if name == "cbrt" else 2)
                if name == "sqrt" and self.takes("op", "["):
                    index = self.sum()
                    self.expect("op", "]")
                return t.Root(self.brackets_or_argument(), index)
            case "abs":
                return t.Abs(self.brackets_or_argument())
            case "pi" | "dots":
                return t.Sym(name)
            case "infty":
                return t.Inf()
            case "emptyset":
                return t.Set(())
            case "{":
                return self.braces()
            case "langle":
                node = self.items()
                self.expect("cmd", "rangle", "an angle bracket is not closed")
                return t.Seq(node.parts) if isinstance(node, t.List) else node
            case "lfloor" | "lceil":
                node = self.sum()
                self.expect("cmd", "r" + name[1:])
                return t.Fn((node,), name[1:])
            case "sum" | "prod":
                return self.big(name)
            case "lim" | "int" | "iint" | "oint":
                return self.opaque(name)
            case "mathbb":
                return t.Sym(f"mathbb {_letter(self.argument())}")
            case "angle" | "triangle":
                return t.Sym(f"{name} {self.take().value if self.now.kind == 'word' else self.power()!r}")
            case "mathrm" | "text" | "mathbf":
                return self.argument()
        if name in _MARKS:
            return t.Sym(f"{name} {self.argument()!r}")
        if name in FUNCTIONS:
            return self.function(name)
        if name in _GREEK:
            return t.Sym(f"{name}_{self.index()}" if self.takes("op", "_") else name)
        raise t.Unreadable(f"\\{name} is not known")

    def brackets_or_argument(self) -> t.Node:
        if self.is_op("("):
            return _unwrapped(self.brackets())
        if self.now.kind == "num":  # √13 in plain text; \sqrt13 by TeX would be √1·3
            return _literal(self.take().value)
        return self.argument()

    def big(self, name: str) -> t.Node:
        r"""Reads `\sum_{k=1}^{n} body` after its name."""
        self.expect("op", "_")
        below = self.script()
        self.expect("op", "^")
        above = self.script()
        match below:
            case t.Rel((t.Sym(variable), low), ("=",)):
                return t.Big((low, above, self.product()), name, variable)
        raise t.Unreadable("a sum without an index")

    def opaque(self, name: str) -> t.Node:
        """Takes a limit or an integral, unread: everything up to a relation or a comma."""
        parts, depth = [name], 0
        while self.now is not _END and (
            depth or not (self.closes() or self.is_op(",", ";") or self.now.value in _RELATIONS)
        ):
            depth += (self.now.value in ("(", "[", "{")) - (self.now.value in (")", "]", "}"))
            parts.append(self.take().value)
        return t.Opaque(" ".join(parts))

    def function(self, name: str) -> t.Node:
        power = base = None
        while self.is_op("^", "_") and not self.degree_length():
            if self.take().value == "^":
                power = self.script()
            else:
                base = self.script()
        if self.is_op("("):
            inner = self.brackets()
            arguments = inner.parts if isinstance(inner, t.Seq) else (_unwrapped(inner),)
        elif name in ("gcd", "lcm", "max", "min"):
            raise t.Unreadable(f"{name} without its arguments")
        else:
            arguments = (self.juxtaposed(),)
        if name == "cis" and power is None and base is None:
            return t.Add((t.Fn(arguments, "cos"), t.Mul((t.Sym("i"), t.Fn(arguments, "sin")))))
        if base is not None:
            if name != "log":
                raise t.Unreadable(f"{name} with an index")
            arguments = (*arguments, base)
        if power == t.number(-1) and name in ("sin", "cos", "tan", "cot", "sec", "csc"):
            return t.Fn(arguments, "arc" + name)
        return t.Fn(arguments, name) if power is None else t.Pow(t.Fn(arguments, name), power)

    def juxtaposed(self) -> t.Node:
        """Reads the argument of a function without brackets: factors side by side, up to an operator or a function."""
        if self.is_op("-", "+"):
            return self.after_sign(self.juxtaposed)
        node = self.power()
        while (
            self.starts_atom()
            and not (self.now.kind == "cmd" and self.now.value in FUNCTIONS | {"sum", "prod"})
            and not self.is_op("(", "[", "|")
        ):
            node = _times(node, self.power())
        return node

    # units

    def is_unit(self, node: t.Node) -> bool:
        """Returns whether a word after a value is its unit: never where it changes the value."""
        kind, value, is_spaced = self.now
        if kind not in ("word", "text") or isinstance(node, (t.Text, t.List, t.Rel)):
            return False
        if kind == "text":
            return not _is_degrees(self.now)
        return value in units.SHORT_UNITS or (is_spaced and len(value) > 3)

    def unit(self, node: t.Node) -> t.Node:
        words = []
        while self.now.kind in ("text", "word") and not self.is_word("and", "or"):
            words.append(self.take().value)
        text = " ".join(words).lower().strip(" .,;")
        scale, _, rest = text.partition(" ")
        if scale in units.POWERS:
            node, text = t.Mul((node, t.Num(Fraction(units.POWERS[scale])))), rest
            if not text:
                return node
        if text in ("percent", "per cent", "pct", "%"):
            return t.Pct(node)
        if text in _ORDINALS:
            return node
        if text == "degrees":
            return t.Deg(node)
        if self.takes("op", "^"):
            match self.script():
                case t.Num(power) if power in (1, 2, 3):
                    text += f"^{power}"
                case t.Neg(t.Num(power)) if power in (1, 2, 3):
                    text += f"^-{power}"
                case _:
                    raise t.Unreadable("a power of a unit")
        return t.Unit(node, units.unit_name(text))


def _are_apart(nodes: Sequence[t.Node]) -> bool:
    """Returns whether an `or` between them says another thing than a comma: inequalities, or two unknowns."""
    relations = [node for node in nodes if isinstance(node, t.Rel)]
    unknowns = {node.parts[0] for node in relations if isinstance(node.parts[0], t.Sym)}
    return len(unknowns) > 1 or any(not set(node.ops) <= _EQUALS for node in relations)


def _one_or(kind: Callable[[tuple[t.Node, ...]], t.Node], parts: list[t.Node]) -> t.Node:
    return parts[0] if len(parts) == 1 else kind(tuple(parts))


def _times(node: t.Node, factor: t.Node) -> t.Node:
    return t.Mul((*node.parts, factor) if isinstance(node, t.Mul) else (node, factor))


def _unwrapped(node: t.Node) -> t.Node:
    return node.inner if isinstance(node, t.Paren) else node


def _ends_in_number(node: t.Node) -> bool:
    while isinstance(node, (t.Mul, t.Add, t.Neg, t.Div)):
        node = node.children()[-1]
    return isinstance(node, (t.Num, t.Based))


def _literal(text: str) -> t.Num:
    return t.Num(Fraction(text), text if "." in text and "e" not in text.lower() else "")


def _letter(node: t.Node) -> str:
    match node:
        case t.Sym(name) | t.Text(name):
            return name
        case t.Num(value):
            return str(value)
    return repr(node)


# -- the whole -----------------------------------------------------------------------------------

_TIME = re.compile(
    r"(?:([A-Za-z]+day),?\s+)?(\d{1,2}):([0-5]\d)(?::([0-5]\d))?\s*(?:\\?[ ,])*(?:\\(?:text|mbox|mathrm)\s*\{)?\s*"
    r"([ap])?\.?\s*(m)?\.?\s*\}?",
    re.IGNORECASE,
)
_WORDS = re.compile(r"[A-Za-z][A-Za-z'\- ,.()/:]*|[A-Za-z]{3,}(?: (?:[A-Za-z'-]+|\d{1,4})[.,]?)+")
_CONDITION = re.compile(
    r"\s*+[,;]?\s*+(?:\\q?quad\s*+)*(?:\\text\s*+\{\s*+,?\s*+(?:where|for|with)[a-z ]*\}|\bwhere\b|\bfor\b)?"
    r"\s*+\(?\s*+(?P<name>[klmn])\s*+\\in\s*+\\(?:mathbb|mathbf|Bbb)\s*+\{?(?P<set>[ZN])\}?\s*+\)?$"
)
"""At the end of an answer: over which whole numbers its parameter runs."""
_FOR_ALL = re.compile(
    r"(?<=[^\s,;])[,;]?\s*+(?:\\q?quad\s*+)*(?:\\text\s*+\{\s*+)?for (?:all|every) (?:real )?(?:\}\s*+)?"
    r"[a-z]\}?(?:\s*+\\in\s*+\\mathbb\s?\{?R\}?)?$"
)
"""At the end of an answer: that it holds for every value of its variable."""
_LOOSE_START = re.compile(r"(?:\\approx|\\sim|=|:)\s*")
_LOOSE_END = re.compile(r"(?:[.,;\\]|\s)++$")
_MINUS = re.compile(r"(?:(?:negative|minus)\s+|\\text\s*\{\s*(?:negative|minus)\s*\}\s*)(?=[$\d.\\])", re.IGNORECASE)
_DRESS = re.compile(r"\\(?:text\w*|mbox|mathrm|mathbf)\s*\{([^{}]*)\}")
_ARITHMETIC = (t.Mul, t.Add, t.Neg, t.Div, t.Pow, t.Root, t.Abs, t.Fact, t.Fn)


def strip(text: str) -> str:
    """Returns an answer without its delimiters, final stop and outer white space."""
    text = text.replace("\\(", " ").replace("\\)", " ").replace("\\[", " ").replace("\\]", " ").replace("\x00", " ")
    text = re.sub(r"(?<!\\)\$\$?", " ", text).strip()
    loose = _LOOSE_START.match(text)
    return _LOOSE_END.sub("", text[loose.end() :] if loose else text)


def read(text: str, *, commas: bool = True) -> t.Node:
    """Returns the tree of an answer; raises `Unreadable` or `TooLarge`. `commas` is as for `tokens`."""
    if len(text) > MAX_CHARS:
        raise t.TooLarge(f"an answer of {len(text):,} characters")
    text = strip(recurring(ascii_math(text)))
    if not text:
        raise t.Unreadable("nothing")
    condition = _CONDITION.search(text)
    if condition and condition.start():
        return t.Given(read(text[: condition.start()], commas=commas), condition["name"], condition["set"])
    text = respelled(_MINUS.sub("-", _FOR_ALL.sub("", text)))
    dressed = _DRESS.fullmatch(text)
    if time := _TIME.fullmatch(dressed[1].strip() if dressed else text):
        half = (time[5] or "").lower()
        return t.Time(int(time[2]), time[3], time[4] or "", half if time[6] or not half else "?")
    try:
        node = _tidy(_Parser(tokens(text, commas=commas)).answer())
        if any(
            isinstance(part, t.Text) for one in t.walk(node) if isinstance(one, _ARITHMETIC) for part in one.children()
        ):
            raise t.Unreadable("words in a formula")
        return node
    except t.Unreadable:
        words = _plain_words(text)
        if words is None:
            raise
        return _tidy(t.Text(words))
    except RecursionError:
        raise t.TooLarge("an answer nested too deeply") from None


def _tidy(node: t.Node) -> t.Node:
    """Returns the tree without brackets around symbols and words; a capital letter in brackets is a choice."""
    match node:
        case t.Paren(t.Sym(name)) if re.fullmatch("[A-Z]", name):
            return t.Text(f"({name})")
        case t.Paren(inner):
            return _tidy(inner)
        case t.Matrix():
            return node
        case t.Text(words) if words.lower() in ("all real numbers", "all reals", "all real x", "every real number"):
            return t.REALS
        case t.Text(words) if words.lower().startswith("no ") and words.lower().endswith("solutions"):
            return t.Text(words[:-1])
    return node.map(_tidy)


def _plain_words(text: str) -> str | None:
    """Returns the words of an answer that is text and nothing else; None where mathematics stands in it."""
    text = re.sub(r"\\(?:text\w*|mbox|mathrm|mathbf|mathit|emph|textbf)\s*\{([^{}]*)\}", r" \1 ", text)
    text = " ".join(re.sub(r"\\[ ,;!:]|~|\{|\}", " ", text).split())
    return text if _WORDS.fullmatch(text) else None
