"""The embedded digits, and CIFAR-10's published archive format."""

import hashlib
import io
import tarfile

import numpy as np
import pytest

from dormant.studies import images
from dormant.types import DormantError


def test_every_digit_is_there_once_before_any_is_there_twice():
    once, more = images.digits(1797), images.digits(2 * 1797 + 5)
    assert once.images.shape == (1797, 10, 10, 1) and once.images.dtype == np.float32
    assert np.bincount(once.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert len(np.unique(more.images, axis=0)) == len(more.images)
    assert (more.labels[1797 : 2 * 1797] == more.labels[:1797]).all()
    assert more.images.mean() == pytest.approx(0, abs=1e-4)
    assert more.images.std() == pytest.approx(1, rel=1e-4)


def test_a_second_place_is_the_same_digit_shifted():
    data = images.digits(2 * 1797)
    blank = data.images.min()

    def cropped(image):
        rows, columns = np.nonzero(image[..., 0] > blank + 1e-6)
        return image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1, 0]

    for index in (0, 700, 1796):
        first, second = data.images[index], data.images[index + 1797]
        assert not (first == second).all()
        np.testing.assert_array_equal(cropped(first), cropped(second))


def test_more_digits_than_there_are():
    with pytest.raises(DormantError, match="20,000 images of digits; with shifts .* to 16,173"):
        images.digits(20_000)


def archive(path, batches, rows):
    with tarfile.open(path, "w:gz") as file:
        for name, data in zip(images.CIFAR_BATCHES, batches):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    return hashlib.md5(path.read_bytes()).hexdigest()


def test_cifar_is_read_as_published(tmp_path, monkeypatch):
    rng, path = np.random.default_rng(0), tmp_path / "cifar.tar.gz"
    rows = rng.integers(0, 256, (2, 3, 3073), dtype=np.uint8)
    rows[..., 0] = [[7, 1, 0], [9, 2, 3]]
    md5 = archive(path, [batch.tobytes() for batch in rows], 3)
    monkeypatch.setattr(images, "CIFAR_MD5", md5)
    monkeypatch.setattr(images, "_CIFAR_ROWS", 3)
    data = images.cifar(str(path), 5)
    assert data.labels.tolist() == [7, 1, 0, 9, 2] and data.images.shape == (5, 32, 32, 3)
    # Row-major planes, red first: pixel (2, 3) of the blue plane of the fourth image.
    raw = rows.reshape(6, 3073)[:5, 1:].reshape(5, 3, 32, 32)
    blue = raw[:, 2].astype(float)
    wanted = (blue[3, 2, 3] - blue.mean()) / blue.std()
    assert data.images[3, 2, 3, 2] == pytest.approx(wanted, rel=1e-3)


def test_what_is_no_archive_of_cifar_is_one_line(tmp_path, monkeypatch):
    path = tmp_path / "cifar.tar.gz"
    with pytest.raises(DormantError, match="no CIFAR-10 archive at"):
        images.cifar(str(path), 10)
    archive(path, [b"short"], 1)
    with pytest.raises(DormantError, match="has MD5 .*; cifar-10-binary.tar.gz as published has"):
        images.cifar(str(path), 10)
    monkeypatch.setattr(images, "CIFAR_MD5", hashlib.md5(path.read_bytes()).hexdigest())
    with pytest.raises(
        DormantError, match=r"data_batch_1.bin is not of CIFAR-10's shape \(5 bytes"
    ):
        images.cifar(str(path), 10)
    path.write_bytes(b"no archive")
    monkeypatch.setattr(images, "CIFAR_MD5", hashlib.md5(b"no archive").hexdigest())
    with pytest.raises(DormantError, match="is no CIFAR-10 archive that can be read"):
        images.cifar(str(path), 10)
    with pytest.raises(DormantError, match="60,000 images of CIFAR-10; there are 1 to 50,000"):
        images.cifar(str(path), 60_000)
