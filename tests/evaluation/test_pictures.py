"""Pictures of tasks, kept as files."""

import pytest
from PIL import Image

from sfllava_plugin.evaluation.pictures import PictureFiles, identity


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    monkeypatch.setenv("SFLLAVA_CACHE", str(tmp_path / "cache"))
    return PictureFiles()


def test_a_picture_is_kept_exactly_and_once(pictures):
    picture = Image.linear_gradient("L").resize((31, 17))
    path = pictures.add(picture)
    assert pictures.add(picture.copy()) == path != pictures.add(picture.rotate(180))
    with Image.open(path) as kept:
        assert kept.mode == "RGB"
        assert kept.tobytes() == picture.convert("RGB").tobytes()


def test_identities_are_of_content_and_order(pictures):
    first, second = (pictures.add(Image.new("RGB", size)) for size in ((4, 2), (2, 4)))
    again = PictureFiles()
    assert again.add(Image.new("RGB", (4, 2))) != first
    assert identity((again.add(Image.new("RGB", (4, 2))),)) == identity((first,))
    assert identity((first, second)) != identity((second, first))
    again.close()


def test_the_files_are_deleted_at_the_end(pictures, tmp_path):
    pictures.add(Image.new("RGB", (4, 2)))
    assert list(tmp_path.glob("cache/evaluation/pictures-*"))
    pictures.close()
    pictures.close()
    assert not list(tmp_path.glob("cache/evaluation/pictures-*"))
