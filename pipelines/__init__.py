"""What turns the benchmark into results: DVC's stages, and the ``bench`` command.

numpy's and scipy's OpenBLAS chooses its kernels by the processor, and each rounds in its own way. Every processor of the
last ten years has those for AVX2: they are asked for before numpy is loaded, so that one rounding holds everywhere.
"""

import os
from pathlib import Path

_CPU = Path("/proc/cpuinfo")

if _CPU.is_file() and " avx2 " in _CPU.read_text(encoding="utf-8", errors="replace"):
    os.environ.setdefault("OPENBLAS_CORETYPE", "Haswell")
