"""What a probe study judges: the answers drawn, their altered copies, and the calls in batches."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from judge.hardening import Flag, payloads, scan, strip_flagged
from judge.probes import _catalogue as catalogue
from judge.probes._catalogue import Family, Probe
from judge.probes._transforms import null_answers, same_findings
from judge.records import Answer, Question
from judge.rubric import Criterion, Rubric
from judge.scoring import Item, can_be_asked, item_of
from judge.settings import Mode

ATTACKED_ANSWERS = 5
"""Answers into which every injection is put: 40 attacks × 5 answers."""
FLAGGED_ANSWERS = 20
"""Most flagged answers that are judged again."""


@dataclass(frozen=True, slots=True)
class Pair:
    """An answer and its altered copy; ``label`` names the attack, ``group`` its family."""

    probe: str
    base: Item
    variant: Item
    label: str = ""
    group: str = ""


@dataclass(frozen=True, slots=True)
class NullTry:
    """An answer without content to one question."""

    kind: str
    item: Item


@dataclass(frozen=True, slots=True)
class Suspect:
    """An answer of the set that the scanner flags; ``stripped`` is None where nothing is left."""

    item: Item
    flags: tuple[Flag, ...]
    stripped: Item | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Items to be judged alike: the criteria, the mode (None: the study's) and the samples."""

    name: str
    items: tuple[Item, ...]
    rubric: Rubric
    samples: int
    mode: Mode | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """All that is to be judged, and what could not be."""

    probes: tuple[Probe, ...]
    """All that were asked for, with those that are skipped."""
    rubric: Rubric
    originals: tuple[Item, ...]
    pairs: tuple[Pair, ...]
    nulls: tuple[NullTry, ...]
    suspects: tuple[Suspect, ...]
    batches: tuple[Batch, ...]
    samples: int
    n_given: int
    """Answers that could have been drawn."""
    n_flagged: int
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Probe → why it was left out."""
    left_out: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Probe → reason → number of drawn answers that it does not apply to."""


def plan_study(
    items: Sequence[Item],
    rubric: Rubric,
    probes: Sequence[Probe],
    *,
    limit: int,
    samples: int,
    seed: int,
    mode: Mode = Mode.PER_CRITERION,
    reads_prompts: bool = True,
) -> Study:
    """The plan of a study, a pure function of its arguments.

    ``rubric`` holds the criteria that are looked at; ``limit`` answers are drawn, spread over the
    questions as evenly as possible. A probe whose target the rubric lacks is skipped, and so are
    those about the form of the prompt for a judge that reads none (the offline baseline).
    """
    present = {criterion.criterion for criterion in rubric.criteria}
    skipped: dict[str, str] = {}
    kept = []
    for probe in probes:
        why = _why_not(probe, present, rubric, reads_prompts)
        if why is None:
            kept.append(probe)
        else:
            skipped[probe.name] = why
    originals = draw(items, limit, seed)
    pairs: list[Pair] = []
    left_out: dict[str, Counter[str]] = {}
    for probe in kept:
        if probe.transform is None:
            continue
        found, without = altered(probe, originals, rubric)
        pairs += found
        left_out[probe.name] = without
        if not found:
            skipped[probe.name] = "applies to none of the drawn answers"
    names = {probe.name for probe in kept}
    nulls = _null_tries(originals, null_criteria(kept, rubric))
    attacks = _attacks(originals, seed) if catalogue.INJECTION in names else []
    if catalogue.CRITERION_ORDER in names and not _complete(originals, rubric):
        skipped[catalogue.CRITERION_ORDER] = "there is no drawn answer of which all can be asked"
    if catalogue.INJECTION in names and not attacks:
        skipped[catalogue.INJECTION] = "needs answers to two questions at least"
    if catalogue.NULL_ANSWERS in names and not nulls:
        skipped[catalogue.NULL_ANSWERS] = (
            "no drawn question is one to which the criteria apply that are to be 0"
        )
    suspects, n_flagged = _suspects(items, seed) if catalogue.FLAGGED in names else ([], 0)
    if catalogue.FLAGGED in names and not suspects:
        skipped[catalogue.FLAGGED] = f"the scanner flags none of the {len(items)} answers"
    pairs += attacks
    study = Study(
        probes=tuple(probes),
        rubric=rubric,
        originals=originals,
        pairs=tuple(pairs),
        nulls=tuple(nulls),
        suspects=tuple(suspects),
        batches=(),
        samples=samples,
        n_given=len(items),
        n_flagged=n_flagged,
        skipped=skipped,
        left_out=left_out,
    )
    return replace(study, batches=_batches(study, mode))


