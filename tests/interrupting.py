"""An interrupt at a chosen moment of a call."""

import sys


class Struck:
    """Raises a KeyboardInterrupt at the nth moment: a function of Python begins, or one of C has returned.

    Of all moments, or of those in functions of one name.
    Those, and the ends of loops, are where the interpreter runs a signal's handler.
    """

    def __init__(self, number, inside=None):
        self.left, self.inside = number, inside

    def __call__(self, frame, event, _argument):
        if event in ("call", "c_return") and self.inside in (None, frame.f_code.co_name):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt

    def at(self, call):
        """Whether it came in a call."""
        sys.setprofile(self)
        try:
            call()
        except KeyboardInterrupt:
            return True
        finally:
            sys.setprofile(None)
        return False
