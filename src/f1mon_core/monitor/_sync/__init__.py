"""The side written by hand; `tools/generate_async.py` makes `_async` of it."""
