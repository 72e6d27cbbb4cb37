"""What a fingerprint sees of code: ours, and what a user names from outside."""

import json
import sys

import pytest

from pipelines import fingerprints

OURS = '''
"""What a module is for."""

def stop(loss, limit):
    """What a function does."""
    if loss > limit:
        raise ValueError(f"a loss of {loss:g} is above {limit:g}")  # a comment
    return limit
'''


def of(tmp_path, text):
    """The fingerprint of a package of one module with this text."""
    (tmp_path / "benchmarks").mkdir(exist_ok=True)
    (tmp_path / "benchmarks/__init__.py").write_text("")
    (tmp_path / "benchmarks/loop.py").write_text(text)
    return fingerprints.fingerprint(["benchmarks.loop"], tmp_path)["fingerprint"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("is above", "exceeds"),
        ('f"a loss of {loss:g} is above {limit:g}"', '"the loss is too large"'),
        ('f"a loss of {loss:g} is above {limit:g}"', 'f"{limit} < " + f"{loss}", loss'),
        ('(f"a loss of {loss:g} is above {limit:g}")', ""),
        ("a comment", "another comment"),
        ("What a function does", "What a function is for"),
        ("What a module is for", "What it is for"),
    ],
)
def test_words_leave_a_fingerprint_as_it_was(tmp_path, old, new):
    assert of(tmp_path, OURS) == of(tmp_path, OURS.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("ValueError", "RuntimeError"),
        ("loss > limit", "loss >= limit"),
        ("raise ValueError", "return ValueError"),
        ("raise ValueError", "print"),
        ("return limit", "return loss"),
    ],
)
def test_code_changes_a_fingerprint(tmp_path, old, new):
    assert of(tmp_path, OURS) != of(tmp_path, OURS.replace(old, new))


def test_what_an_exception_of_ones_own_carries_is_no_message(tmp_path):
    text = 'class Done(Exception): ...\ndef run(a, b):\n    raise Done("after so many steps", a["loss"])\n'
    assert of(tmp_path, text) == of(tmp_path, text.replace("after so many", "after some"))
    assert of(tmp_path, text) != of(tmp_path, text.replace('a["loss"]', "b"))
    assert of(tmp_path, text) != of(tmp_path, text.replace('"loss"', '"gap"'))


LOOSE = {
    "mine/__init__.py": "from mine.constants import RATE\n",
    "mine/constants.py": "RATE = 0.1\n",
    "mine/nets/__init__.py": "",
    "mine/nets/wide.py": "import json\nimport numpy\nfrom . import layers\nfrom ..shapes import square as s\n",
    "mine/nets/layers.py": "def layer():\n    import helper\n    return helper.two()\n",
    "mine/shapes.py": "def square(x):\n    return x * x\n",
    "mine/unrelated.py": "A = 1\n",
    "helper.py": "from folder.inner import three\n\ndef two():\n    return 2\n",
    "folder/inner.py": "from benchmarks.lab import losses\n\nthree = 3\n",
}


@pytest.fixture
def loose(tmp_path, monkeypatch):
    """Writes modules of a user's own, in no distribution, and gives the fingerprint of ``mine.nets.wide:build``."""
    source = tmp_path / "source"
    (source / "benchmarks/lab").mkdir(parents=True)
    for name in ("__init__.py", "lab/__init__.py", "lab/losses.py"):
        (source / "benchmarks" / name).write_text("")
    users = tmp_path / "users"
    monkeypatch.syspath_prepend(users)

    def take(changes=()):
        for name, text in {**LOOSE, **dict(changes)}.items():
            (users / name).parent.mkdir(parents=True, exist_ok=True)
            (users / name).write_text(text)
        return fingerprints.fingerprint(["mine.nets.wide:build"], source)

    return take


def test_a_loose_module_is_hashed_with_all_that_it_imports(loose):
    first = loose()
    assert list(first["outside"]) == [
        "folder.inner",
        "helper",
        "mine",
        "mine.constants",
        "mine.nets",
        "mine.nets.layers",
        "mine.nets.wide",
        "mine.shapes",
    ]
    # What it uses of ours is ours.
    assert list(first["modules"]) == ["benchmarks", "benchmarks.lab", "benchmarks.lab.losses"]
    assert not {"mine", "helper"} & set(sys.modules), "nothing is executed"