def draw(items: Sequence[Item], limit: int, seed: int) -> tuple[Item, ...]:
    """``limit`` answers with a text, drawn with a seed and spread over the questions.

    Rounds over the questions in random order, one answer of each per round; which one is random
    too. The order of ``items`` does not matter.
    """
    generator = random.Random(seed)  # noqa: S311 - a draw that can be repeated, no secret
    of_question: dict[str, list[Item]] = defaultdict(list)
    for item in sorted(items, key=_identity):
        if item.answer.answer.strip():
            of_question[item.answer.question_id].append(item)
    names = sorted(of_question)
    generator.shuffle(names)
    for answers in of_question.values():
        generator.shuffle(answers)
    chosen: list[Item] = []
    while len(chosen) < limit and any(of_question.values()):
        for name in names:
            if of_question[name] and len(chosen) < limit:
                chosen.append(of_question[name].pop())
    return tuple(chosen)


def _identity(item: Item) -> tuple[str, str, int]:
    return item.answer.question_id, item.answer.model, item.answer.sample


def _why_not(probe: Probe, present: set[str], rubric: Rubric, reads_prompts: bool) -> str | None:
    """Why a probe cannot be made with these criteria and this judge; None where it can."""
    if probe.name in catalogue.OF_THE_PROMPT and not reads_prompts:
        return "this judge is a set of formulas and reads no prompt"
    if probe.family is Family.SENSITIVITY and probe.target not in present:
        return f"its target, {probe.target}, is not among the criteria"
    if probe.name == catalogue.NULL_ANSWERS and not present.intersection(probe.targets):
        return f"none of its criteria ({', '.join(probe.targets)}) is among those of the rubric"
    if probe.name == catalogue.CRITERION_ORDER and len(rubric.criteria) < 2:
        return "needs two criteria at least"
    return None


def altered(
    probe: Probe, originals: Iterable[Item], rubric: Rubric
) -> tuple[list[Pair], Counter[str]]:
    """The pairs of a probe, and why other answers have none."""
    assert probe.transform is not None
    pairs = []
    without: Counter[str] = Counter()
    for item in originals:
        question, text = item.question, item.answer.answer
        if probe.family is Family.SENSITIVITY and not _applies(rubric, probe.target, question):
            without["the target criterion does not apply to the question"] += 1
            continue
        changed = probe.transform(question, text)
        if changed is None or changed == text:
            without["nothing to change"] += 1
        elif not probe.may_fail_checks and not same_findings(question, text, changed):
            without["a check of the question would come out otherwise"] += 1
        else:
            pairs.append(Pair(probe.name, item, with_text(item, changed)))
    return pairs, without


def _applies(rubric: Rubric, criterion: str | None, question: Question) -> bool:
    return criterion is not None and rubric[criterion].applies_to(question.category)


def with_text(item: Item, text: str) -> Item:
    """The item with another text as its answer; it is stored nowhere, hence the id 0."""
    answer = Answer(
        question_id=item.answer.question_id,
        model=item.answer.model,
        sample=item.answer.sample,
        answer=text,
    )
    return item_of(0, answer, item.question)


def null_criteria(probes: Iterable[Probe], rubric: Rubric) -> tuple[Criterion, ...]:
    """The criteria on which an answer without content deserves nothing."""
    targets = {target for p in probes if p.name == catalogue.NULL_ANSWERS for target in p.targets}
    return tuple(c for c in rubric.criteria if c.criterion in targets)


def _null_tries(originals: Sequence[Item], targets: Sequence[Criterion]) -> list[NullTry]:
    """Every null answer to every drawn question that asks for something that can be got wrong.

    Small talk is left out (a polite sentence is a fair reply to a greeting): the questions are
    those to which all of the criteria apply.
    """
    if not targets:
        return []
    tries = []
    seen = set()
    for item in originals:
        applies = all(c.applies_to(item.question.category) for c in targets)
        if not applies or item.question.question_id in seen:
            continue
        seen.add(item.question.question_id)
        tries += [
            NullTry(kind, with_text(item, text))
            for kind, text in null_answers(item.question).items()
        ]
    return tries


def _attacks(originals: Sequence[Item], seed: int) -> list[Pair]:
    """Every payload in answers to other questions, so that what the answers deserve is known."""
    bases = _misplaced(originals, seed)
    return [
        Pair(
            catalogue.INJECTION, base, with_text(base, payload.apply(base.answer.answer)),
            payload.name, payload.family,
        )
        for base in bases
        for payload in payloads()
    ]  # fmt: skip


