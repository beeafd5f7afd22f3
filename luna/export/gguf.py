"""Quantises by llama.cpp, and writes the generation's identity into the GGUF."""

from __future__ import annotations

import ctypes
from pathlib import Path

import llama_cpp

from luna.answering.gguf_vocabulary import silent
from luna.errors import ExportError

FILE_TYPES = {
    "BF16": llama_cpp.LLAMA_FTYPE_MOSTLY_BF16,
    "F16": llama_cpp.LLAMA_FTYPE_MOSTLY_F16,
    "Q8_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0,
    "Q6_K": llama_cpp.LLAMA_FTYPE_MOSTLY_Q6_K,
    "Q5_K_M": llama_cpp.LLAMA_FTYPE_MOSTLY_Q5_K_M,
    "Q4_K_M": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M,
}
IDENTITY = "luna."  # prefix of the metadata keys that say which generation a file is
_STRING = llama_cpp.LLAMA_KV_OVERRIDE_TYPE_STR
_MAX_BYTES = 127  # llama.cpp keeps an override in 128 bytes, the last of them zero


def quantise(
    source: Path, out: Path, kind: str, identity: dict[str, str], threads: int = 0
) -> None:
    """Write ``source`` (a 16-bit GGUF) quantised as ``kind``, with ``identity`` added to its metadata.

    The same input gives the same bytes, with any number of threads.

    Raises:
        ExportError: llama.cpp refuses, or an identity is longer than 127 bytes.
    """
    overrides = (
        llama_cpp.llama_model_kv_override * (len(identity) + 1)
    )()  # a zeroed one ends the list
    for override, (key, value) in zip(overrides, identity.items(), strict=False):
        if max(len(value.encode()), len((IDENTITY + key).encode())) > _MAX_BYTES:
            raise ExportError(
                f"The metadata '{key}' is longer than {_MAX_BYTES} bytes: shorten line.prefix in params.yaml."
            )
        override.tag = _STRING
        override.key = (IDENTITY + key).encode()
        override.value.val_str = value.encode()
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = FILE_TYPES[kind]
    params.nthread = threads
    params.kv_overrides = ctypes.cast(overrides, type(params.kv_overrides))
    with silent():
        status = llama_cpp.llama_model_quantize(
            str(source).encode(), str(out).encode(), ctypes.byref(params)
        )
    if status:
        raise ExportError(
            f"llama.cpp could not quantise to {kind} (status {status}): check free disk space and export.quantization in params.yaml."
        )
