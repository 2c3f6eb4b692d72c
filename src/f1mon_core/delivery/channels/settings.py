"""The channels that settings and the environment describe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from f1mon_core.delivery.channels.console_file import ConsoleChannel, FileChannel
from f1mon_core.delivery.channels.protocol import Channel
from f1mon_core.errors import ConfigurationError

EMAIL_ALIASES: Mapping[str, tuple[str, ...]] = {
    "host": ("HOST", "SMTP_HOST", "SMTP_SERVER", "SERVER"),
    "port": ("PORT", "SMTP_PORT"),
    "user": ("USER", "USERNAME", "SMTP_USER", "SMTP_USERNAME"),
    "password": ("PASSWORD", "SMTP_PASSWORD", "PASS"),
    "sender": ("FROM", "FROM_ADDRESS", "FROM_ADDR", "FROM_EMAIL", "SENDER"),
    "recipients": ("TO", "TO_ADDRESSES", "TO_ADDRS", "TO_ADDRESS", "TO_EMAILS", "TO_EMAIL", "RECIPIENTS", "RECIPIENT"),
    "tls": ("USE_TLS", "TLS", "SMTP_TLS", "STARTTLS"),
    "ssl": ("USE_SSL", "SSL"),
    "enabled": ("ENABLED",),
}
"""Under `ALERT_EMAIL_`, and in lower case as keys of a configuration; the first that is set counts."""

SLACK_ALIASES: Mapping[str, tuple[str, ...]] = {
    "url": ("WEBHOOK_URL", "WEBHOOK", "URL"),
    "enabled": ("ENABLED",),
}

FILE_ALIASES: Mapping[str, tuple[str, ...]] = {
    "path": ("PATH", "FILE_PATH", "LOG_FILE", "FILENAME"),
    "enabled": ("ENABLED",),
}


def _email(given: Mapping[str, Any], prefix: str) -> Channel | None:
    from f1mon_core.delivery.channels.email import EmailChannel  # noqa: PLC0415 - only who mails pays for it

    found = _aliased(given, EMAIL_ALIASES)
    if not _enabled(found, prefix) or not set(found) - {"enabled"}:
        return None
    for name in ("host", "recipients"):
        if name not in found:
            raise ConfigurationError(f"{prefix}{EMAIL_ALIASES[name][0]} is missing")
    sender = found.get("sender") or found.get("user")
    if sender is None:
        raise ConfigurationError(f"{prefix}{EMAIL_ALIASES['sender'][0]} is missing")
    security = "auto"
    if "tls" in found:
        security = "starttls" if _flag(found["tls"], f"{prefix}USE_TLS") else "none"
    if "ssl" in found and _flag(found["ssl"], f"{prefix}USE_SSL"):
        security = "tls"
    try:
        port = int(found.get("port") or (465 if security == "tls" else 587))
    except ValueError:
        raise ConfigurationError(f"{prefix}PORT must be a whole number") from None
    return EmailChannel(
        host=found["host"],
        port=port,
        sender=sender,
        recipients=found["recipients"],
        user=found.get("user"),
        password=found.get("password"),
        security=security,
    )


def _slack(given: Mapping[str, Any], prefix: str) -> Channel | None:
    from f1mon_core.delivery.channels.slack import SlackChannel  # noqa: PLC0415 - HTTP is loaded for those who use it

    found = _aliased(given, SLACK_ALIASES)
    if not _enabled(found, prefix) or "url" not in found:
        return None
    return SlackChannel(found["url"])


def _console(given: Mapping[str, Any], prefix: str) -> Channel | None:
    return ConsoleChannel() if _enabled(_aliased(given, FILE_ALIASES), prefix) else None


def _file(given: Mapping[str, Any], prefix: str) -> Channel | None:
    found = _aliased(given, FILE_ALIASES)
    return FileChannel(found["path"]) if _enabled(found, prefix) and "path" in found else None


OWN: Mapping[str, Callable[[Mapping[str, Any], str], Channel | None]] = {
    "console": _console,
    "file": _file,
    "email": _email,
    "slack": _slack,
}


def _aliased(given: Mapping[str, Any], aliases: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, variables in aliases.items():
        for variable in variables:
            if given.get(variable) not in (None, ""):
                found[name] = given[variable]
                break
    return found


def _enabled(found: Mapping[str, Any], prefix: str) -> bool:
    return _flag(found.get("enabled", True), f"{prefix}ENABLED")


def _flag(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return value
    lowered = str(value).strip().lower()
    if lowered not in {"1", "true", "yes", "on", "0", "false", "no", "off"}:
        raise ConfigurationError(f"{name} must be true or false")
    return lowered in {"1", "true", "yes", "on"}
