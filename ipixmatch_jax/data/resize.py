"""Resizes all images of a data set to one size as they are read."""

from dataclasses import replace

from ipixmatch_jax.data.files.file_records import record_files
from ipixmatch_jax.data.files.images import resize_image, resize_mask
from ipixmatch_jax.data.records import Dataset, UnlabeledRecord, UnlabeledSource


class ResizedSource:
    """A source whose records are resized to one size: images bilinear, masks nearest."""

    def __init__(self, source: UnlabeledSource, image_size: tuple[int, int]):
        self.source = source
        self.image_size = (int(image_size[0]), int(image_size[1]))
        self.ids = source.ids

    def __len__(self) -> int:
        return len(self.source)

    def files(self, index: int) -> tuple[str, ...]:
        return record_files(self.source, index)

    def size(self, index: int) -> tuple[int, int]:
        return self.image_size

    def __getitem__(self, index: int) -> UnlabeledRecord:
        # JPEG decoding may stop at the smaller size.
        read = getattr(self.source, "read", None)
        record = dict(read(index, self.image_size) if read else self.source[index])
        record["image"] = resize_image(record["image"], self.image_size)
        if "mask" in record:
            record["mask"] = resize_mask(record["mask"], self.image_size)
        return record


def resized(dataset: Dataset, image_size: tuple[int, int]) -> Dataset:
    """The data set with every image and mask at `image_size` (H, W); (0, 0) leaves it unchanged."""
    if tuple(image_size) == (0, 0):
        return dataset
    return replace(
        dataset,
        labeled=ResizedSource(dataset.labeled, image_size),
        unlabeled=ResizedSource(dataset.unlabeled, image_size),
        val=ResizedSource(dataset.val, image_size),
        test=ResizedSource(dataset.test, image_size),
    )
