"""The file backend of f1mon: one directory, no server, nothing acknowledged is ever lost."""

from f1mon_core.storage.registry import Backend
from f1mon_jsonl.fresh import fresh_jsonl
from f1mon_jsonl.opening import jsonl_exists, open_jsonl
from f1mon_jsonl.storage import JSONLStorage

__all__ = ["JSONLStorage", "backend", "open_jsonl"]

backend = Backend(
    name="jsonl", open=open_jsonl, fresh=fresh_jsonl, exists=jsonl_exists, durable=True, shared=True, contract=2
)
