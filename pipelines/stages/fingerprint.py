"""Stage: check params.yaml, and write down which code each configuration's numbers depend on."""

import argparse
from pathlib import Path

from pipelines import fingerprints, parameters
from pipelines.files import prune, write_json
from pipelines.stages import stage


@stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    written: dict[Path, set[Path]] = {}
    for (study, name), roots in fingerprints.configurations(parameters.load()).items():
        path = arguments.out / study / f"{name}.json"
        write_json(path, fingerprints.fingerprint(roots, Path.cwd()))
        written.setdefault(path.parent, set()).add(path)
    for folder, wanted in written.items():
        prune(folder, wanted, Path.unlink)


if __name__ == "__main__":
    main()
