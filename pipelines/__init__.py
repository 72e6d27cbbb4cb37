"""What turns the benchmark into results: DVC's stages, and the ``bench`` command.

The OpenBLAS of numpy and scipy chooses its kernels according to the processor, and each kernel rounds differently.
Nearly every x86 processor of the last ten years has AVX2: where it does, the AVX2 kernels are requested before numpy is
loaded, so that all machines round alike.
"""

import os
from pathlib import Path

_CPU = Path("/proc/cpuinfo")

if _CPU.is_file() and " avx2 " in _CPU.read_text(encoding="utf-8", errors="replace"):
    os.environ.setdefault("OPENBLAS_CORETYPE", "Haswell")
