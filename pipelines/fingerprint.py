"""Stage: check params.yaml and the dvc.yaml files, and record what each stage has to do and with which code."""

import argparse
from pathlib import Path

from benchmarks.studies import catalog
from pipelines import dvcfile, fingerprints, parameters, stages
from pipelines.entry import stage
from pipelines.files import CODE, prune, write_json


@stage
def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    params = parameters.load()
    dvcfile.require_current(params)
    wanted = set()
    for one in stages.training(params):
        write_json(one.code, fingerprints.of_stage(one, params, Path.cwd()), sort_keys=False)
        wanted.add(one.code)
    for one in stages.following():
        write_json(one.code, fingerprints.of_following(one, Path.cwd()))
        wanted.add(one.code)
    for name in catalog.studies():
        runs = [one.path for one in stages.of_study(name, params) if one.table is None]
        part = {"runs": runs, "settings": getattr(params, name).model_dump()}
        write_json(CODE / f"{name}.json", part, sort_keys=False)
        wanted.add(CODE / f"{name}.json")
    write_json(CODE / "profile.json", params.model_dump(include={"profile", "data", "corpus", "compute"}))
    prune(CODE, {*wanted, CODE / "profile.json"})


if __name__ == "__main__":
    main()
