"""The file system: paths, private files, bounded reads, atomic writes."""
