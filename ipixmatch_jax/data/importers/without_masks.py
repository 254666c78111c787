"""Exports without masks: boxes, class labels, unreadable containers. Refused by name."""

import re
import struct
from collections.abc import Mapping

from ipixmatch_jax.data.files.images import IMAGE_SUFFIXES
from ipixmatch_jax.data.files.stored_masks import read_stored
from ipixmatch_jax.data.files.tiff_tags import read_tags
from ipixmatch_jax.data.importers.contents import head
from ipixmatch_jax.data.importers.found import Choices, Found
from ipixmatch_jax.data.importers.places import place_of
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.paths import as_path

# Ending of a file -> what it is and what to do.
_FILES = {
    "_annotations.createml.json": "a CreateML export holds boxes",
    **dict.fromkeys(
        (".tfrecord", ".tfrecords", ".tfrec", ".record"), "TFRecord files are not read"
    ),
    "_annotations.csv": "a CSV of boxes",
    ".h5": "HDF5 files are not read",
    ".ilp": "a project of ilastik holds no masks",
    **dict.fromkeys(
        (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd", ".dcm", ".ima", ".mgz", ".mgh", ".hdr"),
        "volumes are not read",
    ),
    ".parquet": "Parquet tables are not read",
    ".arrow": "Arrow tables (save_to_disk of Hugging Face, Datumaro) are not read",
    ".datum": "Datumaro's binary annotations are not read",
    **dict.fromkeys((".hdf5", ".hdf"), "HDF5 files are not read"),
    ".exr": "OpenEXR files are not read",
    ".lmdb": "LMDB databases are not read",
    "data.mdb": "LMDB databases are not read",
    "_cp_outlines.txt": "outlines of Cellpose are not read",
    ".ndjson": "NDJSON exports (Labelbox, Ultralytics) are not read",
    ".npz": "archives of NumPy arrays are not read",
    ".beton": "data sets of FFCV are not read",
    **dict.fromkeys((".pkl", ".pickle", ".pt", ".pth"), "Python objects are not read"),
    ".roi": "regions of ImageJ (.roi) are not read",
    "roiset.zip": "regions of ImageJ (RoiSet.zip) are not read",
    **dict.fromkeys(
        (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".tbz2", ".txz", ".gz", ".bz2",
         ".xz", ".zst", ".rar", ".7z"),
        "an archive is not read",
    ),
}  # fmt: skip
# The same for files that may lie next to others for another purpose.
_OTHER_FILES = {
    **dict.fromkeys(
        (".psd", ".psb", ".xcf", ".kra", ".pdn", ".ora", ".clip", ".procreate"),
        "pictures of layers (Photoshop, GIMP and others) are not read",
    ),
    **dict.fromkeys((".svg", ".ai", ".eps", ".pdf"), "vector graphics are not read"),
    **dict.fromkeys((".shp", ".gpkg", ".kml", ".gml"), "shapes on maps (GIS) are not read"),
    **dict.fromkeys(
        (".svs", ".ndpi", ".mrxs", ".scn", ".czi", ".lif", ".nd2", ".oib", ".oif", ".vsi", ".ims"),
        "files of microscopes and slide scanners are not read",
    ),
    **dict.fromkeys(
        (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".wmv", ".mpg", ".mpeg"),
        "videos are not read",
    ),
    ".bag": "recordings of ROS are not read",
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "a spreadsheet holds no masks"),
    **dict.fromkeys((".sqlite", ".sqlite3", ".db3"), "databases are not read"),
}  # fmt: skip
# Ending -> texts that all occur at the beginning of a file, and what it is.
_TEXTS = (
    (".json", (b'"item"', b'"slots"', b'"annotations"'), "Darwin JSON (V7) is not read"),
    (
        ".json",
        (b'"image"', b'"annotations"', b'"polygon"', b'"path"'),
        "Darwin JSON (V7) is not read",
    ),
    (".json", (b'"features"', b'"wkt"'), "JSON of xBD (xView2) is not read"),
    (".json", (b'"samples"', b'"task_type"'), "a release of Segments.ai (JSON) is not read"),
    (
        ".json",
        (b'"objects"', b'"image_width"', b'"image_height"', b'"label"'),
        "JSON of RectLabel is not read",
    ),
    (".json", (b'"item1"', b'"category_name"'), "JSON of DeepFashion2 is not read"),
    (".json", (b'"Labeled Data"',), "a JSON export of Labelbox is not read"),
    (".json", (b'"data_row"', b'"projects"'), "a JSON export of Labelbox is not read"),
    (".json", (b'"FeatureCollection"',), "GeoJSON is not read"),
    (".json", (b'"fid_list"', b'"vid"'), "a project of VIA 3 is not read"),
    (".json", (b'"annotation_id"', b'"annotator"'), "Label Studio's JSON-MIN is not read"),
    (".json", (b'"assets"', b'"regions"', b'"tags"'), "JSON of VoTT is not read"),
    (".json", (b'"labelIdx"', b'"points"'), "JSON of EISeg is not read"),
    (".json", (b'"classTitle"', b'"geometryType"'), "a Supervisely project without meta.json"),
    (".json", (b'"label_hash"', b'"data_units"'), "JSON of Encord is not read"),
    (".json", (b'"task_id"', b'"response"', b'"annotations"'), "JSON of Scale is not read"),
    (".json", (b'"jsonResponse"', b'"externalId"'), "JSON of Kili is not read"),
    (".jsonl", (b'"image_url"', b'"image_details"'), "JSONL of Azure ML is not read"),
    (".manifest", (b'"source-ref"', b'"annotations"'), "a manifest of SageMaker with boxes"),
    (".manifest", (b'"source-ref"',), "a manifest of SageMaker without its masks"),
    (".jsonl", (b'"_input_hash"', b'"_task_hash"'), "JSONL of Prodigy is not read"),
    (".json", (b'"label_classes"', b'"image_name"'), "JSON of Hasty is not read"),
    (".json", (b'"label_map"', b'"label_colour_map"'), "JSON of Diffgram is not read"),
    (".json", (b'"className"', b'"instances"', b'"metadata"'), "JSON of SuperAnnotate is not read"),
    (".json", (b'"annotations"', b'"coordinates"', b'"label"'), "JSON of Dataloop is not read"),
    (".json", (b'"poly2d"', b'"category"'), "JSON of BDD100K (Scalabel) is not read"),
    (
        ".json",
        (b'"predicted_iou"', b'"stability_score"'),
        "masks of Segment Anything (SA-1B) have no classes",
    ),
    (".json", (b'"classes"', b'"labels"', b'"bounding_box"'), "FiftyOne's labels.json holds boxes"),
    (".csv", (b"annotation_id", b"annotator", b"lead_time"), "Label Studio's CSV is not read"),
    (".tsv", (b"annotation_id", b"annotator", b"lead_time"), "Label Studio's CSV is not read"),
    (".geojson", (), "GeoJSON (QuPath, GIS) is not read"),
    (".xml", (b"<Annotations", b"<Vert"), "XML of ImageScope (Aperio; MoNuSeg) is not read"),
)
# Forms of photos that are lossy as a rule: class ids would change.
_NO_MASKS = (".avif", ".jp2", ".j2k", ".jpx", ".jxl", ".heic", ".heif")
_EXPORT = "export semantic masks (PNG) or polygons (COCO JSON)"
# What to do in place of that.
_INSTEAD = {
    "run lengths": "decode them and save masks/NAME.png: pairs of a start, counted from 1, and a "
    "length, down the columns in most of Kaggle's tables, along the rows in some; or " + _EXPORT,
    "TFRecord": "save each image and mask as a file; prepared data sets of TensorFlow Datasets are "
    "read with data.name=tfds:NAME",
    "FFCV": "save each image and mask as a file",
    "Python objects": "save each array as NPY or PNG",
    "ImageJ": "in ImageJ, fill the regions (Edit, Selection, Create Mask) and save masks/NAME.png",
    "layers": "export the layer of the mask as PNG, without antialiasing, under the name of its "
    "image",
    "vector": "export PNG of the size of the image, without antialiasing",
    "GIS": "rasterize the shapes on the grid of each image (gdal_rasterize) as masks/NAME.tif",
    "microscopes": "export each image as TIFF (in QuPath, Fiji or with bfconvert), and its mask "
    "as PNG or TIFF",
    "videos": "save frames as PNG (ffmpeg -i VIDEO images/%05d.png), and a mask for some of them",
    "ROS": "save frames as PNG, and a mask for some of them",
    "ilastik": "in ilastik, export Simple Segmentation as PNG or TIFF",
    "databases": "save each image and mask as a file",
    "Segments.ai": "export semantic masks with its Python package: export_dataset(dataset, "
    "export_format='semantic')",
    "RectLabel": "in RectLabel, export a COCO JSON file, or mask images of the classes",
    "xBD": "draw the polygons in features.xy as masks (PNG), or use the targets of xView2",
    "DeepFashion2": "write COCO JSON with the converter of the data set (deepfashion2_to_coco.py)",
    "volumes": "save each slice as PNG, TIFF or NPY, and its mask as PNG",
    "archives of NumPy": "save each array as NPY",
    "Parquet": "save each image and mask of the table as a file",
    "an archive": "unpack it",
    "Arrow": "save each image and mask of the table as a file",
    "binary annotations": "export its format datumaro (JSON), coco_instances or voc_segmentation",
    "LMDB": "save each image and mask as a file",
    "OpenEXR": "save the masks as PNG of class ids",
    "Zarr": "save each array as NPY, one file per image",
    "MOTS": "save number // 1000, the class, as masks/NAME.png",
    "pages": "save each page as one file: images/1.tif, masks/1.tif and so on",
    "label files are empty": "draw polygons: YOLO's export leaves out brush strokes and masks; or "
    "export COCO JSON or masks (PNG)",
    "Segment Anything": "give each mask a class in an annotation tool, and export COCO JSON",
    "Scalabel": "draw the polygons in poly2d as masks (PNG), or write COCO JSON of them",
    "FiftyOne": "in FiftyOne, export COCODetectionDataset or ImageSegmentationDirectory",
    "Studio's CSV": "export JSON, the full form",
    "JSON-MIN": "export JSON, the full form",
    "EISeg": "use the PNG files of its folder label, or export COCO JSON",
    "Cellpose": "in Cellpose's window, choose File, Save masks as PNG/tif",
    "Azure": "in Azure ML's labeling project, export COCO",
    "SageMaker without": "copy the PNG files of the job's output next to the images, as masks/",
    "Encord": "in Encord, choose Export labels, COCO",
    "Scale": "download the PNG masks of the tasks (response.annotations.combined), one per image",
    "Kili": "in Kili, export COCO (kili.export_labels with fmt='coco')",
    "Prodigy": "draw the polygons in spans as masks (PNG), or write COCO JSON of them",
    "Hasty": "in Hasty, export COCO JSON, or semantic segmentation PNG",
    "SuperAnnotate": "in SuperAnnotate, export with Fuse, which adds X___fuse.png",
    "Dataloop": "download with the option semantic masks, or convert the items to COCO in Dataloop",
    "Diffgram": "write COCO JSON of the polygons in instance_list",
    "AVIF": "save them as PNG",
    "meta.json": "copy meta.json of the project next to its data sets",
    "MATLAB files": "save each image and each mask in them as PNG, in two folders",
}


