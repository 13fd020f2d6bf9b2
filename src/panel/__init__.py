"""Parts of the panel. `choices`, `compare` and `foretell` hold no Qt; the others do."""
