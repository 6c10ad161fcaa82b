"""Serve the dashboard notebook as an application, with Voilà.

    serve(port=8866)            this process becomes the server; who opens the page gets a kernel of their own

It listens on this machine only and therefore asks for no token. The page fetches nothing from elsewhere:
`templates/` holds Voilà's own page without the fonts that it takes from another host, and of the
JupyterLab extensions that are installed only those are loaded that show widgets and figures.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
from pathlib import Path
from typing import NoReturn

from aigym_kernel import settings
from aigym_kernel.errors import AigymError, check_whole

NOTEBOOK = settings.CHECKOUT / "notebooks" / "dashboard.ipynb"
TEMPLATES = Path(__file__).parent / "templates"
EXTENSIONS = [
    "@voila-dashboards/widgets-manager8",
    "@jupyter-widgets/jupyterlab-manager",
    "anywidget",
    "jupyterlab-plotly",
]


def serve(*, port: int = 8866, notebook: str | Path = NOTEBOOK) -> NoReturn:
    """Become a server of ``notebook`` on http://localhost:``port``, until Ctrl-C; says so on standard error.

    Raises:
        AigymError: Voilà is not installed, there is no such notebook, or the port is taken.
    """
    check_whole("dashboard: port", port, 1, 65_535)
    if importlib.util.find_spec("voila") is None:
        raise AigymError("the dashboard needs Voilà: pip install 'aigym-kernel[dashboard]'")
    path = Path(notebook).expanduser().absolute()
    if not path.is_file():
        raise AigymError(f"no notebook at {path}; the dashboard's own is in the project's folder notebooks/")
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            raise AigymError(f"port {port} cannot be used ({error.strerror}); choose another port") from None
    print(f"http://localhost:{port}   (Ctrl-C ends it)", file=sys.stderr, flush=True)
    os.execve(sys.executable, _command(path, port), _environment())


def _command(notebook: Path, port: int) -> list[str]:
    """What starts Voilà."""
    return [
        *(sys.executable, "-m", "voila", str(notebook), "--no-browser", f"--port={port}"),
        *("--Voila.ip=127.0.0.1", "--template=aigym", "--show_tracebacks=True"),
        f"--VoilaConfiguration.extension_allowlist={EXTENSIONS}",
    ]


def _environment() -> dict[str, str]:
    """The environment in which Voilà finds our template."""
    paths = [str(TEMPLATES), os.environ.get("JUPYTER_PATH", "")]
    return {**os.environ, "JUPYTER_PATH": os.pathsep.join(filter(None, paths))}
