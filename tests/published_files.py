"""Small data sets in the very formats in which the real ones are published."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat

Bytes = NDArray[np.uint8]


def coloured(n: int, *shape: int, n_classes: int = 10, seed: int = 0) -> tuple[Bytes, NDArray[np.int64]]:
    """Images ``(n, *shape)`` whose brightness tells their class, and their labels ``(n,)``, every class in turn."""
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    levels = (200 * labels / max(n_classes - 1, 1)).reshape(-1, *(1,) * len(shape))
    return (levels + generator.integers(0, 50, (n, *shape))).astype(np.uint8), labels


def idx(array: Bytes) -> bytes:
    """The array as an IDX file."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_mnist(directory: Path, *, n_train: int = 60, n_test: int = 20, packed: bool = True, side: int = 28) -> None:
    """The four files of MNIST, compressed or not."""
    directory.mkdir(parents=True, exist_ok=True)
    for stem, n, seed in (("train", n_train, 0), ("t10k", n_test, 1)):
        images, labels = coloured(n, side, side, seed=seed)
        for name, array in (("images-idx3", images), ("labels-idx1", labels.astype(np.uint8))):
            path, content = directory / f"{stem}-{name}-ubyte", idx(array)
            if packed:
                path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(content))
            else:
                path.write_bytes(content)


def python2_pickle(batch: Mapping[str, object]) -> bytes:
    """A dictionary as Python 2 pickled it by protocol 2: strings are bytes, arrays those of that time's NumPy."""
    items = b"".join(_python2(key) + _python2(value) for key, value in batch.items())
    return b"\x80\x02}(" + items + b"u."


def _python2(value: object) -> bytes:
    if isinstance(value, str):
        return _string(value.encode("latin1"))
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, list):
        return b"](" + b"".join(map(_python2, value)) + b"e"
    assert isinstance(value, np.ndarray)
    made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
    dtype = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    shape = b"(" + b"".join(_python2(each) for each in value.shape) + b"t"
    return made + b"(K\x01" + shape + dtype + b"\x89" + _string(value.tobytes()) + b"tb"


def _string(content: bytes) -> bytes:
    if len(content) < 256:
        return b"U" + bytes([len(content)]) + content
    return b"T" + struct.pack("<i", len(content)) + content


def cifar10_files(*, n_in_batch: int = 10, binary: bool = False) -> dict[str, bytes]:
    """The files of CIFAR-10 by their names."""
    files = {}
    for index, name in enumerate([*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]):
        images, labels = coloured(n_in_batch, 3072, seed=index)
        if binary:
            files[f"{name}.bin"] = np.concatenate([labels[:, None].astype(np.uint8), images], axis=1).tobytes()
        else:
            names = [f"{number}.png" for number in range(n_in_batch)]
            batch = {"batch_label": name, "labels": labels.tolist(), "data": images, "filenames": names}
            files[name] = python2_pickle(batch)
    return files


def cifar100_files(*, n: int = 200, binary: bool = False) -> dict[str, bytes]:
    """The files of CIFAR-100: class c is of group c // 5."""
    files = {}
    for seed, name in enumerate(("train", "test")):
        images, labels = coloured(n, 3072, n_classes=100, seed=seed)
        if binary:
            both = np.stack([labels // 5, labels], axis=1).astype(np.uint8)
            files[f"{name}.bin"] = np.concatenate([both, images], axis=1).tobytes()
        else:
            fine, coarse = labels.tolist(), (labels // 5).tolist()
            files[name] = python2_pickle({"fine_labels": fine, "coarse_labels": coarse, "data": images})
    return files


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Put files into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def write_archive(path: Path, folder: str, files: Mapping[str, bytes]) -> None:
    """Put files into a folder of a ``.tar.gz``, with the one that says what they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in {"readme.html": b"<html>", **files}.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def write_svhn(directory: Path, *, n_train: int = 40, n_test: int = 20) -> None:
    """The two files of cropped digits: images ``(32, 32, 3, N)``, labels ``(N, 1)`` with 10 for a 0."""
    directory.mkdir(parents=True, exist_ok=True)
    for seed, (name, n) in enumerate({"train": n_train, "test": n_test}.items()):
        images, labels = coloured(n, 32, 32, 3, seed=seed)
        published = np.where(labels == 0, 10, labels).astype(np.uint8)
        content = {"X": images.transpose(1, 2, 3, 0), "y": published[:, None]}
        savemat(directory / f"{name}_32x32.mat", content, do_compression=True)


def write_folders(
    directory: Path, *, n: int = 12, classes: tuple[str, ...] = ("cat", "dog"), size: tuple[int, int] = (10, 8)
) -> None:
    """`n` PNG files of `size` (width, height) in each class's folder."""
    for label, name in enumerate(classes):
        folder = directory / name
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(n):
            images, _ = coloured(1, size[1], size[0], 3, n_classes=1, seed=100 * label + number)
            Image.fromarray(images[0] + np.uint8(150 * label)).save(folder / f"{number}.png")
