"""Parts of the panel. `choices`, `compare` and `foretell` do not import Qt; the others do."""
