"""A hospital's own folder: an Excel table of images, a CSV of findings in German, PNGs in two folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from image_kinds import encode, picture
from PIL import Image

SPEC = """
name = "hospital"
title = "Hospital of Nowhere"
patient = "Pat-Nr"
study = "Fall"
age = "Alter"

[[tables]]
file = "bilder.xlsx"
sheet = "Aufnahmen"

[[tables]]
file = "befunde.csv"
separator = ";"
encoding = "cp1252"
on = { "Fall" = "Fall-Nr" }

[image]
file = "{Bild}.png"
folders = ["alt", "neu"]

[view]
column = "Projektion"
frontal = ["pa", "ap"]
lateral = ["seitlich"]

[sex]
column = "Geschlecht"
female = ["w"]
male = ["m"]

[attributes]
site = "Standort"

[[labels]]
names = { "Pleural Effusion" = "Erguss", Edema = "Ödem" }
positive = ["ja"]
negative = ["nein"]
uncertain = ["fraglich"]
missing = [""]
"""


def write_hospital(root: Path, num_images: int = 12, side: int = 40) -> Path:
    """Two images a case and a patient; every third case is doubtful; an effusion brightens the lower half."""
    rows, cases = [], ["Fall-Nr;Erguss;Ödem;Bemerkung"]
    for folder in ("alt", "neu"):
        (root / folder).mkdir(parents=True)
    for number in range(num_images):
        case, effusion = number // 2, (number // 2) % 2 == 0
        pixels = np.array(picture(side, side, number))
        pixels[side // 2 :] = pixels[side // 2 :] // 2 + 120 * effusion
        name = f"b{number:03d}"
        (root / ("alt" if number % 3 else "neu") / f"{name}.png").write_bytes(encode(Image.fromarray(pixels), "PNG"))
        words = ("pa", "seitlich")[number % 2], "wm"[case % 2], ("Nord", "Süd")[case % 2]
        rows.append([name, 70 + case, 5000 + case, words[0], 40 + case, words[1], words[2]])
        if number % 2 == 0:
            cases.append(f"{5000 + case};{'ja' if effusion else 'nein'};{('nein', 'ja', 'fraglich', '')[case % 4]};x")
    columns = ["Bild", "Pat-Nr", "Fall", "Projektion", "Alter", "Geschlecht", "Standort"]
    with pd.ExcelWriter(root / "bilder.xlsx") as writer:
        pd.DataFrame({"Hinweis": ["nichts"]}).to_excel(writer, sheet_name="Deckblatt", index=False)
        pd.DataFrame(rows, columns=columns).to_excel(writer, sheet_name="Aufnahmen", index=False)
    (root / "befunde.csv").write_text("\r\n".join(cases) + "\r\n", encoding="cp1252")
    (root / "hospital.toml").write_text(SPEC, encoding="utf-8")
    return root
