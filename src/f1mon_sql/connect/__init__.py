"""Addresses, engines, statements, and what a driver's errors mean."""
