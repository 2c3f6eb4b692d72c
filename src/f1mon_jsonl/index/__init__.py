"""What is kept in memory of the journal."""
