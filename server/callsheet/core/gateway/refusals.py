"""What a gateway's refusal is about, from its status, its code and its words. Pure; never decides about money."""

from __future__ import annotations

import re
from enum import StrEnum

_LACKING = r"(?:insufficient|not enough|too (?:low|few|little)|exhausted|exceeded|used up|depleted|out of|no more)"
_FUNDS = r"(?:credits?|balance|funds?|quota|money)"
_BALANCE = re.compile(
    rf"{_LACKING}\W.{{0,40}}?\b{_FUNDS}|\b{_FUNDS}\b.{{0,40}}?\W{_LACKING}"
    r"|payment required|top[ -]?up|recharge|\u4f59\u989d\u4e0d\u8db3|\u79ef\u5206\u4e0d\u8db3"
)
_KEY = re.compile(r"unauthori[sz]ed|authentication|(?:invalid|incorrect|missing|expired).{0,20}\b(?:api.?key|token)")
_ACCESS = re.compile(r"permission denied|access denied|forbidden")
_RATE = re.compile(r"rate.?limit|too many requests")


class Reason(StrEnum):
    """What a refusal is about. `SHOT` is the rest: the request itself, as far as is known."""

    BALANCE = "balance"
    KEY = "key"
    ACCESS = "access"
    RATE = "rate"
    SIZE = "size"
    MOVED = "moved"
    SHOT = "shot"


_BY_NUMBER = {
    402: Reason.BALANCE,
    401: Reason.KEY,
    403: Reason.ACCESS,
    429: Reason.RATE,
    413: Reason.SIZE,
    307: Reason.MOVED,
    308: Reason.MOVED,
}


def read_reason(status: int, code: str, words: str) -> Reason:
    """What a refusal is about. Words about the balance count more than a number: many gateways send them with 400."""
    text = re.sub(r"_+", " ", f"{code} {words}").lower()
    if _BALANCE.search(text):
        return Reason.BALANCE
    body = int(code) if re.fullmatch(r"[1-5][0-9]{2}", code) else 0
    if found := _BY_NUMBER.get(status) or _BY_NUMBER.get(body):
        return found
    if _KEY.search(text):
        return Reason.KEY
    if _ACCESS.search(text):
        return Reason.ACCESS
    return Reason.RATE if _RATE.search(text) else Reason.SHOT


ADVICE = {
    Reason.BALANCE: "Top up the account at the gateway. The shot needs no change.",
    Reason.KEY: "Check that the gateway's key is valid. The shot needs no change.",
    Reason.ACCESS: "Ask at the gateway what this key and account may use.",
    Reason.RATE: "Wait until the gateway accepts requests again, then draft a new take.",
    Reason.SIZE: "Make the request smaller: a shorter prompt or another image address.",
    Reason.MOVED: "Check the gateway's address in the policy: it answers that it has moved.",
}
NO_REASON_GIVEN = "The gateway gives no reason. Compare the shot with the model's rules, or ask the gateway's support."
