"""What turns the benchmark into results: DVC's stages, and the ``bench`` command.

numpy's and scipy's OpenBLAS chooses its kernels by the processor, and each rounds in its own way. Nearly every x86
processor of the last ten years has AVX2: where it has, the kernels for AVX2 are asked for before numpy is loaded, so
that all of them round alike.
"""

import os
from pathlib import Path

_CPU = Path("/proc/cpuinfo")

if _CPU.is_file() and " avx2 " in _CPU.read_text(encoding="utf-8", errors="replace"):
    os.environ.setdefault("OPENBLAS_CORETYPE", "Haswell")
