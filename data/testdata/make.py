"""Writes JPEG files and what Pillow decodes them to, for the tests of the decoder.

usage: python3 make.py   (Pillow 13.0.0 with libjpeg-turbo 3.2; writes beside itself)

NAME.jpg is made of numbers, NAME.png holds its pixels, and NAME-2.png, -4.png and -8.png those of
the picture decoded to a half, a quarter and an eighth of its size (`Image.draft`).
"""

from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent


def made(width, height):
    """Ramps, edges, and a noise that is the same everywhere."""
    state, pixels = 12345, bytearray()
    for y in range(height):
        for x in range(width):
            state = (1103515245 * state + 12345) % 2**31
            noise = (state >> 16) % 41 - 20
            disc = 90 if (x - width // 3) ** 2 + (y - height // 2) ** 2 < (height // 3) ** 2 else 0
            bar = 120 if x % 16 < 3 else 0
            for level in (4 * x % 256 + disc, 5 * y % 256 + bar, (x * y) % 200 + noise):
                pixels.append(min(max(level + noise // 2, 0), 255))
    return Image.frombytes("RGB", (width, height), bytes(pixels))


def write(name, picture, **settings):
    path = HERE / f"{name}.jpg"
    picture.save(path, **settings)
    width, height = picture.size
    for divisor in (1, 2, 4, 8):
        if min(width, height) < divisor:
            break
        found = Image.open(path)
        found.draft(found.mode, (width // divisor, height // divisor))
        assert found.size == (-(-width // divisor), -(-height // divisor)), found.size
        ending = "" if divisor == 1 else f"-{divisor}"
        found.convert("RGB").save(HERE / f"{name}{ending}.png", optimize=True)


photo = made(61, 47)
write("whole-chroma", photo, quality=90, subsampling="4:4:4")
write("halved-across", photo, quality=75, subsampling="4:2:2")
write("halved-both-ways", photo, quality=95, subsampling="4:2:0", optimize=True)
write("restarts", photo, quality=50, subsampling="4:2:0", restart_marker_blocks=3)
write("grey", photo.convert("L"), quality=85)
write("coarse", photo, quality=5, subsampling="4:2:0")
write("tiny", made(4, 3), quality=90, subsampling="4:2:0")
write("tiny-across", made(3, 2), quality=90, subsampling="4:2:2")
