"""Stores with one planted fault each, and the law of the contract kit that catches it."""
