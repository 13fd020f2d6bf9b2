"""Parts of the panel. `beside`, `choices`, `compare` and `estimates` do not import Qt; the others do."""