# Two or more pairs of numbers in a cell of a table: run lengths, whatever their column is called.
_RUNS = re.compile(rb"[,;\t\"]\d+ \d+( \d+ \d+)+\"?(?=[,;\t\r\n]|$)")

# A part of a data set in TFRecord files: train.record-00000-of-00010.
_SHARD = r"\.(tf)?records?-\d+-of-\d+"


class WithoutMasks:
    """Recognizes exports that hold no masks, in order to say so."""

    name = "boxes"
    source = "an export without masks"

    def sniff(self, tree: FolderTree) -> str:
        for path in tree.with_ending(".xml")[:20]:
            content = head(tree.path("", path))
            if b"<bndbox>" in content and b"<polygon>" not in content:
                return f"{path}: Pascal VOC XML holds boxes"
        bare = _without_objects(tree)
        if bare:
            return f"{bare}: XML (Pascal VOC) without any object"
        if any(f.endswith("labelTxt") for f in tree.files):
            return "labelTxt: oriented boxes"
        named = _named(tree, _FILES)
        if named:
            return named
        for path in tree.of_kind(_SHARD):
            return f"{path}: TFRecord files are not read"
        tables = sorted(tree.with_ending(".csv"), key=lambda path: "submission" in path.lower())
        for path in tables[:20]:
            start = head(tree.path("", path), 20_000)
            first = start.partition(b"\n")[0].lower()
            if {b"xmin", b"ymin"} <= set(re.split(rb"[\s,;\"]+", first)):
                return f"{path}: a CSV of boxes"
            named = {b"encodedpixels", b"rle_mask", b"rle"} & set(re.split(rb"[\s,;\"]+", first))
            if named or _RUNS.search(start):
                return f"{path}: a CSV of run lengths (Kaggle) is not read"
        for ending, words, reason in _TEXTS:
            for path in tree.with_ending(ending)[:20]:
                content = head(tree.path("", path))
                if all(word in content for word in words):
                    return f"{path}: {reason}"
        found = _zarr(tree) or _pages(tree) or _labels(tree) or _mots(tree)
        if found:
            return found
        for path in tree.with_ending(*_NO_MASKS):
            if place_of(path.rpartition("/")[0]).role == "mask":
                return f"{path}: masks in AVIF, JPEG 2000, JPEG XL or HEIC are not read"
        named = _named(tree, _OTHER_FILES)
        if named:
            return named
        scans = _dicom(tree)
        if scans:
            return f"{scans}: volumes are not read (DICOM)"
        if tree.with_ending(".mat") and not tree.with_ending(*IMAGE_SUFFIXES):
            return f"{tree.with_ending('.mat')[0]}: MATLAB files without image files are not read"
        for path in tree.with_ending("_classes.csv"):
            if head(tree.path("", path)).lower().startswith(b"filename"):
                return f"{path}: one label per image (classification)"
        return ""

    def read(self, tree: FolderTree, choices: Choices) -> Found:
        reason = self.sniff(tree)
        advice = next((text for what, text in _INSTEAD.items() if what in reason), _EXPORT)
        raise DataError(f"{tree.root}: {reason}; expected images and masks; {advice}")


