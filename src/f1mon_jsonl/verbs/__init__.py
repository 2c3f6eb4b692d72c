"""The verbs of the contract over the index and the journal."""
