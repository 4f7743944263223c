"""The words that gateways use for the state of a task: one list for all of them.

Each gateway documents a few words, and its servers are seen to say others. Case, spaces and punctuation do not count.
A word that is not here is `UNRECOGNISED`: neither success nor failure.
"""

from __future__ import annotations

import re

from .protocol import Phase

_WORDS = {
    Phase.QUEUED: (
        "queued queueing queue in_queue pending waiting not_started not_start unstarted created submitted accepted"
        " received scheduled initialized initializing preparing starting throttled new"
    ),
    Phase.RUNNING: (
        "running processing in_progress in_process progress progressing generating rendering working executing active"
        " started ongoing encoding transcoding uploading post_processing finalizing"
    ),
    Phase.SUCCEEDED: "succeeded succeed success successful completed complete finished finish done generated",
    Phase.FAILED: (
        "failed fail failure failing error errored exception crashed cancelled canceled cancel rejected refused denied"
        " aborted abort timeout timed_out terminated killed blocked moderated moderation_failed content_filtered"
        " violation unsuccessful refunded"
    ),
}
_PUNCTUATION = re.compile(r"[\W_]+")
_PREFIX = re.compile(r"(?:task|job|generation)?(?:status|state)?")


def _plain(word: str) -> str:
    return _PUNCTUATION.sub("", word.casefold())


_PHASES = {_plain(word): phase for phase, words in _WORDS.items() for word in words.split()}


def read_phase(said: str) -> Phase:
    """The phase that a gateway's word means, also with a prefix as in `TASK_STATUS_FAILED`."""
    word = _plain(said)
    return _PHASES.get(word) or _PHASES.get(_PREFIX.sub("", word, count=1), Phase.UNRECOGNISED)
