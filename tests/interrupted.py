"""A store in which something else happens at the worst moment."""


class Interrupted:
    """Does `then` once: after a question for the state under a prefix, or before the n-th transition under one."""

    def __init__(self, storage, then, *, after_state=None, before_transition=None, number=1):
        self._storage, self._then = storage, then
        self._after_state, self._before_transition, self._left = after_state, before_transition, number

    def __getattr__(self, name):
        return getattr(self._storage, name)

    def _count(self):
        self._left -= 1
        if self._left == 0:
            self._then()

    def state(self, prefix, **more):
        found = self._storage.state(prefix, **more)
        if prefix == self._after_state:
            self._count()
        return found

    def transition(self, key, step, *, operation_id):
        if self._before_transition is not None and key.startswith(self._before_transition):
            self._count()
        return self._storage.transition(key, step, operation_id=operation_id)
