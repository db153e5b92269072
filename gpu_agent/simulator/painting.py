"""Pictures for the simulated sampler: a landscape composed from the prompt's words and the seed.

Drawn small and enlarged, without noise: a megapixel takes some tens of milliseconds and compresses well.
"""

import hashlib
import math
import random
from dataclasses import dataclass

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from gpu_agent.simulator.palettes import Brief, Colour, Palette, brief

WORK_PIXELS = 640  # longer side of the canvas
RIDGE_POINTS = 72


@dataclass(slots=True)
class _Canvas:
    image: Image.Image
    draw: ImageDraw.ImageDraw
    width: int
    height: int
    horizon: int
    shift: float  # of the camera, in widths: far layers move little, near ones much
    chance: random.Random


def paint(words: str, seed: int, width: int, height: int, shift: float = 0.0) -> Image.Image:
    """An RGB picture of that size. Equal arguments give equal pixels; `shift` pans the camera."""
    scale = min(1.0, WORK_PIXELS / max(width, height))
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    digest = hashlib.sha256(f"{seed}\n{words}".encode()).digest()
    chance = random.Random(digest)  # nosec B311
    subject = brief(words, chance)
    image = _sky(size, subject.palette)
    horizon = round(size[1] * (0.56 + 0.12 * chance.random()))
    canvas = _Canvas(image, ImageDraw.Draw(image), *size, horizon, shift, chance)
    _compose(canvas, subject)
    if (width, height) != size:
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    return image


def sharpened(image: Image.Image, noise: Image.Image, done: float) -> Image.Image:
    """The picture as it looks `done` (0…1) of the way: coarse and noisy at first."""
    clear = max(0.0, min(1.0, done)) ** 1.5
    side = max(6, round(max(image.size) * (0.04 + 0.96 * clear)))
    small = image.copy()
    small.thumbnail((side, side), Image.Resampling.BILINEAR)
    blurred = small.resize(image.size, Image.Resampling.BICUBIC)
    return Image.blend(blurred, noise, 0.75 * (1 - clear)) if clear < 1 else image


def noise_for(size: tuple[int, int], seed: int) -> Image.Image:
    """Coloured noise of that size, equal for equal seeds."""
    chance = random.Random(seed)  # nosec B311
    small = Image.frombytes("RGB", (48, 48), chance.randbytes(48 * 48 * 3))
    return small.resize(size, Image.Resampling.NEAREST)


def _compose(canvas: _Canvas, subject: Brief) -> None:
    palette, has = subject.palette, subject.subjects
    if palette.dark:
        _stars(canvas, palette)
    _light(canvas, palette)
    if subject.mood in ("day", "dawn", "dusk", "autumn", "winter"):
        _clouds(canvas, palette)
    layers = 4 if "mountains" in has else 3
    for layer in range(layers):
        near = layer / (layers - 1) if "water" not in has else layer / (layers + 1)
        _ridge(canvas, palette, near, rough="mountains" in has)
        if "forest" in has and layer >= 1:
            _trees(canvas, _mixed(palette.far, palette.near, min(1.0, near + 0.15)), near)
        if "city" in has and layer == layers - 2:
            _buildings(canvas, palette, near)
    if "water" in has:
        _water(canvas, palette)
    if "flowers" in has:
        _flowers(canvas, palette)
    if "figure" in has:
        _figure(canvas, palette)
    elif "animal" in has:
        _animal(canvas, palette)
    if "vessel" in has:
        _vessel(canvas, palette)
    _vignette(canvas)


def _mixed(one: Colour, other: Colour, share: float) -> Colour:
    return (
        round(one[0] + (other[0] - one[0]) * share),
        round(one[1] + (other[1] - one[1]) * share),
        round(one[2] + (other[2] - one[2]) * share),
    )


def _sky(size: tuple[int, int], palette: Palette) -> Image.Image:
    column = Image.new("RGB", (1, 33))
    for row in range(33):
        share = row / 32
        top, middle, low = palette.sky
        colour = _mixed(top, middle, share * 2) if share < 0.5 else _mixed(middle, low, share * 2 - 1)
        column.putpixel((0, row), colour)
    return column.resize(size, Image.Resampling.BICUBIC)


