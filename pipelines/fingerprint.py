"""Stage: check params.yaml and the dvc.yaml files, and write down what each stage is to do and with which code."""

import argparse
from pathlib import Path

from pipelines import dvcfile, fingerprints, parameters, stages
from pipelines.entry import stage
from pipelines.files import CODE, prune, write_json


@stage
def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    checked = parameters.load()
    dvcfile.require_current(checked)
    wanted = set()
    for one in stages.training(checked):
        write_json(one.code, fingerprints.of_stage(one, checked, Path.cwd()), sort_keys=False)
        wanted.add(one.code)
    profile = CODE / "profile.json"
    write_json(profile, checked.model_dump(include={"profile", "data", "compute"}))
    prune(CODE, wanted | {profile}, Path.unlink)


if __name__ == "__main__":
    main()
