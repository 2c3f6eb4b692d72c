"""A base for backends over stores of ordered keys: two methods and six calls, and the contract is kept."""

from f1mon_core.storage.keyvalue.store import KeyValueStorage
from f1mon_core.storage.keyvalue.transaction import Reading, Staged, Transaction

__all__ = ["KeyValueStorage", "Reading", "Staged", "Transaction"]
