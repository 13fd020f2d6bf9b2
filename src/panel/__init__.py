"""Parts of the panel. `choices`, `compare` and `estimates` do not import Qt; the others do."""
