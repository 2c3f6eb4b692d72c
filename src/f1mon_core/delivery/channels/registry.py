"""Which channel a name means: registered in this process, configured, from the environment, or a plugin's."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import attrs

from f1mon_core import forks
from f1mon_core.alerts.grouping import SETTINGS, Grouping
from f1mon_core.delivery.channels.console_file import LOG_NAME, CallbackChannel, ConsoleChannel, FileChannel
from f1mon_core.delivery.channels.protocol import Channel
from f1mon_core.delivery.channels.settings import OWN, _email, _slack
from f1mon_core.errors import ConfigurationError, F1monError, NotFoundError
from f1mon_core.records.kinds import Alert
from f1mon_core.storage.address import masked, masked_in
from f1mon_core.storage.environment import DEFAULT_DIRECTORY

CHANNELS_GROUP = "f1mon.channels"
"""Entry points of further channels: a channel's name or an address's scheme -> `factory(address | None) -> Channel`."""

ADDRESS_PREFIX = "F1MON_CHANNEL_"
OF_WEBHOOKS = ("HEADERS", "SECRET")
"""What a webhook's variable may be followed by, in a variable of its own: `F1MON_CHANNEL_<NAME>_SECRET`."""
_OF_OWN = {name.upper() for name in OWN}
EMAIL_PREFIX, SLACK_PREFIX = "ALERT_EMAIL_", "ALERT_SLACK_"


def directory_of(address: str) -> Path:
    """Where the log file of a store's alerts lives: in the directory of the file backend, else the default one."""
    scheme, _, path = address.partition("://")
    return Path(unquote(path)) if scheme == "jsonl" and path else Path(DEFAULT_DIRECTORY)


