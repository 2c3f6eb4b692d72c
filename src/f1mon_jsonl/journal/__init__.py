"""The journal: read, written, mended and compacted."""
