"""The three routes to CIFAR-10, with small data in the official layouts: order, refusals by name, the last error."""

import hashlib
import pickle

import numpy as np
import pytest
import torchvision
from workspaces import ROOT, tiny

from pipelines import parameters, sources

CLASSES = 10


def batch(seed):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (12, 3072), dtype=np.uint8), rng.integers(0, CLASSES, 12).tolist()


@pytest.fixture
def small(monkeypatch):
    """Batches of 12 images, of which the first 4 are taken."""
    monkeypatch.setattr(sources, "_BATCH", 12)
    monkeypatch.setattr(sources, "PER_BATCH", 4)
    monkeypatch.delenv("CIFAR10_ROOT", raising=False)


@pytest.fixture
def official(tmp_path, monkeypatch, small):
    """A folder as torchvision lays it out, with torchvision's checksums set to it, and the arrays it should give."""
    folder = tmp_path / "official" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    lists, pixels, labels = {"train_list": [], "test_list": []}, [], []
    for i, name in enumerate(["data_batch_1", "data_batch_2", "test_batch"]):
        data, targets = batch(i)
        content = pickle.dumps({"data": data, "labels": targets})
        (folder / name).write_bytes(content)
        key = "test_list" if name == "test_batch" else "train_list"
        lists[key].append([name, hashlib.md5(content).hexdigest()])
        pixels.append(data[:4].reshape(4, 3, 32, 32))
        labels.append(np.array(targets[:4], dtype=np.uint8))
    meta = pickle.dumps({"label_names": [str(i) for i in range(CLASSES)]})
    (folder / "batches.meta").write_bytes(meta)
    for key, value in lists.items():
        monkeypatch.setattr(torchvision.datasets.CIFAR10, key, value)
    monkeypatch.setattr(
        torchvision.datasets.CIFAR10,
        "meta",
        {"filename": "batches.meta", "key": "label_names", "md5": hashlib.md5(meta).hexdigest()},
    )
    arrays = {
        "x_train": np.concatenate(pixels[:2]),
        "y_train": np.concatenate(labels[:2]),
        "x_test": pixels[2],
        "y_test": labels[2],
    }
    return folder.parent, arrays


def pinned(arrays):
    return {name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in arrays.items()}


def assert_same(given, expected):
    for name in sources.NAMES:
        np.testing.assert_array_equal(given[name], expected[name])
        assert given[name].dtype == np.uint8


def test_all_three_routes_give_the_same_pinned_bytes(official, tmp_path, monkeypatch):
    folder, arrays = official
    project = tmp_path / "project"
    (project / "data/raw").mkdir(parents=True)

    monkeypatch.setenv("CIFAR10_ROOT", str(folder))
    given, route = sources.obtain("cifar10", pinned(arrays), project)
    assert route == "$CIFAR10_ROOT"
    assert_same(given, arrays)

    monkeypatch.delenv("CIFAR10_ROOT")
    np.savez(project / "data/raw" / sources.ARCHIVE, **arrays)
    given, route = sources.obtain("cifar10", pinned(arrays), project)
    assert route == "data/raw"
    assert_same(given, arrays)

    # torchvision finds what it would have downloaded, and so downloads nothing.
    (project / "data/raw" / sources.ARCHIVE).unlink()
    (folder / "cifar-10-batches-py").rename(project / "data/raw/cifar-10-batches-py")
    monkeypatch.setattr(sources, "from_folder", lambda *_: (_ for _ in ()).throw(sources.DataError("not here")))
    given, route = sources.obtain("cifar10", pinned(arrays), project)
    assert route == "torchvision's download"
    assert_same(given, arrays)


def test_the_whole_of_cifar10_has_the_pinned_images_at_equal_distances(official, tmp_path, monkeypatch):
    folder, arrays = official
    monkeypatch.setenv("CIFAR10_ROOT", str(folder))
    given, _ = sources.obtain("cifar10-whole", pinned(arrays), tmp_path)
    assert len(given["x_train"]) == 24 and len(given["x_test"]) == 12
    assert_same({name: x[:: 3 if "train" in name else 1][: len(arrays[name])] for name, x in given.items()}, arrays)
    for i in range(2):  # each batch has all of its images, once
        data, _ = batch(i)
        there = given["x_train"][12 * i : 12 * (i + 1)].reshape(12, -1)
        np.testing.assert_array_equal(there[np.lexsort(there.T)], data[np.lexsort(data.T)])
    # The archive has only the first images of each batch.
    monkeypatch.setenv("CIFAR10_ROOT", str(archive(tmp_path / "few" / sources.ARCHIVE, arrays).parent))

    def no_network(*_, **__):
        raise OSError("network is unreachable")

    monkeypatch.setattr(torchvision.datasets.CIFAR10, "download", no_network)
    with pytest.raises(sources.DataError, match="no cifar-10-batches-py in") as error:
        sources.obtain("cifar10-whole", pinned(arrays), tmp_path / "project")
    assert "network is unreachable" in str(error.value) and sources.ARCHIVE not in str(error.value)


