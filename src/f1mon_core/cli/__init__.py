"""The command line: data on stdout, talk on stderr, exit codes as in `f1mon_core.cli.errors`.

One module for each group of commands. Further commands are registered by entry point in the group `f1mon.commands`.
"""

from f1mon_core.cli.commands import f1mon, main

__all__ = ["f1mon", "main"]
