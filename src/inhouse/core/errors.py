"""One error tree for every edge.

    InhouseError            code, status, hint
    ├── Invalid     422     the caller's input does not fit; says what and what to do
    ├── NotFound    404
    ├── Conflict    409     somebody else was first, or the state does not allow it
    ├── Denied      401/403 no key, or a key without the role
    ├── Exhausted   429     a limit or budget is used up
    ├── Unavailable 503     may work later; carries retry_after
    ├── Corrupt     500     stored data does not match its own checksum
    └── BackendError 502    a backend failed; says whether another try may help

The HTTP edge turns an error into problem JSON, the command line into one line and an exit code.
Backends tell the fallback chain by ``retryable`` what may be tried again; nobody looks at types.
"""

from __future__ import annotations

from typing import ClassVar


class InhouseError(Exception):
    """Something went wrong that the caller can be told about.

    ``code`` is a stable dotted name (documented in docs/reference/errors.md), ``message`` says what
    was wrong, ``hint`` what to do next, ``status`` the HTTP status, ``exit_code`` the CLI's.
    ``interaction_id`` is the call that it ended, where that may be another one than the caller's.
    """

    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    default_code: ClassVar[str] = "internal"

    def __init__(self, message: str, *, code: str | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.hint = hint
        self.interaction_id: str | None = None


class Invalid(InhouseError):
    """The input does not fit; nothing was changed."""

    status = 422
    exit_code = 2
    default_code = "invalid"


class NotFound(InhouseError):
    """There is no such thing."""

    status = 404
    exit_code = 3
    default_code = "not-found"


class Conflict(InhouseError):
    """The state does not allow it, or somebody else was first."""

    status = 409
    exit_code = 4
    default_code = "conflict"


class Denied(InhouseError):
    """No key, an unknown key, or a key without the role that this needs."""

    status = 403
    exit_code = 2
    default_code = "denied"


class Unauthenticated(Denied):
    """No key, or a key that is unknown or revoked."""

    status = 401
    default_code = "unauthenticated"


class Exhausted(InhouseError):
    """A limit or budget is used up."""

    status = 429
    default_code = "exhausted"

    def __init__(
        self, message: str, *, code: str | None = None, hint: str = "", retry_after: float = 1.0
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.retry_after = retry_after


class Unavailable(InhouseError):
    """It may work later."""

    status = 503
    default_code = "unavailable"

    def __init__(
        self, message: str, *, code: str | None = None, hint: str = "", retry_after: float = 1.0
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.retry_after = retry_after


class Corrupt(InhouseError):
    """Stored data does not match its own checksum."""

    default_code = "corrupt"


class BackendError(InhouseError):
    """A backend (upstream or engine) did not answer.

    ``retryable``: the same backend may succeed if asked again (connect error, 429, 503).
    ``retry_after``: seconds that the backend asked us to wait, if it said so.
    ``upstream_status``: the HTTP status that an upstream answered with, if it answered.
    ``fatal``: the request itself is at fault (400, 413, 422), so no other backend is asked.
    """

    status = 502
    default_code = "backend"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        hint: str = "",
        retryable: bool = False,
        retry_after: float | None = None,
        upstream_status: int | None = None,
        fatal: bool = False,
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.retryable = retryable
        self.retry_after = retry_after
        self.upstream_status = upstream_status
        self.fatal = fatal
