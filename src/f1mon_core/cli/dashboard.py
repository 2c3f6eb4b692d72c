"""`f1mon dashboard`: the store as pages, for a browser."""

from __future__ import annotations

import asyncio
import webbrowser
from collections.abc import Callable

import click

from f1mon_core.cli.errors import CannotError, MisusedError
from f1mon_core.cli.place import Place, pass_place
from f1mon_core.cli.streams import talk
from f1mon_core.errors import MissingExtraError
from f1mon_core.monitor import AsyncMonitor, Monitor
from f1mon_core.storage.offload import OffloadedStorage
from f1mon_core.text import printable

PORT = 8321


@click.command
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen; beyond loopback see below.")
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0 for any that is free.")
@click.option("--read-only", is_flag=True, help="Leave out all that changes something.")
@click.option("--user-header", metavar="NAME", help="The header in which a proxy names the user.")
@click.option("--trust-proxy", metavar="ADDRESS", multiple=True, help="Where such a proxy asks from; repeatable.")
@click.option("--allow-host", metavar="NAME", multiple=True, help="A further name it may be asked for by; repeatable.")
@click.option("--root-path", metavar="/PATH", default="", help="The path under which a proxy shows it.")
@click.option("--open", "opened", is_flag=True, help="Open it in a browser.")
@pass_place
def dashboard(
    place: Place,
    *,
    host: str,
    port: int,
    read_only: bool,
    user_header: str | None,
    trust_proxy: tuple[str, ...],
    allow_host: tuple[str, ...],
    root_path: str,
    opened: bool,
) -> None:
    """Show the store as pages: models, alerts, rules, and what may be done about them; until interrupted.

    On another host than loopback it needs --read-only, or --user-header with --trust-proxy: a proxy that logs people
    in. It answers only to loopback's names, to --host and to --allow-host. Needs the extra `dashboard`.
    """
    check_installed()
    with place.open() as monitor:
        show(
            monitor,
            host=host,
            port=port,
            read_only=read_only,
            user_header=user_header,
            trust_proxy=trust_proxy,
            allow_host=allow_host,
            root_path=root_path,
            opened=opened,
        )


def check_installed() -> None:
    """Whether pages can be made; asked before a store is opened. Raises `MissingExtraError`."""
    try:
        from f1mon_core.web import create_app, report, serving  # noqa: F401, PLC0415 - an extra
    except ImportError as error:
        raise MissingExtraError(
            f"pages need {error.name!r}, which is not installed: pip install 'f1mon[dashboard]'", name=error.name
        ) from error


def show(
    monitor: Monitor,
    *,
    host: str = "127.0.0.1",
    port: int = PORT,
    read_only: bool = False,
    user_header: str | None = None,
    trust_proxy: tuple[str, ...] = (),
    allow_host: tuple[str, ...] = (),
    root_path: str = "",
    opened: bool = False,
) -> None:
    """Serve the pages of a monitor until interrupted."""
    from f1mon_core.web import create_app, serving  # noqa: PLC0415 - an extra

    if root_path and (not root_path.startswith("/") or root_path.endswith("/") or root_path != printable(root_path)):
        raise MisusedError(f"--root-path begins with a slash and ends without one, got {printable(root_path)!r}")
    serving.check_host(host, read_only=read_only, user_header=user_header)
    app = create_app(
        AsyncMonitor(OffloadedStorage(monitor.storage), channels=monitor.channels),
        read_only=read_only,
        user_header=user_header,
        trust_proxy=trust_proxy,
        allow_hosts=(*sorted(serving.LOOPBACK), host, *allow_host),
    )
    listening = serving.bound(host, port)
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{listening.getsockname()[1]}{root_path}/"

    def begun(_stop: Callable[[], None]) -> None:
        talk(f"{address} shows {printable(monitor.address)} until interrupted" + (", read only" if read_only else ""))
        if opened and not webbrowser.open(address):
            talk("no browser could be opened")

    try:
        asyncio.run(serving.serve(app, listening, root_path=root_path, begun=begun))
    except KeyboardInterrupt:
        talk("ended")
    except OSError as error:
        raise CannotError(f"{address}: {error}") from error
    finally:
        listening.close()
