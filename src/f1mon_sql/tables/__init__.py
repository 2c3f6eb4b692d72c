"""The tables, and facts as their rows."""
