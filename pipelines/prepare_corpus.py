"""Stage: the pinned text as one file, whichever route it comes by."""

import argparse
from pathlib import Path

from pipelines import text_sources
from pipelines.entry import stage
from pipelines.files import CORPUS, read_yaml, replacing


@stage
def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    asked = text_sources.Corpus.model_validate(read_yaml(Path("params.yaml"))["corpus"])
    content, route = text_sources.obtain(asked.source, asked.sha256, Path.cwd())
    with replacing(CORPUS) as temporary:
        temporary.write_bytes(content)
    print(f"prepared {len(content.decode('utf-8')):,} characters from {route}")


if __name__ == "__main__":
    main()
