"""The wheel holds the package and nothing else."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_wheel_holds_only_scr_and_what_it_needs(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, ROOT],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"scr"}
    for needed in (
        "scr/py.typed",
        "scr/detection/weights/reader.onnx",
        "scr/detection/weights/trees.json",
        "scr/lab/weights/model.safetensors",
        "scr/store/migrations/env.py",
    ):
        assert needed in names
    assert wheel.stat().st_size < 50_000_000