def _without_objects(tree: FolderTree) -> str:
    """The first of XML annotations if none of a few dozen has an object, or ''."""
    found = [path for path in tree.with_ending(".xml")[:30]
             if b"<annotation>" in head(tree.path("", path), 200)]  # fmt: skip
    bare = found and not any(b"<object>" in head(tree.path("", path)) for path in found)
    return found[0] if bare else ""


def _named(tree: FolderTree, kinds: Mapping[str, str]) -> str:
    """The first file of one of these endings, and what such a file is; or ''."""
    for path in tree.with_ending(*kinds):
        return f"{path}: " + next(t for e, t in kinds.items() if path.lower().endswith(e))
    return ""


def _dicom(tree: FolderTree) -> str:
    """The first file of DICOM without an ending, or ''."""
    bare = tree.of_kind("")[:20]
    return next((p for p in bare if head(tree.path("", p), 132)[128:] == b"DICM"), "")


def _zarr(tree: FolderTree) -> str:
    for folder, names in tree.files.items():
        if {".zarray", ".zgroup", "zarr.json"} & set(names) or ".zarr/" in f"{folder}/".lower():
            return f"{folder or '.'}: Zarr arrays are not read"
    return ""


def _pages(tree: FolderTree) -> str:
    """The first TIFF of several pages, such as a stack of all images."""
    for path in tree.with_ending(".tif", ".tiff")[:20]:
        try:
            with as_path(tree.path("", path)).open("rb") as file:
                tags = read_tags(file)
        except (OSError, ValueError, struct.error):
            continue
        if tags.pages > 1:
            return f"{path}: a TIFF of {tags.pages} pages, a stack of images"
    return ""


