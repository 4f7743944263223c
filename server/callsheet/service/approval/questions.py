"""What a person is asked in their client, for one sheet or several together, and what can come back.

The typed amount is the only yes. Every other answer has its own code, since each leads to another next step. None is a
person's no in the ledger, since a client may answer without a person. After a no the form is not shown again unless
the caller says that the person wants it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum

from callsheet.core.catalogue.prices import dollars
from callsheet.core.consent import Floor, Means, Mode, Need, Policy, amount_to_type, decide_need, text_matches
from callsheet.core.tasks import IllegalEvent, Sheet, SheetEvent, SheetState
from callsheet.errors import Action, NextStep, NotApproved, PolicyRefusal
from callsheet.service.blockers import allowance_for, find_blockers, floor_of, require_caps_together
from callsheet.service.consent import approvable, approve
from callsheet.service.dependencies import Dependencies

ASK = "Ask the user whether they want the clip and what should change."


class Answer(StrEnum):
    """What came back for a form, other than an amount."""

    DECLINED = "declined"
    CANCELLED = "cancelled"
    NO_ANSWER = "no_answer"
    COULD_NOT_ASK = "could_not_ask"
    UNUSABLE = "unusable_form"


MEANINGS: dict[Answer, tuple[str, str]] = {
    Answer.DECLINED: ("the form was declined", f"Stop. {ASK} Do not show the form again unless they want that."),
    Answer.CANCELLED: ("the form was closed without an answer", f"Stop. {ASK}"),
    Answer.NO_ANSWER: ("no answer came in time", f"Stop. {ASK}"),
    Answer.COULD_NOT_ASK: ("the client could not show the form", "The user can still approve it elsewhere."),
    Answer.UNUSABLE: ("the form came back without a usable amount", "The user can still approve it elsewhere."),
}


@dataclass(frozen=True, slots=True)
class Question:
    """What a person is asked about these sheets, and what they must type to agree to all: an amount, or a `name`."""

    sheet_ids: tuple[str, ...]
    text: str
    amount: Decimal
    name: str = ""

    @property
    def amount_text(self) -> str:
        """What to type."""
        return self.name or dollars(self.amount)


def question_for(deps: Dependencies, sheet_ids: Sequence[str], *, ask_again: bool = False) -> Question | None:
    """What to ask a person through their client before these sheets may be spent: one question for their sum.

    None when nothing needs to be asked, when the client's form is not enough for one of them or for the sum, when one
    would be refused all the same, and after a no in the form, unless they want to be asked again.
    """
    policy, asked = deps.policy(), [sheet for sheet_id in sheet_ids if (sheet := undecided(deps, sheet_id))]
    for sheet in asked:
        turned_down = deps.ledger().consent.turned_down(sheet.binding.shot_digest)
        refused = any(blocker.refuses for blocker in find_blockers(deps, sheet))
        if refused or (turned_down and not ask_again) or floor_of(deps, sheet) is Floor.PASSPHRASE:
            return None
    try:
        require_caps_together(deps, asked)
    except PolicyRefusal:
        return None
    total = _sum(asked, policy)
    # One form for a sum that one clip could not be approved with would be a way around the floor.
    is_live = any(sheet.mode is Mode.LIVE for sheet in asked)
    if not asked or (is_live and policy.passphrase_from is not None and total >= policy.passphrase_from):
        return None
    texts = [sheet.shown for sheet in asked]
    if len(texts) > 1:
        texts = [f"{len(texts)} clips, together {dollars(total)} USD.", *texts]
    name = total_to_type(asked, policy) if all(sheet.price.free for sheet in asked) else ""
    return Question(tuple(sheet.id for sheet in asked), "\n\n".join(texts), total, name or "")


def _sum(sheets: Sequence[Sheet], policy: Policy) -> Decimal:
    return sum((amount_to_type(sheet.price, policy) or Decimal(0) for sheet in sheets), Decimal(0))


def total_to_type(sheets: Sequence[Sheet], policy: Policy) -> str | None:
    """What a person types to agree to all of them: the sum, or the names of endpoints where all are free."""
    if all(sheet.price.free for sheet in sheets):
        return " ".join(dict.fromkeys(sheet.binding.gateway for sheet in sheets)) or None
    return dollars(_sum(sheets, policy))


def undecided(deps: Dependencies, sheet_id: str) -> Sheet | None:
    """The sheet, if a person must decide on it and no allowance covers it."""
    sheet = deps.ledger().sheet(sheet_id)
    if sheet is None or sheet.state not in (SheetState.DRAFTED, SheetState.AWAITING_APPROVAL):
        return None
    needless = decide_need(deps.policy(), sheet.mode) is Need.NOTHING or allowance_for(deps, sheet) is not None
    return None if needless else sheet


def approve_typed(
    deps: Dependencies,
    sheet_ids: Sequence[str],
    *,
    typed: str,
    by: Means,
    ask_again: bool = False,
    asked: Question | None = None,
) -> list[Sheet]:
    """Approve these sheets if a person typed exactly the amount shown; raises `NotApproved`.

    Each is its own approval, and those that need none are left as they are. `asked` is what the person was shown: no
    sheet that was not in it is approved, whatever needs an approval by now, and the amount is the one that it shows.
    """
    sheet_ids = asked.sheet_ids if asked else sheet_ids
    question = question_for(deps, sheet_ids, ask_again=ask_again)
    sheets = [approvable(deps, sheet_id) for sheet_id in (question.sheet_ids if question else sheet_ids)]
    if question is None:
        return sheets
    question = replace(asked or question, sheet_ids=question.sheet_ids)
    if not text_matches(typed, question.amount_text):
        raise NotApproved(
            f"The amount typed is not the amount shown ({question.name or f'{question.amount_text} USD'}).",
            next_step=NextStep(
                Action.APPROVE,
                f"The amount to type is {question.amount_text}.",
                target=" ".join(question.sheet_ids),
                home=deps.home,
            ),
            code="wrong_amount",
        )
    return [approve(deps, sheet.id, by=by) for sheet in sheets]


def keep_answer(deps: Dependencies, sheet_ids: Sequence[str], answer: Answer) -> NotApproved:
    """Store what came back for a form that was shown. After a no the sheets are no longer put forward.

    What was approved elsewhere meanwhile stays approved.
    """
    if answer is Answer.DECLINED:
        for sheet_id in sheet_ids:
            with suppress(IllegalEvent):
                deps.ledger().move_sheet(sheet_id, SheetEvent.TURNED_DOWN, now=deps.clock.now())
    return not_approved(deps, sheet_ids, answer)


def not_approved(deps: Dependencies, sheet_ids: Sequence[str], answer: Answer) -> NotApproved:
    """The error after a question without an approval. It never says that a person declined."""
    meaning, advice = MEANINGS[answer]
    step = NextStep(Action.APPROVE, advice, target=" ".join(sheet_ids), home=deps.home)
    return NotApproved(f"Not approved: {meaning}.", next_step=step, code=answer.value)
