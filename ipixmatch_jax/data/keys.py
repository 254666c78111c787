"""The keys of `config.data` that every source of data shares."""

from ipixmatch_jax.keys import Key, Table

DATA_KEYS: Table = {
    "root": Key("", "folder of the data set, or gs://BUCKET/FOLDER"),
    "labeled": Key("", "list of labeled images, relative to data.root; empty: all with a mask"),
    "unlabeled": Key("", "list of unlabeled images; 'rest': every image in no other split"),
    "val": Key("", "list of validation images; empty: the source's own, or a hold-out"),
    "test": Key("", "list of test images, used by --mode eval --split test, never by training"),
    "num_classes": Key(2, "number of classes; 255 is the ignore id", least=2, most=255),
    "class_names": Key((), "one name per class; empty: the source's own names", kind="str"),
    "palette": Key((), "one color per class; empty: generated", kind="color"),
    "masks": Key(
        "ids",
        "what shows the classes: id, color, or two by brightness, opacity, numbered objects",
        choices=("ids", "colors", "nearest", "binary", "alpha", "objects"),
    ),
    "mask_values": Key((), "stored value of each class; empty: the class id", kind="int", least=0),
    "ignore_values": Key((), "stored mask values that mean ignore, like 255", kind="int", least=0),
    "ignore_colors": Key((), "mask colors that mean ignore", kind="color"),
    "channels": Key(3, "channels (bands) of an image", least=1, most=4096),
    "statistics": Key(
        "auto",
        "mean and std of the images: the model's, measured, or auto (the model's for 8-bit RGB)",
        choices=("auto", "model", "measure"),
    ),
    "mean": Key((), "mean of each channel for values in [0, 1]; empty: see data.statistics",
                kind="float", least=0, most=1),
    "std": Key((), "standard deviation of each channel, likewise; empty: see data.statistics",
               kind="float", above=0, most=1),
    "value_range": Key(
        (), "(low, high) of each channel that become 0 and 255, for images over 8 bits",
        kind="pair",
    ),
    "nodata": Key((), "values of missing data in images, beyond NaN and GDAL's no-data tag",
                  kind="float"),
    "max_pixels": Key(
        178956970, "larger images and masks are refused before they are decoded", least=1
    ),
    "image_size": Key(
        (0, 0), "(height, width) of images and masks when read, for metrics too; (0, 0): their own",
        length=2, least=0, most=65536, together=True,
    ),
    "crop_size": Key(
        (321, 321), "(height, width) of the training crops", length=2, least=1, most=65536
    ),
    "scale_range": Key(
        (0.5, 2.0), "range of the random scale of a training image", length=2, above=0, most=100,
        ordered=True,
    ),
    "flip": Key(0.5, "probability of a horizontal flip", least=0, most=1),
    "vertical_flip": Key(0.0, "probability of a vertical flip", least=0, most=1),
    "quarter_turns": Key(
        False, "turn training crops, which must be square, by a random multiple of 90 degrees"
    ),
    "rotation": Key(
        0.0, "turn training crops by a random angle of at most this many degrees either way",
        least=0, most=180,
    ),
    "transform": Key(
        "", "function of your own that changes training crops, as package.module:function "
        "(see docs/data.md); empty: none",
    ),
    "on_error": Key(
        "raise", "unreadable training image: stop, or train on another one in its place",
        choices=("raise", "skip"),
    ),
    "changed": Key(
        "stop", "resume of a run that had other images: stop, or accept them (see docs/data.md)",
        choices=("stop", "accept"),
    ),
    "threads": Key(4, "reader threads", least=1, most=4096),
    "workers": Key(0, "reader processes; 0: threads only", least=0, most=4096),
}  # fmt: skip
