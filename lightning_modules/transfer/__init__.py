"""Transfer learning: a trained backbone from a file, a new head, and which of its blocks train."""
