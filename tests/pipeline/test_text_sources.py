"""The three routes to a text, with a small one in its place: order, refusals by name, the last error; and what a stage
that takes the corpus needs, which no other stage does."""

import hashlib
import json

import pytest
from workspaces import ROOT, tiny

from pipelines import corpus, markov_text, parameters, sources, text_sources

SMALL = ("To be, or not to be: é.\n" * 20).encode()
PINNED = hashlib.sha256(SMALL).hexdigest()
# Where nothing answers: a download fails at once wherever this runs.
NOWHERE = "http://127.0.0.1:9/input.txt"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project's root without any route; the download would read a file beside it."""
    monkeypatch.delenv("TINYSHAKESPEARE", raising=False)
    monkeypatch.setattr(text_sources, "URL", NOWHERE)
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


def written(path, content=SMALL):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", ["tinyshakespeare.txt", "input.txt", "of/my/own.text"])
def test_the_first_route_is_a_folder_or_the_file_itself(project, monkeypatch, name):
    path = written(project / "elsewhere" / name)
    written(project / "data/raw/input.txt", b"another")
    place = path.parent if name in text_sources.NAMES else path
    monkeypatch.setenv("TINYSHAKESPEARE", str(place))
    assert text_sources.obtain("tiny-shakespeare", PINNED, project) == (SMALL, "$TINYSHAKESPEARE")


@pytest.mark.parametrize("name", text_sources.NAMES)
def test_the_second_route_is_data_raw(project, name):
    written(project / "data/raw" / name)
    assert text_sources.obtain("tiny-shakespeare", PINNED, project) == (SMALL, "data/raw")


def test_the_third_route_downloads_into_data_raw_where_the_second_finds_it(project, monkeypatch):
    monkeypatch.setattr(text_sources, "URL", written(project / "published.txt").as_uri())
    assert text_sources.obtain("tiny-shakespeare", PINNED, project) == (SMALL, "the download")
    assert [path.name for path in (project / "data/raw").iterdir()] == ["tinyshakespeare.txt"]
    monkeypatch.setattr(text_sources, "URL", NOWHERE)
    assert text_sources.obtain("tiny-shakespeare", PINNED, project) == (SMALL, "data/raw")


@pytest.mark.parametrize("published", [SMALL[:-5], SMALL + b"more", b"<html>404</html>", b""])
def test_a_download_of_other_bytes_leaves_nothing_behind(project, monkeypatch, published):
    monkeypatch.setattr(text_sources, "URL", written(project / "published.txt", published).as_uri())
    with pytest.raises(sources.DataError, match=rf"published.txt \({len(published)} bytes\) has SHA-256"):
        text_sources.obtain("tiny-shakespeare", PINNED, project)
    assert not (project / "data").exists()


def test_a_failing_route_falls_through_to_the_next(project, monkeypatch):
    monkeypatch.setenv("TINYSHAKESPEARE", str(written(project / "broken/input.txt", SMALL[:100])))
    written(project / "data/raw/input.txt")
    assert text_sources.obtain("tiny-shakespeare", PINNED, project)[1] == "data/raw"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (SMALL[:100], r"\$TINYSHAKESPEARE \(100 bytes\) has SHA-256 .*, params.yaml pins " + PINNED[:12]),
        (SMALL.replace(b"\n", b"\r\n"), r"\(520 bytes\) has SHA-256"),
        (b"\xff\xfe" + SMALL.decode().encode("utf-16-le"), r"from \$TINYSHAKESPEARE is not UTF-8 \(byte 0\)"),
        (SMALL[: SMALL.index("é".encode()) + 1], r"is not UTF-8 \(byte 21\)"),
        (b"", r"\(0 bytes\) has SHA-256"),
    ],
    ids=["truncated", "line ends", "utf-16", "cut in a character", "empty"],
)
def test_another_text_is_refused_with_what_is_wrong(project, monkeypatch, content, said):
    monkeypatch.setenv("TINYSHAKESPEARE", str(written(project / "input.txt", content)))
    with pytest.raises(sources.DataError, match=said):
        text_sources.obtain("tiny-shakespeare", PINNED, project)


