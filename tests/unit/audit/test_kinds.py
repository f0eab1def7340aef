"""What the rules make is certain, applies, and convicts a verifier of one's own that reads numbers out of any text."""

import re
from collections import Counter

import pytest

from reasoner import files
from reasoner.audit import audit, hostile, kinds, render
from reasoner.audit.results import Tally
from reasoner.audit.rewrites import Reference, about_another, number_in
from reasoner.problems.problem import Problem
from reasoner.verifiers import registry
from reasoner.verifiers.registry import Verifier
from reasoner.verifiers.score import Score

NUMBERS = ["0", "1", "12", "-12", "64", "1500", "2.5", "3/4", "1/3"]
ANSWERS = {
    "number": [*NUMBERS, "$5", "5 km"],
    "number-lenient": [*NUMBERS, "$5", "5 km"],
    "math": [
        *NUMBERS, "0,1", "0.1", r"\$5", r"5\text{ km}", r"60\text{ inches}", r"\text{(A)}", r"17\%", "[2,5)", "[0,4]",
        r"(-\infty,0]\cup[4,\infty)", r"[-3,\infty)", r"\frac{7}{11}", r"1 + \sqrt[3]{2}", "x^2+1", "(3,-1)",
    ],
}  # fmt: skip


def reference(text, type_="integer"):
    return Reference("p0", text, text, type_, number_in(text))


def made(rule, text, type_="integer", contract="math"):
    found = list(rule(reference(text, type_), contract))
    return {one.text for one in found if one.is_same}, {one.text for one in found if not one.is_same}


def problems(*answers):
    return [Problem(f"p{at}", "?", answer) for at, answer in enumerate(answers)]


@pytest.fixture
def audited(monkeypatch):
    """Audits without the parts that start processes; a function of one's own, or a verifier by its name."""
    for name in ("bombs", "canary"):
        monkeypatch.setattr(hostile, name, lambda checker, *_, name=name: Tally(name).check())

    def run(checker, *answers):
        if not isinstance(checker, Verifier):
            function = checker
            checker = Verifier("mine.py:own", "1", lambda *texts: Score("right" if function(*texts) else "wrong"))
        return audit.run(checker, problems(*answers), "mine")

    return run


def named(found):
    return {check.name: check for check in found.checks}


# -- the rules -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "text", "type_", "same", "other"),
    [
        (kinds._connectives, "[2,5)", "interval",
         {r"x \ge 2 \land x < 5", r"x \ge 2 \text{ and } x < 5"},
         {r"x \ge 2 \lor x < 5", r"x \ge 2 \text{ or } x < 5"}),
        (kinds._connectives, r"(-\infty,0] \cup [4,\infty)", "interval",
         {r"x \le 0 \lor x \ge 4", r"x \le 0 \text{ or } x \ge 4"},
         {r"x \le 0 \land x \ge 4", r"x \le 0 \text{ and } x \ge 4"}),
        (kinds._connectives, "(2,5)", "tuple", set(), set()),
        (kinds._connectives, r"[0,\pi)", "interval", set(), set()),
        (kinds._connectives, "[5,2]", "interval", set(), set()),
        (kinds._commas, "0,1", "list", set(), {"0.1"}),
        (kinds._commas, "0.1", "decimal", {"0,1"}, {"0, 1"}),
        (kinds._commas, "0.125", "decimal", set(), {"0, 125"}),
        (kinds._units, r"\$5", "integer", {"5", r"5 \text{ dollars}"},
         {r"5 \text{ cents}", r"5 \text{ euros}", r"5 \text{ km}", "€5"}),
        (kinds._units, r"\$0", "integer", {"0", r"0 \text{ dollars}"}, set()),
        (kinds._units, r"5\text{ pens}", "integer", set(), set()),
        (kinds._roots_within, r"1 + \sqrt[3]{2}", "expression", {r"1 + (-\sqrt[3]{-2})"}, {r"1 + \sqrt[3]{-2}"}),
        (kinds._roots_within, r"\sqrt[4]{2}", "expression", set(), set()),
        (kinds._roots_within, r"\sqrt[3]{2}^2", "expression", set(), set()),
        (kinds._roots_within, r"\cos \sqrt[3]{2}", "expression", set(), set()),
        (kinds._letters, r"\text{(A)}", "text", {r"\textbf{(A)}\ 987654"}, {r"\textbf{(B)}\ 987654", "987654"}),
        (kinds._letters, "A", "expression", set(), set()),
        (kinds._intervals, r"(-\infty,3]", "interval",
         {r"]-\infty, 3]", r"(-\infty, 2) \cup [2, 3]"}, {r"]-\infty, 3[", r"(-\infty, 2) \cup (2, 3]"}),
        (kinds._recurring, r"\frac{4}{3}", "rational", {r"1.\overline{3}", r"1.3333\ldots"},
         {"1.333", r"2.\overline{3}"}),
        (kinds._recurring, "3/4", "rational", set(), set()),
        (kinds._functions, "x^2+1", "expression", {"f(x) = x^2+1"}, {"f(x) = x^2+1 + 1"}),
        (kinds._functions, "ax+1", "expression", set(), set()),
        (kinds._sentences, "-3", "integer", set(), set()),
    ],
)  # fmt: skip
def test_a_rule_makes_what_is_certain_and_nothing_where_it_does_not_apply(rule, text, type_, same, other):
    assert made(rule, text, type_) == (same, other)


