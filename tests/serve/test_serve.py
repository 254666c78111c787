"""The served page: its answers and refusals, apart from the page."""

import base64
import io
import re
import struct
import sys
import threading
import zlib

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from ipixmatch_jax import load_predictor
from ipixmatch_jax.config import load_snapshot
from ipixmatch_jax.data import Pixels, resize_image
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.main import main
from ipixmatch_jax.serve.app import make_app
from ipixmatch_jax.serve.decoder import decode
from ipixmatch_jax.serve.photo_predictions import PhotoPredictor
from ipixmatch_jax.serve.upload_limits import Limits, checked_size, kind_of, predicted_size
from tests.references.photos import file_of, image_of

LIMITS = Limits(bytes=200_000, pixels=64_000_000, side=128)
NAMES = ("localhost", "127.0.0.1", "::1")
TYPE = {"content-type": "application/octet-stream"}


@pytest.fixture(scope="module")
def predictor(workdir):
    config = load_snapshot(workdir)
    found = PhotoPredictor(config, workdir, checkpoint="latest", network="teacher", limits=LIMITS)
    yield found
    found.close()


@pytest.fixture(scope="module")
def predictors(workdir):
    return {name: load_predictor(workdir, network=name) for name in ("teacher", "student")}


@pytest.fixture(scope="module")
def client(predictor):
    app = make_app(predictor, LIMITS, NAMES)
    return TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False)


def picture_in(address):
    return Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))


def header_only_png(width, height):
    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_the_answer_is_what_the_predictor_says(client, predictors, kind):
    image = image_of(64, 96)
    data = file_of(image, kind, **({"lossless": True} if kind == "WEBP" else {}))
    answer = client.post("/predict", content=data, headers=TYPE)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["size"] == found["predicted_at"] == [64, 96]
    for name, predict in predictors.items():
        want = predict.predict(image, probs=True)
        got = found["networks"][name]
        mask = picture_in(got["mask"])
        assert mask.mode == "P"
        np.testing.assert_array_equal(np.asarray(mask), want.mask)
        levels = np.asarray(picture_in(got["confidence"]))
        np.testing.assert_allclose(levels / 255, want.confidence, atol=0.51 / 255)
        shares = {c["id"]: c["share"] for c in got["classes"]}
        assert shares == pytest.approx({i: (want.mask == i).mean() for i in np.unique(want.mask)})
        cells = np.frombuffer(base64.b64decode(found["explorer"][name]), np.uint8)
        means = want.probs.reshape(32, 2, 48, 2, 3).mean((1, 3))
        np.testing.assert_allclose(cells.reshape(32, 48, 3), 255 * means, atol=0.51)


def test_large_photos_are_shrunk_and_predicted_as_if_alone(client, predictors):
    image = image_of(70, 250)
    found = client.post("/predict", content=file_of(image), headers=TYPE).json()
    assert (found["size"], found["predicted_at"]) == ([70, 250], [36, 128])
    mask = np.asarray(picture_in(found["networks"]["teacher"]["mask"]))
    np.testing.assert_array_equal(mask, predictors["teacher"](resize_image(image, (36, 128))))


def test_photos_of_any_size_meet_the_compiler_at_few():
    rng = np.random.default_rng(0)
    sizes = {predicted_size(tuple(map(int, rng.integers(1, 9000, 2))), 1024) for _ in range(4_000)}
    sizes |= {predicted_size(tuple(map(int, rng.integers(1, 1025, 2))), 1024) for _ in range(4_000)}
    assert len(sizes) <= 400 and max(map(max, sizes)) == 1024 and min(map(min, sizes)) == 32
    assert predicted_size((181, 241), 1024) == (192, 256)
    assert predicted_size((3024, 4032), 1024) == (768, 1024)
    assert predicted_size((181, 241), 1024, rounded=False) == (181, 241)
    assert predicted_size((1, 9000), 1024, rounded=False) == (1, 1024)


