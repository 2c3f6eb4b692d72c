"""The seam to the file system: files, directories, locks and syncs."""
