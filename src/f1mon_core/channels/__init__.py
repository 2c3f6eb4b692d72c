"""Where alerts go: the channel protocol, and which channel a name means."""

from f1mon_core.channels._local import CallbackChannel, ConsoleChannel, FileChannel
from f1mon_core.channels._registry import CHANNELS_GROUP, Channel, Channels, directory_of
from f1mon_core.messages import Message, Section

__all__ = [
    "CHANNELS_GROUP",
    "CallbackChannel",
    "Channel",
    "Channels",
    "ConsoleChannel",
    "FileChannel",
    "Message",
    "Section",
    "directory_of",
]
