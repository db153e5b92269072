"""Which scene and colours the words of a prompt ask for."""

import random
import re
from dataclasses import dataclass

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Palette:
    """Sky from top to horizon, light of sun or moon, far and near ground, water."""

    sky: tuple[Colour, Colour, Colour]
    light: Colour
    far: Colour
    near: Colour
    water: Colour
    dark: bool = False


PALETTES: dict[str, Palette] = {
    "night": Palette(
        ((8, 12, 34), (20, 34, 74), (62, 72, 118)),
        (236, 238, 222),
        (44, 54, 92),
        (8, 11, 24),
        (16, 28, 60),
        True,
    ),
    "dusk": Palette(
        ((40, 36, 86), (184, 88, 104), (250, 176, 106)),
        (255, 226, 168),
        (126, 84, 112),
        (30, 22, 44),
        (96, 66, 104),
    ),
    "dawn": Palette(
        ((112, 150, 196), (232, 186, 188), (255, 226, 186)),
        (255, 244, 214),
        (164, 150, 176),
        (58, 62, 88),
        (140, 156, 186),
    ),
    "day": Palette(
        ((62, 128, 200), (132, 184, 226), (218, 234, 236)),
        (255, 250, 226),
        (126, 156, 172),
        (44, 84, 66),
        (58, 120, 160),
    ),
    "autumn": Palette(
        ((136, 156, 176), (214, 196, 168), (248, 222, 172)),
        (255, 238, 196),
        (176, 128, 88),
        (104, 46, 24),
        (112, 106, 100),
    ),
    "winter": Palette(
        ((140, 166, 196), (196, 212, 226), (236, 240, 244)),
        (255, 252, 240),
        (176, 192, 208),
        (92, 112, 134),
        (150, 178, 200),
    ),
    "neon": Palette(
        ((14, 8, 38), (72, 20, 98), (220, 48, 138)),
        (255, 96, 186),
        (62, 24, 96),
        (12, 8, 28),
        (32, 20, 72),
        True,
    ),
    "desert": Palette(
        ((74, 138, 190), (198, 206, 196), (250, 224, 178)),
        (255, 246, 214),
        (222, 174, 118),
        (150, 92, 52),
        (110, 140, 150),
    ),
    "deep": Palette(
        ((4, 24, 48), (8, 70, 104), (30, 140, 156)),
        (188, 250, 240),
        (16, 84, 104),
        (4, 22, 38),
        (8, 62, 88),
        True,
    ),
    "space": Palette(
        ((4, 4, 14), (20, 14, 44), (58, 34, 86)),
        (255, 224, 190),
        (52, 40, 88),
        (10, 8, 22),
        (20, 18, 50),
        True,
    ),
    "mono": Palette(
        ((70, 70, 74), (150, 150, 152), (222, 222, 220)),
        (250, 250, 246),
        (134, 134, 138),
        (26, 26, 30),
        (92, 92, 98),
    ),
}
_MOODS = {
    "neon": "neon cyberpunk synthwave futuristic",
    "space": "space galaxy planet stars cosmos astronaut nebula orbit",
    "deep": "underwater deep reef whale jellyfish coral",
    "night": "night midnight moon moonlit dark candle noir",
    "dusk": "dusk sunset evening golden twilight cinematic warm lantern",
    "dawn": "dawn sunrise morning mist misty fog pastel soft",
    "autumn": "autumn fall fox orange leaves rust harvest",
    "winter": "winter snow ice snowy frozen arctic",
    "desert": "desert dune dunes sand canyon sahara",
    "mono": "monochrome grayscale black-and-white sketch pencil drawing",
    "day": "day noon summer blue bright sunny meadow",
}
_SUBJECTS = {
    "figure": "portrait woman man girl boy person face people character hero actor model astronaut child",
    "animal": "fox cat dog wolf animal rabbit bear lion tiger squirrel horse deer bird dragon",
    "city": "city street building buildings skyline tower house village town castle cyberpunk architecture",
    "forest": "forest tree trees woods jungle pine park garden autumn",
    "water": "sea ocean lake river water beach coast harbour harbor ship boat underwater island reflection",
    "mountains": "mountain mountains alps peak valley cliff canyon landscape",
    "flowers": "flower flowers meadow field grass poppies roses spring",
    "vessel": "bottle glass vase jar cup potion still-life",
}


@dataclass(frozen=True, slots=True)
class Brief:
    """What to draw."""

    palette: Palette
    mood: str
    subjects: frozenset[str]


def brief(words: str, chance: random.Random) -> Brief:
    """Read the words; `chance` decides what they leave open."""
    present = set(re.findall(r"[a-z][a-z-]+", words.lower()))
    moods = [mood for mood, marks in _MOODS.items() if present & set(marks.split())]
    mood = moods[0] if moods else chance.choice(["day", "dusk", "dawn", "night"])
    subjects = {subject for subject, marks in _SUBJECTS.items() if present & set(marks.split())}
    if not subjects & {"city", "forest", "water", "mountains", "flowers"}:
        subjects.add(chance.choice(["water", "forest", "mountains"]))
    return Brief(PALETTES[mood], mood, frozenset(subjects))