REFUSED = {
    "empty": (b"", 400, "the file is empty"),
    "text": (b"../../etc/passwd", 400, "is not a photo; expected PNG, JPEG, TIFF or WebP"),
    "gif": (file_of(image_of(8, 8), "GIF"), 400, "is not a photo"),
    "bmp": (file_of(image_of(8, 8), "BMP"), 400, "is not a photo"),
    "npy": (b"\x93NUMPY\x01\x00", 400, "is not a photo"),
    "cut short": (file_of(image_of(64, 64))[:4000], 400, "the photo: cannot be read as an image"),
    "only a beginning": (b"\xff\xd8\xff\xe0", 400, "the photo: cannot be read as an image"),
    "100 megapixels": (header_only_png(10_000, 10_000), 413, "the photo has 100 megapixels"),
    "400 megapixels": (header_only_png(20_000, 20_000), 413, "the photo has 400 megapixels"),
    "many bytes": (b"\x89PNG\r\n\x1a\n" + bytes(200_000), 413, "at most 0.2 are accepted"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused(client, monkeypatch, what):
    def decoded(*_, **__):
        raise AssertionError("its pixels were decoded")

    data, status, message = REFUSED[what]
    if what not in ("cut short", "only a beginning"):
        monkeypatch.setattr("ipixmatch_jax.serve.decoder.read_photo", decoded)
        if what != "many bytes":  # which the server counts
            with pytest.raises(DataError, match=re.escape(message)):
                decode(data, LIMITS, Pixels(), True)
    answer = client.post("/predict", content=data, headers=TYPE)
    assert answer.status_code == status
    assert message in answer.json()["error"] and len(answer.json()["error"]) < 350
    assert client.get("/about").status_code == 200


def test_bytes_are_counted_where_no_length_is_declared(client):
    sent = []

    def chunks():
        for _ in range(50):
            sent.append(1)
            yield bytes(10_000)

    answer = client.post("/predict", content=chunks(), headers=TYPE)
    assert answer.status_code == 413 and "at most 0.2 are accepted" in answer.json()["error"]


def test_pages_of_a_tiff_count_as_pixels():
    tifffile = pytest.importorskip("tifffile")
    stream = io.BytesIO()
    pages = np.zeros((40, 500, 500), np.uint16)
    tifffile.imwrite(stream, pages, compression="zlib", photometric="minisblack")
    data = stream.getvalue()
    assert len(data) < 200_000
    assert checked_size(data, LIMITS) == (500, 500)
    with pytest.raises(DataError, match="at most 2 are accepted"):
        checked_size(data, Limits(pixels=2_000_000))


def test_files_are_known_by_what_they_hold():
    for kind in ("PNG", "JPEG", "TIFF", "WebP"):
        assert kind_of(file_of(image_of(4, 4), kind)) == kind
    assert kind_of(file_of(image_of(4, 4), "GIF")) is None


@pytest.mark.parametrize(
    "path",
    ["/../../etc/passwd", "/..%2f..%2fetc%2fpasswd", "/serve/app.py", "/style.css/../app.py",
     "/predict/../config.json", "//etc/passwd", "/config.json", "/%00", "/script.js%00.html"],
)  # fmt: skip
def test_no_address_reads_a_file(client, path):
    # As raw bytes: clients resolve '..' by themselves.
    answer = raw(client, "GET", path)
    assert answer.status_code == 404 and answer.json() == {"error": "Not Found"}


def raw(client, method, path, **options):
    request = client.build_request(method, "/", **options)
    request.url = request.url.copy_with(raw_path=path.encode())
    return client.send(request)


def test_names_of_files_are_ignored(client, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    evil = "../../evil.png"
    photo = file_of(image_of(32, 32))
    multipart = client.post("/predict", files={"file": (evil, photo, "image/png")})
    assert multipart.status_code == 415
    assert "expected the photo itself as the body" in multipart.json()["error"]
    named = {**TYPE, "content-disposition": f'attachment; filename="{evil}"'}
    assert client.post("/predict", content=photo, headers=named).status_code == 200
    assert list(tmp_path.iterdir()) == [] and not (tmp_path.parent.parent / "evil.png").exists()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"host": "evil.example:8000"}, 421),
        ({"host": "127.0.0.1.evil.example"}, 421),
        ({"host": ""}, 421),
        ({"host": "[::1"}, 421),
        ({"host": "LOCALHOST:8000"}, 200),
        ({"host": "[::1]:8000"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://["}, 400),
        ({"origin": "http://127.0.0.1:9000"}, 403),
        ({"origin": "http://127.0.0.1:8000"}, 200),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
    ],
)
def test_requests_that_other_pages_make_are_refused(client, headers, status):
    photo = file_of(image_of(32, 32))
    answer = client.post("/predict", content=photo, headers={**TYPE, **headers})
    assert answer.status_code == status, answer.text
    assert status == 200 or answer.json()["error"]


def test_forms_of_other_pages_have_types_that_are_refused(client):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        answer = client.post("/predict", content=b"x", headers={"content-type": kind})
        assert answer.status_code == 415 and "content type" in answer.json()["error"]
    assert client.get("/predict").status_code == 405
    asked = {"origin": "http://evil.example", "access-control-request-method": "POST"}
    assert "access-control-allow-origin" not in client.options("/predict", headers=asked).headers


def test_the_page_may_ask_nobody_else(client):
    answer = client.get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "connect-src 'self'" in policy
    assert "unsafe" not in policy and "*" not in policy
    for path in ("/", "/style.css", "/script.js"):
        text = client.get(path).text
        assert set(re.findall(r"https?://[^'\"\s<]+", text)) <= {"http://www.w3.org/2000/svg"}


class _Slow:
    """Stands for a predictor: counts concurrent calls, and waits until it may answer."""

    def __init__(self):
        self.may, self.inside, self.most = threading.Event(), 0, 0

    def predict(self, data):
        if data == b"fault":
            raise RuntimeError("a fault of the program")
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.may.wait(30)
        self.inside -= 1
        return {}


def test_one_photo_at_a_time_and_a_bounded_queue(capsys):
    slow = _Slow()
    statuses = []
    app = make_app(slow, LIMITS, NAMES)
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:

        def send():
            answer = client.post("/predict", content=b"x", headers=TYPE)
            statuses.append(answer.status_code)
            if answer.status_code == 503:
                assert "4 photos are waiting" in answer.json()["error"]
                slow.may.set()

        senders = [threading.Thread(target=send) for _ in range(5)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join(30)
        assert sorted(statuses) == [200] * 4 + [503] and slow.most == 1
        fault = client.post("/predict", content=b"fault", headers=TYPE)
        assert fault.status_code == 500 and "something went wrong" in fault.json()["error"]
        assert client.post("/predict", content=b"x", headers=TYPE).status_code == 200


def test_what_cannot_be_served(workdir, capsys, monkeypatch):
    command = ["--workdir", str(workdir), "--mode", "serve", "--port", "0"]
    assert main([*command, "--max_side", "1000"]) == 2
    assert "--max-side is 1000; expected a multiple of 64" in capsys.readouterr().err
    for value in ("0", "nan", "inf"):
        assert main([*command, "--max-megabytes", value]) == 2
        assert f"--max-megabytes is {value}; expected more than 0" in capsys.readouterr().err
    assert main([*command, "--host", "192.0.2.1"]) == 2
    assert "cannot listen on 192.0.2.1" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(command) == 2
    assert "pip install 'ipixmatch-jax[serve]'" in capsys.readouterr().err