def test_the_last_failure_tells_all_three_and_what_to_do(project, monkeypatch):
    monkeypatch.setenv("TINYSHAKESPEARE", str(project / "nowhere"))
    (project / "data/raw").mkdir(parents=True)
    with pytest.raises(sources.DataError) as error:
        text_sources.obtain("tiny-shakespeare", PINNED, project)
    said = str(error.value)
    for part in (
        f"  $TINYSHAKESPEARE: {project}/nowhere does not exist",
        "  data/raw: no tinyshakespeare.txt and no input.txt in ",
        f"  the download: could not read {NOWHERE}: ",
        "set TINYSHAKESPEARE to the file",
        "put it into data/raw as tinyshakespeare.txt",
        "can be reached",
        "`make quick`",
    ):
        assert part in said
    monkeypatch.delenv("TINYSHAKESPEARE")
    with pytest.raises(sources.DataError, match=r"\$TINYSHAKESPEARE: not set"):
        text_sources.obtain("tiny-shakespeare", PINNED, project)


def test_another_folder_is_told_where_the_text_is(project, monkeypatch):
    monkeypatch.chdir(project)
    monkeypatch.setenv("CIFAR10_ROOT", "images")
    monkeypatch.setenv("TINYSHAKESPEARE", "texts")
    sources.settle()
    (project / "inner").mkdir()
    monkeypatch.chdir(project / "inner")
    written(project / "texts/input.txt")
    assert text_sources.obtain("tiny-shakespeare", PINNED, project / "inner")[1] == "$TINYSHAKESPEARE"


def test_the_generated_text_is_the_pinned_one():
    asked = parameters.checked(tiny(), "tiny").corpus
    assert asked.source == "markov-chain"
    content, route = text_sources.obtain(asked.source, asked.sha256, None)
    assert route == "a Markov chain" and len(content) == markov_text.LENGTH
    assert set(content.decode()) == set(markov_text.ALPHABET)
    assert markov_text.text(1000) == content.decode()[:1000]
    with pytest.raises(sources.DataError, match=r"the Markov chain \(200,000 bytes\) has SHA-256"):
        text_sources.obtain(asked.source, PINNED, None)


def test_a_prepared_text_keeps_its_line_ends_and_a_damaged_one_is_one_sentence(tmp_path):
    content = b"a\r\nb\n" * 10
    path, pinned = written(tmp_path / "corpus.txt", content), {"sha256": hashlib.sha256(content).hexdigest()}
    loaded = corpus.load(path, pinned)
    assert loaded.train + loaded.validation == "a\r\nb\n" * 10
    for damaged, says in ((SMALL[:22], "is not UTF-8"), (content[:-1], "has SHA-256")):
        written(path, damaged)
        with pytest.raises(sources.DataError, match=rf"{says}.*: remove .*; `dvc repro prepare_corpus` makes it again"):
            corpus.load(path, pinned)


STUDY = "benchmarks/studies/scale_invariance"
PIPELINE = "pipelines/scale_invariance/dvc.yaml"
RUN = '''"""How many tokens there are."""

from benchmarks.lab import text
from benchmarks.studies.table import tidy


@tidy
def run(settings, corpus):
    tokens = text.characters(corpus)
    pairs = text.bigrams(tokens.train_N, len(tokens.vocabulary))
    yield "characters", None, {"tokens": len(tokens.train_N), "pairs": int(pairs.counts_VxV.sum()) * settings.times}
'''
DECLARED = """class Reading(Strict):
    times: Count


READING = tidy(
    "Tokens",
    "a count",
    "One text.",
    {"tokens": Column("", "tokens to train on", EXACT), "pairs": Column("", "pairs of them", EXACT)},
    system="how the text is cut",
)

HOMOGENEITY = """


