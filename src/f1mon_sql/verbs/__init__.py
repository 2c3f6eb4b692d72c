"""The verbs of the contract as statements on a connection."""
