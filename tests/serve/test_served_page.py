"""A session with the served page in a browser."""

import contextlib
import shutil
import signal
import subprocess
import sys

import pytest

from tests.references.browser import Browser
from tests.references.photos import file_of, image_of


@contextlib.contextmanager
def served(workdir):
    """The address of a real server in a separate process, ended by Ctrl-C."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ipixmatch_jax.main", "--workdir", str(workdir), "--mode", "serve",
         "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        line = process.stdout.readline()
        assert "http://127.0.0.1:" in line, process.stderr.read()
        yield line.split()[-1]
    except BaseException:
        process.kill()
        raise
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "Traceback" not in err and "\nstopped\nnext: ipixmatch --workdir " in out


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
def test_a_browser_tries_a_photo(workdir, tmp_path):
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(file_of(image_of(60, 90), "JPEG"))
    (tmp_path / "fake.png").write_bytes(b"no photo")
    with served(workdir) as address, contextlib.closing(Browser(tmp_path / "profile")) as browser:
        browser.call("Page.navigate", url=address)
        browser.wait("document.getElementById('limits')?.textContent.includes('megapixels')")
        browser.choose_file("#file", tmp_path / "fake.png")
        browser.wait("said.textContent.includes('is not a photo')")
        assert [c["text"] for c in browser.complaints if "400" not in c.get("text", "")] == []
        browser.complaints.clear()  # the browser notes every answer that is no success
        browser.choose_file("#file", photo)
        browser.wait("!document.getElementById('explorer').hidden")
        said = browser.run("said.textContent")
        assert said.startswith("90 × 60 pixels; ") and "predicted at" not in said
        assert browser.run("document.querySelector('.shares').innerText").count("% sure") >= 1
        check_explorer(browser)
        browser.run("document.getElementById('theme').click()")
        browser.resize(390, 844)
        assert browser.run("document.documentElement.scrollWidth <= innerWidth")
        assert browser.complaints == []
        asked = {url for url in browser.requests if not url.startswith("data:")}
        assert asked == {
            f"{address}{path}" for path in ("/", "/style.css", "/script.js", "/about", "/predict")
        }


def check_explorer(browser):
    """A click and a key each change the heat maps of both networks, and the text of the readout."""
    heat = "document.querySelector('canvas[data-panel=teacher]').toDataURL()"
    heats, read = [browser.run(heat)], [browser.run("readout.textContent")]
    browser.run("document.querySelector('canvas[data-panel=teacher]').scrollIntoView()")
    for row, column in ((3, 5), (20, 40)):
        box = browser.run(
            "(({x, y, width, height}) => [x, y, width, height])"
            "(document.querySelector('canvas[data-panel=photo]').getBoundingClientRect())"
        )
        x, y = box[0] + (column + 0.5) / 48 * box[2], box[1] + (row + 0.5) / 32 * box[3]
        browser.click(x, y)
        assert browser.run("readout.textContent").startswith(f"Row {row}, column {column}.")
        heats.append(browser.run(heat))
    browser.key("ArrowRight")
    assert browser.run("readout.textContent").startswith("Row 20, column 41.")
    heats.append(browser.run(heat))
    assert len(set(heats)) == len(heats) and "Truth" not in read[0]