def archive(path, arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    return path


def test_a_failing_route_falls_through_to_the_next(official, tmp_path, monkeypatch):
    folder, arrays = official
    broken = archive(tmp_path / "broken" / sources.ARCHIVE, arrays)
    broken.write_bytes(broken.read_bytes()[:500])
    monkeypatch.setenv("CIFAR10_ROOT", str(broken.parent))
    project = tmp_path / "project"
    archive(project / "data/raw" / sources.ARCHIVE, arrays)
    given, route = sources.obtain("cifar10", pinned(arrays), project)
    assert route == "data/raw"
    assert_same(given, arrays)


def test_the_last_failure_tells_all_three_and_what_to_do(official, tmp_path, monkeypatch):
    def no_network(*_, **__):
        raise OSError("network is unreachable")

    monkeypatch.setattr(torchvision.datasets.CIFAR10, "download", no_network)
    monkeypatch.setenv("CIFAR10_ROOT", str(tmp_path / "nowhere"))
    with pytest.raises(sources.DataError) as error:
        sources.obtain("cifar10", pinned(official[1]), tmp_path / "project")
    said = str(error.value)
    for part in ("$CIFAR10_ROOT: no ", "data/raw: no ", "torchvision's download: ", "network is unreachable"):
        assert part in said
    for part in ("set CIFAR10_ROOT", "into data/raw", "torchvision can download", "make quick"):
        assert part in said


def test_a_truncated_file_a_corrupted_array_and_a_wrong_hash_are_refused_by_name(official, tmp_path):
    _, arrays = official
    path = archive(tmp_path / "a" / sources.ARCHIVE, arrays)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(sources.DataError, match=f"{sources.ARCHIVE} is truncated or not an npz"):
        sources.from_folder(path.parent)

    # One flipped pixel inside x_test's member: the archive's checksum of that member no longer fits.
    damaged = bytearray(whole)
    place = whole.index(arrays["x_test"].tobytes()[:64])
    damaged[place + 10] ^= 0xFF
    path.write_bytes(bytes(damaged))
    with pytest.raises(sources.DataError, match=r"array x_test of .* is corrupted"):
        sources.from_folder(path.parent)

    other = {**arrays, "y_train": arrays["y_train"][::-1].copy()}
    with pytest.raises(sources.DataError, match="array y_train from here has SHA-256"):
        sources.verified(other, pinned(arrays), "here")

    archive(path, {name: arrays[name] for name in ("x_train", "y_train", "x_test")})
    with pytest.raises(sources.DataError, match="has no array y_test"):
        sources.from_folder(path.parent)


def test_a_corrupted_official_batch_is_refused(official):
    folder, _ = official
    path = folder / "cifar-10-batches-py/data_batch_2"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(sources.DataError, match="torchvision could not read CIFAR-10"):
        sources.from_folder(folder)


def test_the_digits_are_the_pinned_ones():
    data = parameters.checked(tiny(), "tiny").data
    arrays, route = sources.obtain("digits", data.sha256.model_dump(), None)
    assert route == "scikit-learn"
    assert arrays["x_train"].shape == (1000, 1, 8, 8) and arrays["x_test"].shape == (500, 1, 8, 8)


def test_without_data_a_rebuild_is_one_clear_error_and_writes_nothing(workspace):
    (workspace.path / "data/images.npz").unlink()
    workspace.set("data", parameters.read(ROOT / "params.yaml")["data"])
    # A proxy that refuses every connection: torchvision's download fails at once wherever this runs.
    refused = {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    done = workspace.bench("repro", check=False, CIFAR10_ROOT="nowhere", **refused)
    assert done.returncode == 1
    assert "no route gave the pinned CIFAR-10 arrays" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (workspace.path / "data/images.npz").exists()
