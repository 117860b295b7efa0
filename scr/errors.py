"""Every error SCR raises on purpose.

ScrError                     exit 1  HTTP 500
├── InvalidInput             exit 2  HTTP 422  an argument, fact, query or setting cannot be used
│   ├── PackInvalid          exit 2  HTTP 422  lines of a fact pack cannot be used
│   └── UndeclaredRelation   exit 2  HTTP 422  a closed store does not know this relation
├── FactNotFound             exit 3  HTTP 404  no fact has this id
├── TraceNotFound            exit 3  HTTP 404  no trace has this id
├── KeyNotFound              exit 3  HTTP 404  no key in force has this id
├── PersonNotFound           exit 3  HTTP 404  nobody of this name may sign in
├── ChecksFailed             exit 1  HTTP 409  test questions of facts fail
├── KeyRequired              exit 4  HTTP 401  the request shows no key in force
├── SignInRefused            exit 4  HTTP 401  name and password do not belong together
├── KeyForbids               exit 4  HTTP 403  the request's key does not allow this
├── RequestTooLarge          exit 5  HTTP 413  a request has more bytes than the server takes
├── RequestTooSlow           exit 5  HTTP 408  a request's body did not arrive in time
├── TooManyRequests          exit 5  HTTP 429  a limit on requests is reached
├── DecisionFailed           exit 5  HTTP 503  no decision, and the server is set to refuse then
├── FactConflict             exit 4  HTTP 409  two approved facts fill one slot at one time
├── TransitionRefused        exit 4  HTTP 409  a fact's status does not allow this move
├── OwnProposal              exit 4  HTTP 403  one's own proposal needs somebody else's approval
├── StoreError               exit 5  HTTP 500  the store cannot be read or written
│   ├── StoreMissing         exit 5  HTTP 500  there is no store at this path
│   ├── StoreExists          exit 5  HTTP 409  there already is a store at this path
│   ├── StoreCorrupt         exit 5  HTTP 500  the file is no readable store
│   ├── StoreTooNew          exit 5  HTTP 500  a newer version of SCR wrote this store
│   └── StoreBusy            exit 5  HTTP 503  another process kept the store locked too long
├── ModelUnavailable         exit 6  HTTP 503  a model cannot be loaded
├── ModelNotEditable         exit 2  HTTP 422  an editor cannot change weights of this model
├── EditFailed               exit 1  HTTP 500  an edit came out unusable; the model is as it was
├── EditOrder                exit 4  HTTP 409  another change lies above the edit to be undone
├── MissingExtra             exit 6  HTTP 503  a package of an extra is not installed
└── UpstreamError            exit 7  HTTP 502  the wrapped chat model failed
"""

from collections.abc import Sequence
from typing import ClassVar


class ScrError(Exception):
    """Base of every error SCR raises on purpose; catch this one at the edges."""

    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500


class InvalidInput(ScrError):
    """What the caller gave cannot be used; the message says what would do."""

    exit_code = 2
    http_status = 422


class PackInvalid(InvalidInput):
    """Lines of a fact pack cannot be used."""

    def __init__(
        self, path: str, problems: Sequence[tuple[int, str]], *, kept: int | None = None
    ) -> None:
        """Name the problems; `kept` counts the lines taken all the same, if any were to be."""
        self.path, self.problems, self.kept = path, tuple(problems), kept
        lines = "\n".join(f"  line {number}: {reason}" for number, reason in self.problems[:20])
        more = f"\n  … and {len(problems) - 20} more" if len(problems) > 20 else ""
        outcome = (
            "nothing was taken; mend them, or pass --keep-going to take the others"
            if kept is None
            else f"the other {kept} were taken"
        )
        count = f"{len(problems)} unusable line{'s' if len(problems) != 1 else ''}"
        super().__init__(f"{path}: {count}, {outcome}\n{lines}{more}")


class UndeclaredRelation(InvalidInput):
    """The store has a closed list of relations and this one is not on it."""

    def __init__(self, relation: str, declared: Sequence[str]) -> None:
        self.relation, self.declared = relation, tuple(declared)
        known = ", ".join(sorted(declared)) or "none"
        super().__init__(
            f"relation {relation!r} is not declared in this store (declared: {known}); "
            "use a declared one, or import an export of this store into a new one that was made "
            "with `scr init --relations FILE`"
        )


class FactNotFound(ScrError):
    """No fact in the store has this id."""

    exit_code = 3
    http_status = 404

    def __init__(self, fact_id: str) -> None:
        self.fact_id = fact_id
        super().__init__(f"no fact {fact_id!r}; `scr list` shows the ids in this store")


class TraceNotFound(ScrError):
    """No trace has this id, or its retention time is over."""

    exit_code = 3
    http_status = 404

    def __init__(self, trace_id: str) -> None:
        self.trace_id = trace_id
        super().__init__(f"no trace {trace_id!r}; traces are kept for `trace_retention_days`")


class KeyNotFound(ScrError):
    """No key in force has this id."""

    exit_code = 3
    http_status = 404

    def __init__(self, key_id: str) -> None:
        """Name the id."""
        self.key_id = key_id
        super().__init__(f"no key {key_id} is in force; `scr keys list` shows those that are")


class PersonNotFound(ScrError):
    """Nobody of this name may sign in."""

    exit_code = 3
    http_status = 404

    def __init__(self, name: str) -> None:
        """Name the name."""
        self.name = name
        super().__init__(f"nobody is called {name!r} here; `scr people list` shows who may sign in")