@pytest.fixture
def reading(unbuilt):
    """A workspace with an experiment that takes the corpus; nothing has run."""
    (unbuilt.path / STUDY / "reading.py").write_text(RUN)
    unbuilt.edit(f"{STUDY}/study.py", "import Column, relative", "import EXACT, Column, relative")
    unbuilt.edit(f"{STUDY}/study.py", "HOMOGENEITY = ", DECLARED)
    declared = 'Experiment("reading", Reading, READING),\n        Experiment("homogeneity"'
    unbuilt.edit(f"{STUDY}/study.py", 'Experiment("homogeneity"', declared)
    unbuilt.set("scale_invariance.reading", {"times": 1})
    unbuilt.bench("stages")
    unbuilt.git("init", "-q", "-b", "main")
    unbuilt.dvc("init", "-q")
    return unbuilt


def asked_of(workspace, name):
    return json.loads((workspace.path / f"results/code/scale_invariance/{name}.json").read_text())


def test_only_a_stage_that_takes_the_corpus_depends_on_it(reading):
    said = reading.bench("repro", "reading").stdout
    assert "running prepare_corpus" in said and "ran reading" in said and "failed 0" in said
    assert not (reading.path / "data/images.npz").exists(), "what needs no images asks for none"
    table = (reading.path / "results/tables/scale_invariance/reading.csv").read_text()
    assert "tokens,180000" in table and "pairs,179999" in table
    assert asked_of(reading, "reading")["data"] == {"corpus": reading.get("corpus")}
    assert asked_of(reading, "homogeneity")["data"] is None
    before = reading.bytes("results/code/scale_invariance/*.json")

    # Another text: of all stages, this one alone is told.
    text = written(reading.path / "mine.txt")
    reading.set("corpus", {"source": "tiny-shakespeare", "sha256": PINNED})
    reading.bench("repro", "reading", TINYSHAKESPEARE=str(text))
    after = reading.bytes("results/code/scale_invariance/*.json")
    changed = {path.rpartition("/")[2] for path in after if after[path] != before[path]}
    assert changed == {"reading.json"}
    assert (
        f"tokens,{9 * len(SMALL.decode()) // 10}"
        in (reading.path / "results/tables/scale_invariance/reading.csv").read_text()
    )
    assert "ran 0" in reading.bench("repro", "reading").stdout


def test_without_a_text_only_what_takes_it_is_refused(reading):
    reading.set("corpus", parameters.read(ROOT / "params.yaml")["corpus"])
    refused = {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    done = reading.bench("repro", "reading", check=False, TINYSHAKESPEARE="nowhere", **refused)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "no route gave the pinned text of Tiny Shakespeare" in done.stderr
    assert not (reading.path / "data").exists()
    assert "ran homogeneity" in reading.bench("repro", "homogeneity", **refused).stdout
    said = reading.bench("doctor", check=False).stdout
    assert "note  Tiny Shakespeare is not here ($TINYSHAKESPEARE: not set; data/raw: " in said
    assert "only stages that take text need it" in said


def test_the_text_is_a_stage_only_where_a_stage_takes_it(reading):
    root = reading.path / "dvc.yaml"
    assert "prepare_corpus:" in root.read_text() and "data/corpus.txt" in (reading.path / PIPELINE).read_text()
    (reading.path / STUDY / "reading.py").write_text(RUN.replace("settings, corpus", "settings"))
    for path in (reading.path / "benchmarks/studies").glob("*/*.py"):
        if "corpus: Corpus, " in path.read_text():
            path.write_text(path.read_text().replace("corpus: Corpus, ", ""))
    reading.bench("stages")
    assert "prepare_corpus:" not in root.read_text()
    assert "data/corpus.txt" not in root.read_text() + (reading.path / PIPELINE).read_text()