def _stars(canvas: _Canvas, palette: Palette) -> None:
    for _ in range(canvas.width * canvas.height // 2600):
        x, y = canvas.chance.random() * canvas.width, canvas.chance.random() ** 1.4 * canvas.horizon
        colour = _mixed(palette.sky[1], (255, 255, 255), 0.3 + 0.7 * canvas.chance.random())
        radius = 0.3 + canvas.chance.random() ** 6 * 1.6
        canvas.draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _light(canvas: _Canvas, palette: Palette) -> None:
    """Sun or moon with its glow."""
    x = canvas.width * (0.2 + 0.6 * canvas.chance.random() - 0.05 * canvas.shift)
    y = canvas.horizon * (0.25 + 0.55 * canvas.chance.random())
    radius = min(canvas.width, canvas.height) * (0.045 + 0.05 * canvas.chance.random())
    for reach, strength in ((8.0, 0.55), (3.0, 0.5)):
        side = max(2, round(radius * reach * 2))
        glow = ImageChops.invert(Image.radial_gradient("L")).resize((side, side))
        mask = glow.point([round(max(0, value - 72) * strength * 1.39) for value in range(256)])
        colour = Image.new("RGB", (side, side), palette.light)
        canvas.image.paste(colour, (round(x - side / 2), round(y - side / 2)), mask)
    canvas.draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=palette.light)


