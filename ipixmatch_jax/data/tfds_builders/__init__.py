"""Builders that write data sets as TFDS array_record files, without TensorFlow.

Images and masks are stored as encoded bytes, masks always as class ids, so that reading needs
neither the original layout nor its conversions. `python -m ipixmatch_jax.data.tfds_builders`
prepares one; `data.name='tfds:NAME'` reads it, from a local folder or a bucket.
"""

from ipixmatch_jax.data.tfds_builders.builders import (
    BUILDERS,
    CityscapesTrainIds,
    FolderScenes,
    SceneBuilder,
    VocSbd,
    prepare,
)

__all__ = [
    "BUILDERS",
    "CityscapesTrainIds",
    "FolderScenes",
    "SceneBuilder",
    "VocSbd",
    "prepare",
]
