"""The revisions of the schema, and how a database comes to the newest."""
