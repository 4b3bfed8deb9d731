"""The templates' environment: strict, escaped, with macros and filters at hand everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import jinja2
from markupsafe import Markup

from inhouse import __version__
from inhouse.dashboard import charts, figures
from inhouse.dashboard.assets import static_url
from inhouse.dashboard.navigation import BOTTOM, GROUPS
from inhouse.dashboard.security import CSRF_FIELD

_FOLDER: Final = Path(__file__).parent / "templates"


def open_templates() -> jinja2.Environment:
    """Templates with ``static_url``, ``icon``, ``csrf_field``, the filters of ``figures``, and the
    macros ``ui`` and ``charts`` as names that need no import."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters.update(figures.FILTERS)
    environment.globals.update(
        navigation=GROUPS,
        bottom=BOTTOM,
        static_url=static_url,
        version=__version__,
        icon=icon,
        csrf_field=csrf_field,
        interval=figures.interval,
        plural=figures.plural,
        chart=charts,
    )
    environment.globals["ui"] = environment.get_template("macros/ui.html").module
    environment.globals["charts"] = environment.get_template("macros/charts.html").module
    return environment


def icon(name: str) -> Markup:
    """An icon of the sprite, which says nothing to a screen reader."""
    drawn = '<svg class="i" aria-hidden="true"><use href="{}#i-{}"/></svg>'
    return Markup(drawn).format(static_url("icons.svg"), name)


@jinja2.pass_context
def csrf_field(context: jinja2.runtime.Context) -> Markup:
    """The hidden field that a form needs to be taken."""
    token = context["page"].csrf
    return Markup('<input type="hidden" name="{}" value="{}">').format(CSRF_FIELD, token)
