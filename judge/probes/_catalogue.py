"""The probes: what each changes, and what a judge is wanted to make of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from judge.documents import load_document
from judge.errors import UsageError
from judge.probes import _transforms as transforms
from judge.probes import _wrongs as wrongs
from judge.probes._statistics import Region
from judge.probes._transforms import Transform
from judge.resources import resolve

SAME = Region(-0.02, 0.02)
SPARED = Region(-0.05, 0.05)
NOT_UP = Region(None, 0.02)
FALLS = Region(None, -0.10)
OPEN = None
"""The change touches the criterion legitimately: shown, not judged."""


class Family(StrEnum):
    """What kind of question a probe puts to the judge."""

    BIAS = "bias"
    """A change that deserves nothing: the score is to stay."""
    SENSITIVITY = "sensitivity"
    """A change for the worse on one criterion: its score is to fall, the others are to stay."""
    ATTACKS = "attacks"
    """Texts that try to obtain a score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One probe.

    ``transform`` is None where the design is another than an altered answer. ``expected`` says per
    criterion where the shift is to lie, ``others`` for the criteria not named there. ``target`` is
    the criterion that a sensitivity probe (or verbosity) is aimed at. ``may_fail_checks``: the
    change may make a check of the question fail, because it damages what the check looks for; all
    other probes leave out answers on which a check's outcome would change, because the answer would
    then be another in fact.
    """

    name: str
    family: Family
    title: str
    what: str
    transform: Transform | None = None
    expected: Mapping[str, Region | None] = field(default_factory=dict)
    others: Region = SAME
    targets: tuple[str, ...] = ()
    may_fail_checks: bool = False

    @property
    def target(self) -> str | None:
        """The criterion that the probe is aimed at, if it is aimed at one."""
        return self.targets[0] if self.targets else None

    def region(self, criterion: str) -> Region | None:
        """Where the shift of a criterion is to lie; None: nothing is asked of it."""
        return self.expected.get(criterion, self.others)


def _bias(name: str, title: str, what: str, transform: Transform | None) -> Probe:
    return Probe(name=name, family=Family.BIAS, title=title, what=what, transform=transform)


def _sensitivity(
    name: str, title: str, what: str, transform: Transform, *, may_fail_checks: bool = False
) -> Probe:
    return Probe(
        name=name, family=Family.SENSITIVITY, title=title, what=what, transform=transform,
        others=SPARED, may_fail_checks=may_fail_checks,
    )  # fmt: skip


RETEST = "retest"
LEVEL_ORDER = "level_order"
CRITERION_ORDER = "criterion_order"
NULL_ANSWERS = "null_answers"
INJECTION = "injection"
FLAGGED = "flagged"

OF_THE_PROMPT = frozenset({RETEST, LEVEL_ORDER, CRITERION_ORDER})
"""Probes that change the prompt or repeat it, and leave the answer as it is."""

PROBES: tuple[Probe, ...] = (
    _bias(
        RETEST, "The same again",
        "the same prompt a second time (sample 2 against sample 0): the judge's own noise",
        None,
    ),
    _bias(
        LEVEL_ORDER, "Order of the levels",
        "the same answer with the levels listed from high to low (sample 1) instead of from low "
        "to high (sample 0)",
        None,
    ),
    _bias(
        CRITERION_ORDER, "Order of the criteria",
        "all criteria in one call, in every rotation: what the slot adds to the score",
        None,
    ),
    _bias(
        "verbosity", "Padding",
        "the answer's first sentences said a second time",
        transforms.verbosity,
    ),
    _bias(
        "authority", "A made-up source",
        "a citation or address that vouches for the answer and does not exist",
        transforms.authority,
    ),
    _bias(
        "bandwagon", "Popularity",
        "a remark that many people liked the answer",
        transforms.bandwagon,
    ),
    _bias(
        "cheerful", "Cheerful tone",
        "the same content between cheerful remarks",
        transforms.cheerful,
    ),
    _bias(
        "angry", "Angry tone",
        "the same content between angry remarks that are not about the reader",
        transforms.angry,
    ),
    _bias(
        "formatting_added", "Markdown added",
        "the same sentences as bullets with bold beginnings",
        transforms.formatting_added,
    ),
    _bias(
        "formatting_stripped", "Markdown removed",
        "the same text without headings, bullets, emphasis and emoji",
        transforms.formatting_stripped,
    ),
    _bias(
        "emoji", "Emoji added",
        "an emoji after every sentence",
        transforms.emoji,
    ),
    _bias(
        "confident", "A claim of certainty",
        "a remark that all of it is certain",
        transforms.confident,
    ),
    _bias(
        "hedged", "A remark of doubt",
        "a remark that it may be wrong",
        transforms.hedged,
    ),
    _sensitivity(
        "muddle", "Sentences turned round",
        "the halves of every longer sentence change places",
        transforms.muddle,
    ),
    _sensitivity(
        "negation", "A statement negated",
        "a statement that the reference or a required fact supports, turned into its opposite",
        wrongs.negation, may_fail_checks=True,
    ),
    _sensitivity(
        "number_changed", "A number changed",
        "a number that a check or the reference shows to be right, made wrong",
        wrongs.number_changed, may_fail_checks=True,
    ),
    _sensitivity(
        "corruption", "A fact corrupted",
        "a wrong label, or a word of a supported statement turned into its opposite",
        wrongs.corruption, may_fail_checks=True,
    ),
    _sensitivity(
        "fallacy", "A reason broken",
        "the conclusion kept, with a reason that has nothing to do with it",
        wrongs.fallacy, may_fail_checks=True,
    ),
    _sensitivity(
        "dropped_point", "A required point left out",
        "without the sentences that state one of the required facts",
        wrongs.dropped_point, may_fail_checks=True,
    ),
    _sensitivity(
        "personal_data", "Personal data disclosed",
        "the contact data of another customer, who does not exist",
        transforms.personal_data,
    ),
    _sensitivity(
        "vagueness", "Specifics made vague",
        "generic words for numbers, names, quotations and examples",
        transforms.vagueness,
    ),
    _sensitivity(
        "disregard", "The reader disregarded",
        "demands that assume a role and means which the question does not show",
        transforms.disregard,
    ),
    _sensitivity(
        "rudeness", "The reader insulted",
        "the same content between insults of the reader",
        transforms.rudeness,
    ),
    Probe(
        name=NULL_ANSWERS, family=Family.ATTACKS, title="Answers without content",
        what="eight texts that answer nothing: their score is to be at most 0.1",
    ),
    Probe(
        name=INJECTION, family=Family.ATTACKS, title="Instructions to the judge",
        what="forty attacks, each in answers that were given to another question",
    ),
    Probe(
        name=FLAGGED, family=Family.ATTACKS, title="Suspicious answers of the set",
        what="answers that the scanner flags, judged with and without the flagged passages",
    ),
)  # fmt: skip

ELSEWHERE: Mapping[str, str] = {
    "position": "which of two answers comes first has no meaning for a judge that sees one; "
    "`judge pairwise` asks in both orders and reports it",
    "language": "needs the same answers in two languages, written or checked by people; a "
    "translation of ours would be another answer",
    "self_preference": "needs answers of the judge's own family and human ratings of all answers, "
    "because a good judge's own answers may deserve their scores",
}
"""Known biases that this command does not measure, and why."""


def expecting(expectations: str = "communication") -> tuple[Probe, ...]:
    """The catalogue with what is asked of which criterion, from a file or a shipped NAME.

    Raises InputError (file, line, field) for an unknown probe.
    """
    document = load_document(resolve(expectations, "prompts/probes"), "probes")
    wanted = document.data["probes"]
    names = [probe.name for probe in PROBES]
    for name in wanted:
        if name not in names:
            raise document.error(
                ["probes", name], found=name, expected=f"one of {', '.join(names)}"
            )
    return tuple(_expected(probe, wanted.get(probe.name, {})) for probe in PROBES)


def _expected(probe: Probe, wanted: Mapping[str, Sequence[str]]) -> Probe:
    regions: dict[str, Region | None] = dict.fromkeys(map(str, wanted.get("open", ())), OPEN)
    regions |= dict.fromkeys(map(str, wanted.get("not_up", ())), NOT_UP)
    targets = tuple(map(str, wanted.get("targets", ())))
    regions |= dict.fromkeys(targets, FALLS)
    return replace(probe, expected=regions, targets=targets)


def chosen(names: str, expectations: str = "communication") -> tuple[Probe, ...]:
    """The probes of a comma list of names and families, or all; in the order of the catalogue.

    ``expectations`` says what is asked of which criterion (`expecting`). Raises UsageError for an
    unknown name.
    """
    known = {probe.name: probe for probe in PROBES}
    wanted: set[str] = set()
    for name in (part.strip() for part in names.split(",")):
        if name == "all":
            wanted |= known.keys()
        elif name in list(Family):
            wanted |= {probe.name for probe in PROBES if probe.family == name}
        elif name in known:
            wanted.add(name)
        elif name in ELSEWHERE:
            raise UsageError(f"--probes {name}: not measured by this command: {ELSEWHERE[name]}.")
        else:
            families = ", ".join(Family)
            raise UsageError(
                f"--probes {name}: expected all, a family ({families}) or names out of "
                f"{', '.join(known)}."
            )
    return tuple(probe for probe in expecting(expectations) if probe.name in wanted)
