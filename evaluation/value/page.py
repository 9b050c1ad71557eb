"""The value report as one page of HTML that needs no other file."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

from evaluation.value.features import FEATURES
from evaluation.value.plots import bounds_picture, curves_picture, data_url, savings_picture
from evaluation.value.record import ClassicalPart, Entry
from evaluation.value.tables import HEADINGS, HOW_TO_READ, costs_text, money, row_of, tree_text
from evaluation.value.tree import Advice, VerdictTree

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; color: #222 }
table { border-collapse: collapse; margin: .8rem 0; font-size: 13px }
th, td { border-bottom: 1px solid #ddd; padding: .3rem .6rem; text-align: right }
th:first-child, td:first-child, td:last-child, th:last-child { text-align: left }
pre { background: #f5f5f5; padding: .8rem; overflow-x: auto }
details { margin: .5rem 0 } summary { cursor: pointer; font-weight: 600 }
img { max-width: 100% } .scroll { overflow-x: auto }
"""


def as_html(
    entries: Sequence[Entry],
    tree: VerdictTree | None,
    advice: Mapping[str, Advice],
    facts: Mapping[str, str],
) -> str:
    """Return the page. facts: what else to say of how it was made, name -> text."""
    judged = [entry for entry in entries if entry.judgement is not None]
    body = [
        "<h1>Value of learning</h1>",
        f"<p>{_counts(judged, len(entries))}</p>",
        f"<p>{_text(costs_text(entries))}</p>",
        _table(HEADINGS, [row_of(entry) for entry in entries]),
    ]
    if judged:
        body += [_picture(savings_picture(judged)), _picture(bounds_picture(judged))]
    body += ["<h2>How to read this</h2>", *(f"<p>{_text(t)}</p>" for t in HOW_TO_READ)]
    body.append(_table(("setting", "value"), list(facts.items())))
    body += ["<h2>What the scenarios have in common</h2>", _pre(tree_text(tree, len(judged)))]
    body += [
        f"<p>Advice for <b>{_text(label)}</b>: {_text(one.text())}</p>"
        for label, one in advice.items()
    ]
    body.append(_feature_table(entries))
    body += ["<h2>Scenario by scenario</h2>", *(_details(entry) for entry in entries)]
    return (
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8>"
        f"<title>Value of learning</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _counts(judged: Sequence[Entry], total: int) -> str:
    counts: dict[str, int] = {}
    for entry in judged:
        assert entry.judgement is not None
        name = entry.judgement.verdict.value
        counts[name] = counts.get(name, 0) + 1
    verdicts = "; ".join(f"{_text(name)}: {count}" for name, count in sorted(counts.items()))
    return f"{len(judged)} of {total} scenarios have a verdict. {verdicts}"


def _feature_table(entries: Sequence[Entry]) -> str:
    shown = [(e, e.classical) for e in entries if e.classical is not None]
    rows = []
    for name, meaning in FEATURES.items():
        values = [f"{c.features[name]:.3g}" for _, c in shown]
        rows.append((name, *values, meaning))
    return _table(("feature", *(e.label for e, _ in shown), "meaning"), rows)


def _details(entry: Entry) -> str:
    parts = [f"<details><summary>{_text(entry.label)}</summary>"]
    if entry.error:
        parts.append(f"<p>Failed: {_text(entry.error)}</p>")
    if entry.classical is not None:
        parts.append(_policies(entry.classical))
    if entry.bound is not None:
        width = f" ± {money(entry.bound.half_width)}" if entry.bound.half_width else ""
        parts.append(
            f"<p>Bound: {money(entry.bound.cost)}{width}, {entry.bound.kind.value}, by "
            f"{_text(entry.bound.method)}; {entry.bound.seconds:.1f} CPU s.</p>"
        )
    else:
        parts.append(f"<p>No bound: {_text(entry.no_bound)}.</p>")
    if entry.seeds:
        parts += [_seeds(entry), _picture(curves_picture(entry)), _segments(entry)]
    return "\n".join([*parts, "</details>"])


def _policies(classical: ClassicalPart) -> str:
    rows = []
    for policy in classical.policies:
        if policy.played is None:
            rows.append((policy.name, "", "", "", "", f"not used: {policy.why_not}"))
            continue
        role = "best rule" if policy.name == classical.best_rule else ""
        if policy.name == classical.base_policy:
            role += ", learning starts from it"
        rows.append(
            (
                policy.name,
                money(policy.validation_cost),
                money(policy.played.cost),
                f"{policy.played.fill_rate:.2%}",
                f"{policy.evaluations} ({policy.tuning_cpu_seconds:.1f} CPU s)",
                role.removeprefix(", "),
            )
        )
    headings = ("rule", "validation cost", "test cost", "fill rate", "parameter sets tried", "role")
    return _table(headings, rows)


def _seeds(entry: Entry) -> str:
    rows = []
    for s in entry.seeds:
        note = "" if s.best_iteration else "nothing beat the rule on validation: it is the rule"
        cpu = "" if s.cpu_seconds is None else f"{s.cpu_seconds:.0f}"
        rows.append(
            (
                f"seed {s.seed}",
                money(s.played.cost),
                f"{s.played.fill_rate:.2%}",
                cpu,
                f"{s.periods:,.0f}",
                f"{s.best_iteration} of {s.iterations}",
                note,
            )
        )
    headings = ("training", "test cost", "fill rate", "CPU s", "simulated periods",
                "iteration chosen", "")  # fmt: skip
    return _table(headings, rows)


def _segments(entry: Entry) -> str:
    if entry.judgement is None:
        return ""
    rows = []
    for s in entry.judgement.segments:
        saving = s.classical - s.learned
        share = f"{saving / abs(s.classical):+.2%}" if s.classical else ""
        spread = f"{money(min(s.seeds))} to {money(max(s.seeds))}"
        cells = (s.label, money(s.classical), money(s.learned), money(saving), share, spread)
        rows.append((*cells, s.verdict.value))
    headings = ("segment", "rule", "learned", "saving", "share", "seeds from, to",
                "by the interval over seeds")  # fmt: skip
    return _table(headings, rows)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{_text(cell)}</th>" for cell in headings)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<div class=scroll><table><tr>{head}</tr>\n{body}</table></div>"


def _picture(picture: bytes) -> str:
    return f'<p><img src="{data_url(picture)}" alt=""></p>' if picture else ""


def _pre(text: str) -> str:
    return f"<pre>{_text(text)}</pre>"


def _text(text: str) -> str:
    return html.escape(text)