@pytest.mark.parametrize("name", sorted(set(LOOSE) - {"mine/unrelated.py"}))
def test_an_edit_of_what_a_loose_module_imports_changes_the_fingerprint(loose, name):
    first = loose()
    assert loose({name: LOOSE[name] + "B = 2\n"})["fingerprint"] != first["fingerprint"]


def test_an_unrelated_file_and_a_comment_do_not(loose):
    first = loose()
    assert loose({"mine/unrelated.py": "A = 2\n"}) == first
    assert loose({"mine/shapes.py": "# A comment.\n" + LOOSE["mine/shapes.py"]}) == first


def test_a_module_that_cannot_be_read_or_found_is_one_sentence(loose, tmp_path):
    with pytest.raises(ValueError, match=r"layers\.py.*line 1"):
        loose({"mine/nets/layers.py": "def layer(:\n"})
    with pytest.raises(ValueError, match="cannot find 'nowhere:build'"):
        fingerprints.fingerprint(["nowhere:build"], tmp_path)


def install(folder, version, code, direct_url=None):
    """A distribution ``kit`` with a package ``kit`` in a folder of installed packages."""
    info = folder / f"kit-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: kit\nVersion: {version}\n")
    (info / "top_level.txt").write_text("kit\n")
    if direct_url:
        (info / "direct_url.json").write_text(json.dumps(direct_url))
    (folder / "kit").mkdir()
    (folder / "kit/__init__.py").write_text("from kit.code import build\n")
    (folder / "kit/code.py").write_text(code)


@pytest.fixture
def kit(tmp_path, monkeypatch):
    """Gives what a fingerprint says of ``kit:build``, installed in this way."""

    def take(*arguments, **options):
        folder = tmp_path / str(len(list(tmp_path.iterdir()))) / "site-packages"
        install(folder, *arguments, **options)
        with monkeypatch.context() as patch:
            patch.syspath_prepend(folder)
            fingerprints._released.cache_clear()
            return fingerprints.fingerprint(["kit:build"], tmp_path)["outside"]

    yield take
    fingerprints._released.cache_clear()


def test_a_released_distribution_is_known_by_its_version(kit):
    archive = {"url": "https://example.org/kit.whl", "archive_info": {}}
    assert kit("1.0", "A = 1\n") == kit("1.0", "A = 2\n", direct_url=archive) == {"kit:build": "kit 1.0"}
    assert kit("1.1", "A = 1\n") == {"kit:build": "kit 1.1"}


@pytest.mark.parametrize("dir_info", [{"editable": True}, {}])
def test_a_distribution_installed_from_a_folder_is_known_by_its_files(kit, dir_info):
    url = {"url": "file:///home/me/kit", "dir_info": dir_info}
    first, same, other = (kit("1.0", code, direct_url=url) for code in ("A = 1\n", "A = 1  # one\n", "A = 2\n"))
    assert first == same != other
    assert list(first) == ["kit", "kit.code"]


def test_an_editable_install_is_known_by_its_files(tmp_path, monkeypatch):
    installed, project = tmp_path / "site-packages", tmp_path / "project"
    install(installed, "1.0", "A = 1\n", {"url": project.as_uri(), "dir_info": {"editable": True}})
    (installed / "kit").rename(tmp_path / "kit")
    project.mkdir()
    (tmp_path / "kit").rename(project / "kit")
    # As a build leaves it beside the code; its version is as old as the build.
    (project / "kit.egg-info").mkdir()
    (project / "kit.egg-info/PKG-INFO").write_text("Metadata-Version: 2.1\nName: kit\nVersion: 1.0\n")
    (project / "kit.egg-info/top_level.txt").write_text("kit\n")
    monkeypatch.syspath_prepend(installed)
    monkeypatch.syspath_prepend(project)
    first = fingerprints.fingerprint(["kit:build"], tmp_path)
    (project / "kit/code.py").write_text("A = 2\n")
    second = fingerprints.fingerprint(["kit:build"], tmp_path)
    assert first["fingerprint"] != second["fingerprint"] and list(first["outside"]) == ["kit", "kit.code"]