class Channels:
    """The channels a process knows, by name.

    A name means, in this order: what `register` was given; the configuration; the variable `F1MON_CHANNEL_<NAME>`;
    `console`, `file`, `email` (`ALERT_EMAIL_*`), `slack` (`ALERT_SLACK_*`); an entry point of that name in the group
    `f1mon.channels`.
    """

    def __init__(
        self,
        config: Mapping[str, Any] | None = None,
        *,
        directory: str | os.PathLike[str] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """Know the channels of a configuration and an environment.

        Args:
            config: Channel name to an address, a `Channel`, a function of an alert, for "console", "file" (`path`),
                "email" and "slack" a mapping, whose keys are those of their variables in lower case, or for any other
                one of `url`, `headers` (a mapping) and `secret`. A mapping may say `group_by`, `group_wait_minutes`
                and `group_interval_minutes`, too, as a rule does.
            directory: Where `alert_log.txt` of the channel "file" lives; `data/monitoring` if None.
            environ: The environment, `os.environ` if None.
        """
        self._directory = Path(directory or DEFAULT_DIRECTORY)
        self._environ = os.environ if environ is None else environ
        self._config = dict(config or {})
        self._made: dict[str, Channel] = {}
        self._renew_locks()
        forks.start_anew(self, Channels._renew_locks)

    def _renew_locks(self) -> None:
        self._lock = threading.Lock()
        self._making: dict[str, threading.Lock] = {}

    def __repr__(self) -> str:
        return f"Channels({', '.join(self.names())})"

    def register(self, name: str, channel: Channel | Callable[[Alert], Any]) -> None:
        """From now on `name` means this channel, or this function called with each alert."""
        with self._lock:
            self._made[name] = channel if isinstance(channel, Channel) else CallbackChannel(channel)

    def names(self) -> list[str]:
        """Every name that means something here, whether or not its configuration holds up."""
        own = {"console", "file"}
        for name, prefix in (("email", EMAIL_PREFIX), ("slack", SLACK_PREFIX)):
            if any(variable.startswith(prefix) and value for variable, value in self._environ.items()):
                own.add(name)
        variables = {name[len(ADDRESS_PREFIX) :] for name in self._environ if name.startswith(ADDRESS_PREFIX)}
        addresses = {name.lower() for name in variables if not _belongs(name, variables | _OF_OWN)}
        plugins = {point.name for point in entry_points(group=CHANNELS_GROUP)}
        return sorted(own | addresses | plugins | set(self._config) | set(self._made))

    def get(self, name: str) -> Channel:
        """The channel of a name.

        Raises:
            NotFoundError: If nothing is configured under it.
            ConfigurationError, MissingExtraError: If its configuration does not hold up.
        """
        with self._lock:
            making = self._making.setdefault(name, threading.Lock())
        with making:  # one for each name: to make a channel may take long, and is no concern of the others
            with self._lock:
                if name in self._made:
                    return self._made[name]
            made = self._make(name)
            with self._lock:
                return self._made.setdefault(name, made)

    def grouping(self, name: str) -> Grouping | None:
        """How a channel's settings group what its rules do not; None if each alert is a message of its own.

        Raises:
            ConfigurationError: If its settings do not hold up.
        """
        given = self._config.get(name)
        found = {} if not isinstance(given, Mapping) else {key: given[key] for key in SETTINGS if key in given}
        if found:
            return Grouping.of_settings(found, f"channel {name!r}")
        variable = _variable(name)
        told = {key: self._environ.get(f"{variable}_{key.upper()}") for key in SETTINGS}
        return Grouping.of_settings(told, variable)

    def is_function(self, name: str) -> bool:
        """Whether a channel is a function, which is called with each alert by itself."""
        given = self._config.get(name)
        with self._lock:
            made = self._made.get(name)
        return isinstance(made, CallbackChannel) or (made is None and callable(given) and not _sends(given))

    def problems(self, names: Iterable[str]) -> dict[str, str]:
        """Why a channel of these names could not deliver anything, by name."""
        found: dict[str, str] = {}
        for name in sorted(set(names)):
            try:
                self.get(name)
                self.grouping(name)
            except F1monError as error:
                found[name] = str(error)
            except Exception as error:  # noqa: BLE001 - one that cannot be made must not hide the others
                found[name] = f"channel {name!r} cannot be made: {type(error).__name__}"
        return found

    def _make(self, name: str) -> Channel:
        if name in self._config:
            return self._configured(name, self._config[name])
        variable = _variable(name)
        if address := self._environ.get(variable):
            more = {name: self._environ.get(f"{variable}_{name}") for name in OF_WEBHOOKS}
            return _addressed(address, variable, more)
        if name == "console":
            return ConsoleChannel()
        if name == "file":
            return FileChannel(self._directory / LOG_NAME)
        if name in ("email", "slack"):
            prefix = EMAIL_PREFIX if name == "email" else SLACK_PREFIX
            given = {key[len(prefix) :]: value for key, value in self._environ.items() if key.startswith(prefix)}
            made = _email(given, prefix) if name == "email" else _slack(given, prefix)
            if made is not None:
                return made
        if (point := _plugin(name)) is not None:
            return _of_plugin(point, None)
        shown = name if masked(name) == name else "***"  # an address where a name was asked for
        told = variable if shown == name else f"{ADDRESS_PREFIX}<NAME>"
        raise NotFoundError(
            f"nothing is configured for channel {shown!r}: set {told} to an address, or one of "
            f"{', '.join(self.names())} in the rule"
        )

    @staticmethod
    def _configured(name: str, given: Any) -> Channel:
        if isinstance(given, str):
            return _addressed(given, f"channel {name!r}")
        if isinstance(given, Mapping) and "url" in given and name not in OWN:
            more = {str(key).upper(): value for key, value in given.items() if key not in ("url", *SETTINGS)}
            return _addressed(str(given["url"]), f"channel {name!r}", more)
        if isinstance(given, Mapping) and name in OWN:
            normal = {str(key).upper(): value for key, value in given.items() if value is not None}
            made = OWN[name](normal, f"{name}.")
            if made is None:
                raise NotFoundError(f"channel {name!r} is configured, but not enabled or without an address")
            return made
        if isinstance(given, Channel):
            return given
        if callable(given):
            return CallbackChannel(given)
        raise ConfigurationError(f"channel {name!r} must be an address, a channel, a function or a mapping")


def _variable(name: str) -> str:
    return ADDRESS_PREFIX + "".join(c if c.isalnum() else "_" for c in name.upper())


def _sends(given: Any) -> bool:
    return isinstance(given, Channel)


def _belongs(name: str, names: Collection[str]) -> bool:
    """Whether a variable says more of another one's channel."""
    behind = (*OF_WEBHOOKS, *(setting.upper() for setting in SETTINGS))
    return any(name.endswith(f"_{more}") and name.removesuffix(f"_{more}") in names for more in behind)


def _addressed(address: str, where: str, more: Mapping[str, Any] = MappingProxyType({})) -> Channel:
    """The channel of an address. Messages of errors name where it stood, and never the address itself."""
    try:
        made = _of_scheme(address.partition("://")[0], address)
        return _with_more(made, more)
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {masked_in(str(error))}") from error
    except ValueError:
        # What the standard library says of an address it cannot take apart repeats the part, a password perhaps.
        raise ConfigurationError(
            f"{where}: the address has no valid host and port; percent-encode / ? # [ ] @ in a password"
        ) from None


def _with_more(made: Channel, more: Mapping[str, Any]) -> Channel:
    """A webhook with its headers and its secret."""
    from f1mon_core.delivery.channels.webhook import WebhookChannel  # noqa: PLC0415 - HTTP is loaded for those who use it

    given = {name: value for name, value in more.items() if value}
    if unknown := sorted(set(given) - set(OF_WEBHOOKS)):
        raise ConfigurationError(f"a webhook has a url, headers and a secret, but no {unknown[0].lower()}")
    if not given:
        return made
    if not isinstance(made, WebhookChannel):
        raise ConfigurationError("only a webhook, http:// or https://, has headers and a secret")
    found: dict[str, Any] = {name.lower(): value for name, value in given.items()}
    if isinstance(text := found.get("headers"), str):
        found["headers"] = _headers_of(text)
    return attrs.evolve(made, **found)


def _headers_of(text: str) -> dict[str, str]:
    """Headers as they stand in a variable: `Name: value`, a line each."""
    pairs = [line.partition(":") for line in text.splitlines() if line.strip()]
    if not all(sign for _, sign, _ in pairs):
        raise ConfigurationError("headers are lines of the form Name: value")
    return {name.strip(): value.strip() for name, _, value in pairs}


def _of_scheme(scheme: str, address: str) -> Channel:
    from f1mon_core.delivery.channels.slack import SlackChannel  # noqa: PLC0415 - HTTP is loaded for those who use it
    from f1mon_core.delivery.channels.webhook import WebhookChannel  # noqa: PLC0415 - HTTP is loaded for those who use it

    if scheme == address:
        raise ConfigurationError("an address starts with a scheme such as https://, smtp:// or file://")
    if (point := _plugin(scheme)) is not None:
        return _of_plugin(point, address)
    if scheme in ("slack+http", "slack+https"):
        return SlackChannel(address.removeprefix("slack+"))
    if scheme in ("http", "https"):
        slack = urlsplit(address).hostname == "hooks.slack.com"
        plain, _, behind = address.partition("#")
        made = (SlackChannel if slack else WebhookChannel)(plain)
        return _with_more(made, _of_fragment(behind))
    if scheme == "file":
        return FileChannel(_file_path(address))
    if scheme in ("smtp", "smtps"):
        return _smtp(address)
    from f1mon_core.delivery.channels.apprise import AppriseChannel  # noqa: PLC0415 - an extra

    return AppriseChannel(address)


def _of_fragment(text: str) -> dict[str, Any]:
    """What stands behind the # of a webhook's address, which no server is sent: `header=Name: value`, `secret=`."""
    options = parse_qs(text)
    headers = {"HEADERS": "\n".join(options["header"])} if "header" in options else {}
    return headers | ({"SECRET": options["secret"][-1]} if "secret" in options else {})


def _file_path(address: str) -> Path:
    parts = urlsplit(address)
    if parts.netloc not in ("", "localhost") or not parts.path.strip("/") or parts.path.endswith("/"):
        raise ConfigurationError("a file:// address names an absolute path, as in file:///var/log/alerts.txt")
    return Path(unquote(parts.path))


def _smtp(address: str) -> Channel:
    from f1mon_core.delivery.channels.email import SECURITIES, EmailChannel  # noqa: PLC0415 - only who mails pays for it

    parts = urlsplit(address)
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    if unknown := sorted(set(options) - {"from", "to", "security"}):
        raise ConfigurationError(f"an smtp:// address takes ?from=&to=&security=, not {unknown[0]!r}")
    if parts.hostname is None or "from" not in options or "to" not in options:
        raise ConfigurationError("an smtp:// address names a host, ?from= and &to=")
    secure = parts.scheme == "smtps"
    security = options.get("security", "tls" if secure else "auto")
    if security not in SECURITIES:
        raise ConfigurationError(f"security is one of {', '.join(SECURITIES)}")
    return EmailChannel(
        host=parts.hostname,
        port=parts.port or (465 if secure else 587),
        sender=options["from"],
        recipients=options["to"],
        user=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
        security=security,
    )


def _plugin(name: str) -> EntryPoint | None:
    points = {point.value: point for point in entry_points(group=CHANNELS_GROUP, name=name)}
    if len(points) > 1:
        raise ConfigurationError(f"channel {name!r} is registered by {' and '.join(sorted(points))}: uninstall one")
    return next(iter(points.values()), None)


def _of_plugin(point: EntryPoint, address: str | None) -> Channel:
    try:
        made = point.load()(address)
    except F1monError:
        raise
    except Exception as error:
        raise ConfigurationError(f"channel plugin {point.value} failed: {type(error).__name__}") from error
    if not isinstance(made, Channel):
        raise ConfigurationError(f"channel plugin {point.value} made a {type(made).__name__}, which has no send()")
    return made
