"""Parts of the panel. `beside`, `choices`, `compare`, `estimates` and `watch` do not import Qt; the others do."""
