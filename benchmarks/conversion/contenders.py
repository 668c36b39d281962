"""The contenders of conversion, each on one core and with all workers, and the ratios between them."""

from __future__ import annotations

from benchmarks.common.contenders import Contender, Ratio

FORMS = {
    "png": "page from the original PNG",
    "full": "page from all pixels of a gray JPEG of 2544 x 3056",
    "reduced": "page from such a JPEG, decoded at a reduced scale",
}
"""``cxr convert`` decodes large JPEGs as in ``reduced``, unless it is told otherwise."""
PROCESSES = {"one": "one core", "all": "all workers"}
OTHER_FILTER = "page of other pixels, by a faster filter than ours"
TITLES = {
    "ours": "ours",
    "pillow": "Pillow",
    "kornia": "kornia-rs, Pillow's filter",
    "simplejpeg": "simplejpeg, Pillow's filter",
    "opencv": "OpenCV, Pillow's filter",
    "torchcodec": "torchcodec, torch's filter",
}
PEERS = {
    "png": ("pillow", "kornia", "opencv", "torchcodec"),
    "full": ("pillow", "kornia", "simplejpeg", "opencv", "torchcodec"),
    "reduced": ("pillow", "simplejpeg", "opencv"),
}
"""Those that can decode the form."""
PACKAGES = {"kornia": "kornia_rs", "simplejpeg": "simplejpeg", "torchcodec": "torchcodec", "opencv": "cv2"}
AREA_TITLES = {"png": "kornia-rs, OpenCV's area filter, PNG", "reduced": "simplejpeg, OpenCV's area filter, JPEG"}


def _contender(by: str, form: str, processes: str, output: str, title: str) -> Contender:
    options = {"by": by, "form": form, "processes": processes}
    return Contender(
        *(f"{by}_{form}_{processes}", title, output, "conversion", options),
        needs="png" if form == "png" else "jpeg",
        package=PACKAGES.get(by),
    )


CONVERTERS = (
    *(
        _contender(by, form, processes, f"{output}, {cores}", TITLES[by])
        for form, output in FORMS.items()
        for processes, cores in PROCESSES.items()
        for by in ("ours", *PEERS[form])
    ),
    *(
        _contender("area", form, processes, f"{OTHER_FILTER}, {cores}", title)
        for processes, cores in PROCESSES.items()
        for form, title in AREA_TITLES.items()
    ),
)

CONVERT_RATIOS = {
    "png_core_over_kornia": Ratio("ours_png_one", ("kornia_png_one",), 1, 1.2),
    "jpeg_core_over_kornia": Ratio("ours_full_one", ("kornia_full_one",), 1, 1.2),
    **{
        f"{form}_{cores}_over_fastest": Ratio(
            f"ours_{form}_{processes}", tuple(f"{by}_{form}_{processes}" for by in PEERS[form]), 1, 1.2
        )
        for processes, cores in {"one": "core", "all": "workers"}.items()
        for form in FORMS
    },
    "png_over_pil": Ratio("ours_png_all", ("pillow_png_one",), 3, 4),
    "large_jpeg_over_pil": Ratio("ours_reduced_all", ("pillow_full_one",), 3.5, 6),
}
"""Like is compared with like but in the last two: there ``cxr convert`` stands beside a script with Pillow."""