def _labels(tree: FolderTree) -> str:
    """Text files named as images: empty ones of YOLO, or boxes of KITTI."""
    stems = {
        path.rpartition("/")[2].rpartition(".")[0] for path in tree.with_ending(*IMAGE_SUFFIXES)
    }
    own = [p for p in tree.with_ending(".txt") if p.rpartition("/")[2][:-4] in stems]
    texts = {path: head(tree.path("", path), 2000).strip() for path in own[:200]}
    if len(own) > 1 and not any(texts.values()):
        return f"{own[0]}, and {len(own) - 1} others: YOLO's label files are empty"
    for path, text in texts.items():
        if re.match(rb"\S+( -?[\d.]+){14,15}\s*(\n|$)", text):
            return f"{path}: KITTI's labels hold boxes"
    return ""


def _mots(tree: FolderTree) -> str:
    """The first PNG of class * 1000 + number of the object in a folder named instances, or ''."""
    for path in tree.with_ending(".png")[:20000]:
        if "instances" in path.split("/")[:-1]:
            try:
                values = read_stored(tree.path("", path), path).values
            except DataError:
                continue
            if values is not None and values.dtype.itemsize > 1 and values.max() >= 1000:
                return f"{path}: numbers of objects (KITTI MOTS) are not read"
    return ""
