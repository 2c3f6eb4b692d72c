"""Any service Apprise knows (PagerDuty, Teams, …), through the extra `notify`."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import attrs

from f1mon_core.delivery.channels.webhook import refused
from f1mon_core.delivery.messages import Message
from f1mon_core.errors import ConfigurationError, DeliveryError, MissingExtraError
from f1mon_core.text import shortened

_STATUS = re.compile(r"\berror=([1-5][0-9]{2})\b")
_UNREACHED = "onnection error occurred"
"""What Apprise logs where no answer came."""
_TYPES = {"info": "info", "warning": "warning", "critical": "failure"}


class _Ear(logging.Filter):
    """Hears what Apprise logs, each send only what is said of its own: channels send at the same time.

    It stays on the logger, because one that comes and goes could hide a record from another thread's. What belongs to
    a send is known by its context, which Apprise takes along to the threads it sends on.
    """

    def __init__(self) -> None:
        super().__init__()
        self._heard: ContextVar[list[str] | None] = ContextVar("heard", default=None)
        self._secret: ContextVar[bool] = ContextVar("secret", default=False)

    def filter(self, record: logging.LogRecord) -> bool:
        if (heard := self._heard.get()) is not None:
            heard.append(record.getMessage())
        return not self._secret.get()

    @contextmanager
    def listening(self) -> Iterator[list[str]]:
        """What is logged inside."""
        heard: list[str] = []
        token = self._heard.set(heard)
        try:
            yield heard
        finally:
            self._heard.reset(token)

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Nobody hears what is logged inside."""
        token = self._secret.set(True)
        try:
            yield
        finally:
            self._secret.reset(token)


_ear = _Ear()
logging.getLogger("apprise").addFilter(_ear)


def _one_service(url: str) -> Any:
    try:
        import apprise  # noqa: PLC0415 - an extra, and slow to import
    except ImportError as error:
        raise MissingExtraError(
            "this channel's address is one for Apprise, which is not installed: pip install 'f1mon[notify]'",
            name=error.name,
        ) from error
    service = apprise.Apprise()
    with _ear.keeping():  # Apprise logs the whole of an address that it does not understand
        understood = service.add(url)
    if not understood or len(service) != 1:
        raise ConfigurationError(
            f"Apprise does not understand this {url.partition(':')[0]} address, or it names several"
        )
    return service


@attrs.define
class AppriseChannel:
    """One Apprise service. Several make several channels, so that each is retried on its own."""

    service: Any = attrs.field(repr=False, converter=_one_service)

    def send(self, message: Message) -> None:
        """Notify the service.

        Raises:
            DeliveryError: If it was not reached whole. Apprise tells the HTTP status only in its log, from which it
                is read where it stands; without one, or where another attempt may help with any, it is repeated.
        """
        import apprise  # noqa: PLC0415 - present, since the channel was made

        html = self.service[0].notify_format == apprise.NotifyFormat.HTML
        text = message.text
        if message.alerts and self.service[0].overflow_mode == apprise.OverflowMode.UPSTREAM:
            text = shortened(text, int(self.service[0].body_maxlen))
        with _ear.listening() as said:
            result = self.service.notify(
                body=message.html if html else text,
                title=message.subject,
                notify_type=_TYPES[message.severity],
                body_format=apprise.NotifyFormat.HTML if html else apprise.NotifyFormat.TEXT,
                interpret_escapes=False,
            )
        if not result:
            refusals = [refused(int(status)) for status in _STATUS.findall("\n".join(said))]
            for refusal in sorted(refusals, key=lambda one: not one.retry):
                raise refusal
            unreached = any(_UNREACHED in line for line in said)
            raise DeliveryError(f"Apprise could not deliver to {self.service[0].service_name}", channel=unreached)
