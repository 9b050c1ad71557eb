"""A real MLflow server that fails on request: ``python faulty_mlflow_server.py FOLDER PORT``.

It runs MLflow's own handlers over FOLDER/mlflow.db. The word in FOLDER/mode says how:
``ok``, ``500`` (refuses everything), ``lost PATH`` (does as told where the address ends with PATH,
then answers 500: the caller can't know that it was done).
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from werkzeug.serving import make_server


def main(folder: Path, port: int) -> None:
    """Serve until killed."""
    os.environ |= {
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{folder / 'mlflow.db'}",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(folder / "artifacts"),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    from mlflow.server import app

    def faulty(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        mode, _, lost = (folder / "mode").read_text().partition(" ")
        if mode == "lost" and not environ["PATH_INFO"].endswith(lost):
            mode = "ok"
        with (folder / "requests.log").open("a") as log:
            log.write(f"{mode} {environ['REQUEST_METHOD']} {environ['PATH_INFO']}\n")
        if mode == "lost":
            b"".join(app(environ, lambda *_: lambda _: None))
        if mode in ("lost", "500"):
            start_response("500 Internal Server Error", [("Content-Length", "0")])
            return [b""]
        answer: Iterable[bytes] = app(environ, start_response)
        return answer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    make_server("127.0.0.1", port, faulty, threaded=True).serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