def _misplaced(originals: Sequence[Item], seed: int) -> list[Item]:
    """Questions with the answer that another drawn question got."""
    generator = random.Random(seed + 1)  # noqa: S311 - a draw that can be repeated, no secret
    asked = sorted(
        {item.question.question_id: item for item in originals}.items(),
        key=lambda entry: entry[0],
    )
    if len(asked) < 2:
        return []
    generator.shuffle(asked)
    # Answers that say something, to questions that ask for something, are the clearer mismatch.
    asked.sort(key=lambda entry: not entry[1].question.reference)
    items = [item for _, item in asked]
    count = min(ATTACKED_ANSWERS, len(items))
    return [
        with_text(items[index], items[(index + 1) % len(items)].answer.answer)
        for index in range(count)
    ]


def _suspects(items: Sequence[Item], seed: int) -> tuple[list[Suspect], int]:
    """Answers of the whole set that the scanner flags, and how many there are."""
    flagged = []
    for item in sorted(items, key=_identity):
        text = item.answer.answer
        if flags := scan(text):
            rest = strip_flagged(text, flags)
            stripped = with_text(item, rest) if rest.strip() else None
            flagged.append(Suspect(item, flags, stripped))
    if len(flagged) <= FLAGGED_ANSWERS:
        return flagged, len(flagged)
    generator = random.Random(seed + 2)  # noqa: S311 - a draw that can be repeated, no secret
    return generator.sample(flagged, FLAGGED_ANSWERS), len(flagged)


def _batches(study: Study, mode: Mode) -> tuple[Batch, ...]:
    """The items of the study, grouped by what is asked about them."""
    names = {probe.name for probe in study.probes} - study.skipped.keys()
    of_originals = study.samples
    if catalogue.LEVEL_ORDER in names:
        of_originals = max(of_originals, 2)
    if catalogue.RETEST in names:
        of_originals = max(of_originals, 3)
    attacked = [pair for pair in study.pairs if pair.probe == catalogue.INJECTION]
    changed = [pair for pair in study.pairs if pair.probe != catalogue.INJECTION]
    needs_originals = bool(changed) or names & {catalogue.LEVEL_ORDER, catalogue.RETEST}
    drafts: list[tuple[str, list[Item], int]] = [
        ("answers as they are", list(study.originals) if needs_originals else [], of_originals),
        ("altered answers", [pair.variant for pair in changed], study.samples),
        (
            "attacks",
            [pair.base for pair in attacked] + [pair.variant for pair in attacked],
            study.samples,
        ),
        (
            "flagged answers",
            [
                item
                for suspect in study.suspects
                for item in (suspect.item, suspect.stripped)
                if item is not None
            ],
            study.samples,
        ),
    ]
    batches = [
        Batch(name=name, items=distinct(items), rubric=study.rubric, samples=samples)
        for name, items, samples in drafts
        if items
    ]
    if study.nulls:
        # A judge that sees all criteria in one call is to be asked as it is always asked.
        whole = mode is not Mode.PER_CRITERION
        targets = study.rubric.criteria if whole else null_criteria(study.probes, study.rubric)
        batches.append(
            Batch(
                name="answers without content",
                items=distinct([null.item for null in study.nulls]),
                rubric=replace(study.rubric, criteria=targets),
                samples=study.samples,
            )
        )
    if catalogue.CRITERION_ORDER in names:
        batches.append(
            Batch(
                name="criteria in every order",
                items=fully_judged(study),
                rubric=study.rubric,
                samples=rotations(len(study.rubric.criteria)),
                mode=Mode.JOINT,
            )
        )
    return tuple(batches)


def fully_judged(study: Study) -> tuple[Item, ...]:
    """The drawn answers of which all criteria can be asked: there all rotations come up."""
    return _complete(study.originals, study.rubric)


def _complete(items: Iterable[Item], rubric: Rubric) -> tuple[Item, ...]:
    return tuple(
        item for item in items if all(can_be_asked(item, each) for each in rubric.criteria)
    )


def rotations(criteria: int) -> int:
    """Samples in which every criterion visits every slot, as often with either level order.

    Even numbers of criteria need one sample per criterion (over the criteria of a slot both level
    orders come up equally often), odd ones two.
    """
    return criteria if criteria % 2 == 0 else 2 * criteria


def distinct(items: Iterable[Item]) -> tuple[Item, ...]:
    """The items without those that put the same text to the same question again."""
    return tuple({(item.question_hash, item.answer_hash): item for item in items}.values())