class ChecksFailed(ScrError):
    """Test questions of facts were not decided as they must be."""

    exit_code = 1
    http_status = 409

    def __init__(self, failed: int, asked: int) -> None:
        """Say how many of how many."""
        self.failed, self.asked = failed, asked
        super().__init__(
            f"{failed} of {asked} tests failed; `scr why QUESTION` explains a decision"
        )


class KeyRequired(ScrError):
    """The request shows no key in force."""

    exit_code = 4
    http_status = 401


class SignInRefused(ScrError):
    """Name and password do not belong together; which of them is wrong is not said."""

    exit_code = 4
    http_status = 401


class KeyForbids(ScrError):
    """The request's key does not allow this."""

    exit_code = 4
    http_status = 403


class RequestTooLarge(ScrError):
    """A request has more bytes than the server takes."""

    exit_code = 5
    http_status = 413


class RequestTooSlow(ScrError):
    """A request's body did not arrive in time."""

    exit_code = 5
    http_status = 408


class TooManyRequests(ScrError):
    """A limit on the requests at one time, or in one minute, is reached."""

    exit_code = 5
    http_status = 429

    def __init__(self, reason: str, wait: float = 1.0) -> None:
        """Say which limit, and after how many seconds to try again."""
        self.wait = wait
        super().__init__(f"{reason}; try again in {max(round(wait), 1)} s")


class DecisionFailed(ScrError):
    """The server could not decide whether a fact applies, and is set to refuse such requests."""

    exit_code = 5
    http_status = 503


class FactConflict(ScrError):
    """Two approved facts give one subject and relation different targets at one time."""

    exit_code = 4
    http_status = 409

    def __init__(self, slot: str, target: str, rival_id: str, rival_target: str) -> None:
        self.slot, self.target = slot, target
        self.rival_id, self.rival_target = rival_id, rival_target
        super().__init__(
            f"{slot} is already {rival_target!r} by fact {rival_id}, which holds at the same time "
            f"as {target!r}; replace it (`scr supersede {rival_id} TARGET`), retire it "
            f"(`scr retire {rival_id}`), or give one of them a validity that ends"
        )


class TransitionRefused(ScrError):
    """A fact's status does not allow this move."""

    exit_code = 4
    http_status = 409

    def __init__(self, fact_id: str, status: str, move: str, hint: str) -> None:
        self.fact_id, self.status, self.move = fact_id, status, move
        super().__init__(f"cannot {move} fact {fact_id}: it is {status}; {hint}")


class OwnProposal(ScrError):
    """Someone would approve what they proposed, in a store that asks for a second pair of eyes."""

    exit_code = 4
    http_status = 403

    def __init__(self, fact_id: str, author: str) -> None:
        self.fact_id, self.author = fact_id, author
        super().__init__(
            f"{author} cannot approve fact {fact_id}, which {author} proposed: this store was made "
            "with --four-eyes, so ask somebody else"
        )


class StoreError(ScrError):
    """The store cannot be read or written."""

    exit_code = 5


class StoreMissing(StoreError):
    """There is no store at this path."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(
            f"no store at {path}; make one with `scr --store {path} init`, "
            "or name another with --store or SCR_STORE"
        )


class StoreExists(StoreError):
    """There already is a store at this path."""

    http_status = 409

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(f"{path} already exists and was left as it is; choose another path")


class StoreCorrupt(StoreError):
    """The file is no readable store. It is never changed or replaced."""

    def __init__(self, path: str, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(
            f"{path} is not a readable store ({reason}); the file was left untouched: "
            "restore it from a backup, or `scr import` an export into a new store"
        )


class StoreTooNew(StoreError):
    """A newer version of SCR wrote this store."""

    def __init__(self, path: str, found: str) -> None:
        self.path, self.found = path, found
        super().__init__(
            f"{path} was written by a newer version of SCR (schema {found}); "
            "the file was left untouched: upgrade scr to open it"
        )


class StoreBusy(StoreError):
    """Another process kept the store locked for longer than we wait."""

    http_status = 503

    def __init__(self, path: str, seconds: float) -> None:
        self.path, self.seconds = path, seconds
        super().__init__(
            f"{path} stayed locked by another writer for {seconds:g} s; nothing was written: "
            "try again, or find the process that holds it"
        )


class ModelNotEditable(ScrError):
    """An editor cannot change the weights of this model, or not at these layers."""

    exit_code = 2
    http_status = 422


class EditFailed(ScrError):
    """An edit came out unusable, such as with infinite numbers; the model is as it was."""


class EditOrder(ScrError):
    """An edit cannot be undone or put on: the weights are not those it left, or was made for."""

    exit_code = 4
    http_status = 409


class ModelUnavailable(ScrError):
    """A model cannot be loaded; the message says how to get it."""

    exit_code = 6
    http_status = 503

    def __init__(self, model: str, reason: str) -> None:
        self.model, self.reason = model, reason
        super().__init__(f"model {model!r} cannot be loaded: {reason}")


class MissingExtra(ScrError):
    """A package that only some installations have is needed; the message says how to get it."""

    exit_code = 6
    http_status = 503

    def __init__(self, extra: str, package: str, purpose: str) -> None:
        self.extra, self.package = extra, package
        super().__init__(f"{purpose} needs {package}: pip install 'scr[{extra}]'")


class UpstreamError(ScrError):
    """The wrapped chat model failed."""

    exit_code = 7
    http_status = 502

    def __init__(self, model: str, reason: str) -> None:
        self.model, self.reason = model, reason
        super().__init__(f"the chat model {model!r} failed: {reason}")