def _clouds(canvas: _Canvas, palette: Palette) -> None:
    layer = Image.new("L", (canvas.width // 2, canvas.height // 2))
    draw = ImageDraw.Draw(layer)
    for _ in range(canvas.chance.randint(2, 5)):
        x = (canvas.chance.random() - 0.1 * canvas.shift) * layer.width
        y = canvas.chance.random() * canvas.horizon * 0.34
        length = layer.width * (0.12 + 0.2 * canvas.chance.random())
        for puff in range(7):
            offset = (puff / 6 - 0.5) * length
            size = length * (0.07 + 0.06 * canvas.chance.random())
            draw.ellipse(
                (x + offset - size * 2, y - size * 0.5, x + offset + size * 2, y + size * 0.5), fill=150
            )
    mask = layer.filter(ImageFilter.GaussianBlur(5)).resize(canvas.image.size)
    canvas.image.paste(_mixed(palette.light, (255, 255, 255), 0.4), (0, 0, *canvas.image.size), mask)


def _ridge_line(
    canvas: _Canvas, base: float, swing: float, rough: bool, near: float
) -> list[tuple[float, float]]:
    waves = [
        (canvas.chance.uniform(0.7, 1.6) * 2**octave, canvas.chance.random() * math.tau, 0.52**octave)
        for octave in range(6 if rough else 4)
    ]
    line = []
    for step in range(RIDGE_POINTS + 1):
        x = step / RIDGE_POINTS
        place = x + canvas.shift * (0.1 + 0.5 * near)
        rise = sum(
            height
            * (abs(math.sin(place * speed * 3 + phase)) if rough else math.sin(place * speed * 4 + phase))
            for speed, phase, height in waves
        )
        line.append((x * canvas.width, base - rise * swing))
    return line


def _ridge(canvas: _Canvas, palette: Palette, near: float, *, rough: bool) -> None:
    base = canvas.horizon + (canvas.height - canvas.horizon) * near * 0.75
    swing = canvas.height * ((0.16 if rough else 0.06) * (1 - 0.55 * near))
    line = _ridge_line(canvas, base, swing, rough, near)
    colour = _mixed(_mixed(palette.sky[2], palette.far, 0.55), palette.near, near**0.8)
    canvas.draw.polygon([(0, canvas.height), *line, (canvas.width, canvas.height)], fill=colour)


def _trees(canvas: _Canvas, colour: Colour, near: float) -> None:
    base = canvas.horizon + (canvas.height - canvas.horizon) * near * 0.8
    for _ in range(round(70 - 40 * near)):
        x = ((canvas.chance.random() * 1.3 - canvas.shift * (0.1 + 0.5 * near)) % 1.3 - 0.15) * canvas.width
        height = canvas.height * (0.05 + 0.13 * near) * (0.6 + 0.8 * canvas.chance.random())
        foot = base + canvas.chance.uniform(-0.01, 0.05) * canvas.height
        half = height * 0.2
        shade = _mixed(colour, (0, 0, 0), 0.35 * canvas.chance.random())
        for tier in range(3):
            top = foot - height * (0.45 + 0.275 * tier)
            width = half * (1.2 - 0.3 * tier)
            canvas.draw.polygon(
                [(x, top), (x - width, top + height * 0.45), (x + width, top + height * 0.45)], fill=shade
            )


def _buildings(canvas: _Canvas, palette: Palette, near: float) -> None:
    ground = canvas.horizon + (canvas.height - canvas.horizon) * near * 0.9
    for _ in range(26):
        x = ((canvas.chance.random() * 1.2 - canvas.shift * 0.3) % 1.2 - 0.1) * canvas.width
        width = canvas.width * (0.025 + 0.04 * canvas.chance.random())
        height = canvas.height * (0.1 + 0.34 * canvas.chance.random() ** 2)
        wall = _mixed(palette.far, palette.near, 0.35 + 0.6 * canvas.chance.random())
        canvas.draw.rectangle((x, ground - height, x + width, canvas.height), fill=wall)
        lit = _mixed(palette.light, (255, 214, 120), 0.5)
        step = max(4.0, canvas.width / 110)
        for row in range(int(height / step) - 1):
            for column in range(int(width / step) - 1):
                if canvas.chance.random() < (0.42 if palette.dark else 0.12):
                    left, top = x + (column + 0.7) * step, ground - height + (row + 0.7) * step
                    canvas.draw.rectangle((left, top, left + step * 0.4, top + step * 0.45), fill=lit)


def _water(canvas: _Canvas, palette: Palette) -> None:
    """Mirror what stands above the shore."""
    shore = round(canvas.horizon + (canvas.height - canvas.horizon) * 0.35)
    depth = canvas.height - shore
    if depth < 2:
        return
    above = canvas.image.crop((0, max(0, shore - depth), canvas.width, shore))
    mirror = above.transpose(Image.Transpose.FLIP_TOP_BOTTOM).resize((canvas.width, depth))
    mirror = mirror.filter(ImageFilter.GaussianBlur(1.6))
    canvas.image.paste(Image.blend(mirror, Image.new("RGB", mirror.size, palette.water), 0.42), (0, shore))
    for _ in range(70):
        share = canvas.chance.random()
        y = shore + share**1.5 * depth
        length = canvas.width * (0.01 + 0.09 * share * canvas.chance.random())
        x = (canvas.chance.random() - canvas.shift * 0.2 * (1 + share)) % 1.0 * canvas.width
        glint = _mixed(palette.water, palette.light, 0.25 + 0.5 * canvas.chance.random())
        canvas.draw.line((x - length, y, x + length, y), fill=glint, width=1 + round(share * 1.4))


def _flowers(canvas: _Canvas, palette: Palette) -> None:
    hues = [(222, 68, 74), (246, 190, 72), (232, 132, 186), (150, 112, 214), palette.light]
    for _ in range(240):
        share = canvas.chance.random() ** 0.7
        y = canvas.horizon + (canvas.height - canvas.horizon) * (0.35 + 0.65 * share)
        x = (canvas.chance.random() - canvas.shift * (0.1 + 0.4 * share)) % 1.0 * canvas.width
        radius = 0.6 + share * canvas.width / 130
        canvas.draw.ellipse(
            (x - radius, y - radius * 0.8, x + radius, y + radius * 0.8), fill=canvas.chance.choice(hues)
        )


def _figure(canvas: _Canvas, palette: Palette) -> None:
    """Head and shoulders against the light."""
    x = canvas.width * (0.42 + 0.16 * canvas.chance.random() - 0.3 * canvas.shift)
    unit = min(canvas.width, canvas.height) * 0.3
    top = canvas.height * 0.28
    body, rim = _mixed(palette.near, (12, 10, 16), 0.45), _mixed(palette.light, palette.sky[2], 0.3)
    for colour, grow in ((rim, unit * 0.035), (body, 0.0)):
        side = grow * 0.6
        canvas.draw.rounded_rectangle(
            (x - unit - side, top + unit * 1.35 - grow, x + unit + side, canvas.height * 1.4),
            unit * 0.62,
            fill=colour,
        )
        canvas.draw.rectangle(
            (x - unit * 0.2 - side, top + unit * 0.7, x + unit * 0.2 + side, top + unit * 1.5), fill=colour
        )
        canvas.draw.ellipse(
            (x - unit * 0.48 - side, top - grow, x + unit * 0.48 + side, top + unit * 1.22), fill=colour
        )


def _animal(canvas: _Canvas, palette: Palette) -> None:
    """A sitting creature with ears and a tail."""
    x = canvas.width * (0.34 + 0.32 * canvas.chance.random() - 0.35 * canvas.shift)
    unit = min(canvas.width, canvas.height) * 0.2
    foot = canvas.height * 0.93
    fur = (188, 88, 36) if palette is not None and not palette.dark else (122, 62, 38)
    pale, dark = _mixed(fur, (255, 240, 220), 0.7), _mixed(fur, (20, 10, 10), 0.65)
    canvas.draw.ellipse(
        (x + unit * 0.2, foot - unit * 1.1, x + unit * 1.5, foot + unit * 0.05), fill=_mixed(fur, dark, 0.2)
    )
    canvas.draw.ellipse((x - unit * 0.62, foot - unit * 1.7, x + unit * 0.62, foot), fill=fur)
    canvas.draw.ellipse((x - unit * 0.3, foot - unit * 1.35, x + unit * 0.3, foot - unit * 0.1), fill=pale)
    head = foot - unit * 1.95
    for side in (-1, 1):
        ear = [(x + side * unit * 0.16, head - unit * 0.3), (x + side * unit * 0.62, head - unit * 0.95)]
        canvas.draw.polygon([*ear, (x + side * unit * 0.58, head - unit * 0.05)], fill=fur)
    canvas.draw.ellipse((x - unit * 0.6, head - unit * 0.5, x + unit * 0.6, head + unit * 0.45), fill=fur)
    canvas.draw.polygon(
        [(x - unit * 0.34, head + unit * 0.1), (x + unit * 0.34, head + unit * 0.1), (x, head + unit * 0.62)],
        fill=pale,
    )
    for side in (-1, 1):
        eye = x + side * unit * 0.24
        canvas.draw.ellipse(
            (eye - unit * 0.07, head - unit * 0.1, eye + unit * 0.07, head + unit * 0.04), fill=dark
        )
    canvas.draw.ellipse((x - unit * 0.07, head + unit * 0.46, x + unit * 0.07, head + unit * 0.58), fill=dark)


def _vessel(canvas: _Canvas, palette: Palette) -> None:
    """A bottle with light in it."""
    x = canvas.width * (0.42 + 0.16 * canvas.chance.random() - 0.3 * canvas.shift)
    unit = min(canvas.width, canvas.height) * 0.2
    foot = canvas.height * 0.92
    glass, inside = _mixed(palette.water, (255, 255, 255), 0.35), _mixed(palette.light, palette.sky[1], 0.35)
    canvas.draw.rounded_rectangle(
        (x - unit * 0.24, foot - unit * 2.7, x + unit * 0.24, foot - unit * 1.4), 6, fill=glass
    )
    canvas.draw.rounded_rectangle(
        (x - unit * 0.8, foot - unit * 1.7, x + unit * 0.8, foot), unit * 0.3, fill=glass
    )
    canvas.draw.rounded_rectangle(
        (x - unit * 0.66, foot - unit * 1.2, x + unit * 0.66, foot - unit * 0.12), unit * 0.24, fill=inside
    )
    canvas.draw.rectangle(
        (x - unit * 0.28, foot - unit * 2.85, x + unit * 0.28, foot - unit * 2.6), fill=(120, 84, 52)
    )


def _vignette(canvas: _Canvas) -> None:
    edge = Image.radial_gradient("L").resize(canvas.image.size)
    mask = edge.point([round(max(0, value - 120) * 0.45) for value in range(256)])
    canvas.image.paste((6, 6, 14), (0, 0, *canvas.image.size), mask)
