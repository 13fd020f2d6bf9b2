"""Parts of the panel. `choices`, `compare` and `foretell` hold no Qt; `form`, `joblist` and `comparebox` are widgets."""
