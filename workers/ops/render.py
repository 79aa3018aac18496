"""Renders templates: escaped by default, and a name that is missing is an error."""

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from events.envelope import now
from schemas.escaping import escape
from workers.ops import format as formats
from workers.ops.assets import load_assets
from workers.ops.spark import spark_points

FOLDER = Path(__file__).parent / "templates"


@cache
def build_environment() -> Environment:
    """Build the environment of all templates; they are compiled once a process."""
    assets = load_assets()
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "at": _at,
        "ago": _ago,
        "ctl": _ctl,
        "source_text": _source_text,
        "duration": formats.format_duration,
        "count": formats.format_count,
        "rate": formats.format_rate,
        "size": formats.format_bytes,
        "iso": formats.format_iso,
        "time_text": formats.format_time,
        "short": formats.shorten_id,
        "plain": escape,
        "points": spark_points,
    }
    environment.globals["asset"] = lambda name: assets[name].url
    return environment


def render_template(environment: Environment, name: str, context: Mapping[str, Any]) -> str:
    """Render a template; ``now`` (UTC) in it is one moment for the whole page."""
    return environment.get_template(name).render({"now": now(), **context})


@pass_context
def _at(context: Context, when: datetime, *, milliseconds: bool = False) -> Markup:
    """Write a time as ``<time>``, with its full form in ``datetime`` and ``title``."""
    text = formats.format_time(when, _find_now(context), milliseconds=milliseconds)
    iso = formats.format_iso(when)
    return Markup('<time datetime="{0}" title="{0}">{1}</time>').format(iso, text)


@pass_context
def _ago(context: Context, when: datetime) -> Markup:
    """Write how long ago a time was; the script keeps it current."""
    text = formats.format_ago(when, _find_now(context))
    iso = formats.format_iso(when)
    return Markup('<time class="faint" data-ago datetime="{}">{}</time>').format(iso, text)


def _find_now(context: Context) -> datetime:
    """Find the moment of the page; a macro imported without context does not have it."""
    moment = context.get("now")
    return moment if isinstance(moment, datetime) else now()


def _ctl(text: object, length: int = formats.SHOWN_LENGTH) -> Markup:
    """Write a stranger's text in one line: escapes are marked, and a long text is cut."""
    whole = str(text)
    shown = _mark(whole[:length], lines=False)
    if len(whole) <= length:
        return shown
    return shown + Markup(' … <span class="faint">all {}</span>').format(
        formats.format_count(len(whole))
    )


def _source_text(text: object) -> Markup:
    """Write a stranger's text of several lines, whole."""
    return _mark(str(text), lines=True)


def _mark(text: str, *, lines: bool) -> Markup:
    parts = (
        Markup('<span class="ctl">{}</span>').format(part) if marked else Markup("{}").format(part)
        for part, marked in formats.split_escapes(text, lines=lines)
    )
    return Markup("").join(parts)
