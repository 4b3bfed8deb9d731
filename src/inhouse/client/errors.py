"""What the SDK raises."""

from __future__ import annotations


class ApiError(Exception):
    """The server refused, or failed.

    ``status`` is the HTTP status and ``code`` the server's stable name of the error; both are 0 and
    ``unreachable`` when no answer came. ``hint`` says what to do. ``retry_after``: seconds to wait.
    ``interaction_id``: the recorded call, where one was made.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str,
        hint: str = "",
        retry_after: float | None = None,
        interaction_id: str | None = None,
    ) -> None:
        super().__init__(f"{message} ({hint})" if hint else message)
        self.message = message
        self.status = status
        self.code = code
        self.hint = hint
        self.retry_after = retry_after
        self.interaction_id = interaction_id
