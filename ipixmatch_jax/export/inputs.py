"""How a program that uses an exported network brings a photo to what the network was trained on."""

from ml_collections import ConfigDict


def inputs_in_words(config: ConfigDict) -> str:
    """The bands, the turning, the value range and the size of the images, one sentence each."""
    data = config.data
    channels, height_width = int(data.channels), tuple(data.image_size)
    kinds = {1: "one band of gray", 3: "three bands, as a rule red, green and blue"}
    bands = kinds.get(channels, f"{channels} bands in the order of the training images")
    sentences = [f"Images have {bands}, and are turned upright as EXIF says."]
    if len(data.value_range):
        pairs = [tuple(float(value) for value in pair) for pair in data.value_range]
        pairs = pairs[:1] if len(set(pairs)) == 1 else pairs
        ranges = ", ".join(f"{low:g} to {high:g}" for low, high in pairs)
        which = "in all bands" if len(pairs) == 1 else "by band"
        sentences.append(
            f"Images of more than 8 bits are scaled first: {ranges} ({which}) become 0 to 255, "
            "clipped and rounded; missing data becomes 0."
        )
    if height_width != (0, 0):
        height, width = height_width
        sentences.append(
            f"Training resized every image to {height} x {width} (height x width), bilinear with "
            "antialiasing; resize class maps back by nearest neighbor."
        )
    return " ".join(sentences)
