"""Entry point that TVM calls on import: `tvm.backends` in pyproject.toml.

Every user of TVM in an environment with this package pays for it, so it imports nothing heavy.
"""

from __future__ import annotations

_registered = False


def register() -> None:
    """Make TVM aware of the plugin; cheap and idempotent."""
    global _registered
    if _registered:
        return
    import tvm

    # A tag for those who ask TVM for a target by name; it outlives a reload of this module.
    tvm.target.register_tag("tvm_tiny/c", {"kind": "c"}, override=True)
    _registered = True
