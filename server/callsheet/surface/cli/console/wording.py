"""The words that the command line shares with the desk."""

from callsheet.surface.text import age, in_commands, joined, json_text, length, one_line, size, span

__all__ = ["age", "in_commands", "joined", "json_text", "length", "one_line", "size", "span"]