def test_a_clause_says_what_it_comes_to():
    same, other = made(kinds._clauses, "15")
    assert same == {"The answer is the sum of $12$ and $3$, which is $15$."}
    assert "The answer is the sum of $3$ and $15$, which is $18$." in other
    assert "The answer is any number except 15." in other


def test_a_percent_sign_is_dress_for_number_only():
    assert made(kinds._percents, "75", contract="number") == ({"75%"}, {"75 percent", "0.75%"})
    assert made(kinds._percents, "75", contract="own") == (set(), {"0.75%"})


@pytest.mark.parametrize("name", list(ANSWERS))
def test_the_verifiers_that_ship_hold(audited, name):
    found = audited(registry.load(name), *ANSWERS[name])
    assert found.unjudged == []
    assert found.failed == []
    beyond = {key: cell for check in found.checks if not check.must_hold for key, cell in check.by_family.items()}
    assert beyond == {}


def test_each_rule_has_its_share_of_the_references():
    many = [Reference(str(at), str(at), str(at), "integer", number_in(str(at))) for at in range(1, 400)]
    rare = [Reference("r", r"17\%", r"17\%", "percent", None)]
    cases = [case for case, _ in kinds.by_rule([*many, *rare], str, "math")]
    per_kind = Counter(kind for kind, _ in {(case.kind, case.id) for case in cases})
    assert per_kind["odd roots"] == kinds.EACH
    assert per_kind["percent"] == kinds.EACH + 1
    assert cases == [case for case, _ in kinds.by_rule([*many, *rare], str, "math")]


# -- a verifier of one's own -----------------------------------------------------------------------


def last(completion, answer):
    return re.findall(r"-?\d+(?:\.\d+)?", completion)[-1:] == [answer]


def first(completion, answer):
    found = re.search(r"-?\d+(?:\.\d+)?", completion)
    return found is not None and found[0] == answer


@pytest.mark.parametrize("check", [last, first])
def test_a_number_out_of_any_text_is_no_reward_and_the_example_convinces(audited, check):
    found = audited(check, "12", "7", "1500")
    assert not found.holds
    near = named(found)["near misses that must fail"]
    assert near.by_kind["another answer"].failed == 0
    assert near.by_kind["sentences that state nothing"].failed > 0
    told = "\n".join(render.lines(found))
    assert re.search(r"must fail p\d \(denied\): reference '\d+', completion 'The answer is not \d+\.' is right", told)
    assert "completion 'But 7 is impossible.' is right" in told
    assert "does not hold: it must not be a reward: near misses that must fail" in told


def test_what_does_not_judge_by_the_number_is_accused_of_nothing(audited):
    """`But 4 is impossible.` has four words, whatever number stands there."""

    def words(completion, answer):
        return len(completion.split()) == int(answer)

    function = Verifier("mine.py:words", "1", lambda *texts: Score("right" if words(*texts) else "wrong"),
                        lambda answer: " ".join(["word"] * int(re.sub(r"\D", "", answer) or 0)))  # fmt: skip
    found = named(audited(function, "4", "5", "40"))
    near = found["near misses that must fail"]
    assert near.by_kind["sentences that state nothing"].failed == near.by_kind["denied or taken back"].failed == 0
    assert found["near misses that must fail, not promised"].by_family["impossible"].failed == 1


def test_another_number_has_as_many_digits():
    for text in ("0", "8", "9", "12", "98", "-1", "2.5", "3/4"):
        one = reference(text)
        other = about_another(one)
        assert other.value == number_in(other.text) != one.value
        if one.value.denominator == 1:
            assert len(other.text) == len(text)


# -- the report ------------------------------------------------------------------------------------


def test_the_report_is_by_kind_with_one_example_escaped(audited):
    found = audited(lambda completion, answer: answer in completion, "\x1b[31m12", "7")
    told = render.lines(found)
    rows = [line for line in told if re.match(r"  another answer +\d+ +\d+", line)]
    assert len(rows) == 1
    assert not any("\x1b" in line for line in told)
    value = files.as_json(found)
    (near,) = [check for check in value["checks"] if check["name"] == "near misses that must fail"]
    assert near["by_kind"]["another answer"]["n"] > 0
    assert near["examples"][0]["kind"] in near["by_kind"]
    assert files.parse(audit.Audit, value) == found


def test_each_kind_that_fails_has_its_example(audited):
    found = audited(first, *map(str, range(100, 160)))
    near = named(found)["near misses that must fail"]
    failing = {kind for kind, cell in near.by_kind.items() if cell.failed}
    assert len(failing) >= 4
    assert [one.kind for one in near.examples[: len(failing)]] == [kind for kind in near.by_kind if kind in failing]
