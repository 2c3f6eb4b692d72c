"""Slack's incoming webhooks."""

from __future__ import annotations

import attrs

from f1mon_core.delivery.channels.webhook import WebhookChannel
from f1mon_core.delivery.messages import Message
from f1mon_core.records.fields import Document
from f1mon_core.text import shortened

_SLACK_HEADER = 150

_SLACK_SECTION = 2_900


@attrs.define
class SlackChannel(WebhookChannel):
    """Posts to a Slack incoming webhook; nothing in an alert can address a channel or a person."""

    def payload(self, message: Message) -> Document:
        """A header and a section; `&`, `<` and `>` are escaped as Slack asks, so `<!channel>` stays text."""
        text = shortened(message.text.split("\n", 1)[1].strip(), _SLACK_SECTION)
        return {
            "text": slack_text(message.subject),
            "blocks": [
                {"type": "header", "text": {"type": "plain_text", "text": message.subject[:_SLACK_HEADER]}},
                {"type": "section", "text": {"type": "plain_text", "text": text}},
            ],
        }


def slack_text(text: str) -> str:
    """Text that Slack shows as it is."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
