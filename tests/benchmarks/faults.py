"""What faults cost: `python -m tests.benchmarks.faults`.

Injects one fault after the other on a Ray of two nodes on this machine, and in trainings with
processes of their own. Prints a table in Markdown, then one JSON object a line of the table; ends
with 1 where something wanted was not reached. A time to recover is warm: the kernels are compiled
(what is missing is compiled first). The long parts run only where they are asked for:

    python -m tests.benchmarks.faults --parts runner node
    python -m tests.benchmarks.faults --kills-every 120 --minutes 20
    python -m tests.benchmarks.faults --driver-kills 100 --corruptions 10000
    python -m tests.benchmarks.faults --paired 30 --algorithm ppo
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from evaluation.workers import prepare_ray
from tests.benchmarks.fault_parts.row import Row, as_markdown, say

Part = Callable[[Path], list[Row]]


def _short() -> dict[str, Part]:
    prepare_ray()
    from tests.benchmarks.fault_parts import drivers, runners, trainings  # Ray takes seconds

    return {
        "runner": runners.runner_killed, "node": runners.node_killed, "hung": runners.hung,
        "dead": runners.dead, "learner": trainings.learner_killed, "driver": drivers.driver_killed,
    }  # fmt: skip


def _chosen(options: argparse.Namespace) -> Iterator[tuple[str, Part]]:
    parts = _short()
    from tests.benchmarks.fault_parts import corruptions, drivers, trainings

    is_long = options.kills_every or options.driver_kills or options.corruptions or options.paired
    for name in options.parts or ([] if is_long else parts):
        yield name, parts[name]
    if options.kills_every:
        yield (
            "kills for minutes",
            partial(
                trainings.kills_for_minutes, every=options.kills_every, minutes=options.minutes
            ),
        )
    if options.paired:
        yield "paired", partial(trainings.paired, kills=options.paired, algorithm=options.algorithm)
    if options.driver_kills:
        yield "driver kills", partial(drivers.driver_kills, kills=options.driver_kills)
    if options.corruptions:
        yield "corruptions", partial(corruptions.corruptions, count=options.corruptions)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, then the numbers as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.faults")
    names = ("runner", "node", "hung", "dead", "learner", "driver")
    parser.add_argument("--parts", nargs="+", choices=names, help="driver: SIGTERM, too")
    parser.add_argument("--kills-every", type=float, help="seconds; see --minutes")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--driver-kills", type=int, help="how many")
    parser.add_argument("--corruptions", type=int, help="how many")
    parser.add_argument("--paired", type=int, help="kills in one of two equal trainings")
    parser.add_argument("--algorithm", default="pathwise", choices=("pathwise", "ppo"))
    options = parser.parse_args(arguments)
    # Ray's workers import the environments that fail from here.
    os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="faults_") as folder:
        for name, part in _chosen(options):
            say(name)
            own = Path(folder) / name.replace(" ", "_")
            own.mkdir()
            try:
                rows += part(own)
            except Exception as problem:  # the other parts are played all the same
                say(f"{name}: {problem!r}")
                rows.append(Row(name, f"the part failed: {problem!r}"[:300], "?", is_good=False))
    print(as_markdown(rows))
    for row in rows:
        print(json.dumps(row.plain))
    return 0 if rows and all(row.is_good for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
