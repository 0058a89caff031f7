"""The base model: pinned, looked at, materialised."""
