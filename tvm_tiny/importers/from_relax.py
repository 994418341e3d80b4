"""Relax modules that callers bring: checked, and given the attributes of the contract."""

from __future__ import annotations

import tvm
from tvm import relax

from tvm_tiny.errors import ModelError
from tvm_tiny.importers.problems import foreign_errors


def from_relax(module: tvm.IRModule) -> tvm.IRModule:
    """Return the module with the attributes of the contract that it lacks."""
    names = [global_var.name_hint for global_var in module.get_global_vars()]
    if "main" not in names:
        raise ModelError(
            f"the module has no function main, only {names}", hint="name the entry function main"
        )
    main = module["main"]
    if not isinstance(main, relax.Function):
        raise ModelError(f"main is a {type(main).__name__}, not a Relax function")
    with foreign_errors("the Relax module", "main"):
        relax.analysis.well_formed(module)
        count = len(main.ret_ty.fields) if isinstance(main.ret_ty, relax.TupleType) else 1
        defaults = {
            "tiny.source": "relax",
            "tiny.input_names": [parameter.name for parameter in main.params],
            "tiny.output_names": [f"output_{index}" for index in range(count)],
        }
        lacking = {key: value for key, value in defaults.items() if key not in (main.attrs or {})}
        result = tvm.IRModule(dict(module.functions), attrs=module.attrs)
        result["main"] = main.with_attrs(lacking) if lacking else main
        return result
