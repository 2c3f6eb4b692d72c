"""Someone who may read files and not write them, also where the tests are run by root, whom permissions do not bind."""

import ctypes
import os
import traceback
import warnings
from contextlib import contextmanager

_VERSION = 0x20080522
_OVERRIDING = 0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def _be_bound_by_permissions():
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = _Header(_VERSION, 0), (_Sets * 2)()
    assert libc.capget(ctypes.byref(header), sets) == 0
    for name in ("effective", "permitted", "inheritable"):
        setattr(sets[0], name, getattr(sets[0], name) & ~_OVERRIDING)
    assert libc.capset(ctypes.byref(header), sets) == 0


def bound_by_permissions(work):
    """Do some work in a forked child whom permissions bind; an error there is one of the test."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads, on newer Pythons
        pid = os.fork()
    if pid == 0:
        told = b""
        try:
            _be_bound_by_permissions()
            work()
        except BaseException:  # noqa: BLE001 - whatever it is, it is told
            told = traceback.format_exc().encode() or b"!"
        finally:
            os.write(writing, told[-60_000:])
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    os.waitpid(pid, 0)
    assert not told, told.decode()


@contextmanager
def unwritable(directory):
    """A directory, and what lies in it, that nobody may write."""
    paths = [directory, *directory.rglob("*")]
    modes = {path: path.stat().st_mode for path in paths}
    try:
        for path, mode in modes.items():
            path.chmod(mode & 0o555)
        yield
    finally:
        for path, mode in modes.items():
            if path.exists():
                path.chmod(mode)
