"""The decoder against what a viewer shows, written out by hand, kind by kind, on every path that reads pictures."""

import io
import struct
import sys
import types
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from lib.data import ImageFiles, ImageList, decoder
from lib.data.decoder import MAX_PIXELS, MAX_RATIO, UnreadableImage, decode
from lib.vision.pixels import read_pixels

RED, WHITE, BLUE = (255, 0, 0), (255, 255, 255), (0, 0, 255)


def stored(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    stream.seek(0)
    return stream


def pixels_of(image, kind, **options):
    return np.asarray(decode(stored(image, kind, **options), "it"))


def png(width, height, depth, colour_type, rows, extra=()):
    """A PNG written by hand: `rows` are the bytes of the scan lines, `extra` chunks before the pixels."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)), *extra]
    chunks += [(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))), (b"IEND", b"")]
    made = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    ]
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + b"".join(made))


# --------------------------------------------------------------------------------------------------------- transparency
def ring():
    image = Image.new("RGBA", (20, 10), (0, 0, 0, 0))  # black where nothing is seen
    image.paste((255, 0, 0, 255), (0, 0, 5, 10))
    image.paste((0, 0, 255, 128), (5, 0, 10, 10))
    return image


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "AVIF", "ICO"])
def test_what_is_transparent_is_seen_on_white(kind):
    options = {
        "WEBP": {"lossless": True},
        "AVIF": {"quality": 100, "subsampling": "4:4:4"},
        "ICO": {"sizes": [(20, 10)]},
    }
    found = pixels_of(ring(), kind, **options.get(kind, {})).astype(int)
    tolerance = 3 if kind == "AVIF" else 0
    for x, colour in ((2, RED), (7, (127, 127, 255)), (15, WHITE)):
        np.testing.assert_allclose(found[4, x], colour, atol=tolerance)


def test_grey_with_alpha_and_palettes():
    grey = Image.merge("LA", [Image.new("L", (8, 8), 100), Image.new("L", (8, 8), 0)])
    assert (pixels_of(grey, "PNG") == 255).all()
    half = Image.merge("LA", [Image.new("L", (8, 8), 0), Image.new("L", (8, 8), 51)])  # a fifth of black
    assert (pixels_of(half, "PNG") == 204).all()
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 255])
    palette.paste(0, (0, 0, 4, 8))
    palette.paste(2, (6, 0, 8, 8))
    by_index = pixels_of(palette, "PNG", transparency=0)
    assert by_index[0].tolist() == [[*WHITE]] * 4 + [[*RED]] * 2 + [[*BLUE]] * 2
    by_bytes = pixels_of(palette, "PNG", transparency=bytes([255, 0, 255]))
    assert by_bytes[0].tolist() == [[0, 0, 0]] * 4 + [[*WHITE]] * 2 + [[*BLUE]] * 2
    assert (pixels_of(palette, "GIF", transparency=0)[0, :4] == 255).all()
    assert np.asarray(ImageList([ring().convert("PA")])[0])[0, 15].tolist() == [*WHITE]
    for mode in ("RGBa", "La"):
        assert np.asarray(ImageList([Image.new(mode[:-1] + "A", (8, 8)).convert(mode)])[0]).min() == 255


def test_a_transparent_colour():
    image = Image.new("RGB", (8, 8), BLUE)
    image.paste(RED, (0, 0, 4, 8))
    found = pixels_of(image, "PNG", transparency=RED)
    assert found[0].tolist() == [[*WHITE]] * 4 + [[*BLUE]] * 4
    grey = Image.new("L", (8, 8), 7)
    grey.paste(9, (0, 0, 4, 8))
    assert pixels_of(grey, "PNG", transparency=9)[0, :, 0].tolist() == [255] * 4 + [7] * 4


@pytest.mark.parametrize(
    ("depth", "row", "hidden", "seen"),
    [
        (1, bytes([0b01000000]), 1, [0, 255, 0, 0]),
        (1, bytes([0b01000000]), 0, [255, 255, 255, 255]),
        (2, bytes([0b00011011]), 2, [0, 85, 255, 255]),
        (4, bytes([0x04, 0x8F]), 4, [0, 255, 136, 255]),
        (8, bytes([0, 4, 8, 15]), 8, [0, 4, 255, 15]),
        (16, struct.pack(">4H", 0, 257, 65535, 514), 257, [0, 255, 255, 2]),
    ],
)
def test_a_transparent_grey_counts_in_samples_of_the_file(depth, row, hidden, seen):
    found = decode(png(4, 1, depth, 0, [row], [(b"tRNS", struct.pack(">H", hidden))]), "it")
    assert np.asarray(found)[0, :, 0].tolist() == seen


def test_a_transparent_colour_of_16_bits():
    row = struct.pack(">6H", 0x1234, 0, 0, 0x3400, 0, 0)
    found = decode(png(2, 1, 16, 2, [row], [(b"tRNS", struct.pack(">3H", 0x1234, 0, 0))]), "it")
    assert np.asarray(found)[0].tolist() == [[*WHITE], [0x34, 0, 0]]


def test_opaque_pictures_keep_their_pixels():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8))
    for mode in ("RGB", "RGBA"):
        np.testing.assert_array_equal(pixels_of(noise.convert(mode), "PNG"), np.asarray(noise))


# ---------------------------------------------------------------------------------------------------------- orientation
def corner():
    """Red at the top left, blue at the top right, wider than high."""
    image = Image.new("RGB", (64, 48), "white")
    image.paste(RED, (0, 0, 32, 24))
    image.paste(BLUE, (32, 0, 64, 24))
    return image


UNDO = {  # how a camera that is held like this stores the upright picture
    1: [], 2: [0], 3: [3], 4: [1], 5: [5], 6: [2], 7: [6], 8: [4],
}  # fmt: skip


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("value", range(1, 9))
def test_exif_turns_the_picture_on_every_path(kind, value, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = value
    image = corner()
    for method in UNDO[value]:
        image = image.transpose(Image.Transpose(method))
    path = tmp_path / "named.jpg"  # whatever it is
    fine = {"JPEG": {"quality": 98, "subsampling": 0}, "WEBP": {"lossless": True}, "AVIF": {"subsampling": "4:4:4"}}
    image.save(path, kind, exif=exif, **fine.get(kind, {}))
    difference = np.abs(np.asarray(ImageFiles([path])[0], int) - np.asarray(corner(), int))
    assert difference.mean() < 3
    with Image.open(path) as opened:
        np.testing.assert_array_equal(np.asarray(ImageFiles([path])[0]), np.asarray(ImageOps.exif_transpose(opened)))
    with Image.open(path) as unread:
        in_memory = ImageList([unread])
        np.testing.assert_array_equal(np.asarray(in_memory[0]), np.asarray(ImageFiles([path])[0]))
    pixels = read_pixels(path, 48).permute(1, 2, 0).numpy().astype(int)
    np.testing.assert_allclose(pixels[12, 4], RED, atol=40)
    np.testing.assert_allclose(pixels[12, 43], BLUE, atol=40)
    np.testing.assert_allclose(pixels[40, 10], WHITE, atol=40)


def test_what_exif_says_is_part_of_the_fingerprint():
    def turned(value):
        exif = Image.Exif()
        exif[0x0112] = value
        return Image.open(stored(corner(), "PNG", exif=exif))

    images = ImageList([turned(1), turned(3), turned(3), corner()])
    first = [images.fingerprint(i) for i in range(4)]
    assert first[1] == first[2]
    assert first[0] == first[3] != first[1]
    assert [images.fingerprint(i) for i in range(4)] == first  # also when they are loaded
    tiff = Image.Exif()
    tiff[0x0112] = 6
    lazy = ImageList([Image.open(stored(corner(), "TIFF", exif=tiff))])
    assert lazy.fingerprint(0) == lazy.fingerprint(0) != first[3]


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"]
)
def test_a_damaged_exif_turns_nothing(exif, tmp_path):
    path = tmp_path / "a.jpg"
    corner().save(path, exif=exif)
    assert ImageFiles([path])[0].size == (64, 48)
    assert read_pixels(path, 48).shape == (3, 48, 48)


@pytest.mark.parametrize("value", [0, 9, 255])
def test_an_orientation_that_is_none_turns_nothing(value):
    exif = Image.Exif()
    exif[0x0112] = value
    assert decode(stored(corner(), "JPEG", exif=exif), "it").size == (64, 48)


# ------------------------------------------------------------------------------------------------------ ranges, colours
@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
def test_grey_of_16_bits_is_shown_by_its_full_range(mode):
    values = np.array([[0, 128, 129, 257, 32768, 65535]], dtype={"I;16": "<u2", "I;16B": ">u2", "I": "<i4"}[mode])
    image = Image.frombytes(mode, (6, 1), values.tobytes())
    seen = np.round(values[0].astype(float) / 257).astype(int).tolist()
    assert np.asarray(ImageList([image])[0])[0].tolist() == [[value] * 3 for value in seen]
    if mode != "I;16B":
        kind = "PNG" if mode == "I;16" else "TIFF"
        assert pixels_of(image, kind)[0, :, 1].tolist() == seen


def test_a_dark_picture_of_16_bits_stays_dark():
    stream = io.BytesIO(b"P5 2 1 65535\n" + struct.pack(">2H", 0, 200))
    assert np.asarray(decode(stream, "it")).max() == 1
    assert pixels_of(Image.fromarray(np.array([[0, 200]], np.uint16)), "PNG").max() == 1


@pytest.mark.parametrize(
    ("values", "seen"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.2, 0.2, 0.4], [51, 51, 102]),  # 0..1 is a range of its own
        ([0.0, 100.0, 200.4], [0, 100, 200]),
        ([-1.0, 0.0, 1.0], [0, 128, 255]),
        ([1000.0, 2000.0, 3000.0], [0, 128, 255]),
        ([7000.0, 7000.0, 7000.0], [0, 0, 0]),
        ([np.nan, 0.0, np.inf], [0, 0, 255]),
        ([np.nan, np.nan, np.nan], [0, 0, 0]),
    ],
)
def test_floats_are_shown_by_their_range(values, seen):
    image = Image.fromarray(np.array([values], np.float32))
    assert image.mode == "F"
    assert np.asarray(ImageList([image])[0])[0, :, 2].tolist() == seen
    assert pixels_of(image, "TIFF")[0, :, 2].tolist() == seen


@pytest.mark.parametrize(
    ("values", "seen"),
    [([0, 7, 255], [0, 7, 255]), ([-100, 0, 100], [0, 128, 255]), ([0, 1 << 19, 1 << 20], [0, 128, 255])],
)
def test_integers(values, seen):
    assert np.asarray(ImageList([Image.fromarray(np.array([values], np.int32))])[0])[0, :, 0].tolist() == seen


def test_one_bit_and_four_colours():
    bits = Image.new("1", (8, 8))
    bits.paste(1, (0, 0, 4, 8))
    for kind in ("PNG", "TIFF", "BMP"):
        assert pixels_of(bits, kind)[0].tolist() == [[*WHITE]] * 4 + [[0, 0, 0]] * 4
    inks = Image.new("CMYK", (32, 32), (0, 255, 255, 0))  # magenta and yellow
    for kind in ("JPEG", "TIFF"):
        np.testing.assert_allclose(pixels_of(inks, kind).astype(int), np.full((32, 32, 3), RED), atol=8)


def test_inks_as_adobe_writes_them(tmp_path):
    """YCCK, marked as transform 2: the inks as if they were red, green and blue, told as luminance and differences."""
    inks = stored(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), "JPEG").getvalue()
    at = inks.index(b"Adobe")
    assert inks[at + 11] == 0  # no transform: the samples are the inverted inks, 0, 255, 255, 255
    path = tmp_path / "a.jpg"
    path.write_bytes(inks[: at + 11] + b"\x02" + inks[at + 12 :])
    y, cb, cr = 0, 255 - 128, 255 - 128
    cyan, magenta, yellow = np.clip([y + 1.402 * cr, y - 0.344 * cb - 0.714 * cr, y + 1.772 * cb], 0, 255)
    light = 255 - np.array([cyan, magenta, yellow])
    np.testing.assert_allclose(np.asarray(decode(path, "it"), int)[8, 8], light, atol=2)
    np.testing.assert_allclose(read_pixels(path, 16)[:, 8, 8].numpy().astype(int), light, atol=2)


# ------------------------------------------------------------------------------------------------------ frames, formats
@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_of_an_animation_the_first_frame(kind):
    frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, BLUE)]
    found = pixels_of(frames[0], kind, save_all=True, append_images=frames[1:])
    np.testing.assert_allclose(found[8, 8].astype(int), RED, atol=6)


def test_of_an_apng_not_the_substitute():
    frames = [Image.new("RGB", (16, 16), colour) for colour in (WHITE, RED, BLUE)]
    found = pixels_of(frames[0], "PNG", save_all=True, append_images=frames[1:], default_image=True)
    assert found[8, 8].tolist() == [*RED]


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.heic", "a", "a.txt", "ä b.JPG.gif"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_the_content_decides_and_not_the_name(name, kind, tmp_path):
    path = tmp_path / name
    corner().save(path, kind)
    assert ImageFiles([path])[0].size == (64, 48)
    assert read_pixels(path, 48)[0, 12, 4] > 200


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)


def test_heic_names_the_package(tmp_path, monkeypatch):
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    monkeypatch.setattr(decoder.importlib.util, "find_spec", lambda name: None)
    decoder._register_heif.cache_clear()
    path = tmp_path / "phone.jpg"
    path.write_bytes(HEIC)
    for read in (lambda: ImageFiles([path])[0], lambda: read_pixels(path)):
        with pytest.raises(
            UnreadableImage, match=r"phone\.jpg cannot be decoded here: it is HEIC.*pip install pillow-heif"
        ):
            read()
    decoder._register_heif.cache_clear()


def test_heic_is_read_where_the_package_is(monkeypatch):
    calls = []
    package = types.ModuleType("pillow_heif")
    package.register_heif_opener = lambda: calls.append(1)
    monkeypatch.setitem(sys.modules, "pillow_heif", package)
    monkeypatch.setattr(decoder.importlib.util, "find_spec", lambda name: package)
    decoder._register_heif.cache_clear()
    for _ in range(2):
        decode(stored(corner(), "PNG"), "it")
    assert calls == [1]
    decoder._register_heif.cache_clear()


def test_avif_names_what_is_missing(monkeypatch):
    def refuses(*_, **__):
        raise decoder.UnidentifiedImageError("none")

    monkeypatch.setattr(decoder.features, "check", lambda name: False)
    monkeypatch.setattr(Image, "open", refuses)
    with pytest.raises(UnreadableImage, match=r"it is AVIF.*upgrade pillow"):
        decode(io.BytesIO(b"\0\0\0\x18ftypavif" + bytes(50)), "it")


# -------------------------------------------------------------------------------------------------------------- refused
def claims(width, height):
    return png(width, height, 8, 0, [])


@pytest.mark.parametrize(
    ("size", "kind"),
    [
        ((1, 30_000), "strip"),
        ((30_000, 1), "strip"),
        ((MAX_RATIO * 9 + 1, 9), "strip"),
        ((9_460, 9_460), "huge"),
        ((60_000, 60_000), "huge"),
    ],
)
def test_strips_and_bombs_are_refused_by_name(size, kind, tmp_path, recwarn):
    assert MAX_PIXELS < 9_460**2
    path = tmp_path / "big.png"
    path.write_bytes(claims(*size).getvalue())
    for read in (lambda: ImageFiles([path])[0], lambda: read_pixels(path)):
        with pytest.raises(UnreadableImage, match=r"image .*big\.png is refused, it") as caught:
            read()
        assert caught.value.kind == kind


def test_strips_in_memory_and_as_jpeg_are_refused(tmp_path):
    with pytest.raises(UnreadableImage, match="image 1 is refused, it is a strip"):
        ImageList([corner(), Image.new("RGB", (1, 21))])[1]
    path = tmp_path / "strip.jpg"
    Image.new("RGB", (2000, 8)).save(path)
    with pytest.raises(UnreadableImage, match=r"strip\.jpg is refused, it is a strip \(2000 x 8"):
        read_pixels(path)
    assert ImageList([Image.new("RGB", (1, MAX_RATIO))])[0].size == (1, MAX_RATIO)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "AVIF"])
def test_any_damage_is_one_kind_of_error(kind, tmp_path):
    """Broken off, or with flipped bytes: an image or an UnreadableImage with the name, never something else."""
    rng = np.random.default_rng(0)
    good = stored(Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)), kind).getvalue()
    path, refused = tmp_path / "broken", 0
    for attempt in range(60):
        content = bytearray(good)
        if attempt % 2:
            content = content[: int(rng.integers(1, len(good) - 40))]
        else:
            for place in rng.integers(0, min(len(good), 400), 4):
                content[place] ^= int(rng.integers(1, 256))
        path.write_bytes(bytes(content))
        for read in (lambda: ImageFiles([path])[0], lambda: read_pixels(path)):
            try:
                read()
            except UnreadableImage as error:
                refused += "broken" in str(error)
    assert refused > 20


def test_an_unread_image_in_a_list_is_named():
    broken = Image.open(io.BytesIO(stored(corner(), "PNG").getvalue()[:80]))
    with pytest.raises(UnreadableImage, match="image 1 is not a readable image"):
        ImageList([corner(), broken])[1]


def test_what_was_done_is_not_done_again():
    exif = Image.Exif()
    exif[0x0112] = 6
    once = decode(stored(corner(), "JPEG", exif=exif), "it")
    assert once.size == (48, 64)
    np.testing.assert_array_equal(np.asarray(ImageList([once])[0]), np.asarray(once))
    key = decode(stored(Image.new("RGB", (4, 4), RED), "PNG", transparency=RED), "it")
    assert not key.has_transparency_data
