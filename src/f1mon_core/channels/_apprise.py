"""Any service Apprise knows (PagerDuty, Teams, …), through the extra `notify`."""

from __future__ import annotations

import re
from typing import Any

import attrs

from f1mon_core.channels._http import refused
from f1mon_core.errors import ConfigurationError, DeliveryError, MissingExtraError
from f1mon_core.messages import Message

_STATUS = re.compile(r"\berror=([1-5][0-9]{2})\b")
_TYPES = {"info": "info", "warning": "warning", "critical": "failure"}


def _one_service(url: str) -> Any:
    try:
        import apprise  # noqa: PLC0415 - an extra, and slow to import
    except ImportError as error:
        raise MissingExtraError(
            "this channel's address is one for Apprise, which is not installed: pip install 'f1mon[notify]'",
            name=error.name,
        ) from error
    service = apprise.Apprise()
    if not service.add(url) or len(service) != 1:
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
                is read where it stands.
        """
        import apprise  # noqa: PLC0415 - present, since the channel was made

        html = self.service[0].notify_format == apprise.NotifyFormat.HTML
        with apprise.LogCapture(level=apprise.logging.WARNING) as log:  # type: ignore[no-untyped-call]  # untyped there
            result = self.service.notify(
                body=message.html if html else message.text,
                title=message.subject,
                notify_type=_TYPES[message.severity],
                body_format=apprise.NotifyFormat.HTML if html else apprise.NotifyFormat.TEXT,
                interpret_escapes=False,
            )
            said = log.getvalue()
        if not result:
            if (status := _STATUS.search(said)) is not None:
                raise refused(int(status[1]))
            raise DeliveryError(f"Apprise could not deliver to {self.service[0].service_name}")
