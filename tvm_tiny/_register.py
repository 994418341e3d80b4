"""Entry point that TVM calls on import."""


def register() -> None:
    """Make TVM aware of the plugin; cheap and idempotent."""
