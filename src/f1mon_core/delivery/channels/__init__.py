"""Where alerts go: the channel protocol, and which channel a name means."""

from f1mon_core.delivery.channels.console_file import CallbackChannel, ConsoleChannel, FileChannel
from f1mon_core.delivery.channels.protocol import Channel, Reached, SeveralChannel
from f1mon_core.delivery.channels.registry import CHANNELS_GROUP, Channels, directory_of
from f1mon_core.delivery.messages import Message, Section

__all__ = [
    "CHANNELS_GROUP",
    "CallbackChannel",
    "Channel",
    "Channels",
    "ConsoleChannel",
    "FileChannel",
    "Message",
    "Reached",
    "Section",
    "SeveralChannel",
    "directory_of",
]
